//! Queries on a real streaming replica: one that keeps up, stands, dies and comes back.

use std::time::Duration;

use orion_store::Log;
use orion_store::testing::bench::append_one;
use orion_store::testing::{TestCluster, database, log};
use serde_json::{Value, json};
use sqlx::{Connection as _, PgConnection};
use tokio::net::TcpListener;
use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, DropGuard};
use uuid::Uuid;

use crate::client::{Client, http, position};
use crate::eventually::eventually;
use crate::server::{Server, Settings};

/// How long a query takes at most that waits for a replica in vain: 500 ms, and the machine is busy.
const FALLS_BACK_WITHIN: Duration = Duration::from_secs(2);

/// The clients that read while the replica dies.
const READERS: usize = 4;

/// Queries of each of them afterwards.
const READS_AFTER: usize = 50;

/// The connections for queries of the server that has none to spare, and those who ask for them.
const CONNECTIONS: i64 = 4;
const CROWD: usize = 8;

/// A row by its id.
const TREND: &str = "query ($id: ID!) { trend(id: $id) { id } }";

/// How many rows are read, and how many of those who read them are cancelled at least.
const CANCELLED_ROWS: usize = 50;
const CANCELLED: i64 = 3;

/// A primary, its replica, and a log that grows without any server's doing.
struct World {
    primary: TestCluster,
    replica: TestCluster,
    log: Log,
    _stop: DropGuard,
}

impl World {
    async fn new() -> Self {
        let primary = TestCluster::start().await;
        let replica = primary.replica().await;
        let stop = CancellationToken::new();
        let pool = orion_store::connect(&primary.url(), 4).await.unwrap();
        let log = log(pool, stop.clone()).await;
        Self { primary, replica, log, _stop: stop.drop_guard() }
    }

    fn settings(&self) -> Settings {
        Settings::on(&self.primary.url()).with("ORION_READ_DATABASE_URL", self.replica.url())
    }

    /// Lets the replica stand where it is.
    async fn pause(&self) {
        let mut connection = PgConnection::connect(&self.replica.url()).await.unwrap();
        sqlx::query("SELECT pg_wal_replay_pause()").execute(&mut connection).await.unwrap();
        eventually("the replica stands", async || {
            let state = sqlx::query_scalar("SELECT pg_get_wal_replay_pause_state()");
            let state: String = state.fetch_one(&mut connection).await.unwrap();
            (state == "paused").then_some(())
        })
        .await;
    }

    /// Lets it follow the primary again.
    async fn go_on(&self) {
        let mut connection = PgConnection::connect(&self.replica.url()).await.unwrap();
        sqlx::query("SELECT pg_wal_replay_resume()").execute(&mut connection).await.unwrap();
    }

    /// Lets it follow the primary with this delay, from its next start on.
    async fn delay(&self, delay: &str) {
        let mut connection = PgConnection::connect(&self.replica.url()).await.unwrap();
        let setting = format!("ALTER SYSTEM SET recovery_min_apply_delay = '{delay}'");
        sqlx::query(&setting).execute(&mut connection).await.unwrap();
    }

    /// Keeps everybody from reading a table on the primary, and on the replica if that follows.
    async fn lock(&self, table: &str) -> PgConnection {
        let mut connection = PgConnection::connect(&self.primary.url()).await.unwrap();
        sqlx::query("BEGIN").execute(&mut connection).await.unwrap();
        let lock = format!("LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE");
        sqlx::query(&lock).execute(&mut connection).await.unwrap();
        connection
    }

    /// Appends an event and waits until the primary's tables show it to the server.
    async fn append(&self, server: &Server) -> i64 {
        append_one(&self.log).await;
        let head = self.log.head().await.unwrap().0;
        let figure = "orion_projection_position{projection=\"read_model\"} ";
        eventually("the primary shows it", async || {
            (figure_of(server, figure).await >= head).then_some(())
        })
        .await;
        head
    }
}

/// Waits until the server says this of its replica. It is ready all the while.
async fn says(server: &Server, expected: &str) {
    eventually(expected, async || {
        let ready = http().get(format!("{}/health/ready", server.url())).send().await.unwrap();
        assert_eq!(ready.status(), 200);
        let body: Value = ready.json().await.unwrap();
        (body["replica"] == expected).then_some(())
    })
    .await;
}

