//! FOOTER: the last 32 bytes, which say where META is. An object without one is
//! unfinished and never served.

use sealift_terms::{PartIndex, limits};

use crate::{
    error::{Damage, SealError},
    fields::Fields,
    layout::Layout,
};

/// Bytes of the footer.
pub(crate) const FOOTER_BYTES: usize = 32;

const MAGIC: [u8; 4] = *b"SLFE";

/// What a checked footer says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Footer {
    /// Where META begins.
    pub(crate) meta_offset: u64,
    /// Bytes of META.
    pub(crate) meta_len: u64,
    /// Number of parts.
    pub(crate) parts: u32,
}

impl Footer {
    /// The bytes to be stored.
    pub(crate) fn encode(&self) -> [u8; FOOTER_BYTES] {
        let mut bytes = [0; FOOTER_BYTES];
        let fields = [self.meta_offset, self.meta_len, u64::from(self.parts)];
        let (numbers, rest) = bytes.split_at_mut(24);
        for (to, from) in numbers
            .iter_mut()
            .zip(fields.iter().flat_map(|n| n.to_be_bytes()))
        {
            *to = from;
        }
        let crc = crc32c::crc32c(numbers).to_be_bytes();
        for (to, from) in rest.iter_mut().zip(crc.into_iter().chain(MAGIC)) {
            *to = from;
        }
        bytes
    }

    /// Parses a footer and holds it against the stored length: what comes out is
    /// consistent, and no allocation by it can exceed what the object allows.
    pub(crate) fn parse(
        bytes: &[u8; FOOTER_BYTES],
        stored_len: u64,
        layout: Layout,
    ) -> Result<Self, SealError> {
        let (numbers, mut rest) = (bytes.split_at(24).0, Fields(bytes.split_at(24).1));
        let (crc, magic) = (rest.u32(), rest.bytes());
        if magic != Some(MAGIC) {
            return Err(Damage::Footer("no magic: the object is unfinished or cut").into());
        }
        if crc != Some(crc32c::crc32c(numbers)) {
            return Err(Damage::Footer("its CRC differs").into());
        }
        let mut numbers = Fields(numbers);
        let mut number = || numbers.u64().ok_or(Damage::Footer("too short"));
        let (meta_offset, meta_len, parts) = (number()?, number()?, number()?);
        let parts = u32::try_from(parts)
            .ok()
            .filter(|parts| (1..=limits::PARTS_MAX).contains(parts))
            .ok_or(Damage::Footer("number of parts not allowed"))?;
        let footer = Self {
            meta_offset,
            meta_len,
            parts,
        };
        let end = meta_offset
            .checked_add(meta_len)
            .and_then(|end| end.checked_add(FOOTER_BYTES as u64));
        if end != Some(stored_len) {
            return Err(Damage::Footer("lengths do not add up to the stored length").into());
        }
        footer.json_len(layout)?;
        footer.size(layout)?;
        Ok(footer)
    }

    /// Bytes of the JSON in META, which META's length implies.
    pub(crate) fn json_len(&self, layout: Layout) -> Result<usize, SealError> {
        let entries = layout.suite().entry() * u64::from(self.parts);
        layout
            .suite()
            .message_plain_len(self.meta_len)
            .and_then(|plain| plain.checked_sub(4 + entries))
            .and_then(|json| usize::try_from(json).ok())
            .filter(|json| *json <= limits::META_JSON_BYTES_MAX)
            .ok_or_else(|| Damage::Footer("length of META not possible").into())
    }

    /// Bytes of the object, which META's offset implies.
    pub(crate) fn size(&self, layout: Layout) -> Result<u64, SealError> {
        let full = u64::from(layout.part_size().bytes());
        let last = PartIndex(self.parts.saturating_sub(1));
        self.meta_offset
            .checked_sub(layout.part_offset(last))
            .and_then(|len| layout.suite().message_plain_len(len))
            .filter(|plain| *plain < full)
            .map(|plain| u64::from(last.0) * full + plain)
            .ok_or_else(|| Damage::Footer("offset of META not possible").into())
    }
}

#[cfg(test)]
mod tests {
    use sealift_terms::PartSize;

    use super::*;
    use crate::Suite;

    const ONE: Layout = Layout::new(PartSize::MIN, Suite::One);

    fn parse(footer: Footer, stored_len: u64) -> Result<Footer, SealError> {
        Footer::parse(&footer.encode(), stored_len, ONE)
    }

    #[test]
    fn a_footer_survives_a_round_trip() {
        let footer = Footer {
            meta_offset: 168,
            meta_len: 220,
            parts: 1,
        };
        assert_eq!(parse(footer, 420).unwrap(), footer);
        assert_eq!(footer.json_len(ONE).unwrap(), 112);
        // Neither META nor the part before it has a length that two layers have.
        let two = Layout::new(PartSize::MIN, Suite::Two);
        assert!(Footer::parse(&footer.encode(), 420, two).is_err());
    }

    #[test]
    fn impossible_numbers_are_refused_before_anything_is_read_by_them() {
        let bad = [
            (168, 220, 0),
            (168, 220, 2),
            (168, 107, 1),
            (168, 108 + 65_537 + 64, 1),
            (u64::MAX, 220, 1),
            (168, u64::MAX, 1),
            (96, 292, 1),
            (168, 220, u32::MAX),
            (168, 220, limits::PARTS_MAX + 1),
        ];
        for (meta_offset, meta_len, parts) in bad {
            let footer = Footer {
                meta_offset,
                meta_len,
                parts,
            };
            let len = meta_offset.wrapping_add(meta_len).wrapping_add(32);
            assert!(parse(footer, len).is_err(), "{footer:?}");
        }
    }
}
