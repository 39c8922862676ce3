//! Appends of new streams with one event each: Orion's group commit against single-row INSERTs
//! into a table of the same shape, in one run on the same PostgreSQL.
//!
//! `cargo bench -p orion-store --bench append`

#![expect(clippy::expect_used, reason = "a bench that cannot run says so and ends")]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use orion_domain::values::{Score, Source, Topic};
use orion_domain::{Trend, TrendEvent};
use orion_store::{Commit, Keys, Log, MasterKeys, Metadata, testing};
use sqlx::PgPool;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

const CALLERS: [u64; 3] = [1, 32, 128];
const RUN_FOR: Duration = Duration::from_secs(4);

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let cluster = testing::TestCluster::start().await;
    let owner = PgPool::connect(&cluster.url()).await?;
    sqlx::query("CREATE TABLE plain (LIKE events INCLUDING ALL)").execute(&owner).await?;
    sqlx::query("GRANT INSERT ON plain TO orion_app").execute(&owner).await?;
    sqlx::query("CREATE SEQUENCE plain_position").execute(&owner).await?;
    sqlx::query("GRANT USAGE ON SEQUENCE plain_position TO orion_app").execute(&owner).await?;
    let pool = orion_store::connect(&cluster.url(), 64).await?;
    let keys = Keys::load(&pool, MasterKeys::new(&[7; 32], &[])).await?;
    let log = Log::open(pool.clone(), keys, CancellationToken::new()).await?;

    println!("{:>8} {:>14} {:>14} {:>7}", "callers", "append/s", "INSERT/s", "ratio");
    for callers in CALLERS {
        let (log, pool) = (log.clone(), pool.clone());
        let append = rate(callers, move || append_one(log.clone())).await;
        let insert = rate(callers, move || insert_one(pool.clone())).await;
        println!("{callers:>8} {append:>14.0} {insert:>14.0} {:>7.2}", append / insert);
    }
    Ok(())
}

/// Calls per second of so many callers at once.
async fn rate<F: Future<Output = ()> + Send + 'static>(
    callers: u64,
    call: impl Fn() -> F + Clone + Send + 'static,
) -> f64 {
    let done = Arc::new(AtomicU64::new(0));
    let start = Instant::now();
    let tasks: Vec<_> = (0..callers)
        .map(|_| {
            let (call, done) = (call.clone(), done.clone());
            tokio::spawn(async move {
                while start.elapsed() < RUN_FOR {
                    call().await;
                    done.fetch_add(1, Ordering::Relaxed);
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.expect("a caller does not panic");
    }
    #[expect(clippy::cast_precision_loss, reason = "a rate needs no more than 52 bits")]
    let done = done.load(Ordering::Relaxed) as f64;
    done / start.elapsed().as_secs_f64()
}

fn event() -> TrendEvent {
    TrendEvent::Detected {
        topic: Topic::parse(&"a trending topic ".repeat(12)).expect("not too long"),
        source: Source::parse("rss").expect("not empty"),
        score: Score::parse(0.87).expect("within bounds"),
        raw_data: None,
    }
}

fn metadata() -> Metadata {
    [("actor", Uuid::now_v7()), ("command_id", Uuid::now_v7())]
        .into_iter()
        .map(|(key, value)| (key.to_owned(), value.to_string()))
        .collect()
}

async fn append_one(log: Log) {
    let mut commit = Commit::new(metadata());
    commit.append::<Trend>(Uuid::now_v7(), 0, &[event()]).expect("the event is JSON");
    log.append(commit).await.expect("a new stream");
}

async fn insert_one(pool: PgPool) {
    let event = event();
    sqlx::query(
        "INSERT INTO plain VALUES (nextval('plain_position'), 'trend', $1, 1, 'trend.detected', '1',
                                   $2::json, $3::json, now())",
    )
    .bind(Uuid::now_v7().to_string())
    .bind(orion_domain::event::payload(&event).expect("the event is JSON").to_string())
    .bind(serde_json::json!(metadata()).to_string())
    .execute(&pool)
    .await
    .expect("a new row");
}
