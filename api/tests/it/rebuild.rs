//! `orion-replay rebuild` beside the server: commands and queries go on while it computes and mends, and
//! whatever kills it, the tables that are served are not harmed.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use orion_store::testing::{TestDatabase, database};
use serde_json::{Value, json};
use tokio::process::Command;
use tokio::task::JoinSet;

use crate::client::Client;
use crate::eventually::{SOON, eventually};
use crate::log::Records;
use crate::people::id_at;
use crate::server::{MASTER_KEY, Server};

/// The clients that write and those that read at once.
const WRITERS: usize = 4;
const READERS: usize = 2;

/// The contents that nobody changes any more.
const RESTING: usize = 8;

/// So many more answers, of each kind, show that the server goes on.
const ANSWERS_MORE: usize = 20;

/// How often a rebuild is killed.
const KILLS: usize = 10;

/// What a reader sees in one answer. All contents live alike, so that a content's version says all the rest.
const LOOK: &str = "query ($resting: ID!, $living: ID!) { resting: trend(id: $resting) { ...All }
                                                          living: trend(id: $living) { ...All } }
    fragment All on Trend { topic contents(first: 8) { nodes {
        title version status
        pipelineRuns(first: 4) { totalCount nodes { stage status } }
        mediaAssets(first: 4) { totalCount nodes { assetType filePath } } } } }";

