//! `export` and `import`: a log goes through a file whole, or not at all.

use std::fs;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use orion_store::testing::{TestDatabase, database};
use serde_json::{Value, json};
use sqlx::{Connection as _, Executor as _, PgConnection};
use tempfile::TempDir;
use tokio::process::Command;
use uuid::Uuid;

use crate::program::{PATIENCE, Program, orion_replay};
use crate::world::World;

/// What an import must bring back, row by row.
const KEPT: [&str; 6] = [
    "SELECT e::text FROM events e ORDER BY position",
    "SELECT c::text FROM claims c ORDER BY namespace, value",
    "SELECT r::text FROM receipts r ORDER BY actor, command_id",
    "SELECT name || wrapped || fingerprint FROM server_keys ORDER BY name",
    "SELECT subject || coalesce(wrapped, '-') FROM data_keys ORDER BY subject",
    "SELECT name || position FROM reactor_checkpoints ORDER BY name",
];

/// A log of three trends and two people, one of them erased, and a folder for files.
struct Source {
    world: World,
    folder: TempDir,
}

impl Source {
    async fn new() -> Self {
        let (world, _) = World::with_trend(3).await;
        for _ in 0..2 {
            let user = Uuid::now_v7();
            let registered = json!({
                "email": format!("{user}@example.org"), "name": "Ada", "role": "viewer", "email_verified": true,
            });
            world.of_user(user, 0, &[("user.registered", registered)]).await;
            world.append(Uuid::now_v7(), 0, 2).await;
        }
        let erased = Uuid::now_v7();
        let registered = json!({ "email": "gone@example.org", "name": "G", "role": "viewer", "email_verified": true });
        world.of_user(erased, 0, &[("user.registered", registered)]).await;
        world.of_user(erased, 1, &[("user.erased", json!({ "oauth_account_ids": [] }))]).await;
        world
            .spoil("INSERT INTO reactor_checkpoints VALUES ('tell', 11), ('mark_published', 11)")
            .await;
        // The answer to a command that changed nothing.
        world
            .spoil("INSERT INTO receipts VALUES ('idle', '0197a000-0000-7000-8000-000000000009', '\\x07', 0, '{}')")
            .await;
        world.seal().await;
        assert!(world.project().await);
        Self { world, folder: tempfile::tempdir().unwrap() }
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).to_str().unwrap().to_owned()
    }

    async fn export<const N: usize>(&self, args: [&str; N]) -> String {
        let (events, keys) = (self.path("events"), self.path("keys"));
        let mut program = self.world.orion_replay(["export", &events, "--keys", &keys]);
        program.add(args);
        program.exits(0).await
    }

    /// An import of a file into another database.
    fn import<const N: usize>(&self, into: &TestDatabase, file: &str, args: [&str; N]) -> Program {
        let file = self.path(file);
        let mut program = orion_replay(["import", &file]).with("DATABASE_URL", &into.url);
        program.add(args);
        program
    }
}

async fn rows(url: &str, sql: &str) -> Vec<String> {
    let mut owner = PgConnection::connect(url).await.unwrap();
    let rows = sqlx::query_scalar(sql).fetch_all(&mut owner).await.unwrap();
    owner.close().await.unwrap();
    rows
}

#[tokio::test]
async fn a_log_comes_back_as_it_was() {
    let source = Source::new().await;
    for compressed in [false, true] {
        let exported = if compressed {
            fs::remove_file(source.path("events")).unwrap();
            fs::remove_file(source.path("keys")).unwrap();
            source.export(["--compress", "zstd"]).await
        } else {
            source.export([]).await
        };
        let into = database().await;
        let keys = source.path("keys");
        let imported = source.import(&into, "events", ["--keys", &keys]).exits(0).await;
        let (_, told) = exported.split_once('\n').unwrap();
        assert!(imported.contains("imported  11 events") && imported.contains(told), "{imported}");
        assert!(imported.contains("signed    the first 11"), "{imported}");
        for sql in KEPT {
            let (was, is) = (rows(source.world.url(), sql).await, rows(&into.url, sql).await);
            assert!(!was.is_empty(), "{sql}");
            assert_eq!(is, was, "{sql}");
        }
        let replay = |verb| orion_replay([verb]).with("DATABASE_URL", &into.url);
        let said = replay("rebuild").exits(0).await;
        assert!(said.contains(" rows were mended at position 11\n"), "{said}");
        for table in ["users", "trends"] {
            let sql = format!("SELECT t::text FROM orion.{table} t ORDER BY id");
            let (was, is) = (rows(source.world.url(), &sql).await, rows(&into.url, &sql).await);
            assert_eq!(is, was);
        }
        let again = source.import(&into, "events", ["--keys", &keys]).exits(2).await;
        assert!(again.contains("the log has events already"), "{again}");
    }
}

