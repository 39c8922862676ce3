//! A server that does not lead passes on the leader's progress: at once to who waits for it, and else now and then.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use orion_projections::{Progress, Projector};
use orion_store::testing::bench::append_one;
use orion_store::testing::{TestDatabase, database, log};
use orion_store::{Log, Position, connect};
use sqlx::PgPool;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::world::PATIENCE;

const EVENTS: u32 = 20;

/// An event and its way to the standby take this long on average, on a busy machine, too. By looks each 250 ms it
/// would be as much as that.
const SHOWN_WITHIN: Duration = Duration::from_millis(100);

/// Two servers of one database. The first leads.
struct Pair {
    log: Log,
    standby: Progress,
    owner: PgPool,
    _stop: DropGuard,
    _database: TestDatabase,
}

impl Pair {
    async fn new() -> Self {
        let (database, stop) = (database().await, CancellationToken::new());
        let mut servers = Vec::new();
        for _ in 0..2 {
            let pool = connect(&database.url, 8).await.unwrap();
            let log = log(pool, stop.clone()).await;
            let (projector, progress) = Projector::new(log.clone());
            tokio::spawn(projector.run(stop.clone()));
            // The second one begins when the first one leads.
            let head = append_one(&log).await.last;
            assert!(progress.reached(head, PATIENCE).await, "{:?}", progress.now());
            servers.push((log, progress));
        }
        let (_, standby) = servers.pop().unwrap();
        let (log, _) = servers.pop().unwrap();
        let owner = PgPool::connect(&database.url).await.unwrap();
        Self { log, standby, owner, _stop: stop.drop_guard(), _database: database }
    }

    /// How often the standby looks within a second, more or less.
    async fn looks(&self) -> usize {
        let (began, mut seen) = (Instant::now(), BTreeSet::new());
        while began.elapsed() < Duration::from_secs(1) {
            let looks: Vec<String> = sqlx::query_scalar(
                "SELECT query_start::text FROM pg_stat_activity
                 WHERE datname = current_database() AND query LIKE '%FROM projection.checkpoints WHERE name = $1'",
            )
            .fetch_all(&self.owner)
            .await
            .unwrap();
            seen.extend(looks);
        }
        seen.len()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_waits_is_told_soon() {
    let pair = Pair::new().await;
    let began = Instant::now();
    for _ in 0..EVENTS {
        let head = append_one(&pair.log).await.last;
        assert!(pair.standby.reached(head, PATIENCE).await, "{:?}", pair.standby.now());
    }
    let each = began.elapsed() / EVENTS;
    println!("{each:?} for an event and its way to the standby");
    assert!(each < SHOWN_WITHIN, "{each:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_and_who_waits_in_vain_make_it_look_now_and_then() {
    let pair = Pair::new().await;
    let looks = pair.looks().await;
    assert!(looks < 10, "{looks} looks for nobody");
    let head = pair.log.head().await.unwrap();
    let (beyond, standby) = (Position(head.0 + 1), pair.standby.clone());
    let waits = tokio::spawn(async move { standby.reached(beyond, PATIENCE).await });
    let looks = pair.looks().await;
    println!("{looks} looks for one who waits in vain");
    // At least twice as many as without anybody.
    assert!((6..100).contains(&looks), "{looks} looks for one who waits in vain");
    waits.abort();
}
