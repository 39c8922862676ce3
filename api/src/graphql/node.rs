//! `node(id)`: any object by its bare id.

use async_graphql::{Context, ID, Interface, Object, Result};
use orion_commands::Action;
use orion_projections::tables::{
    ContentRow, MediaAssetRow, OAuthAccountRow, PipelineRunRow, ProviderRow, PublishRecordRow,
    PublishRow, ServiceTokenRow, SessionRow, SocialAccountRow, TrendRow, UserRow, UserSettingsRow,
};

use super::content::Content;
use super::context::ContextExt as _;
use super::error::internal;
use super::media_asset::MediaAsset;
use super::notification::{self, Notification};
use super::pipeline_run::PipelineRun;
use super::provider::Provider;
use super::publish::Publish;
use super::publish_record::PublishRecord;
use super::reader::Found;
use super::scalars::{Position, uuid};
use super::service_token::ServiceToken;
use super::social_account::SocialAccount;
use super::trend::Trend;
use super::user::{OAuthAccount, Session, User, UserSettings};

/// An object that has an id of its own.
#[derive(Interface)]
#[graphql(field(name = "id", ty = "ID", desc = "The object's id, a bare UUID."))]
pub enum Node {
    /// A user.
    User(User),
    /// A session.
    Session(Session),
    /// A linked account.
    OAuthAccount(OAuthAccount),
    /// Preferences.
    UserSettings(UserSettings),
    /// A trend.
    Trend(Trend),
    /// A content.
    Content(Content),
    /// A media asset.
    MediaAsset(MediaAsset),
    /// A run of a stage.
    PipelineRun(PipelineRun),
    /// A provider.
    Provider(Provider),
    /// A social account.
    SocialAccount(SocialAccount),
    /// A publish request.
    Publish(Publish),
    /// An attempt to publish.
    PublishRecord(PublishRecord),
    /// A service token.
    ServiceToken(ServiceToken),
    /// A notification.
    Notification(Notification),
}

/// Queries on the whole.
#[derive(Default)]
pub struct NodeQuery;

#[Object]
impl NodeQuery {
    /// Any object that the caller may see, by its id.
    // Relay's compiler takes it for the real one only if the id is its only argument.
    async fn node(&self, ctx: &Context<'_>, id: ID) -> Result<Option<Node>> {
        ctx.allow(Action::Read)?;
        // It has no position of its own to wait for, but the fields beside it may have.
        ctx.reach(None).await?;
        let id = uuid(&id)?;
        let found = ctx.loader().loader().find(id).await.map_err(internal)?;
        let Some((table, row, version)) = found else {
            return Ok(notification::find(ctx, id).await?.map(Node::Notification));
        };
        macro_rules! node_of {
            ($($variant:ident: $row:ty),* $(,)?) => {
                match table.as_str() {
                    $(<$row>::TABLE => {
                        let row: $row = serde_json::from_value(row).map_err(internal)?;
                        Some(Node::$variant(Found::alone(row, version).into()))
                    })*
                    _ => None,
                }
            };
        }
        Ok(node_of! {
            User: UserRow,
            Session: SessionRow,
            OAuthAccount: OAuthAccountRow,
            UserSettings: UserSettingsRow,
            Trend: TrendRow,
            Content: ContentRow,
            MediaAsset: MediaAssetRow,
            PipelineRun: PipelineRunRow,
            Provider: ProviderRow,
            SocialAccount: SocialAccountRow,
            Publish: PublishRow,
            PublishRecord: PublishRecordRow,
            ServiceToken: ServiceTokenRow,
        })
    }

    /// The position that this answer shows.
    async fn position(
        &self,
        ctx: &Context<'_>,
        min_position: Option<Position>,
    ) -> Result<Position> {
        ctx.allow(Action::Read)?;
        ctx.reach(min_position).await?;
        let position = ctx.snapshot().position().await.map_err(internal)?;
        Ok(Position(position))
    }
}
