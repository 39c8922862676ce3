//! Aggregates from the log, by the contract of `cqrs_es::EventStore`.

use std::collections::HashMap;
use std::fmt::Display;

use cqrs_es::persist::{PersistedEventRepository, SerializedEvent};
use cqrs_es::{AggregateContext, AggregateError, DomainEvent as _, EventEnvelope};
use orion_domain::values::Ciphertext;
use orion_domain::{AggregateRoot, event};
use postgres_es::PostgresEventRepository;
use serde_json::Value;
use sqlx::types::Json;
use tracing::warn;
use uuid::Uuid;

use crate::commit::{AppendError, Commit};
use crate::error::StoreError;
use crate::log::Log;
use crate::vault::{KeyRing, Place, ReadError, SealingKey};

/// A snapshot is written each time a stream has grown by this many events.
pub const SNAPSHOT_EVERY: i64 = 100;

/// Loads streams in one statement each, appends through the group commit; postgres-es reads for the
/// contract of cqrs-es.
#[derive(Clone)]
pub struct EventStore {
    log: Log,
    repository: std::sync::Arc<PostgresEventRepository>,
}

/// An aggregate as the log has it at one version of its stream.
#[derive(Clone, Debug)]
pub struct Loaded<A> {
    /// Whose stream it is.
    pub id: Uuid,
    /// The newest sequence that the state has seen; 0 for an empty stream.
    pub version: i64,
    /// The state.
    pub aggregate: A,
}

/// What is read of a stream: its snapshot, without a type, or an event.
#[derive(sqlx::FromRow)]
struct StreamRow {
    sequence: i64,
    event_type: Option<String>,
    event_version: Option<String>,
    payload: Json<Value>,
}

/// A state as it was kept, personal values sealed.
struct StoredSnapshot {
    version: i64,
    state: Value,
}

impl<A: AggregateRoot> Loaded<A> {
    /// An aggregate whose stream is empty.
    pub fn empty(id: Uuid) -> Self {
        Self { id, version: 0, aggregate: A::default() }
    }
}

impl<A: AggregateRoot> AggregateContext<A> for Loaded<A> {
    fn aggregate(&mut self) -> &mut A {
        &mut self.aggregate
    }
}

impl EventStore {
    /// Works on a log.
    pub fn new(log: Log) -> Self {
        let repository = PostgresEventRepository::new(log.pool().clone());
        Self { log, repository: std::sync::Arc::new(repository) }
    }

    /// The log below.
    pub fn log(&self) -> &Log {
        &self.log
    }

    /// The same store for those who must not be sent away, see [`Kept::patient`](crate::Kept::patient).
    #[must_use]
    pub fn patient(&self) -> Self {
        Self { log: self.log.patient(), ..self.clone() }
    }

    /// The state of an aggregate: its newest snapshot that still fits, and the events since.
    pub async fn load<A: AggregateRoot>(&self, id: Uuid) -> Result<Loaded<A>, StoreError> {
        let (snapshot, mut events) = self.read::<A>(id, Some(A::SNAPSHOT_SHAPE)).await?;
        let mut loaded = Loaded::empty(id);
        if let Some(snapshot) = snapshot {
            if let Some(opened) = self.open_snapshot::<A>(id, snapshot).await {
                loaded = opened;
            } else {
                (_, events) = self.read::<A>(id, None).await?;
            }
        }
        self.folded(loaded, events).await
    }

