//! Decisions about contents: the life from draft to published, and the stages of a generation.

use cqrs_es::DomainEvent;
use orion_domain::content::{DEFAULT_STAGES, MAX_STAGES, Run};
use orion_domain::values::{AssetType, ContentStatus, MediaAssetId, Patch, RunId, RunStatus};
use orion_domain::{AggregateRoot, Content, ContentCommand, ContentError, ContentEvent, Rejection};
use serde_json::json;

use crate::fixtures::{
    ADA, ASSET, AUDIO_RUN, IMAGES_RUN, OTHER_ASSET, PUBLISH, REVIEWER, SCRIPT_RUN, TREND,
    UNKNOWN_RUN, and, approved, asset_attached, drafted, failure, file_path, generated, generating,
    generation_failed, generation_started, hook, in_review, json, provider_name, published, reason,
    rejected, runs, script, stage, stage_completed, stage_started, title, uuid,
};
use crate::given::{codes, fold, given};

fn draft() -> ContentCommand {
    ContentCommand::Draft {
        trend_id: TREND,
        created_by: ADA,
        title: title("Engines"),
        hook: Some(hook("Brass that thinks")),
        script_body: None,
        visual_prompts: None,
    }
}

fn retitle(new: &str) -> ContentCommand {
    ContentCommand::Edit {
        title: Some(title(new)),
        hook: Patch::Keep,
        script_body: Patch::Keep,
        visual_prompts: Patch::Keep,
    }
}

fn start_generation() -> ContentCommand {
    ContentCommand::StartGeneration { runs: runs() }
}

fn start_stage(name: &str) -> ContentCommand {
    ContentCommand::StartStage { stage: stage(name) }
}

fn complete_stage(run_id: RunId) -> ContentCommand {
    ContentCommand::CompleteStage { run_id }
}

fn fail_stage(run_id: RunId) -> ContentCommand {
    ContentCommand::FailStage { run_id, error: failure("out of ink") }
}

fn write_script() -> ContentCommand {
    ContentCommand::WriteScript {
        script_body: script("Enter the engine."),
        hook: Patch::Keep,
        visual_prompts: Patch::Keep,
    }
}

fn attach(asset_id: MediaAssetId) -> ContentCommand {
    ContentCommand::AttachMediaAsset {
        asset_id,
        asset_type: AssetType::Image,
        provider: provider_name("pixels"),
        file_path: file_path("media/engine.png"),
        metadata: None,
    }
}

fn approve() -> ContentCommand {
    ContentCommand::Approve { by: REVIEWER }
}

fn reject() -> ContentCommand {
    ContentCommand::Reject { by: REVIEWER, reason: reason("too long") }
}

fn mark_published() -> ContentCommand {
    ContentCommand::MarkPublished { publish_id: PUBLISH }
}

fn returned_to_draft() -> Vec<ContentEvent> {
    and(rejected(), ContentEvent::ReturnedToDraft {})
}

/// A content whose script failed, so that it is a draft again.
fn given_up() -> Vec<ContentEvent> {
    let failed = generation_failed(SCRIPT_RUN, "out of ink", [IMAGES_RUN, AUDIO_RUN]);
    generating().into_iter().chain(failed).collect()
}

/// One of each command, so that a history of the right kind makes it possible.
fn commands() -> [ContentCommand; 13] {
    [
        draft(),
        retitle("Looms"),
        start_generation(),
        start_stage("images"),
        complete_stage(SCRIPT_RUN),
        fail_stage(SCRIPT_RUN),
        write_script(),
        attach(ASSET),
        ContentCommand::SubmitForReview,
        approve(),
        reject(),
        ContentCommand::ReturnToDraft,
        mark_published(),
    ]
}

// The table of transitions.

const STATUSES: [ContentStatus; 6] = [
    ContentStatus::Draft,
    ContentStatus::Generating,
    ContentStatus::Review,
    ContentStatus::Approved,
    ContentStatus::Published,
    ContentStatus::Rejected,
];

