//! The frozen files of `tests/golden/`: what was written once is read for ever.
//!
//! `<event_type>.v<version>.json` has every field; `….minimal.json` lacks those that may be
//! missing; `….cleared.json` has `null` for each value that an edit removes. A file is never
//! changed: a new shape is a new version, and the files of the older one are read through its
//! upcaster from then on (`upcast.rs` says what they mean). To add the file of a new event, add its
//! sample and run `ORION_GOLDEN_WRITE=1 cargo test -p orion-domain --test it -- --test-threads=1` once.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;

use cqrs_es::{Aggregate, DomainEvent};
use orion_domain::AggregateRoot;
use orion_domain::values::{
    AssetType, ContentStatus, OAuthProvider, PublishStatus, RegisteredVia, RevocationReason, Role,
    RunStatus, Scope, TrendStatus,
};
use orion_domain::{
    Content, ContentEvent, DecodeError, Event, Provider, ProviderEvent, Publish, PublishEvent,
    ServiceToken, ServiceTokenEvent, Session, SessionEvent, SocialAccount, SocialAccountEvent,
    Trend, TrendEvent, User, UserEvent, event,
};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::samples::{Variant, samples};
use crate::upcast::older_files;

/// What a golden file says.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Golden {
    pub event_type: String,
    pub event_version: String,
    pub payload: Value,
}

impl Golden {
    fn of(event: &Event) -> Self {
        match event {
            Event::User(event) => Self::of_aggregate(event),
            Event::Session(event) => Self::of_aggregate(event),
            Event::Trend(event) => Self::of_aggregate(event),
            Event::Content(event) => Self::of_aggregate(event),
            Event::Publish(event) => Self::of_aggregate(event),
            Event::SocialAccount(event) => Self::of_aggregate(event),
            Event::Provider(event) => Self::of_aggregate(event),
            Event::ServiceToken(event) => Self::of_aggregate(event),
        }
    }

    fn of_aggregate<E: DomainEvent>(event: &E) -> Self {
        let payload = event::payload(event).unwrap();
        Self {
            event_type: event.event_type(),
            event_version: event.event_version(),
            payload: event::unmarked(payload),
        }
    }

    pub fn decode(&self) -> Result<Event, DecodeError> {
        Event::decode(&self.event_type, &self.event_version, &self.payload.to_string())
    }

    pub fn file_name(&self, variant: Variant) -> String {
        let suffix = match variant {
            Variant::Full => "",
            Variant::Minimal => ".minimal",
            Variant::Cleared => ".cleared",
        };
        format!("{}.v{}{suffix}.json", self.event_type, self.event_version)
    }
}

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden")
}

/// The text of a frozen file. Where it is missing, it is made of `value` if that is asked for.
pub fn frozen(path: &str, value: &impl Serialize) -> String {
    let file = folder().join(path);
    if !file.exists() && std::env::var("ORION_GOLDEN_WRITE").is_ok_and(|asked| asked == "1") {
        let text = serde_json::to_string_pretty(value).unwrap() + "\n";
        fs::write(&file, text).unwrap();
    }
    fs::read_to_string(&file).unwrap_or_else(|error| {
        panic!("{}: {error}; ORION_GOLDEN_WRITE=1 makes it", file.display())
    })
}

/// The names of the files in a folder below `tests/golden/`.
pub fn file_names(below: &str) -> BTreeSet<String> {
    fs::read_dir(folder().join(below))
        .unwrap()
        .map(|entry| entry.unwrap())
        .filter(|entry| entry.file_type().unwrap().is_file())
        .map(|entry| entry.file_name().into_string().unwrap())
        .collect()
}

/// Every golden file with the event that it means.
fn files() -> Vec<(String, Variant, Golden, Event)> {
    samples()
        .into_iter()
        .map(|(variant, event)| {
            let golden = Golden::of(&event);
            let name = golden.file_name(variant);
            let golden = serde_json::from_str(&frozen(&name, &golden)).unwrap();
            (name, variant, golden, event)
        })
        .collect()
}

fn full_files() -> impl Iterator<Item = Golden> {
    files()
        .into_iter()
        .filter(|(_, variant, ..)| *variant == Variant::Full)
        .map(|(_, _, golden, _)| golden)
}

