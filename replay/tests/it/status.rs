//! `status`: how far the projection is, and whether that is a fault.

use serde_json::{Value, json};
use uuid::Uuid;

use crate::world::World;

#[tokio::test]
async fn an_empty_log_is_good() {
    let world = World::new().await;
    assert_eq!(
        status(&world, 0).await,
        "head        0\n\
         sealed      0\n\
         projection  read_model\n\
         position    0\n\
         lag         0\n\
         status      running\n"
    );
}

#[tokio::test]
async fn a_projection_that_is_behind_has_a_lag() {
    let (world, _) = World::with_trend(2).await;
    world.append(Uuid::now_v7(), 0, 3).await;
    assert_eq!(
        status(&world, 0).await,
        "head        5\n\
         sealed      0\n\
         projection  read_model\n\
         position    2\n\
         lag         3\n\
         status      running\n"
    );
}

#[tokio::test]
async fn a_stopped_projection_is_a_fault() {
    let (world, trend) = World::with_trend(1).await;
    world.spoil("ALTER TABLE orion.trends ADD CONSTRAINT narrow CHECK (score < 0.25)").await;
    world.append(trend, 1, 1).await;
    assert!(!world.project().await);
    let said = status(&world, 1).await;
    let (before, error) = said.split_once("error       ").expect(&said);
    assert_eq!(
        before,
        "head        2\n\
         sealed      0\n\
         projection  read_model\n\
         position    1\n\
         lag         1\n\
         status      stopped\n"
    );
    assert!(error.starts_with("position 2 (trend.rescored): "), "{error}");
    assert!(error.contains("\"narrow\""), "{error}");
}

#[tokio::test]
async fn a_projection_ahead_of_the_log_is_a_fault() {
    let (world, _) = World::with_trend(2).await;
    world.spoil("UPDATE projection.checkpoints SET position = 9").await;
    assert_eq!(
        status(&world, 1).await,
        "head        2\n\
         sealed      0\n\
         projection  read_model\n\
         position    9\n\
         lag         0\n\
         status      running\n\
         fault       the log ends at 2, before the projection's position 9\n"
    );
}

#[tokio::test]
async fn each_projection_has_its_own_place() {
    let (world, _) = World::with_trend(2).await;
    assert!(world.project_notifications().await);
    world.append(Uuid::now_v7(), 0, 1).await;
    assert!(world.project().await);
    assert_eq!(
        world.orion_replay(["status"]).exits(0).await,
        "head        3\n\
         sealed      0\n\
         projection  read_model\n\
         position    3\n\
         lag         0\n\
         status      running\n\
         projection  notifications\n\
         position    2\n\
         lag         1\n\
         status      running\n"
    );
}

/// What the program says of the documented tables, where the notifications were never projected.
async fn status(world: &World, status: i32) -> String {
    let said = world.orion_replay(["status"]).exits(status).await;
    let (tables, notifications) = said.split_once("projection  notifications\n").expect(&said);
    let head = tables.lines().next().unwrap().replace("head ", "lag  ");
    assert_eq!(notifications, format!("position    0\n{head}\nstatus      running\n"));
    tables.to_owned()
}

#[tokio::test]
async fn it_says_how_far_the_log_is_sealed() {
    let (world, _) = World::with_trend(2).await;
    world.seal().await;
    world.append(Uuid::now_v7(), 0, 1).await;
    let said = world.orion_replay(["status"]).exits(0).await;
    assert!(said.starts_with("head        3\nsealed      2\nprojection"), "{said}");

    world.tamper("DELETE FROM events WHERE position > 1").await;
    let said = world.orion_replay(["status"]).exits(1).await;
    let cut =
        "head        1\nsealed      2\nfault       the log ends at 1, before the sealed size 2\n";
    assert!(said.starts_with(cut), "{said}");
}

#[tokio::test]
async fn it_names_what_an_interrupted_rebuild_has_left_until_the_next_one() {
    let (world, _) = World::with_trend(1).await;
    world.spoil("CREATE TABLE leftover AS SELECT 1; CREATE SCHEMA orion_rebuild; ALTER TABLE leftover SET SCHEMA orion_rebuild").await;
    let said = world.orion_replay(["status"]).exits(0).await;
    let left = "leftover    orion_rebuild, of an interrupted rebuild; the next one removes it\n";
    assert!(said.ends_with(left), "{said}");
    world.orion_replay(["rebuild"]).exits(0).await;
    let said = world.orion_replay(["status"]).exits(0).await;
    assert!(!said.contains("leftover"), "{said}");
}

#[tokio::test]
async fn programs_get_json() {
    let (world, _) = World::with_trend(2).await;
    world.seal().await;
    let said = world.orion_replay(["status", "--format", "json"]).exits(0).await;
    let said: Value = serde_json::from_str(&said).unwrap();
    let projection = |name: &str, position: u8| {
        json!({ "name": name, "position": position, "lag": 2 - position, "status": "running",
                "error": null, "fault": null })
    };
    assert_eq!(
        said,
        json!({ "head": 2, "sealed": 2, "fault": null,
                "projections": [projection("read_model", 2), projection("notifications", 0)],
                "leftover": null })
    );
}

#[tokio::test]
async fn an_error_is_one_line() {
    let (world, _) = World::with_trend(2).await;
    world
        .spoil("UPDATE projection.checkpoints SET status = 'stopped', error = E'x\\nstatus      running\\x1b[2J'")
        .await;
    let said = status(&world, 1).await;
    assert!(said.ends_with("error       x\\nstatus      running\\u{1b}[2J\n"), "{said}");
}
