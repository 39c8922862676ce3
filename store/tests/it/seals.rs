//! Sealers on one database: when the one that leads loses its connection, another one goes on.

use std::time::Duration;

use orion_store::seal::{LogKey, Verification, newest_seal, run_sealer};
use orion_store::{Log, locks};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use uuid::Uuid;

use crate::fixtures::{World, commit, eventually};

/// How long the log may stay unsealed when the leader is gone: 1 s, and more for a busy machine.
const TAKEN_OVER_WITHIN: Duration = Duration::from_secs(10);

fn key() -> LogKey {
    LogKey::from_seed(&[8; 32])
}

fn start_sealer(log: &Log, stop: &CancellationToken) -> JoinHandle<()> {
    tokio::spawn(run_sealer(log.clone(), key(), Vec::new(), stop.clone()))
}

/// The backend of the sealer that leads.
async fn leader(world: &World) -> Option<i32> {
    sqlx::query_scalar(
        "SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND granted
           AND (classid::bigint << 32) + objid::bigint = $1
           AND database = (SELECT oid FROM pg_database WHERE datname = current_database())",
    )
    .bind(locks::SEALER)
    .fetch_optional(&world.owner)
    .await
    .unwrap()
}

/// Waits for the backend of a sealer that has looked at the lock and did not get it.
async fn standby(world: &World, leader: i32) -> i32 {
    let mut standby = None;
    eventually("another sealer stands by", async || {
        standby = sqlx::query_scalar(
            "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND pid <> $1
               AND query LIKE 'SELECT pg_try_advisory_lock%' AND state = 'idle'",
        )
        .bind(leader)
        .fetch_optional(&world.owner)
        .await
        .unwrap();
        standby.is_some()
    })
    .await;
    standby.unwrap()
}

/// Waits until everything that is in the log now is sealed.
async fn all_sealed(world: &World) {
    let head = world.log.head().await.unwrap();
    eventually("the log is sealed", async || {
        newest_seal(&world.owner).await.unwrap().is_some_and(|seal| seal.size >= head)
    })
    .await;
}

/// Appends without a pause.
async fn load(log: Log) {
    loop {
        log.append(commit(Uuid::now_v7(), Uuid::now_v7(), 0, 3)).await.unwrap();
    }
}

#[tokio::test]
async fn another_sealer_takes_over_when_the_leaders_connection_ends_under_load() {
    let world = World::new().await;
    let stop = CancellationToken::new();
    let loaded = AbortOnDropHandle::new(tokio::spawn(load(world.log.clone())));
    let mut leads = world.another_log().await;
    let mut sealers = vec![start_sealer(&leads, &stop)];
    for _ in 0..3 {
        all_sealed(&world).await;
        let before = leader(&world).await.expect("a leader");
        let next = world.another_log().await;
        sealers.push(start_sealer(&next, &stop));
        let standby = standby(&world, before).await;
        // So that it cannot come back.
        let closed = tokio::spawn({
            let pool = leads.pool().clone();
            async move { pool.close().await }
        });
        eventually("the pool is closed", async || leads.pool().is_closed()).await;
        let is_ended: bool = sqlx::query_scalar("SELECT pg_terminate_backend($1)")
            .bind(before)
            .fetch_one(&world.owner)
            .await
            .unwrap();
        assert!(is_ended);
        let taken_over = tokio::time::timeout(TAKEN_OVER_WITHIN, all_sealed(&world)).await;
        taken_over.expect("another one seals in time");
        assert_eq!(leader(&world).await, Some(standby));
        closed.abort();
        leads = next;
    }
    drop(loaded);
    all_sealed(&world).await;
    stop.cancel();
    for sealer in sealers {
        sealer.await.unwrap();
    }

    let steps_back = "SELECT count(*) FROM (
        SELECT size, lag(size) OVER (ORDER BY created_at, size) AS before FROM seals) seals
        WHERE size <= before";
    assert_eq!(world.count(steps_back).await, 0, "nothing is sealed twice");
    let verification = Verification { keys: vec![key().public()], kept: None, vault: None };
    let verdict = verification.run(&world.owner, |_, _| {}).await.unwrap();
    assert_eq!((verdict.faults, verdict.untold), (Vec::new(), 0));
    let seals = world.count("SELECT count(*) FROM seals").await;
    assert_eq!(verdict.seals, seals.unsigned_abs());
}
