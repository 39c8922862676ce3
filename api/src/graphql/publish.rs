//! Publish requests: query, publish a content, record how it went, try again.

use async_graphql::{ComplexObject, Context, Enum, ID, InputObject, Object, Result, SimpleObject};
use chrono::{DateTime, Utc};
use orion_commands::policy::Area;
use orion_commands::{Action, Actor, Refusal, RequestPublish, Single};
use orion_domain::publish::RequestStatus;
use orion_domain::values::{
    ContentId, ErrorMessage, PlatformName, PlatformPostId, PublishId, PublishRecordId,
    SocialAccountId,
};
use orion_domain::{Publish as PublishAggregate, PublishCommand};
use orion_projections::tables::{
    ContentRow, PublishRecordRow, PublishRow, SocialAccountRow, UserRow,
};
use serde_json::json;
use uuid::Uuid;

use super::content::{Content, acting_user};
use super::context::{CommandArgs, ContextExt as _, Outcome};
use super::error::AtField as _;
use super::inline::Inline;
use super::page::{List, Nodes, Order, PageArgs};
use super::plan::{Relation, ToOne};
use super::publish_record::PublishRecord;
use super::reader::{Condition, Entity, Found};
use super::scalars::{Position, uuid};
use super::social_account::SocialAccount;
use super::user::User;

const CONTENT: ToOne<ContentRow> = ToOne::new("content", "content_id");
const SOCIAL_ACCOUNT: ToOne<SocialAccountRow> = ToOne::new("socialAccount", "social_account_id");
const REQUESTED_BY: ToOne<UserRow> = ToOne::new("requestedBy", "requested_by");

impl Entity for PublishRow {
    const AREA: Area = Area::Contents;
    const OWNER: Option<&'static str> = Some("{t}.requested_by");
    const RELATIONS: &'static [Relation] =
        &[CONTENT.relation(), SOCIAL_ACCOUNT.relation(), REQUESTED_BY.relation()];
}

/// Where a publish request is in its life.
#[derive(Enum, Clone, Copy, Debug, PartialEq, Eq)]
#[graphql(remote = "orion_domain::publish::RequestStatus")]
pub enum PublishRequestStatus {
    /// An attempt is open.
    Pending,
    /// The platform took it; nothing more happens.
    Published,
    /// The newest attempt failed.
    Failed,
}

/// A request to publish one content to one platform, with or without an attempt yet.
pub type Publish = Inline<PublishFields>;

/// What a client may select of it.
pub struct PublishFields(Found<PublishRow>);

impl From<Found<PublishRow>> for PublishFields {
    fn from(found: Found<PublishRow>) -> Self {
        Self(found)
    }
}

/// A request to publish one content to one platform, with or without an attempt yet.
#[Object(name = "Publish")]
impl PublishFields {
    /// The request's id, a bare UUID.
    pub async fn id(&self) -> ID {
        self.0.row.id.into()
    }
    /// How often it has changed; what `expectedVersion` is compared with.
    async fn version(&self) -> i64 {
        self.0.version.unwrap_or_default()
    }
    /// The content that is published.
    async fn content_id(&self) -> ID {
        self.0.row.content_id.into()
    }
    /// The content that is published.
    async fn content(&self, ctx: &Context<'_>) -> Result<Option<Content>> {
        Ok(self.0.one(ctx, CONTENT, self.0.row.content_id).await?.map(Content::from))
    }
    /// The account that posts it; null when a person posts it by hand.
    async fn social_account_id(&self) -> Option<ID> {
        self.0.row.social_account_id.map(ID::from)
    }
    /// The account that posts it; null when a person posts it by hand.
    async fn social_account(&self, ctx: &Context<'_>) -> Result<Option<SocialAccount>> {
        let found = self.0.one(ctx, SOCIAL_ACCOUNT, self.0.row.social_account_id).await?;
        Ok(found.map(SocialAccount::from))
    }
    /// The platform.
    async fn platform(&self) -> &str {
        &self.0.row.platform
    }
    /// Who asked for it.
    async fn requested_by(&self, ctx: &Context<'_>) -> Result<Option<User>> {
        Ok(self.0.one(ctx, REQUESTED_BY, self.0.row.requested_by).await?.map(User::from))
    }
    /// Where it is in its life.
    async fn status(&self) -> PublishRequestStatus {
        self.0.row.status.into()
    }
    /// How many attempts have ended, well or not.
    async fn attempts(&self) -> i32 {
        self.0.row.attempts
    }
    /// When it was asked for.
    async fn created_at(&self) -> DateTime<Utc> {
        self.0.row.created_at
    }
    /// When it last changed.
    async fn updated_at(&self) -> DateTime<Utc> {
        self.0.row.updated_at
    }
}

