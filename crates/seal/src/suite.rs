//! How many layers a sealing has, and the lengths that follow from it.

use crate::cobblestone::{CHUNK, PREFIX, TAG};

/// How an object is sealed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Suite {
    /// In one layer: Cobblestone-256.
    One,
    /// In two layers, each under a key of its own: Cobblestone-256 by ring, and every
    /// sealed chunk of it sealed again by the aes-gcm crate.
    Two,
}

impl Suite {
    pub(crate) const fn code(self) -> u8 {
        match self {
            Self::One => 1,
            Self::Two => 2,
        }
    }

    pub(crate) const fn from_code(code: u8) -> Option<Self> {
        match code {
            1 => Some(Self::One),
            2 => Some(Self::Two),
            _ => None,
        }
    }

    /// The number of layers.
    #[must_use]
    pub const fn layers(self) -> u64 {
        match self {
            Self::One => 1,
            Self::Two => 2,
        }
    }

    /// Salts and commitments, the bytes before a message's first chunk.
    pub(crate) const fn prefix(self) -> u64 {
        self.layers() * PREFIX
    }

    /// Bytes that a sealed chunk has more than its plaintext.
    pub(crate) const fn tags(self) -> u64 {
        self.layers() * TAG
    }

    /// Bytes of a full chunk, sealed.
    pub(crate) const fn sealed_chunk(self) -> u64 {
        CHUNK + self.tags()
    }

    /// Bytes that META has for each part.
    pub(crate) const fn entry(self) -> u64 {
        self.layers() * 32
    }

    /// Bytes of the sealed chunks of a message of `plain` bytes, which is far from
    /// overflow.
    pub(crate) const fn body_len(self, plain: u64) -> u64 {
        plain + (plain / CHUNK + 1) * self.tags()
    }

    /// The bytes of a whole message of `plain` bytes; `None` when that overflows.
    pub(crate) fn message_len(self, plain: u64) -> Option<u64> {
        let tags = (plain / CHUNK).checked_add(1)?.checked_mul(self.tags())?;
        plain.checked_add(tags)?.checked_add(self.prefix())
    }

    /// The plaintext bytes of a message of `len` bytes; `None` when no message has
    /// that length.
    pub(crate) fn message_plain_len(self, len: u64) -> Option<u64> {
        let body = len.checked_sub(self.prefix())?;
        let last = body % self.sealed_chunk();
        (last >= self.tags()).then(|| (body / self.sealed_chunk()) * CHUNK + (last - self.tags()))
    }

    /// The shortest sealed object: an empty part, META with no JSON, one entry.
    pub(crate) const fn sealed_len_min(self) -> u64 {
        match self {
            Self::One => 308,
            Self::Two => 484,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_always_ends_in_a_short_chunk() {
        for suite in [Suite::One, Suite::Two] {
            let (prefix, tags) = (56 * suite.layers(), 16 * suite.layers());
            let len = |plain| suite.message_len(plain);
            assert_eq!(len(0), Some(prefix + tags));
            assert_eq!(len(CHUNK - 1), Some(prefix + CHUNK - 1 + tags));
            assert_eq!(len(CHUNK), Some(prefix + CHUNK + 2 * tags));
            assert_eq!(len(u64::MAX), None);
        }
        assert_eq!(Suite::Two.sealed_chunk(), 16_416);
    }

    #[test]
    fn only_lengths_of_messages_are_lengths_of_messages() {
        for suite in [Suite::One, Suite::Two] {
            for plain in [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK] {
                let len = suite.message_len(plain).unwrap();
                assert_eq!(suite.message_plain_len(len), Some(plain));
            }
            let (prefix, tags) = (suite.prefix(), suite.tags());
            let full = prefix + suite.sealed_chunk();
            for len in [
                0,
                prefix - 1,
                prefix,
                prefix + tags - 1,
                full,
                full + tags - 1,
            ] {
                assert_eq!(suite.message_plain_len(len), None, "{len}");
            }
        }
    }
}
