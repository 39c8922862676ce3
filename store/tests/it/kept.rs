//! Connections that are kept: they go from one to the next, the pool keeps enough, and its end is theirs.

use std::task::Poll;
use std::time::{Duration, Instant};

use orion_store::{Kept, connect, is_overload};
use sqlx::{PgConnection, PgPool};

use crate::fixtures::{World, eventually, in_time};

const POOL: u32 = 6;

/// How many have their turn at a time: two connections are left to those who ask the pool itself.
const TURNS: u32 = 4;

/// How long a connection is trusted that was given back.
const TRUSTED_FOR: Duration = Duration::from_millis(100);

async fn pool(world: &World) -> PgPool {
    connect(world.url(), POOL).await.unwrap()
}

async fn pid(connection: &mut PgConnection) -> i32 {
    sqlx::query_scalar("SELECT pg_backend_pid()").fetch_one(connection).await.unwrap()
}

#[tokio::test]
async fn a_connection_goes_from_one_to_the_next() {
    let world = World::new().await;
    let kept = Kept::new(pool(&world).await, "test");
    let mut first = kept.take().await.unwrap();
    let known = pid(&mut first).await;
    kept.give_back(first);
    assert_eq!(kept.pool().num_idle(), 0, "it did not go back to the pool");
    let mut second = kept.take().await.unwrap();
    assert_eq!(pid(&mut second).await, known);
}

#[tokio::test]
async fn half_of_the_pool_is_left_to_others() {
    let world = World::new().await;
    let kept = Kept::new(pool(&world).await, "test");
    let mut taken = Vec::new();
    for _ in 0..TURNS {
        taken.push(in_time("a connection", kept.take()).await.unwrap());
    }
    // Whoever wants one more waits for the first that is given back.
    let mut next = Box::pin(kept.take());
    assert!(futures::poll!(&mut next).is_pending());
    kept.give_back(taken.remove(0));
    taken.push(in_time("its turn", next).await.unwrap());
    for connection in taken {
        kept.give_back(connection);
    }
    let mut others = Vec::new();
    for _ in 0..POOL / 2 {
        others.push(in_time("a connection", kept.pool().acquire()).await.unwrap());
    }
    assert_eq!(kept.pool().try_acquire().map(|_| ()), None, "the other half is kept");
}

#[tokio::test]
async fn who_would_wait_too_long_is_refused_and_who_is_patient_waits() {
    let world = World::new().await;
    let kept = Kept::new(pool(&world).await, "test");
    let mut held = Vec::new();
    for _ in 0..TURNS {
        held.push(kept.begin("BEGIN").await.unwrap());
    }
    let mut patient = Box::pin(async { kept.patient().begin("BEGIN READ ONLY").await });
    assert!(futures::poll!(&mut patient).is_pending());
    let begun = Instant::now();
    let mut line: Vec<_> = (0..64 * POOL).map(|_| Box::pin(kept.take())).collect();
    for place in &mut line {
        assert!(futures::poll!(place).is_pending());
    }
    // The line is full: at once.
    let refused = futures::poll!(Box::pin(kept.take()));
    assert!(matches!(refused, Poll::Ready(Err(error)) if is_overload(&error)));
    // It is too slow: soon.
    for refused in in_time("a refusal", futures::future::join_all(line)).await {
        assert!(is_overload(&refused.unwrap_err()));
    }
    assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
    drop(held.pop());
    let mut last = in_time("a connection", patient).await.unwrap();
    let begun: String =
        sqlx::query_scalar("SHOW transaction_read_only").fetch_one(&mut *last).await.unwrap();
    assert_eq!(begun, "on");
}

#[tokio::test]
async fn neither_a_crowd_nor_the_patient_keep_the_other_from_its_turn() {
    let world = World::new().await;
    let kept = Kept::new(pool(&world).await, "test");
    for (one, many) in [(kept.patient(), kept.clone()), (kept.clone(), kept.patient())] {
        let mut held = Vec::new();
        for _ in 0..TURNS {
            held.push(kept.take().await.unwrap());
        }
        let mut crowd: Vec<_> = (0..20).map(|_| Box::pin(many.take())).collect();
        for waiting in &mut crowd {
            assert!(futures::poll!(waiting).is_pending());
        }
        let mut one = Box::pin(one.take());
        assert!(futures::poll!(&mut one).is_pending());
        // Half of the pool, and one more.
        for connection in held.drain(..3) {
            kept.give_back(connection);
        }
        in_time("its turn among twenty others", one).await.unwrap();
    }
}

#[tokio::test]
async fn a_transaction_takes_what_rests_outside_of_the_pool() {
    let world = World::new().await;
    let kept = Kept::new(pool(&world).await, "test");
    let mut taken = Vec::new();
    for _ in 0..TURNS {
        taken.push(kept.take().await.unwrap());
    }
    for connection in taken {
        kept.give_back(connection);
    }
    let mut begun = Vec::new();
    for _ in 0..TURNS {
        begun.push(in_time("a transaction", kept.begin("BEGIN")).await.unwrap());
    }
}

#[tokio::test]
async fn what_has_rested_is_tried_before_it_is_used() {
    let world = World::new().await;
    let kept = Kept::new(pool(&world).await, "test");
    kept.give_back(kept.take().await.unwrap());
    let rests = Instant::now();
    assert!(world.terminate_backends().await > 0);
    // For a moment it is trusted, and would fail.
    eventually("it has rested", async || rests.elapsed() > 2 * TRUSTED_FOR).await;
    let mut connection = kept.take().await.unwrap();
    sqlx::query("SELECT 1").execute(&mut *connection).await.expect("a living connection");
}

#[tokio::test]
async fn the_end_of_the_pool_waits_for_none_of_them() {
    let world = World::new().await;
    let kept = Kept::new(pool(&world).await, "test");
    kept.give_back(kept.take().await.unwrap());
    let closed = tokio::time::timeout(Duration::from_secs(5), kept.pool().close()).await;
    assert!(closed.is_ok(), "a kept connection holds the pool open");
    kept.take().await.unwrap_err();
}