/// Which requests a list shows.
#[derive(InputObject, Default)]
pub struct PublishFilter {
    /// Of this content.
    content_id: Option<ID>,
    /// In this status.
    status: Option<PublishRequestStatus>,
    /// To this platform.
    platform: Option<String>,
    /// Of this user; only admins see others' requests.
    requested_by: Option<ID>,
    /// Asked for then or later.
    created_since: Option<DateTime<Utc>>,
    /// Asked for earlier.
    created_before: Option<DateTime<Utc>>,
}

/// The order of a list of requests.
#[derive(Enum, Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum PublishOrder {
    /// Newest first.
    #[default]
    IdDesc,
    /// Oldest first.
    IdAsc,
}

impl From<PublishOrder> for Order {
    fn from(order: PublishOrder) -> Self {
        match order {
            PublishOrder::IdDesc => Self::descending("id", "uuid"),
            PublishOrder::IdAsc => Self::ascending("id", "uuid"),
        }
    }
}

/// Queries on publish requests.
#[derive(Default)]
pub struct PublishQuery;

#[Object]
impl PublishQuery {
    /// One publish request, if the caller may see it.
    async fn publish(
        &self,
        ctx: &Context<'_>,
        id: ID,
        min_position: Option<Position>,
    ) -> Result<Option<Publish>> {
        ctx.allow(Action::Read)?;
        ctx.reach(min_position).await?;
        Ok(ctx.row::<PublishRow>(uuid(&id)?).await?.map(Publish::from))
    }

    /// The publish requests that the caller may see.
    #[expect(clippy::too_many_arguments, reason = "each is an argument of the field")]
    async fn publishes(
        &self,
        ctx: &Context<'_>,
        filter: Option<PublishFilter>,
        #[graphql(default)] order_by: PublishOrder,
        first: Option<i32>,
        after: Option<String>,
        last: Option<i32>,
        before: Option<String>,
        min_position: Option<Position>,
    ) -> Result<Nodes<Publish>> {
        ctx.allow(Action::Read)?;
        ctx.reach(min_position).await?;
        let filter = filter.unwrap_or_default();
        let status = filter.status.map(RequestStatus::from);
        List::<PublishRow>::all(order_by.into())
            .and(Condition::is_id("content_id", filter.content_id.as_ref())?)
            .and(status.map(|is| Condition::Is("status", "text", is.to_string())))
            .and(filter.platform.map(|is| Condition::Is("platform", "varchar", is)))
            .and(Condition::is_id("requested_by", filter.requested_by.as_ref())?)
            .and(filter.created_since.map(|time| Condition::Since("created_at", time)))
            .and(filter.created_before.map(|time| Condition::Before("created_at", time)))
            .page(ctx, PageArgs { after, before, first, last })
            .await
    }
}

/// What became of a mutation on a publish request.
#[derive(SimpleObject)]
#[graphql(complex)]
pub struct PublishPayload {
    #[graphql(flatten)]
    outcome: Outcome,
    #[graphql(skip)]
    id: Option<Uuid>,
    #[graphql(skip)]
    record_id: Option<Uuid>,
}

#[ComplexObject]
impl PublishPayload {
    /// The request's id; null when the mutation was refused.
    async fn publish_id(&self) -> Option<ID> {
        self.id.map(ID::from)
    }

    /// The request as it is now; null when the mutation was refused.
    async fn publish(&self, ctx: &Context<'_>) -> Result<Option<Publish>> {
        match self.id {
            Some(id) => Ok(ctx.row::<PublishRow>(id).await?.map(Publish::from)),
            None => Ok(None),
        }
    }

    /// The attempt whose result was recorded; null when none was.
    async fn publish_record(&self, ctx: &Context<'_>) -> Result<Option<PublishRecord>> {
        match self.record_id {
            Some(id) => Ok(ctx.row::<PublishRecordRow>(id).await?.map(PublishRecord::from)),
            None => Ok(None),
        }
    }

    /// The content as it is now; null when the mutation was refused. Soon after its first success
    /// it is published.
    async fn content(&self, ctx: &Context<'_>) -> Result<Option<Content>> {
        let Some(id) = self.id else { return Ok(None) };
        match ctx.load::<PublishRow>(id).await? {
            Some(found) => {
                Ok(ctx.row::<ContentRow>(found.row.content_id).await?.map(Content::from))
            }
            None => Ok(None),
        }
    }
}

/// A content and where it goes.
#[derive(InputObject)]
pub struct PublishContentInput {
    /// The content, approved or published elsewhere.
    content_id: ID,
    /// The account that posts it; none when a person posts it by hand.
    social_account_id: Option<ID>,
    /// The platform, at most 128 characters; needed only without an account.
    platform: Option<String>,
    /// Repeat it to get the first answer again.
    command_id: Option<ID>,
}

