//! Expires trends that no source has reported again for a while.

use std::time::Duration;

use orion_domain::{Trend, TrendCommand};
use tokio_util::sync::CancellationToken;

use super::resting::Resting;
use crate::bus::Bus;

/// How often the log is searched, unless the time to live is shorter.
const SEARCH_EVERY: Duration = Duration::from_mins(1);

/// Expires trends that were neither detected nor rescored for `time_to_live`, until `stop`.
pub async fn expire_trends(bus: Bus, time_to_live: Duration, stop: CancellationToken) {
    let timer = Resting::<Trend> {
        name: "expire_trends",
        newest: &["trend.detected", "trend.rescored"],
        age: time_to_live,
        command: || TrendCommand::Expire,
    };
    timer.run(bus, SEARCH_EVERY.min(time_to_live).max(Duration::from_millis(100)), stop).await;
}
