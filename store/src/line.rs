//! The line of those who wait for the same.
//!
//! It is short, in places and in time: who would have to wait for longer is better told at once to come back.

use std::future::ready;
use std::sync::Arc;
use std::time::Duration;

use metrics::counter;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

/// How many may stand in line for each connection to PostgreSQL. Where a statement takes a few milliseconds,
/// the last of them has waited about as long as anybody may.
const PLACES_PER_CONNECTION: usize = 64;

/// How long one stands in line.
const WAIT_MAX: Duration = Duration::from_millis(500);

/// A line. Cheap to clone; all clones are the same.
#[derive(Clone, Debug)]
pub struct Line {
    /// What it is for, in the figures.
    purpose: &'static str,
    turns: Arc<Semaphore>,
    places: Arc<Semaphore>,
}

/// It is one's turn until this is dropped.
#[derive(Debug)]
pub struct Turn {
    _permit: OwnedSemaphorePermit,
}

/// The line was full, or too slow; nothing was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("too many wait for the same")]
pub struct Overload;

impl Line {
    /// So many have their turn at a time, with a pool of so many connections. Those who are refused are counted
    /// by the purpose, which is one of a few.
    pub fn new(turns: usize, connections: usize, purpose: &'static str) -> Self {
        let places = connections.saturating_mul(PLACES_PER_CONNECTION);
        // So that the figure is there before somebody is refused.
        counter!("orion_overloaded_total", "of" => purpose).increment(0);
        let semaphore =
            |permits: usize| Arc::new(Semaphore::new(permits.min(Semaphore::MAX_PERMITS)));
        Self { purpose, turns: semaphore(turns), places: semaphore(places) }
    }

    /// Waits for one's turn, for a moment.
    ///
    /// # Errors
    /// When too many do.
    pub async fn turn(&self) -> Result<Turn, Overload> {
        let (turn, ()) = self.turn_and(ready(())).await?;
        Ok(turn)
    }

    /// Waits for one's turn and then for something else, for a moment in all.
    pub(crate) async fn turn_and<T>(
        &self,
        then: impl Future<Output = T>,
    ) -> Result<(Turn, T), Overload> {
        let both = match self.places.try_acquire() {
            Ok(_place) => self.turn_and_within(WAIT_MAX, then).await,
            Err(_) => None,
        };
        both.ok_or_else(|| {
            counter!("orion_overloaded_total", "of" => self.purpose).increment(1);
            Overload
        })
    }

    /// Waits for one's turn behind those who came before, without a place, and then for something else; `None` when
    /// it has not come by then.
    pub(crate) async fn turn_and_within<T>(
        &self,
        patience: Duration,
        then: impl Future<Output = T>,
    ) -> Option<(Turn, T)> {
        let both = async {
            // The turns never end.
            let permit = self.turns.clone().acquire_owned().await.ok()?;
            Some((Turn { _permit: permit }, then.await))
        };
        timeout(patience, both).await.ok()?
    }
}
