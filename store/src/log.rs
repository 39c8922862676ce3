//! The log: append to it, read it in order, follow it.

use std::borrow::Borrow;
use std::collections::BTreeMap;
use std::time::Duration;

use chrono::{DateTime, Utc};
use sqlx::{PgConnection, PgExecutor, PgPool};
use tokio_util::sync::CancellationToken;
use tracing::{Instrument as _, debug_span, warn};
use uuid::Uuid;

use crate::append::Appender;
use crate::commit::{AppendError, Appended, Commit, Receipt, ReceiptKey};
use crate::error::StoreError;
use crate::kept::Kept;
use crate::keys::Keys;
use crate::outdated::Outdated;
use crate::record::{Fact, Position, RecordedEvent};
use crate::tail::Tail;
use crate::vault::{ERASURES, Vault};

/// How many events are searched for erasures at a time.
const FORGET_MAX: usize = 1_000;

/// How long to wait when the log cannot be read.
const FORGET_AGAIN: Duration = Duration::from_secs(1);

/// A stream in which nothing has happened for a while.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resting {
    /// The aggregate.
    pub id: Uuid,
    /// Its newest event.
    pub position: Position,
    /// Its newest sequence.
    pub version: i64,
}

/// The append-only log of one database. Cheap to clone; all clones share one writer and one tail.
#[derive(Clone, Debug)]
pub struct Log {
    kept: Kept,
    keys: Keys,
    vault: Vault,
    appender: Appender,
    tail: Tail,
}

impl Log {
    /// Opens the log behind a pool that works under the server's role. Its tail stops at `stop`.
    pub async fn open(
        pool: PgPool,
        keys: Keys,
        stop: CancellationToken,
    ) -> Result<Self, StoreError> {
        let vault = Vault::new(pool.clone(), &keys);
        let again = vault.destroy_again().await?;
        if again > 0 {
            warn!(keys = again, "keys of erased subjects had come back and were destroyed again");
        }
        let kept = Kept::new(pool.clone(), "log");
        let tail = Tail::start(kept.patient(), stop.clone()).await?;
        tokio::spawn(stop.run_until_cancelled_owned(forget_erased(tail.clone(), vault.clone())));
        let appender = Appender::start(pool, keys.claims_fingerprint(), tail.clone());
        Ok(Self { kept, keys, vault, appender, tail })
    }

    /// The same log for those who must not be sent away, see [`Kept::patient`].
    #[must_use]
    pub fn patient(&self) -> Self {
        Self { kept: self.kept.patient(), ..self.clone() }
    }

    /// The keys that all servers of the database share.
    pub fn keys(&self) -> &Keys {
        &self.keys
    }

    /// True while this server's key for unique values is the database's; false after its rotation,
    /// until the server is started anew. Asks the database.
    pub async fn claims_key_holds(&self) -> Result<bool, StoreError> {
        let known: Option<String> =
            sqlx::query_scalar("SELECT fingerprint FROM server_keys WHERE name = 'claims'")
                .fetch_optional(self.pool())
                .await
                .map_err(StoreError::database("reading the claims key"))?;
        Ok(known == Some(self.keys.claims_fingerprint()))
    }

    /// True while PostgreSQL's disk is known to be full: the last append of this server was refused for it, and the
    /// log has not grown since.
    pub fn is_disk_full(&self) -> bool {
        self.appender.lacks_room(self.tail.head())
    }

    /// The keys of the subjects of personal values.
    pub fn vault(&self) -> &Vault {
        &self.vault
    }

    /// Events in the domain's terms: opened, then decoded.
    pub async fn read_facts(
        &self,
        events: &[impl Borrow<RecordedEvent>],
    ) -> Result<Vec<Fact>, StoreError> {
        let ring = self.vault.ring(events.iter().map(Borrow::borrow)).await?;
        let read = |event: &RecordedEvent| {
            ring.read(event)
                .map_err(|source| StoreError::Unreadable { position: event.position, source })
        };
        events.iter().map(Borrow::borrow).map(read).collect()
    }

