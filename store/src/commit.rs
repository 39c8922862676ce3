//! A commit: what one command makes happen, written whole or not at all.

use cqrs_es::DomainEvent;
use orion_domain::{AggregateRoot, Claim, ClaimChange, event};
use uuid::Uuid;

use serde_json::Value;

use crate::error::StoreError;
use crate::record::{Metadata, Position, StreamId};
use crate::vault::SealingKey;

/// Events for one or more streams, with what must hold for all of them to be written.
#[derive(Clone, Debug, Default)]
pub struct Commit {
    pub(crate) streams: Vec<(StreamId, i64)>,
    pub(crate) events: Vec<NewEvent>,
    pub(crate) claims: Vec<StoredClaim>,
    pub(crate) receipt: Option<(ReceiptKey, Receipt)>,
    /// The data keys that the commit made, for more of the same subject.
    pub(crate) sealing: Vec<SealingKey>,
    /// The subjects whose data keys it destroys.
    pub(crate) erased: Vec<Uuid>,
    pub(crate) metadata: Metadata,
}

#[derive(Clone, Debug)]
pub(crate) struct NewEvent {
    pub stream: StreamId,
    pub sequence: i64,
    pub event_type: String,
    pub event_version: String,
    pub payload: String,
}

#[derive(Clone, Debug)]
pub(crate) struct StoredClaim {
    pub holder: String,
    pub change: ClaimChange,
}

impl StoredClaim {
    /// Who changes which value.
    fn key(&self) -> (&str, &str, &str) {
        let (ClaimChange::Take(claim) | ClaimChange::Release(claim)) = &self.change;
        (&self.holder, claim.namespace, &claim.value)
    }
}

/// Names a command of a client: its sender and the id that the sender gave it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ReceiptKey {
    /// Who sent it, as in `metadata.actor`.
    pub actor: String,
    /// The id that the client chose.
    pub command_id: Uuid,
}

/// The answer to a command, kept for when it is sent again.
#[derive(Clone, Debug, PartialEq)]
pub struct Receipt {
    /// Tells another input under the same id from a repeat.
    pub input_hash: Vec<u8>,
    /// The last event that the command wrote, 0 if it wrote none; set by the append.
    pub position: Position,
    /// The ids that the command made, as a JSON object.
    pub ids: String,
}

impl Commit {
    /// Begins a commit; all of its events get this metadata.
    pub fn new(metadata: Metadata) -> Self {
        Self { metadata, ..Self::default() }
    }

    /// Adds events to a stream that was at `version` (0: new) when they were decided.
    ///
    /// Events with personal values are refused: [`EventStore::add`](crate::EventStore::add) seals them.
    pub fn append<A: AggregateRoot>(
        &mut self,
        aggregate_id: Uuid,
        version: i64,
        events: &[A::Event],
    ) -> Result<(), StoreError> {
        let payloads: Vec<Value> = events.iter().map(event::payload).collect::<Result<_, _>>()?;
        if event::is_personal(A::TYPE) && payloads.iter().any(event::is_marked) {
            return Err(StoreError::Unsealed);
        }
        self.append_sealed::<A>(aggregate_id, version, events, payloads);
        Ok(())
    }

    /// The same with payloads in which no personal value is clear any more.
    pub(crate) fn append_sealed<A: AggregateRoot>(
        &mut self,
        aggregate_id: Uuid,
        version: i64,
        events: &[A::Event],
        payloads: Vec<Value>,
    ) {
        let stream = StreamId { aggregate_type: A::TYPE, aggregate_id };
        for ((event, payload), sequence) in events.iter().zip(payloads).zip(version + 1..) {
            self.events.push(NewEvent {
                stream: stream.clone(),
                sequence,
                event_type: event.event_type(),
                event_version: event.event_version(),
                payload: payload.to_string(),
            });
        }
        // A second batch for the same stream follows the first: only the first version must hold.
        if !self.streams.iter().any(|(known, _)| *known == stream) {
            self.streams.push((stream, version));
        }
    }

    /// Destroys a subject's data key together with the events: what it sealed is gone for ever, and
    /// with it the claims and the snapshot of the aggregate of that id.
    pub fn erase(&mut self, subject: Uuid) {
        self.erased.push(subject);
    }

    /// Asks the append to refuse the commit if a stream that it does not write has gone on.
    pub fn require_version<A: AggregateRoot>(&mut self, aggregate_id: Uuid, version: i64) {
        let stream = StreamId { aggregate_type: A::TYPE, aggregate_id };
        self.streams.push((stream, version));
    }

    /// Takes or releases a unique value for an aggregate. Personal values must be hashed by now.
    ///
    /// The last change of a value by its holder is the one that counts.
    pub fn claim(&mut self, holder: Uuid, change: ClaimChange) {
        let claim = StoredClaim { holder: holder.to_string(), change };
        self.claims.retain(|earlier| earlier.key() != claim.key());
        self.claims.push(claim);
    }

    /// Asks the append to refuse the commit if the command is known, and to remember it if not.
    pub fn receipt(&mut self, key: ReceiptKey, input_hash: Vec<u8>, ids: String) {
        self.receipt = Some((key, Receipt { input_hash, position: Position::START, ids }));
    }

    /// The values that the commit takes.
    pub fn taken_claims(&self) -> Vec<Claim> {
        let taken = |claim: &StoredClaim| match &claim.change {
            ClaimChange::Take(claim) => Some(claim.clone()),
            ClaimChange::Release(_) => None,
        };
        self.claims.iter().filter_map(taken).collect()
    }

    /// True when it has no events.
    pub fn is_empty(&self) -> bool {
        self.events.is_empty()
    }
}

/// Where the events of a commit stand in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Appended {
    /// The first event.
    pub first: Position,
    /// The last event.
    pub last: Position,
}

impl Appended {
    /// The places of a commit whose events follow `head`.
    pub(crate) fn after(head: Position, commit: &Commit) -> Self {
        let count = i64::try_from(commit.events.len()).unwrap_or(i64::MAX);
        Self { first: Position(head.0 + 1), last: Position(head.0 + count) }
    }
}

/// Why a commit was not written.
#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    /// A stream went on since the commit was decided; load it again and decide anew.
    #[error("a stream of the commit has changed")]
    Conflict,
    /// The command was answered before.
    #[error("the command is known")]
    Repeated(Receipt),
    /// Another aggregate holds a value.
    #[error("a value of {namespace} is taken")]
    Taken {
        /// The claim's namespace.
        namespace: String,
    },
    /// PostgreSQL cannot keep a value of this commit.
    #[error("PostgreSQL refused a value of the commit")]
    Data(#[source] sqlx::Error),
    /// The queue of waiting commits is full.
    #[error("too many commits are waiting")]
    Overloaded,
    /// PostgreSQL's disk is full. If that has ended PostgreSQL, the commit may be written all the same.
    #[error("PostgreSQL's disk is full")]
    DiskFull(#[source] std::sync::Arc<sqlx::Error>),
    /// PostgreSQL was not reached in time. The commit may or may not be written.
    #[error("PostgreSQL cannot be reached")]
    Unavailable(#[source] Option<std::sync::Arc<sqlx::Error>>),
}
