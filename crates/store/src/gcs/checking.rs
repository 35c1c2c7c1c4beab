//! Whether what was read of a generation is what Google says it is.
//!
//! Parts of an object are read side by side, each from its beginning to its end in small
//! steps. The CRC-32C of each run is known, and those of runs that meet make one; when there
//! is a single run from the first byte to the last it is that of the object.

use std::{collections::BTreeMap, sync::Arc};

use async_trait::async_trait;
use parking_lot::Mutex;
use sealift_terms::{Checksum, ObjectFacts, Reason, limits::GCS_RUNS_MAX};

use crate::{SourceObject, StoreError, s3::BucketObject};

/// Runs of bytes that were read, by their first byte: the byte behind the last, and CRC-32C.
#[derive(Debug, Default)]
struct Runs {
    runs: BTreeMap<u64, (u64, u32)>,
    /// Bytes were read twice, or in too many places: nothing is known any more.
    is_lost: bool,
}

impl Runs {
    fn add(&mut self, from: u64, bytes: &[u8]) {
        if self.is_lost || bytes.is_empty() {
            return;
        }
        let to = from.saturating_add(bytes.len() as u64);
        let before = self.runs.range(..to).next_back();
        if before.is_some_and(|(_, (end, _))| *end > from) || self.runs.len() >= GCS_RUNS_MAX {
            self.is_lost = true;
            self.runs.clear();
            return;
        }
        let before = before.filter(|(_, (end, _))| *end == from);
        let before = before.map(|(start, (_, crc))| (*start, *crc));
        let (start, mut crc) = before.unwrap_or((from, 0));
        crc = crc32c::crc32c_append(crc, bytes);
        let mut end = to;
        if let Some((behind, sum)) = self.runs.remove(&to) {
            let len = usize::try_from(behind - to).unwrap_or(usize::MAX);
            crc = crc32c::crc32c_combine(crc, sum, len);
            end = behind;
        }
        self.runs.insert(start, (end, crc));
    }

    /// Of all `size` bytes, if each was read once.
    fn whole(&self, size: u64) -> Option<u32> {
        match self.runs.get(&0) {
            None => (size == 0 && !self.is_lost).then_some(0),
            Some((end, crc)) => (*end == size).then_some(*crc),
        }
    }
}

/// Refuses bytes that are not those that Google has.
pub(super) fn hold(told: Option<u32>, read: u32) -> Result<(), StoreError> {
    match told {
        Some(told) if told != read => Err(StoreError::SourceRefused {
            reason: Reason::ChecksumMismatch,
            evidence: format!("its crc32c is {told:08x}, that of the bytes which came {read:08x}"),
        }),
        _ => Ok(()),
    }
}

/// A generation that is open for reading, and held against its CRC-32C.
#[derive(Debug)]
pub(super) struct Checked {
    object: BucketObject,
    told: Option<u32>,
    runs: Mutex<Runs>,
}

impl Checked {
    pub(super) fn new(object: BucketObject, told: Option<u32>) -> Arc<Self> {
        let runs = Mutex::default();
        Arc::new(Self { object, told, runs })
    }
}

#[async_trait]
impl SourceObject for Checked {
    fn facts(&self) -> &ObjectFacts {
        self.object.facts()
    }

    fn checksum(&self) -> Option<Checksum> {
        self.object.checksum()
    }

    async fn read_exact_at(&self, bytes: &mut [u8], offset: u64) -> Result<(), StoreError> {
        self.object.read_exact_at(bytes, offset).await?;
        self.runs.lock().add(offset, bytes);
        Ok(())
    }

    /// What was not read here to its end, as it went on from an earlier session, is not held
    /// against it: its own checksum goes with the bytes as ever.
    async fn finish(&self) -> Result<(), StoreError> {
        self.object.finish().await?;
        let read = self.runs.lock().whole(self.facts().size);
        read.map_or(Ok(()), |read| hold(self.told, read))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BYTES: &[u8] = b"what is read side by side, in steps";

    fn whole(steps: &[(usize, usize)]) -> Option<u32> {
        let mut runs = Runs::default();
        for (from, to) in steps {
            runs.add(*from as u64, &BYTES[*from..*to]);
        }
        runs.whole(BYTES.len() as u64)
    }

    #[test]
    fn runs_that_meet_are_one_in_whatever_sequence_they_come() {
        let (len, crc) = (BYTES.len(), crc32c::crc32c(BYTES));
        for steps in [
            &[(0, len)][..],
            &[(0, 1), (1, 20), (20, len)],
            &[(20, len), (0, 1), (1, 20)],
            &[(5, 10), (0, 5), (15, len), (10, 15)],
        ] {
            assert_eq!(whole(steps), Some(crc), "{steps:?}");
        }
        assert_eq!(Runs::default().whole(0), Some(0));
    }

    #[test]
    fn of_what_was_not_read_or_was_read_twice_nothing_is_said() {
        let len = BYTES.len();
        for steps in [
            &[][..],
            &[(1, len)],
            &[(0, 9), (10, len)],
            &[(0, 10), (5, len)],
            &[(0, len), (0, len)],
            &[(5, 10), (0, len)],
        ] {
            assert_eq!(whole(steps), None, "{steps:?}");
        }
    }

    #[test]
    fn so_many_runs_are_known_and_no_more() {
        let mut runs = Runs::default();
        for run in 0..2 * GCS_RUNS_MAX {
            runs.add(2 * run as u64, b"x");
            assert!(runs.runs.len() <= GCS_RUNS_MAX);
        }
        assert!(runs.is_lost && runs.whole(0).is_none());
    }

    #[test]
    fn other_bytes_are_refused() {
        assert!(hold(None, 1).is_ok() && hold(Some(1), 1).is_ok());
        let refused = hold(Some(1), 2).unwrap_err();
        assert_eq!(refused.reason(), Reason::ChecksumMismatch);
    }
}
