//! Contents: query, draft, edit, generate, review.

use async_graphql::{
    ComplexObject, Context, Enum, ID, InputObject, Json, MaybeUndefined, Object, Result,
    SimpleObject,
};
use chrono::{DateTime, Utc};
use orion_commands::{Action, Actor, Refusal, Single};
use orion_domain::content::{DEFAULT_STAGES, Run};
use orion_domain::values::{
    Hook, Json as JsonValue, Patch, Reason, RunId, ScriptBody, StageName, Title, TrendId, UserId,
};
use orion_domain::{Content as ContentAggregate, ContentCommand};
use orion_projections::tables::{
    ContentRow, MediaAssetRow, PipelineRunRow, PublishRecordRow, TrendRow, UserRow,
};
use serde_json::{Value, json};
use uuid::Uuid;

use super::context::{CommandArgs, ContextExt as _, Outcome, naming_inputs};
use super::error::AtField as _;
use super::media_asset::{MEDIA_ASSET_ORDER, MediaAsset};
use super::page::{List, Nodes, Order, PageArgs};
use super::pipeline_run::{PIPELINE_RUN_ORDER, PipelineRun};
use super::publish_record::{PUBLISH_RECORD_ORDER, PublishRecord};
use super::reader::{Condition, Entity, Found};
use super::scalars::{Position, uuid};
use super::trend::Trend;
use super::user::User;

impl Entity for ContentRow {
    const OWNER: Option<&'static str> = Some("t.created_by");
}

/// Newest first.
pub const CONTENT_ORDER: Order = Order::descending("created_at", "timestamptz");

/// Where a content is in its life.
#[derive(Enum, Clone, Copy, Debug, PartialEq, Eq)]
#[graphql(remote = "orion_domain::values::ContentStatus")]
pub enum ContentStatus {
    /// Just made, or back for another try.
    Draft,
    /// The pipeline works on it.
    Generating,
    /// A person has to decide.
    Review,
    /// May be published.
    Approved,
    /// Is on a platform.
    Published,
    /// A reviewer said no.
    Rejected,
}

/// A content, made of a trend stage by stage.
pub struct Content(Found<ContentRow>);

impl From<Found<ContentRow>> for Content {
    fn from(found: Found<ContentRow>) -> Self {
        Self(found)
    }
}

/// A content, made of a trend stage by stage.
#[Object]
impl Content {
    /// The content's id, a bare UUID.
    pub async fn id(&self) -> ID {
        self.0.row.id.into()
    }
    /// How often it has changed; what `expectedVersion` is compared with.
    async fn version(&self) -> i64 {
        self.0.version.unwrap_or_default()
    }
    /// The trend that it is about.
    async fn trend_id(&self) -> ID {
        self.0.row.trend_id.into()
    }
    /// The trend that it is about.
    async fn trend(&self, ctx: &Context<'_>) -> Result<Option<Trend>> {
        Ok(ctx.row::<TrendRow>(self.0.row.trend_id).await?.map(Trend::from))
    }
    /// Whose content it is.
    async fn created_by(&self, ctx: &Context<'_>) -> Result<Option<User>> {
        Ok(ctx.row::<UserRow>(self.0.row.created_by).await?.map(User::from))
    }
    /// Its title.
    async fn title(&self) -> &str {
        &self.0.row.title
    }
    /// The script.
    async fn script_body(&self) -> Option<&str> {
        self.0.row.script_body.as_deref()
    }
    /// The opening line.
    async fn hook(&self) -> Option<&str> {
        self.0.row.hook.as_deref()
    }
    /// Prompts for the pictures.
    async fn visual_prompts(&self) -> Option<Json<&Value>> {
        self.0.row.visual_prompts.as_ref().map(Json)
    }
    /// Where it is in its life.
    async fn status(&self) -> ContentStatus {
        self.0.row.status.into()
    }
    /// When it was drafted.
    async fn created_at(&self) -> DateTime<Utc> {
        self.0.row.created_at
    }
    /// When it last changed.
    async fn updated_at(&self) -> DateTime<Utc> {
        self.0.row.updated_at
    }
    /// Its media files, in the order in which they were made.
    async fn media_assets(
        &self,
        ctx: &Context<'_>,
        first: Option<i32>,
        after: Option<String>,
        last: Option<i32>,
        before: Option<String>,
    ) -> Result<Nodes<MediaAsset>> {
        let args = PageArgs { after, before, first, last };
        let list = List::<MediaAssetRow>::of("content_id", self.0.row.id, MEDIA_ASSET_ORDER);
        list.page(ctx, args).await
    }
    /// The runs of its stages, oldest generation first.
    async fn pipeline_runs(
        &self,
        ctx: &Context<'_>,
        first: Option<i32>,
        after: Option<String>,
        last: Option<i32>,
        before: Option<String>,
    ) -> Result<Nodes<PipelineRun>> {
        let args = PageArgs { after, before, first, last };
        let list = List::<PipelineRunRow>::of("content_id", self.0.row.id, PIPELINE_RUN_ORDER);
        list.page(ctx, args).await
    }
    /// The attempts to publish it, newest first.
    async fn publish_records(
        &self,
        ctx: &Context<'_>,
        first: Option<i32>,
        after: Option<String>,
        last: Option<i32>,
        before: Option<String>,
    ) -> Result<Nodes<PublishRecord>> {
        let args = PageArgs { after, before, first, last };
        let list = List::<PublishRecordRow>::of("content_id", self.0.row.id, PUBLISH_RECORD_ORDER);
        list.page(ctx, args).await
    }
}

