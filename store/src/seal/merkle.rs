//! The Merkle tree of RFC 6962, section 2.1: hashes, roots, inclusion proofs.
//!
//! A leaf is hashed with the prefix 0, an inner node with the prefix 1. The tree of n leaves splits at
//! the largest power of two below n; so all its nodes but those on the right edge are perfect, and never
//! change when it grows.

use sha2::{Digest as _, Sha256};

/// SHA-256.
pub type Hash = [u8; 32];

/// The hash of a leaf.
pub fn leaf_hash(leaf: &[u8]) -> Hash {
    Sha256::new().chain_update([0]).chain_update(leaf).finalize().into()
}

/// The hash of an inner node.
pub fn node_hash(left: &Hash, right: &Hash) -> Hash {
    Sha256::new().chain_update([1]).chain_update(left).chain_update(right).finalize().into()
}

/// The root of a tree without leaves.
fn empty_root() -> Hash {
    Sha256::new().finalize().into()
}

/// What must be remembered of a tree to let it grow: the roots of its perfect subtrees, from the
/// left, one for each bit of its size.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Frontier {
    size: u64,
    peaks: Vec<Hash>,
}

impl Frontier {
    /// The frontier of a tree of this size, by the roots of its perfect subtrees from the left.
    pub fn of(size: u64, peaks: Vec<Hash>) -> Option<Self> {
        (peaks.len() == size.count_ones() as usize).then_some(Self { size, peaks })
    }

    /// How many leaves the tree has.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Adds a leaf.
    pub fn push(&mut self, leaf: Hash) {
        let mut node = leaf;
        // Each trailing one of the size is a perfect subtree that is complete now.
        for _ in 0..self.size.trailing_ones() {
            let left = self.peaks.pop().unwrap_or(node);
            node = node_hash(&left, &node);
        }
        self.peaks.push(node);
        self.size += 1;
    }

    /// The root of the tree.
    pub fn root(&self) -> Hash {
        let from_the_right = self.peaks.iter().rev().copied();
        from_the_right.reduce(|right, left| node_hash(&left, &right)).unwrap_or_else(empty_root)
    }
}

/// The perfect subtrees that make up the leaves from `start` to `end`, from the left, each as its
/// level and its index at that level. `start` must be where a subtree of that size begins.
pub fn perfect_subtrees(start: u64, end: u64) -> Vec<(u32, u64)> {
    let mut subtrees = Vec::new();
    let mut at = start;
    while at < end {
        let level = (end - at).ilog2();
        subtrees.push((level, at >> level));
        at += 1 << level;
    }
    subtrees
}

/// What proves a leaf: for each step up, the leaves whose subtree stands beside, from the bottom.
pub fn path(index: u64, size: u64) -> Vec<(u64, u64)> {
    let mut path = Vec::new();
    let (mut start, mut end) = (0, size);
    while end - start > 1 {
        let split = start + split(end - start);
        if index < split {
            path.push((split, end));
            end = split;
        } else {
            path.push((start, split));
            start = split;
        }
    }
    path.reverse();
    path
}

/// The largest power of two below a number of leaves, which must be more than one.
fn split(leaves: u64) -> u64 {
    1 << (leaves - 1).ilog2()
}

/// The root of some leaves by the roots of their perfect subtrees, from the left.
pub fn root_of(subtrees: &[Hash]) -> Hash {
    let from_the_right = subtrees.iter().rev().copied();
    from_the_right.reduce(|right, left| node_hash(&left, &right)).unwrap_or_else(empty_root)
}

/// The root that a proof leads to; `None` when it has not as many hashes as it must.
pub fn root_from_path(index: u64, size: u64, leaf: &Hash, hashes: &[Hash]) -> Option<Hash> {
    if index >= size {
        return None;
    }
    let path = path(index, size);
    if path.len() != hashes.len() {
        return None;
    }
    let step = |node: Hash, ((start, _), beside): (&(u64, u64), &Hash)| {
        if *start > index { node_hash(&node, beside) } else { node_hash(beside, &node) }
    };
    Some(path.iter().zip(hashes).fold(*leaf, step))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The definition in RFC 6962, word by word.
    fn defined(leaves: &[Hash]) -> Hash {
        match leaves {
            [] => empty_root(),
            [leaf] => *leaf,
            _ => {
                let mut half = 1;
                while half * 2 < leaves.len() {
                    half *= 2;
                }
                node_hash(&defined(&leaves[..half]), &defined(&leaves[half..]))
            }
        }
    }

    fn leaves(count: u64) -> Vec<Hash> {
        (0..count).map(|index| leaf_hash(&index.to_be_bytes())).collect()
    }

    #[test]
    fn a_growing_tree_has_the_defined_root_at_each_size() {
        let leaves = leaves(200);
        let mut frontier = Frontier::default();
        assert_eq!(frontier.root(), defined(&[]));
        for (count, leaf) in (1..).zip(&leaves) {
            frontier.push(*leaf);
            assert_eq!(frontier.root(), defined(&leaves[..count]), "{count} leaves");
        }
    }

    /// A known answer: the tree of the empty string, from the test data of RFC 6962's first logs.
    #[test]
    fn known_answers() {
        let hex = |hash: Hash| hex::encode(hash);
        assert_eq!(
            hex(empty_root()),
            "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
        );
        assert_eq!(
            hex(leaf_hash(b"")),
            "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d"
        );
    }

    #[test]
    fn subtrees_make_up_the_root_of_their_leaves() {
        let leaves = leaves(70);
        for size in 1..=70_u64 {
            let hash = |(level, index): &(u32, u64)| {
                let start = usize::try_from(index << level).unwrap();
                defined(&leaves[start..start + (1 << level)])
            };
            let subtrees: Vec<_> = perfect_subtrees(0, size).iter().map(hash).collect();
            let count = usize::try_from(size).unwrap();
            assert_eq!(root_of(&subtrees), defined(&leaves[..count]), "{size} leaves");
            let frontier = Frontier::of(size, subtrees).unwrap();
            assert_eq!(frontier.root(), defined(&leaves[..count]));
        }
    }

    #[test]
    fn each_leaf_is_proved_at_each_size_and_nothing_else_is() {
        let leaves = leaves(40);
        for size in 1..=40_u64 {
            let count = usize::try_from(size).unwrap();
            let root = defined(&leaves[..count]);
            for index in 0..size {
                let range = |(start, end): &(u64, u64)| {
                    let (start, end) =
                        (usize::try_from(*start).unwrap(), usize::try_from(*end).unwrap());
                    defined(&leaves[start..end])
                };
                let mut hashes: Vec<_> = path(index, size).iter().map(range).collect();
                let leaf = leaves[usize::try_from(index).unwrap()];
                assert_eq!(root_from_path(index, size, &leaf, &hashes), Some(root));
                let other = leaf_hash(b"another");
                assert_ne!(root_from_path(index, size, &other, &hashes), Some(root));
                let next = (index + 1) % size;
                assert!(size == 1 || root_from_path(next, size, &leaf, &hashes) != Some(root));
                assert_eq!(root_from_path(size, size, &leaf, &hashes), None);
                hashes.push(other);
                assert_eq!(root_from_path(index, size, &leaf, &hashes), None);
            }
        }
    }
}
