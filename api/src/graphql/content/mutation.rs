//! Mutations of contents: draft, edit, generate, review.

use async_graphql::{
    ComplexObject, Context, ID, InputObject, Json, MaybeUndefined, Object, Result, SimpleObject,
};
use orion_commands::{Action, Actor, Refusal, Single};
use orion_domain::content::{DEFAULT_STAGES, Run};
use orion_domain::values::{
    Hook, Json as JsonValue, Patch, Reason, RunId, ScriptBody, StageName, Title, TrendId, UserId,
};
use orion_domain::{Content as ContentAggregate, ContentCommand};
use orion_projections::tables::ContentRow;
use serde_json::{Value, json};
use uuid::Uuid;

use super::Content;
use crate::graphql::context::{CommandArgs, ContextExt as _, Outcome, naming_inputs};
use crate::graphql::error::AtField as _;
use crate::graphql::scalars::uuid;

/// What became of a mutation on a content.
#[derive(SimpleObject)]
#[graphql(complex)]
pub struct ContentPayload {
    #[graphql(flatten)]
    outcome: Outcome,
    #[graphql(skip)]
    id: Option<Uuid>,
}

#[ComplexObject]
impl ContentPayload {
    /// The content as it is now; null when the mutation was refused.
    async fn content(&self, ctx: &Context<'_>) -> Result<Option<Content>> {
        match self.id {
            Some(id) => Ok(ctx.row::<ContentRow>(id).await?.map(Content::from)),
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
        change(ctx, Action::RunPipeline, &content_id, args, |_| {
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
pub fn acting_user(actor: &Actor) -> Result<UserId, Refusal> {
    actor.user_id().ok_or_else(|| Refusal::new("NOT_FOUND", "only a user can do this"))
}

/// What a nullable input field does to a value.
pub fn patch<T>(input: MaybeUndefined<T>) -> Patch<T> {
    match input {
        MaybeUndefined::Undefined => Patch::Keep,
        MaybeUndefined::Null => Patch::Clear,
        MaybeUndefined::Value(value) => Patch::Set(value),
    }
}

fn visual_prompts(Json(raw): Json<Value>) -> Result<JsonValue, Refusal> {
    JsonValue::parse(raw, "visual prompts").at("visualPrompts")
}
