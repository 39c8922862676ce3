//! A log that servers of two versions have written is as good as any.

use orion_domain::{Session, User};
use orion_projections::Projector;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::program::PATIENCE;
use crate::world::World;

fn registered(version: &str) -> (&str, &str, Value) {
    let mut fields = json!({
        "email": { "$personal": format!("{version}-{}@example.org", Uuid::now_v7()) },
        "name": { "$personal": "Ada Lovelace" }, "password_hash": { "$personal": "$2b$04$hash" },
        "role": "editor", "email_verified": true,
    });
    if version == "2" {
        fields["via"] = json!("password");
    }
    ("user.registered", version, fields)
}

/// A session that begins, and ends in this version for this reason.
fn session<'e>(user: Uuid, version: &'e str, reason: &str) -> [(&'e str, &'e str, Value); 2] {
    let (token_id, expires_at) = (Uuid::now_v7(), "2036-03-01T12:00:00Z");
    let token = json!({ "token_id": token_id, "token_hash": token_id.to_string(), "expires_at": expires_at });
    let revoked = json!({ "token_id": token_id, "reason": reason });
    [
        ("session.started", "1", json!({ "user_id": user, "token": token })),
        ("session.revoked", version, revoked),
    ]
}

/// A user of each version and one of version 1 who was erased; sessions that ended in each version.
async fn log_of_both() -> World {
    let world = World::new().await;
    for version in ["1", "2"] {
        let user = Uuid::now_v7();
        world.as_earlier::<User>(user, &[registered(version)]).await;
        for reason in ["logout", "revoked"] {
            world.as_earlier::<Session>(Uuid::now_v7(), &session(user, version, reason)).await;
        }
    }
    let user = Uuid::now_v7();
    world.as_earlier::<User>(user, &[registered("1")]).await;
    let stolen = session(user, "1", "the laptop was stolen");
    world.as_earlier::<Session>(Uuid::now_v7(), &stolen).await;
    world.of_user(user, 1, &[("user.erased", json!({ "oauth_account_ids": [] }))]).await;
    world
}

const POSITIONS: i64 = 14;

const REASONS: &str = "SELECT revoked_reason || ' ' || count(*) FROM projection.sessions
                       GROUP BY revoked_reason ORDER BY revoked_reason";

#[tokio::test]
async fn a_log_of_two_versions_is_good_and_shown_as_one() {
    let world = log_of_both().await;
    world.seal().await;
    assert!(world.project().await && world.project_notifications().await);

    let said = world.orion_replay(["verify", "--format", "json"]).exits(0).await;
    let said: Value = serde_json::from_str(&said).unwrap();
    assert_eq!((&said["head"], &said["faults"]), (&json!(POSITIONS), &json!([])));

    // What was free text is one of the reasons now.
    assert_eq!(world.select(REASONS).await, ["logout 2", "revoked 3"]);
    let clean = format!("0 rows differ from the log at position {POSITIONS}\n");
    let notifications =
        format!("0 rows of notifications differ from the log at position {POSITIONS}\n");
    let clean = clean + &notifications;
    assert_eq!(world.orion_replay(["check"]).exits(0).await, clean);
    assert_eq!(world.orion_replay(["rebuild", "--dry-run"]).exits(0).await, clean);

    // The log keeps what was written.
    let versions = "SELECT event_type || ' ' || event_version || ' ' || count(*) FROM events
                    WHERE event_type IN ('user.registered', 'session.revoked')
                    GROUP BY event_type, event_version ORDER BY event_type, event_version";
    let expected = [
        "session.revoked 1 3",
        "session.revoked 2 2",
        "user.registered 1 2",
        "user.registered 2 1",
    ];
    assert_eq!(world.select(versions).await, expected);
}

#[tokio::test]
async fn the_tables_of_a_log_of_two_versions_are_mended() {
    let world = log_of_both().await;
    assert!(world.project().await);
    world.spoil("UPDATE projection.sessions SET revoked_reason = 'stolen'").await;
    world.spoil("UPDATE orion.users SET name = 'Bob'").await;
    world.orion_replay(["check"]).exits(1).await;
    let said = world.orion_replay(["rebuild"]).exits(0).await;
    assert!(said.contains("\n8 rows were mended at position 14\n"), "{said}");
    assert_eq!(world.select(REASONS).await, ["logout 2", "revoked 3"]);
    world.orion_replay(["check"]).exits(0).await;
}

#[tokio::test]
async fn a_version_of_the_future_is_told_by_its_position_and_left_to_a_newer_program() {
    let world = log_of_both().await;
    assert!(world.project().await);
    world.as_earlier::<User>(Uuid::now_v7(), &[registered("3")]).await;
    world.seal().await;
    let (stop, projector) = (CancellationToken::new(), Projector::new(world.log.clone()).0);
    let running = tokio::spawn(projector.run(stop.clone()));
    let is_left = async {
        while !world.log.outdated().is_outdated() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, is_left).await.expect("the projector meets it");
    stop.cancel();
    running.await.unwrap();
    let status = world.orion_replay(["status"]).exits(0).await;
    assert!(status.contains("position    14\nlag         1\nstatus      running\n"), "{status}");

    let said = world.orion_replay(["verify"]).exits(1).await;
    let told = "position 15: unknown event type user.registered version 3";
    assert!(said.lines().any(|line| line == told), "{said}");
    assert_eq!(world.select(REASONS).await, ["logout 2", "revoked 3"]);
}
