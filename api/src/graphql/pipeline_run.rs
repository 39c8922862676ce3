//! Pipeline runs: query, start, complete, fail a stage.

use async_graphql::{ComplexObject, Context, Enum, ID, InputObject, Object, Result, SimpleObject};
use chrono::{DateTime, Utc};
use orion_commands::policy::Area;
use orion_commands::{Action, Actor, Refusal, Single};
use orion_domain::values::{ErrorMessage, RunId, StageName};
use orion_domain::{Content as ContentAggregate, ContentCommand, ContentError};
use orion_projections::tables::{ContentRow, PipelineRunRow};
use uuid::Uuid;

use super::content::Content;
use super::context::{CommandArgs, ContextExt as _, Outcome};
use super::error::{AtField as _, internal};
use super::inline::Inline;
use super::page::{List, Nodes, Order, PageArgs};
use super::plan::{Relation, ToOne};
use super::reader::{Condition, Entity, Found};
use super::scalars::{Position, uuid};

const CONTENT: ToOne<ContentRow> = ToOne::new("content", "content_id");

impl Entity for PipelineRunRow {
    const AREA: Area = Area::Contents;
    const OWNER: Option<&'static str> =
        Some("(SELECT c.created_by FROM orion.contents c WHERE c.id = {t}.content_id)");
    const RELATIONS: &'static [Relation] = &[CONTENT.relation()];
}

/// In the order in which the runs were made: their ids are UUIDs of version 7.
pub const PIPELINE_RUN_ORDER: Order = Order::ascending("id", "uuid");

/// Where a run is in its life.
#[derive(Enum, Clone, Copy, Debug, PartialEq, Eq)]
#[graphql(remote = "orion_domain::values::RunStatus")]
pub enum PipelineStatus {
    /// Waits for a worker.
    Pending,
    /// A worker is on it.
    Running,
    /// Done.
    Completed,
    /// Ended with an error, or with its generation.
    Failed,
}

/// One run of one stage of a content's generation.
pub type PipelineRun = Inline<PipelineRunFields>;

/// What a client may select of it.
pub struct PipelineRunFields(Found<PipelineRunRow>);

impl From<Found<PipelineRunRow>> for PipelineRunFields {
    fn from(found: Found<PipelineRunRow>) -> Self {
        Self(found)
    }
}

/// One run of one stage of a content's generation.
#[Object(name = "PipelineRun")]
impl PipelineRunFields {
    /// The run's id, a bare UUID.
    pub async fn id(&self) -> ID {
        self.0.row.id.into()
    }
    /// The content that is generated.
    async fn content_id(&self) -> ID {
        self.0.row.content_id.into()
    }
    /// The content that is generated.
    async fn content(&self, ctx: &Context<'_>) -> Result<Option<Content>> {
        Ok(self.0.one(ctx, CONTENT, self.0.row.content_id).await?.map(Content::from))
    }
    /// The stage's name.
    async fn stage(&self) -> &str {
        &self.0.row.stage
    }
    /// Where it is in its life.
    async fn status(&self) -> PipelineStatus {
        self.0.row.status.into()
    }
    /// When a worker began.
    async fn started_at(&self) -> Option<DateTime<Utc>> {
        self.0.row.started_at
    }
    /// When it ended, well or not.
    async fn completed_at(&self) -> Option<DateTime<Utc>> {
        self.0.row.completed_at
    }
    /// What went wrong.
    async fn error_message(&self) -> Option<&str> {
        self.0.row.error_message.as_deref()
    }
}

/// Which runs a list shows.
#[derive(InputObject, Default)]
pub struct PipelineRunFilter {
    /// Of this content.
    content_id: Option<ID>,
    /// In this status.
    status: Option<PipelineStatus>,
    /// Of this stage.
    stage: Option<String>,
    /// Begun by a worker then or later.
    started_since: Option<DateTime<Utc>>,
    /// Begun by a worker earlier.
    started_before: Option<DateTime<Utc>>,
}

