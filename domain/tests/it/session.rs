//! Decisions about sessions: one refresh token lives at a time.

use orion_domain::session::{REFRESH_TOKEN_TTL, Token};
use orion_domain::values::{RefreshTokenId, RevocationReason};
use orion_domain::{AggregateRoot, Session, SessionCommand, SessionError, SessionEvent};

use crate::fixtures::{
    ADA, FIRST_TOKEN, SECOND_TOKEN, at, first_token, second_token, secret, session_rotated,
    session_started, token_hash,
};
use crate::given::{codes, fold, given};

fn start() -> SessionCommand {
    SessionCommand::Start { user_id: ADA, token: first_token(), ip: None, user_agent: None }
}

fn rotate(presented: &str, now: &str, successor: Token) -> SessionCommand {
    SessionCommand::Rotate { presented_hash: token_hash(presented), now: at(now), successor }
}

fn revoke(reason: RevocationReason) -> SessionCommand {
    SessionCommand::Revoke { reason }
}

fn revoked() -> SessionEvent {
    SessionEvent::Revoked { token_id: FIRST_TOKEN, reason: RevocationReason::Logout }
}

#[test]
fn a_session_starts() {
    given::<Session>([]).when(start()).emits([session_started()]);
}

#[test]
fn a_session_knows_where_it_started() {
    let (ip, user_agent) = (Some(secret("192.0.2.7")), Some(secret("curl")));
    given::<Session>([])
        .when(SessionCommand::Start {
            user_id: ADA,
            token: first_token(),
            ip: ip.clone(),
            user_agent: user_agent.clone(),
        })
        .emits([SessionEvent::Started { user_id: ADA, token: first_token(), ip, user_agent }]);
}

#[test]
fn a_session_starts_once() {
    given::<Session>([session_started()]).when(start()).rejects(SessionError::AlreadyExists);
}

#[test]
fn what_was_not_started_is_not_found() {
    for command in
        [rotate("hash-1", "2026-03-01T11:00:00Z", second_token()), revoke(RevocationReason::Logout)]
    {
        given::<Session>([]).when(command).rejects(SessionError::NotFound);
    }
}

#[test]
fn the_living_token_is_replaced() {
    given::<Session>([session_started()])
        .when(rotate("hash-1", "2026-03-01T11:59:59.999Z", second_token()))
        .emits([session_rotated()]);
}

#[test]
fn the_successor_is_replaced_in_turn() {
    let third = Token { token_hash: token_hash("hash-3"), ..second_token() };
    given::<Session>([session_started(), session_rotated()])
        .when(rotate("hash-2", "2026-03-01T11:30:00Z", third.clone()))
        .emits([SessionEvent::Rotated { user_id: ADA, previous: SECOND_TOKEN, token: third }]);
}

#[test]
fn a_token_that_was_replaced_is_not_valid() {
    given::<Session>([session_started(), session_rotated()])
        .when(rotate("hash-1", "2026-03-01T11:00:00Z", second_token()))
        .rejects(SessionError::InvalidToken);
}

#[test]
fn a_strange_token_is_not_valid_even_when_it_is_late() {
    given::<Session>([session_started()])
        .when(rotate("stolen", "2026-03-02T00:00:00Z", second_token()))
        .rejects(SessionError::InvalidToken);
}

#[test]
fn a_token_expires_on_the_instant() {
    for late in ["2026-03-01T12:00:00Z", "2026-03-01T12:00:01Z"] {
        given::<Session>([session_started()])
            .when(rotate("hash-1", late, second_token()))
            .rejects(SessionError::Expired);
    }
}

#[test]
fn a_session_is_revoked_with_its_living_token() {
    given::<Session>([session_started()]).when(revoke(RevocationReason::Logout)).emits([revoked()]);
    given::<Session>([session_started(), session_rotated()])
        .when(revoke(RevocationReason::Reuse))
        .emits([SessionEvent::Revoked { token_id: SECOND_TOKEN, reason: RevocationReason::Reuse }]);
}

