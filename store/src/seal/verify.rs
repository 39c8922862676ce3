//! Verifying the whole log against its seals: what was changed, removed or forged, by position.

use std::collections::VecDeque;
use std::fmt;

use orion_domain::Event;
use sqlx::{Connection as _, PgConnection, PgPool};

use super::checkpoint::{Checkpoint, CheckpointError, LogPublicKey};
use super::leaf::{STORED_COLUMNS, StoredEvent};
use super::merkle::{Frontier, Hash};
use super::tiles::Tiles;
use crate::error::StoreError;
use crate::record::{Position, RecordedEvent};
use crate::vault::{ReadError, Vault};

/// How many events are read at a time.
const READ_MAX: i64 = 10_000;

/// How many seals are read at a time.
const SEALS_MAX: i64 = 1_000;

/// The most faults that are told; after so many the log is beyond doubt beyond help.
const FAULTS_MAX: usize = 1_000;

/// Something that is not as it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Events are missing: the first of them, and the next one there is.
    Missing {
        /// The first position without an event.
        from: Position,
        /// The last one.
        to: Position,
    },
    /// The event is not the one that was sealed.
    Changed {
        /// Which.
        position: Position,
    },
    /// The stream does not have this event at this place.
    Sequence {
        /// Which.
        position: Position,
        /// The sequence that it should have.
        expected: i64,
        /// The sequence that it has.
        found: i64,
    },
    /// The event was recorded before the one before it.
    Time {
        /// Which.
        position: Position,
    },
    /// The event cannot be read.
    Unreadable {
        /// Which.
        position: Position,
        /// Why.
        reason: ReadError,
    },
    /// The checkpoint is not one of this log.
    Checkpoint {
        /// The size under which it is kept.
        size: Position,
        /// Why.
        reason: CheckpointError,
    },
    /// The events do not make the tree whose root was signed.
    Root {
        /// The seal before was still good.
        after: Position,
        /// The seal that is not.
        size: Position,
    },
    /// The log ends before what was signed.
    CutOff {
        /// The newest event.
        head: Position,
        /// The size that was signed.
        sealed: Position,
    },
}

impl Fault {
    /// The first position that is in doubt.
    pub fn position(&self) -> Position {
        match self {
            Self::Missing { from, .. } => *from,
            Self::Changed { position }
            | Self::Sequence { position, .. }
            | Self::Time { position }
            | Self::Unreadable { position, .. } => *position,
            Self::Checkpoint { size, .. } => *size,
            Self::Root { after, .. } => Position(after.0 + 1),
            Self::CutOff { head, .. } => Position(head.0 + 1),
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing { from, to } if from == to => {
                write!(f, "position {from}: the event is missing")
            }
            Self::Missing { from, to } => {
                write!(f, "position {from}: the events up to {to} are missing")
            }
            Self::Changed { position } => {
                write!(f, "position {position}: the event is not the one that was sealed")
            }
            Self::Sequence { position, expected, found } => write!(
                f,
                "position {position}: the event is number {found} of its stream and should be {expected}"
            ),
            Self::Time { position } => {
                write!(f, "position {position}: the event was recorded before the one before it")
            }
            Self::Unreadable { position, reason } => write!(f, "position {position}: {reason}"),
            Self::Checkpoint { size, reason } => write!(f, "checkpoint of size {size}: {reason}"),
            Self::Root { after, size } => write!(
                f,
                "position {}: the events up to {size} are not those of the signed checkpoint",
                after.0 + 1
            ),
            Self::CutOff { head, sealed } => write!(
                f,
                "position {}: the log ends at {head}, and a checkpoint was signed at {sealed}",
                head.0 + 1
            ),
        }
    }
}

/// What a verification found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// The newest event.
    pub head: Position,
    /// The newest seal, with its root; zeros where there is none.
    pub sealed: Checkpoint,
    /// How many seals there are.
    pub seals: u64,
    /// What is wrong, in order of position; none in a log that is whole.
    pub faults: Vec<Fault>,
}

