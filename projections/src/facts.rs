//! The log in the domain's terms, as folds read it.

use orion_store::{
    Fact, KeyRing, LogReader, Position, ReadError, RecordedEvent, StoreError, Vault,
};
use sqlx::PgConnection;

/// Why the log could not be folded.
#[derive(Debug, thiserror::Error)]
pub enum FactsError {
    /// The log could not be read.
    #[error("reading the log")]
    Log(#[from] StoreError),
    /// An event could not be read.
    #[error("reading the event at position {position}")]
    Event {
        /// Where.
        position: Position,
        /// Why.
        #[source]
        source: ReadError,
    },
    /// Positions have no gap, so whoever computed tables from this log would write down what somebody has made of it.
    #[error(
        "the log has {found} events up to position {position}; orion-replay verify names those that are missing"
    )]
    Gap {
        /// How many events there are.
        found: u64,
        /// Up to here, and so many there should be.
        position: Position,
    },
    /// The tables show what the log does not have.
    #[error("the log ends at {head}, before the projection's position {position}")]
    LogEnds {
        /// The newest event.
        head: Position,
        /// The projection's checkpoint.
        position: Position,
    },
}

/// Reads a part of the log, in order, with the keys as a transaction sees them.
pub(crate) struct Facts<'v> {
    vault: &'v Vault,
    reader: LogReader,
    until: Position,
}

impl<'v> Facts<'v> {
    /// Of the events after a position, up to another.
    pub fn new(vault: &'v Vault, after: Position, until: Position) -> Self {
        Self { vault, reader: LogReader::new(after, until), until }
    }

    /// The next ones; none when all are read.
    pub async fn next(&mut self, connection: &mut PgConnection) -> Result<Vec<Fact>, FactsError> {
        let head = self.reader.position();
        if head >= self.until {
            return Ok(Vec::new());
        }
        let events = self.reader.next(connection).await?;
        if events.is_empty() {
            return Err(FactsError::LogEnds { head, position: self.until });
        }
        let ring = self.vault.ring_within(connection, &events).await?;
        events.iter().map(|event| read(&ring, event)).collect()
    }
}

/// One event, opened and decoded.
pub(crate) fn read(ring: &KeyRing, event: &RecordedEvent) -> Result<Fact, FactsError> {
    ring.read(event).map_err(|source| FactsError::Event { position: event.position, source })
}
