//! Reading a range: which parts, which chunks of each, and what to cut off.

use std::ops::Range;

use sealift_terms::PartIndex;

use crate::{
    cobblestone::CHUNK, error::SealError, layout::Layout, open::Opened, part_reader::PartReader,
    read::ReadAt, table::Kept,
};

/// Reads a range of an opened object, one run of plaintext after the other.
#[derive(Debug)]
pub struct RangeReader<'a, R> {
    opened: &'a Opened<R>,
    range: Range<u64>,
    /// The parts not begun yet.
    parts: Range<u32>,
    part: Option<PartReader>,
    /// Where the next run begins in the object.
    at: u64,
    kept: Kept,
    buffer: Vec<u8>,
}

impl<'a, R: ReadAt> RangeReader<'a, R> {
    pub(crate) fn new(opened: &'a Opened<R>, range: Range<u64>) -> Result<Self, SealError> {
        let size = opened.size();
        if range.start > range.end || range.end > size {
            return Err(SealError::OutOfRange {
                start: range.start,
                end: range.end,
                size,
            });
        }
        let part_of = |at: u64| {
            let part = at / u64::from(opened.layout().part_size().bytes());
            u32::try_from(part).map_err(|_| SealError::Misuse("no such part"))
        };
        let first = part_of(range.start)?;
        let parts = if range.end == size {
            first..opened.parts()
        } else if range.is_empty() {
            first..first
        } else {
            first..part_of(range.end - 1)? + 1
        };
        Ok(Self {
            opened,
            range,
            parts,
            part: None,
            at: 0,
            kept: None,
            buffer: Vec::new(),
        })
    }

    /// The next run of plaintext, never empty; `None` at the end of the range.
    /// Every tag of a run is good before it is given out.
    ///
    /// # Errors
    /// [`SealError::Damaged`] or [`SealError::Read`]; nothing more comes then.
    pub fn next_run(&mut self) -> Result<Option<&[u8]>, SealError> {
        let found = self.advance();
        if found.is_err() {
            (self.part, self.parts) = (None, 0..0);
        }
        Ok(found?.and_then(|run| self.buffer.get(run)))
    }

    /// Opens runs until one is not empty, and says where it lies in the buffer.
    fn advance(&mut self) -> Result<Option<Range<usize>>, SealError> {
        loop {
            let mut part = match self.part.take() {
                Some(part) => part,
                None => match self.parts.next() {
                    Some(index) => self.begin(PartIndex(index))?,
                    None => return Ok(None),
                },
            };
            let Some(run) = part.next_run(&self.opened.source, &mut self.buffer)? else {
                continue;
            };
            self.part = Some(part);
            let (start, len) = (self.at, run.len() as u64);
            self.at += len;
            let within = |at: u64| at.clamp(start, start + len) - start;
            let wanted = within(self.range.start)..within(self.range.end);
            if !wanted.is_empty() {
                return Ok(Some(wanted.start as usize..wanted.end as usize));
            }
        }
    }

    /// Begins a part with the first of its chunks that is wanted.
    fn begin(&mut self, index: PartIndex) -> Result<PartReader, SealError> {
        let part_start = u64::from(index.0) * u64::from(self.opened.layout().part_size().bytes());
        let plain = self.opened.part_bytes(index)?;
        let first = self.range.start.saturating_sub(part_start) / CHUNK;
        let wanted = self.range.end.saturating_sub(part_start);
        let end = if wanted >= plain {
            Layout::chunks_of(plain)
        } else {
            wanted.div_ceil(CHUNK)
        };
        self.at = part_start + first * CHUNK;
        self.opened.part(index, first..end, &mut self.kept)
    }
}
