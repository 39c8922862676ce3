//! How far a replica is behind in time, told by this process alone: the clocks of machines disagree.

use std::time::Duration;

use orion_store::Position;
use tokio::time::Instant;

/// Compares the replica with what the primary was some time ago.
#[derive(Debug)]
pub struct Pace {
    /// What the primary had.
    mark: Position,
    /// When it had it.
    since: Instant,
    /// How long it took the replica to get to the mark before this one.
    took: Duration,
}

impl Pace {
    /// Of a replica that may be any time behind: it has to get to where the primary is.
    pub fn new(primary: Position) -> Self {
        Self { mark: primary, since: Instant::now(), took: Duration::MAX }
    }

    /// How far a replica with this position is behind a primary with that one, but for the time between two
    /// looks.
    pub fn lag(&mut self, replica: Position, primary: Position) -> Duration {
        if replica >= primary {
            *self = Self { took: Duration::ZERO, ..Self::new(primary) };
        } else if replica >= self.mark {
            *self = Self { took: self.since.elapsed(), ..Self::new(primary) };
        }
        self.took.max(self.since.elapsed())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// Looks once a second at a primary that gets ten events a second, and a replica so many seconds behind.
    async fn follow(pace: &mut Pace, from: i64, until: i64, behind: i64) -> Vec<u64> {
        let mut lags = Vec::new();
        for second in from..until {
            let lag = pace.lag(Position((second - behind) * 10), Position(second * 10));
            lags.push(lag.as_secs());
            tokio::time::advance(SECOND).await;
        }
        lags
    }

    #[tokio::test(start_paused = true)]
    async fn a_constant_lag_is_told_and_does_not_come_and_go() {
        let mut pace = Pace::new(Position(1_000));
        let lags = follow(&mut pace, 100, 200, 15).await;
        // Until it has got to the first mark nothing is known of it.
        assert!(lags[..15].iter().all(|lag| *lag > 1_000), "{lags:?}");
        assert!(lags[15..].iter().all(|lag| (15..=16).contains(lag)), "{lags:?}");
        assert_eq!(follow(&mut pace, 200, 203, 0).await, [0; 3]);
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_stands_falls_behind_and_an_idle_primary_is_caught_up_with() {
        let mut pace = Pace::new(Position(5));
        assert_eq!(pace.lag(Position(5), Position(5)), Duration::ZERO);
        tokio::time::advance(100 * SECOND).await;
        assert_eq!(pace.lag(Position(5), Position(5)), Duration::ZERO);
        tokio::time::advance(SECOND).await;
        for behind in 1..20 {
            let lag = pace.lag(Position(5), Position(9));
            assert!(lag <= behind * SECOND && lag + SECOND >= behind * SECOND, "{lag:?}");
            tokio::time::advance(SECOND).await;
        }
        assert_eq!(pace.lag(Position(9), Position(9)), Duration::ZERO);
    }
}
