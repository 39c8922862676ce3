//! `orion.media_assets`: pictures, films and sounds that were made for contents.

use chrono::{DateTime, Utc};
use orion_domain::values::AssetType;
use orion_domain::{ContentEvent, Event};
use orion_store::Fact;
use serde_json::Value;
use uuid::Uuid;

use super::column::ToColumn;
use crate::table::{Table, row};

row! {
    /// One media file.
    MediaAssetRow in "orion.media_assets" {
        /// The file's id.
        id: Uuid,
        /// The content that it belongs to.
        content_id: Uuid,
        /// Picture, film or sound.
        asset_type: AssetType,
        /// Who generated it.
        provider: String,
        /// Where the file lies.
        file_path: String,
        /// Dimensions, duration and the like.
        metadata: Option<Value>,
        /// When it was attached.
        created_at: DateTime<Utc>,
    }
}

impl Table for MediaAssetRow {
    const NAME: &'static str = Self::TABLE;
    const COLUMNS: &'static [&'static str] = Self::COLUMNS;

    fn id(&self) -> Uuid {
        self.id
    }

    fn keys(fact: &Fact) -> Vec<Uuid> {
        let Event::Content(event) = &fact.event else { return vec![] };
        match event {
            ContentEvent::MediaAssetAttached { asset_id, .. } => vec![asset_id.0],
            ContentEvent::StageStarted { .. } // shown in pipeline_runs
            | ContentEvent::StageCompleted { .. }
            | ContentEvent::StageFailed { .. }
            | ContentEvent::Drafted { .. } // shown in contents
            | ContentEvent::Edited { .. }
            | ContentEvent::GenerationStarted { .. }
            | ContentEvent::GenerationFailed { .. }
            | ContentEvent::ScriptWritten { .. }
            | ContentEvent::SubmittedForReview {}
            | ContentEvent::Approved { .. }
            | ContentEvent::Rejected { .. }
            | ContentEvent::ReturnedToDraft {}
            | ContentEvent::Published { .. } => vec![],
        }
    }

    fn fold(row: Option<Self>, _: Uuid, fact: &Fact) -> Option<Self> {
        let Event::Content(event) = &fact.event else { return row };
        match event {
            ContentEvent::MediaAssetAttached {
                asset_id,
                asset_type,
                provider,
                file_path,
                metadata,
            } => Some(Self {
                id: asset_id.0,
                content_id: fact.aggregate_id,
                asset_type: *asset_type,
                provider: provider.to_column(),
                file_path: file_path.to_column(),
                metadata: metadata.to_column(),
                created_at: fact.recorded_at,
            }),
            ContentEvent::Drafted { .. }
            | ContentEvent::Edited { .. }
            | ContentEvent::GenerationStarted { .. }
            | ContentEvent::StageStarted { .. }
            | ContentEvent::StageCompleted { .. }
            | ContentEvent::StageFailed { .. }
            | ContentEvent::GenerationFailed { .. }
            | ContentEvent::ScriptWritten { .. }
            | ContentEvent::SubmittedForReview {}
            | ContentEvent::Approved { .. }
            | ContentEvent::Rejected { .. }
            | ContentEvent::ReturnedToDraft {}
            | ContentEvent::Published { .. } => row,
        }
    }
}