    /// The streams that a user's sessions and social accounts are, by their first events.
    pub async fn owned_by(
        &self,
        aggregate_type: &str,
        user_id: Uuid,
    ) -> Result<Vec<Uuid>, StoreError> {
        let ids: Vec<String> = sqlx::query_scalar(
            "SELECT aggregate_id FROM events
             WHERE event_type IN ('session.started', 'social_account.connected')
               AND payload ->> 'user_id' = $2 AND aggregate_type = $1
             ORDER BY position",
        )
        .bind(aggregate_type)
        .bind(user_id.to_string())
        .fetch_all(self.pool())
        .await
        .map_err(StoreError::database("looking for what a user owns"))?;
        Ok(ids.iter().filter_map(|id| id.parse().ok()).collect())
    }

    /// The streams of a noun in which an event of a type has happened.
    pub async fn with_event(
        &self,
        aggregate_type: &str,
        event_type: &str,
    ) -> Result<Vec<Uuid>, StoreError> {
        let ids: Vec<String> = sqlx::query_scalar(
            "SELECT DISTINCT aggregate_id FROM events WHERE aggregate_type = $1 AND event_type = $2",
        )
        .bind(aggregate_type)
        .bind(event_type)
        .fetch_all(self.pool())
        .await
        .map_err(StoreError::database("looking for streams by their events"))?;
        Ok(ids.iter().filter_map(|id| id.parse().ok()).collect())
    }

    /// The pool that the log works with, for what is no request's.
    pub fn pool(&self) -> &PgPool {
        self.kept.pool()
    }

    /// Its connections for requests.
    pub fn kept(&self) -> &Kept {
        &self.kept
    }

    /// Writes a commit whole, or says why not. The answer comes when it is durable.
    pub async fn append(&self, commit: Commit) -> Result<Appended, AppendError> {
        let erased = commit.erased.clone();
        let span = debug_span!("append", events = commit.events.len());
        let appended = self.appender.append(commit).instrument(span).await?;
        // The other servers hear of it by the event.
        for subject in erased {
            self.vault.forget(subject);
        }
        Ok(appended)
    }

    /// The events after a position, in order, at most `limit`.
    pub async fn read(
        &self,
        after: Position,
        limit: i64,
    ) -> Result<Vec<RecordedEvent>, StoreError> {
        read(self.pool(), after, limit).await
    }

    /// The newest position there is, asked of the database.
    pub async fn head(&self) -> Result<Position, StoreError> {
        let database = StoreError::database("reading the head of the log");
        head(&mut *self.kept.take().await.map_err(database)?).await
    }

    /// The answer that a command got, if it was answered before.
    pub async fn receipt(&self, key: &ReceiptKey) -> Result<Option<Receipt>, StoreError> {
        let database = StoreError::database("looking up a receipt");
        let mut connection = self.kept.take().await.map_err(database)?;
        let row: Option<(Vec<u8>, i64, String)> = sqlx::query_as(
            "SELECT input_hash, position, ids::text FROM receipts WHERE actor = $1 AND command_id = $2",
        )
        .bind(&key.actor)
        .bind(key.command_id)
        .fetch_optional(&mut *connection)
        .await
        .map_err(database)?;
        self.kept.give_back(connection);
        Ok(row.map(|(input_hash, position, ids)| Receipt {
            input_hash,
            position: Position(position),
            ids,
        }))
    }

    /// The events of one stream up to a position, in order.
    pub async fn stream(
        &self,
        aggregate_type: &str,
        aggregate_id: Uuid,
        until: Position,
    ) -> Result<Vec<RecordedEvent>, StoreError> {
        let database = StoreError::database("reading a stream");
        let mut connection = self.kept.take().await.map_err(database)?;
        stream(&mut *connection, aggregate_type, aggregate_id, until).await
    }

