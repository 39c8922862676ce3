//! A moment of the log, as people name it: a position, or a time.

use std::error::Error;
use std::str::FromStr;

use chrono::{DateTime, Utc};
use orion_store::{Position, log};
use sqlx::PgPool;

/// A position, or the last event that was recorded by a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// Right after this event.
    Position(Position),
    /// After all events that were recorded by then.
    At(DateTime<Utc>),
}

impl FromStr for Moment {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if let Ok(position) = text.parse::<i64>() {
            return if position > 0 {
                Ok(Self::Position(Position(position)))
            } else {
                Err("positions begin with 1")
            };
        }
        DateTime::parse_from_rfc3339(text)
            .map(|time| Self::At(time.to_utc()))
            .map_err(|_| "neither a position nor a time such as 2026-02-01T12:00:00Z")
    }
}

impl Moment {
    /// The position in the log; an error where there was none yet, or is none so far.
    pub async fn position(self, pool: &PgPool) -> Result<Position, Box<dyn Error>> {
        match self {
            Self::Position(position) => {
                let head = log::head(pool).await?;
                if position > head {
                    return Err(format!("the log ends at {head}, before {position}").into());
                }
                Ok(position)
            }
            Self::At(time) => match log::position_at(&mut *pool.acquire().await?, time).await? {
                Position::START => Err(format!("nothing was recorded by {time}").into()),
                position => Ok(position),
            },
        }
    }
}