#[tokio::test]
async fn no_key_and_no_personal_value_stands_in_the_events() {
    let source = Source::new().await;
    source.export([]).await;
    let events = fs::read_to_string(source.path("events")).unwrap();
    let keys = fs::read_to_string(source.path("keys")).unwrap();
    for wrapped in
        rows(source.world.url(), "SELECT wrapped FROM data_keys WHERE wrapped IS NOT NULL").await
    {
        assert!(keys.contains(&wrapped) && !events.contains(&wrapped));
    }
    for sql in ["SELECT subject::text FROM data_keys WHERE wrapped IS NULL"] {
        for erased in rows(source.world.url(), sql).await {
            assert!(!keys.contains(&erased), "a key of the erased");
        }
    }
    assert!(!events.contains("@example.org"));
    for line in events.lines() {
        let event: Value = serde_json::from_str(line).unwrap();
        assert_eq!(event["specversion"], "1.0");
        assert_eq!(event["source"], "urn:orion:log");
    }
}

/// How a file is spoiled, and what is said of it.
type Spoiled = (&'static str, fn(&mut Vec<String>), &'static str);

// The first line tells what no event does, the second has a receipt; then come the events.
const SPOILED: &[Spoiled] = &[
    (
        "altered",
        |lines| lines[5] = lines[5].replace("\"name\"", "\"nome\""),
        "position 4: the event was altered",
    ),
    ("reordered", |lines| lines.swap(3, 4), "position 2: another event stands in its place"),
    ("one left out", |lines| _ = lines.remove(6), "position 5: another event stands in its place"),
    ("cut short", |lines| lines.truncate(8), "the file was cut short after position 6"),
    (
        "cut in a line",
        |lines| {
            lines.truncate(8);
            lines[7].truncate(30);
        },
        "the file was cut short after position 5",
    ),
    ("goes on", |lines| lines.push(lines[2].clone()), "the file goes on after its end"),
    (
        "another receipt",
        |lines| lines[4] = lines[4].replace("0001ff", "0002ff"),
        "the file was altered beside its events",
    ),
    (
        "another reactor",
        |lines| lines[0] = lines[0].replace("mark_published", "mark_poblished"),
        "the file was altered beside its events",
    ),
    ("no event", |lines| lines[4] = String::from("{}"), "position 3: the line is no event"),
    (
        "no beginning",
        |lines| _ = lines.remove(0),
        "position 1: the file does not begin as an export does",
    ),
    (
        "another end",
        |lines| {
            let end = lines.last_mut().unwrap();
            *end = end.replace("\"size\":11", "\"size\":8");
        },
        "the file's end tells of 8 events, and there are 11",
    ),
    (
        "another root",
        |lines| {
            let end = lines.last_mut().unwrap();
            let root = end.find("\"root\":\"").unwrap() + 8;
            end.replace_range(root..root + 4, "AAAA");
        },
        "the events up to position 11 are not those that the file's end tells of",
    ),
];

#[tokio::test]
async fn a_file_that_was_spoiled_is_refused_by_position_and_nothing_is_imported() {
    let source = Source::new().await;
    source.export([]).await;
    let keys = source.path("keys");
    let good = fs::read_to_string(source.path("events")).unwrap();
    let into = database().await;
    for (name, spoil, said) in SPOILED {
        let mut lines: Vec<String> = good.lines().map(str::to_owned).collect();
        spoil(&mut lines);
        let ends = if *name == "cut in a line" { "" } else { "\n" };
        fs::write(source.path("spoiled"), lines.join("\n") + ends).unwrap();
        let told = source.import(&into, "spoiled", ["--keys", &keys]).exits(2).await;
        assert!(told.contains(said), "{name}: {told}");
        for sql in KEPT {
            let left = rows(&into.url, sql).await;
            assert!(left.is_empty() || sql.contains("server_keys"), "{name}: {left:?}");
        }
    }
    // After all that the good file still goes in.
    source.import(&into, "events", ["--keys", &keys]).exits(0).await;
}

