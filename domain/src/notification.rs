//! Which events people are told of, and what each person has chosen of that.

use serde_json::Value;

use crate::values::settings::SWITCHABLE;
use crate::values::{Json, NotificationKind, effective_settings};
use crate::{ContentEvent, Event, SessionEvent, TrendEvent};

/// The stages whose failure is one of media.
const MEDIA_STAGES: [&str; 3] = ["images", "audio", "video"];

/// The types of the events that [`kinds_of`] gives a kind, for those who have not decoded them.
pub const EVENT_TYPES: [&str; 8] = [
    "trend.detected",
    "content.drafted",
    "content.published",
    "content.rejected",
    "content.stage_started",
    "content.stage_completed",
    "content.stage_failed",
    "session.reuse_detected",
];

/// What people are told of an event, the closest kind first. Each person is told once, by the first
/// of these kinds that the person wants.
pub fn kinds_of(event: &Event) -> &'static [NotificationKind] {
    match event {
        Event::Trend(event) => match event {
            TrendEvent::Detected { .. } => &[NotificationKind::TrendDetected],
            TrendEvent::Rescored { .. } | TrendEvent::Expired {} | TrendEvent::Archived {} => &[],
        },
        Event::Content(event) => kinds_of_content(event),
        Event::Session(event) => match event {
            SessionEvent::ReuseDetected { .. } => &[NotificationKind::SessionReuseDetected],
            SessionEvent::Started { .. }
            | SessionEvent::Rotated { .. }
            | SessionEvent::Revoked { .. }
            | SessionEvent::TokensExpired { .. }
            | SessionEvent::Removed { .. } => &[],
        },
        Event::User(_)
        | Event::Publish(_)
        | Event::SocialAccount(_)
        | Event::Provider(_)
        | Event::ServiceToken(_) => &[],
    }
}

fn kinds_of_content(event: &ContentEvent) -> &'static [NotificationKind] {
    match event {
        ContentEvent::Drafted { .. } => &[NotificationKind::ContentCreated],
        ContentEvent::Published { .. } => &[NotificationKind::ContentPublished],
        ContentEvent::Rejected { .. } => &[NotificationKind::ContentRejected],
        ContentEvent::StageFailed { stage, .. } if MEDIA_STAGES.contains(&stage.as_str()) => {
            &[NotificationKind::MediaFailed, NotificationKind::PipelineStageChanged]
        }
        ContentEvent::StageStarted { .. }
        | ContentEvent::StageCompleted { .. }
        | ContentEvent::StageFailed { .. } => &[NotificationKind::PipelineStageChanged],
        ContentEvent::Edited { .. }
        | ContentEvent::GenerationStarted { .. }
        | ContentEvent::GenerationFailed { .. }
        | ContentEvent::ScriptWritten { .. }
        | ContentEvent::MediaAssetAttached { .. }
        | ContentEvent::SubmittedForReview {}
        | ContentEvent::Approved { .. }
        | ContentEvent::ReturnedToDraft {} => &[],
    }
}

/// What a person has chosen about notifications; what was not chosen has its default.
#[derive(Clone, PartialEq, Eq)]
pub struct NotificationPreferences {
    /// The kinds that are not wanted.
    pub unwanted: Vec<NotificationKind>,
    /// The kinds that are not pushed to those who listen.
    pub quiet: Vec<NotificationKind>,
    /// A mail when a content is published.
    pub email_on_publish: bool,
    /// A mail when a generation or an attempt to publish fails.
    pub email_on_failure: bool,
    /// Where each notification is posted as well. Personal.
    pub webhook_url: Option<String>,
}

impl NotificationPreferences {
    /// What these settings say; `None` for those of an erased person.
    pub fn of(settings: Option<&Json>) -> Self {
        let chosen = settings.map_or(&Value::Null, Json::as_value);
        let all = effective_settings(chosen);
        let section = &all["notification_preferences"];
        // Settings from before they were checked may hold anything; then the default holds.
        let is_on = |value: &Value| value.as_bool().unwrap_or(true);
        let switched_off = |switch: &str| {
            let is_off = |kind: &NotificationKind| !is_on(&section["types"][kind.as_str()][switch]);
            SWITCHABLE.into_iter().filter(is_off).collect()
        };
        Self {
            unwanted: switched_off("enabled"),
            quiet: switched_off("real_time"),
            email_on_publish: is_on(&section["email_on_publish"]),
            email_on_failure: is_on(&section["email_on_failure"]),
            webhook_url: section["webhook_url"].as_str().map(str::to_owned),
        }
    }

    /// The first of these kinds that is wanted.
    pub fn first_wanted(&self, kinds: &[NotificationKind]) -> Option<NotificationKind> {
        kinds.iter().copied().find(|kind| !self.unwanted.contains(kind))
    }
}

impl std::fmt::Debug for NotificationPreferences {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("NotificationPreferences(***)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::values::NotificationKind::{ContentRejected, MediaFailed, PipelineStageChanged};
    use serde_json::json;

    fn chosen(section: &Value) -> NotificationPreferences {
        let settings = json!({ "notification_preferences": section });
        NotificationPreferences::of(Some(&Json::parse(settings, "settings").unwrap()))
    }

    #[test]
    fn who_has_chosen_nothing_is_told_everything_but_by_no_webhook() {
        for preferences in [NotificationPreferences::of(None), chosen(&json!(7))] {
            assert_eq!((&preferences.unwanted, &preferences.quiet), (&vec![], &vec![]));
            assert!(preferences.email_on_publish && preferences.email_on_failure);
            assert_eq!(preferences.webhook_url, None);
        }
    }

    #[test]
    fn the_first_kind_that_is_wanted_is_told() {
        let preferences = chosen(&json!({ "types": {
            "media.failed": { "enabled": false },
            "content.rejected": { "real_time": false },
        } }));
        let kinds = [MediaFailed, PipelineStageChanged];
        assert_eq!(preferences.first_wanted(&kinds), Some(PipelineStageChanged));
        assert_eq!(preferences.first_wanted(&kinds[..1]), None);
        assert_eq!(chosen(&json!({})).first_wanted(&kinds), Some(MediaFailed));
        assert_eq!(preferences.quiet, [ContentRejected]);
    }

    #[test]
    fn its_debug_shows_no_address() {
        let preferences = chosen(&json!({ "webhook_url": "https://ada.example/secret" }));
        assert!(!format!("{preferences:?}").contains("ada"));
    }
}