/// What a command leads to in each status, in the order of [`STATUSES`]: the statuses after it, or
/// the code of its refusal. A new command does not compile until it has its row.
fn row(command: &ContentCommand) -> [Result<ContentStatus, &'static str>; 6] {
    use ContentStatus::{Approved, Draft, Generating, Published, Rejected, Review};
    let only = |status: ContentStatus, after: ContentStatus, otherwise: &'static str| {
        STATUSES.map(|now| if now == status { Ok(after) } else { Err(otherwise) })
    };
    match command {
        ContentCommand::Draft { .. } => [Err("ALREADY_EXISTS"); 6],
        ContentCommand::Edit { .. }
        | ContentCommand::WriteScript { .. }
        | ContentCommand::AttachMediaAsset { .. } => [
            Ok(Draft),
            Ok(Generating),
            Err("NOT_EDITABLE"),
            Err("NOT_EDITABLE"),
            Err("NOT_EDITABLE"),
            Err("NOT_EDITABLE"),
        ],
        ContentCommand::StartGeneration { .. } => only(Draft, Generating, "NOT_DRAFT"),
        ContentCommand::StartStage { .. } | ContentCommand::CompleteStage { .. } => {
            only(Generating, Generating, "NOT_GENERATING")
        }
        ContentCommand::FailStage { .. } => only(Generating, Draft, "NOT_GENERATING"),
        ContentCommand::SubmitForReview => only(Generating, Review, "NOT_GENERATING"),
        ContentCommand::Approve { .. } => only(Review, Approved, "NOT_IN_REVIEW"),
        ContentCommand::Reject { .. } => only(Review, Rejected, "NOT_IN_REVIEW"),
        ContentCommand::ReturnToDraft => only(Rejected, Draft, "NOT_REJECTED"),
        ContentCommand::MarkPublished { .. } => only(Approved, Published, "NOT_APPROVED"),
    }
}

/// The status that a refusal tells, where it tells one.
fn told_status(error: &ContentError) -> Option<ContentStatus> {
    match error {
        ContentError::NotEditable { status }
        | ContentError::NotDraft { status }
        | ContentError::NotGenerating { status }
        | ContentError::NotInReview { status }
        | ContentError::NotRejected { status }
        | ContentError::NotApproved { status } => Some(*status),
        ContentError::NotFound
        | ContentError::AlreadyExists
        | ContentError::StageCount { .. }
        | ContentError::DuplicateStage { .. }
        | ContentError::UnknownStage { .. }
        | ContentError::UnknownRun
        | ContentError::StageNotPending { .. }
        | ContentError::StageNotRunning { .. }
        | ContentError::StagesIncomplete { .. }
        | ContentError::DuplicateAsset => None,
    }
}

/// Histories that lead to a status; `generated` asks for one of which every stage is done.
fn histories_to(status: ContentStatus, all_stages_done: bool) -> Vec<Vec<ContentEvent>> {
    match status {
        ContentStatus::Draft => vec![vec![drafted()], given_up(), returned_to_draft()],
        ContentStatus::Generating if all_stages_done => vec![generated()],
        ContentStatus::Generating => vec![
            generating(),
            // The second time round, on the same runs, so that the same commands fit.
            [given_up(), generating().split_off(1)].concat(),
        ],
        ContentStatus::Review => vec![in_review()],
        ContentStatus::Approved => vec![approved()],
        ContentStatus::Published => vec![published()],
        ContentStatus::Rejected => vec![rejected()],
    }
}

#[test]
fn each_command_is_allowed_in_its_statuses_and_refused_in_all_others() {
    assert_eq!(STATUSES, ContentStatus::ALL);
    for command in commands() {
        let all_stages_done = matches!(command, ContentCommand::SubmitForReview);
        for (status, expected) in STATUSES.into_iter().zip(row(&command)) {
            for history in histories_to(status, all_stages_done) {
                let content = fold::<Content>(history.clone());
                assert_eq!(content.status(), Some(status));
                match content.decide(command.clone()) {
                    Ok(events) => {
                        assert!(!events.is_empty(), "{command:?} in {status}");
                        let after = fold::<Content>(history.into_iter().chain(events)).status();
                        assert_eq!(after.ok_or(""), expected, "{command:?} in {status}");
                    }
                    Err(error) => {
                        assert_eq!(Err(error.code()), expected, "{command:?} in {status}");
                        assert_eq!(told_status(&error).unwrap_or(status), status);
                    }
                }
            }
        }
    }
}

#[test]
fn there_is_one_of_each_command() {
    let mut kinds: Vec<_> = commands().iter().map(std::mem::discriminant).collect();
    while let Some(kind) = kinds.pop() {
        assert!(!kinds.contains(&kind));
    }
}

