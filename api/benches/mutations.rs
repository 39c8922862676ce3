//! Mutations over HTTP, read-your-writes included, from 1 and 32 connections.
//!
//! `cargo bench -p orion-api --bench mutations`
//!
//! `detectTrend` begins a stream; `editContent` goes on with one, each connection with its own. The answer comes
//! when the tables show the change. The reference is the bare append of one event by as many callers in the
//! same run on the same PostgreSQL, by another process than the server's.

#![expect(clippy::unwrap_used, reason = "a bench that cannot run says so and ends")]

mod harness;

use std::time::Duration;

use orion_store::Log;
use orion_store::testing::bench::{Load, Report, append_one, load, ratio};
use orion_store::testing::{self, TestCluster};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use self::harness::{Connection, Server};

const CONNECTIONS: [usize; 2] = [1, 32];
const RUN_FOR: Duration = Duration::from_secs(5);
/// Each way has as many turns, and its best one counts.
const ROUNDS: usize = 2;

const DETECT: &str = "mutation ($input: DetectTrendInput!) { detectTrend(input: $input) { position projected trend { id } errors { code } } }";
const EDIT: &str = "mutation ($input: EditContentInput!) { editContent(input: $input) { position projected content { id title } errors { code } } }";

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
                detect(&server, connections).await,
                edit(&server, connections).await,
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

async fn detect(server: &Server, connections: usize) -> Load {
    let callers = server.connections(connections).await;
    load(callers, RUN_FOR, |mut connection: Connection| async move {
        let input =
            json!({ "topic": "a trending topic ".repeat(12), "source": "rss", "score": 0.87 });
        done(&mut connection, DETECT, &input).await;
        connection
    })
    .await
}

async fn edit(server: &Server, connections: usize) -> Load {
    let mut callers = Vec::new();
    for mut connection in server.connections(connections).await {
        let input = json!({ "topic": "a topic", "source": "rss", "score": 0.5 });
        let made = done(&mut connection, DETECT, &input).await;
        let input = json!({ "trendId": made["detectTrend"]["trend"]["id"], "title": "A title" });
        let draft = "mutation ($input: DraftContentInput!) { draftContent(input: $input) { position projected content { id } errors { code } } }";
        let made = done(&mut connection, draft, &input).await;
        callers.push((connection, made["draftContent"]["content"]["id"].clone(), 0_u32));
    }
    load(callers, RUN_FOR, |(mut connection, id, turn): (Connection, Value, u32)| async move {
        let input = json!({ "contentId": id, "title": format!("Title {turn}") });
        done(&mut connection, EDIT, &input).await;
        (connection, id, turn + 1)
    })
    .await
}

/// Sends a mutation that is done, and shown.
async fn done(connection: &mut Connection, query: &str, input: &Value) -> Value {
    let data = connection.data(query, json!({ "input": input })).await;
    let payload = data.as_object().and_then(|data| data.values().next()).unwrap();
    assert_eq!((&payload["errors"], &payload["projected"]), (&json!([]), &json!(true)), "{data}");
    data
}

async fn append(log: &Log, callers: usize) -> Load {
    let callers = std::iter::repeat_n(log.clone(), callers);
    load(callers, RUN_FOR, |log: Log| async move {
        append_one(&log).await;
        log
    })
    .await
}
