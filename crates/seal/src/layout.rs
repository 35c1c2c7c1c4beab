//! Where everything lies: arithmetic on a part size, no table anywhere.

use sealift_terms::{PartIndex, PartSize};

use crate::{
    cobblestone::CHUNK,
    footer::FOOTER_BYTES,
    header::{HEADER_BYTES, Header},
    suite::Suite,
};

/// The layout of objects cut into parts of one size and sealed in one suite.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Layout {
    part_size: PartSize,
    suite: Suite,
}

impl Layout {
    /// The layout for a part size and a suite.
    #[must_use]
    pub const fn new(part_size: PartSize, suite: Suite) -> Self {
        Self { part_size, suite }
    }

    /// The layout of the object with this header.
    #[must_use]
    pub const fn of(header: &Header) -> Self {
        Self::new(header.part_size, header.suite())
    }

    /// How it is sealed.
    #[must_use]
    pub const fn suite(self) -> Suite {
        self.suite
    }

    /// The part size.
    #[must_use]
    pub const fn part_size(self) -> PartSize {
        self.part_size
    }

    /// Bytes of a sealed part of `plain` bytes: prefix, chunks and their tags.
    #[must_use]
    pub fn sealed_part_len(self, plain: u32) -> u64 {
        self.suite.prefix() + self.suite.body_len(plain.into())
    }

    /// Bytes of a sealed full part.
    #[must_use]
    pub fn full_part_len(self) -> u64 {
        self.sealed_part_len(self.part_size.bytes())
    }

    /// Where part `index` begins in the sealed object.
    #[must_use]
    pub fn part_offset(self, index: PartIndex) -> u64 {
        // Below 2^32 parts of below 2^27 bytes: far from overflow.
        HEADER_BYTES as u64 + u64::from(index.0) * self.full_part_len()
    }

    /// Where chunk `chunk` of part `index` begins in the sealed object; `None`
    /// when that overflows.
    #[must_use]
    pub fn chunk_offset(self, index: PartIndex, chunk: u64) -> Option<u64> {
        chunk
            .checked_mul(self.suite.sealed_chunk())?
            .checked_add(self.suite.prefix())?
            .checked_add(self.part_offset(index))
    }

    /// The number of chunks of a part or META of `plain` bytes.
    #[must_use]
    pub const fn chunks_of(plain: u64) -> u64 {
        plain / CHUNK + 1
    }

    /// Where META begins in an object of `size` bytes; `None` when the object has
    /// too many parts.
    #[must_use]
    pub fn meta_offset(self, size: u64) -> Option<u64> {
        let last = PartIndex(self.part_size.parts_of(size)? - 1);
        let plain = self.part_size.part_bytes(size, last)?;
        self.part_offset(last)
            .checked_add(self.sealed_part_len(plain))
    }

    /// Bytes of META with `json` bytes of JSON for an object of `size` bytes;
    /// `None` when the object has too many parts.
    #[must_use]
    pub fn meta_len(self, size: u64, json: usize) -> Option<u64> {
        let parts = u64::from(self.part_size.parts_of(size)?);
        let json = u64::try_from(json).ok()?;
        let entries = self.suite.entry() * parts;
        self.suite.message_len(json.checked_add(4 + entries)?)
    }

    /// Bytes of the whole sealed object of `size` bytes with `json` bytes of JSON;
    /// `None` when it has too many parts.
    #[must_use]
    pub fn sealed_len(self, size: u64, json: usize) -> Option<u64> {
        self.meta_offset(size)?
            .checked_add(self.meta_len(size, json)?)?
            .checked_add(FOOTER_BYTES as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_are_those_of_the_formula() {
        for (suite, prefix, tags) in [(Suite::One, 56, 16), (Suite::Two, 112, 32)] {
            let layout = Layout::new(PartSize::MIN, suite);
            let full = prefix + 65_536 + 5 * tags;
            assert_eq!(layout.full_part_len(), full);
            assert_eq!(layout.part_offset(PartIndex(3)), 96 + 3 * full);
            assert_eq!(
                layout.chunk_offset(PartIndex(3), 2),
                Some(96 + 3 * full + prefix + 2 * (16_384 + tags))
            );
            assert_eq!(layout.meta_offset(65_536), Some(96 + full + prefix + tags));
            assert_eq!(layout.sealed_len(0, 0), Some(suite.sealed_len_min()));
        }
    }

    #[test]
    fn what_is_too_large_has_no_layout() {
        for suite in [Suite::One, Suite::Two] {
            let layout = Layout::new(PartSize::MIN, suite);
            let largest = (u64::from(sealift_terms::limits::PARTS_MAX) << 16) - 1;
            assert!(layout.sealed_len(largest, 65_536).is_some());
            assert_eq!(layout.sealed_len(largest + 1, 0), None);
            assert_eq!(layout.meta_offset(u64::MAX), None);
            assert_eq!(layout.chunk_offset(PartIndex(u32::MAX), u64::MAX), None);
        }
    }
}
