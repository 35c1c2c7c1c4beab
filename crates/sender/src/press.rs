//! Whether to compress on the way: where the line is slower than compressing, and for
//! objects that get shorter by it.
//!
//! What the line carries is seen from how long writes wait for it. Where they do not wait,
//! as between machines that stand side by side, nothing is ever tried and it costs a load.
//! The same measure says how objects are cut.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use parking_lot::Mutex;
use sealift_terms::Clock;
use sealift_wire::Packer;

use crate::line::{Line, Proven, per_second};

/// A line that carries a quarter of what one core compresses, or less, is slow: the rest
/// of the processor's time is for everything else.
const MARGIN: u64 = 4;
/// What one core compresses a second, until it was measured.
const PACKS_BYTES_PER_SEC: u64 = 200 << 20;
/// After a piece that was not worth it so many are left alone.
const LEFT_ALONE: u32 = 15;

/// Whether the bytes of one object are worth compressing.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Taste {
    left_alone: u32,
}

impl Taste {
    /// Whether the next piece is to be tried.
    pub(crate) fn wants(&mut self) -> bool {
        let tries = self.left_alone == 0;
        self.left_alone = self.left_alone.saturating_sub(1);
        tries
    }

    /// Takes what came of a piece.
    pub(crate) fn found(&mut self, shorter: bool) {
        if !shorter {
            self.left_alone = LEFT_ALONE;
        }
    }
}

/// What is known of the line and of the processor.
#[derive(Debug)]
struct Known {
    line: Line,
    /// Over sessions.
    proven: Proven,
    /// Bytes a second that one core compresses.
    packs: u64,
}

impl Known {
    fn new(now: Duration) -> Self {
        Self {
            line: Line::new(now),
            proven: Proven::default(),
            packs: PACKS_BYTES_PER_SEC,
        }
    }

    fn packed(&mut self, bytes: u64, took: Duration) {
        if took > Duration::ZERO {
            self.packs = (self.packs * 7 + per_second(bytes, took)) / 8;
        }
    }

    fn is_slow(&self, carries: u64) -> bool {
        carries.saturating_mul(MARGIN) <= self.packs
    }
}

/// Decides for the sending to one peer, over all its links, and counts.
#[derive(Debug)]
pub(crate) struct Press {
    clock: Arc<dyn Clock>,
    /// Whether both ends want it.
    may: AtomicBool,
    /// Whether the line was seen to be slow.
    slow: AtomicBool,
    known: Mutex<Known>,
    packed: AtomicU64,
    saved: AtomicU64,
}

impl Press {
    pub(crate) fn new(clock: Arc<dyn Clock>) -> Self {
        Self {
            known: Mutex::new(Known::new(clock.monotonic())),
            clock,
            may: AtomicBool::new(false),
            slow: AtomicBool::new(false),
            packed: AtomicU64::new(0),
            saved: AtomicU64::new(0),
        }
    }

    /// A session begins in which it may be done, or not.
    pub(crate) fn begin(&self, may: bool) {
        let mut known = self.known.lock();
        known.line = Line::new(self.clock.monotonic());
        known.packs = PACKS_BYTES_PER_SEC;
        self.may.store(may, Ordering::Relaxed);
        self.slow.store(false, Ordering::Relaxed);
    }

    /// Whether to compress now; `limit` is what the line may carry.
    pub(crate) fn is_on(&self, limit: Option<u64>) -> bool {
        self.may.load(Ordering::Relaxed)
            && (self.slow.load(Ordering::Relaxed)
                || limit.is_some_and(|limit| self.known.lock().is_slow(limit)))
    }

    /// Compresses a piece, and notes how long that took. Whether it got shorter.
    pub(crate) fn pack(
        &self,
        packer: &mut Option<Packer>,
        plain: &[u8],
        out: &mut Vec<u8>,
    ) -> bool {
        if packer.is_none() {
            *packer = Packer::new();
        }
        let Some(packer) = packer else {
            return false;
        };
        let begun = self.clock.monotonic();
        let shorter = packer.pack(plain, out);
        let took = self.clock.monotonic().saturating_sub(begun);
        self.known.lock().packed(plain.len() as u64, took);
        if shorter {
            let saved = plain.len().saturating_sub(out.len());
            self.packed.fetch_add(plain.len() as u64, Ordering::Relaxed);
            self.saved.fetch_add(saved as u64, Ordering::Relaxed);
        }
        shorter
    }

