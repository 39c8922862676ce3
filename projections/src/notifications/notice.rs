//! What an event tells, and whom.

use orion_domain::notification::kinds_of;
use orion_domain::values::{NotificationKind, RunId, StageName};
use orion_domain::{ContentEvent, Event};
use orion_store::Fact;
use uuid::Uuid;

/// Who is told of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Audience {
    /// Every active user.
    Everyone,
    /// The owner of a content, while active.
    OwnerOf(Uuid),
    /// Whose session it is, in any case.
    KeeperOf(Uuid),
}

impl Audience {
    /// Whose owner or keeper is told; none where everyone is.
    pub fn subject(self) -> Option<Uuid> {
        match self {
            Self::Everyone => None,
            Self::OwnerOf(subject) | Self::KeeperOf(subject) => Some(subject),
        }
    }
}

/// What an event tells: ids and codes, nothing that anybody wrote but the name of a stage.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Notice<'a> {
    /// The closest kind first.
    pub kinds: &'static [NotificationKind],
    pub audience: Audience,
    pub event_type: &'static str,
    pub stage: Option<&'a str>,
    pub trend_id: Option<Uuid>,
    pub content_id: Option<Uuid>,
    pub run_id: Option<Uuid>,
    pub session_id: Option<Uuid>,
}

impl<'a> Notice<'a> {
    /// What an event tells, if it tells anything.
    pub fn of(fact: &'a Fact) -> Option<Self> {
        let kinds = kinds_of(&fact.event);
        if kinds.is_empty() {
            return None;
        }
        let id = fact.aggregate_id;
        let notice = |audience, event_type| Notice {
            kinds,
            audience,
            event_type,
            stage: None,
            trend_id: None,
            content_id: None,
            run_id: None,
            session_id: None,
        };
        match &fact.event {
            Event::Trend(event) => {
                let (event_type, _) = event.type_and_version();
                Some(Notice { trend_id: Some(id), ..notice(Audience::Everyone, event_type) })
            }
            Event::Content(event) => {
                let (event_type, _) = event.type_and_version();
                let (run_id, stage) = stage_of(event).unzip();
                Some(Notice {
                    content_id: Some(id),
                    trend_id: trend_of(event),
                    run_id: run_id.map(|run_id| run_id.0),
                    stage: stage.map(StageName::as_str),
                    ..notice(Audience::OwnerOf(id), event_type)
                })
            }
            Event::Session(event) => {
                let (event_type, _) = event.type_and_version();
                Some(Notice { session_id: Some(id), ..notice(Audience::KeeperOf(id), event_type) })
            }
            Event::User(_)
            | Event::Publish(_)
            | Event::SocialAccount(_)
            | Event::Provider(_)
            | Event::ServiceToken(_) => None,
        }
    }
}

fn trend_of(event: &ContentEvent) -> Option<Uuid> {
    if let ContentEvent::Drafted { trend_id, .. } = event { Some(trend_id.0) } else { None }
}

fn stage_of(event: &ContentEvent) -> Option<(RunId, &StageName)> {
    match event {
        ContentEvent::StageStarted { run_id, stage }
        | ContentEvent::StageCompleted { run_id, stage }
        | ContentEvent::StageFailed { run_id, stage, .. } => Some((*run_id, stage)),
        ContentEvent::Drafted { .. }
        | ContentEvent::Edited { .. }
        | ContentEvent::GenerationStarted { .. }
        | ContentEvent::GenerationFailed { .. }
        | ContentEvent::ScriptWritten { .. }
        | ContentEvent::MediaAssetAttached { .. }
        | ContentEvent::SubmittedForReview {}
        | ContentEvent::Approved { .. }
        | ContentEvent::Rejected { .. }
        | ContentEvent::ReturnedToDraft {}
        | ContentEvent::Published { .. } => None,
    }
}
