//! The lead: who has it relays, all others stand by.

use std::pin::pin;
use std::time::Duration;

use orion_store::{Log, LogReader, RecordedEvent, locks};
use sqlx::pool::PoolConnection;
use sqlx::{Executor as _, PgConnection, Postgres};
use tokio::time::{Instant, sleep_until, timeout};

use super::error::RelayError;

/// For how long PostgreSQL may hear nothing from a leader, before it ends the connection and with it the lead: of one
/// that is stopped, or behind a broken network.
const SILENCE_MAX: Duration = Duration::from_secs(3);

/// How often a leader is heard of at least.
const TOUCH_EVERY: Duration = Duration::from_millis(500);

/// How long PostgreSQL may take to answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);

/// A connection to PostgreSQL, on which the lock is or may be, and the log is read: who lost the one cannot go on
/// with the other.
pub struct Lead {
    connection: PgConnection,
    /// When PostgreSQL was last asked something.
    heard_of: Instant,
}

impl Lead {
    /// A connection of its own, without the lock.
    pub async fn stand(log: &Log) -> Result<Self, RelayError> {
        let connection = PoolConnection::<Postgres>::detach(log.pool().acquire().await?);
        Ok(Self { connection, heard_of: Instant::now() })
    }

    /// Takes the lock if nobody has it. From then on the connection must be used, or it is ended.
    pub async fn try_take(&mut self) -> Result<bool, RelayError> {
        let look = sqlx::query_scalar("SELECT pg_try_advisory_lock($1)")
            .bind(locks::RELAY)
            .fetch_one(&mut self.connection);
        let is_taken = within(look).await?;
        if is_taken {
            let milliseconds = SILENCE_MAX.as_millis();
            let set = format!("SET idle_session_timeout = {milliseconds}");
            self.heard_of = Instant::now();
            within(self.connection.execute(set.as_str())).await?;
        }
        Ok(is_taken)
    }

    /// The next events of the log.
    pub async fn read(&mut self, log: &mut LogReader) -> Result<Vec<RecordedEvent>, RelayError> {
        self.heard_of = Instant::now();
        within(log.next(&mut self.connection)).await
    }

    /// The result of other work. However long it takes, PostgreSQL hears of this process meanwhile.
    pub async fn during<T>(
        &mut self,
        work: impl Future<Output = Result<T, RelayError>>,
    ) -> Result<T, RelayError> {
        let mut work = pin!(work);
        loop {
            tokio::select! {
                // First, for much short work takes long, too.
                biased;
                () = sleep_until(self.heard_of + TOUCH_EVERY) => {
                    self.heard_of = Instant::now();
                    within(self.connection.execute("SELECT 1")).await?;
                }
                done = &mut work => return done,
            }
        }
    }
}

/// After a failover nothing may say that there is nobody at the other end.
async fn within<T, E>(asked: impl Future<Output = Result<T, E>>) -> Result<T, RelayError>
where
    RelayError: From<E>,
{
    let late = |_| RelayError::Database(sqlx::Error::PoolTimedOut);
    Ok(timeout(ANSWER_WITHIN, asked).await.map_err(late)??)
}