    /// The newest event that was recorded at a time or before it.
    pub async fn position_at(&self, time: DateTime<Utc>) -> Result<Position, StoreError> {
        let database = StoreError::database("searching the log by time");
        position_at(&mut *self.kept.take().await.map_err(database)?, time).await
    }

    /// Who holds a unique value. Personal values must be hashed by the caller.
    pub async fn holder(&self, namespace: &str, value: &str) -> Result<Option<Uuid>, StoreError> {
        let database = StoreError::database("looking up a claim");
        let mut connection = self.kept.take().await.map_err(database)?;
        let holder: Option<String> = sqlx::query_scalar(
            "SELECT aggregate_id FROM claims WHERE namespace = $1 AND value = $2",
        )
        .bind(namespace)
        .bind(value)
        .fetch_optional(&mut *connection)
        .await
        .map_err(database)?;
        self.kept.give_back(connection);
        Ok(holder.and_then(|id| id.parse().ok()))
    }

    /// The streams whose newest event is one of `event_types` and is older than `age`, oldest
    /// first, at most `limit`. Ages are measured by PostgreSQL's clock.
    pub async fn resting_since(
        &self,
        aggregate_type: &str,
        event_types: &[&str],
        age: Duration,
        limit: usize,
    ) -> Result<Vec<Resting>, StoreError> {
        let rows: Vec<(String, i64, i64)> = sqlx::query_as(
            "SELECT aggregate_id, position, sequence
             FROM (SELECT DISTINCT ON (aggregate_id) aggregate_id, position, sequence, event_type, recorded_at
                   FROM events WHERE aggregate_type = $1
                   ORDER BY aggregate_id, sequence DESC) newest
             WHERE event_type = ANY ($2) AND recorded_at < now() - make_interval(secs => $3)
             ORDER BY position LIMIT $4",
        )
        .bind(aggregate_type)
        .bind(event_types)
        .bind(age.as_secs_f64())
        .bind(i64::try_from(limit).unwrap_or(i64::MAX))
        .fetch_all(self.pool())
        .await
        .map_err(StoreError::database("looking for resting streams"))?;
        let resting = |(id, position, version): (String, i64, i64)| {
            Some(Resting { id: id.parse().ok()?, position: Position(position), version })
        };
        Ok(rows.into_iter().filter_map(resting).collect())
    }

    /// Whether this program is older than what writes the log.
    pub fn outdated(&self) -> &Outdated {
        self.tail.outdated()
    }

    /// The one reader of this process that follows the log.
    pub fn tail(&self) -> &Tail {
        &self.tail
    }
}

/// Drops the keys of those who are erased from now on, whichever server erased them.
async fn forget_erased(tail: Tail, vault: Vault) {
    let mut seen = tail.head();
    loop {
        match tail.next(seen, FORGET_MAX).await {
            Ok(events) => {
                let erased =
                    events.iter().filter(|event| ERASURES.contains(&event.event_type.as_str()));
                erased.for_each(|event| vault.forget(event.aggregate_id));
                let Some(newest) = events.last() else { return };
                seen = newest.position;
                continue;
            }
            Err(error) => {
                let error: &dyn std::error::Error = &error;
                warn!(error, "reading the log for erasures");
            }
        }
        tokio::time::sleep(FORGET_AGAIN).await;
    }
}

/// The newest position of the log behind a connection or a pool.
pub async fn head(executor: impl PgExecutor<'_>) -> Result<Position, StoreError> {
    sqlx::query_scalar("SELECT coalesce(max(position), 0) FROM events")
        .fetch_one(executor)
        .await
        .map(Position)
        .map_err(StoreError::database("reading the head of the log"))
}

