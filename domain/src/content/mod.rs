//! A content: made of a trend, generated stage by stage, reviewed by a person, published.

mod command;
mod error;
mod event;

use std::collections::BTreeSet;

use cqrs_es::Aggregate;
use cqrs_es::event_sink::EventSink;
use serde::{Deserialize, Serialize};

pub use self::command::ContentCommand;
pub use self::error::ContentError;
pub use self::event::ContentEvent;
use crate::aggregate::AggregateRoot;
use crate::values::{
    ContentStatus, ErrorMessage, Hook, Json, MediaAssetId, RunId, RunStatus, ScriptBody, StageName,
    Title, UserId,
};

/// The stages of a generation unless its start says otherwise.
pub const DEFAULT_STAGES: [&str; 4] = ["script", "images", "audio", "video"];

/// The most stages that one generation may have.
pub const MAX_STAGES: usize = 32;

/// One stage of a generation, under the id of its run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Run {
    /// The row of `pipeline_runs`.
    pub run_id: RunId,
    /// The stage's name.
    pub stage: StageName,
}

/// The state that decisions about a content need; `None` before it was drafted.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Content(Option<State>);

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct State {
    created_by: UserId,
    status: ContentStatus,
    /// The runs of the newest generation, in order of their start.
    runs: Vec<StageRun>,
    assets: Vec<MediaAssetId>,
    /// Kept so that an edit to the same value makes no event.
    texts: Texts,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StageRun {
    run_id: RunId,
    stage: StageName,
    status: RunStatus,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Texts {
    title: Title,
    hook: Option<Hook>,
    script_body: Option<ScriptBody>,
    visual_prompts: Option<Json>,
}

impl Content {
    /// Where the content is in its life; `None` before it was drafted.
    pub fn status(&self) -> Option<ContentStatus> {
        self.0.as_ref().map(|state| state.status)
    }

    /// The run of a stage in the newest generation.
    pub fn run_of(&self, stage: &StageName) -> Option<RunId> {
        let runs = &self.0.as_ref()?.runs;
        runs.iter().find(|run| run.stage == *stage).map(|run| run.run_id)
    }
}

impl State {
    fn editable(&self) -> Result<(), ContentError> {
        match self.status {
            ContentStatus::Draft | ContentStatus::Generating => Ok(()),
            status @ (ContentStatus::Review
            | ContentStatus::Approved
            | ContentStatus::Published
            | ContentStatus::Rejected) => Err(ContentError::NotEditable { status }),
        }
    }

    fn require(
        &self,
        status: ContentStatus,
        otherwise: fn(ContentStatus) -> ContentError,
    ) -> Result<(), ContentError> {
        if self.status == status { Ok(()) } else { Err(otherwise(self.status)) }
    }

    fn generating(&self) -> Result<(), ContentError> {
        self.require(ContentStatus::Generating, |status| ContentError::NotGenerating { status })
    }

    fn in_review(&self) -> Result<(), ContentError> {
        self.require(ContentStatus::Review, |status| ContentError::NotInReview { status })
    }

    fn running(&self, run_id: RunId) -> Result<&StageRun, ContentError> {
        let run =
            self.runs.iter().find(|run| run.run_id == run_id).ok_or(ContentError::UnknownRun)?;
        match run.status {
            RunStatus::Running => Ok(run),
            status @ (RunStatus::Pending | RunStatus::Completed | RunStatus::Failed) => {
                Err(ContentError::StageNotRunning { status })
            }
        }
    }

    fn decide(&self, command: ContentCommand) -> Result<Vec<ContentEvent>, ContentError> {
        Ok(vec![match command {
            ContentCommand::Draft { .. } => return Err(ContentError::AlreadyExists),
            ContentCommand::Edit { title, hook, script_body, visual_prompts } => {
                self.editable()?;
                let title = title.filter(|title| *title != self.texts.title);
                let hook = hook.against(self.texts.hook.as_ref());
                let script_body = script_body.against(self.texts.script_body.as_ref());
                let visual_prompts = visual_prompts.against(self.texts.visual_prompts.as_ref());
                let nothing_changes = title.is_none()
                    && hook.is_keep()
                    && script_body.is_keep()
                    && visual_prompts.is_keep();
                if nothing_changes {
                    return Ok(Vec::new());
                }
                ContentEvent::Edited { title, hook, script_body, visual_prompts }
            }
            ContentCommand::StartGeneration { runs } => {
                self.require(ContentStatus::Draft, |status| ContentError::NotDraft { status })?;
                check_stages(&runs)?;
                ContentEvent::GenerationStarted { runs }
            }
            ContentCommand::StartStage { stage } => {
                self.generating()?;
                let run = self.runs.iter().find(|run| run.stage == stage).ok_or_else(|| {
                    ContentError::UnknownStage { stage: stage.as_str().to_owned() }
                })?;
                if run.status != RunStatus::Pending {
                    return Err(ContentError::StageNotPending { status: run.status });
                }
                ContentEvent::StageStarted { run_id: run.run_id, stage }
            }
            ContentCommand::CompleteStage { run_id } => {
                self.generating()?;
                let run = self.running(run_id)?;
                ContentEvent::StageCompleted { run_id, stage: run.stage.clone() }
            }
            ContentCommand::FailStage { run_id, error } => {
                self.generating()?;
                return self.fail_stage(run_id, error);
            }
            ContentCommand::WriteScript { script_body, hook, visual_prompts } => {
                self.editable()?;
                ContentEvent::ScriptWritten { script_body, hook, visual_prompts }
            }
            ContentCommand::AttachMediaAsset {
                asset_id,
                asset_type,
                provider,
                file_path,
                metadata,
            } => {
                self.editable()?;
                if self.assets.contains(&asset_id) {
                    return Err(ContentError::DuplicateAsset);
                }
                ContentEvent::MediaAssetAttached {
                    asset_id,
                    asset_type,
                    provider,
                    file_path,
                    metadata,
                }
            }
            ContentCommand::SubmitForReview => {
                self.generating()?;
                let open =
                    self.runs.iter().filter(|run| run.status != RunStatus::Completed).count();
                if open > 0 {
                    return Err(ContentError::StagesIncomplete { open });
                }
                ContentEvent::SubmittedForReview {}
            }
            ContentCommand::Approve { by } => {
                self.in_review()?;
                ContentEvent::Approved { by }
            }
            ContentCommand::Reject { by, reason } => {
                self.in_review()?;
                ContentEvent::Rejected { by, reason }
            }
            ContentCommand::ReturnToDraft => {
                self.require(ContentStatus::Rejected, |status| ContentError::NotRejected {
                    status,
                })?;
                ContentEvent::ReturnedToDraft {}
            }
            ContentCommand::MarkPublished { publish_id } => {
                self.require(ContentStatus::Approved, |status| ContentError::NotApproved {
                    status,
                })?;
                ContentEvent::Published { publish_id }
            }
        }])
    }

    /// One failed stage ends the whole generation: workers must not go on with the others.
    fn fail_stage(
        &self,
        run_id: RunId,
        error: ErrorMessage,
    ) -> Result<Vec<ContentEvent>, ContentError> {
        let stage = self.running(run_id)?.stage.clone();
        let open = |run: &&StageRun| matches!(run.status, RunStatus::Pending | RunStatus::Running);
        let abandoned = self
            .runs
            .iter()
            .filter(open)
            .map(|run| run.run_id)
            .filter(|other| *other != run_id)
            .collect();
        Ok(vec![
            ContentEvent::StageFailed { run_id, stage: stage.clone(), error },
            ContentEvent::GenerationFailed { stage, abandoned },
        ])
    }

    fn set_run(&mut self, run_id: RunId, status: RunStatus) {
        if let Some(run) = self.runs.iter_mut().find(|run| run.run_id == run_id) {
            run.status = status;
        }
    }
}

fn check_stages(runs: &[Run]) -> Result<(), ContentError> {
    if runs.is_empty() || runs.len() > MAX_STAGES {
        return Err(ContentError::StageCount { count: runs.len() });
    }
    let mut seen = BTreeSet::new();
    for run in runs {
        if !seen.insert(run.stage.as_str()) {
            return Err(ContentError::DuplicateStage { stage: run.stage.as_str().to_owned() });
        }
    }
    Ok(())
}

impl AggregateRoot for Content {
    const EVENT_TYPES: &'static [(&'static str, &'static str)] = ContentEvent::TYPES;
    const SNAPSHOT_SHAPE: i32 = 1;

    fn exists(&self) -> bool {
        self.0.is_some()
    }

    fn owner(&self) -> Option<UserId> {
        self.0.as_ref().map(|state| state.created_by)
    }

    fn decide(&self, command: ContentCommand) -> Result<Vec<ContentEvent>, ContentError> {
        match (&self.0, command) {
            (Some(state), command) => state.decide(command),
            (
                None,
                ContentCommand::Draft {
                    trend_id,
                    created_by,
                    title,
                    hook,
                    script_body,
                    visual_prompts,
                },
            ) => Ok(vec![ContentEvent::Drafted {
                trend_id,
                created_by,
                title,
                hook,
                script_body,
                visual_prompts,
            }]),
            (None, _) => Err(ContentError::NotFound),
        }
    }
}

impl Aggregate for Content {
    const TYPE: &'static str = "content";
    type Command = ContentCommand;
    type Event = ContentEvent;
    type Error = ContentError;
    type Services = ();

    async fn handle(
        &mut self,
        command: ContentCommand,
        (): &(),
        sink: &EventSink<Self>,
    ) -> Result<(), ContentError> {
        for event in self.decide(command)? {
            sink.write(event, self).await;
        }
        Ok(())
    }

    fn apply(&mut self, event: ContentEvent) {
        let (state, event) = match (&mut self.0, event) {
            (
                empty @ None,
                ContentEvent::Drafted {
                    created_by, title, hook, script_body, visual_prompts, ..
                },
            ) => {
                *empty = Some(State {
                    created_by,
                    status: ContentStatus::Draft,
                    runs: Vec::new(),
                    assets: Vec::new(),
                    texts: Texts { title, hook, script_body, visual_prompts },
                });
                return;
            }
            (None, _) => return,
            (Some(state), event) => (state, event),
        };
        match event {
            ContentEvent::Drafted { .. } => {}
            ContentEvent::Edited { title, hook, script_body, visual_prompts } => {
                if let Some(title) = title {
                    state.texts.title = title;
                }
                hook.apply_to(&mut state.texts.hook);
                script_body.apply_to(&mut state.texts.script_body);
                visual_prompts.apply_to(&mut state.texts.visual_prompts);
            }
            ContentEvent::GenerationStarted { runs } => {
                state.status = ContentStatus::Generating;
                state.runs = runs
                    .into_iter()
                    .map(|Run { run_id, stage }| StageRun {
                        run_id,
                        stage,
                        status: RunStatus::Pending,
                    })
                    .collect();
            }
            ContentEvent::StageStarted { run_id, .. } => state.set_run(run_id, RunStatus::Running),
            ContentEvent::StageCompleted { run_id, .. } => {
                state.set_run(run_id, RunStatus::Completed);
            }
            ContentEvent::StageFailed { run_id, .. } => state.set_run(run_id, RunStatus::Failed),
            ContentEvent::GenerationFailed { abandoned, .. } => {
                state.status = ContentStatus::Draft;
                for run_id in abandoned {
                    state.set_run(run_id, RunStatus::Failed);
                }
            }
            ContentEvent::ScriptWritten { script_body, hook, visual_prompts } => {
                state.texts.script_body = Some(script_body);
                hook.apply_to(&mut state.texts.hook);
                visual_prompts.apply_to(&mut state.texts.visual_prompts);
            }
            ContentEvent::MediaAssetAttached { asset_id, .. } => state.assets.push(asset_id),
            ContentEvent::SubmittedForReview {} => state.status = ContentStatus::Review,
            ContentEvent::Approved { .. } => state.status = ContentStatus::Approved,
            ContentEvent::Rejected { .. } => state.status = ContentStatus::Rejected,
            ContentEvent::ReturnedToDraft {} => state.status = ContentStatus::Draft,
            ContentEvent::Published { .. } => state.status = ContentStatus::Published,
        }
    }
}
