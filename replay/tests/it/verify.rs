//! `verify`: whatever a superuser does to a sealed log is found, at its position.

use std::path::PathBuf;

use orion_store::testing::database;
use serde_json::{Value, json};
use tempfile::TempDir;
use uuid::Uuid;

use crate::program::{log_key, orion_replay};
use crate::world::World;

/// A log of three checkpoints, of the sizes 4, 8 and 10. One trend has the positions 1 to 4 and 9, another one
/// the others.
struct Sealed {
    world: World,
    trend: Uuid,
    /// The newest checkpoint, as somebody has kept it.
    kept: PathBuf,
    _folder: TempDir,
}

impl Sealed {
    async fn new() -> Self {
        let (world, trend) = World::with_trend(4).await;
        world.seal().await;
        let other = Uuid::now_v7();
        world.append(other, 0, 4).await;
        world.seal().await;
        world.append(trend, 4, 1).await;
        world.append(other, 4, 1).await;
        let checkpoint = world.seal().await;
        let folder = tempfile::tempdir().unwrap();
        let kept = folder.path().join("kept.txt");
        std::fs::write(&kept, checkpoint).unwrap();
        Self { world, trend, kept, _folder: folder }
    }

    /// One that somebody has been at.
    async fn tampered(sql: &str) -> Self {
        let sealed = Self::new().await;
        sealed.world.tamper(sql).await;
        sealed
    }

    /// What `verify` says.
    async fn verify(&self, status: i32) -> Value {
        let said = self.world.orion_replay(["verify", "--format", "json"]).exits(status).await;
        serde_json::from_str(&said).unwrap()
    }

    /// The faults by position and kind.
    async fn faults(&self) -> Vec<(i64, String)> {
        faults(&self.verify(1).await)
    }

    /// The faults with the checkpoint that was kept.
    async fn faults_with_kept(&self) -> Vec<(i64, String)> {
        let args = ["verify", "--format", "json", "--checkpoint", self.kept.to_str().unwrap()];
        let said = self.world.orion_replay(args).exits(1).await;
        faults(&serde_json::from_str(&said).unwrap())
    }
}

fn faults(said: &Value) -> Vec<(i64, String)> {
    let fault = |fault: &Value| {
        let message = fault["message"].as_str().unwrap();
        let position = fault["position"].as_i64().unwrap();
        assert!(message.starts_with(&format!("position {position}: ")), "{message}");
        (position, fault["kind"].as_str().unwrap().to_owned())
    };
    said["faults"].as_array().unwrap().iter().map(fault).collect()
}

fn expect<const N: usize>(faults: [(i64, &str); N]) -> Vec<(i64, String)> {
    faults.map(|(position, kind)| (position, kind.to_owned())).to_vec()
}

#[tokio::test]
async fn a_log_that_nobody_touched_is_good() {
    let sealed = Sealed::new().await;
    let said = sealed.verify(0).await;
    assert_eq!(said["faults"], json!([]));
    assert_eq!((&said["head"], &said["checkpoints"]), (&json!(10), &json!(3)));
    let root = said["sealed"]["root"].as_str().unwrap();
    let text = sealed.world.orion_replay(["verify"]).exits(0).await;
    assert_eq!(
        text,
        format!(
            "head         10\nsealed       10\nroot         {root}\ncheckpoints  3\n\
             kept         none was given: a log cut off with its checkpoints would look like this\n\
             faults       0\n"
        )
    );
    // The same with what was kept, also when the log has gone on.
    sealed.world.append(Uuid::now_v7(), 0, 2).await;
    let args = ["verify", "--checkpoint", sealed.kept.to_str().unwrap()];
    let text = sealed.world.orion_replay(args).exits(0).await;
    assert_eq!(
        text,
        format!(
            "head         12\nsealed       10\nunsealed     2 events, of which nothing is signed yet\n\
             root         {root}\ncheckpoints  3\nfaults       0\n"
        )
    );
}

#[tokio::test]
async fn an_empty_log_is_good() {
    let world = World::new().await;
    let said = world.orion_replay(["verify", "--format", "json"]).exits(0).await;
    let said: Value = serde_json::from_str(&said).unwrap();
    assert_eq!(
        said,
        json!({ "head": 0, "sealed": null, "unsealed": 0, "checkpoints": 0, "faults": [], "untold": 0 })
    );
}

