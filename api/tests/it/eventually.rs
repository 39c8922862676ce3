//! Waiting for what comes soon: a condition is asked again and again, for a bounded time.

use std::time::Duration;

use tokio::time::{Instant, interval};

/// How long a test waits for what must come.
pub const SOON: Duration = Duration::from_secs(20);

/// How often it looks.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// The first answer that is there.
///
/// # Panics
/// When there is none in time.
pub async fn eventually<T>(what: &str, look: impl AsyncFnMut() -> Option<T>) -> T {
    match within(SOON, look).await {
        Some(found) => found,
        None => panic!("not within {} s: {what}", SOON.as_secs()),
    }
}

/// The first answer that is there, or nothing when the time is up.
pub async fn within<T>(
    wait_at_most: Duration,
    mut look: impl AsyncFnMut() -> Option<T>,
) -> Option<T> {
    let deadline = Instant::now() + wait_at_most;
    let mut looks = interval(LOOK_EVERY);
    loop {
        looks.tick().await;
        if let Some(found) = look().await {
            return Some(found);
        }
        if Instant::now() > deadline {
            return None;
        }
    }
}