#[tokio::test]
async fn whoever_forges_the_events_cannot_forge_the_signature() {
    let source = Source::new().await;
    source.export([]).await;
    let other = Source::new().await;
    other.export([]).await;
    // The events of another log, consistent in themselves, under the checkpoint of this one.
    let (ours, theirs) = (
        fs::read_to_string(source.path("events")).unwrap(),
        fs::read_to_string(other.path("events")).unwrap(),
    );
    let forged =
        format!("{}\n{}", ours.split_once('\n').unwrap().0, theirs.split_once('\n').unwrap().1);
    fs::write(source.path("forged"), forged).unwrap();
    let keys = other.path("keys");
    let into = database().await;
    let said = source.import(&into, "forged", ["--keys", &keys]).exits(2).await;
    assert!(said.contains("the events up to position 11 are not those that were signed"), "{said}");

    // A checkpoint that is left out is missed where a key was named.
    let key = source.path("key");
    fs::write(&key, orion_store::seal::LogKey::from_seed(&[8; 32]).public().text()).unwrap();
    let begin = ours.split_once('\n').unwrap().0;
    let mut begin: Value = serde_json::from_str(begin).unwrap();
    begin["data"]["checkpoint"] = Value::Null;
    fs::write(source.path("forged"), format!("{begin}\n{}", ours.split_once('\n').unwrap().1))
        .unwrap();
    let said = source.import(&into, "forged", ["--keys", &keys, "--key", &key]).exits(2).await;
    assert!(said.contains("no checkpoint that could be verified"), "{said}");

    fs::write(&key, "orion/log+00000000+AAAA").unwrap();
    let said = source.import(&into, "events", ["--keys", &keys, "--key", &key]).exits(2).await;
    assert!(said.contains("--key"), "{said}");
}

#[tokio::test]
async fn keys_that_lack_or_do_not_open_are_told() {
    let source = Source::new().await;
    source.export([]).await;
    let into = database().await;
    let said = source.import(&into, "events", []).exits(2).await;
    assert!(said.contains("the event at position 4 needs the key of"), "{said}");
    let keys = source.path("keys");
    let foreign = source
        .import(&into, "events", ["--keys", &keys])
        .with("ORION_MASTER_KEY", "CAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAg=");
    let said = foreign.exits(2).await;
    let told = format!("orion-replay: {keys}: line 1 of the keys does not open");
    assert!(said.starts_with(&told), "{said}");
    fs::write(&keys, "{\"nonsense\":1}\n").unwrap();
    let said = source.import(&into, "events", ["--keys", &keys]).exits(2).await;
    assert!(
        said.starts_with(&format!("orion-replay: {keys}: line 1 of the keys is no key")),
        "{said}"
    );
    // What cannot be read as text.
    fs::write(&keys, [0xff, b'\n']).unwrap();
    let said = source.import(&into, "events", ["--keys", &keys]).exits(2).await;
    assert!(said.starts_with(&format!("orion-replay: {keys}: reading the keys")), "{said}");
}