#[tokio::test]
async fn a_changed_byte_is_found() {
    let changed = "UPDATE events SET payload = replace(payload::text, '0.375', '0.376')::json
                   WHERE position = 3";
    let sealed = Sealed::tampered(changed).await;
    let text = sealed.world.orion_replay(["verify"]).exits(1).await;
    let first = text.lines().next().unwrap();
    assert_eq!(first, "position 3: the event is not the one that was sealed");
    assert_eq!(sealed.faults().await, expect([(3, "changed")]));
    // The same number in other bytes is another event, too.
    let respelled = "UPDATE events SET payload = (payload::text || ' ')::json WHERE position = 9";
    let sealed = Sealed::tampered(respelled).await;
    assert_eq!(sealed.faults().await, expect([(9, "changed")]));
}

#[tokio::test]
async fn each_other_column_counts() {
    for (column, value) in [
        ("event_version", "'2'"),
        ("event_type", "'trend.expired'"),
        ("metadata", "'{\"actor\":\"somebody else\"}'"),
        ("recorded_at", "recorded_at + interval '1 microsecond'"),
    ] {
        let sql = format!("UPDATE events SET {column} = {value} WHERE position = 10");
        let sealed = Sealed::tampered(&sql).await;
        let found = sealed.faults().await;
        assert!(found.contains(&(10, "changed".to_owned())), "{column}: {found:?}");
    }
}

#[tokio::test]
async fn times_that_are_none_are_found() {
    for (value, also) in [("'infinity'", 6), ("'-infinity'", 5), ("'294276-12-31'", 6)] {
        let sql = format!("UPDATE events SET recorded_at = {value} WHERE position = 5");
        let found = Sealed::tampered(&sql).await.faults().await;
        assert!(found.contains(&(5, "changed".to_owned())), "{value}: {found:?}");
        assert!(found.contains(&(5, "malformed".to_owned())), "{value}: {found:?}");
        assert!(found.contains(&(also, "time".to_owned())), "{value}: {found:?}");
    }
}

#[tokio::test]
async fn a_missing_event_is_found() {
    let sealed = Sealed::tampered("DELETE FROM events WHERE position IN (2, 6, 7)").await;
    // What follows in a stream shows it as well.
    assert_eq!(
        sealed.faults().await,
        expect([(2, "missing"), (3, "sequence"), (6, "missing"), (8, "sequence")])
    );
    let text = sealed.world.orion_replay(["verify"]).exits(1).await;
    assert!(text.starts_with("position 2: the event is missing\n"), "{text}");
    assert!(text.contains("\nposition 6: the events up to 7 are missing\n"), "{text}");
}

#[tokio::test]
async fn a_hole_that_was_closed_is_found() {
    let sealed = Sealed::tampered("DELETE FROM events WHERE position = 6").await;
    sealed.world.tamper("UPDATE events SET position = position - 1 WHERE position > 6").await;
    let found = sealed.faults().await;
    assert_eq!(found[0], (6, "changed".to_owned()));
    assert_eq!(*found.last().unwrap(), (10, "cut_off".to_owned()));
}

#[tokio::test]
async fn swapped_events_are_found() {
    let sealed = Sealed::tampered("UPDATE events SET position = 1000 WHERE position = 3").await;
    sealed.world.tamper("UPDATE events SET position = 3 WHERE position = 7").await;
    sealed.world.tamper("UPDATE events SET position = 7 WHERE position = 1000").await;
    let found = sealed.faults().await;
    for position in [3, 7] {
        assert!(found.contains(&(position, "changed".to_owned())), "{found:?}");
        assert!(found.contains(&(position, "sequence".to_owned())), "{found:?}");
    }
    assert!(found.iter().all(|(_, kind)| kind != "root" && kind != "missing"), "{found:?}");
}

#[tokio::test]
async fn a_log_that_was_cut_off_is_found() {
    let sealed = Sealed::tampered("DELETE FROM events WHERE position > 8").await;
    assert_eq!(sealed.faults().await, expect([(9, "cut_off")]));
    let said = sealed.verify(1).await;
    assert_eq!(
        said["faults"][0]["message"],
        "position 9: the log ends at 8, before the size 10 of the checkpoint"
    );
}