#[test]
fn what_was_not_drafted_is_not_found() {
    for command in commands().into_iter().skip(1) {
        given::<Content>([]).when(command).rejects(ContentError::NotFound);
    }
    assert_eq!(fold::<Content>([]).status(), None);
}

// Drafting and editing.

#[test]
fn a_content_is_drafted() {
    given::<Content>([]).when(draft()).emits([drafted()]);
}

#[test]
fn a_draft_may_bring_all_its_texts() {
    let (script_body, visual_prompts) = (Some(script("Enter.")), Some(json(json!(["brass"]))));
    given::<Content>([])
        .when(ContentCommand::Draft {
            trend_id: TREND,
            created_by: ADA,
            title: title("Engines"),
            hook: None,
            script_body: script_body.clone(),
            visual_prompts: visual_prompts.clone(),
        })
        .emits([ContentEvent::Drafted {
            trend_id: TREND,
            created_by: ADA,
            title: title("Engines"),
            hook: None,
            script_body,
            visual_prompts,
        }]);
}

#[test]
fn a_content_is_drafted_once() {
    given::<Content>([drafted()]).when(draft()).rejects(ContentError::AlreadyExists);
}

#[test]
fn an_edit_is_recorded_as_it_was_asked_for() {
    let (hook, script_body) = (Patch::Clear, Patch::Set(script("Enter.")));
    let visual_prompts = Patch::Set(json(json!(["brass"])));
    given::<Content>([drafted()])
        .when(ContentCommand::Edit {
            title: Some(title("Looms")),
            hook: hook.clone(),
            script_body: script_body.clone(),
            visual_prompts: visual_prompts.clone(),
        })
        .emits([ContentEvent::Edited {
            title: Some(title("Looms")),
            hook,
            script_body,
            visual_prompts,
        }]);
}

#[test]
fn an_edit_names_only_what_changes() {
    given::<Content>([drafted()])
        .when(ContentCommand::Edit {
            title: Some(title("Engines")),
            hook: Patch::Set(hook("Steam that counts")),
            script_body: Patch::Clear,
            visual_prompts: Patch::Keep,
        })
        .emits([ContentEvent::Edited {
            title: None,
            hook: Patch::Set(hook("Steam that counts")),
            script_body: Patch::Keep,
            visual_prompts: Patch::Keep,
        }]);
}

#[test]
fn an_edit_to_the_same_values_is_no_change() {
    let same = ContentCommand::Edit {
        title: Some(title("Engines")),
        hook: Patch::Set(hook("Brass that thinks")),
        script_body: Patch::Clear,
        visual_prompts: Patch::Clear,
    };
    given::<Content>([drafted()]).when(same).emits_nothing();
    let nothing = ContentCommand::Edit {
        title: None,
        hook: Patch::Keep,
        script_body: Patch::Keep,
        visual_prompts: Patch::Keep,
    };
    given::<Content>([drafted()]).when(nothing).emits_nothing();
}

#[test]
fn an_edit_is_compared_with_the_newest_texts() {
    let edited = ContentEvent::Edited {
        title: Some(title("Looms")),
        hook: Patch::Clear,
        script_body: Patch::Keep,
        visual_prompts: Patch::Set(json(json!(["silk"]))),
    };
    let written = ContentEvent::ScriptWritten {
        script_body: script("Enter."),
        hook: Patch::Set(hook("Silk")),
        visual_prompts: Patch::Clear,
    };
    let same = |hook, script_body, visual_prompts| ContentCommand::Edit {
        title: Some(title("Looms")),
        hook,
        script_body,
        visual_prompts,
    };
    given::<Content>([drafted(), edited.clone()])
        .when(same(Patch::Clear, Patch::Clear, Patch::Set(json(json!(["silk"])))))
        .emits_nothing();
    given::<Content>([drafted(), edited, written])
        .when(same(Patch::Set(hook("Silk")), Patch::Set(script("Enter.")), Patch::Clear))
        .emits_nothing();
}

#[test]
fn what_is_in_review_or_later_cannot_be_changed() {
    for (history, status) in [
        (in_review(), ContentStatus::Review),
        (approved(), ContentStatus::Approved),
        (published(), ContentStatus::Published),
        (rejected(), ContentStatus::Rejected),
    ] {
        for command in [retitle("Looms"), write_script(), attach(ASSET)] {
            given::<Content>(history.clone())
                .when(command)
                .rejects(ContentError::NotEditable { status });
        }
    }
}

