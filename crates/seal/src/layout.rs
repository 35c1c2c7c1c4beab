//! Where everything lies: arithmetic on a part size, no table anywhere.

use sealift_terms::{PartIndex, PartSize};

use crate::{
    cobblestone::{CHUNK, PREFIX, TAG, message_len},
    footer::FOOTER_BYTES,
    header::HEADER_BYTES,
};

/// The shortest sealed object: an empty part, META with no JSON, one commitment.
pub const SEALED_BYTES_MIN: u64 = 308;

/// The layout of objects cut into parts of one size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Layout {
    part_size: PartSize,
}

impl Layout {
    /// The layout for a part size.
    #[must_use]
    pub const fn new(part_size: PartSize) -> Self {
        Self { part_size }
    }

    /// The part size.
    #[must_use]
    pub const fn part_size(self) -> PartSize {
        self.part_size
    }

    /// Bytes of a sealed part of `plain` bytes: prefix, chunks and their tags.
    #[must_use]
    pub fn sealed_part_len(plain: u32) -> u64 {
        let plain = u64::from(plain);
        PREFIX + plain + (plain / CHUNK + 1) * TAG
    }

    /// Bytes of a sealed full part.
    #[must_use]
    pub fn full_part_len(self) -> u64 {
        Self::sealed_part_len(self.part_size.bytes())
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
            .checked_mul(CHUNK + TAG)?
            .checked_add(PREFIX)?
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
            .checked_add(Self::sealed_part_len(plain))
    }

    /// Bytes of META with `json` bytes of JSON for an object of `size` bytes;
    /// `None` when the object has too many parts.
    #[must_use]
    pub fn meta_len(self, size: u64, json: usize) -> Option<u64> {
        let parts = u64::from(self.part_size.parts_of(size)?);
        let json = u64::try_from(json).ok()?;
        message_len(json.checked_add(4 + 32 * parts)?)
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
        let layout = Layout::new(PartSize::MIN);
        let full = 56 + 65_536 + 5 * 16;
        assert_eq!(layout.full_part_len(), full);
        assert_eq!(layout.part_offset(PartIndex(3)), 96 + 3 * full);
        assert_eq!(
            layout.chunk_offset(PartIndex(3), 2),
            Some(96 + 3 * full + 56 + 2 * 16_400)
        );
        assert_eq!(layout.meta_offset(65_536), Some(96 + full + 72));
        assert_eq!(layout.sealed_len(0, 0), Some(SEALED_BYTES_MIN));
    }

    #[test]
    fn what_is_too_large_has_no_layout() {
        let layout = Layout::new(PartSize::MIN);
        let largest = (u64::from(sealift_terms::limits::PARTS_MAX) << 16) - 1;
        assert!(layout.sealed_len(largest, 65_536).is_some());
        assert_eq!(layout.sealed_len(largest + 1, 0), None);
        assert_eq!(layout.meta_offset(u64::MAX), None);
        assert_eq!(layout.chunk_offset(PartIndex(u32::MAX), u64::MAX), None);
    }
}
