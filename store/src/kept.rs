//! Connections that go from one statement to the next.
//!
//! The pool tries each connection that is given back, which takes as long as a small statement. Those that
//! answered as they should need no trial, and wait here for the next who has a single statement.

use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use sqlx::pool::PoolConnection;
use sqlx::{PgConnection, PgPool, Postgres};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use crate::connect::{ACQUIRE_FOR, TRUST_FOR};

/// A pool, and connections of it that are kept out of it. Cheap to clone; all clones share them.
#[derive(Clone, Debug)]
pub struct Kept {
    pool: PgPool,
    idle: Arc<Idle>,
    /// Who takes one waits in line here: one that is given back and kept does not come by the pool's line.
    turns: Arc<Semaphore>,
}

/// A connection for one statement.
#[derive(Debug)]
pub struct Taken {
    connection: PoolConnection<Postgres>,
    _turn: OwnedSemaphorePermit,
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
    /// Keeps at most half of a pool's connections, until the pool is closed.
    pub fn new(pool: PgPool) -> Self {
        let idle: Arc<Idle> = Arc::default();
        let (closed, kept) = (pool.close_event(), Arc::downgrade(&idle));
        tokio::spawn(async move {
            closed.await;
            if let Some(idle) = kept.upgrade() {
                idle.lock().clear();
            }
        });
        let turns = Arc::new(Semaphore::new(size(&pool)));
        Self { pool, idle, turns }
    }

    /// The pool, for what is more than a statement.
    pub fn pool(&self) -> &PgPool {
        &self.pool
    }

    /// A connection for one statement; at most as many are taken at a time as the pool has.
    ///
    /// # Errors
    /// When there is none in time.
    pub async fn take(&self) -> Result<Taken, sqlx::Error> {
        let turn = timeout(ACQUIRE_FOR, self.turns.clone().acquire_owned()).await;
        // It is never closed.
        let turn = turn.ok().and_then(Result::ok).ok_or(sqlx::Error::PoolTimedOut)?;
        let newest = self.idle.lock().pop();
        // One that rested for longer the pool tries, now that it gets it back.
        let trusted = newest.filter(|(_, since)| since.elapsed() <= TRUST_FOR);
        let connection = match trusted {
            Some((connection, _)) => connection,
            None => self.pool.acquire().await?,
        };
        Ok(Taken { connection, _turn: turn })
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
