//! Sealed records that wait to be written, each where it was sealed.

use std::{collections::VecDeque, io::IoSlice};

/// Records in one write at most.
const WRITTEN_AT_ONCE: usize = 32;

/// Records in their order; the first may be written in part.
#[derive(Debug, Default)]
pub(crate) struct Outgoing {
    records: VecDeque<Vec<u8>>,
    /// Bytes of the first that are written.
    written: usize,
    bytes: usize,
}

impl Outgoing {
    /// Bytes that wait.
    pub(crate) fn len(&self) -> usize {
        self.bytes
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.bytes == 0
    }

    pub(crate) fn push(&mut self, record: Vec<u8>) {
        if !record.is_empty() {
            self.bytes += record.len();
            self.records.push_back(record);
        }
    }

    /// The bytes to write next, as they lie.
    pub(crate) fn front(&self) -> ([IoSlice<'_>; WRITTEN_AT_ONCE], usize) {
        let mut slices = [IoSlice::new(&[]); WRITTEN_AT_ONCE];
        let mut count = 0;
        for (slice, record) in slices.iter_mut().zip(&self.records) {
            let from = if count == 0 { self.written } else { 0 };
            *slice = IoSlice::new(record.get(from..).unwrap_or_default());
            count += 1;
        }
        (slices, count)
    }

    /// Counts `count` bytes of the front as written.
    pub(crate) fn consume(&mut self, count: usize) {
        let count = count.min(self.bytes);
        self.bytes -= count;
        self.written += count;
        while let Some(first) = self.records.front()
            && self.written >= first.len()
        {
            self.written -= first.len();
            self.records.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_in_any_cuts_is_what_was_pushed() {
        let mut outgoing = Outgoing::default();
        let (mut pushed, mut written) = (Vec::new(), Vec::new());
        for step in 0..500usize {
            let record: Vec<u8> = (0..step * 37 % 90).map(|i| (i + step) as u8).collect();
            pushed.extend_from_slice(&record);
            outgoing.push(record);
            let (slices, count) = outgoing.front();
            let front: Vec<u8> = slices[..count].iter().flat_map(|s| s.to_vec()).collect();
            assert!(count == WRITTEN_AT_ONCE || front.len() == outgoing.len());
            let taken = (step * 53 % 97).min(front.len());
            written.extend_from_slice(&front[..taken]);
            outgoing.consume(taken);
            assert_eq!(outgoing.len(), pushed.len() - written.len());
            assert_eq!(outgoing.is_empty(), pushed.len() == written.len());
        }
        assert!(pushed.starts_with(&written) && written.len() > 10_000);
    }
}
