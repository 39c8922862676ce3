//! A walk along the stored tree, leaf by leaf: which of its hashes are missing, and which are not those of what
//! is below them.

use sqlx::PgConnection;

use super::merkle::{Hash, perfect_root};
use super::tiles::{TILE_HASHES, TILE_LEVELS, Tiles};
use crate::error::StoreError;
use crate::record::Position;

/// Hashes beside each other that are missing, or wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Damage {
    /// The level of their tiles; each hash covers 256^level events.
    pub level: u32,
    /// The first event that they cover.
    pub from: Position,
    /// The last one.
    pub to: Position,
}

/// Goes over the stored tree from the left. Needs the memory of a few tiles, however large the tree is.
#[derive(Debug)]
pub(super) struct Walk {
    /// How many leaves the tree has to have.
    size: u64,
    /// How many leaves are asked for; beyond `size` they may be there or not.
    end: u64,
    /// The next leaf.
    next: u64,
    /// The tiles that have it, and those above.
    tiles: Tiles,
    /// What is gathered below the next hash of each level: as it was computed, and as it is stored.
    groups: Vec<Vec<(Option<Hash>, Option<Hash>)>>,
    /// The newest damage of each level, which may go on.
    open: Vec<Option<Damage>>,
    found: Vec<Damage>,
}

impl Walk {
    /// Over a tree of `size` leaves, asked for `end` of them at least.
    pub fn new(size: u64, end: u64) -> Self {
        Self {
            size,
            end: end.max(size),
            next: 0,
            tiles: Tiles::default(),
            groups: Vec::new(),
            open: Vec::new(),
            found: Vec::new(),
        }
    }

    /// True when all leaves were passed.
    pub fn is_through(&self) -> bool {
        self.next >= self.end
    }

    /// Passes the next leaf, which is the one of this event; `None`: the event is missing. Gives the stored hash.
    pub async fn pass(
        &mut self,
        connection: &mut PgConnection,
        event: Option<Hash>,
    ) -> Result<Option<Hash>, StoreError> {
        let stored = self.read(connection).await?;
        self.go_on(event, stored);
        Ok(stored)
    }

    /// Passes the next leaf, and takes its stored hash for the one of the event.
    pub async fn pass_stored(&mut self, connection: &mut PgConnection) -> Result<(), StoreError> {
        let stored = self.read(connection).await?;
        self.go_on(stored, stored);
        Ok(())
    }

    /// The damage that was found so far and does not go on.
    pub fn found(&mut self) -> impl Iterator<Item = Damage> {
        self.found.drain(..)
    }

    /// The damage that was found last.
    pub fn end(&mut self) -> impl Iterator<Item = Damage> {
        self.found.drain(..).chain(self.open.drain(..).flatten())
    }

    async fn read(&mut self, connection: &mut PgConnection) -> Result<Option<Hash>, StoreError> {
        if self.is_through() {
            return Ok(None);
        }
        if self.next.is_multiple_of(Tiles::WINDOW) {
            self.tiles = Tiles::over(connection, self.next, self.end)
                .await
                .map_err(StoreError::database("reading the tree"))?;
        }
        Ok(self.tiles.hash(0, self.next))
    }

    fn go_on(&mut self, event: Option<Hash>, stored: Option<Hash>) {
        let mut index = self.next;
        self.next = (self.next + 1).min(self.end);
        if index >= self.size {
            return;
        }
        if stored.is_none() {
            self.damaged(0, index);
        }
        let (mut computed, mut stored) = (event, stored);
        for level in 0.. {
            if self.groups.len() == level as usize {
                self.groups.push(Vec::new());
            }
            let group = &mut self.groups[level as usize];
            group.push((computed, stored));
            if (group.len() as u64) < TILE_HASHES {
                return;
            }
            let (of_computed, of_stored) = roots(group);
            group.clear();
            index /= TILE_HASHES;
            stored = self.tiles.hash(level + 1, index);
            let (right, may_be_right) = judge(of_computed, of_stored, stored);
            computed = right;
            if !may_be_right {
                self.damaged(level + 1, index);
            }
        }
    }

