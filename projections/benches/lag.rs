//! How long after its append an event is in the tables, while so many arrive in a second.
//!
//! `cargo bench -p orion-projections --bench lag`
//!
//! Events arrive at their times, whether those before were answered or not. The log, the projector and PostgreSQL,
//! whose commits are on the disk, share the machine.

#![expect(clippy::unwrap_used, reason = "a bench that cannot run says so and ends")]

use std::time::{Duration, Instant};

use orion_projections::{Progress, Projector};
use orion_store::Log;
use orion_store::testing::bench::{Load, Report, append_one};
use orion_store::testing::{self, TestCluster};
use serde_json::json;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

const RATES: [u32; 3] = [500, 2_000, 5_000];
const RUN_FOR: Duration = Duration::from_secs(10);
const PATIENCE: Duration = Duration::from_mins(1);

#[tokio::main]
async fn main() {
    let cluster = TestCluster::durable().await;
    let stop = CancellationToken::new();
    let pool = orion_store::connect(&cluster.url(), 20).await.unwrap();
    let log = testing::log(pool.clone(), stop.clone()).await;
    let (projector, progress) = Projector::new(log.clone());
    tokio::spawn(projector.run(stop.clone()));
    let (projector, _) = Projector::of_notifications(log.clone());
    tokio::spawn(projector.run(stop.clone()));

    let mut report = Report::new("lag");
    run(&log, &progress, RATES[0], Duration::from_secs(2)).await; // warms up
    for rate in RATES {
        let began = Instant::now();
        let (appends, lags) = run(&log, &progress, rate, RUN_FOR).await;
        let took = began.elapsed();
        let (append, lag) = (Load::of(appends, took), Load::of(lags, took));
        report.row([
            ("events/s wanted", json!(rate)),
            ("events/s", json!(lag.per_second)),
            ("append p50 ms", json!(append.p50_ms)),
            ("append p99 ms", json!(append.p99_ms)),
            ("lag p50 ms", json!(lag.p50_ms)),
            ("lag p99 ms", json!(lag.p99_ms)),
        ]);
    }
    report.finish();
    stop.cancel();
}

/// How long each append took, and how long after it the tables showed it.
async fn run(
    log: &Log,
    progress: &Progress,
    rate: u32,
    run_for: Duration,
) -> (Vec<Duration>, Vec<Duration>) {
    let (mut tasks, mut ticks) = (JoinSet::new(), tokio::time::interval(Duration::from_millis(1)));
    let (began, mut sent) = (Instant::now(), 0);
    while began.elapsed() < run_for {
        ticks.tick().await;
        while f64::from(sent) < began.elapsed().as_secs_f64() * f64::from(rate) {
            tasks.spawn(one(log.clone(), progress.clone()));
            sent += 1;
        }
    }
    tasks.join_all().await.into_iter().unzip()
}

async fn one(log: Log, progress: Progress) -> (Duration, Duration) {
    let began = Instant::now();
    let appended = append_one(&log).await;
    let took = began.elapsed();
    let began = Instant::now();
    assert!(progress.reached(appended.last, PATIENCE).await, "{:?}", progress.now());
    (took, began.elapsed())
}