/// Recomputes the tree and compares it with every seal, and with a checkpoint that was kept elsewhere.
///
/// Reads everything at one snapshot, with constant memory. `progress` is called now and then with
/// the position and the head. Without a vault, events with personal values are not decoded.
pub async fn verify(
    pool: &PgPool,
    keys: &[LogPublicKey],
    kept: Option<Checkpoint>,
    vault: Option<&Vault>,
    mut progress: impl FnMut(Position, Position),
) -> Result<Verdict, StoreError> {
    let failed = || StoreError::database("verifying the log");
    let mut connection = pool.acquire().await.map_err(failed())?;
    let mut snapshot = connection.begin().await.map_err(failed())?;
    sqlx::query("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        .execute(&mut *snapshot)
        .await
        .map_err(failed())?;
    let head: i64 = sqlx::query_scalar("SELECT coalesce(max(position), 0) FROM events")
        .fetch_one(&mut *snapshot)
        .await
        .map_err(failed())?;
    let mut check = Check {
        keys,
        kept,
        faults: Vec::new(),
        frontier: Frontier::default(),
        seals: Seals::default(),
        good: Position::START,
        newest: Checkpoint { size: 0, root: Hash::default() },
        time: i64::MIN,
    };
    while check.frontier.size() < head.cast_unsigned() {
        check.pages(&mut snapshot, vault, Position(head)).await?;
        progress(Position(check.frontier.size().cast_signed()), Position(head));
    }
    check.seals_beyond(&mut snapshot, Position(head)).await?;
    check.sequences(&mut snapshot).await?;
    let Check { mut faults, seals, newest, .. } = check;
    faults.sort_by_key(Fault::position);
    faults.truncate(FAULTS_MAX);
    Ok(Verdict { head: Position(head), sealed: newest, seals: seals.count, faults })
}

/// The seals in order, some at a time.
#[derive(Default)]
struct Seals {
    waiting: VecDeque<(i64, Vec<u8>, String)>,
    last: i64,
    count: u64,
    is_end: bool,
}

impl Seals {
    /// The next seal, without taking it.
    async fn peek(
        &mut self,
        snapshot: &mut PgConnection,
    ) -> Result<Option<&(i64, Vec<u8>, String)>, StoreError> {
        if self.waiting.is_empty() && !self.is_end {
            let rows: Vec<(i64, Vec<u8>, String)> = sqlx::query_as(
                "SELECT size, root, checkpoint FROM seals WHERE size > $1 ORDER BY size LIMIT $2",
            )
            .bind(self.last)
            .bind(SEALS_MAX)
            .fetch_all(snapshot)
            .await
            .map_err(StoreError::database("reading the seals"))?;
            self.is_end = rows.is_empty();
            self.last = rows.last().map_or(self.last, |(size, ..)| *size);
            self.waiting.extend(rows);
        }
        Ok(self.waiting.front())
    }

    fn take(&mut self) -> Option<(i64, Vec<u8>, String)> {
        self.count += u64::from(!self.waiting.is_empty());
        self.waiting.pop_front()
    }
}

struct Check<'a> {
    keys: &'a [LogPublicKey],
    kept: Option<Checkpoint>,
    faults: Vec<Fault>,
    frontier: Frontier,
    seals: Seals,
    /// The newest seal that was good.
    good: Position,
    newest: Checkpoint,
    time: i64,
}

