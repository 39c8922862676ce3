//! What a verification may find, and how it says so.

use std::fmt;

use super::super::checkpoint::{Checkpoint, CheckpointError};
use crate::record::Position;
use crate::vault::ReadError;

/// Something that is not as it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Events are missing.
    Missing {
        /// The first position without an event.
        from: Position,
        /// The last one.
        to: Position,
    },
    /// There is an event where there cannot be one: twice at a position, or before the first.
    Extra {
        /// Where.
        position: Position,
    },
    /// The event is not the one that was sealed.
    Changed {
        /// Which.
        position: Position,
    },
    /// The stored tree lacks hashes of these events, or has other ones. The events are none the worse for it.
    Tree {
        /// The level of the hashes' tiles; each covers 256^level events.
        level: u32,
        /// The first event that they cover.
        from: Position,
        /// The last one.
        to: Position,
    },
    /// The stream does not have this event at this place.
    Sequence {
        /// Which.
        position: Position,
        /// The sequence that follows the one before.
        expected: i64,
        /// The sequence that it has.
        found: i64,
    },
    /// The event was recorded before the one before it.
    Time {
        /// Which.
        position: Position,
    },
    /// The event has an id, a time or metadata that Orion never writes.
    Malformed {
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
    /// Events have not been sealed for a minute and more.
    Unsealed {
        /// The first one.
        from: Position,
        /// How many there are.
        count: u64,
    },
    /// The checkpoint is not one of this log.
    Checkpoint {
        /// The size under which it is kept.
        size: Position,
        /// Why.
        reason: CheckpointError,
    },
    /// The events do not make the tree whose root was signed, and the stored tree does not say which of them.
    Root {
        /// The newest checkpoint before, which is good; 0: none.
        after: Position,
        /// The size that was signed.
        size: Position,
        /// True of a checkpoint that was kept elsewhere.
        is_kept: bool,
    },
    /// The stored tree has leaves that no checkpoint covers, though both are written at once.
    Uncovered {
        /// The event of the first such leaf, whether it is there or not.
        from: Position,
    },
    /// The log ends before what was signed.
    CutOff {
        /// The newest event.
        head: Position,
        /// The size that was signed.
        sealed: Position,
        /// True of a checkpoint that was kept elsewhere.
        is_kept: bool,
    },
}

impl Fault {
    /// The first position that is in doubt.
    pub fn position(&self) -> Position {
        match self {
            Self::Missing { from, .. }
            | Self::Tree { from, .. }
            | Self::Unsealed { from, .. }
            | Self::Uncovered { from } => *from,
            Self::Extra { position }
            | Self::Changed { position }
            | Self::Sequence { position, .. }
            | Self::Time { position }
            | Self::Malformed { position }
            | Self::Unreadable { position, .. } => *position,
            Self::Checkpoint { size, .. } => *size,
            Self::Root { after, .. } => Position(after.0 + 1),
            Self::CutOff { head, .. } => Position(head.0 + 1),
        }
    }