/// The success of an attempt.
#[derive(InputObject)]
pub struct RecordPublishedInput {
    /// The request, as `publishContent` gave it.
    publish_id: ID,
    /// The post's id on the platform, at most 512 characters.
    platform_post_id: Option<String>,
    /// Repeat it to get the first answer again.
    command_id: Option<ID>,
    /// The request's version that the decision was made on.
    expected_version: Option<i32>,
}

/// The failure of an attempt.
#[derive(InputObject)]
pub struct RecordPublishFailureInput {
    /// The request, as `publishContent` gave it.
    publish_id: ID,
    /// What went wrong, at most 10,000 characters.
    error: String,
    /// Repeat it to get the first answer again.
    command_id: Option<ID>,
    /// The request's version that the decision was made on.
    expected_version: Option<i32>,
}

/// Names a publish request.
#[derive(InputObject)]
pub struct RetryPublishInput {
    /// The request, as `publishContent` gave it.
    publish_id: ID,
    /// Repeat it to get the first answer again.
    command_id: Option<ID>,
    /// The request's version that the decision was made on.
    expected_version: Option<i32>,
}

/// Mutations of publish requests.
#[derive(Default)]
pub struct PublishMutation;

#[Object]
impl PublishMutation {
    /// Asks for an approved content to be published: an attempt is open from now on.
    async fn publish_content(
        &self,
        ctx: &Context<'_>,
        input: PublishContentInput,
    ) -> Result<PublishPayload> {
        let PublishContentInput { content_id, social_account_id, platform, command_id } = input;
        let args = CommandArgs { command_id, expected_version: None };
        let content_id = ContentId(uuid(&content_id)?);
        let social_account_id = social_account_id.as_ref().map(uuid).transpose()?;
        let build = |actor: &Actor| {
            let platform = platform.as_deref().map(PlatformName::parse).transpose();
            Ok(RequestPublish {
                publish_id: PublishId(Uuid::now_v7()),
                content_id,
                social_account_id: social_account_id.map(SocialAccountId),
                platform: platform.at("platform")?,
                requested_by: acting_user(actor)?,
            })
        };
        let outcome = ctx.command(Action::Publish, args, build).await?;
        Ok(PublishPayload { id: outcome.id("publishId"), record_id: None, outcome })
    }

    /// Says that the platform took the open attempt.
    async fn record_published(
        &self,
        ctx: &Context<'_>,
        input: RecordPublishedInput,
    ) -> Result<PublishPayload> {
        let RecordPublishedInput { publish_id, platform_post_id, .. } = input;
        let args =
            CommandArgs { command_id: input.command_id, expected_version: input.expected_version };
        record(ctx, &publish_id, args, |record_id| {
            let platform_post_id = platform_post_id.as_deref().map(PlatformPostId::parse);
            let platform_post_id = platform_post_id.transpose().at("platformPostId")?;
            Ok(PublishCommand::RecordPublished { record_id, platform_post_id })
        })
        .await
    }

    /// Says that the open attempt has failed.
    async fn record_publish_failure(
        &self,
        ctx: &Context<'_>,
        input: RecordPublishFailureInput,
    ) -> Result<PublishPayload> {
        let RecordPublishFailureInput { publish_id, error, command_id, expected_version } = input;
        let args = CommandArgs { command_id, expected_version };
        record(ctx, &publish_id, args, |record_id| {
            let error = ErrorMessage::parse(&error).at("error")?;
            Ok(PublishCommand::RecordFailure { record_id, error })
        })
        .await
    }

    /// Opens another attempt, after one that failed.
    async fn retry_publish(
        &self,
        ctx: &Context<'_>,
        input: RetryPublishInput,
    ) -> Result<PublishPayload> {
        let RetryPublishInput { publish_id, command_id, expected_version } = input;
        let args = CommandArgs { command_id, expected_version };
        let id = uuid(&publish_id)?;
        let build = |_: &Actor| Ok(Single::<PublishAggregate>::new(id, PublishCommand::Retry));
        let outcome = ctx.command(Action::Publish, args, build).await?;
        Ok(PublishPayload { id: outcome.unless_refused(id), record_id: None, outcome })
    }
}

/// Ends the open attempt; its record is made by the command.
async fn record(
    ctx: &Context<'_>,
    publish_id: &ID,
    args: CommandArgs,
    command: impl FnOnce(PublishRecordId) -> Result<PublishCommand, Refusal> + Send,
) -> Result<PublishPayload> {
    let id = uuid(publish_id)?;
    let build = |_: &Actor| {
        let record_id = Uuid::now_v7();
        let ids = json!({ "publishRecordId": record_id });
        let command = command(PublishRecordId(record_id))?;
        Ok(Single::<PublishAggregate>::new(id, command).with_ids(ids))
    };
    let outcome = ctx.command(Action::RecordPublish, args, build).await?;
    let record_id = outcome.id("publishRecordId");
    Ok(PublishPayload { id: outcome.unless_refused(id), record_id, outcome })
}