#[tokio::test]
async fn a_log_that_was_cut_off_with_its_checkpoints_alone_is_found_by_its_hashes() {
    let sealed = Sealed::tampered("DELETE FROM events WHERE position > 8").await;
    sealed.world.tamper("DELETE FROM seals WHERE size > 8").await;
    assert_eq!(sealed.faults().await, expect([(9, "uncovered")]));
    let said = sealed.world.orion_replay(["verify"]).exits(1).await;
    let fault = "position 9: from here on seal_tiles has hashes that no checkpoint covers: \
                 checkpoints were removed\n";
    assert!(said.starts_with(fault), "{said}");

    // It grows again and is sealed again: hashes that were left behind do not get in the way.
    sealed.world.append(Uuid::now_v7(), 0, 3).await;
    sealed.world.seal().await;
    assert_eq!(sealed.verify(0).await["faults"], json!([]));
    assert_eq!(sealed.faults_with_kept().await, expect([(1, "root")]));
}

#[tokio::test]
async fn events_that_were_changed_when_all_checkpoints_were_removed_are_in_doubt() {
    let sealed = Sealed::tampered("UPDATE events SET metadata = '{}' WHERE position = 3").await;
    sealed.world.tamper("DELETE FROM seals").await;
    assert_eq!(sealed.faults().await, expect([(1, "uncovered")]));

    // At the edge of a tile, and beyond it.
    let (world, trend) = World::with_trend(256).await;
    world.seal().await;
    world.append(trend, 256, 1).await;
    world.seal().await;
    world.orion_replay(["verify"]).exits(0).await;
    world.tamper("DELETE FROM seals WHERE size = 257").await;
    let said = world.orion_replay(["verify", "--format", "json"]).exits(1).await;
    assert_eq!(faults(&serde_json::from_str(&said).unwrap()), expect([(257, "uncovered")]));
}

#[tokio::test]
async fn a_log_that_was_cut_off_with_checkpoints_and_hashes_needs_a_checkpoint_that_was_kept() {
    let sealed = Sealed::tampered("DELETE FROM events WHERE position > 8").await;
    sealed.world.tamper("DELETE FROM seals WHERE size > 8").await;
    sealed.world.tamper("UPDATE seal_tiles SET hashes = substr(hashes, 1, 8 * 32)").await;
    assert_eq!(sealed.verify(0).await["faults"], json!([]));
    assert_eq!(sealed.faults_with_kept().await, expect([(9, "cut_off")]));
}

#[tokio::test]
async fn a_forged_checkpoint_is_found() {
    for change in [
        "UPDATE seals SET checkpoint = replace(checkpoint, E'\\n8\\n', E'\\n9\\n') WHERE size = 8",
        "UPDATE seals SET checkpoint = left(checkpoint, -20) || E'\\n' WHERE size = 8",
        "UPDATE seals SET root = sha256('x') WHERE size = 8",
        "UPDATE seals SET checkpoint = (SELECT checkpoint FROM seals WHERE size = 4) WHERE size = 8",
    ] {
        assert_eq!(
            Sealed::tampered(change).await.faults().await,
            expect([(8, "checkpoint")]),
            "{change}"
        );
    }
    // Of a size that the log never had.
    let far = "INSERT INTO seals SELECT 1000000000000, root, checkpoint FROM seals WHERE size = 10";
    let sealed = Sealed::tampered(far).await;
    assert_eq!(sealed.faults().await, expect([(1_000_000_000_000, "checkpoint")]));
    let said = sealed.world.orion_replay(["verify"]).exits(1).await;
    let row = "position 1000000000000: the checkpoint in the row of seals with size 1000000000000: \
               its row says another size or root\n";
    assert!(said.starts_with(row), "{said}");
}

#[tokio::test]
async fn hashes_that_were_changed_with_the_event_do_not_hide_it() {
    let sealed =
        Sealed::tampered("UPDATE events SET event_version = '1 ' WHERE position = 6").await;
    let leaves = "UPDATE seal_tiles SET hashes = substr(hashes, 1, 5 * 32) || sha256('x') || substr(hashes, 6 * 32 + 1)";
    sealed.world.tamper(leaves).await;
    let found = sealed.faults().await;
    assert!(found.contains(&(5, "root".to_owned())), "{found:?}");
    assert!(found.contains(&(6, "unreadable".to_owned())), "{found:?}");

    // Hashes alone: the events are what was signed.
    let sealed = Sealed::tampered(leaves).await;
    assert_eq!(sealed.faults().await, expect([(6, "tree")]));
}

