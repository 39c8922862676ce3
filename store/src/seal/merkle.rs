//! The Merkle tree of RFC 6962, section 2.1: hashes, roots, inclusion proofs.
//!
//! A leaf is hashed with the prefix 0, an inner node with the prefix 1. The tree of n leaves splits at
//! the largest power of two below n; so all its nodes but those on the right edge are perfect, and never
//! change when it grows.

use sha2::{Digest as _, Sha256};

/// SHA-256.
pub type Hash = [u8; 32];

/// The hash of a leaf.
pub(super) fn leaf_hash(leaf: &[u8]) -> Hash {
    Sha256::new().chain_update([0]).chain_update(leaf).finalize().into()
}

/// The hash of an inner node.
pub(super) fn node_hash(left: &Hash, right: &Hash) -> Hash {
    Sha256::new().chain_update([1]).chain_update(left).chain_update(right).finalize().into()
}

/// The root of a tree without leaves.
fn empty_root() -> Hash {
    Sha256::new().finalize().into()
}

/// What is needed of a tree to let it grow: the roots of the perfect subtrees that it is made of, from the
/// left, one for each bit of its size.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Frontier {
    size: u64,
    peaks: Vec<Hash>,
}

impl Frontier {
    /// The frontier of a tree of this size, by the roots of its perfect subtrees from the left; `None`
    /// unless there is one for each.
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
        // Each trailing one of the size is a perfect subtree that is complete now; there is a peak for it.
        let complete = self.peaks.len() - self.size.trailing_ones() as usize;
        for left in self.peaks.drain(complete..).rev() {
            node = node_hash(&left, &node);
        }
        self.peaks.push(node);
        self.size += 1;
    }

    /// The root of the tree.
    pub fn root(&self) -> Hash {
        root_of(&self.peaks)
    }
}

/// The perfect subtrees that make up the leaves from `start` to `end`, from the left, each as its
/// level and its index at that level. A subtree of the largest power of two that fits must begin at `start`.
pub(super) fn perfect_subtrees(start: u64, end: u64) -> Vec<(u32, u64)> {
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
pub(super) fn path(index: u64, size: u64) -> Vec<(u64, u64)> {
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

/// The root of some leaves by the roots of their perfect subtrees, from the left, each smaller than the one before.
pub(super) fn root_of(subtrees: &[Hash]) -> Hash {
    let from_the_right = subtrees.iter().rev().copied();
    from_the_right.reduce(|right, left| node_hash(&left, &right)).unwrap_or_else(empty_root)
}

/// The root of a perfect subtree by nodes of one level; there are as many as a power of two.
pub(super) fn perfect_root(nodes: &[Hash]) -> Hash {
    let mut level = nodes.to_vec();
    while level.len() > 1 {
        let (pairs, _) = level.as_chunks::<2>();
        level = pairs.iter().map(|[left, right]| node_hash(left, right)).collect();
    }
    level.first().copied().unwrap_or_else(empty_root)
}

/// The root that a proof leads to; `None` when it has not as many hashes as it must.
pub(super) fn root_from_path(index: u64, size: u64, leaf: &Hash, hashes: &[Hash]) -> Option<Hash> {
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
    use proptest::prelude::*;

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

    /// The proof as RFC 6962 defines it: `PATH(m, D[n])`, word by word.
    fn defined_path(index: usize, leaves: &[Hash]) -> Vec<Hash> {
        if leaves.len() <= 1 {
            return Vec::new();
        }
        let mut half = 1;
        while half * 2 < leaves.len() {
            half *= 2;
        }
        let (left, right) = leaves.split_at(half);
        let (mut path, beside) = if index < half {
            (defined_path(index, left), defined(right))
        } else {
            (defined_path(index - half, right), defined(left))
        };
        path.push(beside);
        path
    }

    fn leaves(count: u64) -> Vec<Hash> {
        (0..count).map(|index| leaf_hash(&index.to_be_bytes())).collect()
    }

    fn at(number: u64) -> usize {
        usize::try_from(number).unwrap()
    }

    fn grown(leaves: &[Hash]) -> Frontier {
        let mut frontier = Frontier::default();
        for leaf in leaves {
            frontier.push(*leaf);
        }
        frontier
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

    /// The tree with which the implementations of Certificate Transparency are tested, at each size.
    #[test]
    fn published_answers() {
        let inputs = [
            "",
            "00",
            "10",
            "2021",
            "3031",
            "40414243",
            "5051525354555657",
            "606162636465666768696a6b6c6d6e6f",
        ];
        let roots = [
            "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
            "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
            "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
            "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
            "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
            "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
            "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
            "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
            "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
        ];
        let leaves: Vec<Hash> =
            inputs.iter().map(|input| leaf_hash(&hex::decode(input).unwrap())).collect();
        for (size, root) in roots.iter().enumerate() {
            assert_eq!(hex::encode(grown(&leaves[..size]).root()), *root, "{size} leaves");
        }
    }

    #[test]
    fn subtrees_make_up_the_root_of_their_leaves() {
        let leaves = leaves(70);
        for size in 1..=70_u64 {
            let hash = |(level, index): &(u32, u64)| {
                let start = at(index << level);
                defined(&leaves[start..start + (1 << level)])
            };
            let subtrees: Vec<_> = perfect_subtrees(0, size).iter().map(hash).collect();
            assert_eq!(root_of(&subtrees), defined(&leaves[..at(size)]), "{size} leaves");
            let frontier = Frontier::of(size, subtrees).unwrap();
            assert_eq!(frontier, grown(&leaves[..at(size)]));
        }
        assert_eq!(Frontier::of(3, vec![[0; 32]]), None);
    }

    #[test]
    fn each_leaf_is_proved_at_each_size_and_nothing_else_is() {
        let leaves = leaves(40);
        for size in 1..=40_u64 {
            let root = defined(&leaves[..at(size)]);
            for index in 0..size {
                let range = |(start, end): &(u64, u64)| defined(&leaves[at(*start)..at(*end)]);
                let mut hashes: Vec<_> = path(index, size).iter().map(range).collect();
                assert_eq!(hashes, defined_path(at(index), &leaves[..at(size)]));
                let leaf = leaves[at(index)];
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

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// Whatever one changes of a proof, it proves no more.
        #[test]
        fn a_changed_proof_leads_elsewhere(size in 2..3_000_u64, pick in any::<u64>(), bit in 0..256_usize) {
            let leaves = leaves(size);
            let index = pick % size;
            let (leaf, root) = (leaves[at(index)], grown(&leaves).root());
            let mut hashes = defined_path(at(index), &leaves);
            prop_assert_eq!(root_from_path(index, size, &leaf, &hashes), Some(root));
            let step = at(pick) % hashes.len();
            hashes[step][bit / 8] ^= 1 << (bit % 8);
            prop_assert_ne!(root_from_path(index, size, &leaf, &hashes), Some(root));
            hashes.remove(step);
            prop_assert_eq!(root_from_path(index, size, &leaf, &hashes), None);
        }

        /// A tree that has grown has the same leaves below its old size: its old root can be computed from it.
        #[test]
        fn a_tree_grows_consistently(old in 0..1_500_u64, more in 0..1_500_u64) {
            let leaves = leaves(old + more);
            let mut frontier = grown(&leaves[..at(old)]);
            prop_assert_eq!(frontier.root(), defined(&leaves[..at(old)]));
            for leaf in &leaves[at(old)..] {
                frontier.push(*leaf);
            }
            prop_assert_eq!(frontier.root(), defined(&leaves));
        }
    }
}