    /// A stable name of its kind, for programs.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Missing { .. } => "missing",
            Self::Extra { .. } => "extra",
            Self::Changed { .. } => "changed",
            Self::Tree { .. } => "tree",
            Self::Sequence { .. } => "sequence",
            Self::Time { .. } => "time",
            Self::Malformed { .. } => "malformed",
            Self::Unreadable { .. } => "unreadable",
            Self::Unsealed { .. } => "unsealed",
            Self::Checkpoint { .. } => "checkpoint",
            Self::Root { .. } => "root",
            Self::Uncovered { .. } => "uncovered",
            Self::CutOff { .. } => "cut_off",
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "position {}: ", self.position())?;
        let whose = |is_kept: bool| {
            if is_kept { "the checkpoint kept elsewhere" } else { "the checkpoint" }
        };
        match self {
            Self::Missing { from, to } if from == to => f.write_str("the event is missing"),
            Self::Missing { to, .. } => write!(f, "the events up to {to} are missing"),
            Self::Extra { .. } => f.write_str("there is one event too many"),
            Self::Changed { .. } => f.write_str("the event is not the one that was sealed"),
            Self::Tree { level: 0, from, to } if from == to => {
                f.write_str("the hash of the event in seal_tiles is missing or wrong")
            }
            Self::Tree { level, to, .. } => {
                write!(f, "hashes up to {to} in seal_tiles, level {level}, are missing or wrong")
            }
            Self::Sequence { expected, found, .. } => {
                write!(f, "the event is number {found} of its stream and should be {expected}")
            }
            Self::Time { .. } => f.write_str("the event was recorded before the one before it"),
            Self::Malformed { .. } => {
                f.write_str("the event has an id, a time or metadata that Orion never writes")
            }
            Self::Unreadable { reason, .. } => reason.fmt(f),
            Self::Checkpoint { size, reason } => {
                write!(f, "the checkpoint in the row of seals with size {size}: {reason}")
            }
            Self::Root { size, is_kept, .. } => {
                write!(f, "the events up to {size} are not those of {}", whose(*is_kept))
            }
            Self::Unsealed { count, .. } => write!(
                f,
                "{count} events from here on are not sealed, the first for more than a minute"
            ),
            Self::Uncovered { .. } => f.write_str(
                "from here on seal_tiles has hashes that no checkpoint covers: checkpoints were removed",
            ),
            Self::CutOff { head, sealed, is_kept } => {
                write!(f, "the log ends at {head}, before the size {sealed} of {}", whose(*is_kept))
            }
        }
    }
}

/// What a verification found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// The newest event.
    pub head: Position,
    /// The newest seal that a known key has signed; `None` where there is none.
    pub sealed: Option<Checkpoint>,
    /// How many events are newer than that: nothing of them is signed.
    pub unsealed: u64,
    /// How many seals there are.
    pub seals: u64,
    /// What is wrong, in order of position; none in a log that is whole.
    pub faults: Vec<Fault>,
    /// How many more faults there are than are told.
    pub untold: u64,
}

/// Keeps the faults of the lowest positions, and counts the rest.
#[derive(Debug, Default)]
pub(super) struct Faults {
    /// In order of position; of one position, as they were found.
    kept: Vec<Fault>,
    untold: u64,
}

impl Faults {
    /// The most that are told; after so many the log is beyond doubt beyond help.
    pub const MAX: usize = 100;

    pub fn push(&mut self, fault: Fault) {
        let place = self.kept.partition_point(|kept| kept.position() <= fault.position());
        if place < Self::MAX {
            self.kept.insert(place, fault);
        }
        if self.kept.len() > Self::MAX || place >= Self::MAX {
            self.kept.truncate(Self::MAX);
            self.untold += 1;
        }
    }

    pub fn extend(&mut self, faults: impl IntoIterator<Item = Fault>) {
        faults.into_iter().for_each(|fault| self.push(fault));
    }

    /// Counts faults that nobody has named.
    pub fn count(&mut self, more: u64) {
        self.untold += more;
    }

    /// In order of position, with the number of those that were not kept.
    pub fn in_order(self) -> (Vec<Fault>, u64) {
        (self.kept, self.untold)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lowest_positions_are_kept_whatever_the_order_is() {
        let changed = |position: i64| Fault::Changed { position: Position(position) };
        let time = |position: i64| Fault::Time { position: Position(position) };
        let mut faults = Faults::default();
        faults.extend((51..=200).map(changed));
        faults.extend((1..=60).rev().map(time));
        faults.count(5);
        let (kept, untold) = faults.in_order();
        let both = (51..=60).flat_map(|position| [changed(position), time(position)]);
        let lowest = (1..=50).map(time).chain(both).chain((61..=90).map(changed));
        assert_eq!(kept, lowest.collect::<Vec<_>>());
        assert_eq!(untold, 210 - 100 + 5);
    }
}
