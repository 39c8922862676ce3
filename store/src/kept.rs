//! Connections that go from one statement to the next.
//!
//! The pool tries each connection that is given back, which takes as long as a small statement. Those that
//! answered as they should need no trial, and wait here for the next who has a single statement.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use sqlx::pool::PoolConnection;
use sqlx::{PgPool, Postgres};

use crate::connect::TRUST_FOR;

/// A pool, and connections of it that are kept out of it. Cheap to clone; all clones share them.
#[derive(Clone, Debug)]
pub struct Kept {
    pool: PgPool,
    idle: Arc<Idle>,
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
        Self { pool, idle }
    }

    /// The pool, for what is more than a statement.
    pub fn pool(&self) -> &PgPool {
        &self.pool
    }

    /// A connection for one statement.
    ///
    /// # Errors
    /// When there is none in time.
    pub async fn take(&self) -> Result<PoolConnection<Postgres>, sqlx::Error> {
        let newest = self.idle.lock().pop();
        match newest {
            Some((connection, since)) if since.elapsed() <= TRUST_FOR => Ok(connection),
            // The pool tries it when it gets it back, and whatever it gives.
            Some(_) | None => self.pool.acquire().await,
        }
    }

    /// Gives a connection back whose statement succeeded; one that is dropped goes back to the pool.
    pub fn give_back(&self, connection: PoolConnection<Postgres>) {
        let max =
            usize::try_from(self.pool.options().get_max_connections() / 2).unwrap_or_default();
        let mut idle = self.idle.lock();
        if idle.len() < max && !self.pool.is_closed() {
            idle.push((connection, Instant::now()));
        }
    }
}
