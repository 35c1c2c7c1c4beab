//! Reading a pack from end to end, over damage.

use std::ops::Range;

use sealift_terms::limits;

use crate::{
    error::{Damage, SealError},
    pack::{ENTRY_HEAD_BYTES, ENTRY_MAGIC, EntryHead, EntryKind, PACK_HEADER},
    read::ReadAt,
};

/// Bytes read at once while looking for the next entry.
const SEARCH_BYTES: usize = 64 * 1024;

/// What unreadable bytes at the end of a pack mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tail {
    /// The last pack that was open: never acknowledged, to be dropped.
    Open,
    /// A pack that was closed: damage.
    Closed,
}

/// What a scan comes upon.
#[derive(Debug)]
pub enum Found<'a> {
    /// A whole entry.
    Entry {
        /// What it holds.
        kind: EntryKind,
        /// Where its body lies in the pack: the location of a version.
        body_offset: u64,
        /// Its body.
        body: &'a [u8],
    },
    /// Bytes that are no entry, to be reported; the scan goes on behind them.
    Damage {
        /// Where they lie in the pack.
        range: Range<u64>,
        /// What is wrong with the first of them.
        damage: Damage,
    },
    /// An unfinished end; the pack may be cut back to its start.
    Dropped {
        /// Where it lies in the pack.
        range: Range<u64>,
    },
}

/// Scans one pack.
#[derive(Debug)]
pub struct Scanner<R> {
    reader: R,
    len: u64,
    at: u64,
    begun: bool,
    tail: Tail,
    body: Vec<u8>,
    /// Bytes that may still be read while looking for the next whole entry: without
    /// it a pack made of false beginnings would take hours.
    effort: u64,
}

impl<R: ReadAt> Scanner<R> {
    /// Scans a pack of `len` bytes.
    #[must_use]
    pub const fn new(reader: R, len: u64, tail: Tail) -> Self {
        Self {
            reader,
            len,
            at: 0,
            begun: false,
            tail,
            body: Vec::new(),
            effort: len
                .saturating_mul(limits::PACK_SEARCH_EFFORT_MAX)
                .saturating_add(1),
        }
    }

    /// The next thing in the pack; `None` at its end.
    ///
    /// # Errors
    /// [`SealError::Read`] only: damage is something found.
    // Not an Iterator: what is found borrows the scanner's buffer.
    #[allow(clippy::should_implement_trait)]
    pub fn next(&mut self) -> Result<Option<Found<'_>>, SealError> {
        if !self.begun {
            self.begun = true;
            if let Err(damage) = self.pack_header()? {
                return self.skip(0, damage).map(Some);
            }
            self.at = PACK_HEADER.len() as u64;
        }
        if self.at >= self.len {
            return Ok(None);
        }
        let at = self.at;
        match self.entry_at(at)? {
            Err(damage) => self.skip(at + 1, damage).map(Some),
            Ok(head) => {
                let body_offset = at + ENTRY_HEAD_BYTES as u64;
                self.at = body_offset + u64::from(head.len);
                Ok(Some(Found::Entry {
                    kind: head.kind,
                    body_offset,
                    body: &self.body,
                }))
            }
        }
    }

    fn pack_header(&self) -> Result<Result<(), Damage>, SealError> {
        let mut bytes = PACK_HEADER;
        if self.len < bytes.len() as u64 {
            return Ok(Err(Damage::Pack("too short")));
        }
        self.read(&mut bytes, 0)?;
        Ok(if bytes == PACK_HEADER {
            Ok(())
        } else {
            Err(Damage::Pack("no magic, or an unknown version"))
        })
    }

    /// Reads the entry at `at` into `body`.
    fn entry_at(&mut self, at: u64) -> Result<Result<EntryHead, Damage>, SealError> {
        self.body.clear();
        let left = self.len.saturating_sub(at);
        let Some(room) = left.checked_sub(ENTRY_HEAD_BYTES as u64) else {
            return Ok(Err(Damage::Entry("cut within its head")));
        };
        let mut bytes = [0; ENTRY_HEAD_BYTES];
        self.read(&mut bytes, at)?;
        let head = match EntryHead::parse(&bytes) {
            Ok(head) if u64::from(head.len) <= room => head,
            Ok(_) => return Ok(Err(Damage::Entry("cut within its body"))),
            Err(damage) => return Ok(Err(damage)),
        };
        self.body.resize(head.len as usize, 0);
        self.reader
            .read_exact_at(&mut self.body, at + ENTRY_HEAD_BYTES as u64)
            .map_err(SealError::Read)?;
        Ok(if head.matches(&self.body) {
            Ok(head)
        } else {
            Err(Damage::Entry("its CRC differs"))
        })
    }

    /// Reports the bytes from here to the next whole entry, looked for from `from`.
    fn skip(&mut self, from: u64, damage: Damage) -> Result<Found<'_>, SealError> {
        let start = self.at;
        let next = self.whole_entry_from(from)?;
        let range = start..next.unwrap_or(self.len);
        self.at = range.end;
        // After giving up, what follows may be whole entries: not to be dropped.
        let unfinished = next.is_none() && self.effort > 0 && self.tail == Tail::Open;
        Ok(if unfinished {
            Found::Dropped { range }
        } else {
            Found::Damage { range, damage }
        })
    }

    /// The first whole entry at or behind `from`.
    fn whole_entry_from(&mut self, mut from: u64) -> Result<Option<u64>, SealError> {
        let mut window = Vec::new();
        loop {
            let len = self.len.saturating_sub(from).min(SEARCH_BYTES as u64);
            if len < ENTRY_HEAD_BYTES as u64 {
                return Ok(None);
            }
            window.resize(len as usize, 0);
            self.read(&mut window, from)?;
            let magics = window.windows(4).zip(from..);
            for (_, at) in magics.filter(|(bytes, _)| *bytes == ENTRY_MAGIC) {
                if self.entry_at(at)?.is_ok() {
                    return Ok(Some(at));
                }
                self.effort = self.effort.saturating_sub(self.body.len() as u64);
                if self.effort == 0 {
                    return Ok(None);
                }
            }
            // A magic may lie across two windows.
            from += len - (ENTRY_MAGIC.len() as u64 - 1);
        }
    }

    fn read(&self, bytes: &mut [u8], offset: u64) -> Result<(), SealError> {
        self.reader
            .read_exact_at(bytes, offset)
            .map_err(SealError::Read)
    }
}