/// What is said of damaged hashes: the first and the last event that they cover, and their level.
fn damaged((from, to, level): &(i64, i64, u32)) -> String {
    if from == to {
        return format!("position {from}: the hash of the event in seal_tiles is missing or wrong");
    }
    format!("position {from}: hashes up to {to} in seal_tiles, level {level}, are missing or wrong")
}

/// The stored tree is a cache: `verify` names what is wrong with it, and a sealer computes it anew.
#[tokio::test]
async fn damaged_hashes_are_found_and_the_next_sealer_mends_them() {
    let (world, _) = World::with_trend(3).await;
    world.append(Uuid::now_v7(), 0, 697).await;
    world.seal().await;
    let stored = "SELECT t::text FROM seal_tiles t ORDER BY level, index";
    let tiles = world.select(stored).await;
    assert_eq!(tiles.len(), 4, "three of 256 leaves, and one above them");
    for (damage, found) in [
        ("DELETE FROM seal_tiles WHERE (level, index) = (0, 0)", vec![(1, 256, 0)]),
        ("DELETE FROM seal_tiles WHERE (level, index) = (0, 2)", vec![(513, 700, 0)]),
        (
            "UPDATE seal_tiles SET hashes = substr(hashes, 1, 32) || sha256('x') || substr(hashes, 65)
             WHERE (level, index) = (0, 1)",
            vec![(258, 258, 0)],
        ),
        (
            "UPDATE seal_tiles SET hashes = substr(hashes, 1, 32) || sha256('x') WHERE level = 1",
            vec![(257, 512, 1)],
        ),
        ("DELETE FROM seal_tiles WHERE level = 1", vec![(1, 512, 1)]),
        ("DELETE FROM seal_tiles", vec![(1, 700, 0), (1, 512, 1)]),
    ] {
        world.tamper(damage).await;
        let said = world.orion_replay(["verify"]).exits(1).await;
        let told: Vec<&str> = said.lines().take_while(|line| line.starts_with("position")).collect();
        let expected: Vec<String> = found.iter().map(damaged).collect();
        assert_eq!(told, expected, "{damage}");
        world.seal_until(async || (world.select(stored).await == tiles).then_some(())).await;
        world.orion_replay(["verify"]).exits(0).await;
    }
}

/// Then there is nothing that it could be computed from.
#[tokio::test]
async fn damaged_hashes_of_a_changed_event_stay_and_are_told() {
    let (world, trend) = World::with_trend(300).await;
    world.seal().await;
    world.tamper("DELETE FROM seal_tiles WHERE (level, index) = (0, 0)").await;
    world.tamper("UPDATE events SET metadata = '{}' WHERE position = 9").await;
    world.append(trend, 300, 1).await;
    // The edge of the tree is good, so that the log is sealed all the same.
    world.seal().await;
    let said = world.orion_replay(["verify", "--format", "json"]).exits(1).await;
    let found = faults(&serde_json::from_str(&said).unwrap());
    assert_eq!(found, expect([(1, "root"), (1, "tree")]));
}

#[tokio::test]
async fn events_that_nobody_seals_are_told() {
    let world = World::new().await;
    world.append(Uuid::now_v7(), 0, 8).await;
    // Nothing is signed: that there is no fault says nothing, and is not all that is said.
    let said = world.orion_replay(["verify"]).exits(0).await;
    let nothing = "sealed       0\nunsealed     8 events, of which nothing is signed yet\n";
    assert!(said.contains(nothing), "{said}");
    let said = world.orion_replay(["verify", "--format", "json"]).exits(0).await;
    assert_eq!(serde_json::from_str::<Value>(&said).unwrap()["unsealed"], json!(8));

    world.tamper("UPDATE events SET recorded_at = recorded_at - interval '1 hour'").await;
    world.seal().await;
    world.append(Uuid::now_v7(), 0, 2).await;
    world.orion_replay(["verify"]).exits(0).await;
    let later =
        "UPDATE events SET recorded_at = recorded_at - interval '2 minutes' WHERE position = 9";
    world.tamper(later).await;
    let said = world.orion_replay(["verify"]).exits(1).await;
    let fault =
        "position 9: 2 events from here on are not sealed, the first for more than a minute\n";
    assert!(said.starts_with(fault) && said.ends_with("faults       1\n"), "{said}");
}

