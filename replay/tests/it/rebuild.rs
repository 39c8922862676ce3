//! `rebuild` and `materialize`: the tables computed anew, where they are served or beside them.

use serde_json::{Value, json};
use uuid::Uuid;

use crate::world::{World, score_after};

#[tokio::test]
async fn what_differs_is_told_then_mended() {
    let (world, trend) = World::with_trend(3).await;
    world.spoil("UPDATE orion.trends SET score = 1").await;
    let nothing = |what| format!("0 rows of notifications {what} at position 0\n");
    let said = world.orion_replay(["rebuild", "--dry-run"]).exits(1).await;
    let differs = "orion.trends  1\n1 rows differ from the log at position 3\n";
    assert_eq!(said, differs.to_owned() + &nothing("differ from the log"));
    let said = world.orion_replay(["rebuild"]).exits(0).await;
    let mended = "orion.trends  1\n1 rows were mended at position 3\n";
    assert_eq!(said, mended.to_owned() + &nothing("were mended"));
    let said = world.orion_replay(["rebuild", "--dry-run"]).exits(0).await;
    let alike = "0 rows differ from the log at position 3\n";
    assert_eq!(said, alike.to_owned() + &nothing("differ from the log"));
    let sql = format!("SELECT score FROM orion.trends WHERE id = '{trend}'");
    assert_eq!(world.select(&sql).await, [score_after(3).to_string()]);
}

/// The tables show what the log does not have: no wrong use, but a fault.
#[tokio::test]
async fn a_log_that_ends_before_the_tables_is_a_fault() {
    let (world, _) = World::with_trend(3).await;
    world.tamper("DELETE FROM events WHERE position = 3").await;
    let told = "the log ends at 2, before the projection's position 3";
    for args in [&["rebuild"][..], &["rebuild", "--dry-run"]] {
        let mut program = world.orion_replay([]);
        program.add(args.iter().copied());
        assert_eq!(program.exits(1).await, format!("{told}\n"));
    }
    let said = world.orion_replay(["rebuild", "--format", "json"]).exits(1).await;
    let said: Value = serde_json::from_str(&said).unwrap();
    assert_eq!(said, json!([{ "fault": told }]));
}

/// The tables are mended before the notifications are looked at.
#[tokio::test]
async fn what_was_mended_before_a_fault_is_told() {
    let (world, _) = World::with_trend(2).await;
    assert!(world.project_notifications().await);
    world.spoil("UPDATE orion.trends SET score = 1").await;
    let ahead = "UPDATE projection.checkpoints SET position = 9 WHERE name = 'notifications'";
    world.spoil(ahead).await;
    let fault = "the log ends at 2, before the projection's position 9";
    let said = world.orion_replay(["rebuild", "--format", "json"]).exits(1).await;
    let said: Value = serde_json::from_str(&said).unwrap();
    let mended = json!({
        "compared": "rows", "position": 2, "mended": true, "rows": 1, "tables": { "orion.trends": 1 },
    });
    assert_eq!(said, json!([mended, { "fault": fault }]));
    let said = world.orion_replay(["rebuild"]).exits(1).await;
    assert_eq!(said, format!("0 rows were mended at position 2\n{fault}\n"));

    // Also before an error that is none.
    world.spoil("ALTER TABLE projection.notifications RENAME TO elsewhere").await;
    world
        .spoil("UPDATE projection.checkpoints SET position = 2 WHERE name = 'notifications'")
        .await;
    let (said, error) = world.orion_replay(["rebuild", "--format", "json"]).ends(2).await;
    let said: Value = serde_json::from_str(&said).unwrap();
    assert_eq!(said.as_array().unwrap().len(), 1, "{said}");
    assert!(error.contains("does not exist"), "{error}");
}

