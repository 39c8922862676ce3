//! A server has the time of its database, whatever its machine's clock says.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use orion_store::now;
use orion_store::testing::clock_ahead;
use sqlx::PgPool;

use crate::fixtures::World;

/// More than a comparison takes, on a busy machine, too.
const ABOUT: TimeDelta = TimeDelta::seconds(5);

async fn of_postgresql(pool: &PgPool) -> DateTime<Utc> {
    sqlx::query_scalar("SELECT clock_timestamp()").fetch_one(pool).await.unwrap()
}

#[tokio::test]
async fn a_clock_that_is_an_hour_off_is_put_right() {
    let world = World::new().await;
    for off in [TimeDelta::hours(1), TimeDelta::hours(-1), TimeDelta::zero()] {
        let wrong = || Utc::now() + off;
        let right = wrong() + clock_ahead(&world.owner, wrong).await.expect("a prompt answer");
        assert!((right - of_postgresql(&world.owner).await).abs() < ABOUT, "{off}: {right}");
    }
    assert!((now() - of_postgresql(&world.owner).await).abs() < ABOUT);
}

#[tokio::test]
async fn a_comparison_that_was_held_up_counts_for_nothing() {
    let world = World::new().await;
    let stopped = || {
        // As by SIGSTOP, while PostgreSQL is asked.
        std::thread::sleep(Duration::from_millis(1_200));
        Utc::now()
    };
    assert_eq!(clock_ahead(&world.owner, stopped).await, None);
}
