//! Whatever is killed, what was acknowledged is in the log, and the tables are its fold.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use orion_store::embedded::Embedded;
use orion_store::testing::{TestCluster, database};
use serde_json::{Value, json};
use tokio::task::JoinSet;
use uuid::Uuid;

use crate::client::Client;
use crate::eventually::{eventually, within};
use crate::log::Records;
use crate::people::id_at;
use crate::server::Server;

/// The clients that write at once.
const WRITERS: usize = 8;

/// How many answers there are when the axe falls.
const ACKNOWLEDGED_BEFORE: usize = 80;

/// What a writer was told, and what it does not know about.
#[derive(Default)]
struct Told {
    /// Position and trend of each answer.
    acknowledged: Vec<(i64, String)>,
    /// The command that was not answered.
    open: Option<Value>,
}

/// Clients that detect trends until they get no answer, and the count of their answers.
struct Load {
    writers: JoinSet<Told>,
    answers: Arc<AtomicUsize>,
}

impl Load {
    fn start(client: &Client) -> Self {
        let answers = Arc::new(AtomicUsize::new(0));
        let mut writers = JoinSet::new();
        for number in 0..WRITERS {
            writers.spawn(write(client.clone(), number, answers.clone()));
        }
        Self { writers, answers }
    }

    /// Waits until there have been this many answers.
    async fn has_answers(&self, count: usize) {
        let answers = || self.answers.load(Ordering::Relaxed);
        eventually("answers", async || (answers() >= count).then_some(())).await;
    }
}

fn command(number: usize, round: usize) -> Value {
    let topic = format!("topic {round} of writer {number}");
    json!({ "topic": topic, "source": "s", "score": 0.5, "commandId": Uuid::new_v4() })
}

async fn detect(client: &Client, input: &Value) -> Option<(i64, String)> {
    let answer = client.try_mutate("detectTrend", input.clone(), "trend { id }").await.ok()?;
    let payload = answer.ok()?;
    assert_eq!(payload.code(), None, "{:#}", payload.0);
    // The trend may not be in the read model yet: the log has its id at the position.
    let trend_id = payload.0.pointer("/trend/id").and_then(Value::as_str).unwrap_or_default();
    Some((payload.position(), trend_id.to_owned()))
}

async fn write(client: Client, number: usize, answers: Arc<AtomicUsize>) -> Told {
    let mut told = Told::default();
    for round in 0.. {
        let input = command(number, round);
        let Some(acknowledged) = detect(&client, &input).await else {
            told.open = Some(input);
            break;
        };
        told.acknowledged.push(acknowledged);
        answers.fetch_add(1, Ordering::Relaxed);
    }
    told
}

/// Everything that was acknowledged is there, once, in a log without a gap; what was not answered
/// is done once when it is sent again.
async fn assert_nothing_lost(records: &Records, client: &Client, told: Vec<Told>) {
    let acknowledged: usize = told.iter().map(|told| told.acknowledged.len()).sum();
    assert!(acknowledged >= ACKNOWLEDGED_BEFORE);
    for told in told {
        for (position, trend_id) in told.acknowledged {
            assert!(records.has(position, &trend_id).await, "{trend_id} is not at {position}");
        }
        let Some(open) = told.open else { continue };
        let (position, trend_id) = detect(client, &open).await.expect("an answer");
        assert!(records.has(position, &trend_id).await, "{trend_id} is not at {position}");
        let times: i64 =
            sqlx::query_scalar("SELECT count(*) FROM events WHERE metadata ->> 'command_id' = $1")
                .bind(open["commandId"].as_str())
                .fetch_one(&records.pool)
                .await
                .unwrap();
        assert_eq!(times, 1, "sent twice, done {times} times");
    }
    records.assert_in_order().await;
    records.assert_projected().await;
}

