//! Which parts of an object are there, with the checksum of each unbroken run.

use std::collections::BTreeMap;

use sealift_terms::{PartIndex, PartSize};

use crate::checksum::combine;

/// Parts next to each other, with the checksum of their bytes together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Run {
    /// The first part.
    pub first: u32,
    /// How many parts; at least one.
    pub count: u32,
    /// The CRC-64/NVME of their plaintext.
    pub crc64: u64,
}

/// The parts of one object that are there. Neighbours are merged, so that a
/// whole object of a million parts is a single run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parts {
    size: u64,
    part_size: PartSize,
    parts: u32,
    runs: BTreeMap<u32, (u32, u64)>,
    count: u32,
}

impl Parts {
    /// None of the parts of an object of `size` bytes; nothing when the object
    /// has more parts than an object may have.
    #[must_use]
    pub fn none_of(size: u64, part_size: PartSize) -> Option<Self> {
        let parts = part_size.parts_of(size)?;
        Some(Self {
            size,
            part_size,
            parts,
            runs: BTreeMap::new(),
            count: 0,
        })
    }

    /// How the object is cut.
    #[must_use]
    pub fn part_size(&self) -> PartSize {
        self.part_size
    }

    /// How many parts the object has.
    #[must_use]
    pub fn of(&self) -> u32 {
        self.parts
    }

    /// How many parts are there.
    #[must_use]
    pub fn count(&self) -> u32 {
        self.count
    }

    /// Bytes of plaintext in part `index`, nothing when there is no such part.
    #[must_use]
    pub fn part_bytes(&self, index: PartIndex) -> Option<u32> {
        self.part_size.part_bytes(self.size, index)
    }

    /// Whether part `index` is there.
    #[must_use]
    pub fn contains(&self, index: PartIndex) -> bool {
        self.run_around(index.0).is_some()
    }

    /// The runs, in order.
    pub fn runs(&self) -> impl Iterator<Item = Run> + '_ {
        self.runs.iter().map(|(&first, &(count, crc64))| Run {
            first,
            count,
            crc64,
        })
    }

    /// Adds a part; whether it was new.
    pub fn insert(&mut self, index: PartIndex, crc64: u64) -> bool {
        self.insert_run(Run {
            first: index.0,
            count: 1,
            crc64,
        })
    }

    /// Adds a run. False, and nothing is added, when it is empty, reaches beyond
    /// the object, or overlaps what is there.
    pub fn insert_run(&mut self, run: Run) -> bool {
        let Some(end) = run
            .first
            .checked_add(run.count)
            .filter(|end| *end <= self.parts)
        else {
            return false;
        };
        let overlaps = self.runs.range(run.first..end).next().is_some()
            || self.run_around(run.first).is_some();
        if run.count == 0 || overlaps {
            return false;
        }
        self.count += run.count;
        let mut whole = run;
        if let Some((count, crc64)) = self.runs.remove(&end) {
            whole.crc64 = combine(whole.crc64, crc64, self.bytes(end, count));
            whole.count += count;
        }
        match self.runs.range_mut(..whole.first).next_back() {
            Some((&first, before)) if first + before.0 == whole.first => {
                let bytes = bytes_of(self.size, self.part_size, whole.first, whole.count);
                *before = (
                    before.0 + whole.count,
                    combine(before.1, whole.crc64, bytes),
                );
            }
            _ => drop(self.runs.insert(whole.first, (whole.count, whole.crc64))),
        }
        true
    }

    /// The first part from `from` on that is not there.
    #[must_use]
    pub fn next_missing(&self, from: u32) -> Option<PartIndex> {
        let next = match self.run_around(from) {
            Some((first, count)) => first + count,
            None => from,
        };
        Some(PartIndex(next)).filter(|_| next < self.parts)
    }

    /// The checksum of the whole object, once every part is there.
    #[must_use]
    pub fn whole(&self) -> Option<u64> {
        self.runs
            .get(&0)
            .filter(|(count, _)| *count == self.parts)
            .map(|(_, crc64)| *crc64)
    }

    fn run_around(&self, index: u32) -> Option<(u32, u32)> {
        let (&first, &(count, _)) = self.runs.range(..=index).next_back()?;
        Some((first, count)).filter(|_| index - first < count)
    }

    fn bytes(&self, first: u32, count: u32) -> u64 {
        bytes_of(self.size, self.part_size, first, count)
    }
}

/// Bytes of plaintext in `count` parts from `first` on.
fn bytes_of(size: u64, part_size: PartSize, first: u32, count: u32) -> u64 {
    let full = u64::from(part_size.bytes());
    let start = u64::from(first) * full;
    let end = u64::from(first).saturating_add(u64::from(count)) * full;
    end.min(size).saturating_sub(start)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::checksum::crc64;

    fn pieces(parts: u32, last: usize) -> (Vec<u8>, Parts) {
        let part = PartSize::MIN;
        let size = (parts as usize - 1) * part.bytes() as usize + last;
        let bytes = (0..size).map(|i| (i / 251 + i) as u8).collect();
        (bytes, Parts::none_of(size as u64, part).unwrap())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        #[test]
        fn any_order_of_arrival_gives_the_checksum_of_the_whole(
            order in Just((0..7u32).collect::<Vec<_>>()).prop_shuffle(), last in 0usize..65_536,
        ) {
            let (bytes, mut parts) = pieces(7, last);
            for (i, index) in order.iter().enumerate() {
                prop_assert_eq!(parts.whole(), None);
                prop_assert_eq!(parts.count(), i as u32);
                let start = *index as usize * 65_536;
                let end = bytes.len().min(start + 65_536);
                prop_assert!(parts.insert(PartIndex(*index), crc64(&bytes[start..end])));
                prop_assert!(!parts.insert(PartIndex(*index), 0));
                prop_assert!(parts.contains(PartIndex(*index)));
            }
            prop_assert_eq!(parts.whole(), Some(crc64(&bytes)));
            prop_assert_eq!(parts.next_missing(0), None);
            prop_assert_eq!(parts.runs().count(), 1);
        }
    }

    #[test]
    fn runs_beyond_the_object_or_over_others_are_refused() {
        let (_, mut parts) = pieces(4, 1);
        assert!(parts.insert_run(Run {
            first: 1,
            count: 2,
            crc64: 0
        }));
        for (first, count) in [
            (0, 0),
            (0, 2),
            (2, 1),
            (2, 2),
            (3, 2),
            (4, 1),
            (u32::MAX, 1),
            (1, u32::MAX),
        ] {
            assert!(
                !parts.insert_run(Run {
                    first,
                    count,
                    crc64: 0
                }),
                "{first}+{count}"
            );
        }
        assert_eq!(parts.count(), 2);
        assert_eq!(parts.next_missing(0), Some(PartIndex(0)));
        assert_eq!(parts.next_missing(1), Some(PartIndex(3)));
    }
}
