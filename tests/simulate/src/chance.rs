//! Chance that comes from a seed: the same every time.

use std::{fmt, ops::Range, sync::Arc, time::Duration};

use parking_lot::Mutex;
use sealift_terms::Rng;

/// A generator of numbers: SplitMix64 (Steele, Lea, Flood 2014).
#[derive(Clone)]
pub(crate) struct Chance(Arc<Mutex<u64>>);

impl Chance {
    pub(crate) fn new(seed: u64) -> Self {
        Self(Arc::new(Mutex::new(seed)))
    }

    /// A generator of its own, so that who draws more here changes nothing there.
    pub(crate) fn fork(&self) -> Self {
        Self::new(self.next())
    }

    pub(crate) fn next(&self) -> u64 {
        let mut state = self.0.lock();
        *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = *state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `end`, which is above 0.
    pub(crate) fn below(&self, end: u64) -> u64 {
        self.next() % end.max(1)
    }

    pub(crate) fn within(&self, range: Range<u64>) -> u64 {
        range.start + self.below(range.end - range.start)
    }

    pub(crate) fn one_in(&self, count: u64) -> bool {
        self.below(count) == 0
    }

    /// A time of that many milliseconds, small ones as often as large ones.
    pub(crate) fn millis(&self, range: Range<u64>) -> Duration {
        let (low, high) = (range.start.max(1), range.end.max(2));
        let doublings = 64 - (high / low).leading_zeros();
        let end = (low << self.below(u64::from(doublings) + 1)).clamp(low + 1, high);
        Duration::from_millis(self.within(range.start..end))
    }

    pub(crate) fn pick<'a, T>(&self, of: &'a [T]) -> &'a T {
        &of[usize::try_from(self.below(of.len() as u64)).unwrap()]
    }

    pub(crate) fn fill(&self, bytes: &mut [u8]) {
        for piece in bytes.chunks_mut(8) {
            let number = self.next().to_le_bytes();
            piece.copy_from_slice(&number[..piece.len()]);
        }
    }
}

impl fmt::Debug for Chance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Chance")
    }
}

/// What the product draws its salts, ids and keys from.
#[derive(Debug, Clone)]
pub(crate) struct SimRng(pub(crate) Chance);

impl Rng for SimRng {
    fn fill(&self, bytes: &mut [u8]) {
        self.0.fill(bytes);
    }
}
