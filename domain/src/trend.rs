//! A trend: a topic that an external source reports, until it cools down.

use cqrs_es::Aggregate;
use cqrs_es::event_sink::EventSink;
use serde::{Deserialize, Serialize};

use crate::aggregate::{AggregateRoot, Rejection};
use crate::event::events;
use crate::values::{Json, Score, Source, Topic, TrendStatus};

/// What may be asked of a trend.
#[derive(Clone, Debug)]
pub enum TrendCommand {
    /// A source reported the topic for the first time.
    Detect {
        /// What is trending.
        topic: Topic,
        /// Who reported it, such as `google` or `rss`.
        source: Source,
        /// How relevant it is.
        score: Score,
        /// The source's answer as it came.
        raw_data: Option<Json>,
    },
    /// The source reported it again.
    Rescore {
        /// How relevant it is now.
        score: Score,
    },
    /// It is no longer trending.
    Expire,
    /// A person puts it away.
    Archive,
}

events! {
    /// What happened to a trend.
    TrendEvent {
        /// Row of `trends` begins, active.
        "trend.detected" "1" => Detected {
            /// What is trending.
            topic: Topic,
            /// Who reported it.
            source: Source,
            /// How relevant it is.
            score: Score,
            /// The source's answer as it came.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            raw_data: Option<Json>,
        },
        /// The relevance was measured again.
        "trend.rescored" "1" => Rescored {
            /// How relevant it is now.
            score: Score,
        },
        /// It stopped trending.
        "trend.expired" "1" => Expired {},
        /// A person put it away.
        "trend.archived" "1" => Archived {},
    }
}

/// Why a command on a trend was refused.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum TrendError {
    /// No such trend.
    #[error("there is no such trend")]
    NotFound,
    /// The id is taken.
    #[error("a trend with this id exists already")]
    AlreadyExists,
    /// Only an active trend is rescored or expired.
    #[error("the trend is {status}, not active")]
    NotActive {
        /// What it is instead.
        status: TrendStatus,
    },
    /// Archived once is archived.
    #[error("the trend is archived already")]
    AlreadyArchived,
}

impl Rejection for TrendError {
    fn code(&self) -> &'static str {
        match self {
            Self::NotFound => "NOT_FOUND",
            Self::AlreadyExists => "ALREADY_EXISTS",
            Self::NotActive { .. } => "NOT_ACTIVE",
            Self::AlreadyArchived => "ALREADY_ARCHIVED",
        }
    }
}

/// The state that decisions about a trend need.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Trend {
    status: Option<TrendStatus>,
}

impl Trend {
    /// Where the trend is in its life; `None` before it was detected.
    pub fn status(&self) -> Option<TrendStatus> {
        self.status
    }
}

impl AggregateRoot for Trend {
    const EVENT_TYPES: &'static [(&'static str, &'static str)] = TrendEvent::TYPES;
    const SNAPSHOT_SHAPE: i32 = 1;

    fn exists(&self) -> bool {
        self.status.is_some()
    }

    fn decide(&self, command: TrendCommand) -> Result<Vec<TrendEvent>, TrendError> {
        let event = match (self.status, command) {
            (None, TrendCommand::Detect { topic, source, score, raw_data }) => {
                TrendEvent::Detected { topic, source, score, raw_data }
            }
            (Some(_), TrendCommand::Detect { .. }) => return Err(TrendError::AlreadyExists),
            (None, TrendCommand::Rescore { .. } | TrendCommand::Expire | TrendCommand::Archive) => {
                return Err(TrendError::NotFound);
            }
            (Some(TrendStatus::Active), TrendCommand::Rescore { score }) => {
                TrendEvent::Rescored { score }
            }
            (Some(TrendStatus::Active), TrendCommand::Expire) => TrendEvent::Expired {},
            (
                Some(status @ (TrendStatus::Expired | TrendStatus::Archived)),
                TrendCommand::Rescore { .. } | TrendCommand::Expire,
            ) => return Err(TrendError::NotActive { status }),
            (Some(TrendStatus::Active | TrendStatus::Expired), TrendCommand::Archive) => {
                TrendEvent::Archived {}
            }
            (Some(TrendStatus::Archived), TrendCommand::Archive) => {
                return Err(TrendError::AlreadyArchived);
            }
        };
        Ok(vec![event])
    }
}

impl Aggregate for Trend {
    const TYPE: &'static str = "trend";
    type Command = TrendCommand;
    type Event = TrendEvent;
    type Error = TrendError;
    type Services = ();

    async fn handle(
        &mut self,
        command: TrendCommand,
        (): &(),
        sink: &EventSink<Self>,
    ) -> Result<(), TrendError> {
        for event in self.decide(command)? {
            sink.write(event, self).await;
        }
        Ok(())
    }

    fn apply(&mut self, event: TrendEvent) {
        match event {
            TrendEvent::Detected { .. } => self.status = Some(TrendStatus::Active),
            TrendEvent::Rescored { .. } => {}
            TrendEvent::Expired {} => self.status = Some(TrendStatus::Expired),
            TrendEvent::Archived {} => self.status = Some(TrendStatus::Archived),
        }
    }
}
