//! Picking events by what the log's columns say of them.

use chrono::{DateTime, Utc};
use orion_domain::Event;
use sqlx::{PgExecutor, Postgres, QueryBuilder};
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

/// A filter that no event can match, for this program knows no such name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no {what} {name:?}; there are {}", near.join(", "))]
pub struct UnknownName {
    what: &'static str,
    name: String,
    /// What may have been meant.
    near: Vec<String>,
}

impl Selection {
    /// Refuses event types and nouns that this program does not know: a misspelt one would look like a log
    /// without such events.
    pub fn check_names(&self) -> Result<(), UnknownName> {
        let unknown_type =
            self.event_types.iter().flatten().find(|name| types().all(|known| known != *name));
        if let Some(name) = unknown_type {
            let (what, name) = ("event type", name.clone());
            return Err(UnknownName { what, near: types_near(&name), name });
        }
        match &self.aggregate_type {
            Some(name) if !nouns().contains(&name.as_str()) => Err(UnknownName {
                what: "aggregate",
                name: name.clone(),
                near: nouns().into_iter().map(str::to_owned).collect(),
            }),
            Some(_) | None => Ok(()),
        }
    }

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
        let database = StoreError::database("searching the log");
        let mut connection = self.kept().take().await.map_err(database)?;
        select(&mut *connection, selection, after, before, is_from_end, limit).await
    }

    /// How many events of the whole log are wanted.
    pub async fn count(&self, selection: &Selection) -> Result<i64, StoreError> {
        let mut sql = QueryBuilder::new("SELECT count(*) FROM events WHERE true");
        selection.push(&mut sql);
        let database = StoreError::database("counting in the log");
        let mut connection = self.kept().take().await.map_err(database)?;
        sql.build_query_scalar().fetch_one(&mut *connection).await.map_err(database)
    }
}

/// The wanted events of the log behind a connection or a pool between two positions, both left out, in order: the
/// first `limit` of them, or the last.
pub async fn select(
    executor: impl PgExecutor<'_>,
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
        .fetch_all(executor)
        .await
        .map_err(StoreError::database("searching the log"))?;
    let mut events = rows.into_iter().map(EventRow::into_event).collect::<Result<Vec<_>, _>>()?;
    if is_from_end {
        events.reverse();
    }
    Ok(events)
}

fn types() -> impl Iterator<Item = &'static str> {
    Event::types().map(|(event_type, _)| event_type)
}

/// The nouns of all events, as `aggregate_type` has them.
fn nouns() -> Vec<&'static str> {
    let mut nouns: Vec<_> =
        types().filter_map(|event_type| Some(event_type.split_once('.')?.0)).collect();
    nouns.dedup();
    nouns
}

/// The event types of the same noun, or else those with which the same happened, or else of which nouns there
/// are some.
fn types_near(name: &str) -> Vec<String> {
    let (noun, what) = name.split_once('.').unwrap_or((name, name));
    let with = |is_near: &dyn Fn((&str, &str)) -> bool| -> Vec<String> {
        let near = types().filter(|known| known.split_once('.').is_some_and(is_near));
        near.map(str::to_owned).collect()
    };
    let near = [with(&|known| known.0 == noun), with(&|known| known.1 == what)];
    let near = near.into_iter().find(|near| !near.is_empty());
    near.unwrap_or_else(|| nouns().iter().map(|noun| format!("{noun}.…")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(event_type: Option<&str>, noun: Option<&str>) -> Option<String> {
        let selection = Selection {
            event_types: event_type.map(|name| vec!["trend.detected".to_owned(), name.to_owned()]),
            aggregate_type: noun.map(str::to_owned),
            ..Selection::default()
        };
        selection.check_names().err().map(|unknown| unknown.to_string())
    }

    #[test]
    fn a_name_that_nothing_has_is_refused_with_those_near_it() {
        assert_eq!(refusal(Some("content.approved"), Some("service_token")), None);
        for (event_type, noun, expected) in [
            (
                Some("trend.detcted"),
                None,
                "there is no event type \"trend.detcted\"; there are trend.detected, trend.rescored, \
                 trend.expired, trend.archived",
            ),
            (
                Some("contents.approved"),
                None,
                "there is no event type \"contents.approved\"; there are content.approved",
            ),
            (
                Some("nonsense"),
                None,
                "there is no event type \"nonsense\"; there are user.…, session.…, trend.…, content.…, \
                 publish.…, social_account.…, provider.…, service_token.…",
            ),
            (
                None,
                Some("contents"),
                "there is no aggregate \"contents\"; there are user, session, trend, content, publish, \
                 social_account, provider, service_token",
            ),
        ] {
            assert_eq!(refusal(event_type, noun).as_deref(), Some(expected));
        }
    }
}
