//! Live updates: the tail of the log, as the caller may see it.

mod follow;
mod shared;

use std::sync::Arc;

use async_graphql::futures_util::Stream;
use async_graphql::{Context, ID, Result, SimpleObject};
use async_stream::try_stream;
use chrono::{DateTime, Utc};
use orion_commands::Action;
use orion_domain::{ContentEvent, Event as DomainEvent, PublishEvent};
use orion_projections::tables::{ContentRow, PipelineRunRow, PublishRecordRow, TrendRow};
use orion_store::RecordedEvent;
use tokio::time::sleep;
use uuid::Uuid;

pub use self::follow::{Follower, Run};
pub use self::shared::SharedWork;
use super::content::Content;
use super::context::{BEHIND_EVERY, ContextExt as _};
use super::error::{internal, is_behind};
use super::event::{Event, EventFilter};
use super::notification::{self, Notification};
use super::pipeline_run::PipelineRun;
use super::publish_record::PublishRecord;
use super::reader::{Entity, Found};
use super::scalars::{Position, uuid};
use super::trend::Trend;

const CONTENT: &str = "content";
const PUBLISH: &str = "publish";
const TREND: &str = "trend";

/// Everything that can be watched. Without `after` a subscription starts now; with it, right after
/// that position, without a gap.
pub struct Subscription;

macro_rules! change {
    ($(#[$meta:meta])* $name:ident { $(#[$field_meta:meta])* $field:ident: $object:ty }) => {
        $(#[$meta])*
        #[derive(SimpleObject)]
        pub struct $name {
            /// The event's place in the log; resume after it.
            position: Position,
            /// What happened, such as `content.drafted`.
            event_type: String,
            /// When it happened.
            recorded_at: DateTime<Utc>,
            $(#[$field_meta])*
            $field: $object,
        }
    };
}
change! {
    /// A content has changed.
    ContentChange {
        /// The content, not older than the event.
        content: Content
    }
}
change! {
    /// A trend has changed.
    TrendChange {
        /// The trend, not older than the event.
        trend: Trend
    }
}
/// Runs of stages have changed: one of them, or all that one event begins or ends.
#[derive(SimpleObject)]
pub struct PipelineRunChange {
    /// The event's place in the log; resume after it.
    position: Position,
    /// What happened, such as `content.stage_completed`.
    event_type: String,
    /// When it happened.
    recorded_at: DateTime<Utc>,
    /// The run, not older than the event; the first where the event changes several.
    pipeline_run: PipelineRun,
    /// All runs that the event changes, not older than it.
    pipeline_runs: Vec<PipelineRun>,
}

change! {
    /// An attempt to publish has ended.
    PublishRecordChange {
        /// The record, not older than the event.
        publish_record: PublishRecord
    }
}

/// Everything that can be watched. Without `after` a subscription starts now; with it, right after
/// that position, without a gap.
#[async_graphql::Subscription]
impl Subscription {
    /// The events of the log; admins only.
    async fn events<'a>(
        &self,
        ctx: &Context<'a>,
        after: Option<Position>,
        filter: Option<EventFilter>,
    ) -> Result<impl Stream<Item = Result<Event>> + 'a> {
        ctx.allow(Action::Audit)?;
        let selection = filter.unwrap_or_default().selection()?;
        let mut follower = Follower::start(ctx, after).await?;
        Ok(try_stream! {
            loop {
                let events = follower.next().await?;
                if events.is_empty() {
                    break;
                }
                for event in events {
                    if selection.matches(&event) {
                        follower.show(event.position);
                        yield Event(event);
                    }
                }
            }
        })
    }

    /// Changes of contents that the caller may see: of one, or of all.
    async fn content_changed<'a>(
        &self,
        ctx: &Context<'a>,
        id: Option<ID>,
        after: Option<Position>,
    ) -> Result<impl Stream<Item = Result<ContentChange>> + 'a> {
        let wanted = id.as_ref().map(uuid).transpose()?;
        let is_wanted = move |id: Uuid, _: &DomainEvent| {
            if wanted.is_none_or(|wanted| wanted == id) { vec![id] } else { vec![] }
        };
        let changes = changes::<ContentRow>(ctx, after, CONTENT, is_wanted).await?;
        Ok(try_stream! {
            for await change in changes {
                let (event, found, _) = change?;
                let (position, event_type, recorded_at) = head_of(&event);
                yield ContentChange { position, event_type, recorded_at, content: found.into() };
            }
        })
    }

    /// Changes of trends.
    async fn trend_changed<'a>(
        &self,
        ctx: &Context<'a>,
        after: Option<Position>,
    ) -> Result<impl Stream<Item = Result<TrendChange>> + 'a> {
        let changes = changes::<TrendRow>(ctx, after, TREND, |id, _| vec![id]).await?;
        Ok(try_stream! {
            for await change in changes {
                let (event, found, _) = change?;
                let (position, event_type, recorded_at) = head_of(&event);
                yield TrendChange { position, event_type, recorded_at, trend: found.into() };
            }
        })
    }

    /// Changes of the runs of contents that the caller may see: of one content, or of all.
    async fn pipeline_run_changed<'a>(
        &self,
        ctx: &Context<'a>,
        content_id: Option<ID>,
        after: Option<Position>,
    ) -> Result<impl Stream<Item = Result<PipelineRunChange>> + 'a> {
        let wanted = content_id.as_ref().map(uuid).transpose()?;
        let is_wanted = move |id: Uuid, event: &DomainEvent| {
            let DomainEvent::Content(event) = event else { return vec![] };
            if wanted.is_none_or(|wanted| wanted == id) { runs_of(event) } else { vec![] }
        };
        let changes = changes::<PipelineRunRow>(ctx, after, CONTENT, is_wanted).await?;
        Ok(try_stream! {
            for await change in changes {
                let (event, first, others) = change?;
                let (position, event_type, recorded_at) = head_of(&event);
                let all = std::iter::once(first.clone()).chain(others);
                let pipeline_runs = all.map(PipelineRun::from).collect();
                let pipeline_run = first.into();
                yield PipelineRunChange { position, event_type, recorded_at, pipeline_run, pipeline_runs };
            }
        })
    }

    /// What the caller is told, of the kinds that the caller wants to be pushed; to a machine nothing.
    async fn notification_received<'a>(
        &self,
        ctx: &Context<'a>,
        after: Option<Position>,
    ) -> Result<impl Stream<Item = Result<Notification>> + 'a> {
        notification::received(ctx, after).await
    }

    /// Results of publishing contents that the caller may see: of one content, or of all.
    async fn publish_recorded<'a>(
        &self,
        ctx: &Context<'a>,
        content_id: Option<ID>,
        after: Option<Position>,
    ) -> Result<impl Stream<Item = Result<PublishRecordChange>> + 'a> {
        let wanted = content_id.as_ref().map(uuid).transpose()?;
        let is_wanted = move |_: Uuid, event: &DomainEvent| {
            let DomainEvent::Publish(event) = event else { return vec![] };
            match event {
                PublishEvent::Succeeded { record_id, destination, .. }
                | PublishEvent::Failed { record_id, destination, .. }
                    if wanted.is_none_or(|id| id == destination.content_id.0) =>
                {
                    vec![record_id.0]
                }
                PublishEvent::Succeeded { .. }
                | PublishEvent::Failed { .. }
                | PublishEvent::Requested { .. }
                | PublishEvent::Retried {} => vec![],
            }
        };
        let changes = changes::<PublishRecordRow>(ctx, after, PUBLISH, is_wanted).await?;
        Ok(try_stream! {
            for await change in changes {
                let (event, found, _) = change?;
                let (position, event_type, recorded_at) = head_of(&event);
                yield PublishRecordChange { position, event_type, recorded_at, publish_record: found.into() };
            }
        })
    }
}