/// What happens to a content after its draft, an event at a time.
const COMMANDS: [(&str, &str); 8] = [
    ("startGeneration", r#"{ "stages": ["script", "images"] }"#),
    ("startStage", r#"{ "stage": "script" }"#),
    ("attachMediaAsset", r#"{ "assetType": "AUDIO", "provider": "p", "filePath": "a" }"#),
    ("completeStage", "{}"),
    ("startStage", r#"{ "stage": "images" }"#),
    ("attachMediaAsset", r#"{ "assetType": "IMAGE", "provider": "p", "filePath": "b" }"#),
    ("completeStage", "{}"),
    ("submitForReview", "{}"),
];

/// What the owner of the tables does to them, after which they are not what the log says.
const SPOIL: [&str; 5] = [
    "UPDATE orion.trends SET topic = 'spoiled'",
    "UPDATE orion.contents SET title = 'spoiled'",
    "DELETE FROM orion.pipeline_runs WHERE stage = 'images' AND content_id IN
         (SELECT c.id FROM orion.contents c JOIN orion.trends t ON t.id = c.trend_id WHERE t.source = 'resting')",
    "INSERT INTO orion.media_assets SELECT (jsonb_populate_record(m, jsonb_build_object(
         'id', gen_random_uuid(), 'asset_type', 'video', 'file_path', 'spoiled', 'created_at', now()))).*
     FROM orion.media_assets m JOIN orion.contents c ON c.id = m.content_id
     JOIN orion.trends t ON t.id = c.trend_id WHERE t.source = 'resting'",
    "UPDATE orion.users SET name = 'spoiled' WHERE email = 'ada@example.org'",
];

/// A server with contents that rest and contents that go on, and who reads and writes them.
struct World {
    records: Records,
    ada: Client,
    resting: String,
    living: String,
    /// What of a content is seen at each of its versions.
    life: BTreeMap<i64, Value>,
    /// The resting contents as they are, and as they are spoiled.
    right: Value,
    spoiled: Value,
    _server: Server,
    database: TestDatabase,
}

impl World {
    async fn new() -> Arc<Self> {
        let database = database().await;
        let server = Server::start(&database.url).await;
        let (ada, records) = (server.editor("ada").await, Records::of(&database.url).await);
        let (resting, living) = (trend(&ada, "resting").await, trend(&ada, "living").await);
        for _ in 0..RESTING {
            let mut life = Life::begin(&ada, &resting).await;
            for command in COMMANDS {
                life.go_on(command).await;
            }
        }
        let mut world = Self {
            records,
            ada,
            resting,
            living,
            life: BTreeMap::new(),
            right: Value::Null,
            spoiled: Value::Null,
            _server: server,
            database,
        };
        let ada = world.ada.clone();
        let mut life = Life::begin(&ada, &world.living).await;
        world.learn().await;
        for command in COMMANDS {
            life.go_on(command).await;
            world.learn().await;
        }
        world.right = world.look().await["resting"].take();
        assert!(world.spoil().await > 0);
        world.spoiled = world.look().await["resting"].take();
        assert_ne!(world.right, world.spoiled);
        assert_eq!(world.replay(["rebuild"]).exits(0).await.lines().count(), 6);
        assert_eq!(world.look().await["resting"], world.right);
        Arc::new(world)
    }

    /// Notes what is seen of the newest content in its version.
    async fn learn(&mut self) {
        let mut seen = self.look().await["living"]["contents"]["nodes"][0].take();
        seen["title"].take();
        self.life.insert(seen["version"].as_i64().unwrap(), seen);
    }

    async fn look(&self) -> Value {
        self.ada.query(LOOK, json!({ "resting": self.resting, "living": self.living })).await
    }

    /// Spoils rows of several tables in one moment; says how many rows differ from the log then.
    async fn spoil(&self) -> usize {
        // First the row that the projector begins with: the two must not wait for each other.
        let mut holding = self.records.hold_tables().await;
        for sql in SPOIL {
            assert!(sqlx::query(sql).execute(&mut *holding).await.unwrap().rows_affected() > 0);
        }
        holding.commit().await.unwrap();
        self.differing().await
    }

    /// How many rows are not what the log says.
    async fn differing(&self) -> usize {
        self.records.differences().await.len()
    }

    fn replay<const N: usize>(&self, args: [&str; N]) -> Replay {
        let program = Path::new(env!("CARGO_BIN_EXE_orion")).with_file_name("orion-replay");
        assert!(program.exists(), "`cargo test --workspace` builds {}", program.display());
        let mut command = Command::new(program);
        command.args(args).stdin(Stdio::null()).kill_on_drop(true);
        command.env("DATABASE_URL", &self.database.url).env("ORION_MASTER_KEY", MASTER_KEY);
        Replay(command)
    }

    /// The tables are what the log says, and nothing else is left.
    async fn assert_whole(&self) {
        self.records.assert_projected().await;
        let said = self.replay(["check"]).exits(0).await;
        assert!(said.starts_with("0 rows differ"), "{said}");
        let left: bool = sqlx::query_scalar(
            "SELECT EXISTS (SELECT FROM pg_namespace WHERE nspname = 'orion_rebuild')",
        )
        .fetch_one(&self.records.pool)
        .await
        .unwrap();
        assert!(!left, "the schema of the rebuild is left");
    }
}

/// The program `orion-replay`.
struct Replay(Command);

impl Replay {
    /// Runs it to its end, which must have this status; gives what it says.
    async fn exits(mut self, status: i32) -> String {
        let ended = tokio::time::timeout(SOON, self.0.output()).await;
        let output = ended.expect("orion-replay does not end").unwrap();
        assert_eq!(output.status.code(), Some(status), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// Kills it after a while, if it has not ended.
    async fn is_killed_after(mut self, while_: Duration) -> bool {
        let mut child = self.0.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let ended = tokio::time::timeout(while_, child.wait()).await;
        child.kill().await.unwrap();
        ended.is_err()
    }
}

/// Detects a trend; its source tells which one it is.
async fn trend(ada: &Client, source: &str) -> String {
    let input = json!({ "topic": "topic", "source": source, "score": 0.5 });
    id_at(&ada.mutate("detectTrend", input, "trend { id }").await.done(), "/trend/id")
}

/// A content, and the run of the stage that was started last.
struct Life<'a> {
    ada: &'a Client,
    content: String,
    run: String,
}

impl<'a> Life<'a> {
    async fn begin(ada: &'a Client, trend: &str) -> Self {
        let content = ada.draft_content(trend, "title").await;
        Self { ada, content, run: String::new() }
    }

    async fn go_on(&mut self, (command, input): (&str, &str)) {
        let mut input: Value = serde_json::from_str(input).unwrap();
        let selection = match command {
            "completeStage" => {
                input["runId"] = json!(self.run);
                ""
            }
            "startStage" => {
                input["contentId"] = json!(self.content);
                "pipelineRun { id }"
            }
            _ => {
                input["contentId"] = json!(self.content);
                ""
            }
        };
        let payload = self.ada.mutate(command, input, selection).await.done();
        if command == "startStage" {
            self.run = id_at(&payload, "/pipelineRun/id");
        }
    }
}

/// Clients that write and read until they are told to stop.
struct Load {
    clients: JoinSet<()>,
    stop: Arc<AtomicBool>,
    written: Arc<AtomicUsize>,
    seen: Arc<AtomicUsize>,
}

impl Load {
    fn start(world: &Arc<World>) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (written, seen) = (Arc::default(), Arc::default());
        let mut clients = JoinSet::new();
        for _ in 0..WRITERS {
            clients.spawn(write(world.clone(), stop.clone(), Arc::clone(&written)));
        }
        for _ in 0..READERS {
            clients.spawn(read(world.clone(), stop.clone(), Arc::clone(&seen)));
        }
        Self { clients, stop, written, seen }
    }

    /// How many queries and how many commands were answered.
    fn answers(&self) -> (usize, usize) {
        (self.seen.load(Ordering::Relaxed), self.written.load(Ordering::Relaxed))
    }

    /// Waits until there were more answers of each kind.
    async fn goes_on(&self) {
        let before = self.answers();
        eventually("answers", async || {
            let now = self.answers();
            let more = now.0.abs_diff(before.0).min(now.1.abs_diff(before.1));
            (more >= ANSWERS_MORE).then_some(())
        })
        .await;
    }

    /// None of them has failed.
    async fn ends(self) {
        self.stop.store(true, Ordering::Relaxed);
        self.clients.join_all().await;
    }
}

async fn write(world: Arc<World>, stop: Arc<AtomicBool>, written: Arc<AtomicUsize>) {
    while !stop.load(Ordering::Relaxed) {
        let mut life = Life::begin(&world.ada, &world.living).await;
        for command in COMMANDS {
            life.go_on(command).await;
            written.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Each answer is of one moment: all rows that were spoiled at once are so, or all are right; and what belongs to
/// a content goes with its version.
async fn read(world: Arc<World>, stop: Arc<AtomicBool>, seen: Arc<AtomicUsize>) {
    while !stop.load(Ordering::Relaxed) {
        let mut answer = world.look().await;
        let resting = answer["resting"].take();
        let is_whole = resting == world.right || resting == world.spoiled;
        assert!(is_whole, "neither as it was nor as it should be: {resting:#}");
        for content in answer["living"]["contents"]["nodes"].as_array_mut().unwrap() {
            let title = content["title"].take();
            assert!(title == "title" || title == "spoiled", "{title}");
            assert_eq!(*content, world.life[&content["version"].as_i64().unwrap()]);
        }
        seen.fetch_add(1, Ordering::Relaxed);
    }
}

#[tokio::test]
async fn commands_and_queries_go_on_while_a_rebuild_mends() {
    let world = World::new().await;
    let load = Load::start(&world);
    for _ in 0..3 {
        load.goes_on().await;
        assert!(world.spoil().await > 4 * RESTING);
        load.goes_on().await;
        let before = load.answers();
        let said = world.replay(["rebuild"]).exits(0).await;
        let after = load.answers();
        assert!(
            after.0 > before.0 && after.1 > before.1,
            "{before:?}, {after:?}: nobody was served"
        );
        assert!(said.contains("rows were mended"), "{said}");
        assert_eq!(world.differing().await, 0);
    }
    load.goes_on().await;
    load.ends().await;
    world.assert_whole().await;
}

#[tokio::test]
async fn a_rebuild_that_is_killed_at_any_moment_harms_nothing() {
    let world = World::new().await;
    let load = Load::start(&world);
    let begun = Instant::now();
    world.replay(["rebuild", "--dry-run"]).exits(0).await;
    let whole = begun.elapsed();
    let (mut killed, mut spoiled) = (0, world.spoil().await);
    while killed < KILLS {
        let moment = whole.mul_f64(rand::random());
        if world.replay(["rebuild"]).is_killed_after(moment).await {
            killed += 1;
        }
        // All that was spoiled still is, or nothing is any more.
        let differing = world.differing().await;
        assert!([0, spoiled].contains(&differing), "{differing} of {spoiled} after {moment:?}");
        load.goes_on().await;
        if differing == 0 {
            spoiled = world.spoil().await;
        }
    }
    world.replay(["rebuild"]).exits(0).await;
    assert_eq!(world.differing().await, 0);
    load.ends().await;
    world.assert_whole().await;
}
