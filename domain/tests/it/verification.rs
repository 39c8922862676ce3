//! Decisions about a user's address: when it counts as verified, and how many mails it may get.

use chrono::{DateTime, TimeDelta, Utc};
use orion_domain::{User, UserCommand, UserError, UserEvent};

use crate::fixtures::{at, email, registered, registered_without_password};
use crate::given::{fold, given};

fn verified() -> UserEvent {
    UserEvent::EmailVerified {}
}

/// So many seconds after noon.
fn noon_and(seconds: i64) -> DateTime<Utc> {
    at("2026-03-01T12:00:00Z") + TimeDelta::seconds(seconds)
}

fn request(seconds: i64) -> UserCommand {
    UserCommand::RequestVerification { now: noon_and(seconds) }
}

fn requested(seconds: i64) -> UserEvent {
    UserEvent::VerificationRequested { requested_at: noon_and(seconds) }
}

fn too_soon(not_before: i64) -> UserError {
    UserError::RequestedTooSoon { not_before: noon_and(not_before) }
}

#[test]
fn an_address_is_verified() {
    given::<User>([registered()]).when(UserCommand::VerifyEmail).emits([verified()]);
    let user: User = fold([registered(), verified()]);
    assert_eq!(user.email(), email("ada@example.org").expose());
    assert!(user.is_email_verified() && !fold::<User>([registered()]).is_email_verified());
}

#[test]
fn an_address_is_verified_once() {
    for history in [vec![registered(), verified()], vec![registered_without_password()]] {
        for command in [UserCommand::VerifyEmail, request(0)] {
            given::<User>(history.clone()).when(command).rejects(UserError::AlreadyVerified);
        }
    }
}

#[test]
fn another_mail_may_be_asked_for_once_a_minute() {
    given::<User>([registered()]).when(request(0)).emits([requested(0)]);
    given::<User>([registered(), requested(0)]).when(request(59)).rejects(too_soon(60));
    given::<User>([registered(), requested(0)]).when(request(60)).emits([requested(60)]);
    // A clock that was set back opens no door.
    given::<User>([registered(), requested(0)]).when(request(-3600)).rejects(too_soon(60));
}

#[test]
fn five_mails_may_be_asked_for_in_a_day() {
    const DAY: i64 = 24 * 60 * 60;
    let five = [0, 100, 200, 300, 400].map(requested);
    let history = || std::iter::once(registered()).chain(five.clone());
    given::<User>(history()).when(request(500)).rejects(too_soon(DAY));
    given::<User>(history()).when(request(DAY - 1)).rejects(too_soon(DAY));
    given::<User>(history()).when(request(DAY)).emits([requested(DAY)]);
    // It is the last five that count.
    let later = || history().chain([requested(DAY)]);
    given::<User>(later()).when(request(DAY + 60)).rejects(too_soon(DAY + 100));
    given::<User>(later()).when(request(DAY + 100)).emits([requested(DAY + 100)]);
}
