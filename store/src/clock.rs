//! The time as PostgreSQL has it: servers whose machines disagree about the time must not disagree about when
//! a token ends.

use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::{Duration, Instant};

use chrono::{DateTime, TimeDelta, Utc};
use sqlx::PgConnection;
use tracing::warn;

/// How many microseconds PostgreSQL's clock is ahead of this machine's. One for the process, like the machine's clock
/// itself: a server has one database.
static AHEAD_MICROS: AtomicI64 = AtomicI64::new(0);

/// An answer that took longer says too little: it may be off by half of that time. A token is refused that comes from
/// further in the future than a few seconds.
const ANSWERED_WITHIN: Duration = Duration::from_secs(1);

/// A machine whose clock differs by more is told of.
const TOLD: TimeDelta = TimeDelta::seconds(5);

/// It was told that the clocks differ.
static IS_TOLD: AtomicBool = AtomicBool::new(false);

/// The present time of the database; of this machine, as long as there was no connection.
pub fn now() -> DateTime<Utc> {
    Utc::now() + TimeDelta::microseconds(AHEAD_MICROS.load(Ordering::Relaxed))
}

/// Compares the clocks; from now on [`now`] gives the time of PostgreSQL. False when the answer took too long, and
/// nothing has changed.
pub(crate) async fn compare(connection: &mut PgConnection) -> Result<bool, sqlx::Error> {
    let Some(ahead) = ahead(connection, Utc::now).await? else { return Ok(false) };
    AHEAD_MICROS.store(ahead.num_microseconds().unwrap_or_default(), Ordering::Relaxed);
    let differs = ahead.abs() > TOLD;
    if differs && !IS_TOLD.swap(true, Ordering::Relaxed) {
        let ahead_ms = ahead.num_milliseconds();
        warn!(ahead_ms, "PostgreSQL's clock differs from this machine's; PostgreSQL's is used");
    }
    Ok(true)
}

/// How far PostgreSQL's clock is ahead of another one, to within half of the time that the answer takes; nothing if that was
/// long, as it is for a process that was stopped meanwhile.
pub(crate) async fn ahead(
    connection: &mut PgConnection,
    clock: impl Fn() -> DateTime<Utc>,
) -> Result<Option<TimeDelta>, sqlx::Error> {
    let (asked, before) = (Instant::now(), clock());
    let theirs: DateTime<Utc> =
        sqlx::query_scalar("SELECT clock_timestamp()").fetch_one(connection).await?;
    let took = asked.elapsed();
    Ok((took <= ANSWERED_WITHIN).then(|| theirs - (before + took / 2)))
}
