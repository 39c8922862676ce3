//! Decisions about connected social accounts.

use orion_domain::{
    AggregateRoot, SocialAccount, SocialAccountCommand, SocialAccountError, SocialAccountEvent,
};

use crate::fixtures::{ADA, connected, display_name, platform, sealed};
use crate::given::{codes, fold, given};

fn connect() -> SocialAccountCommand {
    SocialAccountCommand::Connect {
        user_id: ADA,
        platform: platform("youtube"),
        display_name: display_name("Ada's engines"),
        credentials: sealed("sealed-1"),
    }
}

fn rotate() -> SocialAccountCommand {
    SocialAccountCommand::RotateCredentials { credentials: sealed("sealed-2") }
}

fn rotated() -> SocialAccountEvent {
    SocialAccountEvent::CredentialsRotated { credentials: sealed("sealed-2") }
}

fn deactivated() -> SocialAccountEvent {
    SocialAccountEvent::Deactivated {}
}

#[test]
fn an_account_is_connected() {
    given::<SocialAccount>([]).when(connect()).emits([connected()]);
}

#[test]
fn an_account_is_connected_once() {
    for history in [vec![connected()], vec![connected(), deactivated()]] {
        given::<SocialAccount>(history).when(connect()).rejects(SocialAccountError::AlreadyExists);
    }
}

#[test]
fn what_was_not_connected_is_not_found() {
    for command in [rotate(), SocialAccountCommand::Deactivate] {
        given::<SocialAccount>([]).when(command).rejects(SocialAccountError::NotFound);
    }
}

#[test]
fn credentials_are_replaced() {
    given::<SocialAccount>([connected()]).when(rotate()).emits([rotated()]);
}

#[test]
fn an_account_is_deactivated() {
    given::<SocialAccount>([connected(), rotated()])
        .when(SocialAccountCommand::Deactivate)
        .emits([deactivated()]);
}

#[test]
fn an_inactive_account_is_not_used_any_more() {
    for command in [rotate(), SocialAccountCommand::Deactivate] {
        given::<SocialAccount>([connected(), deactivated()])
            .when(command)
            .rejects(SocialAccountError::Inactive);
    }
}

#[test]
fn only_an_active_account_has_a_platform_to_publish_to() {
    let platform_after =
        |history: &[_]| fold::<SocialAccount>(history.to_vec()).active_platform().cloned();
    assert_eq!(platform_after(&[]), Err(SocialAccountError::NotFound));
    assert_eq!(platform_after(&[connected()]), Ok(platform("youtube")));
    assert_eq!(platform_after(&[connected(), deactivated()]), Err(SocialAccountError::Inactive));
}

#[test]
fn an_account_belongs_to_who_connected_it_and_claims_nothing() {
    assert_eq!(fold::<SocialAccount>([]).owner(), None);
    assert_eq!(fold::<SocialAccount>([connected(), deactivated()]).owner(), Some(ADA));
    assert_eq!(given::<SocialAccount>([]).claims(&connected()), []);
}

#[test]
fn refusals_have_stable_codes() {
    codes([
        (SocialAccountError::NotFound, "NOT_FOUND", None),
        (SocialAccountError::AlreadyExists, "ALREADY_EXISTS", None),
        (SocialAccountError::Inactive, "SOCIAL_ACCOUNT_INACTIVE", None),
    ]);
}

#[test]
fn an_account_is_erased_once_whatever_became_of_it() {
    let erase = || SocialAccountCommand::Erase;
    let erased = || SocialAccountEvent::Erased {};
    given::<SocialAccount>([]).when(erase()).rejects(SocialAccountError::NotFound);
    given::<SocialAccount>([connected()]).when(erase()).emits([erased()]);
    given::<SocialAccount>([connected(), deactivated()]).when(erase()).emits([erased()]);
    given::<SocialAccount>([connected(), erased()]).when(erase()).emits_nothing();
    given::<SocialAccount>([connected(), erased()])
        .when(rotate())
        .rejects(SocialAccountError::Inactive);
}
