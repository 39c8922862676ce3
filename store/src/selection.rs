//! Picking events by what the log's columns say of them.

use chrono::{DateTime, Utc};
use sqlx::{PgPool, Postgres, QueryBuilder};
use uuid::Uuid;

use crate::error::StoreError;
use crate::log::{EVENT_COLUMNS, EventRow, Log};
use crate::record::{Position, RecordedEvent};

/// Which events are wanted; what is `None` does not matter.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selection {
    /// Of one of these types.
    pub event_types: Option<Vec<String>>,
    /// Of this noun.
    pub aggregate_type: Option<String>,
    /// Of this aggregate.
    pub aggregate_id: Option<Uuid>,
    /// Caused by this actor.
    pub actor: Option<String>,
    /// Appended then or later.
    pub since: Option<DateTime<Utc>>,
    /// Appended earlier.
    pub before: Option<DateTime<Utc>>,
}

impl Selection {
    /// True when an event is wanted.
    pub fn matches(&self, event: &RecordedEvent) -> bool {
        self.event_types.as_ref().is_none_or(|types| types.contains(&event.event_type))
            && self.aggregate_type.as_ref().is_none_or(|wanted| *wanted == event.aggregate_type)
            && self.aggregate_id.is_none_or(|wanted| wanted == event.aggregate_id)
            && self.actor.as_ref().is_none_or(|wanted| event.metadata.get("actor") == Some(wanted))
            && self.since.is_none_or(|since| event.recorded_at >= since)
            && self.before.is_none_or(|before| event.recorded_at < before)
    }

    fn push(&self, sql: &mut QueryBuilder<'_, Postgres>) {
        if let Some(types) = &self.event_types {
            sql.push(" AND event_type = ANY (").push_bind(types.clone()).push(")");
        }
        if let Some(aggregate_type) = &self.aggregate_type {
            sql.push(" AND aggregate_type = ").push_bind(aggregate_type.clone());
        }
        if let Some(aggregate_id) = self.aggregate_id {
            sql.push(" AND aggregate_id = ").push_bind(aggregate_id.to_string());
        }
        if let Some(actor) = &self.actor {
            sql.push(" AND metadata ->> 'actor' = ").push_bind(actor.clone());
        }
        if let Some(since) = self.since {
            sql.push(" AND recorded_at >= ").push_bind(since);
        }
        if let Some(before) = self.before {
            sql.push(" AND recorded_at < ").push_bind(before);
        }
    }
}

impl Log {
    /// The wanted events of this log; see [`select`].
    pub async fn select(
        &self,
        selection: &Selection,
        after: Option<Position>,
        before: Option<Position>,
        is_from_end: bool,
        limit: i64,
    ) -> Result<Vec<RecordedEvent>, StoreError> {
        select(self.pool(), selection, after, before, is_from_end, limit).await
    }

    /// How many events of the whole log are wanted.
    pub async fn count(&self, selection: &Selection) -> Result<i64, StoreError> {
        let mut sql = QueryBuilder::new("SELECT count(*) FROM events WHERE true");
        selection.push(&mut sql);
        sql.build_query_scalar()
            .fetch_one(self.pool())
            .await
            .map_err(StoreError::database("counting in the log"))
    }
}

/// The wanted events of the log behind a pool between two positions, both left out, in order: the
/// first `limit` of them, or the last.
pub async fn select(
    pool: &PgPool,
    selection: &Selection,
    after: Option<Position>,
    before: Option<Position>,
    is_from_end: bool,
    limit: i64,
) -> Result<Vec<RecordedEvent>, StoreError> {
    let mut sql = QueryBuilder::new(format!("SELECT {EVENT_COLUMNS} FROM events WHERE true"));
    if let Some(after) = after {
        sql.push(" AND position > ").push_bind(after.0);
    }
    if let Some(before) = before {
        sql.push(" AND position < ").push_bind(before.0);
    }
    selection.push(&mut sql);
    let direction = if is_from_end { "DESC" } else { "ASC" };
    sql.push(format!(" ORDER BY position {direction} LIMIT ")).push_bind(limit);
    let rows: Vec<EventRow> = sql
        .build_query_as()
        .fetch_all(pool)
        .await
        .map_err(StoreError::database("searching the log"))?;
    let mut events = rows.into_iter().map(EventRow::into_event).collect::<Result<Vec<_>, _>>()?;
    if is_from_end {
        events.reverse();
    }
    Ok(events)
}
