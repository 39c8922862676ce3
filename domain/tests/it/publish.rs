//! Decisions about publish requests and their attempts.

use orion_domain::publish::{Destination, RequestStatus};
use orion_domain::{AggregateRoot, Publish, PublishCommand, PublishError, PublishEvent};

use crate::fixtures::{
    ADA, CONTENT, FIRST_RECORD, SECOND_RECORD, destination, failed, failure, platform, post_id,
    requested, succeeded,
};
use crate::given::{codes, fold, given};

fn request(destination: Destination) -> PublishCommand {
    PublishCommand::Request { destination, requested_by: ADA }
}

fn record_published() -> PublishCommand {
    PublishCommand::RecordPublished {
        record_id: FIRST_RECORD,
        platform_post_id: Some(post_id("yt-1")),
    }
}

fn record_failure() -> PublishCommand {
    PublishCommand::RecordFailure { record_id: FIRST_RECORD, error: failure("quota") }
}

#[test]
fn a_content_is_to_be_published() {
    given::<Publish>([]).when(request(destination())).emits([requested()]);
}

#[test]
fn without_an_account_only_the_platform_is_named() {
    let by_hand = Destination {
        content_id: CONTENT,
        social_account_id: None,
        platform: platform("newsletter"),
    };
    given::<Publish>([])
        .when(request(by_hand.clone()))
        .emits([PublishEvent::Requested { destination: by_hand, requested_by: ADA }]);
}

#[test]
fn a_request_is_made_once() {
    for history in [vec![requested()], vec![requested(), failed(FIRST_RECORD)]] {
        given::<Publish>(history).when(request(destination())).rejects(PublishError::AlreadyExists);
    }
}

#[test]
fn what_was_not_requested_is_not_found() {
    for command in [record_published(), record_failure(), PublishCommand::Retry] {
        given::<Publish>([]).when(command).rejects(PublishError::NotFound);
    }
}

#[test]
fn an_attempt_succeeds() {
    given::<Publish>([requested()]).when(record_published()).emits([succeeded(FIRST_RECORD)]);
}

#[test]
fn a_post_by_hand_may_have_no_id_on_the_platform() {
    given::<Publish>([requested()])
        .when(PublishCommand::RecordPublished { record_id: FIRST_RECORD, platform_post_id: None })
        .emits([PublishEvent::Succeeded {
            record_id: FIRST_RECORD,
            destination: destination(),
            platform_post_id: None,
        }]);
}

#[test]
fn an_attempt_fails() {
    given::<Publish>([requested()]).when(record_failure()).emits([failed(FIRST_RECORD)]);
}

#[test]
fn a_result_needs_an_open_attempt() {
    for (result, status) in [
        (succeeded(SECOND_RECORD), RequestStatus::Published),
        (failed(SECOND_RECORD), RequestStatus::Failed),
    ] {
        for command in [record_published(), record_failure()] {
            given::<Publish>([requested(), result.clone()])
                .when(command)
                .rejects(PublishError::NotPending { status });
        }
    }
}

#[test]
fn a_failed_request_is_tried_again() {
    given::<Publish>([requested(), failed(FIRST_RECORD)])
        .when(PublishCommand::Retry)
        .emits([PublishEvent::Retried {}]);
}

#[test]
fn only_a_failed_request_is_tried_again() {
    for (history, status) in [
        (vec![requested()], RequestStatus::Pending),
        (vec![requested(), succeeded(FIRST_RECORD)], RequestStatus::Published),
        (vec![requested(), failed(FIRST_RECORD), PublishEvent::Retried {}], RequestStatus::Pending),
    ] {
        given::<Publish>(history)
            .when(PublishCommand::Retry)
            .rejects(PublishError::NotFailed { status });
    }
}

#[test]
fn a_second_attempt_has_a_result_of_its_own() {
    given::<Publish>([requested(), failed(SECOND_RECORD), PublishEvent::Retried {}])
        .when(record_published())
        .emits([succeeded(FIRST_RECORD)]);
}

#[test]
fn a_request_belongs_to_who_made_it_and_claims_nothing() {
    assert_eq!(fold::<Publish>([]).owner(), None);
    assert_eq!(fold::<Publish>([requested(), failed(FIRST_RECORD)]).owner(), Some(ADA));
    assert_eq!(given::<Publish>([]).claims(&requested()), []);
}

#[test]
fn a_request_names_its_content() {
    assert_eq!(fold::<Publish>([]).content_id(), None);
    assert_eq!(fold::<Publish>([requested()]).content_id(), Some(CONTENT));
}

#[test]
fn refusals_have_stable_codes() {
    let status = RequestStatus::Pending;
    codes([
        (PublishError::NotFound, "NOT_FOUND", None),
        (PublishError::AlreadyExists, "ALREADY_EXISTS", None),
        (PublishError::NotPending { status }, "NOT_PENDING", None),
        (PublishError::NotFailed { status }, "NOT_FAILED", None),
    ]);
}

#[test]
fn a_status_is_shown_as_it_is_kept() {
    for status in [RequestStatus::Pending, RequestStatus::Published, RequestStatus::Failed] {
        assert_eq!(serde_json::to_value(status).unwrap(), status.to_string());
    }
}
