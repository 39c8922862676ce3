//! The tree of the events as they are and, where it differs, the tree of the hashes that were stored when they
//! were sealed. What was signed decides which of the two is right.

use super::super::checkpoint::Checkpoint;
use super::super::merkle::{Frontier, Hash};
use super::fault::{Fault, Faults};
use crate::record::Position;

/// Two trees that grow together; one as long as they are the same.
#[derive(Debug)]
pub(super) struct Trees {
    size: u64,
    /// Of the events; `None` after one that is missing.
    events: Option<Frontier>,
    /// Of the stored hashes, since they differ; `None` after one that is missing.
    stored: Option<Frontier>,
    has_forked: bool,
    /// Where they differ, since the last comparison: from the first to the last of those beside each other.
    doubts: Vec<(Position, Position)>,
    /// The newest good checkpoint.
    good: Position,
    /// Neither was what was signed; nor will they be later.
    is_lost: bool,
}

impl Default for Trees {
    fn default() -> Self {
        Self {
            size: 0,
            events: Some(Frontier::default()),
            stored: None,
            has_forked: false,
            doubts: Vec::new(),
            good: Position::START,
            is_lost: false,
        }
    }
}

impl Trees {
    /// How many leaves they have.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Adds a leaf: that of the event, if there is one, and the stored one, if it is known.
    pub fn push(&mut self, event: Option<Hash>, stored: Option<Hash>) {
        let differs = event.is_none() || stored.is_some_and(|stored| Some(stored) != event);
        if differs && !self.has_forked {
            self.has_forked = true;
            self.stored.clone_from(&self.events);
        }
        self.size += 1;
        if differs && event.is_some() {
            self.doubt(Position(self.size.cast_signed()));
        }
        grow(&mut self.events, event);
        if self.has_forked {
            grow(&mut self.stored, stored.or(event));
        }
    }

    /// Goes on after leaves that nobody knows.
    pub fn skip_to(&mut self, size: u64) {
        if size > self.size {
            (self.events, self.stored, self.has_forked) = (None, None, true);
            self.size = size;
        }
    }

    fn doubt(&mut self, position: Position) {
        match self.doubts.last_mut() {
            Some((_, last)) if last.0 + 1 == position.0 => *last = position,
            _ => self.doubts.push((position, position)),
        }
    }

    /// Compares with what was signed for this size, and says what is wrong.
    pub fn compare(&mut self, signed: &Checkpoint, is_kept: bool, faults: &mut Faults) {
        let is_signed =
            |tree: &Option<Frontier>| tree.as_ref().is_some_and(|tree| tree.root() == signed.root);
        let size = Position(self.size.cast_signed());
        if is_signed(&self.events) {
            let doubts = self.doubts.drain(..);
            faults.extend(doubts.map(|(from, to)| Fault::Tree { level: 0, from, to }));
            self.agree(size);
        } else if is_signed(&self.stored) {
            self.end(faults);
            self.events = self.stored.take();
            self.agree(size);
        } else if is_kept {
            // The log's own checkpoints may say something else, and do not say since when.
            faults.push(Fault::Root { after: Position::START, size, is_kept });
        } else {
            self.end(faults);
            if !self.is_lost {
                self.is_lost = true;
                faults.push(Fault::Root { after: self.good, size, is_kept });
            }
        }
    }

    /// The trees are one again.
    fn agree(&mut self, size: Position) {
        self.stored = None;
        self.has_forked = false;
        self.good = size;
    }

    /// What nobody has signed, or nobody can tell: the events that have another hash than the stored one.
    pub fn end(&mut self, faults: &mut Faults) {
        let positions = self.doubts.drain(..).flat_map(|(from, to)| from.0..=to.0);
        faults.extend(positions.map(|position| Fault::Changed { position: Position(position) }));
    }
}