#[test]
fn a_script_is_written() {
    let written = ContentEvent::ScriptWritten {
        script_body: script("Enter the engine."),
        hook: Patch::Keep,
        visual_prompts: Patch::Keep,
    };
    given::<Content>(generating()).when(write_script()).emits([written]);
}

#[test]
fn a_script_may_bring_a_hook_and_prompts() {
    let (hook, visual_prompts) = (Patch::Set(hook("Steam")), Patch::Clear);
    given::<Content>([drafted()])
        .when(ContentCommand::WriteScript {
            script_body: script("Enter."),
            hook: hook.clone(),
            visual_prompts: visual_prompts.clone(),
        })
        .emits([ContentEvent::ScriptWritten {
            script_body: script("Enter."),
            hook,
            visual_prompts,
        }]);
}

#[test]
fn media_are_attached() {
    given::<Content>(generating()).when(attach(ASSET)).emits([asset_attached(ASSET)]);
    given::<Content>([drafted(), asset_attached(ASSET)])
        .when(attach(OTHER_ASSET))
        .emits([asset_attached(OTHER_ASSET)]);
}

#[test]
fn a_media_asset_is_attached_once() {
    given::<Content>([drafted(), asset_attached(OTHER_ASSET), asset_attached(ASSET)])
        .when(attach(OTHER_ASSET))
        .rejects(ContentError::DuplicateAsset);
}

#[test]
fn media_stay_attached_when_a_generation_fails() {
    let failed = generation_failed(SCRIPT_RUN, "out of ink", []);
    let history = and(generating(), asset_attached(ASSET)).into_iter().chain(failed);
    given::<Content>(history).when(attach(ASSET)).rejects(ContentError::DuplicateAsset);
}

// Generating.

fn numbered_runs(count: usize) -> Vec<Run> {
    (0..count)
        .map(|n| Run { run_id: RunId(uuid(n as u128)), stage: stage(&format!("stage {n}")) })
        .collect()
}

#[test]
fn a_draft_is_handed_to_the_pipeline() {
    given::<Content>([drafted()]).when(start_generation()).emits([generation_started()]);
}

#[test]
fn the_default_stages_make_a_generation() {
    let runs: Vec<_> = (1..)
        .zip(DEFAULT_STAGES)
        .map(|(n, name)| Run { run_id: RunId(uuid(n)), stage: stage(name) })
        .collect();
    given::<Content>([drafted()])
        .when(ContentCommand::StartGeneration { runs: runs.clone() })
        .emits([ContentEvent::GenerationStarted { runs }]);
}

#[test]
fn a_generation_has_one_to_max_stages() {
    for count in [1, MAX_STAGES] {
        let runs = numbered_runs(count);
        given::<Content>([drafted()])
            .when(ContentCommand::StartGeneration { runs: runs.clone() })
            .emits([ContentEvent::GenerationStarted { runs }]);
    }
    for count in [0, MAX_STAGES + 1] {
        given::<Content>([drafted()])
            .when(ContentCommand::StartGeneration { runs: numbered_runs(count) })
            .rejects(ContentError::StageCount { count });
    }
}

#[test]
fn a_generation_names_each_stage_once() {
    let mut twice = runs();
    twice.push(Run { run_id: UNKNOWN_RUN, stage: stage("images") });
    given::<Content>([drafted()])
        .when(ContentCommand::StartGeneration { runs: twice })
        .rejects(ContentError::DuplicateStage { stage: "images".to_owned() });
}

#[test]
fn only_a_draft_is_handed_to_the_pipeline() {
    given::<Content>(generating())
        .when(start_generation())
        .rejects(ContentError::NotDraft { status: ContentStatus::Generating });
}

#[test]
fn a_pending_stage_starts() {
    given::<Content>(generating()).when(start_stage("images")).emits([stage_started(IMAGES_RUN)]);
}

#[test]
fn a_stage_starts_once() {
    given::<Content>(generating())
        .when(start_stage("script"))
        .rejects(ContentError::StageNotPending { status: RunStatus::Running });
    given::<Content>(generated())
        .when(start_stage("script"))
        .rejects(ContentError::StageNotPending { status: RunStatus::Completed });
}