/// The figure after this name; 0 if there is none.
async fn figure_of(server: &Server, name: &str) -> i64 {
    let figures = server.metrics().await;
    figures.lines().find_map(|line| line.strip_prefix(name)?.parse().ok()).unwrap_or_default()
}

/// How many queries were read from there.
async fn reads(server: &Server, from: &str) -> i64 {
    figure_of(server, &format!("orion_reads_total{{from=\"{from}\"}} ")).await
}

/// The position that a query shows, which its answer says, too.
async fn shown(client: &Client, min_position: Option<i64>) -> i64 {
    let query = "query ($min: Position) { position(minPosition: $min) }";
    let min_position = min_position.map(|position| position.to_string());
    let answer = client.ask(query, json!({ "min": min_position })).await;
    let stated = position(&answer.0["extensions"]["position"]);
    assert_eq!(position(&answer.data()["position"]), stated);
    stated
}

/// Waits until so many statements wait for a lock there.
async fn statements_wait(database: &TestCluster, count: i64) {
    let mut connection = PgConnection::connect(&database.url()).await.unwrap();
    eventually("statements wait for a lock", async || {
        let waiting = sqlx::query_scalar(
            "SELECT count(*) FROM pg_stat_activity
             WHERE application_name = 'orion' AND wait_event_type = 'Lock'",
        );
        let waiting: i64 = waiting.fetch_one(&mut connection).await.unwrap();
        (waiting == count).then_some(())
    })
    .await;
}

/// Waits until a query is read from the replica.
async fn is_read(server: &Server, client: &Client) {
    eventually("a query is read from the replica", async || {
        let before = reads(server, "replica").await;
        shown(client, None).await;
        (reads(server, "replica").await > before).then_some(())
    })
    .await;
}

/// What the server has said of its replica, one after the other: each says something else than the one before.
fn changes(server: &Server) -> Vec<String> {
    let stderr = server.stderr();
    let lines = stderr.lines().filter(|line| line.contains("queries are read from"));
    let said = lines.map(|line| line.split('"').nth(1).unwrap_or(line).to_owned());
    let said: Vec<_> = said.collect();
    assert!(said.windows(2).all(|two| two[0] != two[1]), "{said:?}\n{stderr}");
    said
}

#[tokio::test]
async fn queries_read_the_replica_and_the_primary_what_it_lacks() {
    let world = World::new().await;
    let server = Server::with(world.settings()).await;
    says(&server, "in use").await;
    let ada = server.editor("ada").await;

    // What a mutation has done, queries show, though they are read elsewhere.
    let before = reads(&server, "replica").await;
    for number in 0..20 {
        let input = json!({ "topic": format!("topic {number}"), "source": "s", "score": 0.5 });
        let detected = ada.mutate("detectTrend", input, "trend { id }").await;
        let id = &detected.0["trend"]["id"];
        let found = ada.query(TREND, json!({ "id": id })).await;
        assert_eq!(&found["trend"]["id"], id);
    }
    // Not each: on a busy machine the replica may be late for one, and the primary is read until it is there.
    let read = reads(&server, "replica").await - before;
    assert!(read >= 10, "{read} of 20");

    // One that stands shows what it has, for a while.
    is_read(&server, &ada).await;
    world.pause().await;
    let old = shown(&ada, None).await;
    let new = world.append(&server).await;
    assert_eq!(shown(&ada, None).await, old, "it was read from the primary");
    // What it does not have may be what is younger than it.
    let before = reads(&server, "replica").await;
    let unknown = ada.ask(TREND, json!({ "id": Uuid::nil() })).await;
    assert_eq!(position(&unknown.0["extensions"]["position"]), old, "{:#}", unknown.0);
    assert_eq!(unknown.data()["trend"], Value::Null);
    assert_eq!(reads(&server, "replica").await, before + 1);

    // Who has seen more gets more, soon.
    let asked = Instant::now();
    assert!(shown(&ada, Some(new)).await >= new);
    assert!(asked.elapsed() < FALLS_BACK_WITHIN, "{:?}", asked.elapsed());
    // And then so does everybody.
    assert!(shown(&ada, None).await >= new);

    // A mutation shows what it did, and does not promise that every server's queries do.
    let input = json!({ "topic": "unseen", "source": "s", "score": 0.5 });
    let asked = Instant::now();
    let payload = ada.mutate("detectTrend", input, "trend { topic }").await;
    assert!(asked.elapsed() < FALLS_BACK_WITHIN, "{:?}", asked.elapsed());
    assert_eq!(payload.0["trend"]["topic"], "unseen");
    assert_eq!(payload.0["projected"], false);
    assert!(shown(&ada, None).await >= payload.position());

    world.go_on().await;
    is_read(&server, &ada).await;
    ada.detect_trend("seen").await;

    // One that lags for longer is not read at all.
    let said = changes(&server).len();
    world.pause().await;
    let new = world.append(&server).await;
    assert!(shown(&ada, None).await < new);
    says(&server, "behind").await;
    assert!(shown(&ada, None).await >= new);
    ada.detect_trend("promised again").await;
    assert!(server.metrics().await.contains("orion_replica_in_use 0"));
    world.go_on().await;
    says(&server, "in use").await;
    is_read(&server, &ada).await;
    let changes = changes(&server);
    assert!(changes[said..].iter().any(|change| change == "behind"), "{changes:?}");
}

