//! The lines of an export.

use chrono::{DateTime, SecondsFormat};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::seal::StoredEvent;

/// The version of `CloudEvents` that events are told in.
pub const SPEC_VERSION: &str = "1.0";

/// `source`: whose events they are.
pub const SOURCE: &str = "urn:orion:log";

/// `datacontenttype`: how payloads are written.
pub const JSON: &str = "application/json";

/// The types of the lines that are no events.
const BEGIN: &str = "orion.log.begin";
const RECEIPTS: &str = "orion.log.receipts";
const END: &str = "orion.log.end";

/// One event. JSON that stands in a text is there byte by byte as the log has it.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct EventLine {
    specversion: String,
    /// The position.
    id: String,
    source: String,
    r#type: String,
    /// Aggregate type and id.
    subject: String,
    time: String,
    datacontenttype: String,
    sequence: String,
    eventversion: String,
    metadata: String,
    /// The hash of the event's leaf in the tree, in base64.
    leafhash: String,
    /// What the log answers when the command of this event is repeated.
    #[serde(skip_serializing_if = "Option::is_none")]
    receipts: Option<String>,
    data: Box<RawValue>,
}

/// What stands before the events: what is not computed from them.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Begin {
    /// The newest checkpoint of the log that was exported.
    pub checkpoint: Option<String>,
    /// The reactors that had read the log.
    pub reactors: Vec<String>,
}

/// What stands after the events.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct End {
    /// How many events there are.
    pub size: i64,
    /// The root of their tree, in base64.
    pub root: String,
    /// SHA-256 of all bytes before this line, in hex: of what the tree does not cover, too.
    pub sha256: String,
}

/// The first or the last line.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct EdgeLine<T> {
    specversion: String,
    id: String,
    source: String,
    r#type: String,
    data: T,
}

/// A line that was read.
#[derive(Debug)]
pub(super) enum Line {
    /// An event, the hash of its leaf as the line says it, and its receipts as JSON.
    Event { event: StoredEvent, leaf: String, receipts: Option<String> },
    /// What comes before the events.
    Begin(Begin),
    /// Receipts of commands that changed nothing, as JSON.
    Receipts(String),
    /// There is nothing after it.
    End(End),
}

/// Writes an event as one line, without what ends it. `None` for one that cannot stand on a line or has no
/// time: no program of Orion has written it.
pub(super) fn event(event: &StoredEvent, leaf: String, receipts: Option<String>) -> Option<String> {
    let is_one_line = !event.payload.contains(['\n', '\r']);
    let time = event.recorded_at()?.to_rfc3339_opts(SecondsFormat::Micros, true);
    let line = EventLine {
        specversion: SPEC_VERSION.to_owned(),
        id: event.position.to_string(),
        source: SOURCE.to_owned(),
        r#type: event.event_type.clone(),
        subject: format!("{}/{}", event.aggregate_type, event.aggregate_id),
        time,
        datacontenttype: JSON.to_owned(),
        sequence: event.sequence.to_string(),
        eventversion: event.event_version.clone(),
        metadata: event.metadata.clone(),
        leafhash: leaf,
        receipts,
        data: RawValue::from_string(event.payload.clone()).ok()?,
    };
    // Raw JSON keeps its text unless it has spaces around it.
    let is_kept = line.data.get() == event.payload;
    (is_one_line && is_kept).then(|| serde_json::to_string(&line).ok()).flatten()
}

/// Writes the first line, without what ends it.
pub(super) fn begin(begin: Begin) -> Result<String, serde_json::Error> {
    edge("begin", BEGIN, begin)
}

/// Writes receipts of commands that changed nothing as one line, without what ends it.
pub(super) fn receipts(receipts: String) -> Result<String, serde_json::Error> {
    edge("receipts", RECEIPTS, RawValue::from_string(receipts)?)
}

/// Writes the last line, without what ends it.
pub(super) fn end(end: End) -> Result<String, serde_json::Error> {
    edge("end", END, end)
}

fn edge<T: Serialize>(id: &str, r#type: &str, data: T) -> Result<String, serde_json::Error> {
    serde_json::to_string(&EdgeLine {
        specversion: SPEC_VERSION.to_owned(),
        id: id.to_owned(),
        source: SOURCE.to_owned(),
        r#type: r#type.to_owned(),
        data,
    })
}

/// Reads a line; `None` if it is none that an export has.
pub(super) fn parse(line: &[u8]) -> Option<Line> {
    if let Ok(line) = serde_json::from_slice::<EventLine>(line) {
        return parse_event(line);
    }
    let edge: EdgeLine<Box<RawValue>> = serde_json::from_slice(line).ok()?;
    let data = edge.data.get();
    match edge.r#type.as_str() {
        BEGIN => serde_json::from_str(data).ok().map(Line::Begin),
        RECEIPTS => Some(Line::Receipts(data.to_owned())),
        END => serde_json::from_str(data).ok().map(Line::End),
        _ => None,
    }
}

fn parse_event(line: EventLine) -> Option<Line> {
    let (aggregate_type, aggregate_id) = line.subject.split_once('/')?;
    let event = StoredEvent {
        position: line.id.parse().ok()?,
        aggregate_type: aggregate_type.to_owned(),
        aggregate_id: aggregate_id.to_owned(),
        sequence: line.sequence.parse().ok()?,
        event_type: line.r#type,
        event_version: line.eventversion,
        payload: line.data.get().to_owned(),
        metadata: line.metadata,
        recorded_at_us: DateTime::parse_from_rfc3339(&line.time).ok()?.timestamp_micros(),
    };
    Some(Line::Event { event, leaf: line.leafhash, receipts: line.receipts })
}
