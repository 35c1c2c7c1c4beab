//! Merkle tree hashes of RFC 6962, section 2.1.

use std::fmt;

use ring::digest::{Context, SHA256};

/// The head of a log: how many leaves, and their root hash.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct TreeHead {
    /// Leaves.
    pub size: u64,
    /// The root; of an empty log the hash of nothing.
    pub root: [u8; 32],
}

impl fmt::Debug for TreeHead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} leaves, root ", self.size)?;
        self.root
            .iter()
            .try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

fn sha256(pieces: &[&[u8]]) -> [u8; 32] {
    let mut context = Context::new(&SHA256);
    for piece in pieces {
        context.update(piece);
    }
    let mut hash = [0; 32];
    hash.copy_from_slice(context.finish().as_ref());
    hash
}

/// The hash of a leaf: SHA-256 of one zero byte and the leaf.
#[must_use]
pub fn leaf_hash(leaf: &[u8]) -> [u8; 32] {
    sha256(&[&[0], leaf])
}

fn node_hash(left: &[u8; 32], right: &[u8; 32]) -> [u8; 32] {
    sha256(&[&[1], left, right])
}

/// The right edge of a growing tree: the roots of its whole subtrees, largest
/// first. That is all it takes to append and to know the root.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Frontier {
    size: u64,
    roots: Vec<[u8; 32]>,
}

impl Frontier {
    /// Appends a leaf by its hash.
    pub fn push(&mut self, leaf: [u8; 32]) {
        let mut node = leaf;
        for _ in 0..self.size.trailing_ones() {
            if let Some(left) = self.roots.pop() {
                node = node_hash(&left, &node);
            }
        }
        self.roots.push(node);
        self.size += 1;
    }

    /// Leaves so far.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The head.
    #[must_use]
    pub fn head(&self) -> TreeHead {
        let mut from_right = self.roots.iter().rev();
        let root = match from_right.next() {
            None => sha256(&[]),
            Some(last) => from_right.fold(*last, |right, left| node_hash(left, &right)),
        };
        TreeHead {
            size: self.size,
            root,
        }
    }

    /// The roots as bytes, to be stored beside the size.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        self.roots.concat()
    }

    /// Reads what [`to_bytes`](Self::to_bytes) wrote; `None` when it cannot be of `size` leaves.
    #[must_use]
    pub fn from_bytes(size: u64, bytes: &[u8]) -> Option<Self> {
        let (roots, rest) = bytes.as_chunks::<32>();
        let fits = rest.is_empty() && roots.len() == size.count_ones() as usize;
        fits.then(|| Self {
            size,
            roots: roots.to_vec(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The definition, word for word: split at the largest power of two below n.
    fn root_by_definition(leaves: &[[u8; 32]]) -> [u8; 32] {
        match leaves {
            [] => sha256(&[]),
            [one] => *one,
            many => {
                let split = many.len().next_power_of_two() / 2;
                let (left, right) = many.split_at(split);
                node_hash(&root_by_definition(left), &root_by_definition(right))
            }
        }
    }

    #[test]
    fn the_frontier_gives_the_root_that_the_definition_gives() {
        let mut frontier = Frontier::default();
        let mut leaves = Vec::new();
        for i in 0..130_u8 {
            assert_eq!(frontier.head().root, root_by_definition(&leaves), "{i}");
            let stored = Frontier::from_bytes(frontier.size(), &frontier.to_bytes());
            assert_eq!(stored.as_ref(), Some(&frontier));
            leaves.push(leaf_hash(&[i]));
            frontier.push(leaf_hash(&[i]));
        }
    }

    #[test]
    fn known_answers_of_the_reference_log_hold() {
        // certificate-transparency, merkletree tests: the empty tree, and the leaf "".
        let hex = |hash: [u8; 32]| hash.iter().map(|b| format!("{b:02x}")).collect::<String>();
        let mut frontier = Frontier::default();
        assert_eq!(
            hex(frontier.head().root),
            "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
        );
        frontier.push(leaf_hash(b""));
        assert_eq!(
            hex(frontier.head().root),
            "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d"
        );
        frontier.push(leaf_hash(&[0]));
        assert_eq!(
            hex(frontier.head().root),
            "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125"
        );
    }
}
