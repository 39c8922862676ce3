//! What happens to a content.

use super::Run;
use crate::event::events;
use crate::values::{
    AssetType, ErrorMessage, FilePath, Hook, Json, MediaAssetId, Patch, ProviderName, PublishId,
    Reason, RunId, ScriptBody, StageName, Title, TrendId, UserId,
};

events! {
    /// What happened to a content.
    ContentEvent {
        /// Row of `contents` begins, in draft.
        "content.drafted" "1" => Drafted {
            /// The trend that it is about.
            trend_id: TrendId,
            /// Whose content it is.
            created_by: UserId,
            /// Its title.
            title: Title,
            /// The opening line.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            hook: Option<Hook>,
            /// The script.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            script_body: Option<ScriptBody>,
            /// Prompts for the pictures.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            visual_prompts: Option<Json>,
        },
        /// Texts were changed by hand; what is missing stays.
        "content.edited" "1" => Edited {
            /// The new title.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            title: Option<Title>,
            /// The new opening line.
            #[serde(default, skip_serializing_if = "Patch::is_keep")]
            hook: Patch<Hook>,
            /// The new script.
            #[serde(default, skip_serializing_if = "Patch::is_keep")]
            script_body: Patch<ScriptBody>,
            /// The new prompts.
            #[serde(default, skip_serializing_if = "Patch::is_keep")]
            visual_prompts: Patch<Json>,
        },
        /// The pipeline has it; a row of `pipeline_runs` begins for each stage, pending.
        "content.generation_started" "1" => GenerationStarted {
            /// The stages in order.
            runs: Vec<Run>,
        },
        /// A stage is running.
        "content.stage_started" "1" => StageStarted {
            /// The stage's run.
            run_id: RunId,
            /// The stage's name.
            stage: StageName,
        },
        /// A stage is done.
        "content.stage_completed" "1" => StageCompleted {
            /// The stage's run.
            run_id: RunId,
            /// The stage's name.
            stage: StageName,
        },
        /// A stage ended with an error.
        "content.stage_failed" "1" => StageFailed {
            /// The stage's run.
            run_id: RunId,
            /// The stage's name.
            stage: StageName,
            /// What went wrong.
            error: ErrorMessage,
        },
        /// A failed stage ended the generation; the content is a draft again.
        "content.generation_failed" "1" => GenerationFailed {
            /// The stage that failed.
            stage: StageName,
            /// The runs that were pending or running and will not go on.
            abandoned: Vec<RunId>,
        },
        /// The script was written.
        "content.script_written" "1" => ScriptWritten {
            /// The script.
            script_body: ScriptBody,
            /// The opening line, where it changed.
            #[serde(default, skip_serializing_if = "Patch::is_keep")]
            hook: Patch<Hook>,
            /// The prompts, where they changed.
            #[serde(default, skip_serializing_if = "Patch::is_keep")]
            visual_prompts: Patch<Json>,
        },
        /// Row of `media_assets` begins.
        "content.media_asset_attached" "1" => MediaAssetAttached {
            /// The row of `media_assets`.
            asset_id: MediaAssetId,
            /// Picture, film or sound.
            asset_type: AssetType,
            /// Who generated it.
            provider: ProviderName,
            /// Where the file lies.
            file_path: FilePath,
            /// Dimensions, duration and the like.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            metadata: Option<Json>,
        },
        /// It waits for a person's decision.
        "content.submitted_for_review" "1" => SubmittedForReview {},
        /// A reviewer said yes.
        "content.approved" "1" => Approved {
            /// The reviewer.
            by: UserId,
        },
        /// A reviewer said no.
        "content.rejected" "1" => Rejected {
            /// The reviewer.
            by: UserId,
            /// Why.
            reason: Reason,
        },
        /// A rejected content is a draft again.
        "content.returned_to_draft" "1" => ReturnedToDraft {},
        /// It is on a platform.
        "content.published" "1" => Published {
            /// The publish request that succeeded first.
            publish_id: PublishId,
        },
    }
}