/// The runs that an event of a content changes.
fn runs_of(event: &ContentEvent) -> Vec<Uuid> {
    match event {
        ContentEvent::GenerationStarted { runs } => runs.iter().map(|run| run.run_id.0).collect(),
        ContentEvent::StageStarted { run_id, .. }
        | ContentEvent::StageCompleted { run_id, .. }
        | ContentEvent::StageFailed { run_id, .. } => vec![run_id.0],
        ContentEvent::GenerationFailed { abandoned, .. } => {
            abandoned.iter().map(|id| id.0).collect()
        }
        ContentEvent::Drafted { .. }
        | ContentEvent::Edited { .. }
        | ContentEvent::ScriptWritten { .. }
        | ContentEvent::MediaAssetAttached { .. }
        | ContentEvent::SubmittedForReview {}
        | ContentEvent::Approved { .. }
        | ContentEvent::Rejected { .. }
        | ContentEvent::ReturnedToDraft {}
        | ContentEvent::Published { .. } => vec![],
    }
}

fn head_of(event: &RecordedEvent) -> (Position, String, DateTime<Utc>) {
    (Position(event.position), event.event_type.clone(), event.recorded_at)
}

/// An event, the first row that it changes, and the others.
type Change<T> = (Arc<RecordedEvent>, Found<T>, Vec<Found<T>>);

/// The rows that the wanted events of a noun change, read when the read model has reached the event.
/// One item for each event: who resumes after an event must not miss a part of it.
///
/// `wanted` gives all rows that an event changes in the table, or none.
async fn changes<'a, T: Entity>(
    ctx: &Context<'a>,
    after: Option<Position>,
    noun: &'static str,
    wanted: impl Fn(Uuid, &DomainEvent) -> Vec<Uuid> + Send + 'a,
) -> Result<impl Stream<Item = Result<Change<T>>> + 'a> {
    ctx.allow(Action::Read)?;
    let mut follower = Follower::start(ctx, after).await?;
    let (work, caller): (&SharedWork, _) = (ctx.data_unchecked(), ctx.caller().clone());
    Ok(try_stream! {
        loop {
            let events = follower.next().await?;
            if events.is_empty() {
                break;
            }
            for event in events.into_iter().filter(|event| event.aggregate_type == noun) {
                let ids = wanted(event.aggregate_id, &*work.decode(&event).map_err(internal)?);
                if ids.is_empty() {
                    continue;
                }
                let app = follower.projected(event.position).await?;
                let rows = loop {
                    match work.rows::<T>(app, &caller, &event, ids.clone()).await {
                        Err(error) if is_behind(&error) => sleep(BEHIND_EVERY).await,
                        rows => break rows.map_err(internal)?,
                    }
                };
                // Nothing: the caller may not see it.
                if let Some((first, others)) = rows.split_first() {
                    follower.show(event.position);
                    yield (event, first.clone(), others.to_vec());
                }
            }
        }
    })
}
