//! Sums of the parts of a staged file, made as they are written: by then their bytes are in the
//! processor's cache, and they need not be read for the signature of their request.

use std::{collections::BTreeMap, mem, ops::RangeInclusive};

use sealift_outside::Sum;
use sealift_terms::limits::S3_SUMS_MAX;

/// The parts of a file that are written from their beginning on without a gap, by where they
/// begin. Of any other nothing is known: it is read.
#[derive(Debug, Default)]
pub(super) struct Written {
    parts: BTreeMap<u64, Part>,
    writes: u64,
}

#[derive(Debug)]
enum Part {
    /// A write is under way: one more at the same time makes it unknown.
    Writing(u64),
    /// Written up to here.
    Until(u64, Box<Sum>),
}

/// A write that goes on where the last one of its part ended.
#[derive(Debug)]
pub(super) struct Write {
    number: u64,
    part: u64,
    sum: Box<Sum>,
    at: u64,
}

impl Written {
    /// A write at `at` begins, into the parts that begin within `parts`, of which the first is
    /// the one that it begins in. It is to be [done](Self::done) once the file has it.
    pub(super) fn begin(&mut self, parts: RangeInclusive<u64>, at: u64) -> Option<Write> {
        let (first, last) = parts.clone().into_inner();
        let before = self.parts.remove(&first);
        self.parts.retain(|part, _| !parts.contains(part));
        let sum = match before {
            _ if first != last => return None,
            // The file may get the bytes of either behind those of the other.
            Some(Part::Writing(_)) => return None,
            Some(Part::Until(until, sum)) if until == at => sum,
            // Whatever was there: this is another beginning.
            _ if first == at => Box::default(),
            _ => return None,
        };
        if self.parts.len() >= S3_SUMS_MAX {
            self.parts.pop_first();
        }
        self.writes += 1;
        let (number, part) = (self.writes, first);
        self.parts.insert(part, Part::Writing(number));
        Some(Write {
            number,
            part,
            sum,
            at,
        })
    }

    /// The file has the bytes of a write.
    pub(super) fn done(&mut self, mut write: Write, bytes: &[u8]) {
        write.sum.update(bytes);
        if let Some(part) = self.parts.get_mut(&write.part)
            && matches!(part, Part::Writing(number) if *number == write.number)
        {
            *part = Part::Until(write.at + bytes.len() as u64, write.sum);
        }
    }

    /// The sum of a part that is `[from, to)`, in hex, if that and no more was written of it.
    pub(super) fn sum(&self, from: u64, to: u64) -> Option<String> {
        match self.parts.get(&from)? {
            Part::Until(until, sum) if *until == to => Some(sum.hex()),
            _ => None,
        }
    }

    /// The part that begins there is not needed any more.
    pub(super) fn forget(&mut self, from: u64) {
        self.parts.remove(&from);
    }

    /// What is there may be something else now.
    pub(super) fn forget_all(&mut self) {
        drop(mem::take(&mut self.parts));
    }
}

#[cfg(test)]
mod tests {
    use sealift_outside::Payload;

    use super::*;

    const PART: u64 = 1000;

    fn parts(at: u64, len: u64) -> RangeInclusive<u64> {
        at / PART * PART..=(at + len - 1) / PART * PART
    }

    fn write(written: &mut Written, at: u64, bytes: &[u8]) {
        if let Some(write) = written.begin(parts(at, bytes.len() as u64), at) {
            written.done(write, bytes);
        }
    }

    fn sum_of(bytes: &[u8]) -> Option<String> {
        Payload::from(bytes.to_vec()).sha256().ok()
    }

    #[test]
    fn a_part_that_is_written_in_a_row_has_a_sum_and_no_other() {
        let mut written = Written::default();
        let bytes: Vec<u8> = (0..=255).cycle().take(1000).collect();
        for part in [2, 0, 1] {
            bytes.chunks(300).zip(0..).for_each(|(piece, index)| {
                assert_eq!(written.sum(part * PART, part * PART + PART), None);
                write(&mut written, part * PART + index * 300, piece);
            });
        }
        for part in 0..3 {
            let from = part * PART;
            assert_eq!(written.sum(from, from + PART), sum_of(&bytes));
            assert_eq!(written.sum(from, from + PART - 1), None, "shorter");
            assert_eq!(written.sum(from, from + PART + 1), None, "longer");
        }
        // Something in it is written anew; it is written anew from its beginning on.
        write(&mut written, 1500, &[1]);
        assert_eq!(written.sum(PART, 2 * PART), None);
        write(&mut written, PART, &bytes[..999]);
        assert_eq!(written.sum(PART, 2 * PART), None);
        write(&mut written, 2 * PART - 1, &bytes[999..]);
        assert_eq!(written.sum(PART, 2 * PART), sum_of(&bytes));
        // A write over where two of them meet, and over all of them.
        write(&mut written, 900, &[1; 200]);
        assert_eq!(written.sum(0, PART), None);
        assert_eq!(written.sum(PART, 2 * PART), None);
        assert_eq!(written.sum(2 * PART, 3 * PART), sum_of(&bytes));
        write(&mut written, 1999, &[1; 1002]);
        assert_eq!(written.sum(2 * PART, 3 * PART), None);
        // What it begins with is written once more, and nothing behind that.
        write(&mut written, 0, &bytes);
        write(&mut written, 0, &bytes[..96]);
        assert_eq!(written.sum(0, PART), None);
    }

    #[test]
    fn of_two_writes_at_once_neither_is_believed() {
        let mut written = Written::default();
        let (all, half) = (vec![7; 1000], vec![8; 500]);
        let one = written.begin(parts(0, 1000), 0).unwrap();
        let other = written.begin(parts(500, 500), 500);
        assert!(other.is_none());
        written.done(one, &all);
        assert_eq!(written.sum(0, PART), None);
        // Of two that begin it anew the file may have either.
        let one = written.begin(parts(0, 500), 0).unwrap();
        assert!(written.begin(parts(0, 500), 0).is_none());
        written.done(one, &half);
        assert_eq!(written.sum(0, 500), None);
        write(&mut written, 0, &half);
        assert_eq!(written.sum(0, 500), sum_of(&half));
    }

    #[test]
    fn as_many_sums_are_kept_as_are_allowed() {
        let mut written = Written::default();
        let many = S3_SUMS_MAX as u64 + 10;
        for part in 0..many {
            write(&mut written, part * PART, &[1; 1000]);
        }
        assert_eq!(written.parts.len(), S3_SUMS_MAX);
        let last = (many - 1) * PART;
        assert!(written.sum(last, last + PART).is_some());
        written.forget(last);
        assert_eq!(written.sum(last, last + PART), None);
        written.forget_all();
        assert!(written.parts.is_empty());
    }
}
