//! Events on their way into the table, many in one statement.

use sqlx::PgConnection;

use crate::error::StoreError;
use crate::seal::StoredEvent;

/// A batch ends with so many events, or so many bytes of their JSON, whichever comes first.
const EVENTS_MAX: usize = 1_000;
const BYTES_MAX: usize = 16 << 20;

/// Events that wait to be written, column by column, and their receipts.
#[derive(Debug, Default)]
pub(super) struct Batch {
    positions: Vec<i64>,
    aggregate_types: Vec<String>,
    aggregate_ids: Vec<String>,
    sequences: Vec<i64>,
    event_types: Vec<String>,
    event_versions: Vec<String>,
    payloads: Vec<String>,
    metadata: Vec<String>,
    times_us: Vec<i64>,
    receipts_at: Vec<i64>,
    receipts: Vec<String>,
    bytes: usize,
}

impl Batch {
    pub fn take(&mut self, event: StoredEvent, receipts: Option<String>) {
        self.bytes += event.payload.len() + event.metadata.len();
        if let Some(receipts) = receipts {
            self.bytes += receipts.len();
            self.receipts_at.push(event.position);
            self.receipts.push(receipts);
        }
        self.positions.push(event.position);
        self.aggregate_types.push(event.aggregate_type);
        self.aggregate_ids.push(event.aggregate_id);
        self.sequences.push(event.sequence);
        self.event_types.push(event.event_type);
        self.event_versions.push(event.event_version);
        self.payloads.push(event.payload);
        self.metadata.push(event.metadata);
        self.times_us.push(event.recorded_at_us);
    }

    pub fn is_full(&self) -> bool {
        self.positions.len() >= EVENTS_MAX || self.bytes >= BYTES_MAX
    }

    pub async fn write(self, transaction: &mut PgConnection) -> Result<(), StoreError> {
        // From whole numbers: a time as floating point would lose microseconds.
        sqlx::query(
            "INSERT INTO events (position, aggregate_type, aggregate_id, sequence, event_type, event_version,
                                 payload, metadata, recorded_at)
             SELECT position, aggregate_type, aggregate_id, sequence, event_type, event_version,
                    payload::json, metadata::json, to_timestamp(us / 1000000) + us % 1000000 * interval '1 microsecond'
             FROM unnest($1::bigint[], $2::text[], $3::text[], $4::bigint[], $5::text[], $6::text[],
                         $7::text[], $8::text[], $9::bigint[])
                  AS e (position, aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata, us)",
        )
        .bind(self.positions)
        .bind(self.aggregate_types)
        .bind(self.aggregate_ids)
        .bind(self.sequences)
        .bind(self.event_types)
        .bind(self.event_versions)
        .bind(self.payloads)
        .bind(self.metadata)
        .bind(self.times_us)
        .execute(&mut *transaction)
        .await
        .map_err(StoreError::database("writing the events"))?;
        write_receipts(transaction, self.receipts_at, self.receipts).await
    }
}

/// Writes the receipts of commands, by the position of each command's last event.
pub(super) async fn write_receipts(
    transaction: &mut PgConnection,
    positions: Vec<i64>,
    receipts: Vec<String>,
) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO receipts (actor, command_id, input_hash, position, ids)
         SELECT receipt ->> 0, (receipt ->> 1)::uuid, decode(receipt ->> 2, 'hex'), position, (receipt ->> 3)::jsonb
         FROM unnest($1::bigint[], $2::text[]) AS r (position, receipts), json_array_elements(receipts::json) AS receipt",
    )
    .bind(positions)
    .bind(receipts)
    .execute(transaction)
    .await
    .map_err(StoreError::database("writing the receipts"))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(payload: String) -> StoredEvent {
        StoredEvent {
            position: 1,
            aggregate_type: String::new(),
            aggregate_id: String::new(),
            sequence: 1,
            event_type: String::new(),
            event_version: String::new(),
            payload,
            metadata: String::new(),
            recorded_at_us: 0,
        }
    }

    #[test]
    fn large_events_end_a_batch_as_many_do() {
        for (payload, receipts, count) in [
            (String::new(), None, EVENTS_MAX),
            ("x".repeat(BYTES_MAX / 4), None, 4),
            ("x".repeat(BYTES_MAX / 4), Some("x".repeat(BYTES_MAX / 4)), 2),
        ] {
            let mut batch = Batch::default();
            for _ in 0..count {
                assert!(!batch.is_full());
                batch.take(event(payload.clone()), receipts.clone());
            }
            assert!(batch.is_full());
        }
    }
}
