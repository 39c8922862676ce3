//! Connections that go from one statement to the next.
//!
//! The pool tries each connection that is given back, which takes as long as a small statement. Those that
//! answered as they should need no trial, and wait here for the next.
//!
//! Who waits for one stands in line for a moment, and is refused then. That is no failure of PostgreSQL, which
//! was not asked for anything; [`is_overload`] tells the two apart.

use std::io;
use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use sqlx::pool::PoolConnection;
use sqlx::{PgConnection, PgPool, Postgres, Transaction};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::connect::{ACQUIRE_FOR, TRUST_FOR};
use crate::line::{Line, Overload, Turn};

/// How many connections are left to those who ask the pool itself: readiness, figures, and what the server does by
/// itself are not to stand behind a crowd.
const LEFT: usize = 2;

/// A pool, and connections of it that are kept out of it. Cheap to clone; all clones share them.
#[derive(Clone, Debug)]
pub struct Kept {
    pool: PgPool,
    idle: Arc<Idle>,
    /// Who takes one waits here: one that is given back and kept does not come by the pool's line.
    turns: Arc<Semaphore>,
    /// The lines before that. As many come out of the first as there are turns, and half as many out of that of the
    /// patient, so that neither keeps the other from its turn.
    line: Line,
    patient: Line,
    /// Waits for as long as the pool would.
    is_patient: bool,
}

/// True where too many waited for a connection: nothing was asked of PostgreSQL.
pub fn is_overload(error: &sqlx::Error) -> bool {
    let sqlx::Error::Io(error) = error else { return false };
    error.get_ref().and_then(|inner| inner.downcast_ref::<Overload>()).is_some()
}

/// A connection for one statement.
#[derive(Debug)]
pub struct Taken {
    connection: PoolConnection<Postgres>,
    turn: Turns,
}

/// A transaction, which is rolled back when it is dropped.
#[derive(Debug)]
pub struct Begun {
    transaction: Transaction<'static, Postgres>,
    _turn: Turns,
}

impl Deref for Begun {
    type Target = PgConnection;

    fn deref(&self) -> &PgConnection {
        &self.transaction
    }
}

impl DerefMut for Begun {
    fn deref_mut(&mut self) -> &mut PgConnection {
        &mut self.transaction
    }
}

impl Deref for Taken {
    type Target = PgConnection;

    fn deref(&self) -> &PgConnection {
        &self.connection
    }
}

impl DerefMut for Taken {
    fn deref_mut(&mut self) -> &mut PgConnection {
        &mut self.connection
    }
}

/// One's turn, and the place in front of it, which is kept meanwhile.
#[derive(Debug)]
struct Turns {
    _turn: OwnedSemaphorePermit,
    _place: Turn,
}

/// What rests outside of the pool.
#[derive(Debug, Default)]
struct Idle {
    /// The connections, and since when each of them rests.
    connections: Mutex<Vec<(PoolConnection<Postgres>, Instant)>>,
    /// How many found none here, and wait at the pool: what is given back goes there then.
    wanted: AtomicUsize,
}

/// One that waits at the pool until this is dropped.
struct Wanted<'a>(&'a AtomicUsize);

impl<'a> Wanted<'a> {
    fn by_one(idle: &'a Idle) -> Self {
        idle.wanted.fetch_add(1, Ordering::Relaxed);
        Self(&idle.wanted)
    }
}

impl Drop for Wanted<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Idle {
    fn lock(&self) -> MutexGuard<'_, Vec<(PoolConnection<Postgres>, Instant)>> {
        self.connections.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Idle {
    fn drop(&mut self) {
        // To go back to the pool takes a runtime, which may be gone by now.
        for (connection, _) in self.lock().drain(..) {
            drop(connection.detach());
        }
    }
}

impl Kept {
    /// Keeps at most half of a pool's connections, until the pool is closed. Those who are refused are counted
    /// by the purpose of the pool.
    pub fn new(pool: PgPool, purpose: &'static str) -> Self {
        let idle: Arc<Idle> = Arc::default();
        let (closed, kept) = (pool.close_event(), Arc::downgrade(&idle));
        tokio::spawn(async move {
            closed.await;
            if let Some(idle) = kept.upgrade() {
                idle.lock().clear();
            }
        });
        let size = size(&pool);
        let count = size.saturating_sub(LEFT).max(1);
        let turns = Arc::new(Semaphore::new(count));
        let line = Line::new(count, size, purpose);
        let patient = Line::new(count.div_ceil(2), size, purpose);
        Self { pool, idle, turns, line, patient, is_patient: false }
    }

    /// The same connections for those who must not be sent away: what they have begun is to be ended, or they
    /// are few. While others wait, too, every third turn is theirs.
    #[must_use]
    pub fn patient(&self) -> Self {
        Self { is_patient: true, ..self.clone() }
    }

    /// The pool, for what is no request's.
    pub fn pool(&self) -> &PgPool {
        &self.pool
    }

    /// A connection for one statement; at most as many are taken at a time as the pool has, but for two.
    ///
    /// # Errors
    /// When there is none in time: see [`is_overload`].
    pub async fn take(&self) -> Result<Taken, sqlx::Error> {
        let turn = self.turn().await?;
        let newest = self.idle.lock().pop();
        // One that rested for longer the pool tries, now that it gets it back.
        let trusted = newest.filter(|(_, since)| since.elapsed() <= TRUST_FOR);
        let connection = if let Some((connection, _)) = trusted {
            connection
        } else {
            let _wanted = Wanted::by_one(&self.idle);
            self.pool.acquire().await?
        };
        Ok(Taken { connection, turn })
    }

    /// A transaction, begun by this statement. It counts as a connection that is taken.
    ///
    /// # Errors
    /// When there is no connection in time, see [`is_overload`], or the statement fails.
    pub async fn begin(&self, statement: &'static str) -> Result<Begun, sqlx::Error> {
        let Taken { connection, turn } = self.take().await?;
        let transaction = Transaction::begin(connection, Some(statement.into())).await?;
        Ok(Begun { transaction, _turn: turn })
    }

    async fn turn(&self) -> Result<Turns, sqlx::Error> {
        let next = self.turns.clone().acquire_owned();
        let (place, turn) = if self.is_patient {
            let both = self.patient.turn_and_within(ACQUIRE_FOR, next).await;
            both.ok_or(sqlx::Error::PoolTimedOut)?
        } else {
            let both = self.line.turn_and(next).await;
            both.map_err(|error| sqlx::Error::Io(io::Error::other(error)))?
        };
        // The turns never end.
        Ok(Turns { _place: place, _turn: turn.map_err(|_| sqlx::Error::PoolClosed)? })
    }

    /// Gives a connection back whose statement succeeded; one that is dropped goes back to the pool.
    pub fn give_back(&self, taken: Taken) {
        let mut idle = self.idle.lock();
        let is_wanted = self.idle.wanted.load(Ordering::Relaxed) > 0;
        if !is_wanted && idle.len() < size(&self.pool) / 2 && !self.pool.is_closed() {
            idle.push((taken.connection, Instant::now()));
        }
    }
}

fn size(pool: &PgPool) -> usize {
    usize::try_from(pool.options().get_max_connections()).unwrap_or(usize::MAX)
}
