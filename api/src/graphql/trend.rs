//! Trends: query, detect, rescore, expire, archive.

use async_graphql::{
    ComplexObject, Context, Enum, ID, InputObject, Json, Object, Result, SimpleObject,
};
use chrono::{DateTime, Utc};
use orion_commands::policy::Area;
use orion_commands::{Action, Single};
use orion_domain::TrendCommand;
use orion_domain::values::{Json as JsonValue, Score, Source, Topic};
use orion_projections::tables::TrendRow;
use serde_json::{Value, json};
use uuid::Uuid;

use super::as_of::{AsOf, row_as_of};
use super::content::{CONTENT_ORDER, Content};
use super::context::{CommandArgs, ContextExt as _, Outcome, naming_inputs};
use super::error::AtField as _;
use super::inline::Inline;
use super::page::{List, Nodes, Order, PageArgs};
use super::plan::{Relation, ToMany};
use super::reader::{Condition, Entity, Found};
use super::scalars::{Position, uuid};
use orion_projections::tables::ContentRow;

const CONTENTS: ToMany<ContentRow> = ToMany::new("contents", "trend_id", CONTENT_ORDER);

impl Entity for TrendRow {
    const AREA: Area = Area::Trends;
    const OWNER: Option<&'static str> = None;
    const RELATIONS: &'static [Relation] = &[CONTENTS.relation()];
}

/// Where a trend is in its life.
#[derive(Enum, Clone, Copy, Debug, PartialEq, Eq)]
#[graphql(remote = "orion_domain::values::TrendStatus")]
pub enum TrendStatus {
    /// Trending now; contents may be made of it.
    Active,
    /// Not trending any more.
    Expired,
    /// Put away by a person.
    Archived,
}

/// A topic that an external source reports.
pub type Trend = Inline<TrendFields>;

/// What a client may select of it.
pub struct TrendFields(Found<TrendRow>);

impl From<Found<TrendRow>> for TrendFields {
    fn from(found: Found<TrendRow>) -> Self {
        Self(found)
    }
}

/// A topic that an external source reports.
#[Object(name = "Trend")]
impl TrendFields {
    /// The trend's id, a bare UUID.
    pub async fn id(&self) -> ID {
        self.0.row.id.into()
    }
    /// How often it has changed; what `expectedVersion` is compared with.
    async fn version(&self) -> i64 {
        self.0.version.unwrap_or_default()
    }
    /// What is trending.
    async fn topic(&self) -> &str {
        &self.0.row.topic
    }
    /// Who reported it, such as `google` or `rss`.
    async fn source(&self) -> &str {
        &self.0.row.source
    }
    /// How relevant it is, 0.0 to 1.0.
    async fn score(&self) -> f64 {
        self.0.row.score
    }
    /// The source's answer as it came.
    async fn raw_data(&self) -> Option<Json<&Value>> {
        self.0.row.raw_data.as_ref().map(Json)
    }
    /// When it was detected.
    async fn detected_at(&self) -> DateTime<Utc> {
        self.0.row.detected_at
    }
    /// When it expired.
    async fn expired_at(&self) -> Option<DateTime<Utc>> {
        self.0.row.expired_at
    }
    /// Where it is in its life.
    async fn status(&self) -> TrendStatus {
        self.0.row.status.into()
    }
    /// The contents that were made of it, as far as the caller may see them; newest first.
    async fn contents(
        &self,
        ctx: &Context<'_>,
        first: Option<i32>,
        after: Option<String>,
        last: Option<i32>,
        before: Option<String>,
    ) -> Result<Nodes<Content>> {
        self.0.many(ctx, CONTENTS, PageArgs { after, before, first, last }).await
    }
}

/// Which trends a list shows.
#[derive(InputObject, Default)]
pub struct TrendFilter {
    /// In this status.
    status: Option<TrendStatus>,
    /// From this source.
    source: Option<String>,
    /// Whose topic contains this text, in any case.
    topic: Option<String>,
    /// Detected then or later.
    detected_since: Option<DateTime<Utc>>,
    /// Detected earlier.
    detected_before: Option<DateTime<Utc>>,
}

/// The order of a list of trends.
#[derive(Enum, Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum TrendOrder {
    /// Newest first.
    #[default]
    DetectedAtDesc,
    /// Oldest first.
    DetectedAtAsc,
    /// By topic.
    TopicAsc,
}

impl From<TrendOrder> for Order {
    fn from(order: TrendOrder) -> Self {
        match order {
            TrendOrder::DetectedAtDesc => Self::descending("detected_at", "timestamptz"),
            TrendOrder::DetectedAtAsc => Self::ascending("detected_at", "timestamptz"),
            TrendOrder::TopicAsc => Self::ascending("topic", "varchar"),
        }
    }
}

/// Queries on trends.
#[derive(Default)]
pub struct TrendQuery;

#[Object]
impl TrendQuery {
    /// One trend, now or as it was. What it points to is always shown as it is now.
    async fn trend(
        &self,
        ctx: &Context<'_>,
        id: ID,
        as_of: Option<AsOf>,
        min_position: Option<Position>,
    ) -> Result<Option<Trend>> {
        ctx.allow(Action::Read)?;
        ctx.reach(min_position).await?;
        let id = uuid(&id)?;
        let found = match as_of {
            Some(as_of) => row_as_of::<TrendRow>(ctx, "trend", id, as_of).await?,
            None => ctx.row::<TrendRow>(id).await?,
        };
        Ok(found.map(Trend::from))
    }

