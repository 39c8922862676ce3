//! `prove` and `verify-proof`: what convinces a stranger, and what does not.

use std::path::PathBuf;

use orion_store::seal::LogKey;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::process::Command;
use uuid::Uuid;

use crate::program::{Program, log_key, orion_replay};
use crate::world::World;

/// A stranger's folder: a proof, and the public key.
struct Stranger {
    folder: TempDir,
}

impl Stranger {
    fn new() -> Self {
        let stranger = Self { folder: tempfile::tempdir().unwrap() };
        std::fs::write(stranger.path("key.txt"), log_key().public().text()).unwrap();
        stranger
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The program of the documentation, which shares nothing with Orion.
    async fn assert_python_agrees(&self, is_good: bool) {
        let program = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/proofs/verify_proof.py");
        let mut python = Command::new("python3");
        python.arg("-B").arg(program).arg(self.path("proof.json")).arg(self.path("key.txt"));
        let ended = python.output().await.expect("python3 is installed");
        assert_eq!(ended.status.code(), Some(i32::from(!is_good)), "{ended:?}");
    }

    /// The verb, with neither a database nor a setting.
    fn verify(&self, proof: &str) -> Program {
        std::fs::write(self.path("proof.json"), proof).unwrap();
        let (proof, key) = (self.path("proof.json"), self.path("key.txt"));
        let args = ["verify-proof", proof.to_str().unwrap(), "--key", key.to_str().unwrap()];
        orion_replay(args).without("ORION_LOG_KEY").without("ORION_MASTER_KEY")
    }
}

#[tokio::test]
async fn every_event_is_proved() {
    let (world, trend) = World::with_trend(2).await;
    world.seal().await;
    world.append(trend, 2, 3).await;
    world.seal().await;
    let stranger = Stranger::new();
    for position in ["1", "2", "3", "4", "5"] {
        let proof = world.orion_replay(["prove", position]).exits(0).await;
        let said = stranger.verify(&proof).exits(0).await;
        let start = format!(
            "proved       position {position} of the log\n\
             event        trend.{} version 1, number {position} of trend {trend}\n",
            if position == "1" { "detected" } else { "rescored" },
        );
        assert!(said.starts_with(&start), "{said}");
        assert!(said.contains("\ncheckpoint   size 5, root "), "{said}");
        stranger.assert_python_agrees(true).await;
    }
    // Programs get the event as it is in the proof.
    let proof = world.orion_replay(["prove", "2"]).exits(0).await;
    let mut program = stranger.verify(&proof);
    program.add(["--format", "json"]);
    let said: Value = serde_json::from_str(&program.exits(0).await).unwrap();
    let in_proof: Value = serde_json::from_str(&proof).unwrap();
    assert_eq!(said["event"], in_proof["event"]);
    assert_eq!(said["checkpoint"]["size"], 5);
    let mut program = stranger.verify("{}");
    program.add(["--format", "json"]);
    let said: Value = serde_json::from_str(&program.exits(1).await).unwrap();
    let fault = "not proved: the file is not a proof of format orion-proof/1";
    assert_eq!(said, json!({ "fault": fault }));
    // Neither program believes a changed one.
    let proof = world.orion_replay(["prove", "2"]).exits(0).await;
    stranger.verify(&proof.replace("0.25", "0.26")).exits(1).await;
    stranger.assert_python_agrees(false).await;
}

#[tokio::test]
async fn a_proof_that_was_changed_proves_nothing() {
    let (world, _) = World::with_trend(5).await;
    world.seal().await;
    let proof = world.orion_replay(["prove", "3"]).exits(0).await;
    let other = world.orion_replay(["prove", "4"]).exits(0).await;
    let (proof, other): (Value, Value) =
        (serde_json::from_str(&proof).unwrap(), serde_json::from_str(&other).unwrap());
    let stranger = Stranger::new();
    stranger.verify(&proof.to_string()).exits(0).await;

    let changed = |pointer: &str, value: Value| {
        let mut proof = proof.clone();
        *proof.pointer_mut(pointer).unwrap() = value;
        proof.to_string()
    };
    let mismatch = "not proved: position 3: the event is not the one that was sealed\n";
    for (pointer, value) in [
        ("/event/payload", json!("{\"score\":0.5}")),
        ("/event/metadata", json!("{}")),
        ("/event/sequence", json!(4)),
        ("/event/aggregate_id", json!(Uuid::now_v7())),
        ("/event/recorded_at_us", json!(1)),
        ("/path", json!([])),
        ("/path/0", other["path"][1].clone()),
        ("/path/0", json!("nonsense")),
        ("/path", other["path"].clone()),
        ("/event", {
            let mut event = other["event"].clone();
            event["position"] = json!(3);
            event
        }),
    ] {
        assert_eq!(stranger.verify(&changed(pointer, value)).exits(1).await, mismatch, "{pointer}");
    }
    for position in [i64::MIN, 0, 2, 4, 6, i64::MAX] {
        let proof = changed("/event/position", json!(position));
        let said = stranger.verify(&proof).exits(1).await;
        assert!(said.starts_with(&format!("not proved: position {position}: ")), "{said}");
    }
    let note = proof["checkpoint"].as_str().unwrap();
    let forged = changed("/checkpoint", json!(note.replacen("\n5\n", "\n6\n", 1)));
    let unsigned = "not proved: the checkpoint: no known key has signed it\n";
    assert_eq!(stranger.verify(&forged).exits(1).await, unsigned);
    let no_proof = "not proved: the file is not a proof of format orion-proof/1\n";
    for text in [
        "",
        "nonsense",
        "{}",
        &changed("/format", json!("orion-proof/2")),
        &changed("/event", json!({})),
    ] {
        assert_eq!(stranger.verify(text).exits(1).await, no_proof, "{text}");
    }
}

#[tokio::test]
async fn another_key_proves_nothing() {
    let (world, _) = World::with_trend(1).await;
    world.seal().await;
    let proof = world.orion_replay(["prove", "1"]).exits(0).await;
    let stranger = Stranger::new();
    let foreign = LogKey::from_seed(&[9; 32]).public().text();
    std::fs::write(stranger.path("key.txt"), foreign).unwrap();
    let unsigned = "not proved: the checkpoint: no known key has signed it\n";
    assert_eq!(stranger.verify(&proof).exits(1).await, unsigned);
    std::fs::write(stranger.path("key.txt"), "").unwrap();
    let said = stranger.verify(&proof).exits(2).await;
    assert!(said.contains("has no public key of an Orion log"), "{said}");
}

#[tokio::test]
async fn what_cannot_be_proved_is_told() {
    let (world, _) = World::with_trend(2).await;
    assert_eq!(
        world.orion_replay(["prove", "2"]).exits(2).await,
        "orion-replay: the event at position 2 is not sealed yet; a server seals it within a second\n"
    );
    world.seal().await;
    assert_eq!(
        world.orion_replay(["prove", "3"]).exits(2).await,
        "orion-replay: there is no event at position 3\n"
    );
    for wrong in ["0", "-1", "x"] {
        world.orion_replay(["prove", "--", wrong]).exits(2).await;
    }
    world.tamper("UPDATE events SET metadata = '{}' WHERE position = 1").await;
    assert_eq!(
        cannot_prove(world.orion_replay(["prove", "1"])).await,
        "orion-replay: position 1: the event is not the one that was sealed\n"
    );
    let forged = "INSERT INTO seals SELECT 99, root, checkpoint FROM seals";
    world.tamper(forged).await;
    let row = "orion-replay: the newest checkpoint, in the row of seals with size 99: its row says another size or root\n";
    assert_eq!(cannot_prove(world.orion_replay(["prove", "2"])).await, row);
    let without_keys = world.orion_replay(["prove", "2"]).without("ORION_LOG_KEY");
    assert_eq!(cannot_prove(without_keys).await, row);
}

/// What stands beside the proof, of which there is nothing: it is written into a file.
async fn cannot_prove(mut program: Program) -> String {
    let (proof, told) = program.ends(1).await;
    assert_eq!(proof, "");
    told
}

/// Hashes that are wrong prove nothing, and accuse no event.
#[tokio::test]
async fn a_damaged_tree_accuses_no_event() {
    let (world, _) = World::with_trend(300).await;
    world.seal().await;
    let says = async |position: &str, status: i32, start: &str| {
        let (proof, told) = world.orion_replay(["prove", position]).ends(status).await;
        let said = if status == 0 { proof } else { told };
        let said = said.strip_prefix("orion-replay: ").unwrap_or(&said);
        assert!(said.starts_with(start), "{position}: {said}");
    };
    let change = "UPDATE seal_tiles SET hashes = sha256('x') || substr(hashes, 33) WHERE ";
    // Its own hash is not needed: what it leads to is what was signed.
    world.tamper(&format!("{change} level = 0 AND index = 0")).await;
    says("1", 0, "{").await;
    // Its neighbour needs the one that was changed.
    says("2", 1, "position 2: the stored tree (seal_tiles) is damaged").await;
    says("290", 0, "{").await;
    world.tamper("UPDATE events SET metadata = '{}' WHERE position IN (1, 290)").await;
    says("1", 1, "position 1: the stored tree (seal_tiles) is damaged").await;
    says("290", 1, "position 290: the event is not the one that was sealed").await;
    world.tamper(&format!("{change} level = 1")).await;
    says("290", 1, "position 290: the stored tree (seal_tiles) is damaged").await;
    world.tamper("DELETE FROM seal_tiles").await;
    says("3", 1, "position 3: the stored tree (seal_tiles) is damaged").await;
}