fn grow(tree: &mut Option<Frontier>, leaf: Option<Hash>) {
    match (tree.as_mut(), leaf) {
        (Some(tree), Some(leaf)) => tree.push(leaf),
        _ => *tree = None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::merkle::leaf_hash;
    use super::*;

    fn leaf(number: u8) -> Hash {
        leaf_hash(&[number])
    }

    fn signed(leaves: &[u8]) -> Checkpoint {
        let mut tree = Frontier::default();
        for number in leaves {
            tree.push(leaf(*number));
        }
        Checkpoint { size: tree.size(), root: tree.root() }
    }

    /// Trees of such events and stored hashes; 0 is a leaf that is not there.
    fn trees(leaves: &[(u8, u8)]) -> Trees {
        let known = |number: u8| (number > 0).then(|| leaf(number));
        let mut trees = Trees::default();
        for (event, stored) in leaves {
            trees.push(known(*event), known(*stored));
        }
        trees
    }

    /// What a comparison says.
    fn compare(trees: &mut Trees, signed: &Checkpoint, is_kept: bool) -> Vec<Fault> {
        let mut faults = Faults::default();
        trees.compare(signed, is_kept, &mut faults);
        faults.in_order().0
    }

    fn at(position: i64) -> Position {
        Position(position)
    }

    #[test]
    fn what_was_signed_is_good() {
        assert_eq!(compare(&mut trees(&[(1, 1), (2, 2), (3, 0)]), &signed(&[1, 2, 3]), false), []);
    }

    #[test]
    fn what_was_signed_says_who_is_right() {
        let tree = |from, to| Fault::Tree { level: 0, from: at(from), to: at(to) };
        let compare = |leaves: &[(u8, u8)]| compare(&mut trees(leaves), &signed(&[1, 2, 3]), false);
        assert_eq!(compare(&[(1, 1), (9, 2), (3, 3)]), [Fault::Changed { position: at(2) }]);
        assert_eq!(compare(&[(1, 1), (2, 9), (3, 3)]), [tree(2, 2)]);
        assert_eq!(compare(&[(1, 7), (2, 7), (3, 3)]), [tree(1, 2)]);
        let root = Fault::Root { after: at(0), size: at(3), is_kept: false };
        assert_eq!(compare(&[(1, 1), (9, 9), (3, 3)]), std::slice::from_ref(&root));
        assert_eq!(
            compare(&[(8, 1), (2, 9), (3, 3)]),
            [Fault::Changed { position: at(1) }, root, Fault::Changed { position: at(2) }]
        );
        // A missing one is told by who misses it.
        assert_eq!(compare(&[(1, 1), (0, 2), (3, 3)]), []);
        assert_eq!(compare(&[(1, 1), (0, 0), (3, 3)]).len(), 1);
    }

    #[test]
    fn the_tree_goes_on_after_a_change() {
        let mut trees = trees(&[(1, 1), (9, 2)]);
        assert_eq!(compare(&mut trees, &signed(&[1, 2]), false).len(), 1);
        trees.push(Some(leaf(3)), Some(leaf(3)));
        assert_eq!(compare(&mut trees, &signed(&[1, 2, 3]), false), []);
        trees.push(Some(leaf(9)), Some(leaf(4)));
        assert_eq!(
            compare(&mut trees, &signed(&[1, 2, 3, 4]), false),
            [Fault::Changed { position: at(4) }]
        );
    }

    #[test]
    fn a_loss_is_told_once_and_from_the_last_good_checkpoint_on() {
        let mut trees = trees(&[(1, 1), (2, 2)]);
        assert_eq!(compare(&mut trees, &signed(&[1, 2]), false), []);
        trees.push(Some(leaf(9)), None);
        let root = Fault::Root { after: at(2), size: at(3), is_kept: false };
        assert_eq!(compare(&mut trees, &signed(&[1, 2, 3]), false), [root]);
        trees.push(Some(leaf(4)), None);
        assert_eq!(compare(&mut trees, &signed(&[1, 2, 3, 4]), false), []);
        let kept = Fault::Root { after: at(0), size: at(4), is_kept: true };
        assert_eq!(compare(&mut trees, &signed(&[1, 2, 3, 4]), true), [kept]);
    }
}
