//! The time as PostgreSQL has it: servers whose machines disagree about the time must not disagree about when
//! a token ends.

use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use chrono::{DateTime, TimeDelta, Utc};
use sqlx::PgConnection;
use tracing::warn;

/// How many microseconds PostgreSQL's clock is ahead of this machine's. One for the process, like the machine's clock
/// itself: a server has one database.
static AHEAD_MICROS: AtomicI64 = AtomicI64::new(0);

/// A machine whose clock differs by more is told of.
const TOLD: TimeDelta = TimeDelta::seconds(5);

/// It was told that the clocks differ.
static IS_TOLD: AtomicBool = AtomicBool::new(false);

/// The present time of the database; of this machine, as long as there was no connection.
pub fn now() -> DateTime<Utc> {
    Utc::now() + TimeDelta::microseconds(AHEAD_MICROS.load(Ordering::Relaxed))
}

/// Compares the clocks; from now on [`now`] gives the time of PostgreSQL.
pub(crate) async fn compare(connection: &mut PgConnection) -> Result<(), sqlx::Error> {
    let ahead = ahead(connection, Utc::now).await?;
    AHEAD_MICROS.store(ahead.num_microseconds().unwrap_or_default(), Ordering::Relaxed);
    let differs = ahead.abs() > TOLD;
    if differs && !IS_TOLD.swap(true, Ordering::Relaxed) {
        let ahead_ms = ahead.num_milliseconds();
        warn!(ahead_ms, "PostgreSQL's clock differs from this machine's; PostgreSQL's is used");
    }
    Ok(())
}

/// How far PostgreSQL's clock is ahead of another one, to within half of the time that the answer takes.
pub(crate) async fn ahead(
    connection: &mut PgConnection,
    clock: impl Fn() -> DateTime<Utc>,
) -> Result<TimeDelta, sqlx::Error> {
    let before = clock();
    let theirs: DateTime<Utc> =
        sqlx::query_scalar("SELECT clock_timestamp()").fetch_one(connection).await?;
    let took = clock() - before;
    Ok(theirs - (before + took / 2))
}
