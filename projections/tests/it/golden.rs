//! Events by name, as the golden files of the domain have them, and as the log would give them.

use std::path::PathBuf;

use chrono::{DateTime, TimeDelta, Utc};
use orion_domain::Event;
use orion_store::{Fact, Position};
use serde_json::Value;
use uuid::Uuid;

/// The aggregate of every history here.
pub const STREAM: Uuid = id(0xfff);

/// The id that ends in `n`, of the kind that the golden files use.
pub const fn id(n: u128) -> Uuid {
    Uuid::from_u128(0x0197_a000_0000_7000_8000_0000_0000_0000 | n)
}

/// When the event with this sequence was recorded: a minute after the one before it.
pub fn at(sequence: i64) -> DateTime<Utc> {
    "2026-02-01T00:00:00Z".parse::<DateTime<Utc>>().unwrap() + TimeDelta::minutes(sequence)
}

/// The event of a golden file: `content.edited`, or `content.edited.minimal`, in its newest version.
pub fn golden(name: &str) -> Event {
    let (event_type, version, variant) = Event::types()
        .find_map(|(event_type, version)| {
            let variant = name.strip_prefix(event_type)?;
            (variant.is_empty() || variant.starts_with('.'))
                .then_some((event_type, version, variant))
        })
        .unwrap_or_else(|| panic!("{name} is no event type"));
    let file = folder().join(format!("{event_type}.v{version}{variant}.json"));
    let text = std::fs::read_to_string(&file)
        .unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    let golden: Value = serde_json::from_str(&text).unwrap();
    event(event_type, &golden["payload"])
}

/// Every event that has a golden file in its newest version, by name; an aggregate's events follow
/// each other as it declares them, each full before its variants.
pub fn every_golden() -> Vec<(String, Event)> {
    let files: Vec<String> = std::fs::read_dir(folder())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    Event::types()
        .flat_map(|(event_type, version)| {
            let prefix = format!("{event_type}.v{version}");
            let mut variants: Vec<_> = files
                .iter()
                .filter_map(|file| file.strip_prefix(&prefix)?.strip_suffix("json"))
                .filter(|variant| variant.starts_with('.'))
                .map(|variant| variant.trim_end_matches('.'))
                .collect();
            variants.sort_unstable();
            variants.into_iter().map(move |variant| format!("{event_type}{variant}"))
        })
        .map(|name| (name.clone(), golden(&name)))
        .collect()
}

/// An event of other fields than its golden file.
pub fn event(event_type: &str, payload: &Value) -> Event {
    let (_, version) = Event::types().find(|(known, _)| *known == event_type).unwrap();
    Event::decode(event_type, version, &payload.to_string())
        .unwrap_or_else(|error| panic!("{event_type}: {error:?}"))
}

/// A stream of golden events.
pub fn history<const N: usize>(names: [&str; N]) -> Vec<Event> {
    names.map(golden).into()
}

/// A stream as a fold sees it.
pub fn facts(events: impl IntoIterator<Item = Event>) -> impl Iterator<Item = Fact> {
    (1..).zip(events).map(|(sequence, event)| Fact {
        position: Position(sequence),
        aggregate_id: STREAM,
        sequence,
        recorded_at: at(sequence),
        event,
    })
}

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../domain/tests/golden")
}