    /// A write begins.
    pub(crate) fn begun(&self) -> Duration {
        self.clock.monotonic()
    }

    /// A write ended that began then.
    pub(crate) fn wrote(&self, begun: Duration, bytes: usize) {
        let now = self.clock.monotonic();
        let mut known = self.known.lock();
        let waited = now.saturating_sub(begun);
        if let Some(window) = known.line.wrote(now, bytes as u64, waited) {
            known.proven.take(window);
            let carries = known.line.carries;
            let slow = carries.is_some_and(|carries| known.is_slow(carries));
            self.slow.store(slow, Ordering::Relaxed);
        }
    }

    /// Bytes a second that the line has proven to carry, in this session or an earlier one.
    pub(crate) fn carries(&self) -> Option<u64> {
        self.known.lock().proven.bytes_per_sec()
    }

    /// Plaintext bytes that were compressed.
    pub(crate) fn packed(&self) -> u64 {
        self.packed.load(Ordering::Relaxed)
    }

    /// Bytes that did not have to be sent because of it.
    pub(crate) fn saved(&self) -> u64 {
        self.saved.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PIECE: u64 = 1 << 20;

    /// Writes pieces over a line that carries `rate` for two seconds, waiting for it all
    /// of the time or `waits` of a hundred parts of it.
    fn after((known, now): &mut (Known, Duration), rate: u64, waits: u32) -> bool {
        let each = Duration::from_secs_f64(PIECE as f64 / rate as f64);
        let end = *now + Duration::from_secs(2);
        while *now < end {
            *now += each;
            known.line.wrote(*now, PIECE, each * waits / 100);
        }
        let carries = known.line.carries;
        carries.is_some_and(|carries| known.is_slow(carries))
    }

    fn fresh() -> (Known, Duration) {
        (Known::new(Duration::ZERO), Duration::ZERO)
    }

    #[test]
    fn a_line_that_makes_writes_wait_is_slow_and_one_that_does_not_is_not() {
        let mut line = fresh();
        assert!(!after(&mut line, 10 << 20, 10), "there is little to send");
        assert_eq!(line.0.line.carries, None);
        assert!(after(&mut line, 10 << 20, 90));
        assert!(
            !after(&mut line, 400 << 20, 90),
            "it is faster than compressing"
        );
    }

    #[test]
    fn a_line_that_became_faster_is_noticed_although_nothing_waits_for_it() {
        let mut line = fresh();
        assert!(after(&mut line, 10 << 20, 90));
        // A pause, and a little, say nothing.
        assert!(after(&mut line, 2 << 20, 0));
        assert!(!after(&mut line, 100 << 20, 0));
    }

    #[test]
    fn a_processor_that_compresses_slowly_makes_a_slow_line_of_fewer() {
        let mut line = fresh();
        assert!(after(&mut line, 30 << 20, 90));
        for _ in 0..100 {
            line.0.packed(PIECE, Duration::from_millis(20));
        }
        assert!(!after(&mut line, 30 << 20, 90));
        assert!(after(&mut line, 10 << 20, 90));
        // A clock that stands still says nothing.
        line.0.packed(PIECE, Duration::ZERO);
        assert!(line.0.packs < 60 << 20);
    }

    #[test]
    fn what_is_not_worth_it_is_tried_again_only_now_and_then() {
        let mut taste = Taste::default();
        let mut tried = Vec::new();
        for piece in 0..48 {
            if taste.wants() {
                tried.push(piece);
                taste.found(false);
            }
        }
        assert_eq!(tried, [0, 16, 32]);
        let mut taste = Taste::default();
        for _ in 0..10 {
            assert!(taste.wants());
            taste.found(true);
        }
    }
}
