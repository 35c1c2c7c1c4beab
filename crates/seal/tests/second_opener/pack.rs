//! Packs without a catalog: from entry to entry, and around what is damaged.

use std::ops::Range;

use super::{bytes_at, crc32c};

const HEADER: usize = 16;
const ENTRY: usize = 16;
const BODY_MAX: usize = 4 << 20;

/// What a walk through a pack met, in order.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Met<'a> {
    Entry {
        kind: u8,
        /// Where the body begins, as a catalog would have it.
        offset: usize,
        body: &'a [u8],
    },
    /// Bytes that were stepped over.
    Damage(Range<usize>),
    /// The end of the pack that was written last, from an entry cut short.
    CutShort(Range<usize>),
}

pub(crate) fn walk(pack: &[u8], written_last: bool) -> Vec<Met<'_>> {
    let mut met = Vec::new();
    let whole = pack.get(..HEADER) == Some(b"\x89SLP\r\n\x1a\n\x01\0\0\0\0\0\0\0");
    let mut at = if whole { HEADER } else { 0 };
    // A missing header is damage even where nothing is stepped over.
    let mut damaged = !whole;
    while damaged || at < pack.len() {
        let next = (at..pack.len()).find_map(|at| entry_at(pack, at).map(|it| (at, it)));
        let whole_at = next.as_ref().map_or(pack.len(), |(at, _)| *at);
        let stepped_over = at..whole_at;
        match next {
            None if written_last => met.push(Met::CutShort(stepped_over)),
            _ if stepped_over.is_empty() && !damaged => {}
            _ => met.push(Met::Damage(stepped_over)),
        }
        damaged = false;
        let Some((_, (entry, end))) = next else {
            break;
        };
        met.push(entry);
        at = end;
    }
    met
}

/// The whole entry at `at`, if there is one, and where it ends.
fn entry_at(pack: &[u8], at: usize) -> Option<(Met<'_>, usize)> {
    let head: [u8; ENTRY] = bytes_at(pack, at).ok()?;
    let kind = head[4];
    let length = u32::from_be_bytes(bytes_at(&head, 8).ok()?) as usize;
    let crc = u32::from_be_bytes(bytes_at(&head, 12).ok()?);
    let right = head.starts_with(b"SLPE")
        && (1..=3).contains(&kind)
        && head[5..8] == [0; 3]
        && (1..=BODY_MAX).contains(&length);
    let offset = at + ENTRY;
    let end = offset + length;
    let body = pack.get(offset..end).filter(|_| right)?;
    (crc32c(head[4..12].iter().chain(body)) == crc)
        .then_some((Met::Entry { kind, offset, body }, end))
}