/// The events of one stream of the log behind a connection or a pool, up to a position, in order.
pub async fn stream(
    executor: impl PgExecutor<'_>,
    aggregate_type: &str,
    aggregate_id: Uuid,
    until: Position,
) -> Result<Vec<RecordedEvent>, StoreError> {
    let rows: Vec<EventRow> = sqlx::query_as(&format!(
        "SELECT {EVENT_COLUMNS} FROM events
         WHERE aggregate_type = $1 AND aggregate_id = $2 AND position <= $3 ORDER BY sequence"
    ))
    .bind(aggregate_type)
    .bind(aggregate_id.to_string())
    .bind(until.0)
    .fetch_all(executor)
    .await
    .map_err(StoreError::database("reading a stream"))?;
    rows.into_iter().map(EventRow::into_event).collect()
}

/// The newest event of the log behind a connection that was recorded at a time or before it;
/// [`Position::START`] if there is none.
///
/// Times never run backwards along the positions, so that a search by halves finds it.
pub async fn position_at(
    connection: &mut PgConnection,
    time: DateTime<Utc>,
) -> Result<Position, StoreError> {
    let (mut before, mut after) = (0, head(&mut *connection).await?.0 + 1);
    while after - before > 1 {
        let middle = before + (after - before) / 2;
        let is_by_then: bool =
            sqlx::query_scalar("SELECT recorded_at <= $2 FROM events WHERE position = $1")
                .bind(middle)
                .bind(time)
                .fetch_one(&mut *connection)
                .await
                .map_err(StoreError::database("searching the log by time"))?;
        if is_by_then { before = middle } else { after = middle }
    }
    Ok(Position(before))
}

/// The events after a position, in order, at most `limit`.
pub(crate) async fn read(
    executor: impl PgExecutor<'_>,
    after: Position,
    limit: i64,
) -> Result<Vec<RecordedEvent>, StoreError> {
    let rows: Vec<EventRow> = sqlx::query_as(&format!(
        "SELECT {EVENT_COLUMNS} FROM events WHERE position > $1 ORDER BY position LIMIT $2"
    ))
    .bind(after.0)
    .bind(limit)
    .fetch_all(executor)
    .await
    .map_err(StoreError::database("reading the log"))?;
    rows.into_iter().map(EventRow::into_event).collect()
}

/// What is selected of an event; the JSON as the text that was written.
pub(crate) const EVENT_COLUMNS: &str = "position, aggregate_type, aggregate_id, sequence, event_type, \
     event_version, payload::text AS payload, metadata::text AS metadata, recorded_at";

#[derive(sqlx::FromRow)]
pub(crate) struct EventRow {
    position: i64,
    aggregate_type: String,
    aggregate_id: String,
    sequence: i64,
    event_type: String,
    event_version: String,
    payload: String,
    metadata: String,
    recorded_at: DateTime<Utc>,
}

impl EventRow {
    /// Writes down aggregate type, id and sequence, as the database has them.
    pub(crate) fn place_in_stream(&self, (noun, id, sequence): &mut (String, String, i64)) {
        noun.clone_from(&self.aggregate_type);
        id.clone_from(&self.aggregate_id);
        *sequence = self.sequence;
    }

    /// How long the texts are that can be of any length.
    pub(crate) fn bytes(&self) -> usize {
        self.payload.len() + self.metadata.len()
    }

    pub(crate) fn into_event(self) -> Result<RecordedEvent, StoreError> {
        let malformed = || StoreError::Malformed { position: Position(self.position) };
        let metadata: BTreeMap<String, String> =
            serde_json::from_str(&self.metadata).map_err(|_| malformed())?;
        let aggregate_id: Uuid = self.aggregate_id.parse().map_err(|_| malformed())?;
        Ok(RecordedEvent {
            position: Position(self.position),
            aggregate_type: self.aggregate_type,
            aggregate_id,
            sequence: self.sequence,
            event_type: self.event_type,
            event_version: self.event_version,
            payload: self.payload,
            metadata,
            recorded_at: self.recorded_at,
        })
    }
}