impl Check<'_> {
    /// Goes through the next events.
    async fn pages(
        &mut self,
        snapshot: &mut PgConnection,
        vault: Option<&Vault>,
        head: Position,
    ) -> Result<(), StoreError> {
        let after = self.frontier.size();
        let events: Vec<StoredEvent> = sqlx::query_as(&format!(
            "SELECT {STORED_COLUMNS} FROM events WHERE position > $1 ORDER BY position LIMIT $2"
        ))
        .bind(after.cast_signed())
        .bind(READ_MAX)
        .fetch_all(&mut *snapshot)
        .await
        .map_err(StoreError::database("reading the log"))?;
        let until = events.last().map_or(head, StoredEvent::position).0.cast_unsigned();
        let leaves: Vec<(u64, u64)> = (after..until).map(|index| (index, index + 1)).collect();
        let tiles = Tiles::for_ranges(&mut *snapshot, &leaves)
            .await
            .map_err(StoreError::database("reading the tree"))?;
        self.readable(snapshot, vault, &events).await?;
        for event in events {
            let index = (event.position - 1).cast_unsigned();
            if self.frontier.size() < index {
                let from = Position(self.frontier.size().cast_signed() + 1);
                self.faults.push(Fault::Missing { from, to: Position(event.position - 1) });
            }
            while self.frontier.size() < index {
                // What the tree knows of the missing one lets the seals after it be checked all the same.
                let missing = self.frontier.size();
                self.push(snapshot, tiles.leaf(missing).unwrap_or_default()).await?;
            }
            if event.recorded_at_us < self.time {
                self.faults.push(Fault::Time { position: event.position() });
            }
            self.time = self.time.max(event.recorded_at_us);
            let found = event.leaf_hash();
            let sealed = tiles.leaf(index);
            if sealed.is_some_and(|sealed| sealed != found) {
                self.faults.push(Fault::Changed { position: event.position() });
            }
            self.push(snapshot, sealed.unwrap_or(found)).await?;
        }
        Ok(())
    }

    /// Adds a leaf, and compares the tree with the seal of its size, and with the kept checkpoint.
    async fn push(&mut self, snapshot: &mut PgConnection, leaf: Hash) -> Result<(), StoreError> {
        self.frontier.push(leaf);
        let size = self.frontier.size();
        if let Some(kept) = self.kept.filter(|kept| kept.size == size) {
            self.compare(kept);
        }
        while let Some((sealed, ..)) = self.seals.peek(snapshot).await?
            && sealed.cast_unsigned() <= size
        {
            if let Some((sealed, root, note)) = self.seals.take() {
                self.seal(Position(sealed), &root, &note);
            }
        }
        Ok(())
    }

    /// One seal: signed, of this size and root, and of this tree.
    fn seal(&mut self, size: Position, root: &[u8], note: &str) {
        match Checkpoint::open(note, self.keys) {
            Ok(checkpoint) => {
                let is_kept_so =
                    checkpoint.size.cast_signed() == size.0 && checkpoint.root.as_slice() == root;
                if !is_kept_so {
                    let reason = CheckpointError::Malformed;
                    self.faults.push(Fault::Checkpoint { size, reason });
                }
                self.newest = checkpoint;
                if checkpoint.size == self.frontier.size() {
                    self.compare(checkpoint);
                }
            }
            Err(reason) => self.faults.push(Fault::Checkpoint { size, reason }),
        }
    }

    fn compare(&mut self, signed: Checkpoint) {
        let size = Position(signed.size.cast_signed());
        if self.frontier.root() == signed.root {
            self.good = self.good.max(size);
        } else if !self.faults.iter().any(|fault| matches!(fault, Fault::Root { .. })) {
            // All that follow are wrong as well.
            self.faults.push(Fault::Root { after: self.good, size });
        }
    }

    /// Seals of events that are not there.
    async fn seals_beyond(
        &mut self,
        snapshot: &mut PgConnection,
        head: Position,
    ) -> Result<(), StoreError> {
        let kept = self.kept.map_or(0, |kept| kept.size.cast_signed());
        let mut furthest = Position(kept);
        while self.seals.peek(snapshot).await?.is_some() {
            if let Some((size, root, note)) = self.seals.take() {
                self.seal(Position(size), &root, &note);
                furthest = furthest.max(Position(size));
            }
        }
        if furthest > head {
            self.faults.push(Fault::CutOff { head, sealed: furthest });
        }
        Ok(())
    }

    /// Types and versions that this program knows, and payloads that fit them.
    async fn readable(
        &mut self,
        snapshot: &mut PgConnection,
        vault: Option<&Vault>,
        events: &[StoredEvent],
    ) -> Result<(), StoreError> {
        let recorded: Vec<RecordedEvent> =
            events.iter().filter_map(StoredEvent::to_recorded).collect();
        let ring = match vault {
            Some(vault) => Some(vault.ring_within(snapshot, &recorded).await?),
            None => None,
        };
        for event in recorded {
            let is_known = Event::types()
                .any(|known| known == (event.event_type.as_str(), event.event_version.as_str()));
            let read = match &ring {
                Some(ring) => ring.read(&event).map(|_| ()),
                None if is_known => Ok(()),
                None => Event::decode(&event.event_type, &event.event_version, "{}")
                    .map(|_| ())
                    .map_err(ReadError::from),
            };
            if let Err(reason) = read {
                self.faults.push(Fault::Unreadable { position: event.position, reason });
            }
        }
        Ok(())
    }

    /// Each stream counts from 1 without a gap, in the order of positions.
    async fn sequences(&mut self, snapshot: &mut PgConnection) -> Result<(), StoreError> {
        let rows: Vec<(i64, i64, i64)> = sqlx::query_as(
            "SELECT position, sequence, expected FROM (
                 SELECT position, sequence, row_number() OVER (
                     PARTITION BY aggregate_type, aggregate_id ORDER BY position) AS expected
                 FROM events) numbered
             WHERE sequence <> expected ORDER BY position LIMIT $1",
        )
        .bind(i64::try_from(FAULTS_MAX).unwrap_or(i64::MAX))
        .fetch_all(snapshot)
        .await
        .map_err(StoreError::database("numbering the streams"))?;
        for (position, found, expected) in rows {
            self.faults.push(Fault::Sequence { position: Position(position), expected, found });
        }
        Ok(())
    }
}
