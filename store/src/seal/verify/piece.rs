//! A piece of the log, read and checked by itself: what can be said of events without those before them.

use std::collections::VecDeque;
use std::sync::Arc;

use orion_domain::{DecodeError, Event};
use sqlx::{Connection as _, PgConnection, PgPool};

use super::super::checkpoint::{Checkpoint, CheckpointError, LogPublicKey};
use super::super::leaf::{STORED_COLUMNS, StoredEvent};
use super::super::merkle::Hash;
use super::super::seals;
use super::fault::Fault;
use crate::error::StoreError;
use crate::record::{Position, RecordedEvent};
use crate::vault::{KeyRing, ReadError, Vault};

/// How many bytes of JSON are read at a time.
const PART_BYTES: i64 = 16 << 20;

/// Reads pieces of the log as one snapshot has it; several at the same time.
#[derive(Clone)]
pub(super) struct Reader {
    pub pool: PgPool,
    /// The snapshot, as `pg_export_snapshot` names it.
    pub snapshot: Arc<str>,
    /// Whoever has signed the seals.
    pub keys: Arc<[LogPublicKey]>,
    /// Opens personal values; without it they stay closed.
    pub vault: Option<Vault>,
}

/// What was read of an event.
pub(super) struct Row {
    pub position: Position,
    pub leaf: Hash,
    /// `recorded_at`, in microseconds since 1970.
    pub time: i64,
}

/// The size of a seal, and what it says if it was signed.
pub(super) type Opened = (Position, Result<Checkpoint, CheckpointError>);

/// What was read.
pub(super) struct Piece {
    /// The events in order.
    pub rows: Vec<Row>,
    /// What is wrong with them, each by itself.
    pub faults: Vec<Fault>,
    /// The seals of these sizes, in order, and what became of their signatures.
    pub seals: VecDeque<Opened>,
}

impl Reader {
    /// The events after one position up to another.
    pub async fn read(self, after: Position, until: Position) -> Result<Piece, StoreError> {
        let failed = || StoreError::database("reading the log");
        let mut connection = self.pool.acquire().await.map_err(failed())?;
        let mut transaction = connection.begin().await.map_err(failed())?;
        // PostgreSQL made the name, of hexadecimal digits and dashes; it cannot be bound.
        for sql in [
            "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY",
            &format!("SET TRANSACTION SNAPSHOT '{}'", self.snapshot),
        ] {
            sqlx::query(sql).execute(&mut *transaction).await.map_err(failed())?;
        }
        let mut piece = Piece { rows: Vec::new(), faults: Vec::new(), seals: VecDeque::new() };
        let mut from = after;
        for to in parts(&mut transaction, after, until).await? {
            let events: Vec<StoredEvent> = sqlx::query_as(&format!(
                "SELECT {STORED_COLUMNS} FROM events WHERE position > $1 AND position <= $2 ORDER BY position"
            ))
            .bind(from.0)
            .bind(to.0)
            .fetch_all(&mut *transaction)
            .await
            .map_err(failed())?;
            piece.faults.extend(self.unreadable(&mut transaction, &events).await?);
            piece.rows.extend(events.iter().map(|event| Row {
                position: event.position(),
                leaf: event.leaf_hash(),
                time: event.recorded_at_us,
            }));
            from = to;
        }
        let seals = seals::between(&mut transaction, after, until, i64::MAX).await?;
        let open = |seal: &seals::Seal| (Position(seal.size), seal.open(&self.keys));
        piece.seals.extend(seals.iter().map(open));
        Ok(piece)
    }

    /// The events that this program cannot read: unknown types and versions, payloads that do not fit.
    async fn unreadable(
        &self,
        transaction: &mut PgConnection,
        events: &[StoredEvent],
    ) -> Result<Vec<Fault>, StoreError> {
        let mut faults = Vec::new();
        let mut recorded: Vec<RecordedEvent> = Vec::new();
        for event in events {
            match event.to_recorded() {
                Some(event) => recorded.push(event),
                None => faults.push(Fault::Malformed { position: event.position() }),
            }
        }
        let ring = match &self.vault {
            Some(vault) => Some(vault.ring_within(transaction, &recorded).await?),
            None => None,
        };
        for event in &recorded {
            if let Err(reason) = read(ring.as_ref(), event) {
                faults.push(Fault::Unreadable { position: event.position, reason });
            }
        }
        Ok(faults)
    }
}

/// The last positions of the parts that a piece is read in: payloads may be large, and only what is needed of
/// them stays in memory.
async fn parts(
    transaction: &mut PgConnection,
    after: Position,
    until: Position,
) -> Result<Vec<Position>, StoreError> {
    let ends: Vec<i64> = sqlx::query_scalar(
        "SELECT max(position) FROM (
             SELECT position, sum(octet_length(payload::text) + octet_length(metadata::text))
                 OVER (ORDER BY position) / $3 AS part
             FROM events WHERE position > $1 AND position <= $2) measured
         GROUP BY floor(part) ORDER BY 1",
    )
    .bind(after.0)
    .bind(until.0)
    .bind(PART_BYTES)
    .fetch_all(transaction)
    .await
    .map_err(StoreError::database("measuring the log"))?;
    Ok(ends.into_iter().map(Position).collect())
}

fn read(ring: Option<&KeyRing>, event: &RecordedEvent) -> Result<(), ReadError> {
    if let Some(ring) = ring {
        return ring.read(event).map(|_| ());
    }
    match KeyRing::default().read(event) {
        // It has personal values, and nobody opens them: what is left to ask is whether the type is known.
        Err(ReadError::Open(_)) => {
            match Event::decode(&event.event_type, &event.event_version, "{}") {
                Err(unknown @ DecodeError::Unknown { .. }) => Err(unknown.into()),
                Err(DecodeError::Payload { .. }) | Ok(_) => Ok(()),
            }
        }
        read => read.map(|_| ()),
    }
}
