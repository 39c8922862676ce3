//! What a seal covers of an event: all of it, byte by byte. `docs/proofs.md` describes the format.

use chrono::{DateTime, Utc};
use sha2::{Digest as _, Sha256};

use super::merkle::{Hash, leaf_hash};
use crate::record::{Position, RecordedEvent};

/// Says what follows, and in which version of this format.
const PREFIX: &[u8] = b"orion event 1\n";

/// An event as the table keeps it, with nothing parsed: JSON has many texts for one value.
#[derive(Clone, Debug, PartialEq, Eq, sqlx::FromRow, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StoredEvent {
    /// `position`.
    pub position: i64,
    /// `aggregate_type`.
    pub aggregate_type: String,
    /// `aggregate_id`.
    pub aggregate_id: String,
    /// `sequence`.
    pub sequence: i64,
    /// `event_type`.
    pub event_type: String,
    /// `event_version`.
    pub event_version: String,
    /// `payload`, the text.
    pub payload: String,
    /// `metadata`, the text.
    pub metadata: String,
    /// `recorded_at`, in microseconds since 1970.
    pub recorded_at_us: i64,
}

/// The columns of a [`StoredEvent`]. A time that no event of Orion has, such as `infinity`, is the nearest
/// number that there is: it must be found, and not stop who reads.
pub(crate) const STORED_COLUMNS: &str = "position, aggregate_type, aggregate_id, sequence, event_type, \
     event_version, payload::text AS payload, metadata::text AS metadata, \
     greatest(least(extract(epoch FROM recorded_at) * 1000000, 9223372036854775807), \
         -9223372036854775808)::bigint AS recorded_at_us";

impl StoredEvent {
    /// Its place in the log.
    pub(super) fn position(&self) -> Position {
        Position(self.position)
    }

    /// When it was appended, if that is a time.
    pub fn recorded_at(&self) -> Option<DateTime<Utc>> {
        DateTime::from_timestamp_micros(self.recorded_at_us)
    }

    /// The event with its metadata parsed; `None` where ids or metadata are none that Orion writes.
    pub(super) fn to_recorded(&self) -> Option<RecordedEvent> {
        Some(RecordedEvent {
            position: self.position(),
            aggregate_type: self.aggregate_type.clone(),
            aggregate_id: self.aggregate_id.parse().ok()?,
            sequence: self.sequence,
            event_type: self.event_type.clone(),
            event_version: self.event_version.clone(),
            payload: self.payload.clone(),
            metadata: serde_json::from_str(&self.metadata).ok()?,
            recorded_at: self.recorded_at()?,
        })
    }

    /// The hash of the leaf that it is in the tree.
    pub fn leaf_hash(&self) -> Hash {
        let mut columns = Sha256::new();
        for column in [
            self.aggregate_type.as_bytes(),
            self.aggregate_id.as_bytes(),
            &self.sequence.to_be_bytes(),
            self.event_type.as_bytes(),
            self.event_version.as_bytes(),
            self.payload.as_bytes(),
            self.metadata.as_bytes(),
            &self.recorded_at_us.to_be_bytes(),
        ] {
            // With its length before it no column can lend a byte to its neighbour.
            columns.update((column.len() as u64).to_be_bytes());
            columns.update(column);
        }
        let columns: Hash = columns.finalize().into();
        leaf_hash(&[PREFIX, &self.position.to_be_bytes(), &columns].concat())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event() -> StoredEvent {
        StoredEvent {
            position: 7,
            aggregate_type: "trend".to_owned(),
            aggregate_id: "0197a000-0000-7000-8000-000000000001".to_owned(),
            sequence: 1,
            event_type: "trend.detected".to_owned(),
            event_version: "1".to_owned(),
            payload: r#"{"score":1.0}"#.to_owned(),
            metadata: "{}".to_owned(),
            recorded_at_us: 1_800_000_000_000_001,
        }
    }

    #[test]
    fn each_column_counts() {
        let other = |change: fn(&mut StoredEvent)| {
            let mut event = event();
            change(&mut event);
            event.leaf_hash()
        };
        let hash = event().leaf_hash();
        for (column, changed) in [
            ("position", other(|event| event.position = 8)),
            ("aggregate_type", other(|event| event.aggregate_type = "content".to_owned())),
            ("aggregate_id", other(|event| event.aggregate_id.replace_range(..1, "1"))),
            ("sequence", other(|event| event.sequence = 2)),
            ("event_type", other(|event| event.event_type = "trend.rescored".to_owned())),
            ("event_version", other(|event| event.event_version = "2".to_owned())),
            // The same number, another text.
            ("payload", other(|event| event.payload = r#"{"score":1.00}"#.to_owned())),
            ("metadata", other(|event| event.metadata = "{ }".to_owned())),
            ("recorded_at", other(|event| event.recorded_at_us += 1)),
            (
                "a byte that moves",
                other(|event| {
                    event.event_type.push('1');
                    event.event_version.clear();
                }),
            ),
        ] {
            assert_ne!(changed, hash, "{column}");
        }
    }

    /// The format is for ever: proofs that were handed out depend on it.
    #[test]
    fn the_format_stays() {
        assert_eq!(hex::encode(event().leaf_hash()), FROZEN);
    }

    /// Computed by another program, from the description in `docs/proofs.md`.
    const FROZEN: &str = "b3d4bde4c7837c406d39a8556b4c6914db9a214872a5cd4cdcbed86949db1f97";
}
