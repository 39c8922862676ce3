//! More than the server can do: 1,000 connections that send mutations and queries without a pause.
//!
//! `cargo bench -p orion-api --bench overload -- 300`
//!
//! The argument is for how many seconds; 300 unless given. Each connection detects a trend, then lists the newest
//! 100, and so on; whoever is refused asks at once again, and does not wait as it is told. A row tells of a tenth
//! of the time, of the most memory that the server had at any second of it, and of how often it was not ready.
//! The reference is the first row: 32 connections, which the server bears. Server, PostgreSQL and load share the
//! machine.

#![expect(clippy::unwrap_used, reason = "a bench that cannot run says so and ends")]

mod harness;
#[path = "harness/memory.rs"]
mod memory;

use std::sync::Once;
use std::time::{Duration, Instant};

use hyper::body::Bytes;
use orion_store::testing::TestCluster;
use orion_store::testing::bench::{Load, Report, ratio};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use self::harness::{Connection, Server};
use self::memory::memory_kib;

const CONNECTIONS: usize = 1_000;
const BEARABLE: usize = 32;
const BEARABLE_FOR: Duration = Duration::from_secs(10);
const SECONDS: u64 = 300;
const ROWS: u32 = 10;

const DETECT: &str = "mutation ($input: DetectTrendInput!) { detectTrend(input: $input) { position trend { id } errors { code } } }";
const LIST: &str = "{ trends(first: 100) { nodes { id topic source score detectedAt } } }";

/// What must not be is shown once.
static FIRST_FAILURE: Once = Once::new();

/// A request that was answered.
struct Call {
    /// When, since the load began.
    at: Duration,
    took: Duration,
    answer: Answer,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Answer {
    Accepted,
    Refused,
    /// What must not be.
    Failed,
}

/// What was seen of one run.
struct Seen {
    calls: Vec<Call>,
    looks: Vec<Look>,
}

/// What was seen of the server at one moment.
struct Look {
    at: Duration,
    memory_mib: f64,
    is_ready: bool,
}

#[tokio::main]
async fn main() {
    let seconds = std::env::args().skip(1).find_map(|argument| argument.parse().ok());
    let run_for = Duration::from_secs(seconds.unwrap_or(SECONDS));
    let cluster = TestCluster::durable().await;
    let (server, pid) = Server::start(&cluster.url()).await;
    let mut report = Report::new("overload");

    let borne = run(&server, pid, BEARABLE, BEARABLE_FOR.min(run_for)).await;
    let reference =
        row(&mut report, &borne, BEARABLE, Duration::ZERO..BEARABLE_FOR.min(run_for), None);
    let seen = run(&server, pid, CONNECTIONS, run_for).await;
    let part = run_for / ROWS;
    for number in 0..ROWS {
        let within = part * number..part * (number + 1);
        row(&mut report, &seen, CONNECTIONS, within, Some(reference));
    }
    report.finish();
}

/// Adds what was seen within a time; gives how many requests were accepted in a second.
fn row(
    report: &mut Report,
    seen: &Seen,
    connections: usize,
    within: std::ops::Range<Duration>,
    reference: Option<f64>,
) -> f64 {
    let calls = |wanted: Answer| -> Vec<Duration> {
        let calls = seen.calls.iter().filter(|call| within.contains(&call.at));
        calls.filter(|call| call.answer == wanted).map(|call| call.took).collect()
    };
    let length = within.end.saturating_sub(within.start);
    let [accepted, refused] =
        [Answer::Accepted, Answer::Refused].map(|wanted| Load::of(calls(wanted), length));
    let looks = || seen.looks.iter().filter(|look| within.contains(&look.at));
    let memory_mib = looks().map(|look| look.memory_mib).fold(0.0, f64::max);
    report.row([
        ("connections", json!(connections)),
        ("until, s", json!(within.end.as_secs_f64())),
        ("memory, MiB", json!(memory_mib)),
        ("accepted/s", json!(accepted.per_second)),
        ("of reference", ratio(accepted.per_second, reference.unwrap_or(accepted.per_second))),
        ("p50 ms", json!(accepted.p50_ms)),
        ("p99 ms", json!(accepted.p99_ms)),
        ("RATE_LIMITED/s", json!(refused.per_second)),
        ("its p50 ms", json!(refused.p50_ms)),
        ("its p99 ms", json!(refused.p99_ms)),
        ("failed", json!(calls(Answer::Failed).len())),
        ("not ready", json!(looks().filter(|look| !look.is_ready).count())),
    ]);
    accepted.per_second
}

/// Lets so many connections ask without a pause, and looks at the server meanwhile.
async fn run(server: &Server, pid: u32, connections: usize, run_for: Duration) -> Seen {
    let opened = server.connections(connections).await;
    let began = Instant::now();
    let mut callers = JoinSet::new();
    for connection in opened {
        callers.spawn(ask(connection, began, run_for));
    }
    let mut looks = Vec::new();
    let mut seconds = tokio::time::interval(Duration::from_secs(1));
    while began.elapsed() < run_for {
        seconds.tick().await;
        let (at, memory_mib) = (began.elapsed(), memory_kib(pid) / 1024.0);
        looks.push(Look { at, memory_mib, is_ready: server.is_ready().await });
    }
    let calls = callers.join_all().await.into_iter().flatten().collect();
    Seen { calls, looks }
}

async fn ask(mut connection: Connection, began: Instant, run_for: Duration) -> Vec<Call> {
    let input = json!({ "topic": "a trending topic ".repeat(12), "source": "rss", "score": 0.87 });
    let detect = json!({ "query": DETECT, "variables": { "input": input } });
    let bodies = [detect, json!({ "query": LIST })].map(|body| Bytes::from(body.to_string()));
    let mut calls = Vec::new();
    for body in bodies.iter().cycle() {
        let before = began.elapsed();
        if before >= run_for {
            break;
        }
        let answer = answer(&connection.ask(body.clone()).await);
        let at = began.elapsed();
        calls.push(Call { at, took: at.saturating_sub(before), answer });
    }
    calls
}

fn answer(body: &[u8]) -> Answer {
    let body: Value = serde_json::from_slice(body).unwrap();
    match body.pointer("/errors/0/extensions/code").and_then(Value::as_str) {
        None if body["data"].is_object() => Answer::Accepted,
        Some("RATE_LIMITED") => Answer::Refused,
        Some(_) | None => {
            FIRST_FAILURE.call_once(|| eprintln!("{body}"));
            Answer::Failed
        }
    }
}
