//! Random sequences of commands to a content: whatever people and workers try, in any order.

use std::collections::BTreeMap;

use cqrs_es::Aggregate;
use orion_domain::content::Run;
use orion_domain::values::{AssetType, ContentStatus, MediaAssetId, Patch, RunId, RunStatus};
use orion_domain::{AggregateRoot, Content, ContentCommand, ContentEvent, Event, event};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config, TestRunner};

use crate::fixtures::{
    ADA, PUBLISH, REVIEWER, TREND, UNKNOWN_RUN, failure, file_path, hook, provider_name, reason,
    script, stage, title, uuid,
};

/// Stages to choose from; the last one is never part of a generation.
const STAGES: [&str; 4] = ["script", "images", "audio", "smell"];

/// What somebody tries. Runs are named by their stage, because their ids depend on what came before.
#[derive(Clone, Copy, Debug)]
enum Attempt {
    Draft,
    Edit { title: u8, hook: u8 },
    StartGeneration { stages: usize },
    StartStage(usize),
    CompleteStage(usize),
    FailStage(usize),
    WriteScript(u8),
    AttachMediaAsset(u8),
    SubmitForReview,
    Approve,
    Reject,
    ReturnToDraft,
    MarkPublished,
}

fn attempt() -> impl Strategy<Value = Attempt> {
    let stage = 0..STAGES.len();
    prop_oneof![
        3 => Just(Attempt::Draft),
        2 => (0..3_u8, 0..4_u8).prop_map(|(title, hook)| Attempt::Edit { title, hook }),
        4 => (0..4_usize).prop_map(|stages| Attempt::StartGeneration { stages }),
        10 => stage.clone().prop_map(Attempt::StartStage),
        10 => stage.clone().prop_map(Attempt::CompleteStage),
        1 => stage.prop_map(Attempt::FailStage),
        1 => (0..3_u8).prop_map(Attempt::WriteScript),
        1 => (0..3_u8).prop_map(Attempt::AttachMediaAsset),
        4 => Just(Attempt::SubmitForReview),
        4 => Just(Attempt::Approve),
        2 => Just(Attempt::Reject),
        3 => Just(Attempt::ReturnToDraft),
        3 => Just(Attempt::MarkPublished),
    ]
}

fn attempts() -> impl Strategy<Value = Vec<Attempt>> {
    prop::collection::vec(attempt(), 0..120)
}

/// The command of an attempt; `step` makes the ids of new runs, which are never used twice.
fn command(attempt: Attempt, content: &Content, step: usize) -> ContentCommand {
    let run_of = |n: usize| content.run_of(&stage(STAGES[n])).unwrap_or(UNKNOWN_RUN);
    match attempt {
        Attempt::Draft => ContentCommand::Draft {
            trend_id: TREND,
            created_by: ADA,
            title: title("title 0"),
            hook: None,
            script_body: None,
            visual_prompts: None,
        },
        Attempt::Edit { title: new_title, hook: new_hook } => ContentCommand::Edit {
            title: (new_title > 0).then(|| title(&format!("title {new_title}"))),
            hook: match new_hook {
                0 => Patch::Keep,
                1 => Patch::Clear,
                other => Patch::Set(hook(&format!("hook {other}"))),
            },
            script_body: Patch::Keep,
            visual_prompts: Patch::Keep,
        },
        Attempt::StartGeneration { stages } => {
            let runs = (0..stages).map(|n| Run {
                run_id: RunId(uuid((step * STAGES.len() + n) as u128)),
                stage: stage(STAGES[n]),
            });
            ContentCommand::StartGeneration { runs: runs.collect() }
        }
        Attempt::StartStage(n) => ContentCommand::StartStage { stage: stage(STAGES[n]) },
        Attempt::CompleteStage(n) => ContentCommand::CompleteStage { run_id: run_of(n) },
        Attempt::FailStage(n) => {
            ContentCommand::FailStage { run_id: run_of(n), error: failure("out of ink") }
        }
        Attempt::WriteScript(n) => ContentCommand::WriteScript {
            script_body: script(&format!("script {n}")),
            hook: Patch::Keep,
            visual_prompts: Patch::Keep,
        },
        Attempt::AttachMediaAsset(n) => ContentCommand::AttachMediaAsset {
            asset_id: MediaAssetId(uuid(n.into())),
            asset_type: AssetType::Video,
            provider: provider_name("pixels"),
            file_path: file_path("media/engine.mp4"),
            metadata: None,
        },
        Attempt::SubmitForReview => ContentCommand::SubmitForReview,
        Attempt::Approve => ContentCommand::Approve { by: REVIEWER },
        Attempt::Reject => ContentCommand::Reject { by: REVIEWER, reason: reason("too long") },
        Attempt::ReturnToDraft => ContentCommand::ReturnToDraft,
        Attempt::MarkPublished => ContentCommand::MarkPublished { publish_id: PUBLISH },
    }
}