#[test]
fn a_reported_reuse_ends_the_session() {
    given::<Session>([]).when(SessionCommand::ReportReuse).rejects(SessionError::NotFound);
    let detected = SessionEvent::ReuseDetected { token_id: SECOND_TOKEN };
    let revoked = SessionEvent::Revoked { token_id: SECOND_TOKEN, reason: RevocationReason::Reuse };
    given::<Session>([session_started(), session_rotated()])
        .when(SessionCommand::ReportReuse)
        .emits([detected.clone(), revoked.clone()]);
    given::<Session>([session_started(), session_rotated(), detected, revoked])
        .when(SessionCommand::ReportReuse)
        .rejects(SessionError::Revoked);
}

#[test]
fn a_token_was_just_replaced_for_ten_seconds() {
    let rotated = |issued: &str, previous| {
        let token = Token { expires_at: at(issued) + REFRESH_TOKEN_TTL, ..second_token() };
        SessionEvent::Rotated { user_id: ADA, previous, token }
    };
    let first = rotated("2026-03-01T12:00:00Z", FIRST_TOKEN);
    let second = rotated("2026-03-01T12:00:07Z", SECOND_TOKEN);
    let session = fold::<Session>([session_started(), first.clone()]);
    assert!(session.has_just_replaced(1, at("2026-03-01T12:00:10Z")));
    assert!(!session.has_just_replaced(1, at("2026-03-01T12:00:10.001Z")));
    assert_eq!(session.generation(), Some((1, &token_hash("hash-2"))));

    // Each token has its own ten seconds, whatever has followed.
    let session = fold::<Session>([session_started(), first, second]);
    assert!(session.has_just_replaced(1, at("2026-03-01T12:00:17Z")));
    assert!(session.has_just_replaced(2, at("2026-03-01T12:00:10Z")));
    assert!(!session.has_just_replaced(2, at("2026-03-01T12:00:10.001Z")));

    let now = at("2026-03-01T12:00:00Z");
    let begun = fold::<Session>([session_started()]);
    for steps in [0, 1, 2, usize::MAX] {
        assert!(!begun.has_just_replaced(steps, now), "{steps}");
        assert!(!fold::<Session>([]).has_just_replaced(steps, now), "{steps}");
    }
    for steps in [0, 3, usize::MAX] {
        assert!(!session.has_just_replaced(steps, now), "{steps}");
    }
}

#[test]
fn a_revoked_session_is_over() {
    for command in
        [rotate("hash-1", "2026-03-01T11:00:00Z", second_token()), revoke(RevocationReason::Logout)]
    {
        given::<Session>([session_started(), revoked()])
            .when(command)
            .rejects(SessionError::Revoked);
    }
}

#[test]
fn only_the_living_token_tells_whose_session_it_is() {
    let holder =
        |history: &[_], hash| fold::<Session>(history.to_vec()).holder_of(&token_hash(hash));
    assert_eq!(holder(&[], "hash-1"), None);
    assert_eq!(holder(&[session_started()], "hash-1"), Some(ADA));
    assert_eq!(holder(&[session_started()], "stolen"), None);
    assert_eq!(holder(&[session_started(), session_rotated()], "hash-1"), None);
    assert_eq!(holder(&[session_started(), session_rotated()], "hash-2"), Some(ADA));
    assert_eq!(holder(&[session_started(), revoked()], "hash-1"), None);
}

#[test]
fn a_session_belongs_to_who_signed_in_and_claims_nothing() {
    assert_eq!(fold::<Session>([]).owner(), None);
    assert_eq!(fold::<Session>([session_started(), revoked()]).owner(), Some(ADA));
    assert_eq!(given::<Session>([]).claims(&session_started()), []);
}

#[test]
fn refusals_have_stable_codes() {
    codes([
        (SessionError::NotFound, "NOT_FOUND", None),
        (SessionError::AlreadyExists, "ALREADY_EXISTS", None),
        (SessionError::Revoked, "SESSION_REVOKED", Some("refreshToken")),
        (SessionError::InvalidToken, "INVALID_REFRESH_TOKEN", Some("refreshToken")),
        (SessionError::Reused, "REFRESH_TOKEN_REUSED", Some("refreshToken")),
        (SessionError::Expired, "REFRESH_TOKEN_EXPIRED", Some("refreshToken")),
    ]);
}

