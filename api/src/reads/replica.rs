//! A streaming standby of the primary: how far it is, and whether it is read.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use orion_projections::{NOTIFICATIONS, Progress, READ_MODEL};
use orion_store::{ConnectError, Kept, Position, connect_alone, connect_to_replica};
use sqlx::{PgConnection, PgPool};
use tokio::sync::{Notify, watch};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::Extent;
use super::pace::Pace;
use crate::telemetry::chain;

/// How far the replica may be behind and is still read.
const BEHIND_MAX: Duration = Duration::from_secs(10);

/// How long somebody waits for what the replica does not have yet.
const CATCHES_UP_WITHIN: Duration = Duration::from_millis(500);

/// How often it is looked at: a standby tells nobody of changes by itself.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// How often while somebody waits.
const LOOK_OFTEN: Duration = Duration::from_millis(3);

/// How long one look may take, the connection included.
const LOOK_WITHIN: Duration = Duration::from_secs(1);

/// Whether the replica is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It is.
    InUse,
    /// It is not: it is too far behind.
    Behind,
    /// It is not: it does not answer.
    Unreachable,
    /// It is not: it is no standby, or one of another database.
    Stranger,
}

impl Standing {
    /// In a few words.
    pub fn name(self) -> &'static str {
        match self {
            Self::InUse => "in use",
            Self::Behind => "behind",
            Self::Unreachable => "unreachable",
            Self::Stranger => "no standby of this database",
        }
    }

    /// True when queries read it.
    pub fn is_read(self) -> bool {
        self == Self::InUse
    }
}

/// A replica. Cheap to clone; all clones are the same.
#[derive(Clone, Debug)]
pub struct Replica(Arc<Watched>);

#[derive(Debug)]
struct Watched {
    pool: Kept,
    seen: watch::Sender<Seen>,
    /// What somebody waited for in vain, or was promised while it was not read: until it is there, nobody
    /// waits again, and nobody reads here.
    missed: Mutex<Extent>,
    waiting: AtomicUsize,
    look_now: Notify,
}

/// What the last look has seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Seen {
    standing: Standing,
    extent: Extent,
}

/// One who waits for as long as it lives.
struct Waiter<'r>(&'r Watched);

impl Drop for Waiter<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A database as none but its standbys have it: the cluster's identifier and the number of the database.
type Identity = (i64, i64);

/// A way to look at the replica, until a look fails.
struct Sight {
    /// Not of the pool, whose connections may all be taken.
    connection: PgConnection,
    pace: Pace,
}

/// What can go wrong with a look.
enum Failed {
    /// It does not answer.
    Unreachable(Option<sqlx::Error>),
    /// It answers, and is not what it should be.
    Stranger,
}

impl From<sqlx::Error> for Failed {
    fn from(error: sqlx::Error) -> Self {
        Self::Unreachable(Some(error))
    }
}

impl Replica {
    /// At this address, with at most so many connections for queries. It is not used until it was
    /// [watched](Self::watch) for a moment.
    ///
    /// # Errors
    /// When the address is malformed.
    pub fn new(url: &str, connections: u32, query_within: Duration) -> Result<Self, ConnectError> {
        let seen = Seen { standing: Standing::Unreachable, extent: Extent::default() };
        Ok(Self(Arc::new(Watched {
            pool: Kept::new(connect_to_replica(url, connections, query_within)?, "replica"),
            seen: watch::Sender::new(seen),
            missed: Mutex::default(),
            waiting: AtomicUsize::new(0),
            look_now: Notify::new(),
        })))
    }

    /// Connections for queries.
    pub fn pool(&self) -> &Kept {
        &self.0.pool
    }

    /// Whether it is read.
    pub fn standing(&self) -> Standing {
        self.0.seen.borrow().standing
    }

    /// How far it was at the last look.
    pub fn extent(&self) -> Extent {
        self.0.seen.borrow().extent
    }

    /// True when it is read, and shows this; it is waited for a moment.
    pub(super) async fn has(&self, needed: Extent) -> bool {
        let seen = *self.0.seen.borrow();
        if !seen.standing.is_read() || !seen.extent.covers(*self.missed()) {
            return false;
        }
        if seen.extent.covers(needed) {
            return true;
        }
        self.0.waiting.fetch_add(1, Ordering::Relaxed);
        let _waiter = Waiter(&self.0);
        self.0.look_now.notify_one();
        let mut looks = self.0.seen.subscribe();
        let settled = looks.wait_for(|seen| seen.extent.covers(needed) || !seen.standing.is_read());
        let has = match timeout(CATCHES_UP_WITHIN, settled).await {
            Ok(Ok(seen)) => seen.standing.is_read(),
            Ok(Err(_)) | Err(_) => false,
        };
        if !has {
            self.miss(needed);
        }
        has
    }

    /// True when it is not read, nor will be before it shows this.
    pub(super) fn is_left_until(&self, shown: Extent) -> bool {
        if self.standing().is_read() {
            return false;
        }
        self.miss(shown);
        // It may have come back before that.
        !self.standing().is_read()
    }

