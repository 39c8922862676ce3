//! Load: so many callers, each calling again as soon as it is answered.

use std::time::{Duration, Instant};

use tokio::task::JoinSet;

/// How often something was done, and how long it took.
#[derive(Clone, Copy, Debug, Default)]
pub struct Load {
    /// Calls that were answered, in a second.
    pub per_second: f64,
    /// Half of the calls took no longer, in milliseconds.
    pub p50_ms: f64,
    /// 99 of 100 calls took no longer, in milliseconds.
    pub p99_ms: f64,
}

impl Load {
    /// Of calls that took so long, within a time.
    #[must_use]
    pub fn of(mut calls: Vec<Duration>, within: Duration) -> Self {
        calls.sort_unstable();
        #[expect(clippy::cast_precision_loss, reason = "a rate needs no more than 52 bits")]
        let per_second = calls.len() as f64 / within.as_secs_f64();
        let at = |percent: usize| {
            let index = (calls.len() * percent / 100).min(calls.len().saturating_sub(1));
            calls.get(index).map_or(f64::NAN, |call| call.as_secs_f64() * 1e3)
        };
        Self { per_second, p50_ms: at(50), p99_ms: at(99) }
    }

    /// The one that did more.
    #[must_use]
    pub fn or_better(self, other: Self) -> Self {
        if other.per_second > self.per_second { other } else { self }
    }
}

/// Lets each caller call for so long. `call` gets the caller's state and gives it back.
///
/// # Panics
/// When a caller panics.
pub async fn load<S: Send + 'static, F: Future<Output = S> + Send>(
    callers: impl IntoIterator<Item = S>,
    run_for: Duration,
    call: impl Fn(S) -> F + Clone + Send + 'static,
) -> Load {
    let began = Instant::now();
    let mut tasks = JoinSet::new();
    for mut state in callers {
        let call = call.clone();
        tasks.spawn(async move {
            let mut calls = Vec::new();
            while began.elapsed() < run_for {
                let before = Instant::now();
                state = call(state).await;
                calls.push(before.elapsed());
            }
            calls
        });
    }
    let calls = tasks.join_all().await.concat();
    Load::of(calls, began.elapsed())
}