/// The order of a list of runs.
#[derive(Enum, Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum PipelineRunOrder {
    /// Newest first.
    #[default]
    IdDesc,
    /// Oldest first.
    IdAsc,
}

impl From<PipelineRunOrder> for Order {
    fn from(order: PipelineRunOrder) -> Self {
        match order {
            PipelineRunOrder::IdDesc => Self::descending("id", "uuid"),
            PipelineRunOrder::IdAsc => PIPELINE_RUN_ORDER,
        }
    }
}

/// Queries on pipeline runs.
#[derive(Default)]
pub struct PipelineRunQuery;

#[Object]
impl PipelineRunQuery {
    /// The runs of the contents that the caller may see.
    #[expect(clippy::too_many_arguments, reason = "each is an argument of the field")]
    async fn pipeline_runs(
        &self,
        ctx: &Context<'_>,
        filter: Option<PipelineRunFilter>,
        #[graphql(default)] order_by: PipelineRunOrder,
        first: Option<i32>,
        after: Option<String>,
        last: Option<i32>,
        before: Option<String>,
        min_position: Option<Position>,
    ) -> Result<Nodes<PipelineRun>> {
        ctx.allow(Action::Read)?;
        ctx.reach(min_position).await?;
        let filter = filter.unwrap_or_default();
        let status = filter.status.map(orion_domain::values::RunStatus::from);
        List::<PipelineRunRow>::all(order_by.into())
            .and(Condition::is_id("content_id", filter.content_id.as_ref())?)
            .and(status.map(|is| Condition::Is("status", "orion.pipeline_status", is.to_string())))
            .and(filter.stage.map(|is| Condition::Is("stage", "varchar", is)))
            .and(filter.started_since.map(|time| Condition::Since("started_at", time)))
            .and(filter.started_before.map(|time| Condition::Before("started_at", time)))
            .page(ctx, PageArgs { after, before, first, last })
            .await
    }
}

/// What became of a mutation on a stage.
#[derive(SimpleObject)]
#[graphql(complex)]
pub struct StagePayload {
    #[graphql(flatten)]
    outcome: Outcome,
    #[graphql(skip)]
    content_id: Option<Uuid>,
    #[graphql(skip)]
    run_id: Option<Uuid>,
}

#[ComplexObject]
impl StagePayload {
    /// The run; null when the mutation was refused.
    async fn run_id(&self) -> Option<ID> {
        self.run_id.map(ID::from)
    }

    /// The run as it is now; null when the mutation was refused.
    async fn pipeline_run(&self, ctx: &Context<'_>) -> Result<Option<PipelineRun>> {
        match self.run_id {
            Some(id) => Ok(ctx.row::<PipelineRunRow>(id).await?.map(PipelineRun::from)),
            None => Ok(None),
        }
    }

    /// The content as it is now; null when the mutation was refused.
    async fn content(&self, ctx: &Context<'_>) -> Result<Option<Content>> {
        match self.content_id {
            Some(id) => Ok(ctx.row::<ContentRow>(id).await?.map(Content::from)),
            None => Ok(None),
        }
    }
}

/// The start of a stage.
#[derive(InputObject)]
pub struct StartStageInput {
    /// The content that is generated.
    content_id: ID,
    /// The stage's name.
    stage: String,
    /// Repeat it to get the first answer again.
    command_id: Option<ID>,
    /// The content's version that the decision was made on.
    expected_version: Option<i32>,
}

/// Names a run.
#[derive(InputObject)]
pub struct CompleteStageInput {
    /// The run, as `startStage` gave it.
    run_id: ID,
    /// Repeat it to get the first answer again.
    command_id: Option<ID>,
    /// The content's version that the decision was made on.
    expected_version: Option<i32>,
}

/// The failure of a run.
#[derive(InputObject)]
pub struct FailStageInput {
    /// The run, as `startStage` gave it.
    run_id: ID,
    /// What went wrong, at most 10,000 characters.
    error: String,
    /// Repeat it to get the first answer again.
    command_id: Option<ID>,
    /// The content's version that the decision was made on.
    expected_version: Option<i32>,
}