#[tokio::test]
async fn an_imported_log_is_sealed_as_it_was() {
    let (world, _) = World::with_trend(300).await;
    let checkpoint = world.seal().await;
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let (events, keys) = (path("events"), path("keys"));
    world.orion_replay(["export", &events, "--keys", &keys]).exits(0).await;
    let into = database().await;
    let import = orion_replay(["import", &events, "--keys", &keys]);
    import.with("DATABASE_URL", &into.url).exits(0).await;
    let imported = World::over(into).await;
    let said = imported.orion_replay(["verify"]).exits(0).await;
    assert!(said.contains("unsealed     300 events"), "before the first start: {said}");
    assert_eq!(imported.seal().await, checkpoint);
    let said = imported.orion_replay(["verify"]).exits(0).await;
    assert!(!said.contains("unsealed"), "{said}");
}

#[tokio::test]
async fn of_many_faults_the_first_are_told_and_all_are_counted() {
    let (world, _) = World::with_trend(300).await;
    world.seal().await;
    world.tamper("UPDATE events SET sequence = 1000 - sequence").await;
    let said = world.orion_replay(["verify", "--format", "json"]).exits(1).await;
    let said: Value = serde_json::from_str(&said).unwrap();
    let found = faults(&said);
    let each = |position| [(position, "changed".to_owned()), (position, "sequence".to_owned())];
    assert_eq!(found, (1..=50).flat_map(each).collect::<Vec<_>>());
    assert_eq!(said["untold"], json!(500));
}

/// More than is read at a time: 16 MiB.
#[tokio::test]
async fn large_events_are_verified_part_by_part() {
    let world = World::new().await;
    for _ in 0..5 {
        world.append(Uuid::now_v7(), 0, 2).await;
    }
    let large = "UPDATE events SET payload = replace(payload::text, 'Orion', repeat('Orion', 1400000))::json
                 WHERE event_type = 'trend.detected'";
    world.tamper(large).await;
    world.seal().await;
    world.orion_replay(["verify"]).exits(0).await;
    world
        .tamper("UPDATE events SET payload = (payload::text || ' ')::json WHERE position IN (1, 9)")
        .await;
    let said = world.orion_replay(["verify", "--format", "json"]).exits(1).await;
    let found = faults(&serde_json::from_str(&said).unwrap());
    assert_eq!(found, expect([(1, "changed"), (9, "changed")]));
}

#[tokio::test]
async fn an_event_that_nobody_appended_is_found() {
    let copy = |position: i64, sequence: i64| {
        format!(
            "INSERT INTO events SELECT {position}, aggregate_type, aggregate_id, {sequence}, 'trend.melted',
                 event_version, payload, metadata, recorded_at FROM events WHERE position = 10"
        )
    };
    // At the end, before anybody has sealed it.
    let sealed = Sealed::tampered(&copy(11, 9)).await;
    assert_eq!(sealed.faults().await, expect([(11, "unreadable"), (11, "sequence")]));
    // Far away.
    let sealed = Sealed::tampered(&copy(9_000_000_000_000_000_000, 6)).await;
    let found = sealed.faults().await;
    assert_eq!(found[0], (11, "missing".to_owned()));
    // At a place that is taken.
    let sealed = Sealed::new().await;
    sealed.world.spoil("ALTER TABLE events DROP CONSTRAINT events_pkey").await;
    sealed.world.tamper(&copy(7, 6)).await;
    let found = sealed.faults().await;
    assert!(found.contains(&(7, "extra".to_owned())), "{found:?}");
}

#[tokio::test]
async fn the_sealer_does_not_vouch_for_what_it_did_not_see() {
    let sealed = Sealed::tampered("UPDATE events SET event_version = '7' WHERE position = 2").await;
    sealed.world.append(sealed.trend, 5, 3).await;
    sealed.world.seal().await;
    // Sealing goes on from the hashes of then: the change is found all the same.
    assert_eq!(sealed.faults().await, expect([(2, "unreadable"), (2, "changed")]));
}

