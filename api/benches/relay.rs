//! How long after its append an event comes out of JetStream, while so many are appended in a second.
//!
//! `cargo bench -p orion-api --bench relay`; it needs `nats-server`.
//!
//! Events arrive at their times, whether those before were answered or not. The log, the relay, the consumer, PostgreSQL,
//! whose commits are on the disk, and NATS, which leaves them to the system, share the machine.

#![expect(clippy::unwrap_used, reason = "a bench that cannot run says so and ends")]

use std::net::TcpListener;
use std::process::Stdio;
use std::time::{Duration, Instant};

use async_nats::jetstream;
use async_nats::jetstream::consumer::push::OrderedConfig;
use futures::StreamExt as _;
use orion_api::relay::{NatsServers, Relay};
use orion_store::testing::bench::{Load, Report, append_one};
use orion_store::testing::{self, TestCluster};
use orion_store::{Log, Position};
use serde_json::json;
use tempfile::TempDir;
use tokio::process::{Child, Command};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{interval, sleep, timeout};
use tokio_util::sync::CancellationToken;

const RATES: [u32; 3] = [500, 2_000, 5_000];
const RUN_FOR: Duration = Duration::from_secs(10);
const PATIENCE: Duration = Duration::from_mins(1);

#[tokio::main]
async fn main() {
    let (url, _nats, _store) = start_nats();
    let cluster = TestCluster::durable().await;
    let stop = CancellationToken::new();
    let pool = orion_store::connect(&cluster.url(), 20).await.unwrap();
    let log = testing::log(pool, stop.clone()).await;
    let (relay, _) = Relay::new(log.clone(), NatsServers::parse(&url).unwrap());
    tokio::spawn(relay.run(stop.clone()));
    let arrived = consume(&url).await;

    let mut report = Report::new("relay");
    run(&log, &arrived, RATES[0], Duration::from_secs(2)).await; // warms up
    for rate in RATES {
        let began = Instant::now();
        let (appends, lags) = run(&log, &arrived, rate, RUN_FOR).await;
        let took = began.elapsed();
        let (append, lag) = (Load::of(appends, took), Load::of(lags, took));
        report.row([
            ("events/s wanted", json!(rate)),
            ("events/s", json!(lag.per_second)),
            ("append p50 ms", json!(append.p50_ms)),
            ("append p99 ms", json!(append.p99_ms)),
            ("relay lag p50 ms", json!(lag.p50_ms)),
            ("relay lag p99 ms", json!(lag.p99_ms)),
        ]);
    }
    report.finish();
    stop.cancel();
}

/// A NATS with JetStream, and where it is.
fn start_nats() -> (String, Child, TempDir) {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let store = tempfile::tempdir().unwrap();
    let path = format!("{}:/usr/sbin", std::env::var("PATH").unwrap_or_default());
    let nats = Command::new("nats-server")
        .env("PATH", path)
        .args(["-js", "-a", "127.0.0.1", "-p", &port.to_string(), "-sd"])
        .arg(store.path())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    (format!("nats://127.0.0.1:{port}"), nats, store)
}

/// Reads the stream from its beginning; gives the newest position that has arrived.
async fn consume(url: &str) -> watch::Receiver<Position> {
    let stream = async {
        loop {
            if let Ok(client) = async_nats::connect(url).await
                && let Ok(stream) = jetstream::new(client.clone()).get_stream("ORION").await
            {
                return (client, stream);
            }
            sleep(Duration::from_millis(50)).await;
        }
    };
    let (client, stream) = timeout(PATIENCE, stream).await.unwrap();
    let config = OrderedConfig { deliver_subject: client.new_inbox(), ..OrderedConfig::default() };
    let mut messages = stream.create_consumer(config).await.unwrap().messages().await.unwrap();
    let (arrived, receiver) = watch::channel(Position::START);
    tokio::spawn(async move {
        while let Some(message) = messages.next().await {
            let number = message.unwrap().info().unwrap().stream_sequence;
            arrived.send_replace(Position(number.cast_signed()));
        }
    });
    receiver
}

/// How long each append took, and how long after it the consumer had it.
async fn run(
    log: &Log,
    arrived: &watch::Receiver<Position>,
    rate: u32,
    run_for: Duration,
) -> (Vec<Duration>, Vec<Duration>) {
    let (mut tasks, mut ticks) = (JoinSet::new(), interval(Duration::from_millis(1)));
    let (began, mut sent) = (Instant::now(), 0);
    while began.elapsed() < run_for {
        ticks.tick().await;
        while f64::from(sent) < began.elapsed().as_secs_f64() * f64::from(rate) {
            tasks.spawn(one(log.clone(), arrived.clone()));
            sent += 1;
        }
    }
    tasks.join_all().await.into_iter().unzip()
}

async fn one(log: Log, mut arrived: watch::Receiver<Position>) -> (Duration, Duration) {
    let began = Instant::now();
    let appended = append_one(&log).await;
    let took = began.elapsed();
    let began = Instant::now();
    let has = arrived.wait_for(|position| *position >= appended.last);
    timeout(PATIENCE, has).await.unwrap().unwrap();
    (took, began.elapsed())
}
