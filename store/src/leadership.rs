//! Leaderships: of all servers of a database, one does what only one may do at a time.
//!
//! An advisory lock elects it. The leader writes on the connection that holds the lock, so that whoever lost the
//! lock cannot write. A process that is paused, or whose machine is gone without a word, keeps its connection
//! and with it the lock; then a standby ends that connection (`docs/adr/0013-paused-leaders.md`).

use std::time::Duration;

use chrono::{DateTime, Utc};
use metrics::gauge;
use sqlx::pool::PoolConnection;
use sqlx::{Connection as _, Executor as _, PgConnection, Postgres};
use tokio::time::{Instant, sleep};
use tracing::{debug, warn};

use crate::locks::Lock;
use crate::log::Log;
use crate::record::Position;
use crate::within::within;

/// For how long work may wait while the leader's connection does nothing.
const STANDS_FOR: Duration = Duration::from_secs(3);

/// How long a session may take to end.
const ENDS_WITHIN: Duration = Duration::from_secs(1);

/// How often a leader that works elsewhere shows by its connection that it does.
const SHOWN_EVERY: Duration = Duration::from_secs(1);

/// How often a leader that waits for work finds out whether its connection lives. A standby must have the time to find
/// it idle that does not see what there is to do.
const LOOKED_AT_EVERY: Duration = Duration::from_secs(5);

/// How long a short statement may take.
const STATEMENT_WITHIN: Duration = Duration::from_secs(10);

/// What the leader's connection is set to: PostgreSQL finds out that a killed leader has gone although one of its
/// statements takes long, and ends a transaction that nobody goes on with.
const SETTINGS: [&str; 2] = [
    "SET client_connection_check_interval = '1s'",
    "SET idle_in_transaction_session_timeout = '10s'",
];

/// Something that one server does for all.
pub trait Office: Send {
    /// Why a standby fails.
    type Error: From<sqlx::Error> + Send;

    /// How often a standby looks.
    const LOOK_EVERY: Duration = Duration::from_millis(500);

    /// True where it needs to know the events: a program that is older than the log leaves it to others.
    const READS_EVENTS: bool = true;

    /// What it is called in log lines and figures.
    fn name(&self) -> &'static str;

    /// What elects the leader.
    fn lock(&self) -> Lock;

    /// Looks on as a standby. Says how far the leader is, in whatever unit, while some of its work waits.
    fn look_on(
        &mut self,
        connection: &mut PgConnection,
    ) -> impl Future<Output = Result<Option<i64>, Self::Error>> + Send;

    /// What a standby does until it looks again: nothing.
    fn rest(
        &mut self,
        _connection: &mut PgConnection,
    ) -> impl Future<Output = Result<(), Self::Error>> + Send {
        async {
            sleep(Self::LOOK_EVERY).await;
            Ok(())
        }
    }
}

/// How far a leader is that follows the log, if there is more for it to do.
pub fn behind(position: Position, log: &Log) -> Option<i64> {
    (position < log.tail().head()).then_some(position.0)
}

/// A server's place as the leader; dropping it gives the place up.
#[derive(Debug)]
pub struct Leader {
    /// Holds the lock. What only the leader may write is written by it.
    pub connection: PgConnection,
    name: &'static str,
}

impl Drop for Leader {
    fn drop(&mut self) {
        gauge!("orion_leader", "office" => self.name).set(0);
    }
}

impl Leader {
    /// Drives what the leader does without its connection, which shows meanwhile that it works. When the
    /// connection is lost, and the place with it, the work is given up.
    pub async fn at_work<T, E: From<sqlx::Error>>(
        &mut self,
        work: impl Future<Output = Result<T, E>>,
    ) -> Result<T, E> {
        self.unless_lost(SHOWN_EVERY, work).await
    }

    /// Waits for something to do. When the connection is lost meanwhile, and the place with it, there is nothing
    /// to wait for; without a look nobody would tell.
    pub async fn idle<T, E: From<sqlx::Error>>(
        &mut self,
        wait: impl Future<Output = Result<T, E>>,
    ) -> Result<T, E> {
        self.unless_lost(LOOKED_AT_EVERY, wait).await
    }

    async fn unless_lost<T, E: From<sqlx::Error>>(
        &mut self,
        every: Duration,
        work: impl Future<Output = Result<T, E>>,
    ) -> Result<T, E> {
        let shown = async {
            loop {
                sleep(every).await;
                if let Err(error) = in_time(self.connection.ping()).await {
                    return error;
                }
            }
        };
        tokio::select! {
            done = work => done,
            error = shown => Err(error.into()),
        }
    }
}

/// The result of a short statement.
pub async fn in_time<T, E: From<sqlx::Error>>(
    statement: impl Future<Output = Result<T, E>>,
) -> Result<T, E> {
    within(STATEMENT_WITHIN, statement).await
}

/// Waits until this server leads. Meanwhile it looks on, and ends the connection of a leader that stands.
pub async fn elected<O: Office>(log: &Log, office: &mut O) -> Result<Leader, O::Error> {
    let name = office.name();
    gauge!("orion_leader", "office" => name).set(0);
    // Its own, beside the pool's: it is held for as long as the server runs.
    let mut connection = PoolConnection::<Postgres>::detach(log.pool().acquire().await?);
    let lock = in_time(office.lock().number(&mut connection)).await?;
    let mut watch = Watch { name, lock, standing: None, told: None };
    loop {
        let behind = in_time(office.look_on(&mut connection)).await?;
        if !(O::READS_EVENTS && log.outdated().is_outdated()) {
            if in_time(try_lock(&mut connection, lock)).await? {
                for setting in SETTINGS {
                    // Not every system that PostgreSQL runs on can do the first.
                    if let Err(error) = in_time(connection.execute(setting)).await {
                        debug!(%error, office = name, setting, "the leader's connection is as it was");
                    }
                }
                gauge!("orion_leader", "office" => name).set(1);
                return Ok(Leader { connection, name });
            }
            if in_time(watch.look(&mut connection, behind)).await? {
                continue;
            }
        }
        office.rest(&mut connection).await?;
    }
}

