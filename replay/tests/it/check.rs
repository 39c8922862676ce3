//! `check`: every row against the fold of the log.

use orion_store::testing::vault;
use serde_json::{Value, json};
use sqlx::postgres::PgPoolOptions;
use uuid::Uuid;

use crate::show::with_secrets;
use crate::world::{World, score_after};

#[tokio::test]
async fn an_empty_log_has_empty_tables() {
    let world = World::new().await;
    let said = check(&world, ["check"], 0).await;
    assert_eq!(said, "0 rows differ from the log at position 0\n");
}

#[tokio::test]
async fn what_the_projector_wrote_is_what_the_log_says() {
    let (world, _) = World::with_trend(3).await;
    let said = check(&world, ["check"], 0).await;
    assert_eq!(said, "0 rows differ from the log at position 3\n");
}

#[tokio::test]
async fn events_after_the_checkpoint_do_not_count() {
    let (world, trend) = World::with_trend(2).await;
    world.append(trend, 2, 1).await;
    world.append(Uuid::now_v7(), 0, 1).await;
    let said = check(&world, ["check"], 0).await;
    assert_eq!(said, "0 rows differ from the log at position 2\n");
}

#[tokio::test]
async fn a_changed_value_is_found_and_shown() {
    let (world, trend) = World::with_trend(2).await;
    world.append(Uuid::now_v7(), 0, 1).await;
    assert!(world.project().await);
    let change = format!("UPDATE orion.trends SET score = 0.75, topic = 'x' WHERE id = '{trend}'");
    world.spoil(&change).await;
    let said = check(&world, ["check"], 1).await;
    assert_eq!(
        sorted(&said),
        [
            "1 rows differ from the log at position 3".to_owned(),
            format!("orion.trends {trend} score: 0.75 should be {}", score_after(2)),
            format!("orion.trends {trend} topic: \"x\" should be \"Orion\""),
        ]
    );
}

#[tokio::test]
async fn personal_values_are_shown_only_on_request() {
    let world = World::new().await;
    let user = Uuid::now_v7();
    let registered = json!({
        "email": "ada@example.org", "name": "Ada", "role": "editor", "email_verified": true,
        "via": "provider",
    });
    world.of_user(user, 0, &[("user.registered", registered)]).await;
    assert!(world.project().await);
    world.spoil("UPDATE orion.users SET name = 'Eve', bio = 'A spy.', role = 'admin'").await;
    let said = check(&world, ["check"], 1).await;
    assert_eq!(
        sorted(&said),
        [
            "1 rows differ from the log at position 1".to_owned(),
            format!("orion.users {user} bio differs"),
            format!("orion.users {user} name differs"),
            format!("orion.users {user} role: \"admin\" should be \"editor\""),
        ]
    );
    let json = world.orion_replay(["check", "--format", "json"]).exits(1).await;
    for hidden in ["Ada", "Eve", "spy", "ada@"] {
        assert!(!json.contains(hidden), "{json}");
    }
    let json: Value = serde_json::from_str(&json).unwrap();
    let difference = &json[0]["differences"][0];
    assert_eq!(difference["columns"], json!(["bio", "name", "role"]));
    assert_eq!(difference["expected"]["role"], "editor");
    assert_eq!(difference["found"]["email"], "***");

    let said = check(&world, ["check", "--show-personal"], 1).await;
    assert_eq!(
        sorted(&said)[1..3],
        [
            format!("orion.users {user} bio: \"A spy.\" should be null"),
            format!("orion.users {user} name: \"Eve\" should be \"Ada\""),
        ]
    );
}

#[tokio::test]
async fn secrets_are_hidden_also_from_who_asks_for_personal_values() {
    let world = World::new().await;
    let user = Uuid::now_v7();
    world.of_user(user, 0, &with_secrets()).await;
    assert!(world.project().await);
    world.spoil("UPDATE orion.users SET password_hash = 'hash-eve', name = 'Eve'").await;
    world
        .spoil("UPDATE orion.oauth_accounts SET access_token = 'access-2', refresh_token = NULL")
        .await;
    let text = world.orion_replay(["check", "--show-personal"]).exits(1).await;
    let json = ["check", "--show-personal", "--format", "json"];
    let json = world.orion_replay(json).exits(1).await;
    for said in [&text, &json] {
        for secret in ["hash-", "access-1", "access-2", "refresh-1"] {
            assert!(!said.contains(secret), "{secret} in {said}");
        }
    }
    for told in
        ["password_hash differs", "access_token differs", "refresh_token differs", "\"Eve\""]
    {
        assert!(text.contains(told), "{told} not in {text}");
    }
    let json: Value = serde_json::from_str(&json).unwrap();
    let rows = json[0]["differences"].as_array().unwrap();
    let accounts = rows.iter().find(|row| row["table"] == "orion.oauth_accounts").unwrap();
    assert_eq!(accounts["columns"], json!(["access_token", "refresh_token"]));
}