    /// The snapshot of this shape, if it is wanted, and the events since; all in one statement.
    async fn read<A: AggregateRoot>(
        &self,
        id: Uuid,
        shape: Option<i32>,
    ) -> Result<(Option<StoredSnapshot>, Vec<SerializedEvent>), StoreError> {
        let database = StoreError::database("reading a stream");
        let mut connection = self.log.kept().take().await.map_err(database)?;
        let rows: Vec<StreamRow> = sqlx::query_as(
            "WITH snapshot AS (
                 SELECT last_sequence, payload FROM snapshots
                 WHERE aggregate_type = $1 AND aggregate_id = $2 AND current_snapshot = $3
             )
             SELECT last_sequence AS sequence, NULL AS event_type, NULL AS event_version, payload FROM snapshot
             UNION ALL
             SELECT sequence, event_type, event_version, payload FROM events
             WHERE aggregate_type = $1 AND aggregate_id = $2
               AND sequence > coalesce((SELECT last_sequence FROM snapshot), 0)
             ORDER BY sequence",
        )
        .bind(A::TYPE)
        .bind(id.to_string())
        .bind(shape.map(i64::from))
        .fetch_all(&mut *connection)
        .await
        .map_err(database)?;
        self.log.kept().give_back(connection);
        let mut snapshot = None;
        let mut events = Vec::with_capacity(rows.len());
        for StreamRow { sequence, event_type, event_version, payload: Json(payload) } in rows {
            match event_type.zip(event_version) {
                None => snapshot = Some(StoredSnapshot { version: sequence, state: payload }),
                Some((event_type, event_version)) => events.push(SerializedEvent::new(
                    id.to_string(),
                    usize::try_from(sequence).unwrap_or_default(),
                    A::TYPE.to_owned(),
                    event_type,
                    event_version,
                    payload,
                    Value::Null,
                )),
            }
        }
        Ok((snapshot, events))
    }

    async fn folded<A: AggregateRoot>(
        &self,
        mut loaded: Loaded<A>,
        events: Vec<SerializedEvent>,
    ) -> Result<Loaded<A>, StoreError> {
        let ring = self.ring::<A>(&events).await?;
        for event in events {
            loaded.version = i64::try_from(event.sequence).unwrap_or(i64::MAX);
            loaded.aggregate.apply(decode::<A>(&ring, event)?);
        }
        Ok(loaded)
    }

    /// Adds to a commit what an aggregate decided at `version`, personal values sealed.
    /// `aggregate` is the state after the events.
    pub async fn add<A: AggregateRoot>(
        &self,
        commit: &mut Commit,
        id: Uuid,
        version: i64,
        aggregate: &A,
        events: &[A::Event],
    ) -> Result<(), StoreError> {
        let mut payloads: Vec<Value> =
            events.iter().map(event::payload).collect::<Result<_, _>>()?;
        if event::is_personal(A::TYPE) {
            for (event, payload) in events.iter().zip(&mut payloads) {
                if event::is_marked(payload) {
                    let subject = aggregate.subject(id).ok_or(StoreError::Unsealed)?;
                    let place = place::<A>(id, event.event_type(), event.event_version());
                    self.sealing_key(commit, subject).await?.seal_marked(&place, payload);
                }
            }
        }
        commit.append_sealed::<A>(id, version, events, payloads);
        Ok(())
    }

    /// Encrypts a text under a subject's key, for a column that holds ciphertext.
    /// A subject that is new with this commit gets its key with it.
    pub async fn seal_text(
        &self,
        commit: &mut Commit,
        subject: Uuid,
        place: &str,
        clear: &str,
    ) -> Result<Ciphertext, StoreError> {
        Ok(self.sealing_key(commit, subject).await?.seal_text(place, clear))
    }

    async fn sealing_key<'c>(
        &self,
        commit: &'c mut Commit,
        subject: Uuid,
    ) -> Result<&'c SealingKey, StoreError> {
        let known = commit.sealing.iter().position(|key| key.subject() == subject);
        let index = known.unwrap_or(commit.sealing.len());
        if known.is_none() {
            commit.sealing.push(self.log.vault().sealing_key(subject).await?);
        }
        Ok(&commit.sealing[index])
    }

    /// The keys for events of one aggregate.
    async fn ring<A: AggregateRoot>(
        &self,
        events: &[SerializedEvent],
    ) -> Result<KeyRing, StoreError> {
        if !event::is_personal(A::TYPE) {
            return Ok(KeyRing::default());
        }
        self.log.vault().ring_of_payloads(events.iter().map(|event| &event.payload)).await
    }

    /// Keeps the state for faster loads. `aggregate` has applied the stream up to `version`.
    ///
    /// A snapshot that cannot be written costs speed, not truth: it is logged and forgotten.
    pub async fn save_snapshot<A: AggregateRoot>(&self, id: Uuid, version: i64, aggregate: &A) {
        let written = async {
            let mut payload = serde_json::to_value(aggregate)?;
            if let Some(subject) = aggregate.subject(id).filter(|_| event::is_marked(&payload)) {
                let key = self.log.vault().sealing_key(subject).await?;
                debug_assert!(key.fresh.is_none(), "whoever has personal values has a key");
                key.seal_marked(&snapshot_place::<A>(id), &mut payload);
            }
            sqlx::query(
                "INSERT INTO snapshots (aggregate_type, aggregate_id, last_sequence, current_snapshot, payload)
                 VALUES ($1, $2, $3, $4, $5)
                 ON CONFLICT (aggregate_type, aggregate_id) DO UPDATE
                 SET last_sequence = excluded.last_sequence, current_snapshot = excluded.current_snapshot,
                     payload = excluded.payload
                 WHERE snapshots.last_sequence < excluded.last_sequence
                    OR snapshots.current_snapshot <> excluded.current_snapshot",
            )
            .bind(A::TYPE)
            .bind(id.to_string())
            .bind(version)
            .bind(i64::from(A::SNAPSHOT_SHAPE))
            .bind(payload)
            .execute(self.log.pool())
            .await
            .map_err(StoreError::database("writing a snapshot"))
        };
        if let Err(error) = written.await {
            let error: &dyn std::error::Error = &error;
            warn!(error, aggregate_type = A::TYPE, %id, "snapshot not written");
        }
    }

    /// The state in a snapshot; `None` where it cannot be read, and the events have to do.
    async fn open_snapshot<A: AggregateRoot>(
        &self,
        id: Uuid,
        StoredSnapshot { version, mut state }: StoredSnapshot,
    ) -> Option<Loaded<A>> {
        if event::is_personal(A::TYPE) {
            let opened = async {
                let ring = self.log.vault().ring_of_payloads([&state]).await?;
                Ok::<_, StoreError>(ring.open_sealed(&snapshot_place::<A>(id), &mut state)?)
            };
            opened
                .await
                .inspect_err(
                    |error| warn!(%error, aggregate_type = A::TYPE, %id, "snapshot not read"),
                )
                .ok()?;
        }
        let aggregate: A = serde_json::from_value(state).ok()?;
        // `null` reads as an aggregate that was never made, which no snapshot is of.
        aggregate.exists().then_some(Loaded { id, version, aggregate })
    }
}

