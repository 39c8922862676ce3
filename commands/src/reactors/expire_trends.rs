//! Expires trends that no source has reported again for a while.

use std::time::Duration;

use orion_domain::{Trend, TrendCommand};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::runner::envelope;
use crate::actor::Envelope;
use crate::bus::Bus;
use crate::error::CommandError;
use crate::unit::Single;

/// The name in the commands' ids.
const NAME: &str = "expire_trends";

/// How often the log is searched, unless the time to live is shorter.
const SEARCH_EVERY: Duration = Duration::from_mins(1);

/// The most trends that one search expires.
const BATCH_MAX: usize = 500;

/// Expires trends that were neither detected nor rescored for `time_to_live`, until `stop`.
///
/// Several servers may run it at once: the command's id comes from the trend's newest event, so
/// that only one of them expires it.
pub async fn expire_trends(bus: Bus, time_to_live: Duration, stop: CancellationToken) {
    let mut ticks =
        tokio::time::interval(SEARCH_EVERY.min(time_to_live).max(Duration::from_millis(100)));
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let forever = async {
        loop {
            ticks.tick().await;
            match expire_due(&bus, time_to_live).await {
                Ok(0) => {}
                Ok(expired) => info!(expired, "trends expired"),
                Err(error) => {
                    let error: &dyn std::error::Error = &error;
                    warn!(error, "trends not expired");
                }
            }
        }
    };
    stop.run_until_cancelled(forever).await;
}

async fn expire_due(bus: &Bus, time_to_live: Duration) -> Result<usize, CommandError> {
    let alive = ["trend.detected", "trend.rescored"];
    let mut expired = 0;
    loop {
        let due = bus.log().resting_since("trend", &alive, time_to_live, BATCH_MAX).await?;
        for trend in &due {
            let expire = Single::<Trend>::new(trend.id, TrendCommand::Expire);
            // Only as it was found: it may have been rescored since.
            let expected_version = Some(trend.version);
            let envelope = Envelope { expected_version, ..envelope(NAME, trend.position) };
            match bus.run(&envelope, &expire).await {
                Ok(_) => expired += 1,
                // Someone rescored, archived or expired it in between.
                Err(CommandError::Refused(_)) => {}
                Err(error) => return Err(error),
            }
        }
        if due.len() < BATCH_MAX {
            return Ok(expired);
        }
    }
}
