//! Appends keep their pace while somebody holds a snapshot open, as `pg_dump` does.

use std::time::Instant;

use futures::future::join_all;
use sqlx::Executor;

use crate::fixtures::{World, eventually, one_event};

const CALLERS: usize = 32;
const APPENDS_PER_ROUND: usize = 3000;

/// The best of them counts: other tests run beside this one.
const ROUNDS: usize = 3;

/// Appends per second.
async fn pace(world: &World) -> f64 {
    let start = Instant::now();
    let callers = (0..CALLERS).map(|_| async {
        for _ in 0..APPENDS_PER_ROUND / CALLERS {
            world.log.append(one_event()).await.unwrap();
        }
    });
    join_all(callers).await;
    f64::from(u32::try_from(APPENDS_PER_ROUND).unwrap()) / start.elapsed().as_secs_f64()
}

async fn best_pace(world: &World) -> f64 {
    let mut best = 0.0_f64;
    for _ in 0..ROUNDS {
        best = best.max(pace(world).await);
    }
    best
}

#[tokio::test]
async fn an_open_snapshot_does_not_slow_appends_down() {
    let world = World::new().await;
    pace(&world).await; // Connections open, statements are prepared.
    let without = best_pace(&world).await;

    let mut reader = world.owner.begin().await.unwrap();
    reader.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ").await.unwrap();
    let count = "SELECT count(*) FROM events";
    let seen: i64 = sqlx::query_scalar(count).fetch_one(&mut *reader).await.unwrap();
    let with = best_pace(&world).await;
    let still_seen: i64 = sqlx::query_scalar(count).fetch_one(&mut *reader).await.unwrap();
    assert_eq!(seen, still_seen, "the snapshot was not open");

    let ratio = with / without;
    println!("appends/s: {without:.0} without a snapshot, {with:.0} with one, ratio {ratio:.2}");
    assert!(ratio > 0.5, "{with:.0} instead of {without:.0} appends/s");
}

/// What the pace cannot show in the time of a test: old row versions, which a snapshot keeps, and
/// every append after them has to pass. A counter row would leave one behind with each batch.
#[tokio::test]
async fn appends_leave_no_old_row_versions_behind() {
    let world = World::new().await;
    for _ in 0..20 {
        world.log.append(one_event()).await.unwrap();
    }
    // A backend reports what it did when it ends.
    world.log.pool().close().await;
    let inserted = "SELECT n_tup_ins FROM pg_stat_user_tables WHERE relname = 'events'";
    eventually("the statistics are in", async || world.count(inserted).await == 20).await;
    let replaced = "SELECT sum(n_tup_upd + n_tup_del)::bigint FROM pg_stat_user_tables";
    assert_eq!(world.count(replaced).await, 0);
}
