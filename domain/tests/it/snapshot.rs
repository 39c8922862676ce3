//! The frozen shapes of `tests/golden/snapshots/`: a state that is kept is read as it was.

use orion_domain::event::unmarked;
use orion_domain::{Content, Provider, Publish, ServiceToken, Session, SocialAccount, Trend, User};
use serde_json::Value;

use crate::given::{Subject, fold};
use crate::golden::{file_names, frozen, history};

/// The state after the golden events of these types has the shape that was frozen.
fn keeps_its_shape<A: Subject>(types: &[&str]) {
    let aggregate: A = fold(history(types));
    assert!(aggregate.exists());
    let state = unmarked(serde_json::to_value(&aggregate).unwrap());
    let name = file_name::<A>(A::SNAPSHOT_SHAPE);
    let text = frozen(&format!("snapshots/{name}"), &state);
    let kept: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(
        state,
        kept,
        "{name} has another shape: bump SNAPSHOT_SHAPE of {} and add a new file",
        A::TYPE
    );

    let restored: A = serde_json::from_str(&text).unwrap();
    assert_eq!(restored, aggregate);
}

fn file_name<A: Subject>(shape: i32) -> String {
    format!("{}.shape{shape}.json", A::TYPE)
}

#[test]
fn user() {
    keeps_its_shape::<User>(&[
        "user.registered",
        "user.profile_updated",
        "user.verification_requested",
        "user.settings_updated",
        "user.notifications_read",
        "user.oauth_account_linked",
    ]);
}

#[test]
fn session() {
    keeps_its_shape::<Session>(&["session.started", "session.rotated", "session.revoked"]);
}

#[test]
fn trend() {
    keeps_its_shape::<Trend>(&["trend.detected", "trend.expired"]);
}

#[test]
fn content() {
    keeps_its_shape::<Content>(&[
        "content.drafted",
        "content.edited",
        "content.generation_started",
        "content.stage_started",
        "content.stage_completed",
        "content.stage_failed",
        "content.media_asset_attached",
    ]);
}

#[test]
fn publish() {
    keeps_its_shape::<Publish>(&["publish.requested", "publish.failed"]);
}

#[test]
fn social_account() {
    keeps_its_shape::<SocialAccount>(&["social_account.connected"]);
}

#[test]
fn provider() {
    keeps_its_shape::<Provider>(&["provider.registered", "provider.disabled"]);
}

#[test]
fn service_token() {
    keeps_its_shape::<ServiceToken>(&["service_token.issued", "service_token.revoked"]);
}

#[test]
fn every_file_is_of_a_known_aggregate_and_shape() {
    fn shapes<A: Subject>() -> Vec<String> {
        (1..=A::SNAPSHOT_SHAPE).map(file_name::<A>).collect()
    }
    let known = [
        shapes::<User>(),
        shapes::<Session>(),
        shapes::<Trend>(),
        shapes::<Content>(),
        shapes::<Publish>(),
        shapes::<SocialAccount>(),
        shapes::<Provider>(),
        shapes::<ServiceToken>(),
    ]
    .concat();
    for name in file_names("snapshots") {
        assert!(known.contains(&name), "{name} is of no known aggregate or shape");
    }
}

#[test]
fn a_state_before_the_first_event_is_kept_too() {
    fn check<A: Subject>() {
        let text = serde_json::to_string(&A::default()).unwrap();
        let restored: A = serde_json::from_str(&text).unwrap();
        assert!(restored == A::default() && !restored.exists(), "{}", A::TYPE);
    }
    check::<User>();
    check::<Session>();
    check::<Trend>();
    check::<Content>();
    check::<Publish>();
    check::<SocialAccount>();
    check::<Provider>();
    check::<ServiceToken>();
}

#[test]
fn a_state_with_a_field_that_nobody_knows_is_refused() {
    let content: Content = fold(history(&["content.drafted"]));
    let mut state = serde_json::to_value(content).unwrap();
    state["mood"] = "elated".into();
    assert!(serde_json::from_value::<Content>(state).is_err());
}
