//! The log itself, for admins.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_graphql::connection::CursorType;
use async_graphql::{Context, ID, InputObject, Json, Object, Result, SimpleObject};
use chrono::{DateTime, Utc};
use orion_commands::Action;
use orion_projections::{NOTIFICATIONS, Progress, READ_MODEL, Status};
use orion_store::seal::newest_seal_by;
use orion_store::{Position as LogPosition, RecordedEvent, Selection};
use serde_json::Value;

use super::connection::{Connection, Total};
use super::context::ContextExt as _;
use super::error::{bad_input, internal};
use super::page::page_size;
use super::scalars::{Position, uuid};

/// An event of the log.
pub struct Event(pub Arc<RecordedEvent>);

/// An event of the log.
#[Object]
impl Event {
    /// Its place in the log.
    async fn position(&self) -> Position {
        Position(self.0.position)
    }
    /// The noun whose event it is.
    async fn aggregate_type(&self) -> &str {
        &self.0.aggregate_type
    }
    /// The aggregate whose event it is.
    async fn aggregate_id(&self) -> ID {
        self.0.aggregate_id.into()
    }
    /// Its place in its stream, from 1.
    async fn sequence(&self) -> i64 {
        self.0.sequence
    }
    /// Its stable name, such as `content.drafted`.
    async fn event_type(&self) -> &str {
        &self.0.event_type
    }
    /// The version of its fields.
    async fn event_version(&self) -> &str {
        &self.0.event_version
    }
    /// Its fields. Secrets and personal values are left out.
    async fn payload(&self) -> Json<Value> {
        Json(self.0.redacted_payload())
    }
    /// Who caused it, by which command, in which request.
    async fn metadata(&self) -> Json<&BTreeMap<String, String>> {
        Json(&self.0.metadata)
    }
    /// When it was appended; never earlier than the event before it.
    async fn recorded_at(&self) -> DateTime<Utc> {
        self.0.recorded_at
    }
}

/// A place in a list of events.
pub struct EventCursor(LogPosition);

impl CursorType for EventCursor {
    type Error = &'static str;

    fn decode_cursor(text: &str) -> Result<Self, Self::Error> {
        text.parse().map(|position| Self(LogPosition(position))).map_err(|_| "malformed cursor")
    }

    fn encode_cursor(&self) -> String {
        self.0.to_string()
    }
}

/// Which events are shown.
#[derive(InputObject, Clone, Debug, Default)]
pub struct EventFilter {
    /// Of these types, such as `content.drafted`.
    pub event_types: Option<Vec<String>>,
    /// Of this noun, such as `content`.
    pub aggregate_type: Option<String>,
    /// Of this aggregate.
    pub aggregate_id: Option<ID>,
    /// Caused by this user, by `service:` and the id of a service token, or by `system`.
    pub actor: Option<String>,
    /// Appended then or later.
    pub since: Option<DateTime<Utc>>,
    /// Appended earlier.
    pub before: Option<DateTime<Utc>>,
}

impl EventFilter {
    /// Checks the filter.
    pub fn selection(self) -> Result<Selection> {
        Ok(Selection {
            event_types: self.event_types,
            aggregate_type: self.aggregate_type,
            aggregate_id: self.aggregate_id.as_ref().map(uuid).transpose()?,
            actor: self.actor,
            since: self.since,
            before: self.before,
        })
    }
}

/// A projection's place in the log.
#[derive(SimpleObject)]
pub struct ProjectionStatus {
    /// Its name.
    name: &'static str,
    /// Everything up to here is applied.
    position: Position,
    /// How many events it is behind.
    lag: i64,
    /// Why it stopped; null while it runs.
    error: Option<String>,
}

/// The state of the log and of what is computed from it.
#[derive(SimpleObject)]
pub struct LogStatus {
    /// The newest position.
    head: Position,
    /// Up to here a signed checkpoint covers the log; 0: there is none yet.
    sealed_size: Position,
    /// The root of the tree of the sealed events, in base64.
    sealed_root: Option<String>,
    /// What is computed from the log.
    projections: Vec<ProjectionStatus>,
}

/// Queries on the log.
#[derive(Default)]
pub struct EventQuery;

#[Object]
impl EventQuery {
    /// The events of the log, oldest first; admins only.
    #[expect(clippy::too_many_arguments, reason = "each is an argument of the field")]
    async fn events(
        &self,
        ctx: &Context<'_>,
        filter: Option<EventFilter>,
        first: Option<i32>,
        after: Option<String>,
        last: Option<i32>,
        before: Option<String>,
        min_position: Option<Position>,
    ) -> Result<Connection<EventCursor, Event>> {
        ctx.allow(Action::Audit)?;
        ctx.reach(min_position).await?;
        let (size, from_end) = page_size(first, last)?;
        let cursor = |text: Option<String>| {
            text.map(|text| EventCursor::decode_cursor(&text).map_err(bad_input)).transpose()
        };
        let after = cursor(after)?.map(|cursor| cursor.0);
        let before = cursor(before)?.map(|cursor| cursor.0);
        let selection = filter.unwrap_or_default().selection()?;
        let limit = i64::from(size) + 1;
        let log = ctx.app().bus.log();
        let mut events =
            log.select(&selection, after, before, from_end, limit).await.map_err(internal)?;
        let has_more = i64::try_from(events.len()).unwrap_or(limit) == limit;
        if has_more {
            if from_end { drop(events.remove(0)) } else { drop(events.pop()) }
        }
        let (has_previous, has_next) =
            if from_end { (has_more, before.is_some()) } else { (after.is_some(), has_more) };
        let total = Total::Unknown(Box::new(move |ctx| {
            let (log, selection) = (ctx.app().bus.log(), selection.clone());
            Box::pin(async move { log.count(&selection).await.map_err(internal) })
        }));
        let nodes =
            events.into_iter().map(|event| (EventCursor(event.position), Event(Arc::new(event))));
        Ok(Connection::new((has_previous, has_next), total, nodes))
    }

    /// How long the log is, and how far what is computed from it; admins only.
    async fn log(&self, ctx: &Context<'_>, min_position: Option<Position>) -> Result<LogStatus> {
        ctx.allow(Action::Audit)?;
        ctx.reach(min_position).await?;
        // In this order: what is sealed is in the log.
        let app = ctx.app();
        let log = app.bus.log();
        let seal = newest_seal_by(log.kept(), &app.log_keys).await.map_err(internal)?;
        let head = log.head().await.map_err(internal)?;
        let projections = [(READ_MODEL, &app.progress), (NOTIFICATIONS, &app.notified)];
        let status = |(name, progress): (&'static str, &Progress)| {
            let checkpoint = progress.now();
            ProjectionStatus {
                name,
                position: Position(checkpoint.position),
                lag: (head.0 - checkpoint.position.0).max(0),
                error: match checkpoint.status {
                    Status::Running => None,
                    Status::Stopped { error } => Some(error),
                },
            }
        };
        let projections = projections.into_iter().map(status).collect();
        let sealed_size = seal.as_ref().map_or(LogPosition::START, |seal| seal.size);
        let sealed_root = seal.map(|seal| seal.root);
        Ok(LogStatus {
            head: Position(head),
            sealed_size: Position(sealed_size),
            sealed_root,
            projections,
        })
    }
}