#[tokio::test]
async fn a_killed_server_loses_nothing_that_it_acknowledged() {
    let database = database().await;
    let server = Server::start(&database.url).await;
    let ada = server.editor("ada").await;
    let load = Load::start(&ada);
    load.has_answers(ACKNOWLEDGED_BEFORE).await;
    let killed = server.kill9().await;
    let told = load.writers.join_all().await;

    let server = killed.start_again().await;
    let records = Records::of(&database.url).await;
    // The same token: the keys are in the data directory, the session in the log.
    assert_nothing_lost(&records, &ada.at(server.url()), told).await;
}

#[tokio::test]
async fn a_killed_server_finds_its_embedded_database_again() {
    let server = Server::start_embedded().await;
    let ada = server.editor("ada").await;
    let postmaster = server.data_dir().postmaster().unwrap();
    let load = Load::start(&ada);
    load.has_answers(ACKNOWLEDGED_BEFORE).await;
    let killed = server.kill9().await;
    let told = load.writers.join_all().await;
    assert!(is_alive(postmaster), "nobody stopped the postmaster");

    let server = killed.start_again().await;
    assert_eq!(server.data_dir().postmaster(), Some(postmaster), "it was adopted");
    let url = Embedded::running_url(&server.data_dir().orion()).await.unwrap().unwrap();
    let records = Records::of(&url).await;
    assert_nothing_lost(&records, &ada.at(server.url()), told).await;
    records.pool.close().await;

    let (ended, _stopped) = server.terminate().await;
    assert!(ended.status.success(), "{ended:?}");
    assert!(!is_alive(postmaster), "the postmaster lives on");
}

fn is_alive(pid: i32) -> bool {
    let stat = std::fs::read_to_string(Path::new("/proc").join(pid.to_string()).join("stat"));
    stat.is_ok_and(|stat| stat.contains("(postgres)") && !stat.contains(") Z "))
}

/// How long a server may take to say that it cannot.
const FAILS_WITHIN: Duration = Duration::from_secs(15);

#[tokio::test]
async fn a_killed_postgresql_loses_nothing_and_the_server_goes_on() {
    let cluster = TestCluster::start().await;
    let server = Server::start(&cluster.url()).await;
    let ada = server.editor("ada").await;
    let mut watching = ada
        .subscribe("subscription { trendChanged { position trend { topic } } }", json!({}))
        .await;
    let load = Load::start(&ada);
    load.has_answers(ACKNOWLEDGED_BEFORE).await;
    cluster.kill9().await;
    let told = tokio::time::timeout(FAILS_WITHIN, load.writers.join_all()).await;
    let told = told.expect("every request is answered although the database is gone");

    // It says so, and says it soon.
    let down = async || (server.ready().await == 503).then_some(());
    within(FAILS_WITHIN, down).await.expect("the server is not ready");
    let answer = ada.ask("{ trends { totalCount } }", json!({})).await;
    answer.fails("INTERNAL");
    let trace_id = id_at(&answer.0, "/errors/0/extensions/traceId");
    assert!(server.stderr().contains(&trace_id), "the log line of {trace_id} is missing");
    let login = json!({ "input": { "email": "ada@example.org", "password": "x" } });
    let query = crate::client::mutation("login", "accessToken");
    server.anonymous().ask(&query, login).await.fails("INTERNAL");
    assert_eq!(server.status_of("/health/live").await, 200, "it lives, it only cannot work");

    cluster.start_again().await;
    server.until_ready().await;
    let records = Records::of(&cluster.url()).await;
    assert_nothing_lost(&records, &ada, told).await;
    let after = json!({ "topic": "after", "source": "s", "score": 0.5 });
    ada.mutate("detectTrend", after, "").await.done();
    // Who watched either goes on without a gap or was told that it ended, never neither.
    let mut last = 0;
    while let Some(answer) = watching.next().await {
        let Some(change) = answer.0.pointer("/data/trendChanged") else {
            answer.fails("INTERNAL");
            break;
        };
        let position = crate::client::position(&change["position"]);
        assert!(position > last, "{position} after {last}");
        last = position;
        if change["trend"]["topic"] == "after" {
            break;
        }
    }
}
