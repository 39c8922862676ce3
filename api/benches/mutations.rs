//! Mutations over HTTP, read-your-writes included, from 1 and 32 connections.
//!
//! `cargo bench -p orion-api --bench mutations`
//!
//! `detectTrend` begins a stream; `editContent` goes on with one, each connection with its own. The answer comes
//! when the tables show the change. The reference is the bare append of one event by as many callers in the
//! same run on the same PostgreSQL, by another process than the server's.

#![expect(clippy::unwrap_used, reason = "a bench that cannot run says so and ends")]

mod harness;
#[path = "harness/mutations.rs"]
mod mutations;

use std::time::Duration;

use orion_store::Log;
use orion_store::testing::bench::{Load, Report, append_one, load, ratio};
use orion_store::testing::{self, TestCluster};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use self::harness::Server;
use self::mutations::{detect, edit};

const CONNECTIONS: [usize; 2] = [1, 32];
const RUN_FOR: Duration = Duration::from_secs(5);
/// Each way has as many turns, and its best one counts.
const ROUNDS: usize = 2;

#[tokio::main]
async fn main() {
    let cluster = TestCluster::durable().await;
    let (server, _) = Server::start(&cluster.url()).await;
    let pool = orion_store::connect(&cluster.url(), 4).await.unwrap();
    let log = testing::log(pool, CancellationToken::new()).await;
    let mut report = Report::new("mutations");
    for connections in CONNECTIONS {
        let mut best = [Load::default(); 3];
        for _ in 0..ROUNDS {
            let round = [
                detect(server.connections(connections).await, RUN_FOR).await,
                edit(server.connections(connections).await, RUN_FOR).await,
                append(&log, connections).await,
            ];
            for (best, load) in best.iter_mut().zip(round) {
                *best = best.or_better(load);
            }
        }
        for (name, load) in ["detectTrend", "editContent", "bare append"].iter().zip(best) {
            report.row([
                ("connections", json!(connections)),
                ("what", json!(name)),
                ("requests/s", json!(load.per_second)),
                ("p50 ms", json!(load.p50_ms)),
                ("p99 ms", json!(load.p99_ms)),
                ("p50 of bare", ratio(load.p50_ms, best[2].p50_ms)),
            ]);
        }
    }
    report.finish();
}

async fn append(log: &Log, callers: usize) -> Load {
    let callers = std::iter::repeat_n(log.clone(), callers);
    load(callers, RUN_FOR, |log: Log| async move {
        append_one(&log).await;
        log
    })
    .await
}
