//! The nodes of the tree in the database: tiles of up to 256 hashes.
//!
//! A tile of level n has the hashes of subtrees of 256^n leaves. Hashes between two levels are computed
//! from the tile below. A tile that is full never changes again.

use std::collections::{BTreeMap, BTreeSet};

use sqlx::PgConnection;

use super::merkle::{Frontier, Hash, path, perfect_root, perfect_subtrees, root_of};

/// How many levels of the tree one tile spans.
pub(super) const TILE_LEVELS: u32 = 8;

/// How many hashes a full tile has.
pub(super) const TILE_HASHES: u64 = 1 << TILE_LEVELS;

/// The length of a hash in bytes.
const HASH_BYTES: usize = 32;

/// A tile's level and its index at that level.
type TileId = (i16, i64);

/// Some tiles of the tree.
#[derive(Debug, Default)]
pub(super) struct Tiles(BTreeMap<TileId, Vec<Hash>>);

/// A perfect subtree within its tile: which, from which hash on, and how many.
fn place(level: u32, index: u64) -> (TileId, usize, usize) {
    let (tile_level, within) = (level / TILE_LEVELS, level % TILE_LEVELS);
    let first = index << within;
    let tile = (tile_level.try_into().unwrap_or(i16::MAX), (first / TILE_HASHES).cast_signed());
    let (offset, count) = ((first % TILE_HASHES) as usize, 1 << within);
    (tile, offset, count)
}

/// How many hashes a level has in a tree of so many leaves.
fn nodes_at(level: i16, size: u64) -> u64 {
    size.checked_shr(u32::from(level.unsigned_abs()) * TILE_LEVELS).unwrap_or(0)
}

impl Tiles {
    /// The tiles that the roots of these leaves need.
    pub async fn for_ranges(
        connection: &mut PgConnection,
        ranges: &[(u64, u64)],
    ) -> Result<Self, sqlx::Error> {
        let subtrees = ranges.iter().flat_map(|(start, end)| perfect_subtrees(*start, *end));
        let ids: BTreeSet<TileId> = subtrees.map(|(level, index)| place(level, index).0).collect();
        Self::load(connection, ids).await
    }

    /// How many leaves are read at a time by those who need all of them.
    pub const WINDOW: u64 = 16 * TILE_HASHES;

    /// The tiles that have the leaves from `start` on, as many as are read at a time, and those above
    /// them in a tree of `size` leaves. `start` is a multiple of [`Self::WINDOW`].
    pub async fn over(
        connection: &mut PgConnection,
        start: u64,
        size: u64,
    ) -> Result<Self, sqlx::Error> {
        let end = size.min(start + Self::WINDOW);
        let leaves = start / TILE_HASHES..end.div_ceil(TILE_HASHES);
        let mut ids: BTreeSet<TileId> = leaves.map(|index| (0, index.cast_signed())).collect();
        let (mut level, mut index) = (1, start / TILE_HASHES);
        while nodes_at(level, size) > 0 {
            index /= TILE_HASHES;
            ids.insert((level, index.cast_signed()));
            level += 1;
        }
        Self::load(connection, ids).await
    }

    /// The tiles on the right edge of a tree, to let it grow.
    pub async fn edge(connection: &mut PgConnection, size: u64) -> Result<Self, sqlx::Error> {
        let mut ids = BTreeSet::new();
        let mut level = 0;
        while let nodes @ 1.. = nodes_at(level, size) {
            ids.insert((level, (nodes / TILE_HASHES).cast_signed()));
            ids.insert((level, ((nodes - 1) / TILE_HASHES).cast_signed()));
            level += 1;
        }
        let mut tiles = Self::load(connection, ids).await?;
        tiles.cut(size);
        Ok(tiles)
    }

    /// Leaves only what is there in a tree of this size: the next leaves take the places behind it.
    fn cut(&mut self, size: u64) {
        for ((level, index), tile) in &mut self.0 {
            let before = index.unsigned_abs() * TILE_HASHES;
            let own = nodes_at(*level, size).saturating_sub(before);
            tile.truncate(usize::try_from(own).unwrap_or(usize::MAX));
        }
    }

    async fn load(
        connection: &mut PgConnection,
        ids: BTreeSet<TileId>,
    ) -> Result<Self, sqlx::Error> {
        let (levels, indexes): (Vec<i16>, Vec<i64>) = ids.into_iter().unzip();
        let rows: Vec<(i16, i64, Vec<u8>)> = sqlx::query_as(
            "SELECT t.level, t.index, t.hashes FROM seal_tiles t
             JOIN unnest($1::smallint[], $2::bigint[]) AS n (level, index) USING (level, index)",
        )
        .bind(levels)
        .bind(indexes)
        .fetch_all(connection)
        .await?;
        let tile = |(level, index, bytes): (i16, i64, Vec<u8>)| {
            let (hashes, _) = bytes.as_chunks::<HASH_BYTES>();
            ((level, index), hashes.to_vec())
        };
        Ok(Self(rows.into_iter().map(tile).collect()))
    }

    /// The root of some leaves; `None` where a hash is missing.
    pub fn root(&self, start: u64, end: u64) -> Option<Hash> {
        let subtrees = perfect_subtrees(start, end);
        let hashes: Option<Vec<Hash>> =
            subtrees.into_iter().map(|(level, index)| self.subtree(level, index)).collect();
        hashes.map(|hashes| root_of(&hashes))
    }