fn place<A: AggregateRoot>(id: impl Display, kind: String, version: String) -> Place {
    Place { stream: format!("{} {id}", A::TYPE), kind, version }
}

fn snapshot_place<A: AggregateRoot>(id: Uuid) -> Place {
    place::<A>(id, "snapshot".to_owned(), A::SNAPSHOT_SHAPE.to_string())
}

fn decode<A: AggregateRoot>(
    ring: &KeyRing,
    event: SerializedEvent,
) -> Result<A::Event, StoreError> {
    let SerializedEvent { aggregate_id, sequence, event_type, event_version, .. } = event;
    let mut payload = event.payload;
    let opened = if event::is_personal(A::TYPE) {
        let place = place::<A>(&aggregate_id, event_type.clone(), event_version.clone());
        ring.open_sealed(&place, &mut payload)
    } else {
        Ok(())
    };
    let decoded = opened
        .map_err(ReadError::from)
        .and_then(|()| Ok(event::decode_value::<A>(&event_type, &event_version, &payload)?));
    decoded.map_err(|source| StoreError::Event {
        stream: format!("{} {aggregate_id}", A::TYPE),
        sequence,
        source,
    })
}

impl<A: AggregateRoot> cqrs_es::EventStore<A> for EventStore {
    type AC = Loaded<A>;

    async fn load_events(
        &self,
        aggregate_id: &str,
    ) -> Result<Vec<EventEnvelope<A>>, AggregateError<A::Error>> {
        let events = self.repository.get_events::<A>(aggregate_id).await?;
        let ring = self.ring::<A>(&events).await.map_err(unexpected)?;
        events
            .into_iter()
            .map(|event| {
                Ok(EventEnvelope {
                    aggregate_id: event.aggregate_id.clone(),
                    sequence: event.sequence,
                    metadata: serde_json::from_value(event.metadata.clone()).map_err(unexpected)?,
                    payload: decode::<A>(&ring, event).map_err(unexpected)?,
                })
            })
            .collect()
    }

    async fn load_aggregate(
        &self,
        aggregate_id: &str,
    ) -> Result<Loaded<A>, AggregateError<A::Error>> {
        let id = aggregate_id.parse().map_err(unexpected)?;
        self.load(id).await.map_err(unexpected)
    }

    async fn commit(
        &self,
        events: Vec<A::Event>,
        context: Loaded<A>,
        metadata: HashMap<String, String>,
    ) -> Result<Vec<EventEnvelope<A>>, AggregateError<A::Error>> {
        let mut commit = Commit::new(metadata.clone().into_iter().collect());
        let Loaded { id, version, aggregate } = &context;
        self.add(&mut commit, *id, *version, aggregate, &events).await.map_err(unexpected)?;
        self.log.append(commit).await.map_err(|error| match error {
            AppendError::Conflict => AggregateError::AggregateConflict,
            AppendError::Repeated(_)
            | AppendError::Taken { .. }
            | AppendError::Data(_)
            | AppendError::Overloaded
            | AppendError::DiskFull(_)
            | AppendError::Unavailable(_) => unexpected(error),
        })?;
        let first = usize::try_from(context.version + 1).unwrap_or_default();
        Ok(events
            .into_iter()
            .zip(first..)
            .map(|(payload, sequence)| EventEnvelope {
                aggregate_id: context.id.to_string(),
                sequence,
                payload,
                metadata: metadata.clone(),
            })
            .collect())
    }
}

fn unexpected<E: std::error::Error>(
    error: impl std::error::Error + Send + Sync + 'static,
) -> AggregateError<E> {
    AggregateError::UnexpectedError(Box::new(error))
}