/// Tables that are right are not made to agree with a log that is not.
#[tokio::test]
async fn nothing_is_mended_by_a_log_that_lacks_events() {
    let (world, _) = World::with_trend(3).await;
    world.append(Uuid::now_v7(), 0, 2).await;
    assert!(world.project().await);
    let rows = "SELECT t::text FROM orion.trends t ORDER BY id";
    let before = world.select(rows).await;
    world.tamper("DELETE FROM events WHERE position IN (1, 2, 3)").await;
    let told =
        "the log has 2 events up to position 5; orion-replay verify names those that are missing";
    for args in [["rebuild", "--format", "json"], ["rebuild", "--dry-run", "--format=json"]] {
        let said: Value = serde_json::from_str(&world.orion_replay(args).exits(1).await).unwrap();
        assert_eq!(said, json!([{ "fault": told }]));
    }
    assert_eq!(world.select(rows).await, before);
    let then = world.orion_replay(["materialize", "--at", "5", "--schema", "then"]);
    assert_eq!(then.exits(2).await, format!("orion-replay: {told}\n"));
    // Nor are empty tables filled.
    world.spoil("DELETE FROM orion.trends").await;
    world.spoil("DELETE FROM projection.streams").await;
    world.spoil("UPDATE projection.checkpoints SET position = 0").await;
    assert_eq!(world.orion_replay(["rebuild"]).exits(1).await, format!("{told}\n"));
    assert!(world.select(rows).await.is_empty());
}

#[tokio::test]
async fn notifications_are_mended_too() {
    let (world, _) = World::with_trend(1).await;
    assert!(world.project_notifications().await);
    let stranger = "INSERT INTO projection.notification_subjects
                    VALUES (gen_random_uuid(), gen_random_uuid())";
    world.spoil(stranger).await;
    let table = "projection.notification_subjects  1\n1 rows of notifications";
    let said = world.orion_replay(["rebuild", "--dry-run"]).exits(1).await;
    assert!(said.ends_with(&format!("{table} differ from the log at position 1\n")), "{said}");
    let said = world.orion_replay(["rebuild"]).exits(0).await;
    assert!(said.ends_with(&format!("{table} were mended at position 1\n")), "{said}");
    world.orion_replay(["check"]).exits(0).await;
}

#[tokio::test]
async fn the_tables_as_they_were_are_there_for_sql() {
    let (world, _) = World::with_trend(3).await;
    let said =
        world.orion_replay(["materialize", "--at", "2", "--schema", "second"]).exits(0).await;
    assert_eq!(said, "schema second shows the tables as they were at position 2\n");
    assert_eq!(world.select("SELECT score FROM second.trends").await, [score_after(2).to_string()]);
    let json = ["materialize", "--at", "3", "--schema", "third", "--format", "json"];
    let said: Value = serde_json::from_str(&world.orion_replay(json).exits(0).await).unwrap();
    assert_eq!(said, json!({ "schema": "third", "position": 3 }));
    let again = world.orion_replay(["materialize", "--at", "2", "--schema", "second"]);
    assert_eq!(again.exits(2).await, "orion-replay: the schema second exists already\n");
}

#[tokio::test]
async fn a_moment_that_the_log_does_not_have_is_told() {
    let (world, _) = World::with_trend(1).await;
    for (at, said) in [
        ("2", "orion-replay: the log ends at 1, before 2\n"),
        ("1999-12-31T23:59:59Z", "orion-replay: nothing was recorded by 1999-12-31 23:59:59 UTC\n"),
    ] {
        let program = world.orion_replay(["materialize", "--at", at, "--schema", "then"]);
        assert_eq!(program.exits(2).await, said);
    }
    for at in ["0", "-1", "yesterday"] {
        let at = format!("--at={at}");
        let said = world.orion_replay(["materialize", &at, "--schema", "then"]).exits(2).await;
        assert!(said.contains("invalid value"), "{said}");
    }
    assert_eq!(
        world.select("SELECT nspname FROM pg_namespace WHERE nspname = 'then'").await,
        [""; 0]
    );
}
