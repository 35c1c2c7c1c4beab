//! Packs: many small objects in one file, each entry whole or not there.

use std::ops::Range;

use sealift_terms::limits;

use crate::{
    error::{Damage, SealError},
    fields::Fields,
};

/// The first bytes of a pack.
pub const PACK_HEADER: [u8; 16] = *b"\x89SLP\r\n\x1a\n\x01\0\0\0\0\0\0\0";
/// Bytes before the body of an entry.
pub const ENTRY_HEAD_BYTES: usize = 16;

pub(crate) const ENTRY_MAGIC: [u8; 4] = *b"SLPE";

/// What an entry holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum EntryKind {
    /// A whole sealed object.
    Object,
    /// A key record, as JSON.
    Record,
    /// A mark: a sealed object of no bytes that says something of a version.
    Mark,
}

impl EntryKind {
    const fn code(self) -> u8 {
        match self {
            Self::Object => 1,
            Self::Record => 2,
            Self::Mark => 3,
        }
    }

    const fn from_code(code: u8) -> Option<Self> {
        match code {
            1 => Some(Self::Object),
            2 => Some(Self::Record),
            3 => Some(Self::Mark),
            _ => None,
        }
    }
}

/// Appends an entry to `out`; `body` appends what it holds. Gives where in `out`
/// the body lies. On an error `out` is as it was.
///
/// # Errors
/// What `body` says; [`SealError::Misuse`] for an empty body or one above 4 MiB.
pub fn append_entry(
    out: &mut Vec<u8>,
    kind: EntryKind,
    body: impl FnOnce(&mut Vec<u8>) -> Result<(), SealError>,
) -> Result<Range<usize>, SealError> {
    let start = out.len();
    out.extend_from_slice(&ENTRY_MAGIC);
    out.extend_from_slice(&[kind.code(), 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    let result = body(out).and_then(|()| complete(out, start));
    if result.is_err() {
        out.truncate(start);
    }
    result
}

/// Fills in length and CRC of the entry that begins at `start`.
fn complete(out: &mut [u8], start: usize) -> Result<Range<usize>, SealError> {
    let end = out.len();
    let (head, body) = out
        .get_mut(start..)
        .and_then(|entry| entry.split_at_mut_checked(ENTRY_HEAD_BYTES))
        .ok_or(SealError::Misuse("a pack entry was cut while written"))?;
    let len = u32::try_from(body.len())
        .ok()
        .filter(|len| (1..=limits::PACK_ENTRY_BYTES_MAX).contains(len))
        .ok_or(SealError::Misuse("a pack entry holds 1 byte to 4 MiB"))?;
    let (fields, crc) = head.split_at_mut(12);
    let (_, fields) = fields.split_at_mut(4);
    for (to, from) in fields.iter_mut().skip(4).zip(len.to_be_bytes()) {
        *to = from;
    }
    let sum = crc32c::crc32c_append(crc32c::crc32c(fields), body);
    crc.copy_from_slice(&sum.to_be_bytes());
    Ok(start + ENTRY_HEAD_BYTES..end)
}

/// Whether an entry is whole: its head, and its body by the CRC in it.
///
/// # Errors
/// [`SealError::Damaged`] says what is wrong.
pub fn check_entry(head: &[u8; ENTRY_HEAD_BYTES], body: &[u8]) -> Result<EntryKind, SealError> {
    let parsed = EntryHead::parse(head)?;
    if u32::try_from(body.len()) != Ok(parsed.len) {
        return Err(Damage::Entry("another length").into());
    }
    if !parsed.matches(body) {
        return Err(Damage::Entry("wrong CRC").into());
    }
    Ok(parsed.kind)
}

/// The head of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct EntryHead {
    pub(crate) kind: EntryKind,
    pub(crate) len: u32,
    crc: u32,
    head_crc: u32,
}

impl EntryHead {
    /// Parses a head; its CRC is checked with the body.
    pub(crate) fn parse(bytes: &[u8; ENTRY_HEAD_BYTES]) -> Result<Self, Damage> {
        let mut fields = Fields(bytes);
        if fields.bytes() != Some(ENTRY_MAGIC) {
            return Err(Damage::Entry("no magic"));
        }
        let head_crc = crc32c::crc32c(fields.0.split_at(8).0);
        let kind = fields
            .u8()
            .and_then(EntryKind::from_code)
            .ok_or(Damage::Entry("unknown kind"))?;
        if fields.bytes() != Some([0; 3]) {
            return Err(Damage::Entry("zero bytes that are not zero"));
        }
        let len = fields
            .u32()
            .filter(|len| (1..=limits::PACK_ENTRY_BYTES_MAX).contains(len))
            .ok_or(Damage::Entry("length not allowed"))?;
        Ok(Self {
            kind,
            len,
            crc: fields.u32().ok_or(Damage::Entry("too short"))?,
            head_crc,
        })
    }

    /// Whether the CRC holds for the body.
    pub(crate) fn matches(&self, body: &[u8]) -> bool {
        crc32c::crc32c_append(self.head_crc, body) == self.crc
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_that_is_empty_or_too_long_leaves_the_pack_as_it_was() {
        let mut out = PACK_HEADER.to_vec();
        let mut append = |len: usize| {
            let result = append_entry(&mut out, EntryKind::Object, |out| {
                out.resize(out.len() + len, 7);
                Ok(())
            });
            (result.is_ok(), out.len())
        };
        assert_eq!(append(0), (false, 16));
        assert_eq!(append((4 << 20) + 1), (false, 16));
        assert_eq!(append(4 << 20), (true, 32 + (4 << 20)));
    }

    #[test]
    fn an_entry_is_whole_or_what_is_wrong_is_said() {
        let mut out = Vec::new();
        append_entry(&mut out, EntryKind::Mark, |out| {
            out.extend_from_slice(b"body");
            Ok(())
        })
        .unwrap();
        let (head, body) = out.split_first_chunk::<ENTRY_HEAD_BYTES>().unwrap();
        assert_eq!(check_entry(head, body).unwrap(), EntryKind::Mark);
        assert!(check_entry(head, b"bode").is_err());
        assert!(check_entry(head, b"bod").is_err());
        for at in 0..ENTRY_HEAD_BYTES {
            let mut altered = *head;
            altered[at] ^= 1;
            assert!(check_entry(&altered, body).is_err(), "byte {at}");
        }
    }

    #[test]
    fn the_body_is_where_it_is_said_to_be() {
        let mut out = PACK_HEADER.to_vec();
        let body = append_entry(&mut out, EntryKind::Record, |out| {
            out.extend_from_slice(b"{}");
            Ok(())
        });
        assert_eq!(&out[body.unwrap()], b"{}");
    }
}
