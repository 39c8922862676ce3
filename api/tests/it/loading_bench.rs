//! How fast the hottest tree is read as one statement, and how fast step by step by the loader.
//!
//! `cargo test -p orion-api --test it -- --ignored --nocapture loading_bench`

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use orion_store::testing::database;
use serde_json::{Value, json};

use crate::client::Client;
use crate::server::{Server, Settings};

const CONNECTIONS: usize = 32;
const ROUND: Duration = Duration::from_secs(5);
const ROUNDS: usize = 3;

const TREE: &str = "contents(first: 20) { nodes { id title status createdAt trend { id topic score } createdBy { id name }
    mediaAssets(first: 5) { nodes { id assetType filePath } } pipelineRuns(first: 5) { nodes { id stage status } } } }";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement"]
async fn the_newest_contents_with_what_belongs_to_them() {
    let database = database().await;
    let settings = Settings::on(&database.url).with("ORION_DATABASE_POOL", "32");
    let server = Server::with(settings).await;
    let ada = server.editor("ada").await;
    let trend = ada.detect_trend("topic").await;
    for _ in 0..20 {
        let content = ada.draft_content(&trend, "title").await;
        for file in 0..5 {
            let asset = json!({ "contentId": content, "assetType": "IMAGE", "provider": "p", "filePath": file.to_string() });
            ada.mutate("attachMediaAsset", asset, "").await.done();
        }
        let input = json!({ "contentId": content, "stages": ["a", "b", "c", "d", "e"] });
        ada.mutate("startGeneration", input, "").await.done();
    }
    // Below `node` nothing is planned.
    let planned = format!("query ($id: ID!) {{ trend(id: $id) {{ {TREE} }} }}");
    let loaded =
        format!("query ($id: ID!) {{ trend: node(id: $id) {{ ... on Trend {{ {TREE} }} }} }}");
    let variables = json!({ "id": trend });
    assert_eq!(
        ada.query(&planned, variables.clone()).await,
        ada.query(&loaded, variables.clone()).await
    );
    let (mut best_planned, mut best_loaded): (f64, f64) = (0.0, 0.0);
    for _ in 0..ROUNDS {
        best_planned = best_planned.max(rate(&ada, &planned, &variables).await);
        best_loaded = best_loaded.max(rate(&ada, &loaded, &variables).await);
    }
    let ratio = best_planned / best_loaded;
    println!(
        "one statement {best_planned:.0}/s, by the loader {best_loaded:.0}/s: {ratio:.2} times"
    );
}

/// Requests in a second by all connections, each asking again as soon as it is answered.
async fn rate(client: &Client, query: &str, variables: &Value) -> f64 {
    let (answered, began) = (AtomicUsize::new(0), Instant::now());
    let ask = async || {
        while began.elapsed() < ROUND {
            client.query(query, variables.clone()).await;
            answered.fetch_add(1, Ordering::Relaxed);
        }
    };
    futures::future::join_all((0..CONNECTIONS).map(|_| ask())).await;
    let answered = u32::try_from(answered.into_inner()).unwrap();
    f64::from(answered) / began.elapsed().as_secs_f64()
}