    /// Has a look at it soon: something has failed there.
    pub fn doubt(&self) {
        self.0.look_now.notify_one();
    }

    /// Waits until it does not answer.
    pub async fn lost(&self) {
        let mut looks = self.0.seen.subscribe();
        let lost = looks.wait_for(|seen| seen.standing == Standing::Unreachable).await.is_ok();
        if !lost {
            std::future::pending::<()>().await;
        }
    }

    /// Looks at it again and again, until `stop`.
    pub async fn watch(self, primary: PgPool, progress: Progress, stop: CancellationToken) {
        let mut sight = None;
        let mut own = None;
        let mut said = None;
        loop {
            let looked =
                timeout(LOOK_WITHIN, self.look(&primary, &progress, &mut own, &mut sight)).await;
            let looked = looked.unwrap_or(Err(Failed::Unreachable(None)));
            let standing = self.see(&looked);
            if said != Some(standing) {
                say(standing, looked.err());
                said = Some(standing);
            }
            if stop.run_until_cancelled(self.pause(standing)).await.is_none() {
                break;
            }
        }
    }

    /// Until the next look.
    async fn pause(&self, standing: Standing) {
        sleep(LOOK_OFTEN).await;
        let is_awaited = self.0.waiting.load(Ordering::Relaxed) > 0 && standing.is_read();
        if !is_awaited {
            let _ = timeout(LOOK_EVERY, self.0.look_now.notified()).await;
        }
    }

    /// Looks once: how far it is, and how far behind.
    async fn look(
        &self,
        primary: &PgPool,
        progress: &Progress,
        own: &mut Option<Identity>,
        sight: &mut Option<Sight>,
    ) -> Result<(Extent, Duration), Failed> {
        // If it is not put back, the next look begins anew: what is back may be another one.
        let mut current = match sight.take() {
            Some(sight) => sight,
            None => self.begin(primary, progress, own).await?,
        };
        // Before the replica is asked, so that it is not compared with what is newer than the answer.
        let now = progress.now().position;
        let (is_standby, tables, notifications): (bool, Option<i64>, Option<i64>) = sqlx::query_as(
            "SELECT pg_is_in_recovery(),
                    (SELECT position FROM projection.checkpoints WHERE name = $1),
                    (SELECT position FROM projection.checkpoints WHERE name = $2)",
        )
        .bind(READ_MODEL)
        .bind(NOTIFICATIONS)
        .fetch_one(&mut current.connection)
        .await?;
        if !is_standby {
            return Err(Failed::Stranger);
        }
        let position = |position: Option<i64>| Position(position.unwrap_or_default());
        let extent = Extent { tables: position(tables), notifications: position(notifications) };
        let lag = current.pace.lag(extent.tables, now);
        *sight = Some(current);
        Ok((extent, lag))
    }

    async fn begin(
        &self,
        primary: &PgPool,
        progress: &Progress,
        own: &mut Option<Identity>,
    ) -> Result<Sight, Failed> {
        // Once, for it stays the same over a failover. And not on the pool's connections: a replica has to come
        // back just when all of them are taken.
        let own = match *own {
            Some(own) => own,
            None => *own.insert(identity(&mut connect_alone(primary).await?).await?),
        };
        let mut connection = connect_alone(self.0.pool.pool()).await?;
        if identity(&mut connection).await? != own {
            return Err(Failed::Stranger);
        }
        Ok(Sight { connection, pace: Pace::new(progress.now().position) })
    }

    /// Tells everybody what was seen.
    fn see(&self, looked: &Result<(Extent, Duration), Failed>) -> Standing {
        let (standing, extent) = match looked {
            Ok((extent, lag)) if *lag <= BEHIND_MAX => (Standing::InUse, Some(*extent)),
            Ok((extent, _)) => (Standing::Behind, Some(*extent)),
            Err(Failed::Unreachable(_)) => (Standing::Unreachable, None),
            Err(Failed::Stranger) => (Standing::Stranger, None),
        };
        self.0.seen.send_if_modified(|seen| {
            let now = Seen { standing, extent: extent.unwrap_or(seen.extent) };
            std::mem::replace(seen, now) != now
        });
        standing
    }

    fn miss(&self, extent: Extent) {
        let mut missed = self.missed();
        *missed = missed.with(extent);
    }

    fn missed(&self) -> std::sync::MutexGuard<'_, Extent> {
        self.0.missed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn identity(connection: &mut PgConnection) -> Result<Identity, sqlx::Error> {
    sqlx::query_as(
        "SELECT system_identifier, (SELECT oid::int8 FROM pg_database WHERE datname = current_database())
         FROM pg_control_system()",
    )
    .fetch_one(connection)
    .await
}

/// One line for each change.
fn say(standing: Standing, failed: Option<Failed>) {
    let replica = standing.name();
    if standing.is_read() {
        info!(replica, "queries are read from the replica");
    } else if let Some(Failed::Unreachable(Some(error))) = failed {
        warn!(replica, error = chain(&error), "queries are read from the primary");
    } else {
        warn!(replica, "queries are read from the primary");
    }
}
