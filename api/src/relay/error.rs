//! Why nothing is relayed.

use async_nats::jetstream::context::PublishError;
use orion_store::{Position, StoreError};

/// Why a relay gave up its place.
#[derive(Debug, thiserror::Error)]
pub enum RelayError {
    /// No server of the NATS can be used.
    #[error("NATS cannot be reached")]
    Unreachable(#[source] async_nats::ConnectError),
    /// The connection has ended.
    #[error("the connection to NATS is lost")]
    Lost,
    /// JetStream says no, or nothing.
    #[error("JetStream failed while {doing}")]
    JetStream {
        /// What was tried.
        doing: &'static str,
        /// What it says.
        source: async_nats::Error,
    },
    /// An event was not stored. Who relays next finds out why.
    #[error("JetStream did not take the event at position {position}")]
    Refused {
        /// The event.
        position: Position,
        /// What it says.
        source: PublishError,
    },
    /// PostgreSQL failed.
    #[error("the database failed the relay")]
    Database(#[from] sqlx::Error),
    /// The log cannot be read.
    #[error("reading the log for the relay")]
    Log(#[from] StoreError),
    /// The log has lost events that were relayed, or the stream is another log's.
    #[error("JetStream is ahead of the log: it has position {jetstream}, the log ends at {log}")]
    Ahead {
        /// The number of the stream's last message.
        jetstream: Position,
        /// The newest event.
        log: Position,
    },
    /// The log goes on otherwise than the stream, or something else was published there.
    #[error("message {position} of JetStream is not the event at position {position} of the log")]
    Differs {
        /// Where both are.
        position: Position,
    },
    /// The stream that is there cannot be the log.
    #[error("the stream ORION cannot hold the log: {0}")]
    Unfit(String),
    /// NATS takes no message of this size.
    #[error("the event at position {position} is larger than NATS allows (max_payload)")]
    TooLarge {
        /// The event.
        position: Position,
        /// With both sizes.
        source: PublishError,
    },
    /// An event that no program of Orion has written.
    #[error("the type of the event at position {position} cannot be part of a subject")]
    Unnamed {
        /// The event.
        position: Position,
    },
}

impl RelayError {
    /// True of what another try does not mend.
    pub fn needs_somebody(&self) -> bool {
        match self {
            Self::Ahead { .. }
            | Self::Differs { .. }
            | Self::Unfit(_)
            | Self::TooLarge { .. }
            | Self::Unnamed { .. } => true,
            Self::Unreachable(_)
            | Self::Lost
            | Self::JetStream { .. }
            | Self::Refused { .. }
            | Self::Database(_)
            | Self::Log(_) => false,
        }
    }
}
