//! Connections that go from one statement to the next.
//!
//! The pool tries each connection that is given back, which takes as long as a small statement. Those that
//! answered as they should need no trial, and wait here for the next.
//!
//! Who waits for one stands in line for a moment, and is refused then. That is no failure of PostgreSQL, which
//! was not asked for anything; [`is_overload`] tells the two apart.

use std::io;
use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use sqlx::pool::PoolConnection;
use sqlx::{PgConnection, PgPool, Postgres, Transaction};

use crate::connect::{ACQUIRE_FOR, TRUST_FOR};
use crate::line::{Line, Overload, Turn};

/// A pool, and connections of it that are kept out of it. Cheap to clone; all clones share them.
#[derive(Clone, Debug)]
pub struct Kept {
    pool: PgPool,
    idle: Arc<Idle>,
    /// Who takes one waits in line here: one that is given back and kept does not come by the pool's line.
    line: Line,
    /// Waits for as long as the pool would, without a place in the line.
    is_patient: bool,
}

/// True where too many waited for a connection: nothing was asked of PostgreSQL.
pub fn is_overload(error: &sqlx::Error) -> bool {
    let sqlx::Error::Io(error) = error else { return false };
    error.get_ref().is_some_and(|error| error.is::<Overload>())
}

/// A connection for one statement.
#[derive(Debug)]
pub struct Taken {
    connection: PoolConnection<Postgres>,
    turn: Turn,
}

/// A transaction, which is rolled back when it is dropped.
#[derive(Debug)]
pub struct Begun {
    transaction: Transaction<'static, Postgres>,
    _turn: Turn,
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

/// The connections, and since when each of them rests.
#[derive(Debug, Default)]
struct Idle(Mutex<Vec<(PoolConnection<Postgres>, Instant)>>);

impl Idle {
    fn lock(&self) -> MutexGuard<'_, Vec<(PoolConnection<Postgres>, Instant)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
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
        let line = Line::new(size(&pool), size(&pool), purpose);
        Self { pool, idle, line, is_patient: false }
    }

    /// The same connections for those who must not be sent away: what they have begun is to be ended, or they
    /// are few. They stand behind whoever came before them, but there is always a place.
    #[must_use]
    pub fn patient(&self) -> Self {
        Self { is_patient: true, ..self.clone() }
    }

    /// The pool, for what is no request's.
    pub fn pool(&self) -> &PgPool {
        &self.pool
    }

    /// A connection for one statement; at most as many are taken at a time as the pool has.
    ///
    /// # Errors
    /// When there is none in time: see [`is_overload`].
    pub async fn take(&self) -> Result<Taken, sqlx::Error> {
        let turn = self.turn().await?;
        let newest = self.idle.lock().pop();
        // One that rested for longer the pool tries, now that it gets it back.
        let trusted = newest.filter(|(_, since)| since.elapsed() <= TRUST_FOR);
        let connection = match trusted {
            Some((connection, _)) => connection,
            None => self.pool.acquire().await?,
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

    async fn turn(&self) -> Result<Turn, sqlx::Error> {
        if self.is_patient {
            return self.line.turn_within(ACQUIRE_FOR).await.ok_or(sqlx::Error::PoolTimedOut);
        }
        self.line.turn().await.map_err(|overload| sqlx::Error::Io(io::Error::other(overload)))
    }

    /// Gives a connection back whose statement succeeded; one that is dropped goes back to the pool.
    pub fn give_back(&self, taken: Taken) {
        let mut idle = self.idle.lock();
        if idle.len() < size(&self.pool) / 2 && !self.pool.is_closed() {
            idle.push((taken.connection, Instant::now()));
        }
    }
}

fn size(pool: &PgPool) -> usize {
    usize::try_from(pool.options().get_max_connections()).unwrap_or(usize::MAX)
}
