//! Every salt that came to rest, and what it was used for.
//!
//! A salt with its key makes a key stream. The same salt before other bytes is the
//! one thing that must never be: whoever has both learns what both hid.

use std::{collections::BTreeMap, ops::Range};

use parking_lot::Mutex;
use sealift_seal::{HEADER_BYTES, Header, Layout, Suite};
use sealift_terms::PartIndex;

const SALT_BYTES: usize = 24;
/// Salt, commitment, and the beginning of the first chunk.
const MESSAGE_BYTES: usize = SALT_BYTES + 32 + 64;
/// Salt and commitment.
const PREFIX_BYTES: usize = SALT_BYTES + 32;
const FOOTER_BYTES: usize = 32;
const ENTRY_BYTES: usize = 16;
const PACK_HEADER_BYTES: usize = 16;

/// What was sealed under each salt.
#[derive(Debug, Default)]
pub(crate) struct SaltBook(Mutex<Book>);

#[derive(Debug, Default)]
struct Book {
    seen: BTreeMap<[u8; SALT_BYTES], Vec<u8>>,
    /// How far each pack was looked through.
    packs: BTreeMap<(&'static str, String), usize>,
    reused: Option<String>,
}

impl SaltBook {
    /// Looks at what was just written to a file that now holds `now`.
    pub(crate) fn watch_write(
        &self,
        site: &'static str,
        path: &str,
        now: &[u8],
        written: Range<usize>,
    ) {
        let mut book = self.0.lock();
        if path.ends_with(".slf") {
            let header = now.first_chunk::<HEADER_BYTES>();
            if let Some(Ok(header)) = header.map(Header::parse) {
                for at in messages(now, &header) {
                    if written.contains(&at) {
                        book.see(path, now.get(at..).unwrap_or_default());
                    }
                }
            }
        } else if path.ends_with(".slp") {
            let place = (site, path.to_owned());
            let done = book.packs.get(&place).copied();
            // What is written again after a crash is looked at again.
            let from = done.unwrap_or(PACK_HEADER_BYTES).min(written.start);
            let end = book.entries(path, now, from.max(PACK_HEADER_BYTES));
            book.packs.insert(place, end);
        }
    }

    /// How many there are, or where one was used again.
    pub(crate) fn check(&self) -> Result<usize, String> {
        let book = self.0.lock();
        match &book.reused {
            Some(where_) => Err(format!("a salt was used twice: {where_}")),
            None => Ok(book.seen.len()),
        }
    }
}

impl Book {
    fn see(&mut self, path: &str, message: &[u8]) {
        let message = &message[..message.len().min(MESSAGE_BYTES)];
        let Some((salt, _)) = message.split_first_chunk::<SALT_BYTES>() else {
            return;
        };
        // A hole where nothing was written yet.
        if *salt == [0; SALT_BYTES] {
            return;
        }
        let seen = self.seen.entry(*salt).or_insert_with(|| message.to_vec());
        let both = seen.len().min(message.len());
        if seen[..both] != message[..both] {
            self.reused.get_or_insert(format!("in {path}"));
        }
        if message.len() > seen.len() {
            *seen = message.to_vec();
        }
    }

    /// Looks through the whole entries of a pack from `at` on; where they end.
    fn entries(&mut self, path: &str, pack: &[u8], mut at: usize) -> usize {
        while let Some((length, end)) = entry_at(pack, at) {
            let body = &pack[end - length..end];
            if let Some(Ok(header)) = body.first_chunk::<HEADER_BYTES>().map(Header::parse) {
                for at in messages(body, &header) {
                    self.see(path, body.get(at..).unwrap_or_default());
                }
            }
            at = end;
        }
        at
    }
}

/// The length of an entry's body and where it ends, if it is whole.
fn entry_at(pack: &[u8], at: usize) -> Option<(usize, usize)> {
    let head = pack.get(at..)?.first_chunk::<ENTRY_BYTES>()?;
    if !head.starts_with(b"SLPE") {
        return None;
    }
    let length = u32::from_be_bytes([head[8], head[9], head[10], head[11]]) as usize;
    let end = at + ENTRY_BYTES + length;
    (end <= pack.len()).then_some((length, end))
}

/// Where the messages of a sealed object begin, as far as it is written: of two layers
/// each has a salt of its own, behind the outer one's prefix.
fn messages(object: &[u8], header: &Header) -> Vec<usize> {
    let layout = Layout::of(header);
    let offset = |index| usize::try_from(layout.part_offset(PartIndex(index))).unwrap();
    let parts = (0..).map(offset).take_while(|at| *at < object.len());
    let mut found: Vec<usize> = parts.collect();
    if object.ends_with(b"SLFE")
        && let Some(footer) = object.last_chunk::<FOOTER_BYTES>()
    {
        let meta = u64::from_be_bytes(*footer.first_chunk().unwrap());
        let meta = usize::try_from(meta).unwrap();
        // Behind META's start lies nothing that a part could begin with.
        found.retain(|at| *at < meta);
        found.push(meta);
    }
    if header.suite() == Suite::Two {
        let inner: Vec<_> = found.iter().map(|at| at + PREFIX_BYTES).collect();
        found.extend(inner);
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_salt_before_other_bytes_is_seen() {
        let book = SaltBook::default();
        let mut book = book.0.lock();
        let message = |byte: u8| [&[7; SALT_BYTES][..], &[byte; 96]].concat();
        book.see("a", &message(1));
        book.see("a", &message(1));
        assert_eq!(book.reused, None, "the same bytes again");
        book.see("b", &message(2));
        assert_eq!(book.reused.as_deref(), Some("in b"));
    }
}
