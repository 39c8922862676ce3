//! Publish records: the attempts to publish contents.

use async_graphql::{Context, Enum, ID, InputObject, Object, Result};
use chrono::{DateTime, Utc};
use orion_commands::Action;
use orion_commands::policy::Area;
use orion_projections::tables::{ContentRow, PublishRecordRow, SocialAccountRow};

use super::content::Content;
use super::context::ContextExt as _;
use super::inline::Inline;
use super::page::{List, Nodes, Order, PageArgs};
use super::plan::{Relation, ToOne};
use super::reader::{Condition, Entity, Found};
use super::scalars::Position;
use super::social_account::SocialAccount;

const CONTENT: ToOne<ContentRow> = ToOne::new("content", "content_id");
const SOCIAL_ACCOUNT: ToOne<SocialAccountRow> = ToOne::new("socialAccount", "social_account_id");

impl Entity for PublishRecordRow {
    const AREA: Area = Area::Contents;
    const OWNER: Option<&'static str> =
        Some("(SELECT c.created_by FROM orion.contents c WHERE c.id = {t}.content_id)");
    const RELATIONS: &'static [Relation] = &[CONTENT.relation(), SOCIAL_ACCOUNT.relation()];
}

/// Newest first.
pub const PUBLISH_RECORD_ORDER: Order = Order::descending("created_at", "timestamptz");

/// How an attempt ended.
#[derive(Enum, Clone, Copy, Debug, PartialEq, Eq)]
#[graphql(remote = "orion_domain::values::PublishStatus")]
pub enum PublishStatus {
    /// The platform took it.
    Published,
    /// The platform refused it, or could not be reached.
    Failed,
}

/// One attempt to publish a content.
pub type PublishRecord = Inline<PublishRecordFields>;

/// What a client may select of it.
pub struct PublishRecordFields(Found<PublishRecordRow>);

impl From<Found<PublishRecordRow>> for PublishRecordFields {
    fn from(found: Found<PublishRecordRow>) -> Self {
        Self(found)
    }
}

/// One attempt to publish a content.
#[Object(name = "PublishRecord")]
impl PublishRecordFields {
    /// The record's id, a bare UUID.
    pub async fn id(&self) -> ID {
        self.0.row.id.into()
    }
    /// The content.
    async fn content_id(&self) -> ID {
        self.0.row.content_id.into()
    }
    /// The content.
    async fn content(&self, ctx: &Context<'_>) -> Result<Option<Content>> {
        Ok(self.0.one(ctx, CONTENT, self.0.row.content_id).await?.map(Content::from))
    }
    /// The account that posted it; null when a person posted it by hand.
    async fn social_account_id(&self) -> Option<ID> {
        self.0.row.social_account_id.map(ID::from)
    }
    /// The account that posted it; null when a person posted it by hand.
    async fn social_account(&self, ctx: &Context<'_>) -> Result<Option<SocialAccount>> {
        let found = self.0.one(ctx, SOCIAL_ACCOUNT, self.0.row.social_account_id).await?;
        Ok(found.map(SocialAccount::from))
    }
    /// The platform.
    async fn platform(&self) -> &str {
        &self.0.row.platform
    }
    /// The post's id on the platform.
    async fn platform_post_id(&self) -> Option<&str> {
        self.0.row.platform_post_id.as_deref()
    }
    /// How the attempt ended.
    async fn status(&self) -> PublishStatus {
        self.0.row.status.into()
    }
    /// What went wrong.
    async fn error_message(&self) -> Option<&str> {
        self.0.row.error_message.as_deref()
    }
    /// When it was on the platform.
    async fn published_at(&self) -> Option<DateTime<Utc>> {
        self.0.row.published_at
    }
    /// When the result was recorded.
    async fn created_at(&self) -> DateTime<Utc> {
        self.0.row.created_at
    }
}

/// Which records a list shows.
#[derive(InputObject, Default)]
pub struct PublishRecordFilter {
    /// Of this content.
    content_id: Option<ID>,
    /// Through this account.
    social_account_id: Option<ID>,
    /// On this platform.
    platform: Option<String>,
    /// That ended so.
    status: Option<PublishStatus>,
    /// Recorded then or later.
    created_since: Option<DateTime<Utc>>,
    /// Recorded earlier.
    created_before: Option<DateTime<Utc>>,
}

/// The order of a list of records.
#[derive(Enum, Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum PublishRecordOrder {
    /// Newest first.
    #[default]
    CreatedAtDesc,
    /// Oldest first.
    CreatedAtAsc,
}

impl From<PublishRecordOrder> for Order {
    fn from(order: PublishRecordOrder) -> Self {
        match order {
            PublishRecordOrder::CreatedAtDesc => PUBLISH_RECORD_ORDER,
            PublishRecordOrder::CreatedAtAsc => Self::ascending("created_at", "timestamptz"),
        }
    }
}

/// Queries on publish records.
#[derive(Default)]
pub struct PublishRecordQuery;

#[Object]
impl PublishRecordQuery {
    /// The attempts to publish the contents that the caller may see.
    #[expect(clippy::too_many_arguments, reason = "each is an argument of the field")]
    async fn publish_records(
        &self,
        ctx: &Context<'_>,
        filter: Option<PublishRecordFilter>,
        #[graphql(default)] order_by: PublishRecordOrder,
        first: Option<i32>,
        after: Option<String>,
        last: Option<i32>,
        before: Option<String>,
        min_position: Option<Position>,
    ) -> Result<Nodes<PublishRecord>> {
        ctx.allow(Action::Read)?;
        ctx.reach(min_position).await?;
        let filter = filter.unwrap_or_default();
        let status = filter.status.map(orion_domain::values::PublishStatus::from);
        List::<PublishRecordRow>::all(order_by.into())
            .and(Condition::is_id("content_id", filter.content_id.as_ref())?)
            .and(Condition::is_id("social_account_id", filter.social_account_id.as_ref())?)
            .and(filter.platform.map(|is| Condition::Is("platform", "varchar", is)))
            .and(status.map(|is| Condition::Is("status", "orion.publish_status", is.to_string())))
            .and(filter.created_since.map(|time| Condition::Since("created_at", time)))
            .and(filter.created_before.map(|time| Condition::Before("created_at", time)))
            .page(ctx, PageArgs { after, before, first, last })
            .await
    }
}
