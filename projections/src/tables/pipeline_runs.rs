//! `orion.pipeline_runs`: one row for each stage that a generation of a content goes through.

use chrono::{DateTime, Utc};
use orion_domain::values::RunStatus;
use orion_domain::{ContentEvent, Event};
use orion_store::Fact;
use uuid::Uuid;

use super::column::ToColumn;
use crate::table::{Table, row};

row! {
    /// One run of one stage.
    PipelineRunRow in "orion.pipeline_runs" {
        /// The run's id.
        id: Uuid,
        /// The content that is generated.
        content_id: Uuid,
        /// The stage's name.
        stage: String,
        /// How far it is.
        status: RunStatus,
        /// When a worker began; none while it waits, and where it never began.
        started_at: Option<DateTime<Utc>>,
        /// When it ended, well or not.
        completed_at: Option<DateTime<Utc>>,
        /// What went wrong.
        error_message: Option<String>,
    }
}

impl PipelineRunRow {
    fn failed(self, error_message: String, fact: &Fact) -> Self {
        Self {
            status: RunStatus::Failed,
            completed_at: Some(fact.recorded_at),
            error_message: Some(error_message),
            ..self
        }
    }
}

impl Table for PipelineRunRow {
    const NAME: &'static str = Self::TABLE;
    const COLUMNS: &'static [&'static str] = Self::COLUMNS;

    fn id(&self) -> Uuid {
        self.id
    }

    fn keys(fact: &Fact) -> Vec<Uuid> {
        let Event::Content(event) = &fact.event else { return vec![] };
        match event {
            ContentEvent::GenerationStarted { runs } => {
                runs.iter().map(|run| run.run_id.0).collect()
            }
            ContentEvent::StageStarted { run_id, .. }
            | ContentEvent::StageCompleted { run_id, .. }
            | ContentEvent::StageFailed { run_id, .. } => vec![run_id.0],
            ContentEvent::GenerationFailed { abandoned, .. } => {
                abandoned.iter().map(|run_id| run_id.0).collect()
            }
            ContentEvent::MediaAssetAttached { .. } // shown in media_assets
            | ContentEvent::Drafted { .. } // shown in contents
            | ContentEvent::Edited { .. }
            | ContentEvent::ScriptWritten { .. }
            | ContentEvent::SubmittedForReview {}
            | ContentEvent::Approved { .. }
            | ContentEvent::Rejected { .. }
            | ContentEvent::ReturnedToDraft {}
            | ContentEvent::Published { .. } => vec![],
        }
    }

    fn fold(row: Option<Self>, key: Uuid, fact: &Fact) -> Option<Self> {
        let Event::Content(event) = &fact.event else { return row };
        match event {
            ContentEvent::GenerationStarted { runs } => {
                let run = runs.iter().find(|run| run.run_id.0 == key)?;
                Some(Self {
                    id: key,
                    content_id: fact.aggregate_id,
                    stage: run.stage.to_column(),
                    status: RunStatus::Pending,
                    started_at: None,
                    completed_at: None,
                    error_message: None,
                })
            }
            ContentEvent::StageStarted { .. } => row.map(|row| Self {
                status: RunStatus::Running,
                started_at: Some(fact.recorded_at),
                ..row
            }),
            ContentEvent::StageCompleted { .. } => row.map(|row| Self {
                status: RunStatus::Completed,
                completed_at: Some(fact.recorded_at),
                ..row
            }),
            ContentEvent::StageFailed { error, .. } => {
                row.map(|row| row.failed(error.to_column(), fact))
            }
            ContentEvent::GenerationFailed { stage, .. } => {
                let message = format!("abandoned: stage {} failed", stage.as_str());
                row.map(|row| row.failed(message, fact))
            }
            ContentEvent::Drafted { .. }
            | ContentEvent::Edited { .. }
            | ContentEvent::ScriptWritten { .. }
            | ContentEvent::MediaAssetAttached { .. }
            | ContentEvent::SubmittedForReview {}
            | ContentEvent::Approved { .. }
            | ContentEvent::Rejected { .. }
            | ContentEvent::ReturnedToDraft {}
            | ContentEvent::Published { .. } => row,
        }
    }
}
