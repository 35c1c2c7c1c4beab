//! What costs a store time that it need not take where somebody else is measured: copies of what
//! is stored, and hashes of it.

use bytes::Bytes;
use ring::digest;

use crate::signature::hex;

/// Bytes in the pieces that they came in.
#[derive(Debug, Default, Clone)]
pub(super) struct Content(Vec<Bytes>);

impl From<Vec<Bytes>> for Content {
    fn from(pieces: Vec<Bytes>) -> Self {
        Self(pieces)
    }
}

impl From<Bytes> for Content {
    fn from(bytes: Bytes) -> Self {
        Self(vec![bytes])
    }
}

impl Content {
    pub(super) fn len(&self) -> usize {
        self.0.iter().map(Bytes::len).sum()
    }

    pub(super) fn append(&mut self, more: &Self) {
        self.0.extend_from_slice(&more.0);
    }

    pub(super) fn whole(&self) -> Bytes {
        self.slice(0, self.len())
    }

    /// The bytes from `from` up to `to`, which are not copied where one piece has all of them.
    pub(super) fn slice(&self, from: usize, to: usize) -> Bytes {
        let (mut at, mut found) = (0, Vec::new());
        for piece in &self.0 {
            let (begin, end) = (at, at + piece.len());
            at = end;
            let (first, last) = (from.max(begin), to.min(end));
            if first < last {
                found.push(piece.slice(first - begin..last - begin));
            }
        }
        match found.len() {
            1 => found.swap_remove(0),
            _ => found.concat().into(),
        }
    }

    /// In hex.
    pub(super) fn sha256(&self) -> String {
        let mut sum = digest::Context::new(&digest::SHA256);
        self.0.iter().for_each(|piece| sum.update(piece));
        hex(sum.finish().as_ref())
    }
}

/// What entity tags are made of.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) enum EntityTags {
    /// The bytes: the same ones have the same tag.
    #[default]
    Hashed,
    /// A number that no other has. No MD5, and not as long as one, so that nobody takes it for that.
    Counted,
}

impl EntityTags {
    /// The tag of this content, which is the `count`th to be put.
    pub(super) fn of(self, content: &Content, count: u64) -> String {
        match self {
            Self::Hashed => format!("\"{}\"", &content.sha256()[..32]),
            Self::Counted => format!("\"counted-{count}\""),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::signature::sha256;

    #[test]
    fn content_in_pieces_is_what_it_would_be_in_one() {
        let pieces = [&b"ab"[..], b"", b"cde", b"f"].map(Bytes::from_static);
        let content = Content::from(pieces.to_vec());
        assert_eq!((content.len(), &content.whole()[..]), (6, &b"abcdef"[..]));
        for from in 0..6 {
            for to in from..=6 {
                assert_eq!(content.slice(from, to), b"abcdef"[from..to]);
            }
        }
        assert_eq!(content.sha256(), sha256(b"abcdef"));
    }
}