    /// All trends.
    #[expect(clippy::too_many_arguments, reason = "each is an argument of the field")]
    async fn trends(
        &self,
        ctx: &Context<'_>,
        filter: Option<TrendFilter>,
        #[graphql(default)] order_by: TrendOrder,
        first: Option<i32>,
        after: Option<String>,
        last: Option<i32>,
        before: Option<String>,
        min_position: Option<Position>,
    ) -> Result<Nodes<Trend>> {
        ctx.allow(Action::Read)?;
        ctx.reach(min_position).await?;
        let filter = filter.unwrap_or_default();
        let status = filter.status.map(orion_domain::values::TrendStatus::from);
        List::<TrendRow>::all(order_by.into())
            .and(status.map(|is| Condition::Is("status", "orion.trend_status", is.to_string())))
            .and(filter.source.map(|is| Condition::Is("source", "varchar", is)))
            .and(filter.topic.map(|text| Condition::Contains("topic", text)))
            .and(filter.detected_since.map(|time| Condition::Since("detected_at", time)))
            .and(filter.detected_before.map(|time| Condition::Before("detected_at", time)))
            .page(ctx, PageArgs { after, before, first, last })
            .await
    }
}

/// What became of a mutation on a trend.
#[derive(SimpleObject)]
#[graphql(complex)]
pub struct TrendPayload {
    #[graphql(flatten)]
    outcome: Outcome,
    #[graphql(skip)]
    id: Option<Uuid>,
}

#[ComplexObject]
impl TrendPayload {
    /// The trend as it is now; null when the mutation was refused.
    async fn trend(&self, ctx: &Context<'_>) -> Result<Option<Trend>> {
        match self.id {
            Some(id) => Ok(ctx.row::<TrendRow>(id).await?.map(Trend::from)),
            None => Ok(None),
        }
    }
}

/// A new trend.
#[derive(InputObject)]
pub struct DetectTrendInput {
    /// What is trending, at most 512 characters.
    topic: String,
    /// Who reports it, at most 256 characters.
    source: String,
    /// How relevant it is, 0.0 to 1.0.
    #[graphql(default)]
    score: f64,
    /// The source's answer as it came.
    raw_data: Option<Json<Value>>,
    /// Repeat it to get the first answer again.
    command_id: Option<ID>,
}

/// A new measurement of a trend.
#[derive(InputObject)]
pub struct RescoreTrendInput {
    /// The trend.
    trend_id: ID,
    /// How relevant it is now, 0.0 to 1.0.
    score: f64,
    /// Repeat it to get the first answer again.
    command_id: Option<ID>,
    /// The version that the decision was made on.
    expected_version: Option<i32>,
}

naming_inputs! {
    /// The end of a trend.
    ExpireTrendInput {
        /// The trend.
        trend_id
    }
    /// The putting away of a trend.
    ArchiveTrendInput {
        /// The trend.
        trend_id
    }
}

/// Mutations of trends.
#[derive(Default)]
pub struct TrendMutation;

#[Object]
impl TrendMutation {
    /// Makes a new trend known.
    async fn detect_trend(
        &self,
        ctx: &Context<'_>,
        input: DetectTrendInput,
    ) -> Result<TrendPayload> {
        let args = CommandArgs { command_id: input.command_id, expected_version: None };
        let build = |_: &_| {
            let id = Uuid::now_v7();
            let raw_data = input.raw_data.map(|Json(raw)| JsonValue::parse(raw, "raw data"));
            let detect = TrendCommand::Detect {
                topic: Topic::parse(&input.topic).at("topic")?,
                source: Source::parse(&input.source).at("source")?,
                score: Score::parse(input.score).at("score")?,
                raw_data: raw_data.transpose().at("rawData")?,
            };
            Ok(Single::<orion_domain::Trend>::new(id, detect).with_ids(json!({ "trendId": id })))
        };
        let outcome = ctx.command(Action::ManageTrends, args, build).await?;
        Ok(TrendPayload { id: outcome.id("trendId"), outcome })
    }

    /// Records a new relevance of an active trend.
    async fn rescore_trend(
        &self,
        ctx: &Context<'_>,
        input: RescoreTrendInput,
    ) -> Result<TrendPayload> {
        let RescoreTrendInput { trend_id, score, command_id, expected_version } = input;
        let args = CommandArgs { command_id, expected_version };
        let id = uuid(&trend_id)?;
        let build = |_: &_| {
            let score = Score::parse(score).at("score")?;
            Ok(Single::<orion_domain::Trend>::new(id, TrendCommand::Rescore { score }))
        };
        let outcome = ctx.command(Action::ManageTrends, args, build).await?;
        Ok(TrendPayload { id: outcome.unless_refused(id), outcome })
    }

    /// Says that a trend is over.
    async fn expire_trend(
        &self,
        ctx: &Context<'_>,
        input: ExpireTrendInput,
    ) -> Result<TrendPayload> {
        change(ctx, input.into(), TrendCommand::Expire).await
    }

    /// Puts a trend away.
    async fn archive_trend(
        &self,
        ctx: &Context<'_>,
        input: ArchiveTrendInput,
    ) -> Result<TrendPayload> {
        change(ctx, input.into(), TrendCommand::Archive).await
    }
}

async fn change(
    ctx: &Context<'_>,
    (trend_id, args): (ID, CommandArgs),
    command: TrendCommand,
) -> Result<TrendPayload> {
    let id = uuid(&trend_id)?;
    let build = |_: &_| Ok(Single::<orion_domain::Trend>::new(id, command));
    let outcome = ctx.command(Action::ManageTrends, args, build).await?;
    Ok(TrendPayload { id: outcome.unless_refused(id), outcome })
}
