//! Load of queries that ask for one content after the other.

use std::time::Duration;

use hyper::body::Bytes;
use orion_store::testing::bench::{Load, load};
use serde::Serialize;
use serde_json::json;

use crate::harness::{Connection, Server};

/// Q1: one content, 8 fields.
pub const CONTENT_BY_ID: &str = "query ($id: ID!) { content(id: $id) { id title hook scriptBody visualPrompts status createdAt updatedAt } }";

/// The query about each of the contents in turn, over and over on each connection.
pub async fn ask_in_turn(
    connections: Vec<Connection>,
    run_for: Duration,
    query: &str,
    contents: &[impl Serialize],
) -> Load {
    let bodies: Vec<Bytes> = contents
        .iter()
        .map(|id| json!({ "query": query, "variables": { "id": id } }).to_string().into())
        .collect();
    let bodies: &'static [Bytes] = bodies.leak();
    let callers = connections.into_iter().enumerate();
    load(callers, run_for, move |(turn, mut connection): (usize, Connection)| async move {
        let answer = connection.ask(bodies[turn % bodies.len()].clone()).await;
        assert!(!answer.starts_with(b"{\"errors\""));
        (turn + 1, connection)
    })
    .await
}

/// Waits until the server has nothing else to do than to answer.
pub async fn until_sealed(server: &Server) {
    let mut connection = server.connections(1).await.remove(0);
    loop {
        let log = connection.data("{ log { head sealedSize } }", json!({})).await;
        if log["log"]["head"] == log["log"]["sealedSize"] {
            return;
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}
