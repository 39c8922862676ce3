//! What people are told of, and what they have read of it.

use orion_domain::notification::{EVENT_TYPES, kinds_of};
use orion_domain::user::MARKED_READ_MAX;
use orion_domain::values::NotificationId;
use orion_domain::{ContentEvent, Event, User, UserCommand, UserError, UserEvent};

use crate::fixtures::{failure, registered, stage, uuid};
use crate::given::given;
use crate::samples::samples;

fn mark(up_to: i64, ids: &[NotificationId]) -> UserCommand {
    UserCommand::MarkNotificationsRead { up_to, ids: ids.to_vec() }
}

fn read(up_to: i64, ids: &[NotificationId]) -> UserEvent {
    UserEvent::NotificationsRead { up_to, ids: ids.to_vec() }
}

#[test]
fn each_event_type_is_told_of_or_not() {
    for (_, event) in samples() {
        let (event_type, _) = type_of(&event);
        assert_eq!(!kinds_of(&event).is_empty(), EVENT_TYPES.contains(&event_type), "{event_type}");
    }
}

fn type_of(event: &Event) -> (&'static str, &'static str) {
    match event {
        Event::User(event) => event.type_and_version(),
        Event::Session(event) => event.type_and_version(),
        Event::Trend(event) => event.type_and_version(),
        Event::Content(event) => event.type_and_version(),
        Event::Publish(event) => event.type_and_version(),
        Event::SocialAccount(event) => event.type_and_version(),
        Event::Provider(event) => event.type_and_version(),
        Event::ServiceToken(event) => event.type_and_version(),
    }
}

#[test]
fn the_failure_of_a_stage_is_one_of_media_first_where_it_makes_media() {
    for (name, kinds) in [
        ("script", &["pipeline.stage_changed"][..]),
        ("images", &["media.failed", "pipeline.stage_changed"]),
        ("audio", &["media.failed", "pipeline.stage_changed"]),
        ("video", &["media.failed", "pipeline.stage_changed"]),
    ] {
        let run_id = orion_domain::values::RunId(uuid(1));
        let failed =
            ContentEvent::StageFailed { run_id, stage: stage(name), error: failure("quota") };
        let found: Vec<_> = kinds_of(&failed.into()).iter().map(|kind| kind.as_str()).collect();
        assert_eq!(found, kinds, "{name}");
    }
}

#[test]
fn notifications_are_read_up_to_a_position_and_by_their_ids() {
    let id = NotificationId(uuid(0x131));
    given::<User>([registered()]).when(mark(7, &[])).emits([read(7, &[])]);
    given::<User>([registered()]).when(mark(0, &[id])).emits([read(0, &[id])]);
    given::<User>([registered()]).when(mark(0, &[])).emits([]);
    given::<User>([]).when(mark(7, &[])).rejects(UserError::NotFound);
}

#[test]
fn what_was_read_is_not_read_again() {
    let read_up_to_7 = [registered(), read(7, &[]), read(3, &[])];
    let id = NotificationId(uuid(0x131));
    given::<User>(read_up_to_7.clone()).when(mark(7, &[])).emits([]);
    given::<User>(read_up_to_7.clone()).when(mark(6, &[id])).emits([read(0, &[id])]);
    given::<User>(read_up_to_7).when(mark(8, &[])).emits([read(8, &[])]);
}

#[test]
fn only_so_many_are_named() {
    let ids = vec![NotificationId(uuid(1)); MARKED_READ_MAX + 1];
    let refused = UserError::TooManyNotifications { count: MARKED_READ_MAX + 1 };
    given::<User>([registered()]).when(mark(0, &ids)).rejects(refused);
    let most = &ids[1..];
    given::<User>([registered()]).when(mark(0, most)).emits([read(0, most)]);
}
