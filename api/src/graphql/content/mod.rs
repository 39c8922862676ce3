//! Contents: the object and its queries.

mod mutation;

use async_graphql::{Context, Enum, ID, InputObject, Json, Object, Result};
use chrono::{DateTime, Utc};
use orion_commands::Action;
use orion_commands::policy::Area;
use orion_projections::tables::{
    ContentRow, MediaAssetRow, PipelineRunRow, PublishRecordRow, TrendRow, UserRow,
};
use serde_json::Value;

pub use self::mutation::{ContentMutation, acting_user, patch};
use super::as_of::{AsOf, row_as_of};
use super::context::ContextExt as _;
use super::inline::Inline;
use super::media_asset::{MEDIA_ASSET_ORDER, MediaAsset};
use super::page::{List, Nodes, Order, PageArgs};
use super::pipeline_run::{PIPELINE_RUN_ORDER, PipelineRun};
use super::plan::{Relation, ToMany, ToOne};
use super::publish_record::{PUBLISH_RECORD_ORDER, PublishRecord};
use super::reader::{Condition, Entity, Found};
use super::scalars::{Position, uuid};
use super::trend::Trend;
use super::user::User;

const TREND: ToOne<TrendRow> = ToOne::new("trend", "trend_id");
const CREATED_BY: ToOne<UserRow> = ToOne::new("createdBy", "created_by");
const MEDIA_ASSETS: ToMany<MediaAssetRow> =
    ToMany::new("mediaAssets", "content_id", MEDIA_ASSET_ORDER);
const PIPELINE_RUNS: ToMany<PipelineRunRow> =
    ToMany::new("pipelineRuns", "content_id", PIPELINE_RUN_ORDER);
const PUBLISH_RECORDS: ToMany<PublishRecordRow> =
    ToMany::new("publishRecords", "content_id", PUBLISH_RECORD_ORDER);

impl Entity for ContentRow {
    const AREA: Area = Area::Contents;
    const OWNER: Option<&'static str> = Some("{t}.created_by");
    const RELATIONS: &'static [Relation] = &[
        TREND.relation(),
        CREATED_BY.relation(),
        MEDIA_ASSETS.relation(),
        PIPELINE_RUNS.relation(),
        PUBLISH_RECORDS.relation(),
    ];
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
pub type Content = Inline<ContentFields>;

/// What a client may select of it.
pub struct ContentFields(Found<ContentRow>);

impl From<Found<ContentRow>> for ContentFields {
    fn from(found: Found<ContentRow>) -> Self {
        Self(found)
    }
}

/// A content, made of a trend stage by stage.
#[Object(name = "Content")]
impl ContentFields {
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
        Ok(self.0.one(ctx, TREND, self.0.row.trend_id).await?.map(Trend::from))
    }
    /// Whose content it is.
    async fn created_by(&self, ctx: &Context<'_>) -> Result<Option<User>> {
        Ok(self.0.one(ctx, CREATED_BY, self.0.row.created_by).await?.map(User::from))
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
        self.0.many(ctx, MEDIA_ASSETS, PageArgs { after, before, first, last }).await
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
        self.0.many(ctx, PIPELINE_RUNS, PageArgs { after, before, first, last }).await
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
        self.0.many(ctx, PUBLISH_RECORDS, PageArgs { after, before, first, last }).await
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
    /// One content, if the caller may see it, now or as it was. What it points to is always shown
    /// as it is now.
    async fn content(
        &self,
        ctx: &Context<'_>,
        id: ID,
        as_of: Option<AsOf>,
        min_position: Option<Position>,
    ) -> Result<Option<Content>> {
        ctx.allow(Action::Read)?;
        ctx.reach(min_position).await?;
        let id = uuid(&id)?;
        let found = match as_of {
            Some(as_of) => row_as_of::<ContentRow>(ctx, "content", id, as_of).await?,
            None => ctx.row::<ContentRow>(id).await?,
        };
        Ok(found.map(Content::from))
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