/// Which contents a list shows.
#[derive(InputObject, Default)]
pub struct ContentFilter {
    /// In this status.
    status: Option<ContentStatus>,
    /// Made of this trend.
    trend_id: Option<ID>,
    /// Of this user; only admins see others' contents.
    created_by: Option<ID>,
    /// Whose title contains this text, in any case.
    title: Option<String>,
    /// Drafted then or later.
    created_since: Option<DateTime<Utc>>,
    /// Drafted earlier.
    created_before: Option<DateTime<Utc>>,
}

/// The order of a list of contents.
#[derive(Enum, Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum ContentOrder {
    /// Newest first.
    #[default]
    CreatedAtDesc,
    /// Oldest first.
    CreatedAtAsc,
}

impl From<ContentOrder> for Order {
    fn from(order: ContentOrder) -> Self {
        match order {
            ContentOrder::CreatedAtDesc => CONTENT_ORDER,
            ContentOrder::CreatedAtAsc => Self::ascending("created_at", "timestamptz"),
        }
    }
}

/// Queries on contents.
#[derive(Default)]
pub struct ContentQuery;

#[Object]
impl ContentQuery {
    /// One content, if the caller may see it.
    async fn content(
        &self,
        ctx: &Context<'_>,
        id: ID,
        min_position: Option<Position>,
    ) -> Result<Option<Content>> {
        ctx.allow(Action::Read)?;
        ctx.reach(min_position).await?;
        Ok(ctx.row::<ContentRow>(uuid(&id)?).await?.map(Content))
    }

    /// The contents that the caller may see.
    #[expect(clippy::too_many_arguments, reason = "each is an argument of the field")]
    async fn contents(
        &self,
        ctx: &Context<'_>,
        filter: Option<ContentFilter>,
        #[graphql(default)] order_by: ContentOrder,
        first: Option<i32>,
        after: Option<String>,
        last: Option<i32>,
        before: Option<String>,
        min_position: Option<Position>,
    ) -> Result<Nodes<Content>> {
        ctx.allow(Action::Read)?;
        ctx.reach(min_position).await?;
        let filter = filter.unwrap_or_default();
        let status = filter.status.map(orion_domain::values::ContentStatus::from);
        List::<ContentRow>::all(order_by.into())
            .and(status.map(|is| Condition::Is("status", "orion.content_status", is.to_string())))
            .and(Condition::is_id("trend_id", filter.trend_id.as_ref())?)
            .and(Condition::is_id("created_by", filter.created_by.as_ref())?)
            .and(filter.title.map(|text| Condition::Contains("title", text)))
            .and(filter.created_since.map(|time| Condition::Since("created_at", time)))
            .and(filter.created_before.map(|time| Condition::Before("created_at", time)))
            .page(ctx, PageArgs { after, before, first, last })
            .await
    }
}

/// What became of a mutation on a content.
#[derive(SimpleObject)]
#[graphql(complex)]
pub struct ContentPayload {
    #[graphql(flatten)]
    pub(super) outcome: Outcome,
    #[graphql(skip)]
    pub(super) id: Option<Uuid>,
}

#[ComplexObject]
impl ContentPayload {
    /// The content as it is now; null when the mutation was refused.
    async fn content(&self, ctx: &Context<'_>) -> Result<Option<Content>> {
        match self.id {
            Some(id) => Ok(ctx.row::<ContentRow>(id).await?.map(Content)),
            None => Ok(None),
        }
    }
}

/// A new content.
#[derive(InputObject)]
pub struct DraftContentInput {
    /// The trend that it is about; it must be active.
    trend_id: ID,
    /// Its title, at most 512 characters.
    title: String,
    /// The opening line, at most 1024 characters.
    hook: Option<String>,
    /// The script, if there is one already.
    script_body: Option<String>,
    /// Prompts for the pictures, if there are some already.
    visual_prompts: Option<Json<Value>>,
    /// Repeat it to get the first answer again.
    command_id: Option<ID>,
}