#[tokio::test]
async fn an_export_has_its_name_when_it_is_whole() {
    let source = Source::new().await;
    let events = source.path("events");
    source.export([]).await;
    let said = source.world.orion_replay(["export", &events]).exits(2).await;
    assert!(said.contains("there is such a file already"), "{said}");
    let nowhere = source.path("nowhere/events");
    let said = source.world.orion_replay(["export", &nowhere]).exits(2).await;
    assert!(said.contains("No such file or directory"), "{said}");
    // A log that is not whole leaves no file.
    source
        .world
        .spoil(
            "ALTER TABLE events DISABLE TRIGGER USER; DELETE FROM events WHERE position = 5;
             ALTER TABLE events ENABLE TRIGGER USER",
        )
        .await;
    let gap = source.path("gap");
    let said = source.world.orion_replay(["export", &gap]).exits(2).await;
    assert!(said.contains("there is no event at position 5"), "{said}");
    let names: Vec<_> = fs::read_dir(source.folder.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert_eq!(names.len(), 2, "{names:?}");
    assert!(Path::new(&events).exists());
}

#[tokio::test]
async fn a_disk_that_fills_while_exporting_leaves_no_file() {
    let source = Source::new().await;
    // Enough that it is written in several pieces.
    let trend = Uuid::now_v7();
    for version in (0..5_000).step_by(100) {
        source.world.append(trend, version, 100).await;
    }
    let (events, keys) = (source.path("events"), source.path("keys"));
    for compress in [false, true] {
        // A process may be told where files end, as they do on a full disk. It is told by a signal, too,
        // unless it ignores that.
        let program = env!("CARGO_BIN_EXE_orion-replay");
        let script = "trap '' XFSZ; ulimit -f 100; exec \"$@\"";
        let mut full = Program::of("bash");
        full.add(["-c", script, "bash", program, "export", &events, "--keys", &keys]);
        full.add(compress.then_some(["--compress", "zstd"]).into_iter().flatten());
        let said = full.with("DATABASE_URL", source.world.url()).exits(2).await;
        assert!(said.contains("writing the export: File too large"), "{said}");
        assert_eq!(said.lines().count(), 1, "{said}");
        let left: Vec<_> = fs::read_dir(source.folder.path()).unwrap().collect();
        assert!(left.is_empty(), "{left:?}");
    }
    // The keys are written first, and are told of by their own name.
    let mut full = Program::of("bash");
    let script = "trap '' XFSZ; ulimit -f 0; exec \"$@\"";
    let program = env!("CARGO_BIN_EXE_orion-replay");
    full.add(["-c", script, "bash", program, "export", &events, "--keys", &keys]);
    let said = full.with("DATABASE_URL", source.world.url()).exits(2).await;
    let told = format!("orion-replay: {keys}: writing the keys: File too large");
    assert!(said.starts_with(&told), "{said}");
    source.export([]).await;
}

#[tokio::test]
async fn an_export_that_is_interrupted_leaves_no_file() {
    let source = Source::new().await;
    let (events, part) = (source.path("events"), source.folder.path().join("events.part"));
    // Somebody holds a table that it needs, so that it waits with its file open.
    let mut holding = PgConnection::connect(source.world.url()).await.unwrap();
    holding.execute("BEGIN; LOCK TABLE reactor_checkpoints").await.unwrap();
    let mut program = source.world.orion_replay(["export", &events]);
    let mut child = program.command().stderr(Stdio::null()).spawn().unwrap();
    let mut looks = tokio::time::interval(Duration::from_millis(20));
    while !part.exists() {
        looks.tick().await;
        assert!(child.try_wait().unwrap().is_none(), "it has ended");
    }
    let id = child.id().unwrap().to_string();
    assert!(Command::new("kill").args(["-TERM", &id]).status().await.unwrap().success());
    let ended = tokio::time::timeout(PATIENCE, child.wait()).await.expect("it ends");
    assert_eq!(ended.unwrap().code(), Some(130));
    holding.close().await.unwrap();
    assert!(!part.exists() && !Path::new(&events).exists());
}

/// Events without their keys would be of no use to anybody.
#[tokio::test]
async fn both_files_of_an_export_get_their_names_or_none() {
    let source = Source::new().await;
    let (events, keys) = (source.path("events"), source.path("keys"));
    let mut holding = PgConnection::connect(source.world.url()).await.unwrap();
    holding.execute("BEGIN; LOCK TABLE reactor_checkpoints").await.unwrap();
    let mut program = source.world.orion_replay(["export", &events, "--keys", &keys]);
    let child = program.command().stderr(Stdio::piped()).spawn().unwrap();
    let part = source.folder.path().join("keys.part");
    let opened = async {
        let mut looks = tokio::time::interval(Duration::from_millis(20));
        while !part.exists() {
            looks.tick().await;
        }
    };
    tokio::time::timeout(PATIENCE, opened).await.expect("it begins");
    // Somebody takes the name meanwhile.
    fs::create_dir(&keys).unwrap();
    holding.close().await.unwrap();
    let ended = child.wait_with_output().await.unwrap();
    assert_eq!(ended.status.code(), Some(2));
    let said = String::from_utf8(ended.stderr).unwrap();
    assert!(said.starts_with(&format!("orion-replay: {keys}: ")), "{said}");
    let names: Vec<_> = fs::read_dir(source.folder.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert_eq!(names, ["keys"]);
}

#[tokio::test]
async fn a_database_that_a_server_has_is_not_imported_into() {
    let source = Source::new().await;
    source.export([]).await;
    let keys = source.path("keys");
    let into = World::new().await;
    let import = || {
        let events = source.path("events");
        into.orion_replay(["import", &events, "--keys", &keys])
    };
    // A server that has just begun: its log is empty, but it leads already.
    let projector = into.lead().await;
    assert_eq!(
        import().exits(2).await,
        format!(
            "orion-replay: {}: a server runs on this database; a log is imported before the first start\n",
            source.path("events")
        )
    );
    projector.stop().await;
    import().exits(0).await;
    // And one that has done something.
    assert!(import().exits(2).await.contains("the log has events already"));
}

#[tokio::test]
async fn what_was_done_is_told_to_programs_too() {
    let source = Source::new().await;
    let exported: Value = serde_json::from_str(&source.export(["--format", "json"]).await).unwrap();
    let events = fs::read_to_string(source.path("events")).unwrap();
    let end: Value = serde_json::from_str(events.lines().last().unwrap()).unwrap();
    let (root, sha256) = (&end["data"]["root"], &end["data"]["sha256"]);
    assert_eq!(exported, json!({ "events": 11, "root": root, "sha256": sha256 }));
    let (into, keys) = (database().await, source.path("keys"));
    let program = source.import(&into, "events", ["--keys", &keys, "--format", "json"]);
    let imported: Value = serde_json::from_str(&program.exits(0).await).unwrap();
    assert_eq!(imported, json!({ "events": 11, "root": root, "signed": 11 }));
}