    /// Notes a hash; those that touch are one damage.
    fn damaged(&mut self, level: u32, index: u64) {
        let first = (index << (level * TILE_LEVELS)).cast_signed() + 1;
        let last = ((index + 1) << (level * TILE_LEVELS)).cast_signed();
        let place = level as usize;
        if self.open.len() <= place {
            self.open.resize(place + 1, None);
        }
        match &mut self.open[place] {
            Some(open) if open.to.0 + 1 == first => open.to = Position(last),
            open => {
                let damage = Damage { level, from: Position(first), to: Position(last) };
                self.found.extend(open.replace(damage));
            }
        }
    }
}

/// The roots of what was computed and of what is stored, where nothing of it is missing.
fn roots(group: &[(Option<Hash>, Option<Hash>)]) -> (Option<Hash>, Option<Hash>) {
    let root = |hashes: Option<Vec<Hash>>| hashes.map(|hashes| perfect_root(&hashes));
    let computed = root(group.iter().map(|(computed, _)| *computed).collect());
    if group.iter().all(|(computed, stored)| computed == stored) {
        return (computed, computed);
    }
    (computed, root(group.iter().map(|(_, stored)| *stored).collect()))
}

/// The right hash above some others, as far as it is known, and whether the stored one may be it. An event that
/// was changed, or a hash below that is damaged, is no fault of the hash above: it is right by either of them.
/// Nor is it accused where hashes below are missing, which is told of those.
fn judge(
    computed: Option<Hash>,
    below: Option<Hash>,
    stored: Option<Hash>,
) -> (Option<Hash>, bool) {
    if stored.is_some() && (stored == computed || stored == below) {
        return (stored, true);
    }
    (computed.or(below), stored.is_some() && below.is_none())
}

#[cfg(test)]
mod tests {
    use super::super::merkle::leaf_hash;
    use super::*;

    const SIZE: u64 = 70_000;

    fn leaf(index: u64) -> Hash {
        leaf_hash(&index.to_be_bytes())
    }

    fn tiles() -> Tiles {
        let mut tiles = Tiles::default();
        (0..SIZE).for_each(|index| tiles.push(index, leaf(index)));
        tiles
    }

    /// What is found in these tiles, of events that are as they were but for those that were changed.
    fn walk(tiles: Tiles, is_changed: impl Fn(u64) -> bool) -> Vec<Damage> {
        let mut walk = Walk::new(SIZE, SIZE);
        walk.tiles = tiles;
        for index in 0..SIZE {
            let event = if is_changed(index) { leaf(index + SIZE) } else { leaf(index) };
            let stored = walk.tiles.hash(0, index);
            walk.go_on(Some(event), stored);
        }
        let mut damage: Vec<Damage> = walk.end().collect();
        damage.sort_by_key(|damage| damage.level);
        damage
    }

    fn damage(level: u32, from: i64, to: i64) -> Damage {
        Damage { level, from: Position(from), to: Position(to) }
    }

    #[test]
    fn a_tree_that_is_whole_has_no_damage_whatever_the_events_are() {
        assert_eq!(walk(tiles(), |_| false), []);
        assert_eq!(walk(tiles(), |index| index % 300 == 7), []);
    }

    #[test]
    fn each_damage_is_named_by_what_it_covers() {
        type Spoil = fn(&mut Tiles);
        let cases: [(Spoil, &[Damage]); 5] = [
            // The hash above stands for the leaves, though they are not there.
            (|tiles| tiles.lose(0, 3), &[damage(0, 769, 1024)]),
            (|tiles| (3..5).for_each(|index| tiles.lose(0, index)), &[damage(0, 769, 1280)]),
            (|tiles| tiles.bend(1, 2), &[damage(1, 513, 768)]),
            (|tiles| tiles.lose(1, 0), &[damage(1, 1, 65_536)]),
            (|tiles| tiles.bend(2, 0), &[damage(2, 1, 65_536)]),
        ];
        for (spoil, found) in cases {
            let mut tiles = tiles();
            spoil(&mut tiles);
            assert_eq!(walk(tiles, |_| false), found);
        }
        // Elsewhere an event was changed.
        let mut tiles = tiles();
        tiles.bend(1, 2);
        assert_eq!(walk(tiles, |index| index == 5_000), [damage(1, 513, 768)]);
    }
}