/// Changes of a content's texts; what is not given stays, null removes.
#[derive(InputObject)]
pub struct EditContentInput {
    /// The content.
    content_id: ID,
    /// A new title.
    title: Option<String>,
    /// A new opening line, or null for none.
    hook: MaybeUndefined<String>,
    /// A new script, or null for none.
    script_body: MaybeUndefined<String>,
    /// New prompts, or null for none.
    visual_prompts: MaybeUndefined<Json<Value>>,
    /// Repeat it to get the first answer again.
    command_id: Option<ID>,
    /// The version that the decision was made on.
    expected_version: Option<i32>,
}

/// The start of a generation.
#[derive(InputObject)]
pub struct StartGenerationInput {
    /// The content, a draft.
    content_id: ID,
    /// The stages in order; script, images, audio, video unless given.
    stages: Option<Vec<String>>,
    /// Repeat it to get the first answer again.
    command_id: Option<ID>,
    /// The version that the decision was made on.
    expected_version: Option<i32>,
}

/// A script.
#[derive(InputObject)]
pub struct WriteScriptInput {
    /// The content.
    content_id: ID,
    /// The script.
    script_body: String,
    /// A new opening line, or null for none.
    hook: MaybeUndefined<String>,
    /// New prompts for the pictures, or null for none.
    visual_prompts: MaybeUndefined<Json<Value>>,
    /// Repeat it to get the first answer again.
    command_id: Option<ID>,
    /// The version that the decision was made on.
    expected_version: Option<i32>,
}

/// A reviewer's no.
#[derive(InputObject)]
pub struct RejectContentInput {
    /// The content.
    content_id: ID,
    /// Why, at most 4096 characters.
    reason: String,
    /// Repeat it to get the first answer again.
    command_id: Option<ID>,
    /// The version that the decision was made on.
    expected_version: Option<i32>,
}

naming_inputs! {
    /// The request for a person's decision.
    SubmitForReviewInput {
        /// The content.
        content_id
    }
    /// A reviewer's yes.
    ApproveContentInput {
        /// The content.
        content_id
    }
    /// The return of a rejected content.
    ReturnToDraftInput {
        /// The content.
        content_id
    }
}

/// Mutations of contents.
#[derive(Default)]
pub struct ContentMutation;

#[Object]
impl ContentMutation {
    /// Begins a content from an active trend.
    async fn draft_content(
        &self,
        ctx: &Context<'_>,
        input: DraftContentInput,
    ) -> Result<ContentPayload> {
        let args = CommandArgs { command_id: input.command_id, expected_version: None };
        let trend_id = TrendId(uuid(&input.trend_id)?);
        let build = |actor: &Actor| {
            let id = Uuid::now_v7();
            let hook = input.hook.as_deref().map(Hook::parse).transpose();
            let script_body = input.script_body.as_deref().map(ScriptBody::parse).transpose();
            let draft = ContentCommand::Draft {
                trend_id,
                created_by: acting_user(actor)?,
                title: Title::parse(&input.title).at("title")?,
                hook: hook.at("hook")?,
                script_body: script_body.at("scriptBody")?,
                visual_prompts: input.visual_prompts.map(visual_prompts).transpose()?,
            };
            Ok(Single::<ContentAggregate>::new(id, draft).with_ids(json!({ "contentId": id })))
        };
        let outcome = ctx.command(Action::ManageContents, args, build).await?;
        Ok(ContentPayload { id: outcome.id("contentId"), outcome })
    }

    /// Changes a content's texts while it is a draft or generating.
    async fn edit_content(
        &self,
        ctx: &Context<'_>,
        input: EditContentInput,
    ) -> Result<ContentPayload> {
        let EditContentInput { content_id, title, hook, script_body, .. } = input;
        let args =
            CommandArgs { command_id: input.command_id, expected_version: input.expected_version };
        let visual_prompts_patch = patch(input.visual_prompts);
        change(ctx, Action::ManageContents, &content_id, args, |_| {
            Ok(ContentCommand::Edit {
                title: title.as_deref().map(Title::parse).transpose().at("title")?,
                hook: patch(hook).try_map(|hook| Hook::parse(&hook)).at("hook")?,
                script_body: patch(script_body)
                    .try_map(|script| ScriptBody::parse(&script))
                    .at("scriptBody")?,
                visual_prompts: visual_prompts_patch.try_map(visual_prompts)?,
            })
        })
        .await
    }