/// A content as one sees it who knows the events and nothing else.
#[derive(Default)]
struct Observer {
    status: Option<ContentStatus>,
    runs: BTreeMap<RunId, RunStatus>,
    assets: Vec<MediaAssetId>,
    /// The stage has failed, so that the next event gives the generation up.
    failing: bool,
}

impl Observer {
    /// Takes note of an event, and objects to one that may not come now.
    fn see(&mut self, event: &ContentEvent) -> Result<(), TestCaseError> {
        let gives_up = matches!(event, ContentEvent::GenerationFailed { .. });
        prop_assert_eq!(gives_up, self.failing, "a stage fails with its generation: {:?}", event);
        match event {
            ContentEvent::Drafted { .. } => {
                prop_assert_eq!(self.status, None);
                self.status = Some(ContentStatus::Draft);
            }
            ContentEvent::Edited { title, hook, script_body, visual_prompts } => {
                self.changes_texts()?;
                let changes = title.is_some()
                    || !hook.is_keep()
                    || !script_body.is_keep()
                    || !visual_prompts.is_keep();
                prop_assert!(changes, "an edit that changes nothing");
            }
            ContentEvent::ScriptWritten { .. } => self.changes_texts()?,
            ContentEvent::MediaAssetAttached { asset_id, .. } => {
                self.changes_texts()?;
                prop_assert!(!self.assets.contains(asset_id));
                self.assets.push(*asset_id);
            }
            ContentEvent::GenerationStarted { runs } => {
                self.moves(ContentStatus::Draft, ContentStatus::Generating)?;
                self.runs = runs.iter().map(|run| (run.run_id, RunStatus::Pending)).collect();
                prop_assert!(!self.runs.is_empty() && self.runs.len() == runs.len());
            }
            ContentEvent::StageStarted { run_id, .. } => {
                self.run_moves(*run_id, RunStatus::Pending, RunStatus::Running)?;
            }
            ContentEvent::StageCompleted { run_id, .. } => {
                self.run_moves(*run_id, RunStatus::Running, RunStatus::Completed)?;
            }
            ContentEvent::StageFailed { run_id, .. } => {
                self.run_moves(*run_id, RunStatus::Running, RunStatus::Failed)?;
                self.failing = true;
            }
            ContentEvent::GenerationFailed { abandoned, .. } => self.gives_up(abandoned)?,
            ContentEvent::SubmittedForReview {} => {
                self.moves(ContentStatus::Generating, ContentStatus::Review)?;
            }
            ContentEvent::Approved { .. } => {
                self.moves(ContentStatus::Review, ContentStatus::Approved)?;
            }
            ContentEvent::Rejected { .. } => {
                self.moves(ContentStatus::Review, ContentStatus::Rejected)?;
            }
            ContentEvent::ReturnedToDraft {} => {
                self.moves(ContentStatus::Rejected, ContentStatus::Draft)?;
            }
            ContentEvent::Published { .. } => {
                self.moves(ContentStatus::Approved, ContentStatus::Published)?;
            }
        }
        self.what_people_see_is_complete()
    }

    fn moves(&mut self, from: ContentStatus, to: ContentStatus) -> Result<(), TestCaseError> {
        prop_assert_eq!(self.status, Some(from), "to {}", to);
        self.status = Some(to);
        Ok(())
    }

    fn run_moves(
        &mut self,
        run_id: RunId,
        from: RunStatus,
        to: RunStatus,
    ) -> Result<(), TestCaseError> {
        prop_assert_eq!(self.status, Some(ContentStatus::Generating));
        prop_assert_eq!(self.runs.insert(run_id, to), Some(from), "to {}", to);
        Ok(())
    }

    fn changes_texts(&self) -> Result<(), TestCaseError> {
        let open = matches!(self.status, Some(ContentStatus::Draft | ContentStatus::Generating));
        prop_assert!(open, "changed in {:?}", self.status);
        Ok(())
    }

    fn gives_up(&mut self, abandoned: &[RunId]) -> Result<(), TestCaseError> {
        let open = |status: &RunStatus| matches!(status, RunStatus::Pending | RunStatus::Running);
        let still_open: Vec<_> =
            self.runs.iter().filter(|(_, status)| open(status)).map(|(id, _)| *id).collect();
        prop_assert_eq!(&still_open, abandoned);
        self.runs.extend(abandoned.iter().map(|run_id| (*run_id, RunStatus::Failed)));
        self.failing = false;
        self.moves(ContentStatus::Generating, ContentStatus::Draft)
    }