    fn subtree(&self, level: u32, index: u64) -> Option<Hash> {
        let (tile, offset, count) = place(level, index);
        Some(perfect_root(self.0.get(&tile)?.get(offset..offset + count)?))
    }

    /// One hash of a tile's level; level 0 has the leaves.
    pub fn hash(&self, level: u32, index: u64) -> Option<Hash> {
        self.subtree(level * TILE_LEVELS, index)
    }

    /// What proves a leaf in the tree of this size.
    pub fn proof(&self, index: u64, size: u64) -> Option<Vec<Hash>> {
        path(index, size).into_iter().map(|(start, end)| self.root(start, end)).collect()
    }

    /// The frontier of the tree of this size.
    pub fn frontier(&self, size: u64) -> Option<Frontier> {
        let peaks = perfect_subtrees(0, size);
        let peaks: Option<Vec<Hash>> =
            peaks.into_iter().map(|(level, index)| self.subtree(level, index)).collect();
        Frontier::of(size, peaks?)
    }

    /// Adds a leaf at the right edge of a tree of this size.
    pub fn push(&mut self, size: u64, leaf: Hash) {
        let (mut index, mut level, mut hash) = (size, 0, leaf);
        loop {
            let tile = self.0.entry((level, (index / TILE_HASHES).cast_signed())).or_default();
            tile.push(hash);
            if !(index + 1).is_multiple_of(TILE_HASHES) {
                return;
            }
            // Full: its root is a hash of the level above.
            hash = perfect_root(tile);
            index /= TILE_HASHES;
            level += 1;
        }
    }

    /// Forgets what will not change any more.
    pub fn forget_full(&mut self) {
        self.0.retain(|_, tile| (tile.len() as u64) < TILE_HASHES);
    }

    /// Keeps the tiles.
    pub async fn save(&self, connection: &mut PgConnection) -> Result<(), sqlx::Error> {
        let (mut levels, mut indexes, mut hashes) = (Vec::new(), Vec::new(), Vec::new());
        for ((level, index), tile) in self.0.iter().filter(|(_, tile)| !tile.is_empty()) {
            levels.push(*level);
            indexes.push(*index);
            hashes.push(tile.concat());
        }
        sqlx::query(
            "INSERT INTO seal_tiles (level, index, hashes)
             SELECT * FROM unnest($1::smallint[], $2::bigint[], $3::bytea[])
             ON CONFLICT (level, index) DO UPDATE SET hashes = excluded.hashes
             WHERE seal_tiles.hashes <> excluded.hashes",
        )
        .bind(levels)
        .bind(indexes)
        .bind(hashes)
        .execute(connection)
        .await?;
        Ok(())
    }
}

#[cfg(test)]
impl Tiles {
    /// Loses a tile.
    pub fn lose(&mut self, level: i16, index: i64) {
        self.0.remove(&(level, index)).unwrap();
    }

    /// Changes one hash of a level.
    pub fn bend(&mut self, level: i16, index: u64) {
        let tile = self.0.get_mut(&(level, (index / TILE_HASHES).cast_signed())).unwrap();
        tile[(index % TILE_HASHES) as usize] = [7; HASH_BYTES];
    }
}

#[cfg(test)]
mod tests {
    use super::super::merkle::leaf_hash;
    use super::*;

    fn leaf_at(index: u64) -> Hash {
        leaf_hash(&index.to_be_bytes())
    }

    /// Across the edges of tiles of two levels, tiles and frontier agree on every root and proof.
    #[test]
    fn tiles_know_what_the_frontier_knows() {
        let (mut tiles, mut frontier) = (Tiles::default(), Frontier::default());
        for index in 0..70_000_u64 {
            let leaf = leaf_at(index);
            tiles.push(index, leaf);
            frontier.push(leaf);
            let size = index + 1;
            let is_edge = size < 600 || size % 9_973 == 0 || (65_530..65_545).contains(&size);
            if is_edge {
                assert_eq!(tiles.root(0, size), Some(frontier.root()), "{size} leaves");
                assert_eq!(tiles.frontier(size).as_ref(), Some(&frontier), "{size} leaves");
                let proof = tiles.proof(size / 2, size).unwrap();
                let leaf = tiles.hash(0, size / 2).unwrap();
                let proved = super::super::merkle::root_from_path(size / 2, size, &leaf, &proof);
                assert_eq!(proved, Some(frontier.root()), "{size} leaves");
            }
        }
        assert_eq!(tiles.root(0, 70_001), None);
    }

    /// Hashes that are left over from a tree that was longer do not get into the new one.
    #[test]
    fn a_tree_that_was_cut_grows_as_if_it_had_never_been_longer() {
        for (size, then) in [(0, 3), (1, 256), (255, 300), (256, 257), (256, 600), (70, 66_000)] {
            let (mut tiles, mut frontier) = (Tiles::default(), Frontier::default());
            (0..66_000).for_each(|index| tiles.push(index, leaf_at(index + 1_000_000)));
            tiles.cut(0);
            (0..size).for_each(|index| tiles.push(index, leaf_at(index)));
            (size..66_000).for_each(|index| tiles.push(index, leaf_at(index + 1_000_000)));
            tiles.cut(size);
            (size..then).for_each(|index| tiles.push(index, leaf_at(index)));
            (0..then).for_each(|index| frontier.push(leaf_at(index)));
            assert_eq!(tiles.frontier(then), Some(frontier), "from {size} to {then}");
        }
    }
}
