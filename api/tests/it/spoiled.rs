//! A server whose tables their owner has spoiled, and clients that go on with it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use orion_store::testing::{TestDatabase, database};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::client::Client;
use crate::eventually::eventually;
use crate::log::Records;
use crate::people::id_at;
use crate::replay::Replay;
use crate::server::Server;

/// The clients that write and those that read at once.
const WRITERS: usize = 4;
const READERS: usize = 2;

/// The contents that nobody changes any more.
pub const RESTING: usize = 8;

/// So many more answers, of each kind, show that the server goes on.
const ANSWERS_MORE: usize = 20;

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

/// What a reader sees in one answer. All contents live alike, so that a content's version says all the rest.
const LOOK: &str = "query ($resting: ID!, $living: ID!) { resting: trend(id: $resting) { ...All }
                                                          living: trend(id: $living) { ...All } }
    fragment All on Trend { topic contents(first: 8) { nodes {
        title version status
        pipelineRuns(first: 4) { totalCount nodes { stage status } }
        mediaAssets(first: 4) { totalCount nodes { assetType filePath } } } } }";

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
pub struct World {
    pub records: Records,
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
    pub async fn new() -> Arc<Self> {
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
        world.replay(["rebuild"]).exits(0).await;
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
    pub async fn spoil(&self) -> usize {
        // First the row that the projector begins with: the two must not wait for each other.
        let mut holding = self.records.hold_tables().await;
        for sql in SPOIL {
            assert!(sqlx::query(sql).execute(&mut *holding).await.unwrap().rows_affected() > 0);
        }
        holding.commit().await.unwrap();
        self.differing().await
    }

    /// How many rows are not what the log says.
    pub async fn differing(&self) -> usize {
        self.records.differences().await.len()
    }

    /// `orion-replay` on the server's database.
    pub fn replay<const N: usize>(&self, args: [&str; N]) -> Replay {
        Replay::on(&self.database.url, args)
    }

    /// The tables are what the log says, and nothing else is left.
    pub async fn assert_whole(&self) {
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
pub struct Load {
    clients: JoinSet<()>,
    stop: Arc<AtomicBool>,
    written: Arc<AtomicUsize>,
    seen: Arc<AtomicUsize>,
}

impl Load {
    pub fn start(world: &Arc<World>) -> Self {
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

    /// Waits until more queries were answered.
    pub async fn queries_go_on(&self) {
        let before = self.answers().0;
        eventually("answers to queries", async || {
            (self.answers().0 >= before + ANSWERS_MORE).then_some(())
        })
        .await;
    }

    /// Waits until there were more answers of each kind.
    pub async fn goes_on(&self) {
        let before = self.answers();
        eventually("answers", async || {
            let now = self.answers();
            let more = now.0.abs_diff(before.0).min(now.1.abs_diff(before.1));
            (more >= ANSWERS_MORE).then_some(())
        })
        .await;
    }

    /// None of them has failed.
    pub async fn ends(self) {
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
