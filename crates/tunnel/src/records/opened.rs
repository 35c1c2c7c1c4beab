//! What was opened and not handed out yet: in pieces that lie among the records they came
//! in, behind bytes that were gathered.

use std::{collections::VecDeque, io::IoSlice, ops::Range};

use crate::buffer::Buffer;

/// Bytes as they came, and what of them is opened.
#[derive(Debug, Default)]
pub(crate) struct Opened {
    /// Plaintext that lies together, before all pieces.
    gathered: Buffer,
    /// Records as they came; those that are opened come first.
    pub(super) raw: Buffer,
    /// Where plaintext lies in `raw`, in its order; none of it is empty.
    pieces: VecDeque<Range<usize>>,
    /// Bytes of `raw` that are opened.
    scanned: usize,
    /// Bytes of all pieces.
    bytes: usize,
}

impl Opened {
    /// Bytes that are opened.
    pub(crate) fn len(&self) -> usize {
        self.gathered.len() + self.bytes
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Room for bytes as they come.
    pub(crate) fn room(&mut self, wanted: usize) -> &mut [u8] {
        self.forget();
        self.raw.room(wanted)
    }

    /// Counts `count` bytes of the room as there.
    pub(crate) fn fill(&mut self, count: usize) {
        self.raw.fill(count);
    }

    /// Adds bytes that came.
    pub(crate) fn came(&mut self, bytes: &[u8]) {
        self.forget();
        self.raw.extend(bytes);
    }

    /// Plaintext that was opened elsewhere.
    pub(crate) fn gathered(&mut self) -> &mut Buffer {
        self.gather(usize::MAX);
        &mut self.gathered
    }

    /// The first bytes that lie together; at least `wanted` of them if there are as many.
    pub(crate) fn front(&mut self, wanted: usize) -> &[u8] {
        let together = match (self.gathered.len(), self.pieces.front()) {
            (0, Some(first)) => first.len(),
            (gathered, _) => gathered,
        };
        if together < wanted {
            self.gather(wanted);
        }
        self.slices().next().unwrap_or_default()
    }

    /// All of it, as it lies.
    pub(crate) fn slices(&self) -> impl Iterator<Item = &[u8]> {
        let raw = self.raw.filled();
        let pieces = self.pieces.iter();
        let pieces = pieces.map(|piece| raw.get(piece.clone()).unwrap_or_default());
        let gathered = (!self.gathered.is_empty()).then(|| self.gathered.filled());
        gathered.into_iter().chain(pieces)
    }

    /// Takes `count` bytes from the front.
    pub(crate) fn consume(&mut self, count: usize) {
        let early = count.min(self.gathered.len());
        self.gathered.consume(early);
        let mut left = (count - early).min(self.bytes);
        self.bytes -= left;
        while let Some(first) = self.pieces.front_mut() {
            let taken = left.min(first.len());
            first.start += taken;
            left -= taken;
            if first.start < first.end {
                break;
            }
            self.pieces.pop_front();
        }
    }

    /// Records that are not opened.
    pub(super) fn sealed(&mut self) -> &mut [u8] {
        let scanned = self.scanned;
        self.raw.filled_mut().get_mut(scanned..).unwrap_or_default()
    }

    /// Counts the first `bytes` of those as opened; what they hold lies at `plain` of them.
    pub(super) fn opened(&mut self, bytes: usize, plain: Range<usize>) {
        if !plain.is_empty() {
            self.bytes += plain.len();
            let from = self.scanned;
            self.pieces.push_back(from + plain.start..from + plain.end);
        }
        self.scanned += bytes;
    }

    /// Without TLS: opens at most `wanted` bytes.
    #[cfg(any(test, feature = "simulation"))]
    pub(super) fn take_as_they_are(&mut self, wanted: usize) {
        let count = self.raw.len().min(wanted);
        let bytes = self.raw.filled().get(..count).unwrap_or_default();
        self.gathered.extend(bytes);
        self.raw.consume(count);
    }

    /// Moves pieces to where bytes are gathered, until those are `wanted`.
    fn gather(&mut self, wanted: usize) {
        while self.gathered.len() < wanted
            && let Some(piece) = self.pieces.pop_front()
        {
            self.bytes -= piece.len();
            let bytes = self.raw.filled().get(piece).unwrap_or_default();
            self.gathered.extend(bytes);
        }
    }

    /// Lets go of records that are opened.
    pub(super) fn forget(&mut self) {
        self.gather(usize::MAX);
        self.raw.consume(self.scanned);
        self.scanned = 0;
    }
}

/// The bytes of one piece of a frame, in the order they came, as they lie.
#[derive(Debug, Clone, Copy)]
pub struct Pieces<'a> {
    opened: &'a Opened,
    length: usize,
}

