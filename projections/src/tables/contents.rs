//! `orion.contents`: what is made, and how far it is.

use chrono::{DateTime, Utc};
use orion_domain::values::ContentStatus;
use orion_domain::{ContentEvent, Event};
use orion_store::Fact;
use serde_json::Value;
use uuid::Uuid;

use super::column::ToColumn;
use crate::table::{Table, row};

row! {
    /// One content.
    ContentRow in "orion.contents" {
        /// The content's id.
        id: Uuid,
        /// The trend that it is about.
        trend_id: Uuid,
        /// Whose content it is.
        created_by: Uuid,
        /// Its title.
        title: String,
        /// The script.
        script_body: Option<String>,
        /// The opening line.
        hook: Option<String>,
        /// Prompts for the pictures.
        visual_prompts: Option<Value>,
        /// Where it is in its life.
        status: ContentStatus,
        /// When it was drafted.
        created_at: DateTime<Utc>,
        /// When it last changed.
        updated_at: DateTime<Utc>,
    }
}

impl Table for ContentRow {
    const NAME: &'static str = Self::TABLE;
    const COLUMNS: &'static [&'static str] = Self::COLUMNS;

    fn id(&self) -> Uuid {
        self.id
    }

    fn keys(fact: &Fact) -> Vec<Uuid> {
        let Event::Content(event) = &fact.event else { return vec![] };
        match event {
            ContentEvent::Drafted { .. }
            | ContentEvent::Edited { .. }
            | ContentEvent::GenerationStarted { .. }
            | ContentEvent::GenerationFailed { .. }
            | ContentEvent::ScriptWritten { .. }
            | ContentEvent::SubmittedForReview {}
            | ContentEvent::Approved { .. }
            | ContentEvent::Rejected { .. }
            | ContentEvent::ReturnedToDraft {}
            | ContentEvent::Published { .. } => vec![fact.aggregate_id],
            ContentEvent::StageStarted { .. } // shown in pipeline_runs
            | ContentEvent::StageCompleted { .. }
            | ContentEvent::StageFailed { .. }
            | ContentEvent::MediaAssetAttached { .. } => vec![], // shown in media_assets
        }
    }

    fn fold(row: Option<Self>, _: Uuid, fact: &Fact) -> Option<Self> {
        let Event::Content(event) = &fact.event else { return row };
        if let ContentEvent::Drafted {
            trend_id,
            created_by,
            title,
            hook,
            script_body,
            visual_prompts,
        } = event
        {
            return Some(Self {
                id: fact.aggregate_id,
                trend_id: trend_id.0,
                created_by: created_by.0,
                title: title.to_column(),
                script_body: script_body.to_column(),
                hook: hook.to_column(),
                visual_prompts: visual_prompts.to_column(),
                status: ContentStatus::Draft,
                created_at: fact.recorded_at,
                updated_at: fact.recorded_at,
            });
        }
        let mut row = row?;
        row.updated_at = fact.recorded_at;
        match event {
            ContentEvent::Edited { title, hook, script_body, visual_prompts } => {
                if let Some(title) = title {
                    row.title = title.to_column();
                }
                hook.to_column().apply_to(&mut row.hook);
                script_body.to_column().apply_to(&mut row.script_body);
                visual_prompts.to_column().apply_to(&mut row.visual_prompts);
            }
            ContentEvent::ScriptWritten { script_body, hook, visual_prompts } => {
                row.script_body = Some(script_body.to_column());
                hook.to_column().apply_to(&mut row.hook);
                visual_prompts.to_column().apply_to(&mut row.visual_prompts);
            }
            ContentEvent::GenerationStarted { .. } => row.status = ContentStatus::Generating,
            ContentEvent::GenerationFailed { .. } | ContentEvent::ReturnedToDraft {} => {
                row.status = ContentStatus::Draft;
            }
            ContentEvent::SubmittedForReview {} => row.status = ContentStatus::Review,
            ContentEvent::Approved { .. } => row.status = ContentStatus::Approved,
            ContentEvent::Rejected { .. } => row.status = ContentStatus::Rejected,
            ContentEvent::Published { .. } => row.status = ContentStatus::Published,
            ContentEvent::Drafted { .. }
            | ContentEvent::StageStarted { .. }
            | ContentEvent::StageCompleted { .. }
            | ContentEvent::StageFailed { .. }
            | ContentEvent::MediaAssetAttached { .. } => {}
        }
        Some(row)
    }
}
