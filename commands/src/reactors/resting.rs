//! Timer reactors: what happens to aggregates in which nothing has happened for a while.

use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::runner::envelope;
use crate::actor::Envelope;
use crate::bus::Bus;
use crate::error::CommandError;
use crate::governed::Governed;
use crate::unit::Single;

/// The most aggregates of one search.
const BATCH_MAX: usize = 500;

/// A command for each aggregate that has rested long enough.
pub(super) struct Resting<A: Governed> {
    /// The name in the commands' ids.
    pub name: &'static str,
    /// The events after which it rests.
    pub newest: &'static [&'static str],
    /// For how long.
    pub age: Duration,
    /// What is asked of it then.
    pub command: fn() -> A::Command,
}

impl<A: Governed> Resting<A> {
    /// Searches the log every so often, until `stop`.
    ///
    /// Several servers may run it at once: the command's id comes from the newest event, so that only
    /// one of them acts on it.
    pub async fn run(self, bus: Bus, search_every: Duration, stop: CancellationToken) {
        let mut ticks = tokio::time::interval(search_every);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let forever = async {
            loop {
                ticks.tick().await;
                match self.run_once(&bus).await {
                    Ok(0) => {}
                    Ok(done) => info!(done, reactor = self.name, "rested long enough"),
                    Err(error) => {
                        let error: &dyn std::error::Error = &error;
                        warn!(error, reactor = self.name, "timer failed, trying again");
                    }
                }
            }
        };
        stop.run_until_cancelled(forever).await;
    }

    /// Commands all that are due. Says how many there were.
    async fn run_once(&self, bus: &Bus) -> Result<usize, CommandError> {
        let mut done = 0;
        loop {
            let due = bus.log().resting_since(A::TYPE, self.newest, self.age, BATCH_MAX).await?;
            let before = done;
            for aggregate in &due {
                let command = Single::<A>::new(aggregate.id, (self.command)());
                // Only as it was found: something may have happened since.
                let expected_version = Some(aggregate.version);
                let envelope =
                    Envelope { expected_version, ..envelope(self.name, aggregate.position) };
                match bus.run(&envelope, &command).await {
                    Ok(_) => done += 1,
                    // Somebody was faster, or its own rule says that it is too early.
                    Err(CommandError::Refused(_)) => {}
                    Err(error) => return Err(error),
                }
            }
            // A full batch of refusals would come again as it is.
            if due.len() < BATCH_MAX || done == before {
                return Ok(done);
            }
        }
    }
}
