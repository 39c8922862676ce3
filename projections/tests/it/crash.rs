//! PostgreSQL is killed under a projector that has nothing to do.

use std::time::Duration;

use orion_projections::{NOTIFICATIONS, Projector, READ_MODEL, checkpoint};
use orion_store::testing::bench::append_one;
use orion_store::testing::{TestCluster, log};
use orion_store::{Log, connect};
use sqlx::{Executor as _, PgPool};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::world::PATIENCE;

/// A projector that has no events to project finds out within this time that it was not done.
const FOUND_OUT_WITHIN: Duration = Duration::from_secs(20);

/// Whatever is asked of it commits at once; what does not wait for the disk comes there much later.
async fn slow_disk(cluster: &TestCluster) {
    let owner = PgPool::connect(&cluster.url()).await.unwrap();
    owner.execute("ALTER SYSTEM SET wal_writer_delay = '10s'").await.unwrap();
    owner.execute("SELECT pg_reload_conf()").await.unwrap();
    owner.close().await;
}

#[tokio::test]
async fn what_a_crash_takes_of_the_tables_is_projected_again_although_nothing_happens() {
    for (name, of) in
        [(READ_MODEL, Projector::new as fn(Log) -> _), (NOTIFICATIONS, Projector::of_notifications)]
    {
        let cluster = TestCluster::start().await;
        slow_disk(&cluster).await;
        let stop = CancellationToken::new();
        let pool = connect(&cluster.url(), 8).await.unwrap();
        let log = log(pool.clone(), stop.clone()).await;
        let (projector, progress) = of(log.clone());
        let running = tokio::spawn(projector.run(stop.clone()));
        append_one(&log).await;
        let head = log.head().await.unwrap();
        assert!(progress.reached(head, PATIENCE).await, "{:?}", progress.now());

        let taken = progress.clone();
        let taken = tokio::spawn(async move { taken.until(|now| now.position < head).await });
        cluster.kill9().await;
        cluster.start_again().await;
        timeout(FOUND_OUT_WITHIN, taken).await.expect("it finds out").unwrap().unwrap();
        assert!(progress.reached(head, PATIENCE).await, "{:?}", progress.now());
        assert_eq!(checkpoint(&pool, name).await.unwrap().position, head);
        stop.cancel();
        running.await.unwrap();
    }
}