// What is no longer shown.

fn removed(token_ids: &[RefreshTokenId]) -> SessionEvent {
    SessionEvent::Removed { token_ids: token_ids.to_vec() }
}

#[test]
fn a_replaced_token_is_dropped_once_it_has_expired() {
    let late = Token { expires_at: at("2026-04-01T12:00:00Z"), ..second_token() };
    let rotated =
        SessionEvent::Rotated { user_id: ADA, previous: FIRST_TOKEN, token: late.clone() };
    let third = Token { token_hash: token_hash("hash-3"), ..late };
    let again =
        SessionEvent::Rotated { user_id: ADA, previous: SECOND_TOKEN, token: third.clone() };
    let expired = SessionEvent::TokensExpired { token_ids: vec![FIRST_TOKEN] };
    given::<Session>([session_started(), rotated.clone()])
        .when(rotate("hash-2", "2026-03-01T11:59:59Z", third.clone()))
        .emits([again.clone()]);
    given::<Session>([session_started(), rotated.clone()])
        .when(rotate("hash-2", "2026-03-01T12:00:00Z", third.clone()))
        .emits([again.clone(), expired.clone()]);
    // Only once.
    let fourth =
        SessionEvent::Rotated { user_id: ADA, previous: SECOND_TOKEN, token: third.clone() };
    given::<Session>([session_started(), rotated, again, expired])
        .when(rotate("hash-3", "2026-03-01T12:00:00Z", third))
        .emits([fourth]);
}

#[test]
fn a_session_whose_last_token_has_expired_is_removed_once() {
    let remove = |now| SessionCommand::Remove { now: at(now) };
    given::<Session>([]).when(remove("2026-05-01T00:00:00Z")).rejects(SessionError::NotFound);
    given::<Session>([session_started()])
        .when(remove("2026-03-01T11:59:59Z"))
        .rejects(SessionError::NotExpired);
    given::<Session>([session_started()])
        .when(remove("2026-03-01T12:00:00Z"))
        .emits([removed(&[FIRST_TOKEN])]);
    given::<Session>([session_started(), session_rotated()])
        .when(remove("2026-05-01T00:00:00Z"))
        .emits([removed(&[FIRST_TOKEN, SECOND_TOKEN])]);
    given::<Session>([session_started(), removed(&[FIRST_TOKEN])])
        .when(remove("2026-05-01T00:00:00Z"))
        .emits_nothing();
    // Though a clock that is behind would still let it live.
    given::<Session>([session_started(), removed(&[FIRST_TOKEN])])
        .when(rotate("hash-1", "2026-03-01T11:59:59Z", second_token()))
        .rejects(SessionError::Expired);
}

#[test]
fn an_erased_users_session_ends_and_is_removed() {
    let erased = SessionEvent::Revoked { token_id: FIRST_TOKEN, reason: RevocationReason::Erased };
    given::<Session>([]).when(SessionCommand::Erase).rejects(SessionError::NotFound);
    given::<Session>([session_started()])
        .when(SessionCommand::Erase)
        .emits([erased, removed(&[FIRST_TOKEN])]);
    given::<Session>([session_started(), revoked()])
        .when(SessionCommand::Erase)
        .emits([removed(&[FIRST_TOKEN])]);
    given::<Session>([session_started(), removed(&[FIRST_TOKEN])])
        .when(SessionCommand::Erase)
        .emits_nothing();
}

#[test]
fn a_removed_session_is_over_and_its_token_expired() {
    let session = fold::<Session>([session_started(), removed(&[FIRST_TOKEN])]);
    assert!(session.is_over() && !session.is_revoked());
    assert_eq!(session.holder_of(&token_hash("hash-1")), None);
    given::<Session>([session_started(), removed(&[FIRST_TOKEN])])
        .when(rotate("hash-1", "2026-03-01T12:00:00Z", second_token()))
        .rejects(SessionError::Expired);
}