/// Mutations of pipeline runs.
#[derive(Default)]
pub struct PipelineRunMutation;

#[Object]
impl PipelineRunMutation {
    /// Begins a pending stage.
    async fn start_stage(&self, ctx: &Context<'_>, input: StartStageInput) -> Result<StagePayload> {
        let StartStageInput { content_id, stage, command_id, expected_version } = input;
        let args = CommandArgs { command_id, expected_version };
        let id = uuid(&content_id)?;
        let build = |_: &Actor| {
            let stage = StageName::parse(&stage).at("stage")?;
            Ok(Single::<ContentAggregate>::new(id, ContentCommand::StartStage { stage }))
        };
        let outcome = ctx.command(Action::RunPipeline, args, build).await?;
        let run_id = match outcome.unless_refused(id) {
            None => None,
            Some(id) => {
                let store = ctx.app().bus.store();
                let content = store.load::<ContentAggregate>(id).await.map_err(internal)?;
                let stage = StageName::parse(&stage).ok();
                stage.and_then(|stage| content.aggregate.run_of(&stage)).map(Uuid::from)
            }
        };
        Ok(StagePayload { content_id: outcome.unless_refused(id), run_id, outcome })
    }

    /// Says that a running stage is done.
    async fn complete_stage(
        &self,
        ctx: &Context<'_>,
        input: CompleteStageInput,
    ) -> Result<StagePayload> {
        let CompleteStageInput { run_id, command_id, expected_version } = input;
        let args = CommandArgs { command_id, expected_version };
        end(ctx, &run_id, args, |run_id| Ok(ContentCommand::CompleteStage { run_id })).await
    }

    /// Says that a running stage has failed; the content is a draft again.
    async fn fail_stage(&self, ctx: &Context<'_>, input: FailStageInput) -> Result<StagePayload> {
        let FailStageInput { run_id, error, command_id, expected_version } = input;
        let args = CommandArgs { command_id, expected_version };
        end(ctx, &run_id, args, |run_id| {
            let error = ErrorMessage::parse(&error).at("error")?;
            Ok(ContentCommand::FailStage { run_id, error })
        })
        .await
    }
}

async fn end(
    ctx: &Context<'_>,
    run_id: &ID,
    args: CommandArgs,
    command: impl FnOnce(RunId) -> Result<ContentCommand, Refusal> + Send,
) -> Result<StagePayload> {
    ctx.allow(Action::RunPipeline)?;
    let run_id = uuid(run_id)?;
    // What another field of this mutation has taken may be older than the run.
    ctx.snapshot().end().await;
    let mut found = ctx.load::<PipelineRunRow>(run_id).await?;
    if found.is_none() {
        // It may be in the log already. What is read after the wait has to show it.
        ctx.snapshot().end().await;
        let head = ctx.app().bus.log().head().await.map_err(internal)?;
        ctx.reach(Some(Position(head))).await?;
        found = ctx.load::<PipelineRunRow>(run_id).await?;
    }
    let Some(found) = found else {
        let unknown = Refusal { code: "NOT_FOUND", ..Refusal::from(ContentError::UnknownRun) };
        let outcome = Outcome::refused(unknown);
        return Ok(StagePayload { outcome, content_id: None, run_id: None });
    };
    let content_id = found.row.content_id;
    let build =
        |_: &Actor| Ok(Single::<ContentAggregate>::new(content_id, command(RunId(run_id))?));
    let mut outcome = ctx.command(Action::RunPipeline, args, build).await?;
    // The input names the content by the run.
    for error in
        outcome.errors.iter_mut().filter(|error| error.field.as_deref() == Some("contentId"))
    {
        error.field = Some("runId".to_owned());
    }
    Ok(StagePayload {
        content_id: outcome.unless_refused(content_id),
        run_id: outcome.unless_refused(run_id),
        outcome,
    })
}