    fn what_people_see_is_complete(&self) -> Result<(), TestCaseError> {
        let shown = matches!(
            self.status,
            Some(ContentStatus::Review | ContentStatus::Approved | ContentStatus::Published)
        );
        let all_done = !self.runs.is_empty()
            && self.runs.values().all(|status| *status == RunStatus::Completed);
        prop_assert!(!shown || all_done, "{:?} with {:?}", self.status, self.runs);
        Ok(())
    }
}

/// Lets the content decide on each attempt, and gives the events and the state that came of it.
fn live(attempts: &[Attempt]) -> Result<(Vec<ContentEvent>, Content), TestCaseError> {
    let mut content = Content::default();
    let mut observer = Observer::default();
    let mut log = Vec::new();
    for (step, attempt) in attempts.iter().enumerate() {
        // A refusal changes nothing: the next attempt meets the same state.
        let decided = content.decide(command(*attempt, &content, step));
        for event in decided.unwrap_or_default() {
            observer.see(&event)?;
            content.apply(event.clone());
            log.push(event);
        }
        prop_assert!(!observer.failing, "a stage failed and its generation goes on");
        prop_assert_eq!(content.status(), observer.status);
        prop_assert_eq!(kept_runs(&content), observer.runs.clone());
    }
    Ok((log, content))
}

/// The runs as a snapshot keeps them: where nothing generates, no decision shows them.
fn kept_runs(content: &Content) -> BTreeMap<RunId, RunStatus> {
    let state = serde_json::to_value(content).unwrap();
    let runs = state["runs"].as_array().cloned().unwrap_or_default();
    runs.into_iter()
        .map(|run| {
            let run_id: RunId = serde_json::from_value(run["run_id"].clone()).unwrap();
            (run_id, serde_json::from_value(run["status"].clone()).unwrap())
        })
        .collect()
}

/// An event as it comes back from the log.
fn through_the_log(event: &ContentEvent) -> ContentEvent {
    let (event_type, version) = event.type_and_version();
    let payload = event::payload(event).unwrap();
    let Event::Content(event) = Event::decode_value(event_type, version, &payload).unwrap() else {
        panic!("{event:?} came back as another aggregate's event");
    };
    event
}

fn config() -> Config {
    // The counterexample is printed; a test writes no files.
    Config { cases: 512, failure_persistence: None, ..Config::default() }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn no_sequence_of_commands_breaks_the_rules(attempts in attempts()) {
        live(&attempts)?;
    }

    #[test]
    fn the_log_alone_gives_the_same_content(attempts in attempts()) {
        let (log, content) = live(&attempts)?;
        let mut replayed = Content::default();
        for event in &log {
            replayed.apply(through_the_log(event));
        }
        prop_assert_eq!(&replayed, &content);

        let snapshot = serde_json::to_string(&content).unwrap();
        prop_assert_eq!(serde_json::from_str::<Content>(&snapshot).unwrap(), content);
    }

    #[test]
    fn a_snapshot_and_the_rest_of_the_log_give_the_same_content(
        attempts in attempts(),
        at in any::<prop::sample::Index>(),
    ) {
        let (log, content) = live(&attempts)?;
        let (before, after) = log.split_at(at.index(log.len() + 1));
        let snapshot = before.iter().cloned().fold(Content::default(), applied);
        let snapshot = serde_json::from_value(serde_json::to_value(snapshot).unwrap()).unwrap();
        prop_assert_eq!(after.iter().cloned().fold(snapshot, applied), content);
    }
}

fn applied(mut content: Content, event: ContentEvent) -> Content {
    content.apply(event);
    content
}

/// Rules that no sequence comes near would hold for nothing.
#[test]
fn the_sequences_come_to_every_event() {
    let mut seen = BTreeMap::new();
    let mut runner = TestRunner::deterministic();
    for _ in 0..512 {
        let tree = attempts().new_tree(&mut runner).unwrap();
        let (log, _) = live(&tree.current()).unwrap();
        for event in log {
            *seen.entry(event.type_and_version().0).or_insert(0_usize) += 1;
        }
    }
    for (event_type, _) in ContentEvent::TYPES {
        let times = seen.get(event_type).copied().unwrap_or(0);
        assert!(times >= 20, "{event_type} was seen {times} times: {seen:?}");
    }
}
