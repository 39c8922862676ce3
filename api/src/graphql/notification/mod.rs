//! Notifications: what a user was told.

mod list;
mod mutation;
mod stream;

use async_graphql::{Context, Enum, ID, Object, Result};
use chrono::{DateTime, Utc};
use orion_domain::values::NotificationKind as DomainKind;
use orion_projections::tables::{ContentRow, PipelineRunRow, SessionRow, TrendRow};
use orion_store::Position as LogPosition;
use uuid::Uuid;

pub use self::list::{NotificationQuery, find};
pub use self::mutation::NotificationMutation;
pub use self::stream::received;
use super::content::Content;
use super::context::ContextExt as _;
use super::pipeline_run::PipelineRun;
use super::scalars::Position;
use super::trend::Trend;
use super::user::Session;

/// What users are told of.
#[derive(Enum, Clone, Copy, Debug, PartialEq, Eq)]
#[graphql(remote = "orion_domain::values::NotificationKind")]
pub enum NotificationKind {
    /// A trend was detected; told to everybody.
    TrendDetected,
    /// A content of the user was drafted.
    ContentCreated,
    /// A content of the user is on a platform.
    ContentPublished,
    /// A reviewer rejected a content of the user.
    ContentRejected,
    /// A stage that makes images, audio or video failed.
    MediaFailed,
    /// A stage of a content of the user was started, completed or failed.
    PipelineStageChanged,
    /// A refresh token of the user was used twice: somebody else may have it. Preferences cannot
    /// switch this off.
    SessionReuseDetected,
}

/// A row of `projection.notifications`.
#[derive(Clone, Debug, sqlx::FromRow)]
pub struct NotificationRow {
    id: Uuid,
    user_id: Uuid,
    position: i64,
    kind: String,
    event_type: String,
    stage: Option<String>,
    trend_id: Option<Uuid>,
    content_id: Option<Uuid>,
    run_id: Option<Uuid>,
    session_id: Option<Uuid>,
    created_at: DateTime<Utc>,
    read_at: Option<DateTime<Utc>>,
}

/// The columns of a [`NotificationRow`].
const COLUMNS: &str = "id, user_id, position, kind, event_type, stage, trend_id, content_id, run_id, \
     session_id, created_at, read_at";

/// What a user was told of one event.
pub struct Notification {
    row: NotificationRow,
    kind: DomainKind,
}

impl Notification {
    /// The notification of a row; `None` of a kind that only a newer program knows.
    fn of(row: NotificationRow) -> Option<Self> {
        let kind = DomainKind::ALL.iter().copied().find(|kind| kind.as_str() == row.kind)?;
        Some(Self { row, kind })
    }
}

/// What a user was told of one event.
#[Object]
impl Notification {
    /// The notification's id, a bare UUID.
    pub async fn id(&self) -> ID {
        self.row.id.into()
    }
    /// Who was told.
    async fn user_id(&self) -> ID {
        self.row.user_id.into()
    }
    /// What it is about.
    async fn kind(&self) -> NotificationKind {
        self.kind.into()
    }
    /// The place of its event in the log; resume after it.
    async fn position(&self) -> Position {
        Position(LogPosition(self.row.position))
    }
    /// What happened, such as `content.stage_failed`.
    async fn event_type(&self) -> &str {
        &self.row.event_type
    }
    /// When it happened.
    async fn created_at(&self) -> DateTime<Utc> {
        self.row.created_at
    }
    /// When the user marked it as read; null while it is unread.
    async fn read_at(&self) -> Option<DateTime<Utc>> {
        self.row.read_at
    }
    /// What happened, for people, in English.
    async fn message(&self) -> String {
        message(self.kind, &self.row)
    }
    /// The stage, where it is about one.
    async fn stage(&self) -> Option<&str> {
        self.row.stage.as_deref()
    }
    /// The content, where it is about one.
    async fn content_id(&self) -> Option<ID> {
        self.row.content_id.map(ID::from)
    }
    /// The content, where it is about one that the caller may see.
    async fn content(&self, ctx: &Context<'_>) -> Result<Option<Content>> {
        match self.row.content_id {
            Some(id) => Ok(ctx.load::<ContentRow>(id).await?.map(Content::from)),
            None => Ok(None),
        }
    }
    /// The trend that was detected, or that the content was drafted from.
    async fn trend_id(&self) -> Option<ID> {
        self.row.trend_id.map(ID::from)
    }
    /// The trend that was detected, or that the content was drafted from.
    async fn trend(&self, ctx: &Context<'_>) -> Result<Option<Trend>> {
        match self.row.trend_id {
            Some(id) => Ok(ctx.load::<TrendRow>(id).await?.map(Trend::from)),
            None => Ok(None),
        }
    }
    /// The run of the stage, where it is about one.
    async fn run_id(&self) -> Option<ID> {
        self.row.run_id.map(ID::from)
    }
    /// The run of the stage, where it is about one that the caller may see.
    async fn run(&self, ctx: &Context<'_>) -> Result<Option<PipelineRun>> {
        match self.row.run_id {
            Some(id) => Ok(ctx.load::<PipelineRunRow>(id).await?.map(PipelineRun::from)),
            None => Ok(None),
        }
    }
    /// The session, where it is about one.
    async fn session_id(&self) -> Option<ID> {
        self.row.session_id.map(ID::from)
    }
    /// The session, where it is about one.
    async fn session(&self, ctx: &Context<'_>) -> Result<Option<Session>> {
        match self.row.session_id {
            Some(id) => Ok(ctx.load::<SessionRow>(id).await?.map(Session::from)),
            None => Ok(None),
        }
    }
}

fn message(kind: DomainKind, row: &NotificationRow) -> String {
    let stage = row.stage.as_deref().unwrap_or_default();
    match kind {
        DomainKind::TrendDetected => "A trend was detected.".to_owned(),
        DomainKind::ContentCreated => "A content was drafted.".to_owned(),
        DomainKind::ContentPublished => "A content was published.".to_owned(),
        DomainKind::ContentRejected => "A content was rejected.".to_owned(),
        DomainKind::MediaFailed => format!("The stage {stage} failed: media are missing."),
        DomainKind::PipelineStageChanged => {
            let what = row.event_type.rsplit_once('_').map_or("changed", |(_, what)| what);
            format!("The stage {stage} {}{what}.", if what == "failed" { "" } else { "was " })
        }
        DomainKind::SessionReuseDetected => {
            "A refresh token was used twice, and its session was ended. If that was not a program \
             of yours, change your password."
                .to_owned()
        }
    }
}
