//! Decisions about the tokens of machines.

use chrono::{DateTime, Utc};
use orion_domain::values::{Scope, Scopes};
use orion_domain::{
    AggregateRoot, Claim, ClaimChange, ServiceToken, ServiceTokenCommand, ServiceTokenError,
    ServiceTokenEvent,
};

use crate::fixtures::{ADA, at, token_hash, token_issued, token_name};
use crate::given::{codes, fold, given};

const NOW: &str = "2026-03-01T12:00:00Z";
const LATER: &str = "2026-03-01T13:00:00Z";

fn issue(expires_at: Option<DateTime<Utc>>) -> ServiceTokenCommand {
    ServiceTokenCommand::Issue {
        name: token_name("gpu worker"),
        scopes: pipeline(),
        token_hash: token_hash("hash-1"),
        issued_by: ADA,
        expires_at,
        now: at(NOW),
    }
}

fn pipeline() -> Scopes {
    Scopes::parse(&[Scope::Pipeline]).unwrap()
}

/// The same token, with an end.
fn expiring(end: &str) -> ServiceTokenEvent {
    let ServiceTokenEvent::Issued { name, scopes, token_hash, issued_by, .. } = token_issued()
    else {
        unreachable!("it is issued")
    };
    let expires_at = Some(at(end));
    ServiceTokenEvent::Issued { name, scopes, token_hash, issued_by, expires_at }
}

fn revoked() -> ServiceTokenEvent {
    ServiceTokenEvent::Revoked {}
}

fn name_claim() -> Claim {
    Claim {
        namespace: "service_token.name",
        value: "gpu worker".to_owned(),
        personal: false,
        taken_code: "NAME_TAKEN",
        field: "name",
    }
}

#[test]
fn a_token_is_issued_for_good_or_for_a_time() {
    given::<ServiceToken>([]).when(issue(None)).emits([token_issued()]);
    given::<ServiceToken>([]).when(issue(Some(at(LATER)))).emits([expiring(LATER)]);
}

#[test]
fn a_token_that_has_expired_is_not_issued() {
    for end in [NOW, "2026-03-01T11:59:59Z"] {
        given::<ServiceToken>([])
            .when(issue(Some(at(end))))
            .rejects(ServiceTokenError::ExpiryPassed);
    }
}

#[test]
fn a_token_is_issued_once() {
    for history in [vec![token_issued()], vec![token_issued(), revoked()]] {
        given::<ServiceToken>(history).when(issue(None)).rejects(ServiceTokenError::AlreadyExists);
    }
}

#[test]
fn a_token_is_revoked_also_when_it_has_expired() {
    for issued in [token_issued(), expiring(NOW)] {
        given::<ServiceToken>([issued]).when(ServiceTokenCommand::Revoke).emits([revoked()]);
    }
}

#[test]
fn what_was_not_issued_is_not_found() {
    given::<ServiceToken>([])
        .when(ServiceTokenCommand::Revoke)
        .rejects(ServiceTokenError::NotFound);
}

#[test]
fn what_is_revoked_is_not_revoked_again() {
    given::<ServiceToken>([token_issued(), revoked()])
        .when(ServiceTokenCommand::Revoke)
        .rejects(ServiceTokenError::AlreadyRevoked);
}

#[test]
fn a_name_is_taken_until_its_token_is_revoked() {
    let before = given::<ServiceToken>([]);
    assert_eq!(before.claims(&token_issued()), [ClaimChange::Take(name_claim())]);
    let issued = given::<ServiceToken>([token_issued()]);
    assert_eq!(issued.claims(&revoked()), [ClaimChange::Release(name_claim())]);
}

/// What the bearer of a token may do at noon.
fn admitted(history: impl IntoIterator<Item = ServiceTokenEvent>, hash: &str) -> Option<Scopes> {
    let token: ServiceToken = fold(history);
    token.credential()?.admits(&token_hash(hash), at(NOW))
}

#[test]
fn its_bearer_has_its_scopes_while_it_is_alive() {
    for issued in [token_issued(), expiring(LATER)] {
        assert_eq!(admitted([issued.clone()], "hash-1"), Some(pipeline()));
        assert_eq!(admitted([issued.clone()], "hash-2"), None);
        assert_eq!(admitted([issued, revoked()], "hash-1"), None);
    }
    assert_eq!(admitted([expiring(NOW)], "hash-1"), None);
    assert_eq!(admitted([], "hash-1"), None);
}

#[test]
fn a_service_token_belongs_to_nobody() {
    assert_eq!(fold::<ServiceToken>([token_issued()]).owner(), None);
}

#[test]
fn refusals_have_stable_codes() {
    codes([
        (ServiceTokenError::NotFound, "NOT_FOUND", None),
        (ServiceTokenError::AlreadyExists, "ALREADY_EXISTS", None),
        (ServiceTokenError::ExpiryPassed, "EXPIRY_PASSED", Some("expiresAt")),
        (ServiceTokenError::AlreadyRevoked, "ALREADY_REVOKED", None),
    ]);
}