#[tokio::test]
async fn one_that_gets_in_use_shows_what_was_promised_before() {
    let world = World::new().await;
    world.delay("2s").await;
    world.replica.stop().await;
    let server = Server::with(world.settings()).await;
    says(&server, "unreachable").await;
    let ada = server.editor("ada").await;
    world.replica.start_again().await;
    // It is always behind by the same, never by so much that it is not read.
    let mut promised = 0;
    eventually("the replica is in use", async || {
        let input = json!({ "topic": "t", "source": "s", "score": 0.5 });
        let payload = ada.mutate("detectTrend", input, "").await;
        if payload.0["projected"] == true {
            promised = payload.position();
        }
        assert!(shown(&ada, None).await >= promised);
        changes(&server).iter().any(|change| change == "in use").then_some(())
    })
    .await;
    eventually("a query is read from the replica", async || {
        assert!(shown(&ada, None).await >= promised);
        (reads(&server, "replica").await > 0).then_some(())
    })
    .await;
}

#[tokio::test]
async fn what_goes_on_after_a_failed_statement_shows_no_other_state() {
    let world = World::new().await;
    let server = Server::with(world.settings()).await;
    says(&server, "in use").await;
    let ada = server.editor("ada").await;
    let trend = ada.detect_trend("seen").await;
    is_read(&server, &ada).await;

    let _locked = world.lock("orion.contents").await;
    // The lock follows with the next commit.
    world.append(&server).await;
    let query = "query ($id: ID!) {
        before: trend(id: $id) { id } fails: content(id: $id) { id } after: trend(id: $id) { id }
    }";
    let asked = tokio::spawn({
        let (ada, trend) = (ada.clone(), trend.clone());
        async move { ada.ask(query, json!({ "id": trend })).await }
    });
    statements_wait(&world.replica, 1).await;
    let mut replica = PgConnection::connect(&world.replica.url()).await.unwrap();
    let cancel = "SELECT pg_cancel_backend(pid) FROM pg_stat_activity
                  WHERE application_name = 'orion' AND wait_event_type = 'Lock'";
    sqlx::query(cancel).execute(&mut replica).await.unwrap();
    let answer = asked.await.unwrap().0;
    let data = &answer["data"];
    assert_eq!(data["before"]["id"], trend.as_str(), "{answer:#}");
    assert_eq!((&data["fails"], &data["after"]), (&Value::Null, &Value::Null), "{answer:#}");
}

#[tokio::test]
async fn a_replica_comes_back_though_the_primary_has_no_connection_to_spare() {
    let world = World::new().await;
    // A query waits for the lock for as long as the test does.
    let settings = world.settings().with("ORION_QUERY_TIMEOUT", "120s");
    let settings = settings.with("ORION_DATABASE_POOL", CONNECTIONS.to_string());
    let server = Server::with(settings).await;
    says(&server, "in use").await;
    let ada = server.editor("ada").await;
    world.replica.stop().await;
    says(&server, "unreachable").await;

    let _locked = world.lock("orion.trends").await;
    let mut crowd = tokio::task::JoinSet::new();
    for _ in 0..CROWD {
        let ada = ada.clone();
        crowd.spawn(async move {
            loop {
                let _ = ada.try_ask("{ trends { nodes { id } } }", json!({})).await;
            }
        });
    }
    // Two are left to others, who ask the pool itself.
    statements_wait(&world.primary, CONNECTIONS - 2).await;
    world.replica.start_again().await;
    says(&server, "in use").await;
}

