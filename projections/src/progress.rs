//! How far a projection is, for those who wait for it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use orion_store::Position;
use sqlx::{Executor, PgPool, Postgres};
use tokio::sync::{Notify, watch};

/// Whether a projection goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Status {
    /// It follows the log.
    Running,
    /// An event could not be applied; it waits for a fix and `orion-replay resume`.
    Stopped {
        /// What was wrong.
        error: String,
    },
}

/// A projection's place in the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// Everything up to here is applied.
    pub position: Position,
    /// Whether it goes on.
    pub status: Status,
}

/// Why a checkpoint could not be read or changed.
#[derive(Debug, thiserror::Error)]
pub enum ProgressError {
    /// PostgreSQL refused or could not be reached.
    #[error("reading the checkpoint of a projection")]
    Database(#[from] sqlx::Error),
    /// No projection of that name, or it is not stopped.
    #[error("no stopped projection is called {name:?}")]
    NotStopped {
        /// The name that was asked for.
        name: String,
    },
}

/// A live view of a projection's checkpoint, shared by all who wait for it in this process.
#[derive(Clone, Debug)]
pub struct Progress {
    checkpoints: watch::Receiver<Checkpoint>,
    awaited: Arc<Awaited>,
}

/// Whether anybody waits for a projection to get on.
#[derive(Debug, Default)]
pub(crate) struct Awaited {
    waiting: AtomicUsize,
    /// Somebody began to wait.
    begun: Notify,
}

impl Awaited {
    /// Returns when somebody waits; true if nobody did before.
    pub(crate) async fn by_anybody(&self) -> bool {
        let is_awaited = || self.waiting.load(Ordering::Relaxed) > 0;
        let begins = !is_awaited();
        while !is_awaited() {
            self.begun.notified().await;
        }
        begins
    }
}

/// One who waits for as long as it lives.
struct Waiter<'a>(&'a Awaited);

impl<'a> Waiter<'a> {
    fn of(awaited: &'a Awaited) -> Self {
        awaited.waiting.fetch_add(1, Ordering::Relaxed);
        awaited.begun.notify_one();
        Self(awaited)
    }
}

impl Drop for Waiter<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Progress {
    pub(crate) fn new(checkpoints: watch::Receiver<Checkpoint>, awaited: Arc<Awaited>) -> Self {
        Self { checkpoints, awaited }
    }

    /// The newest checkpoint that this process has seen.
    pub fn now(&self) -> Checkpoint {
        self.checkpoints.borrow().clone()
    }

    /// Waits until the projection has applied a position. False when it is stopped before it, or
    /// when the time is up.
    pub async fn reached(&self, position: Position, wait_at_most: Duration) -> bool {
        let settled = self.until(|checkpoint| {
            checkpoint.position >= position || checkpoint.status != Status::Running
        });
        let settled = tokio::time::timeout(wait_at_most, settled).await.ok().flatten();
        settled.is_some_and(|checkpoint| checkpoint.position >= position)
    }

    /// Waits for a checkpoint, as long as it takes; nothing when the projector of this process is gone.
    pub async fn until(
        &self,
        mut is_it: impl FnMut(&Checkpoint) -> bool + Send,
    ) -> Option<Checkpoint> {
        let now = self.now();
        if is_it(&now) {
            return Some(now);
        }
        let _waiter = Waiter::of(&self.awaited);
        self.checkpoints.clone().wait_for(is_it).await.ok().map(|checkpoint| checkpoint.clone())
    }
}

/// Reads a projection's checkpoint; a projection that never ran is at the start.
pub async fn checkpoint<'c>(
    executor: impl Executor<'c, Database = Postgres>,
    name: &str,
) -> Result<Checkpoint, ProgressError> {
    let row: Option<(i64, bool, Option<String>)> = sqlx::query_as(
        "SELECT position, status = 'stopped', error FROM projection.checkpoints WHERE name = $1",
    )
    .bind(name)
    .fetch_optional(executor)
    .await?;
    Ok(match row {
        None => Checkpoint { position: Position::START, status: Status::Running },
        Some((position, false, _)) => {
            Checkpoint { position: Position(position), status: Status::Running }
        }
        Some((position, true, error)) => Checkpoint {
            position: Position(position),
            status: Status::Stopped { error: error.unwrap_or_default() },
        },
    })
}

/// Lets a stopped projection try its event again. Gives the position before that event.
pub async fn resume(pool: &PgPool, name: &str) -> Result<Position, ProgressError> {
    let resumed: Option<i64> = sqlx::query_scalar(
        "UPDATE projection.checkpoints SET status = 'running', error = NULL, updated_at = now()
         WHERE name = $1 AND status = 'stopped' RETURNING position",
    )
    .bind(name)
    .fetch_optional(pool)
    .await?;
    resumed.map(Position).ok_or_else(|| ProgressError::NotStopped { name: name.to_owned() })
}