/// The events of full golden files, for a history that never changes.
pub fn history<E: DomainEvent>(types: &[&str]) -> Vec<E> {
    let files: BTreeMap<_, _> =
        full_files().map(|golden| (golden.event_type.clone(), golden)).collect();
    types
        .iter()
        .map(|event_type| {
            let payload = &files[*event_type].payload;
            serde_json::from_value(json!({"type": event_type, "data": payload})).unwrap()
        })
        .collect()
}

#[test]
fn every_type_and_version_has_its_file() {
    let known: BTreeSet<_> =
        Event::types().map(|(name, version)| format!("{name}.v{version}.json")).collect();
    assert_eq!(known.len(), Event::types().count(), "a type is declared twice");
    let full: BTreeSet<_> = files()
        .into_iter()
        .filter(|(_, variant, ..)| *variant == Variant::Full)
        .map(|(name, ..)| name)
        .collect();
    assert_eq!(full, known);
}

#[test]
fn every_file_is_of_a_known_type_and_version() {
    let expected: BTreeSet<_> = files().into_iter().map(|(name, ..)| name).collect();
    assert_eq!(expected.len(), samples().len(), "two samples have one file");
    let expected = expected.into_iter().chain(older_files().map(|(name, ..)| name)).collect();
    assert_eq!(file_names(""), expected);
}

#[test]
fn every_file_says_the_type_and_version_of_its_name() {
    for (name, variant, golden, _) in files() {
        assert_eq!(golden.file_name(variant), name);
    }
}

#[test]
fn every_file_means_its_event_and_is_written_as_it_is_read() {
    for (name, _, golden, event) in files() {
        let decoded = golden.decode().unwrap_or_else(|error| panic!("{name}: {error:?}"));
        let written = Golden::of(&decoded);
        assert_eq!(written.payload, golden.payload, "{name} is written otherwise");
        assert_eq!(written.event_type, golden.event_type, "{name}");
        assert_eq!(written.event_version, golden.event_version, "{name}");
        assert!(decoded == event, "{name} means another event");
    }
}

#[test]
fn an_aggregate_reads_its_own_events_as_all_do() {
    fn decode<A: AggregateRoot>(golden: &Golden) -> A::Event {
        let Golden { event_type, event_version, payload } = golden;
        let text = payload.to_string();
        let event: A::Event =
            event::decode(A::EVENT_TYPES, event_type, event_version, &text).unwrap();
        let parsed = event::decode_value::<A>(event_type, event_version, payload).unwrap();
        assert!(parsed == event, "{event_type} reads otherwise from a parsed payload");
        event
    }
    let files = files().into_iter().map(|(name, _, golden, event)| (name, golden, event));
    for (name, golden, event) in files.chain(older_files()) {
        let golden = &golden;
        let read = match &event {
            Event::User(_) => decode::<User>(golden).into(),
            Event::Session(_) => decode::<Session>(golden).into(),
            Event::Trend(_) => decode::<Trend>(golden).into(),
            Event::Content(_) => decode::<Content>(golden).into(),
            Event::Publish(_) => decode::<Publish>(golden).into(),
            Event::SocialAccount(_) => decode::<SocialAccount>(golden).into(),
            Event::Provider(_) => decode::<Provider>(golden).into(),
            Event::ServiceToken(_) => decode::<ServiceToken>(golden).into(),
        };
        assert!(event == read, "{name}");
    }
}

#[test]
fn a_type_begins_with_its_aggregate() {
    fn check<A: Aggregate>(types: &[(&str, &str)]) {
        for (event_type, _) in types {
            let (noun, verb) = event_type.split_once('.').unwrap();
            assert_eq!(noun, A::TYPE);
            assert!(verb.chars().all(|c| c.is_ascii_lowercase() || c == '_'), "{event_type}");
        }
    }
    check::<User>(UserEvent::TYPES);
    check::<Session>(SessionEvent::TYPES);
    check::<Trend>(TrendEvent::TYPES);
    check::<Content>(ContentEvent::TYPES);
    check::<Publish>(PublishEvent::TYPES);
    check::<SocialAccount>(SocialAccountEvent::TYPES);
    check::<Provider>(ProviderEvent::TYPES);
    check::<ServiceToken>(ServiceTokenEvent::TYPES);
}