    /// Hands a draft to the pipeline: each stage becomes a pending run.
    async fn start_generation(
        &self,
        ctx: &Context<'_>,
        input: StartGenerationInput,
    ) -> Result<ContentPayload> {
        let StartGenerationInput { content_id, stages, command_id, expected_version } = input;
        let args = CommandArgs { command_id, expected_version };
        change(ctx, Action::ManageContents, &content_id, args, |_| {
            let names = stages.unwrap_or_else(|| DEFAULT_STAGES.map(str::to_owned).to_vec());
            let runs = names.iter().map(|name| {
                Ok(Run {
                    run_id: RunId(Uuid::now_v7()),
                    stage: StageName::parse(name).at("stages")?,
                })
            });
            Ok(ContentCommand::StartGeneration { runs: runs.collect::<Result<_, Refusal>>()? })
        })
        .await
    }

    /// Writes the script, while the content is a draft or generating.
    async fn write_script(
        &self,
        ctx: &Context<'_>,
        input: WriteScriptInput,
    ) -> Result<ContentPayload> {
        let args =
            CommandArgs { command_id: input.command_id, expected_version: input.expected_version };
        let WriteScriptInput { content_id, script_body, hook, visual_prompts: prompts, .. } = input;
        change(ctx, Action::ManageContents, &content_id, args, |_| {
            Ok(ContentCommand::WriteScript {
                script_body: ScriptBody::parse(&script_body).at("scriptBody")?,
                hook: patch(hook).try_map(|hook| Hook::parse(&hook)).at("hook")?,
                visual_prompts: patch(prompts).try_map(visual_prompts)?,
            })
        })
        .await
    }

    /// Asks for a person's decision, when every stage is completed.
    async fn submit_for_review(
        &self,
        ctx: &Context<'_>,
        input: SubmitForReviewInput,
    ) -> Result<ContentPayload> {
        let (content_id, args) = input.into();
        change(ctx, Action::ManageContents, &content_id, args, |_| {
            Ok(ContentCommand::SubmitForReview)
        })
        .await
    }

    /// Says yes to a content in review.
    async fn approve_content(
        &self,
        ctx: &Context<'_>,
        input: ApproveContentInput,
    ) -> Result<ContentPayload> {
        let (content_id, args) = input.into();
        change(ctx, Action::ReviewContents, &content_id, args, |actor| {
            Ok(ContentCommand::Approve { by: acting_user(actor)? })
        })
        .await
    }

    /// Says no to a content in review.
    async fn reject_content(
        &self,
        ctx: &Context<'_>,
        input: RejectContentInput,
    ) -> Result<ContentPayload> {
        let RejectContentInput { content_id, reason, command_id, expected_version } = input;
        let args = CommandArgs { command_id, expected_version };
        change(ctx, Action::ReviewContents, &content_id, args, |actor| {
            let reason = Reason::parse(&reason).at("reason")?;
            Ok(ContentCommand::Reject { by: acting_user(actor)?, reason })
        })
        .await
    }

    /// Takes a rejected content up again.
    async fn return_to_draft(
        &self,
        ctx: &Context<'_>,
        input: ReturnToDraftInput,
    ) -> Result<ContentPayload> {
        let (content_id, args) = input.into();
        change(ctx, Action::ManageContents, &content_id, args, |_| {
            Ok(ContentCommand::ReturnToDraft)
        })
        .await
    }
}

async fn change(
    ctx: &Context<'_>,
    action: Action,
    content_id: &ID,
    args: CommandArgs,
    command: impl FnOnce(&Actor) -> Result<ContentCommand, Refusal> + Send,
) -> Result<ContentPayload> {
    let id = uuid(content_id)?;
    let build = |actor: &Actor| Ok(Single::<ContentAggregate>::new(id, command(actor)?));
    let outcome = ctx.command(action, args, build).await?;
    Ok(ContentPayload { id: outcome.unless_refused(id), outcome })
}

/// The user who acts; the policy has let nobody else through.
pub(super) fn acting_user(actor: &Actor) -> Result<UserId, Refusal> {
    actor.user_id().ok_or_else(|| Refusal::new("NOT_FOUND", "only a user can do this"))
}

/// What a nullable input field does to a value.
pub(super) fn patch<T>(input: MaybeUndefined<T>) -> Patch<T> {
    match input {
        MaybeUndefined::Undefined => Patch::Keep,
        MaybeUndefined::Null => Patch::Clear,
        MaybeUndefined::Value(value) => Patch::Set(value),
    }
}

fn visual_prompts(Json(raw): Json<Value>) -> Result<JsonValue, Refusal> {
    JsonValue::parse(raw, "visual prompts").at("visualPrompts")
}
