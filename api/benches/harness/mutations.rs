//! Load of mutations, each answered when the tables show it.

#![expect(clippy::unwrap_used, reason = "a bench that cannot run says so and ends")]

use std::time::Duration;

use orion_store::testing::bench::{Load, load};
use serde_json::{Value, json};

use crate::harness::Connection;

const DETECT: &str = "mutation ($input: DetectTrendInput!) { detectTrend(input: $input) { position projected trend { id } errors { code } } }";
const DRAFT: &str = "mutation ($input: DraftContentInput!) { draftContent(input: $input) { position projected content { id } errors { code } } }";
const EDIT: &str = "mutation ($input: EditContentInput!) { editContent(input: $input) { position projected content { id title } errors { code } } }";

/// `detectTrend`, which begins a stream, over and over on each connection.
pub async fn detect(connections: Vec<Connection>, run_for: Duration) -> Load {
    load(connections, run_for, |mut connection: Connection| async move {
        assert!(detect_one(&mut connection).await, "the tables stand");
        connection
    })
    .await
}

/// `detectTrend` once. Says whether the tables show it.
pub async fn detect_one(connection: &mut Connection) -> bool {
    let input = json!({ "topic": "a trending topic ".repeat(12), "source": "rss", "score": 0.87 });
    let data = connection.data(DETECT, json!({ "input": input })).await;
    let payload = &data["detectTrend"];
    assert_eq!(payload["errors"], json!([]), "{data}");
    payload["projected"] == true
}

/// `editContent`, which goes on with a stream; each connection has its own.
pub async fn edit(connections: Vec<Connection>, run_for: Duration) -> Load {
    // At the same time, so that none is idle for so long that the server closes it.
    let drafting = connections.into_iter().map(|mut connection| async {
        let content = draft(&mut connection).await;
        (connection, content, 0_u32)
    });
    let callers = futures::future::join_all(drafting).await;
    load(callers, run_for, |(mut connection, id, turn): (Connection, Value, u32)| async move {
        let input = json!({ "contentId": id, "title": format!("Title {turn}") });
        done(&mut connection, EDIT, &input).await;
        (connection, id, turn + 1)
    })
    .await
}

/// The id of a new content.
pub async fn draft(connection: &mut Connection) -> Value {
    let input = json!({ "topic": "a topic", "source": "rss", "score": 0.5 });
    let made = done(connection, DETECT, &input).await;
    let input = json!({ "trendId": made["detectTrend"]["trend"]["id"], "title": "A title" });
    done(connection, DRAFT, &input).await["draftContent"]["content"]["id"].take()
}

/// Sends a mutation that is done, and shown.
async fn done(connection: &mut Connection, query: &str, input: &Value) -> Value {
    let data = connection.data(query, json!({ "input": input })).await;
    let payload = data.as_object().and_then(|data| data.values().next()).unwrap();
    assert_eq!((&payload["errors"], &payload["projected"]), (&json!([]), &json!(true)), "{data}");
    data
}