#[tokio::test]
async fn a_replica_that_dies_fails_no_query_and_is_used_when_it_is_back() {
    let world = World::new().await;
    world.replica.stop().await;
    let server = Server::with(world.settings()).await;
    says(&server, "unreachable").await;
    let ada = server.editor("ada").await;
    let id = ada.detect_trend("nobody else knows").await;

    world.replica.start_again().await;
    says(&server, "in use").await;
    is_read(&server, &ada).await;

    let stop = CancellationToken::new();
    let mut readers = tokio::task::JoinSet::new();
    for _ in 0..READERS {
        let (ada, id, stop) = (ada.clone(), id.clone(), stop.clone());
        readers.spawn(async move {
            let mut after = 0;
            while after < READS_AFTER {
                let query = "query ($id: ID!) { trend(id: $id) { topic } }";
                let found = ada.query(query, json!({ "id": id })).await;
                assert_eq!(found["trend"]["topic"], "nobody else knows");
                after += usize::from(stop.is_cancelled());
            }
        });
    }
    is_read(&server, &ada).await;
    world.replica.kill9().await;
    stop.cancel();
    while let Some(reader) = readers.join_next().await {
        reader.unwrap();
    }
    says(&server, "unreachable").await;
    ada.detect_trend("the primary is enough").await;

    world.replica.start_again().await;
    says(&server, "in use").await;
    is_read(&server, &ada).await;
    // Once at the start, and once when it died.
    let changes = changes(&server);
    let lost = changes.iter().filter(|change| *change == "unreachable");
    assert!(lost.count() >= 2, "{changes:?}");
}

#[tokio::test]
async fn a_replica_that_hangs_holds_nobody_up_for_long() {
    let world = World::new().await;
    let server = Server::with(world.settings()).await;
    says(&server, "in use").await;
    let ada = server.editor("ada").await;
    let id = ada.detect_trend("here to stay").await;
    is_read(&server, &ada).await;

    world.replica.pause();
    // Those that are asked before anybody knows, of one statement and of several.
    let trend = "query ($id: ID!) { trend(id: $id) { topic } }";
    let two = "query ($id: ID!) { trend(id: $id) { topic } me { name } }";
    for query in [trend, two, trend, two] {
        let asked = Instant::now();
        let found = ada.query(query, json!({ "id": id })).await;
        assert_eq!(found["trend"]["topic"], "here to stay");
        assert!(asked.elapsed() < FALLS_BACK_WITHIN, "{:?}", asked.elapsed());
    }
    says(&server, "unreachable").await;
    assert!(server.metrics().await.contains("orion_replica_in_use 0"));
    // Nobody waits for it any more.
    let asked = Instant::now();
    for number in 0..10 {
        ada.detect_trend(&format!("topic {number}")).await;
        ada.query(trend, json!({ "id": id })).await;
    }
    assert!(asked.elapsed() < FALLS_BACK_WITHIN, "{:?}", asked.elapsed());

    world.replica.go_on();
    says(&server, "in use").await;
    is_read(&server, &ada).await;
}

#[tokio::test]
async fn a_server_starts_although_its_replica_accepts_and_says_nothing() {
    let database = database().await;
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("postgres://orion@{}/orion", silent.local_addr().unwrap());
    let settings = Settings::on(&database.url).with("ORION_READ_DATABASE_URL", url);
    let server = Server::with(settings).await;
    says(&server, "unreachable").await;
    let ada = server.editor("ada").await;
    let id = ada.detect_trend("nobody else knows").await;
    let query = "query ($id: ID!) { trend(id: $id) { topic } }";
    let asked = Instant::now();
    let found = ada.query(query, json!({ "id": id })).await;
    assert_eq!(found["trend"]["topic"], "nobody else knows");
    assert!(asked.elapsed() < FALLS_BACK_WITHIN, "{:?}", asked.elapsed());
}