#[tokio::test]
async fn the_key_decides() {
    let sealed = Sealed::new().await;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("key.txt");
    let verify = || {
        let args = ["verify", "--format", "json", "--key", path.to_str().unwrap()];
        sealed.world.orion_replay(args).without("ORION_LOG_KEY")
    };
    std::fs::write(&path, log_key().public().text()).unwrap();
    verify().exits(0).await;

    let stranger = orion_store::seal::LogKey::from_seed(&[9; 32]).public().text();
    std::fs::write(&path, &stranger).unwrap();
    let said = serde_json::from_str(&verify().exits(1).await).unwrap();
    assert_eq!(faults(&said), expect([(4, "checkpoint"), (8, "checkpoint"), (10, "checkpoint")]));
    // With both, as after a change of the key.
    std::fs::write(&path, format!("{stranger}\n{}\n", log_key().public().text())).unwrap();
    verify().exits(0).await;

    std::fs::write(&path, "nonsense").unwrap();
    let said = verify().exits(2).await;
    assert!(said.contains("has no public key of an Orion log"), "{said}");
    let said = sealed.world.orion_replay(["verify"]).without("ORION_LOG_KEY").exits(2).await;
    assert!(said.contains("ORION_LOG_KEY is not set"), "{said}");
}

#[tokio::test]
async fn a_kept_checkpoint_must_be_one_of_this_log() {
    let sealed = Sealed::new().await;
    let kept = std::fs::read_to_string(&sealed.kept).unwrap();
    let verify = async |text: &str, status: i32| {
        std::fs::write(&sealed.kept, text).unwrap();
        let args = ["verify", "--checkpoint", sealed.kept.to_str().unwrap()];
        sealed.world.orion_replay(args).exits(status).await
    };
    verify(&kept, 0).await;
    let forged = kept.replacen("\n10\n", "\n11\n", 1);
    let unsigned = "the checkpoint kept elsewhere: no known key has signed it\n";
    assert_eq!(verify(&forged, 1).await, unsigned);
    let nonsense = "the checkpoint kept elsewhere: it is not a checkpoint of an Orion log\n";
    assert_eq!(verify("nonsense", 1).await, nonsense);
    let kept = sealed.kept.to_str().unwrap();
    let args = ["verify", "--format", "json", "--checkpoint", kept];
    let said: Value =
        serde_json::from_str(&sealed.world.orion_replay(args).exits(1).await).unwrap();
    assert_eq!(said, json!({ "fault": nonsense.trim_end() }));
    let missing = sealed.world.orion_replay(["verify", "--checkpoint", "/nowhere/at/all"]);
    let said = missing.exits(2).await;
    assert!(
        said.starts_with("orion-replay: --checkpoint: /nowhere/at/all cannot be read"),
        "{said}"
    );
}

/// The log is read in pieces of 2,000, some at a time; they are put together in order.
#[tokio::test]
async fn a_log_of_several_pieces_is_one() {
    let (world, trend) = World::with_trend(3).await;
    world.append(Uuid::now_v7(), 0, 5_000).await;
    world.seal().await;
    world.append(trend, 3, 1).await;
    world.seal().await;
    world.orion_replay(["verify"]).exits(0).await;
    world.tamper("DELETE FROM events WHERE position BETWEEN 1990 AND 4010").await;
    world.tamper("UPDATE events SET metadata = '{}' WHERE position = 4500").await;
    let said = world.orion_replay(["verify", "--format", "json"]).exits(1).await;
    let said = serde_json::from_str(&said).unwrap();
    let found = expect([(1990, "missing"), (4011, "sequence"), (4500, "changed")]);
    assert_eq!(faults(&said), found);
}

/// Whoever changes the log cannot change what is said of it.
#[tokio::test]
async fn no_name_in_the_log_writes_a_line_of_its_own() {
    let name = "E'x\\nfaults       0\\n\\x1b[2J\\u202e'";
    for column in ["event_type", "event_version", "aggregate_type"] {
        let sql = format!("UPDATE events SET {column} = {name} WHERE position = 10");
        let sealed = Sealed::tampered(&sql).await;
        let text = sealed.world.orion_replay(["verify"]).exits(1).await;
        let table = sealed.world.orion_replay(["log"]).exits(0).await;
        for said in [&text, &table] {
            assert!(!said.contains(['\u{1b}', '\u{202e}']), "{column}: {said}");
        }
        assert_eq!(table.lines().count(), 10, "{column}: {table}");
        let counts = text.lines().filter(|line| line.starts_with("faults")).count();
        assert_eq!(counts, 1, "{column}: {text}");
        if column == "event_type" {
            assert!(text.contains(r"x\nfaults       0\n\u{1b}[2J\u{202e}"), "{text}");
        }
    }
}