#[test]
fn a_stage_that_the_generation_does_not_have_is_unknown() {
    given::<Content>(generating())
        .when(start_stage("smell"))
        .rejects(ContentError::UnknownStage { stage: "smell".to_owned() });
}

#[test]
fn a_running_stage_is_completed() {
    given::<Content>(generating())
        .when(complete_stage(SCRIPT_RUN))
        .emits([stage_completed(SCRIPT_RUN)]);
}

#[test]
fn only_a_running_stage_is_completed_or_fails() {
    for (history, run_id, status) in [
        (generating(), IMAGES_RUN, RunStatus::Pending),
        (generated(), IMAGES_RUN, RunStatus::Completed),
    ] {
        for command in [complete_stage(run_id), fail_stage(run_id)] {
            given::<Content>(history.clone())
                .when(command)
                .rejects(ContentError::StageNotRunning { status });
        }
    }
}

#[test]
fn a_run_that_the_generation_does_not_have_is_unknown() {
    for command in [complete_stage(UNKNOWN_RUN), fail_stage(UNKNOWN_RUN)] {
        given::<Content>(generating()).when(command).rejects(ContentError::UnknownRun);
    }
}

#[test]
fn a_run_of_an_earlier_generation_is_unknown() {
    let again = ContentEvent::GenerationStarted {
        runs: vec![Run { run_id: UNKNOWN_RUN, stage: stage("script") }],
    };
    given::<Content>(and(given_up(), again))
        .when(complete_stage(SCRIPT_RUN))
        .rejects(ContentError::UnknownRun);
}

#[test]
fn a_failing_stage_abandons_those_that_wait_or_run() {
    let history = and(generating(), stage_started(IMAGES_RUN));
    given::<Content>(history).when(fail_stage(SCRIPT_RUN)).emits(generation_failed(
        SCRIPT_RUN,
        "out of ink",
        [IMAGES_RUN, AUDIO_RUN],
    ));
}

#[test]
fn a_failing_stage_leaves_the_completed_ones() {
    let history = [generating(), vec![stage_completed(SCRIPT_RUN), stage_started(AUDIO_RUN)]];
    given::<Content>(history.concat()).when(fail_stage(AUDIO_RUN)).emits(generation_failed(
        AUDIO_RUN,
        "out of ink",
        [IMAGES_RUN],
    ));
}

#[test]
fn the_last_stage_fails_alone() {
    let mut history = generated();
    history.pop();
    given::<Content>(history).when(fail_stage(AUDIO_RUN)).emits(generation_failed(
        AUDIO_RUN,
        "out of ink",
        [],
    ));
}

#[test]
fn after_a_failure_workers_are_told_to_stop() {
    for command in [start_stage("images"), complete_stage(IMAGES_RUN), fail_stage(IMAGES_RUN)] {
        given::<Content>(given_up())
            .when(command)
            .rejects(ContentError::NotGenerating { status: ContentStatus::Draft });
    }
}

#[test]
fn a_generation_that_failed_starts_again_with_every_stage_pending() {
    given::<Content>(given_up()).when(start_generation()).emits([generation_started()]);
    for (name, run_id) in [("script", SCRIPT_RUN), ("images", IMAGES_RUN), ("audio", AUDIO_RUN)] {
        given::<Content>(and(given_up(), generation_started()))
            .when(start_stage(name))
            .emits([stage_started(run_id)]);
    }
}

#[test]
fn a_stage_names_its_run_in_the_newest_generation() {
    let run_of = |history: &[_], name| fold::<Content>(history.to_vec()).run_of(&stage(name));
    assert_eq!(run_of(&[], "script"), None);
    assert_eq!(run_of(&[drafted()], "script"), None);
    assert_eq!(run_of(&generating(), "images"), Some(IMAGES_RUN));
    assert_eq!(run_of(&generating(), "smell"), None);
    let again = ContentEvent::GenerationStarted {
        runs: vec![Run { run_id: UNKNOWN_RUN, stage: stage("script") }],
    };
    assert_eq!(run_of(&and(given_up(), again), "script"), Some(UNKNOWN_RUN));
}

// Reviewing and publishing.

#[test]
fn a_generated_content_is_submitted() {
    given::<Content>(generated())
        .when(ContentCommand::SubmitForReview)
        .emits([ContentEvent::SubmittedForReview {}]);
}

