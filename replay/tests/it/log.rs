//! `log`: events picked and printed.

use std::process::Stdio;

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use uuid::Uuid;

use crate::world::World;

impl World {
    /// The positions that a log with these arguments has.
    async fn positions<const N: usize>(&self, args: [&str; N]) -> Vec<i64> {
        let mut program = self.orion_replay(["log", "--format", "ndjson"]);
        program.add(args);
        let said = program.exits(0).await;
        let position =
            |line: &str| serde_json::from_str::<Value>(line).unwrap()["position"].as_i64().unwrap();
        said.lines().map(position).collect()
    }
}

#[tokio::test]
async fn events_are_picked_by_what_is_known_of_them() {
    let (world, trend) = World::with_trend(3).await;
    let (other, user) = (Uuid::now_v7(), Uuid::now_v7());
    world.append(other, 0, 2).await;
    let registered =
        json!({ "email": "a@example.org", "name": "A", "role": "viewer", "email_verified": true });
    world.of_user(user, 0, &[("user.registered", registered)]).await;

    assert_eq!(world.positions([]).await, [1, 2, 3, 4, 5, 6]);
    assert_eq!(world.positions(["--after", "2", "--limit", "2"]).await, [3, 4]);
    assert_eq!(world.positions(["--type", "trend.detected,user.registered"]).await, [1, 4, 6]);
    assert_eq!(world.positions(["--aggregate", "user"]).await, [6]);
    assert_eq!(world.positions(["--aggregate", &format!("trend/{other}")]).await, [4, 5]);
    assert_eq!(world.positions(["--actor", &format!("user:{user}")]).await, [6]);
    assert_eq!(world.positions(["--from", "2999-01-01T00:00:00Z"]).await, [0; 0]);
    assert_eq!(world.positions(["--to", "2999-01-01T00:00:00Z", "--limit", "1"]).await, [1]);
    let times = world.select("SELECT to_char(recorded_at, 'YYYY-MM-DD\"T\"HH24:MI:SS.USZ') FROM events ORDER BY position").await;
    assert_eq!(world.positions(["--from", &times[5]]).await, [6]);
    assert!(world.positions(["--to", &times[5]]).await.iter().all(|position| *position < 6));

    let said = world.orion_replay(["log", "--aggregate", "trend/7"]).exits(2).await;
    assert_eq!(said, "orion-replay: --aggregate: 7 is no id\n");
    let said = world.orion_replay(["log", "--type", "trend.detcted"]).exits(2).await;
    assert_eq!(
        said,
        "orion-replay: there is no event type \"trend.detcted\"; there are trend.detected, \
         trend.rescored, trend.expired, trend.archived\n"
    );
    let said = world.orion_replay(["log", "--aggregate", "trends"]).exits(2).await;
    assert!(
        said.starts_with("orion-replay: there is no aggregate \"trends\"; there are user, session")
    );
    assert_eq!(world.positions(["--aggregate", &format!("trend/{trend}")]).await, [1, 2, 3]);
}

#[tokio::test]
async fn each_format_has_every_event_and_no_personal_value() {
    let world = World::new().await;
    let user = Uuid::now_v7();
    let registered = json!({ "email": "ada@example.org", "name": "A, \"B\"\nC", "role": "viewer", "email_verified": true });
    world
        .of_user(user, 0, &[("user.registered", registered), ("user.deactivated", json!({}))])
        .await;

    let said = world.orion_replay(["log", "--format", "json"]).exits(0).await;
    let events: Value = serde_json::from_str(&said).unwrap();
    assert_eq!(events[0]["eventType"], "user.registered");
    assert_eq!(events[0]["payload"]["email"], "***");
    assert_eq!(events[1]["sequence"], 2);
    assert_eq!(events.as_array().unwrap().len(), 2);

    let empty = world.orion_replay(["log", "--format", "json", "--after", "2"]).exits(0).await;
    assert_eq!(serde_json::from_str::<Value>(&empty).unwrap(), json!([]));

    let csv = world.orion_replay(["log", "--format", "csv"]).exits(0).await;
    let lines: Vec<_> = csv.split("\r\n").collect();
    assert!(lines[0].starts_with("position,"), "{csv}");
    assert!(lines[1].contains("\"{\"\"email\"\":\"\"***\"\""), "{csv}");
    assert_eq!(lines.len(), 4, "{csv}");

    let table = world.orion_replay(["log"]).exits(0).await;
    assert_eq!(table.lines().count(), 2);
    for said in [said, csv, table] {
        assert!(!said.contains("ada@example.org") && !said.contains('\u{1b}'), "{said}");
    }
}

#[tokio::test]
async fn it_follows_without_a_gap() {
    let (world, trend) = World::with_trend(2).await;
    let mut program = world
        .orion_replay(["log", "--format", "ndjson", "--after", "1", "--follow", "--limit", "41"]);
    let mut running = program.command().stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(running.stdout.take().unwrap()).lines();
    let mut positions = Vec::new();
    for version in 2..42 {
        world.append(trend, version, 1).await;
        // Some come while it reads what was there, some when it follows.
        if version == 20 {
            let line = lines.next_line().await.unwrap().unwrap();
            positions.push(serde_json::from_str::<Value>(&line).unwrap()["position"].clone());
        }
    }
    while let Some(line) = lines.next_line().await.unwrap() {
        positions.push(serde_json::from_str::<Value>(&line).unwrap()["position"].clone());
    }
    assert!(running.wait().await.unwrap().success());
    assert_eq!(positions, (2..=42).collect::<Vec<_>>());
}
