//! What the log keeps of an event, and the numbers that order it.

use std::collections::BTreeMap;
use std::fmt;

use chrono::{DateTime, Utc};
use orion_domain::Event;
use orion_domain::event::redacted;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

use crate::commit::NewEvent;

/// A place in the log: 1 for the first event, without a gap, in commit order; 0 is before all.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Position(pub i64);

impl Position {
    /// Before the first event.
    pub const START: Self = Self(0);
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Names a stream: all events of one aggregate.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamId {
    /// The noun, such as `content`.
    pub aggregate_type: &'static str,
    /// The aggregate.
    pub aggregate_id: Uuid,
}

/// What is known of the circumstances of an event: a flat map of texts.
///
/// Keys: `actor`, `command_id`, `correlation_id`, `causation_id`, `traceparent`, `ip`.
pub type Metadata = BTreeMap<String, String>;

/// An event as the log keeps it.
#[derive(Clone, PartialEq)]
pub struct RecordedEvent {
    /// Its place in the log.
    pub position: Position,
    /// The noun whose event it is.
    pub aggregate_type: String,
    /// The aggregate whose event it is.
    pub aggregate_id: Uuid,
    /// Its place in its stream, from 1 without a gap.
    pub sequence: i64,
    /// Its stable name, such as `content.drafted`.
    pub event_type: String,
    /// The version of its fields.
    pub event_version: String,
    /// Its fields, the JSON text as it was written, personal values sealed.
    pub payload: String,
    /// Its circumstances.
    pub metadata: Metadata,
    /// When it was appended; never earlier than the event before it.
    pub recorded_at: DateTime<Utc>,
}

impl RecordedEvent {
    /// What was just written, as it would be read.
    pub(crate) fn written(
        position: Position,
        event: NewEvent,
        metadata: Metadata,
        recorded_at: DateTime<Utc>,
    ) -> Self {
        let NewEvent { stream, sequence, event_type, event_version, payload } = event;
        Self {
            position,
            aggregate_type: stream.aggregate_type.to_owned(),
            aggregate_id: stream.aggregate_id,
            sequence,
            event_type,
            event_version,
            payload,
            metadata,
            recorded_at,
        }
    }

    /// The payload as it may be shown: personal and secret values are `"***"`. `null` if it is no JSON.
    pub fn redacted_payload(&self) -> Value {
        serde_json::from_str(&self.payload).map(redacted).unwrap_or_default()
    }
}

// Without the payload: nobody needs to see it in a log line.
impl fmt::Debug for RecordedEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RecordedEvent")
            .field("position", &self.position)
            .field("aggregate_id", &self.aggregate_id)
            .field("sequence", &self.sequence)
            .field("event_type", &self.event_type)
            .finish_non_exhaustive()
    }
}

/// An event that was opened and decoded, with its place and time: what a fold sees.
#[derive(Clone, Debug, PartialEq)]
pub struct Fact {
    /// Its place in the log.
    pub position: Position,
    /// The aggregate whose event it is.
    pub aggregate_id: Uuid,
    /// Its place in its stream.
    pub sequence: i64,
    /// When it was appended.
    pub recorded_at: DateTime<Utc>,
    /// What happened.
    pub event: Event,
}
