//! Media assets: shown with their content, attached by workers.

use async_graphql::{
    ComplexObject, Context, Enum, ID, InputObject, Json, Object, Result, SimpleObject,
};
use chrono::{DateTime, Utc};
use orion_commands::policy::Area;
use orion_commands::{Action, Actor, Single};
use orion_domain::values::{FilePath, Json as JsonValue, MediaAssetId, ProviderName};
use orion_domain::{Content as ContentAggregate, ContentCommand};
use orion_projections::tables::{ContentRow, MediaAssetRow};
use serde_json::{Value, json};
use uuid::Uuid;

use super::content::Content;
use super::context::{CommandArgs, ContextExt as _, Outcome};
use super::error::AtField as _;
use super::inline::Inline;
use super::page::Order;
use super::plan::{Relation, ToOne};
use super::reader::{Entity, Found};
use super::scalars::uuid;

const CONTENT: ToOne<ContentRow> = ToOne::new("content", "content_id");

impl Entity for MediaAssetRow {
    const AREA: Area = Area::Contents;
    const OWNER: Option<&'static str> =
        Some("(SELECT c.created_by FROM orion.contents c WHERE c.id = {t}.content_id)");
    const RELATIONS: &'static [Relation] = &[CONTENT.relation()];
}

/// In the order in which they were made.
pub const MEDIA_ASSET_ORDER: Order = Order::ascending("created_at", "timestamptz");

/// What a media file is.
#[derive(Enum, Clone, Copy, Debug, PartialEq, Eq)]
#[graphql(remote = "orion_domain::values::AssetType")]
pub enum AssetType {
    /// A still picture.
    Image,
    /// A moving picture.
    Video,
    /// Sound.
    Audio,
}

/// A media file that was generated for a content.
pub type MediaAsset = Inline<MediaAssetFields>;

/// What a client may select of it.
pub struct MediaAssetFields(Found<MediaAssetRow>);

impl From<Found<MediaAssetRow>> for MediaAssetFields {
    fn from(found: Found<MediaAssetRow>) -> Self {
        Self(found)
    }
}

/// A media file that was generated for a content.
#[Object(name = "MediaAsset")]
impl MediaAssetFields {
    /// The asset's id, a bare UUID.
    pub async fn id(&self) -> ID {
        self.0.row.id.into()
    }
    /// The content that it belongs to.
    async fn content_id(&self) -> ID {
        self.0.row.content_id.into()
    }
    /// The content that it belongs to.
    async fn content(&self, ctx: &Context<'_>) -> Result<Option<Content>> {
        Ok(self.0.one(ctx, CONTENT, self.0.row.content_id).await?.map(Content::from))
    }
    /// Picture, film or sound.
    async fn asset_type(&self) -> AssetType {
        self.0.row.asset_type.into()
    }
    /// Who generated it.
    async fn provider(&self) -> &str {
        &self.0.row.provider
    }
    /// Where the file lies.
    async fn file_path(&self) -> &str {
        &self.0.row.file_path
    }
    /// Dimensions, duration and the like.
    async fn metadata(&self) -> Option<Json<&Value>> {
        self.0.row.metadata.as_ref().map(Json)
    }
    /// When it was attached.
    async fn created_at(&self) -> DateTime<Utc> {
        self.0.row.created_at
    }
}

/// What became of an attachment.
#[derive(SimpleObject)]
#[graphql(complex)]
pub struct MediaAssetPayload {
    #[graphql(flatten)]
    outcome: Outcome,
    #[graphql(skip)]
    content_id: Option<Uuid>,
    #[graphql(skip)]
    asset_id: Option<Uuid>,
}

#[ComplexObject]
impl MediaAssetPayload {
    /// The asset; null when the mutation was refused.
    async fn media_asset(&self, ctx: &Context<'_>) -> Result<Option<MediaAsset>> {
        match self.asset_id {
            Some(id) => Ok(ctx.row::<MediaAssetRow>(id).await?.map(MediaAsset::from)),
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

/// A media file.
#[derive(InputObject)]
pub struct AttachMediaAssetInput {
    /// The content that it belongs to.
    content_id: ID,
    /// Picture, film or sound.
    asset_type: AssetType,
    /// Who generated it, at most 256 characters.
    provider: String,
    /// Where the file lies, at most 1024 characters.
    file_path: String,
    /// Dimensions, duration and the like.
    metadata: Option<Json<Value>>,
    /// Repeat it to get the first answer again.
    command_id: Option<ID>,
    /// The content's version that the decision was made on.
    expected_version: Option<i32>,
}

/// Mutations of media assets.
#[derive(Default)]
pub struct MediaAssetMutation;

#[Object]
impl MediaAssetMutation {
    /// Attaches a media file to a content that is a draft or generating.
    async fn attach_media_asset(
        &self,
        ctx: &Context<'_>,
        input: AttachMediaAssetInput,
    ) -> Result<MediaAssetPayload> {
        let args =
            CommandArgs { command_id: input.command_id, expected_version: input.expected_version };
        let content_id = uuid(&input.content_id)?;
        let build = |_: &Actor| {
            let asset_id = Uuid::now_v7();
            let metadata = input.metadata.map(|Json(raw)| JsonValue::parse(raw, "metadata"));
            let attach = ContentCommand::AttachMediaAsset {
                asset_id: MediaAssetId(asset_id),
                asset_type: input.asset_type.into(),
                provider: ProviderName::parse(&input.provider).at("provider")?,
                file_path: FilePath::parse(&input.file_path).at("filePath")?,
                metadata: metadata.transpose().at("metadata")?,
            };
            let ids = json!({ "mediaAssetId": asset_id });
            Ok(Single::<ContentAggregate>::new(content_id, attach).with_ids(ids))
        };
        let outcome = ctx.command(Action::RunPipeline, args, build).await?;
        Ok(MediaAssetPayload {
            content_id: outcome.unless_refused(content_id),
            asset_id: outcome.id("mediaAssetId"),
            outcome,
        })
    }
}
