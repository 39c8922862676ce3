//! Aggregates from the log, by the contract of `cqrs_es::EventStore`.

use std::collections::HashMap;

use cqrs_es::persist::{PersistedEventRepository, SerializedEvent};
use cqrs_es::{AggregateContext, AggregateError, EventEnvelope};
use orion_domain::AggregateRoot;
use postgres_es::PostgresEventRepository;
use tracing::warn;
use uuid::Uuid;

use crate::commit::{AppendError, Commit};
use crate::error::StoreError;
use crate::log::Log;

/// A snapshot is written each time a stream has grown by this many events.
pub const SNAPSHOT_EVERY: i64 = 100;

/// Reads streams through postgres-es, appends through the group commit.
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

    /// The state of an aggregate: its newest snapshot that still fits, and the events since.
    pub async fn load<A: AggregateRoot>(&self, id: Uuid) -> Result<Loaded<A>, StoreError> {
        let mut loaded = match self.snapshot::<A>(id).await {
            Some(snapshot) => snapshot,
            None => Loaded { id, version: 0, aggregate: A::default() },
        };
        let last = usize::try_from(loaded.version).unwrap_or_default();
        let events = self
            .repository
            .get_last_events::<A>(&id.to_string(), last)
            .await
            .map_err(|source| StoreError::Stream { stream: stream_name::<A>(id), source })?;
        for event in events {
            loaded.version = i64::try_from(event.sequence).unwrap_or(i64::MAX);
            loaded.aggregate.apply(decode::<A>(event)?);
        }
        Ok(loaded)
    }

    /// Keeps the state for faster loads. `aggregate` has applied the stream up to `version`.
    ///
    /// A snapshot that cannot be written costs speed, not truth: it is logged and forgotten.
    pub async fn save_snapshot<A: AggregateRoot>(&self, id: Uuid, version: i64, aggregate: &A) {
        let written = async {
            let payload = serde_json::to_value(aggregate)?;
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

    async fn snapshot<A: AggregateRoot>(&self, id: Uuid) -> Option<Loaded<A>> {
        let found = self.repository.get_snapshot::<A>(&id.to_string()).await;
        let snapshot = found
            .inspect_err(|error| warn!(%error, aggregate_type = A::TYPE, %id, "snapshot not read"))
            .ok()??;
        if i64::try_from(snapshot.current_snapshot) != Ok(i64::from(A::SNAPSHOT_SHAPE)) {
            return None;
        }
        let aggregate: A = serde_json::from_value(snapshot.aggregate).ok()?;
        // `null` reads as an aggregate that was never made, which no snapshot is of.
        if !aggregate.exists() {
            return None;
        }
        let version = i64::try_from(snapshot.current_sequence).ok()?;
        Some(Loaded { id, version, aggregate })
    }
}

fn stream_name<A: AggregateRoot>(id: Uuid) -> String {
    format!("{} {id}", A::TYPE)
}

fn decode<A: AggregateRoot>(event: SerializedEvent) -> Result<A::Event, StoreError> {
    let SerializedEvent { aggregate_id, sequence, event_type, event_version, payload, .. } = event;
    orion_domain::event::decode_value::<A>(&event_type, &event_version, &payload).map_err(
        |source| StoreError::Event {
            stream: format!("{} {aggregate_id}", A::TYPE),
            sequence,
            source,
        },
    )
}

impl<A: AggregateRoot> cqrs_es::EventStore<A> for EventStore {
    type AC = Loaded<A>;

    async fn load_events(
        &self,
        aggregate_id: &str,
    ) -> Result<Vec<EventEnvelope<A>>, AggregateError<A::Error>> {
        let events = self.repository.get_events::<A>(aggregate_id).await?;
        events
            .into_iter()
            .map(|event| {
                Ok(EventEnvelope {
                    aggregate_id: event.aggregate_id.clone(),
                    sequence: event.sequence,
                    metadata: serde_json::from_value(event.metadata.clone()).map_err(unexpected)?,
                    payload: decode::<A>(event).map_err(unexpected)?,
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
        commit.append::<A>(context.id, context.version, &events).map_err(unexpected)?;
        self.log.append(commit).await.map_err(|error| match error {
            AppendError::Conflict => AggregateError::AggregateConflict,
            AppendError::Repeated(_)
            | AppendError::Taken { .. }
            | AppendError::Data(_)
            | AppendError::Overloaded
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
