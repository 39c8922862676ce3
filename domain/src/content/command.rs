//! What may be asked of a content.

use super::Run;
use crate::values::{
    AssetType, ErrorMessage, FilePath, Hook, Json, MediaAssetId, Patch, ProviderName, PublishId,
    Reason, RunId, ScriptBody, StageName, Title, TrendId, UserId,
};

/// What may be asked of a content.
#[derive(Clone, Debug)]
pub enum ContentCommand {
    /// Begins a content from a trend.
    Draft {
        /// The trend that it is about; the caller has checked that it exists.
        trend_id: TrendId,
        /// Whose content it is.
        created_by: UserId,
        /// Its title.
        title: Title,
        /// The opening line, if there is one already.
        hook: Option<Hook>,
        /// The script, if there is one already.
        script_body: Option<ScriptBody>,
        /// Prompts for the pictures, if there are some already.
        visual_prompts: Option<Json>,
    },
    /// Changes its texts by hand.
    Edit {
        /// A new title.
        title: Option<Title>,
        /// A new opening line, or none.
        hook: Patch<Hook>,
        /// A new script, or none.
        script_body: Patch<ScriptBody>,
        /// New prompts, or none.
        visual_prompts: Patch<Json>,
    },
    /// Hands it to the pipeline.
    StartGeneration {
        /// The stages in order, each with the id of its run.
        runs: Vec<Run>,
    },
    /// A worker begins a stage.
    StartStage {
        /// The stage's name.
        stage: StageName,
    },
    /// A worker has done a stage.
    CompleteStage {
        /// The stage's run.
        run_id: RunId,
    },
    /// A worker could not do a stage.
    FailStage {
        /// The stage's run.
        run_id: RunId,
        /// What went wrong.
        error: ErrorMessage,
    },
    /// A worker, or a person, writes the script.
    WriteScript {
        /// The script.
        script_body: ScriptBody,
        /// The opening line, where it changes.
        hook: Patch<Hook>,
        /// The prompts for the pictures, where they change.
        visual_prompts: Patch<Json>,
    },
    /// A worker made a media file.
    AttachMediaAsset {
        /// The row of `media_assets`.
        asset_id: MediaAssetId,
        /// Picture, film or sound.
        asset_type: AssetType,
        /// Who generated it.
        provider: ProviderName,
        /// Where the file lies.
        file_path: FilePath,
        /// Dimensions, duration and the like.
        metadata: Option<Json>,
    },
    /// Asks for a person's decision.
    SubmitForReview,
    /// A reviewer says yes.
    Approve {
        /// The reviewer.
        by: UserId,
    },
    /// A reviewer says no.
    Reject {
        /// The reviewer.
        by: UserId,
        /// Why.
        reason: Reason,
    },
    /// Takes a rejected content up again.
    ReturnToDraft,
    /// It is on a platform.
    MarkPublished {
        /// The publish request that succeeded.
        publish_id: PublishId,
    },
}