#[tokio::test]
async fn what_was_promoted_is_not_read_for_it_has_a_history_of_its_own() {
    let world = World::new().await;
    let server = Server::with(world.settings()).await;
    says(&server, "in use").await;
    let ada = server.editor("ada").await;
    let id = ada.detect_trend("the primary's").await;
    is_read(&server, &ada).await;

    let mut promoted = PgConnection::connect(&world.replica.url()).await.unwrap();
    let promote = sqlx::query_scalar("SELECT pg_promote()").fetch_one(&mut promoted);
    let is_promoted: bool = promote.await.unwrap();
    assert!(is_promoted);
    says(&server, "no standby of this database").await;
    // From here on the two have nothing to do with each other.
    sqlx::query("UPDATE orion.trends SET topic = 'its own'").execute(&mut promoted).await.unwrap();
    let before = reads(&server, "replica").await;
    for _ in 0..10 {
        let query = "query ($id: ID!) { trend(id: $id) { topic } }";
        let found = ada.query(query, json!({ "id": id })).await;
        assert_eq!(found["trend"]["topic"], "the primary's");
        ada.detect_trend("known here only").await;
    }
    assert_eq!(reads(&server, "replica").await, before);
    assert!(server.metrics().await.contains("orion_replica_in_use 0"));
    let changes = changes(&server);
    assert_eq!(changes.last().unwrap(), "no standby of this database", "{changes:#?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_replica_cancels_to_go_on_is_read_from_the_primary() {
    let world = World::new().await;
    let mut replica = PgConnection::connect(&world.replica.url()).await.unwrap();
    // Who reads there gives way at once, and is told so with 40001.
    for set in ["ALTER SYSTEM SET max_standby_streaming_delay = 0", "SELECT pg_reload_conf()"] {
        sqlx::query(set).execute(&mut replica).await.unwrap();
    }
    let server = Server::with(world.settings()).await;
    says(&server, "in use").await;
    let ada = server.editor("ada").await;
    for number in 0..CANCELLED_ROWS {
        ada.detect_trend(&format!("topic {number}")).await;
    }

    // To read them takes a while.
    let mut primary = PgConnection::connect(&world.primary.url()).await.unwrap();
    let large = "UPDATE orion.trends SET raw_data = to_json(repeat('x', 50000))";
    sqlx::query(large).execute(&mut primary).await.unwrap();

    let stop = CancellationToken::new();
    let mut readers = tokio::task::JoinSet::new();
    for _ in 0..READERS {
        let (ada, stop) = (ada.clone(), stop.clone());
        readers.spawn(async move {
            while !stop.is_cancelled() {
                let query = "{ trends(first: 100) { totalCount nodes { id rawData } } }";
                let found = ada.query(query, json!({})).await;
                assert_eq!(found["trends"]["totalCount"], CANCELLED_ROWS);
            }
        });
    }
    eventually("the replica cancels", async || {
        // Leaves old versions of rows that nobody may see any more, and removes them.
        for statement in ["UPDATE orion.trends SET topic = topic", "VACUUM orion.trends"] {
            sqlx::query(statement).execute(&mut primary).await.unwrap();
        }
        let cancelled: i64 = sqlx::query_scalar(
            "SELECT confl_snapshot FROM pg_stat_database_conflicts WHERE datname = current_database()",
        )
        .fetch_one(&mut replica)
        .await
        .unwrap();
        (cancelled >= CANCELLED).then_some(())
    })
    .await;
    stop.cancel();
    while let Some(reader) = readers.join_next().await {
        reader.unwrap();
    }
    says(&server, "in use").await;
    is_read(&server, &ada).await;
}

#[tokio::test]
async fn what_is_no_standby_of_the_primary_is_not_read() {
    let (own, other) = (database().await, database().await);
    for url in [&own.url, &other.url] {
        let settings = Settings::on(&own.url).with("ORION_READ_DATABASE_URL", url);
        let server = Server::with(settings).await;
        says(&server, "no standby of this database").await;
        let ada = server.admin().await;
        ada.query("{ me { id } }", json!({})).await;
        assert_eq!(reads(&server, "replica").await, 0);
    }
}