#[test]
fn the_labels_of_enumerations_are_as_documented() {
    fn check<T>(values: &[T], labels: &[&str])
    where
        T: Copy + PartialEq + Serialize + DeserializeOwned + std::fmt::Display,
    {
        let shown: Vec<_> = values.iter().map(T::to_string).collect();
        assert_eq!(shown, labels);
        assert_eq!(serde_json::to_value(values).unwrap(), json!(labels));
        assert!(serde_json::from_value::<Vec<T>>(json!(labels)).unwrap() == values);
    }
    check(Role::ALL, &["admin", "editor", "viewer"]);
    check(TrendStatus::ALL, &["active", "expired", "archived"]);
    check(
        ContentStatus::ALL,
        &["draft", "generating", "review", "approved", "published", "rejected"],
    );
    check(AssetType::ALL, &["image", "video", "audio"]);
    check(RunStatus::ALL, &["pending", "running", "completed", "failed"]);
    check(PublishStatus::ALL, &["published", "failed"]);
    check(OAuthProvider::ALL, &["github", "google"]);
    check(Scope::ALL, &["trends", "pipeline", "publish"]);
    check(RegisteredVia::ALL, &["password", "provider"]);
    check(RevocationReason::ALL, &["logout", "revoked", "reuse", "erased"]);
}

// Which fields may be missing.

/// The fields of an object that holds anything: what is missing there is nobody's loss.
const FREE_JSON: [&str; 1] = ["settings"];

/// The payload without what `Event::decode` can do without, and whether that is less.
fn without_optional(golden: &Golden) -> Value {
    let mut payload = golden.payload.clone();
    for key in keys(&payload) {
        if decodes_without(golden, &[&key]) {
            payload.as_object_mut().unwrap().remove(&key);
        } else if !FREE_JSON.contains(&key.as_str()) {
            for inner in keys(&payload[&key]) {
                if decodes_without(golden, &[&key, &inner]) {
                    payload[&key].as_object_mut().unwrap().remove(&inner);
                }
            }
        }
    }
    payload
}

fn keys(value: &Value) -> Vec<String> {
    value.as_object().into_iter().flat_map(|fields| fields.keys().cloned()).collect()
}

fn decodes_without(golden: &Golden, path: &[&str]) -> bool {
    let mut payload = golden.payload.clone();
    let (last, parents) = path.split_last().unwrap();
    let parent = parents.iter().fold(&mut payload, |value, key| &mut value[*key]);
    parent.as_object_mut().unwrap().remove(*last);
    match Event::decode(&golden.event_type, &golden.event_version, &payload.to_string()) {
        Ok(_) => true,
        Err(DecodeError::Payload { .. }) => false,
        Err(error @ DecodeError::Unknown { .. }) => panic!("{error}"),
    }
}

#[test]
fn a_minimal_file_is_the_full_one_without_what_may_be_missing() {
    let minimal: BTreeMap<_, _> = files()
        .into_iter()
        .filter(|(_, variant, ..)| *variant == Variant::Minimal)
        .map(|(_, _, golden, _)| (golden.event_type, golden.payload))
        .collect();
    for golden in full_files() {
        let payload = without_optional(&golden);
        let expected = (payload != golden.payload).then_some(&payload);
        assert_eq!(minimal.get(&golden.event_type), expected, "{}", golden.event_type);
    }
}

#[test]
fn a_full_file_leaves_nothing_out() {
    for (name, variant, _, event) in files() {
        if variant == Variant::Full {
            let shown = format!("{event:?}");
            assert!(!shown.contains("None") && !shown.contains("Keep"), "{name}: {shown}");
        }
    }
}

#[test]
fn a_cleared_file_has_null_for_each_value_that_an_edit_removes() {
    let nulls = |golden: &Golden| golden.payload.to_string().matches("null").count();
    for (name, variant, golden, event) in files() {
        let removed = format!("{event:?}").matches("Clear").count();
        if variant == Variant::Cleared {
            assert!(removed > 0, "{name}");
            assert_eq!(nulls(&golden), removed, "{name}");
        } else {
            assert_eq!(removed, 0, "{name}");
        }
    }
}

// What cannot be read.

#[test]
fn an_unknown_type_is_told() {
    for unknown in ["content.exploded", "nonsense.drafted", "nonsense", "content", "content.", ""] {
        match Event::decode(unknown, "1", "{}") {
            Err(DecodeError::Unknown { event_type, version }) => {
                assert_eq!((event_type.as_str(), version.as_str()), (unknown, "1"));
            }
            other => panic!("{unknown:?}: {other:?}"),
        }
    }
}

