//! What the work on a log costs as it grows: an append, the load of a stream, the tail, `verify`, the fold.
//!
//! `cargo bench -p orion-projections --bench growth -- 10000 100000 1000000 5000000`

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::cast_precision_loss,
    reason = "a bench that cannot run says so and ends"
)]

use std::time::{Duration, Instant};

use futures::StreamExt as _;
use futures::stream;
use orion_domain::Content;
use orion_projections::materialize;
use orion_store::seal::{LogKey, Verification, newest_seal, run_sealer};
use orion_store::testing::bench::{Ids, Load, Report, Workload, append_one, load};
use orion_store::testing::{self, TestCluster};
use orion_store::{EventStore, Log, Position};
use serde_json::json;
use sqlx::PgPool;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

const SIZES: [u64; 3] = [10_000, 100_000, 1_000_000];
const CALLERS: usize = 128;
const RUN_FOR: Duration = Duration::from_secs(4);
/// How many events the tail brings.
const TAIL: i64 = 20_000;

#[tokio::main]
async fn main() {
    let mut sizes: Vec<u64> =
        std::env::args().skip(1).filter_map(|argument| argument.parse().ok()).collect();
    if sizes.is_empty() {
        sizes = SIZES.to_vec();
    }
    let cluster = TestCluster::durable().await;
    let world = World::on(&cluster.url()).await;
    let mut report = Report::new("growth");
    let mut grown = Ids::default();
    for (turn, size) in sizes.into_iter().enumerate() {
        let missing = size.saturating_sub(world.log.head().await.unwrap().0.unsigned_abs());
        let contents = u32::try_from(missing / 5).unwrap();
        let workload = Workload {
            seed: 7 + turn as u64,
            users: 100,
            trends: (contents / 20).max(1),
            contents,
            steps: 1..=9,
        };
        grown = workload.append_to(&world.store).await;
        sqlx::query("VACUUM ANALYZE events").execute(&world.owner).await.unwrap();
        let events = world.log.head().await.unwrap().0;
        let (verified, sealed) = world.verified().await;
        let folded = world.folded().await;
        let append = world.appended().await;
        let loaded = world.loaded(&grown.contents).await;
        let tail = world.tail().await;
        let per_event = |time: Duration| time.as_secs_f64() * 1e6 / events as f64;
        report.row([
            ("events", json!(events)),
            ("appends/s", json!(append.per_second)),
            ("append p99 ms", json!(append.p99_ms)),
            ("load of a stream p50 ms", json!(loaded.p50_ms)),
            ("tail, events/s", json!(tail)),
            ("verify, us an event", json!(per_event(verified))),
            ("all tables, us an event", json!(per_event(folded))),
            ("to seal, us an event", json!(sealed.as_secs_f64() * 1e6 / missing as f64)),
        ]);
    }
    drop(grown);
    report.finish();
}

struct World {
    log: Log,
    store: EventStore,
    pool: PgPool,
    owner: PgPool,
}

impl World {
    async fn on(url: &str) -> Self {
        let pool = orion_store::connect(url, 20).await.unwrap();
        let log = testing::log(pool.clone(), CancellationToken::new()).await;
        let (store, owner) = (EventStore::new(log.clone()), PgPool::connect(url).await.unwrap());
        Self { log, store, pool, owner }
    }

    /// Seals what is new, then verifies all. How long each took, the verification first.
    async fn verified(&self) -> (Duration, Duration) {
        let (stop, key) = (CancellationToken::new(), LogKey::from_seed(&[8; 32]));
        let (public, head) = (key.public(), self.log.head().await.unwrap());
        let began = Instant::now();
        let sealer = tokio::spawn(run_sealer(self.log.clone(), key, vec![], stop.clone()));
        while newest_seal(&self.pool).await.unwrap().is_none_or(|newest| newest.size < head) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let sealed = began.elapsed();
        stop.cancel();
        sealer.await.unwrap();
        let verification =
            Verification { keys: vec![public], kept: None, vault: Some(self.log.vault().clone()) };
        let began = Instant::now();
        let verdict = verification.run(&self.pool, |_, _| {}).await.unwrap();
        assert!(verdict.faults.is_empty(), "{verdict:?}");
        (began.elapsed(), sealed)
    }

    async fn folded(&self) -> Duration {
        let (vault, head) = (self.log.vault(), self.log.head().await.unwrap());
        let began = Instant::now();
        materialize(&self.pool, vault, head, "then", &[], &|_| {}).await.unwrap();
        let took = began.elapsed();
        sqlx::query("DROP SCHEMA \"then\" CASCADE").execute(&self.owner).await.unwrap();
        took
    }

    async fn appended(&self) -> Load {
        let callers = std::iter::repeat_n(self.log.clone(), CALLERS);
        load(callers, RUN_FOR, |log: Log| async move {
            append_one(&log).await;
            log
        })
        .await
    }

    /// Contents that lie all over what was appended last, one after the other.
    async fn loaded(&self, contents: &[Uuid]) -> Load {
        let every = (contents.len() / 500).max(1);
        let began = Instant::now();
        let loads = stream::iter(contents.iter().step_by(every))
            .then(|id| async {
                let began = Instant::now();
                self.store.load::<Content>(*id).await.expect("a content");
                began.elapsed()
            })
            .collect()
            .await;
        Load::of(loads, began.elapsed())
    }

    /// Events in a second that a follower reads from the database.
    async fn tail(&self) -> f64 {
        let head = self.log.head().await.unwrap().0;
        let until = head / 2;
        let from = until - TAIL.min(head / 4);
        let (began, mut after) = (Instant::now(), Position(from));
        while after.0 < until {
            let events = self.log.tail().next(after, 500).await.unwrap();
            after = events.last().expect("there are more").position;
        }
        (after.0 - from) as f64 / began.elapsed().as_secs_f64()
    }
}