async fn try_lock(connection: &mut PgConnection, lock: i64) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar("SELECT pg_try_advisory_lock($1)").bind(lock).fetch_one(connection).await
}

/// A standby's view of the leader.
struct Watch {
    name: &'static str,
    lock: i64,
    /// A leader that got no further although work waits.
    standing: Option<Standing>,
    /// The leader of which was said that it cannot be dealt with.
    told: Option<i32>,
}

#[derive(Clone, Copy)]
struct Standing {
    /// How far it is.
    at: i64,
    /// Since when it neither got further nor did anything, as far as was seen.
    since: Instant,
    /// What its connection did when it was looked at last, if that was nothing.
    idle: Option<Idle>,
}

/// A connection that waits for its client, since the end or the beginning of the same statement.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Idle {
    pid: i32,
    since: DateTime<Utc>,
}

/// The connection that holds a lock.
#[derive(sqlx::FromRow)]
struct Holder {
    pid: i32,
    /// Nothing where this login may not see it.
    state_change: Option<DateTime<Utc>>,
    waits_for_client: bool,
}

impl Watch {
    /// Looks at a leader that works or not, and ends its connection when it has stood for too long: then true.
    async fn look(
        &mut self,
        connection: &mut PgConnection,
        behind: Option<i64>,
    ) -> Result<bool, sqlx::Error> {
        let (before, now) = (self.standing.take(), Instant::now());
        let Some(at) = behind else { return Ok(false) };
        let Some(before) = before.filter(|before| before.at == at) else {
            self.standing = Some(Standing { at, since: now, idle: None });
            return Ok(false);
        };
        let Some(holder) = holder(connection, self.lock).await? else { return Ok(false) };
        let Holder { pid, state_change: Some(since), waits_for_client: waits } = holder else {
            self.tell(holder.pid, "this login may not see it, or track_activities is off");
            return Ok(false);
        };
        let idle = Idle { pid, since };
        let is_same = before.idle.is_none_or(|before| before == idle);
        if waits && is_same {
            if before.idle.is_some() && now - before.since >= STANDS_FOR {
                return self.end(connection, idle).await;
            }
            self.standing = Some(Standing { idle: Some(idle), ..before });
        } else {
            self.standing = Some(Standing { at, since: now, idle: waits.then_some(idle) });
        }
        Ok(false)
    }

    /// Ends the leader's connection.
    async fn end(
        &mut self,
        connection: &mut PgConnection,
        Idle { pid, since }: Idle,
    ) -> Result<bool, sqlx::Error> {
        let mut login = as_login(connection).await?;
        let ended: Result<Option<bool>, _> = sqlx::query_scalar(
            "SELECT pg_terminate_backend(pid, $3) FROM pg_stat_activity
             WHERE pid = $1 AND state_change = $2 AND (state LIKE 'idle%' OR wait_event_type = 'Client')",
        )
        .bind(pid)
        .bind(since)
        .bind(i64::try_from(ENDS_WITHIN.as_millis()).unwrap_or(i64::MAX))
        .fetch_optional(&mut *login)
        .await;
        match ended {
            Ok(Some(true)) => {
                let office = self.name;
                warn!(
                    office,
                    pid, "the leader does nothing although work waits; its session was ended"
                );
                Ok(true)
            }
            // It has gone on, or away, or does not end yet.
            Ok(Some(false) | None) => Ok(false),
            Err(sqlx::Error::Database(error)) => {
                self.tell(pid, error.message());
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }

    /// Says why the leader is left alone; once.
    fn tell(&mut self, pid: i32, reason: &str) {
        if self.told != Some(pid) {
            self.told = Some(pid);
            let office = self.name;
            warn!(
                office,
                pid, reason, "work waits, and the leader's session cannot be seen or ended"
            );
        }
    }
}

/// A transaction under the login. A role sees and ends the sessions of its own members only, and sessions
/// belong to logins, not to the role that they work under.
async fn as_login(
    connection: &mut PgConnection,
) -> Result<sqlx::Transaction<'_, Postgres>, sqlx::Error> {
    let mut transaction = connection.begin().await?;
    transaction.execute("SET LOCAL ROLE NONE").await?;
    Ok(transaction)
}

async fn holder(connection: &mut PgConnection, lock: i64) -> Result<Option<Holder>, sqlx::Error> {
    let mut login = as_login(connection).await?;
    let holder = sqlx::query_as(
        "SELECT pid, state_change,
                coalesce(state LIKE 'idle%' OR wait_event_type = 'Client', false) AS waits_for_client
         FROM pg_locks JOIN pg_stat_activity USING (pid)
         WHERE locktype = 'advisory' AND granted AND objsubid = 1
           AND (classid::bigint << 32 | objid::bigint) = $1
           AND database = (SELECT oid FROM pg_database WHERE datname = current_database())",
    )
    .bind(lock)
    .fetch_optional(&mut *login)
    .await?;
    login.commit().await?;
    Ok(holder)
}
