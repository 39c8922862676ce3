//! `resume`: a stopped projection goes on, and only that.

use serde_json::{Value, json};

use crate::world::World;

#[tokio::test]
async fn a_stopped_projection_goes_on_after_the_fix() {
    let (world, trend) = World::with_trend(1).await;
    world.spoil("ALTER TABLE orion.trends ADD CONSTRAINT narrow CHECK (score < 0.25)").await;
    world.append(trend, 1, 1).await;
    assert!(!world.project().await);

    world.spoil("ALTER TABLE orion.trends DROP CONSTRAINT narrow").await;
    assert!(!world.project().await, "without being told");
    let said = world.orion_replay(["resume", "read_model"]).exits(0).await;
    assert_eq!(said, "read_model goes on after position 1\n");
    let said = world.orion_replay(["status"]).exits(0).await;
    assert!(said.contains("position    1\nlag         1\nstatus      running\n"), "{said}");

    assert!(world.project().await);
    let said = world.orion_replay(["check"]).exits(0).await;
    assert!(said.starts_with("0 rows differ from the log at position 2\n"), "{said}");
}

#[tokio::test]
async fn what_goes_on_is_told_to_programs_too() {
    let (world, trend) = World::with_trend(1).await;
    world.spoil("ALTER TABLE orion.trends ADD CONSTRAINT narrow CHECK (score < 0.25)").await;
    world.append(trend, 1, 1).await;
    assert!(!world.project().await);
    let said = world.orion_replay(["resume", "read_model", "--format", "json"]).exits(0).await;
    let said: Value = serde_json::from_str(&said).unwrap();
    assert_eq!(said, json!({ "projection": "read_model", "position": 1 }));
}

#[tokio::test]
async fn what_is_not_stopped_is_not_resumed() {
    let (world, _) = World::with_trend(1).await;
    for name in ["read_model", "notifications", "nonsense"] {
        let said = world.orion_replay(["resume", name]).exits(2).await;
        assert_eq!(said, format!("orion-replay: no stopped projection is called \"{name}\"\n"));
    }
    world.orion_replay(["status"]).exits(0).await;
}