impl<'a> Pieces<'a> {
    pub(crate) fn new(opened: &'a Opened, length: usize) -> Self {
        Self { opened, length }
    }

    /// Bytes of all together; at least one.
    #[must_use]
    #[allow(clippy::len_without_is_empty)]
    pub fn len(&self) -> usize {
        self.length
    }

    /// A copy of them.
    #[must_use]
    pub fn to_vec(&self) -> Vec<u8> {
        self.iter().collect::<Vec<_>>().concat()
    }

    /// Each that lies by itself; none is empty.
    pub fn iter(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        self.after(0)
    }

    /// The same without the first `skipped` bytes.
    pub fn after(&self, skipped: usize) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        let (mut skipped, mut left) = (skipped, self.length);
        let whole = self.opened.slices().map_while(move |slice| {
            let now = slice.get(..left.min(slice.len())).unwrap_or_default();
            left -= now.len();
            (!now.is_empty()).then_some(now)
        });
        whole.filter_map(move |slice| {
            let from = skipped.min(slice.len());
            skipped -= from;
            slice.get(from..).filter(|rest| !rest.is_empty())
        })
    }

    /// Fills `slices` with those that follow the first `skipped` bytes, as many as there
    /// is room for; how many there are.
    pub fn fill(&self, skipped: usize, slices: &mut [IoSlice<'a>]) -> usize {
        let places = slices.iter_mut().zip(self.after(skipped));
        places
            .map(|(place, rest)| *place = IoSlice::new(rest))
            .count()
    }
}

impl PartialEq for Pieces<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.length == other.length && self.iter().flatten().eq(other.iter().flatten())
    }
}

impl Eq for Pieces<'_> {}

#[cfg(test)]
mod tests {
    use super::*;

    /// "Records" of a byte that says how long they are, that many bytes, and one more.
    fn open(opened: &mut Opened, bytes_max: usize) {
        while opened.len() < bytes_max
            && let &[length, ref rest @ ..] = &*opened.sealed()
            && rest.len() > usize::from(length)
        {
            let length = usize::from(length);
            opened.opened(length + 2, 1..length + 1);
        }
    }

    #[test]
    fn bytes_come_out_as_they_went_in_whatever_the_records() {
        let mut opened = Opened::default();
        let (mut sealed, mut all) = (Vec::new(), Vec::new());
        for step in 0..3000usize {
            let plain: Vec<u8> = (0..step * 31 % 40).map(|i| (i * 3 + step) as u8).collect();
            sealed.push(plain.len() as u8);
            sealed.extend_from_slice(&plain);
            sealed.push(0xff);
            all.extend_from_slice(&plain);
        }
        let (mut read, mut out, mut step) = (0, Vec::new(), 0usize);
        while out.len() < all.len() {
            step += 1;
            let wanted = step * 7 % 60;
            if opened.len() < wanted {
                let count = (step * 13 % 200).min(sealed.len() - read);
                opened.room(count)[..count].copy_from_slice(&sealed[read..read + count]);
                opened.fill(count);
                read += count;
                open(&mut opened, 500);
            }
            let there = opened.len();
            if step % 3 == 0 {
                let front = opened.front(wanted);
                assert!(front.len() >= wanted.min(there));
                let taken = front.len().min(wanted);
                out.extend_from_slice(&front[..taken]);
                opened.consume(taken);
            } else {
                let pieces = Pieces::new(&opened, wanted.min(there));
                let mut slices = [IoSlice::new(&[]); 64];
                let skipped = wanted.min(there) / 2;
                let count = pieces.fill(skipped, &mut slices);
                let rest: Vec<u8> = slices[..count].iter().flat_map(|s| s.to_vec()).collect();
                let whole: Vec<u8> = pieces.iter().flatten().copied().collect();
                assert!(pieces.len() == whole.len() && whole[skipped..] == rest);
                out.extend_from_slice(&whole);
                opened.consume(whole.len());
            }
        }
        assert!(out == all && opened.is_empty());
    }
}