#[tokio::test]
async fn programs_get_json() {
    let (world, trend) = World::with_trend(1).await;
    world.spoil(&format!("UPDATE orion.trends SET topic = 'x' WHERE id = '{trend}'")).await;
    let checked = world.orion_replay(["check", "--format", "json"]).exits(1).await;
    let checked: Value = serde_json::from_str(&checked).unwrap();
    assert_eq!(checked[0]["position"], 1);
    let difference = &checked[0]["differences"][0];
    assert_eq!(difference["table"], "orion.trends");
    assert_eq!(difference["columns"], json!(["topic"]));
    assert_eq!(difference["expected"]["topic"], "Orion");
    assert_eq!(difference["found"]["topic"], "x");
    assert_eq!(checked[1]["differences"], json!([]));
    let mended = world.orion_replay(["rebuild", "--format", "json"]).exits(0).await;
    let mended: Value = serde_json::from_str(&mended).unwrap();
    let expected = json!([
        { "compared": "rows", "position": 1, "mended": true, "rows": 1, "tables": { "orion.trends": 1 } },
        { "compared": "rows of notifications", "position": 0, "mended": true, "rows": 0, "tables": {} },
    ]);
    assert_eq!(mended, expected);
}

#[tokio::test]
async fn a_missing_row_is_found() {
    let (world, trend) = World::with_trend(1).await;
    world.spoil("DELETE FROM orion.trends").await;
    world.spoil("DELETE FROM projection.streams").await;
    assert_eq!(
        check(&world, ["check"], 1).await,
        format!(
            "orion.trends {trend} is missing\n\
             projection.streams {trend} is missing\n\
             2 rows differ from the log at position 1\n"
        )
    );
}

#[tokio::test]
async fn a_row_of_no_event_is_found() {
    let (world, _) = World::with_trend(1).await;
    let stranger = Uuid::now_v7();
    let insert = format!("INSERT INTO orion.trends VALUES ('{stranger}', 'x', 'y')");
    world.spoil(&insert).await;
    assert_eq!(
        check(&world, ["check"], 1).await,
        format!(
            "orion.trends {stranger} should not be there\n\
             1 rows differ from the log at position 1\n"
        )
    );
}

#[tokio::test]
async fn a_log_that_is_shorter_than_the_tables_is_a_fault() {
    for events in [0, 2] {
        let world = World::new().await;
        if events > 0 {
            world.append(Uuid::now_v7(), 0, events).await;
        }
        assert!(world.project().await);
        let ahead = "INSERT INTO projection.checkpoints (name, position) VALUES ('read_model', 9)
                     ON CONFLICT (name) DO UPDATE SET position = 9";
        world.spoil(ahead).await;
        assert_eq!(
            check(&world, ["check"], 1).await,
            format!("the log ends at {events}, before the projection's position 9\n")
        );
    }
}

/// The log is read in pieces of 5,000; rows go on from one to the next.
#[tokio::test]
async fn a_log_of_several_pieces_is_folded_as_one() {
    let (world, trend) = World::with_trend(3).await;
    let other = Uuid::now_v7();
    world.append(other, 0, 5_000).await;
    world.append(trend, 3, 1).await;
    assert!(world.project().await);
    let said = check(&world, ["check"], 0).await;
    assert_eq!(said, "0 rows differ from the log at position 5004\n");

    // A row of the first piece only, and one of both.
    world.spoil("UPDATE projection.streams SET version = version + 1").await;
    let said = check(&world, ["check"], 1).await;
    assert_eq!(
        sorted(&said),
        [
            "2 rows differ from the log at position 5004".to_owned(),
            format!("projection.streams {trend} version: 5 should be 4"),
            format!("projection.streams {other} version: 5001 should be 5000"),
        ]
    );
}

/// The log and the tables are of one snapshot, which only one connection can see.
#[tokio::test]
async fn one_connection_is_enough() {
    let (world, _) = World::with_trend(1).await;
    let pool = PgPoolOptions::new().max_connections(1).connect(world.url()).await.unwrap();
    let (position, differences) =
        orion_projections::check(&pool, &vault(&pool).await, &|_| ()).await.unwrap();
    assert_eq!((position.0, differences), (1, vec![]));
}

#[tokio::test]
async fn notifications_are_checked_too() {
    let (world, _) = World::with_trend(2).await;
    assert!(world.project_notifications().await);
    let said = world.orion_replay(["check"]).exits(0).await;
    assert!(
        said.ends_with("\n0 rows of notifications differ from the log at position 2\n"),
        "{said}"
    );
    let stranger = Uuid::now_v7();
    let insert =
        format!("INSERT INTO projection.notification_subjects VALUES ('{stranger}', '{stranger}')");
    world.spoil(&insert).await;
    assert_eq!(
        world.orion_replay(["check"]).exits(1).await,
        format!(
            "0 rows differ from the log at position 2\n\
             projection.notification_subjects {stranger} should not be there\n\
             1 rows of notifications differ from the log at position 2\n"
        )
    );
}

/// What the program says of the documented tables, where the notifications were never projected.
async fn check<const N: usize>(world: &World, args: [&str; N], status: i32) -> String {
    let said = world.orion_replay(args).exits(status).await;
    let tables = said.strip_suffix("0 rows of notifications differ from the log at position 0\n");
    tables.unwrap_or_else(|| panic!("{said}")).to_owned()
}

fn sorted(text: &str) -> Vec<String> {
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    lines.sort();
    lines
}