#[test]
fn a_review_needs_every_stage_done() {
    let one_done = and(generating(), stage_completed(SCRIPT_RUN));
    let mut last_running = generated();
    last_running.pop();
    for (history, open) in [(generating(), 3), (one_done, 2), (last_running, 1)] {
        given::<Content>(history)
            .when(ContentCommand::SubmitForReview)
            .rejects(ContentError::StagesIncomplete { open });
    }
}

#[test]
fn a_draft_is_not_submitted_even_after_a_generation() {
    for history in [vec![drafted()], given_up(), returned_to_draft()] {
        given::<Content>(history)
            .when(ContentCommand::SubmitForReview)
            .rejects(ContentError::NotGenerating { status: ContentStatus::Draft });
    }
}

#[test]
fn a_reviewer_approves() {
    given::<Content>(in_review()).when(approve()).emits([ContentEvent::Approved { by: REVIEWER }]);
}

#[test]
fn a_reviewer_rejects_and_says_why() {
    given::<Content>(in_review())
        .when(reject())
        .emits([ContentEvent::Rejected { by: REVIEWER, reason: reason("too long") }]);
}

#[test]
fn only_what_is_in_review_is_decided_on() {
    for command in [approve(), reject()] {
        given::<Content>(generating())
            .when(command)
            .rejects(ContentError::NotInReview { status: ContentStatus::Generating });
    }
}

#[test]
fn a_rejected_content_is_taken_up_again() {
    given::<Content>(rejected())
        .when(ContentCommand::ReturnToDraft)
        .emits([ContentEvent::ReturnedToDraft {}]);
}

#[test]
fn only_what_was_rejected_is_taken_up_again() {
    given::<Content>(approved())
        .when(ContentCommand::ReturnToDraft)
        .rejects(ContentError::NotRejected { status: ContentStatus::Approved });
}

#[test]
fn an_approved_content_is_published() {
    given::<Content>(approved())
        .when(mark_published())
        .emits([ContentEvent::Published { publish_id: PUBLISH }]);
}

#[test]
fn only_what_was_approved_is_published() {
    for (history, status) in
        [(in_review(), ContentStatus::Review), (published(), ContentStatus::Published)]
    {
        given::<Content>(history)
            .when(mark_published())
            .rejects(ContentError::NotApproved { status });
    }
}

#[test]
fn a_content_belongs_to_who_drafted_it_and_claims_nothing() {
    assert_eq!(fold::<Content>([]).owner(), None);
    assert_eq!(fold::<Content>([drafted()]).owner(), Some(ADA));
    assert_eq!(fold::<Content>(published()).owner(), Some(ADA));
    let mut content = Content::default();
    for event in published() {
        assert_eq!(content.claims(&event), [], "{}", event.event_type());
        cqrs_es::Aggregate::apply(&mut content, event);
    }
}

#[test]
fn refusals_have_stable_codes_and_name_their_field() {
    let status = ContentStatus::Draft;
    let run_status = RunStatus::Failed;
    let name = || "script".to_owned();
    codes([
        (ContentError::NotFound, "NOT_FOUND", None),
        (ContentError::AlreadyExists, "ALREADY_EXISTS", None),
        (ContentError::NotEditable { status }, "NOT_EDITABLE", None),
        (ContentError::NotDraft { status }, "NOT_DRAFT", None),
        (ContentError::NotGenerating { status }, "NOT_GENERATING", None),
        (ContentError::NotInReview { status }, "NOT_IN_REVIEW", None),
        (ContentError::NotRejected { status }, "NOT_REJECTED", None),
        (ContentError::NotApproved { status }, "NOT_APPROVED", None),
        (ContentError::StageCount { count: 0 }, "STAGE_COUNT", Some("stages")),
        (ContentError::DuplicateStage { stage: name() }, "DUPLICATE_STAGE", Some("stages")),
        (ContentError::UnknownStage { stage: name() }, "UNKNOWN_STAGE", Some("stage")),
        (ContentError::UnknownRun, "UNKNOWN_RUN", Some("runId")),
        (ContentError::StageNotPending { status: run_status }, "STAGE_NOT_PENDING", Some("stage")),
        (ContentError::StageNotRunning { status: run_status }, "STAGE_NOT_RUNNING", Some("runId")),
        (ContentError::StagesIncomplete { open: 1 }, "STAGES_INCOMPLETE", None),
        (ContentError::DuplicateAsset, "DUPLICATE_ASSET", None),
    ]);
}