#[test]
fn an_unknown_version_is_told() {
    for golden in full_files() {
        for unknown in ["0", "01", "1 ", "999", ""] {
            match Event::decode(&golden.event_type, unknown, &golden.payload.to_string()) {
                Err(DecodeError::Unknown { event_type, version }) => {
                    assert_eq!(event_type, golden.event_type);
                    assert_eq!(version, unknown);
                }
                other => panic!("{} {unknown:?}: {other:?}", golden.event_type),
            }
        }
    }
}

#[test]
fn a_parsed_payload_is_read_in_its_version_only() {
    let payload = json!({"by": "0197a000-0000-7000-8000-000000000002"});
    match event::decode_value::<Content>("content.approved", "2", &payload) {
        Err(DecodeError::Unknown { event_type, version }) => {
            assert_eq!((event_type.as_str(), version.as_str()), ("content.approved", "2"));
        }
        other => panic!("{other:?}"),
    }
}

#[track_caller]
fn does_not_fit(event_type: &str, payload: &str) {
    assert!(is_misfit(event_type, "1", payload), "{event_type} of {payload:?}");
}

/// True when the payload is refused, and the error tells the type.
pub fn is_misfit(event_type: &str, version: &str, payload: &str) -> bool {
    let read = Event::decode(event_type, version, payload);
    matches!(read, Err(DecodeError::Payload { event_type: told, .. }) if told == event_type)
}

#[test]
fn a_payload_without_a_needed_field_does_not_fit() {
    for golden in full_files() {
        if without_optional(&golden) == json!({}) {
            continue;
        }
        assert!(
            is_misfit(&golden.event_type, &golden.event_version, "{}"),
            "{}",
            golden.event_type
        );
    }
}

#[test]
fn a_payload_that_is_no_object_does_not_fit() {
    for payload in ["", "null", "1", r#""text""#, "{", "}", "{}}"] {
        does_not_fit("content.approved", payload);
        does_not_fit("content.submitted_for_review", payload);
    }
}

#[test]
fn a_value_of_another_kind_does_not_fit() {
    does_not_fit("content.approved", r#"{"by": "nobody"}"#);
    does_not_fit("user.role_changed", r#"{"role": "root"}"#);
    does_not_fit("trend.rescored", r#"{"score": "high"}"#);
    does_not_fit("provider.prioritized", r#"{"priority": 2147483648}"#);
    does_not_fit("content.edited", r#"{"hook": 7}"#);
}

#[test]
fn a_payload_that_does_not_fit_is_not_quoted() {
    let error = Event::decode("user.role_changed", "1", r#"{"role": "hunter2"}"#).unwrap_err();
    let text = error.to_string();
    assert!(text.starts_with("payload of user.role_changed does not fit its type"), "{text}");
    assert!(!format!("{error:?} {text}").contains("hunter2"));
    assert!(std::error::Error::source(&error).is_none());
}

#[test]
fn a_missing_title_stays_where_a_null_would_clear() {
    let decode = |payload| Event::decode("content.edited", "1", payload).unwrap();
    assert!(decode("{}") != decode(r#"{"hook": null}"#));
    assert!(decode("{}") == decode(r#"{"title": null}"#));
}

// What is personal.

#[test]
fn personal_values_are_only_where_the_vault_looks() {
    let mut personal = BTreeSet::new();
    for (_, event) in samples() {
        let noun = Golden::of(&event).event_type.split_once('.').unwrap().0.to_owned();
        if event::is_marked(&event::payload_of(&event).unwrap()) {
            assert!(event::is_personal(&noun), "the vault does not look into {noun}");
            personal.insert(noun);
        }
    }
    assert_eq!(personal.len(), 4, "{personal:?}");
}

#[test]
fn a_shown_payload_has_neither_personal_values_nor_secrets() {
    let sealed = json!({
        "email": { "$sealed": "0.abc" },
        "change": { "name": { "$sealed": "0.def" }, "timezone": "UTC" },
        "token": { "token_hash": "5f2c", "expires_at": "2026-03-01T12:00:00Z" },
        "credentials": "0.ghi",
    });
    let shown = json!({
        "email": "***",
        "change": { "name": "***", "timezone": "UTC" },
        "token": { "token_hash": "***", "expires_at": "2026-03-01T12:00:00Z" },
        "credentials": "***",
    });
    assert_eq!(event::redacted(sealed), shown);
}
