//! Why commands on a content are refused.

use super::MAX_STAGES;
use crate::aggregate::Rejection;
use crate::values::{ContentStatus, RunStatus};

/// Why a command on a content was refused.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum ContentError {
    /// No such content, or not one that the caller may see.
    #[error("there is no such content")]
    NotFound,
    /// The id is taken.
    #[error("a content with this id exists already")]
    AlreadyExists,
    /// Texts and media change only in draft and while generating.
    #[error("a content that is {status} cannot be changed")]
    NotEditable {
        /// What it is instead.
        status: ContentStatus,
    },
    /// Only a draft is handed to the pipeline.
    #[error("the content is {status}, not a draft")]
    NotDraft {
        /// What it is instead.
        status: ContentStatus,
    },
    /// Stages move only while the pipeline works.
    #[error("the content is {status}, not generating")]
    NotGenerating {
        /// What it is instead.
        status: ContentStatus,
    },
    /// Only what was submitted is decided on.
    #[error("the content is {status}, not in review")]
    NotInReview {
        /// What it is instead.
        status: ContentStatus,
    },
    /// Only what was rejected returns to draft.
    #[error("the content is {status}, not rejected")]
    NotRejected {
        /// What it is instead.
        status: ContentStatus,
    },
    /// Only what was approved is published.
    #[error("the content is {status}, not approved")]
    NotApproved {
        /// What it is instead.
        status: ContentStatus,
    },
    /// A generation has 1 to [`MAX_STAGES`] stages.
    #[error("a generation has 1 to {MAX_STAGES} stages, not {count}")]
    StageCount {
        /// How many were named.
        count: usize,
    },
    /// Each stage is named once.
    #[error("the stage {stage:?} is named twice")]
    DuplicateStage {
        /// Its name.
        stage: String,
    },
    /// The generation has no stage of that name.
    #[error("the generation has no stage {stage:?}")]
    UnknownStage {
        /// The name that was asked for.
        stage: String,
    },
    /// The generation has no run with that id.
    #[error("the generation has no such run")]
    UnknownRun,
    /// A stage starts once.
    #[error("the stage is {status}, not pending")]
    StageNotPending {
        /// What it is instead.
        status: RunStatus,
    },
    /// Only a running stage completes or fails.
    #[error("the stage is {status}, not running")]
    StageNotRunning {
        /// What it is instead.
        status: RunStatus,
    },
    /// A review needs every stage done.
    #[error("{open} of the generation's stages are not completed")]
    StagesIncomplete {
        /// How many are not.
        open: usize,
    },
    /// The media asset is there already.
    #[error("a media asset with this id is attached already")]
    DuplicateAsset,
}

impl Rejection for ContentError {
    fn code(&self) -> &'static str {
        match self {
            Self::NotFound => "NOT_FOUND",
            Self::AlreadyExists => "ALREADY_EXISTS",
            Self::NotEditable { .. } => "NOT_EDITABLE",
            Self::NotDraft { .. } => "NOT_DRAFT",
            Self::NotGenerating { .. } => "NOT_GENERATING",
            Self::NotInReview { .. } => "NOT_IN_REVIEW",
            Self::NotRejected { .. } => "NOT_REJECTED",
            Self::NotApproved { .. } => "NOT_APPROVED",
            Self::StageCount { .. } => "STAGE_COUNT",
            Self::DuplicateStage { .. } => "DUPLICATE_STAGE",
            Self::UnknownStage { .. } => "UNKNOWN_STAGE",
            Self::UnknownRun => "UNKNOWN_RUN",
            Self::StageNotPending { .. } => "STAGE_NOT_PENDING",
            Self::StageNotRunning { .. } => "STAGE_NOT_RUNNING",
            Self::StagesIncomplete { .. } => "STAGES_INCOMPLETE",
            Self::DuplicateAsset => "DUPLICATE_ASSET",
        }
    }

    fn field(&self) -> Option<&'static str> {
        match self {
            Self::StageCount { .. } | Self::DuplicateStage { .. } => Some("stages"),
            Self::UnknownStage { .. } | Self::StageNotPending { .. } => Some("stage"),
            Self::UnknownRun | Self::StageNotRunning { .. } => Some("runId"),
            Self::NotFound
            | Self::AlreadyExists
            | Self::NotEditable { .. }
            | Self::NotDraft { .. }
            | Self::NotGenerating { .. }
            | Self::NotInReview { .. }
            | Self::NotRejected { .. }
            | Self::NotApproved { .. }
            | Self::StagesIncomplete { .. }
            | Self::DuplicateAsset => None,
        }
    }
}
