//! Removes the rows of sessions whose last refresh token has expired.

use std::time::Duration;

use orion_domain::session::REFRESH_TOKEN_TTL;
use orion_domain::{Session, SessionCommand};
use tokio_util::sync::CancellationToken;

use super::resting::Resting;
use crate::bus::Bus;

/// How often the log is searched, unless sessions rest for a shorter time.
const SEARCH_EVERY: Duration = Duration::from_hours(1);

/// How long a session rests before its last token has expired.
pub const SESSION_RESTS: Duration =
    Duration::from_secs(REFRESH_TOKEN_TTL.num_seconds().cast_unsigned());

/// Removes sessions in which nothing has happened for `rests`, if their last token has expired,
/// until `stop`. A living session drops its old tokens by itself when it is refreshed.
pub async fn remove_sessions(bus: Bus, rests: Duration, stop: CancellationToken) {
    let timer = Resting::<Session> {
        name: "remove_sessions",
        newest: &[
            "session.started",
            "session.rotated",
            "session.tokens_expired",
            "session.revoked",
        ],
        age: rests,
        command: || SessionCommand::Remove { now: orion_store::now() },
    };
    timer.run(bus, SEARCH_EVERY.min(rests).max(Duration::from_millis(100)), stop).await;
}
