//! How fast the tree that clients ask for most is answered: the newest 20 contents, each with its trend,
//! its creator, 5 assets and 5 runs, for 32 who ask at the same time.
//!
//! `cargo bench -p orion-api --bench loading`
//!
//! Three ways in one run on the same PostgreSQL: as the schema plans it, one statement for all; by the
//! loader, a statement for each level and table; and the best statement by hand, whose text is the answer.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a bench that cannot run says so and ends"
)]

#[path = "../tests/it/in_process.rs"]
mod in_process;

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use futures::future::join_all;
use orion_store::testing;
use serde_json::{Value, json};
use sqlx::PgPool;
use uuid::Uuid;

use self::in_process::InProcess;

const CALLERS: usize = 32;
const CONNECTIONS: u32 = 16;
const RUN_FOR: Duration = Duration::from_secs(5);
const ROUNDS: usize = 2;

const TREE: &str = "contents(first: 20) { nodes { id title status createdAt trend { id topic score } createdBy { id name }
    mediaAssets(first: 5) { nodes { id assetType filePath } } pipelineRuns(first: 5) { nodes { id stage status } } } }";

const BY_HAND: &str = "SELECT json_agg(json_build_object(
        'id', c.id, 'title', c.title, 'status', c.status, 'createdAt', c.created_at,
        'trend', (SELECT json_build_object('id', t.id, 'topic', t.topic, 'score', t.score)
                  FROM orion.trends t WHERE t.id = c.trend_id),
        'createdBy', (SELECT json_build_object('id', u.id, 'name', u.name)
                      FROM orion.users u WHERE u.id = c.created_by),
        'mediaAssets', (SELECT json_agg(json_build_object('id', m.id, 'assetType', m.asset_type, 'filePath', m.file_path))
                        FROM (SELECT * FROM orion.media_assets m WHERE m.content_id = c.id
                              ORDER BY m.created_at, m.id LIMIT 5) m),
        'pipelineRuns', (SELECT json_agg(json_build_object('id', r.id, 'stage', r.stage, 'status', r.status))
                         FROM (SELECT * FROM orion.pipeline_runs r WHERE r.content_id = c.id
                               ORDER BY r.id LIMIT 5) r)))::text
    FROM (SELECT * FROM orion.contents WHERE trend_id = $1 ORDER BY created_at DESC, id DESC LIMIT 20) c";

#[tokio::main(worker_threads = 2)]
async fn main() {
    let cluster = testing::TestCluster::start().await;
    let orion = InProcess::new(&cluster.url(), CONNECTIONS).await;
    let trend = fill(&orion).await;
    let pool = orion_store::connect_to_read(&cluster.url(), CONNECTIONS, RUN_FOR).await.unwrap();

    // Below `node` nothing is planned.
    let planned = format!("query ($id: ID!) {{ trend(id: $id) {{ {TREE} }} }}");
    let loaded =
        format!("query ($id: ID!) {{ trend: node(id: $id) {{ ... on Trend {{ {TREE} }} }} }}");
    let variables = json!({ "id": trend });
    let answer = orion.data(&planned, variables.clone()).await;
    assert_eq!(answer, orion.data(&loaded, variables.clone()).await);
    let text: Value = serde_json::from_str(&by_hand(&pool, trend).await).unwrap();
    let nodes = answer["trend"]["contents"]["nodes"].as_array().unwrap();
    assert_eq!((nodes.len(), text.as_array().unwrap().len()), (20, 20));

    let mut best = [0.0_f64; 3];
    for _ in 0..ROUNDS {
        let rates = [
            rate(async || drop(orion.ask(&planned, variables.clone()).await)).await,
            rate(async || drop(orion.ask(&loaded, variables.clone()).await)).await,
            rate(async || drop(by_hand(&pool, trend).await)).await,
        ];
        for (best, rate) in best.iter_mut().zip(rates) {
            *best = best.max(rate);
        }
    }
    println!("{:<22} {:>10} {:>10}", "", "requests/s", "ratio");
    for (name, rate) in ["planned", "by the loader", "a statement by hand"].iter().zip(best) {
        println!("{name:<22} {rate:>10.0} {:>10.2}", rate / best[0]);
    }
}

/// Makes contents of one trend, twice as many as are read.
async fn fill(orion: &InProcess) -> Uuid {
    let input = json!({ "topic": "a topic", "source": "rss", "score": 0.5 });
    let trend = made(orion, "detectTrend", "DetectTrendInput", "trend", input).await;
    let contents = (0..40).map(|number| async move {
        let input = json!({ "trendId": trend, "title": format!("title {number}") });
        let content = made(orion, "draftContent", "DraftContentInput", "content", input).await;
        for file in 0..5 {
            let input = json!({ "contentId": content, "assetType": "IMAGE", "provider": "p", "filePath": file.to_string() });
            made(orion, "attachMediaAsset", "AttachMediaAssetInput", "mediaAsset", input).await;
        }
        let input = json!({ "contentId": content, "stages": ["a", "b", "c", "d", "e"] });
        made(orion, "startGeneration", "StartGenerationInput", "content", input).await;
    });
    join_all(contents).await;
    trend
}

/// Runs a mutation: the id of what it has made.
async fn made(orion: &InProcess, field: &str, input_type: &str, noun: &str, input: Value) -> Uuid {
    let query = format!(
        "mutation ($input: {input_type}!) {{ {field}(input: $input) {{ {noun} {{ id }} }} }}"
    );
    let answer = orion.data(&query, json!({ "input": input })).await;
    answer[field][noun]["id"].as_str().expect("it was done").parse().unwrap()
}

async fn by_hand(pool: &PgPool, trend: Uuid) -> String {
    sqlx::query_scalar(BY_HAND).bind(trend).fetch_one(pool).await.unwrap()
}

/// Requests in a second by all callers, each asking again as soon as it is answered.
async fn rate(ask: impl AsyncFn()) -> f64 {
    let (answered, began) = (AtomicU32::new(0), Instant::now());
    let one = async || {
        while began.elapsed() < RUN_FOR {
            ask().await;
            answered.fetch_add(1, Ordering::Relaxed);
        }
    };
    join_all((0..CALLERS).map(|_| one())).await;
    f64::from(answered.into_inner()) / began.elapsed().as_secs_f64()
}
