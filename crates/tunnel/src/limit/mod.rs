//! The bandwidth limit of one peer, over all its links and streams: which rate holds
//! when, and the waits that keep it.

mod bucket;
mod timetable;

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use parking_lot::Mutex;
use sealift_terms::{Clock, Timestamp, limits::FRAME_BYTES_MAX};
use sealift_wire::FRAME_HEADER_BYTES;

pub use bucket::BURST_TIME;
use bucket::Bucket;
pub use timetable::{Day, InForce, TimeOfDay, Times, Timetable};

/// What is written at once under a limit: this much of the rate in time.
const SLICE_TIMES_PER_SEC: u64 = 20;
/// The smallest slice: one record.
const SLICE_BYTES_MIN: u64 = 16 * 1024;
/// What a TLS record adds to its payload: header, tag, content type.
const RECORD_OVERHEAD_BYTES: u64 = 22;

/// Holds what leaves for one peer to its timetable. Without a limit it costs one load.
pub struct Pace {
    clock: Arc<dyn Clock>,
    /// Whether there is a limit at any time.
    limits: AtomicBool,
    state: Mutex<State>,
}

struct State {
    timetable: Timetable,
    bucket: Bucket,
    in_force: InForce,
    /// Since when that was looked up: a wall clock may jump back.
    since: Timestamp,
}

impl Pace {
    /// One that holds what leaves to this timetable.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>, timetable: Timetable) -> Self {
        let now = clock.now();
        Self {
            clock,
            limits: AtomicBool::new(!timetable.is_unlimited()),
            state: Mutex::new(State {
                in_force: timetable.at(now),
                since: now,
                timetable,
                bucket: Bucket::default(),
            }),
        }
    }

    /// Puts another timetable in force.
    pub fn set(&self, timetable: Timetable) {
        let now = self.clock.now();
        let mut state = self.state.lock();
        self.limits
            .store(!timetable.is_unlimited(), Ordering::Relaxed);
        state.in_force = timetable.at(now);
        state.since = now;
        state.timetable = timetable;
    }

    /// Bytes a second that may leave now; none: as many as will go.
    #[must_use]
    pub fn rate(&self) -> Option<u64> {
        if !self.limits.load(Ordering::Relaxed) {
            return None;
        }
        self.state.lock().rate(self.clock.now())
    }

    /// Bytes of a part that are written at once now; none without a limit.
    #[must_use]
    pub fn slice(&self) -> Option<usize> {
        let bytes = self.rate()? / SLICE_TIMES_PER_SEC / SLICE_BYTES_MIN * SLICE_BYTES_MIN;
        let bytes = bytes.clamp(SLICE_BYTES_MIN, FRAME_BYTES_MAX.into());
        usize::try_from(bytes).ok()
    }

    /// Takes room for bytes that leave as a DATA frame; says how long to wait first.
    #[must_use]
    pub fn data(&self, bytes: usize) -> Duration {
        let bytes = bytes as u64;
        let records = bytes.div_ceil(SLICE_BYTES_MIN) + 1;
        self.reserve(bytes + FRAME_HEADER_BYTES as u64 + records * RECORD_OVERHEAD_BYTES)
    }

    /// Counts frames that wait for nobody: the bytes behind them wait instead.
    pub fn frames(&self, bytes: usize) {
        if bytes > 0 {
            self.reserve(bytes as u64);
        }
    }

    fn reserve(&self, bytes: u64) -> Duration {
        if !self.limits.load(Ordering::Relaxed) {
            return Duration::ZERO;
        }
        let mut state = self.state.lock();
        match state.rate(self.clock.now()) {
            Some(rate) => state.bucket.reserve(self.clock.monotonic(), bytes, rate),
            None => Duration::ZERO,
        }
    }
}

impl State {
    fn rate(&mut self, now: Timestamp) -> Option<u64> {
        let holds = self.since <= now && self.in_force.until.is_none_or(|until| now < until);
        if !holds {
            self.in_force = self.timetable.at(now);
            self.since = now;
        }
        self.in_force.rate
    }
}

impl fmt::Debug for Pace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pace")
            .field("rate", &self.rate())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicI64;

    use super::*;

    /// A wall clock and a monotonic one that a test sets.
    #[derive(Debug, Default)]
    struct Hand(AtomicI64);

    impl Hand {
        fn set(&self, millis: i64) {
            self.0.store(millis, Ordering::Relaxed);
        }
    }

    impl Clock for Hand {
        fn now(&self) -> Timestamp {
            Timestamp::from_millis(self.0.load(Ordering::Relaxed))
        }

        fn monotonic(&self) -> Duration {
            Duration::from_millis(self.0.load(Ordering::Relaxed).unsigned_abs())
        }
    }

    const HOUR: i64 = 3_600_000;

    /// 1 MiB a second from 08:00 to 09:00, 64 KiB a second otherwise.
    fn timetable() -> Timetable {
        let times = Times {
            days: Day::ALL.to_vec(),
            from: TimeOfDay::parse("08:00").unwrap(),
            to: TimeOfDay::parse("09:00").unwrap(),
            rate: Some(1 << 20),
        };
        Timetable::new(Some(64 << 10), &[times]).unwrap()
    }

    #[test]
    fn a_border_of_the_timetable_is_seen_whichever_way_the_clock_goes() {
        let clock = Arc::new(Hand::default());
        let pace = Pace::new(clock.clone(), timetable());
        let mut seen = Vec::new();
        for at in [
            0,
            8 * HOUR - 1,
            8 * HOUR,
            9 * HOUR - 1,
            9 * HOUR,
            8 * HOUR,
            7 * HOUR,
        ] {
            clock.set(at);
            seen.push(pace.rate().unwrap() >> 10);
        }
        assert_eq!(seen, [64, 64, 1024, 1024, 64, 1024, 64]);
    }

    #[test]
    fn what_leaves_across_a_border_is_each_rate_in_its_time() {
        let clock = Arc::new(Hand::default());
        let pace = Pace::new(clock.clone(), timetable());
        // One minute before and one after: the clock goes on as the waits say.
        let (begin, border) = (8 * HOUR - 60_000, 8 * HOUR);
        let (mut now, mut before, mut after) = (begin as f64, 0, 0);
        while now < (border + 60_000) as f64 {
            clock.set(now as i64);
            let slice = pace.slice().unwrap();
            let wait = pace.data(slice);
            now += wait.as_secs_f64() * 1e3;
            match now < border as f64 {
                true => before += slice,
                false => after += slice,
            }
        }
        for (sent, rate) in [(before, 64 << 10), (after, 1 << 20)] {
            let share = sent as f64 / f64::from(60 * rate);
            assert!((0.95..=1.05).contains(&share), "{share} of {rate}");
        }
    }

    #[test]
    fn a_limit_can_be_changed_and_taken_away() {
        let clock = Arc::new(Hand::default());
        let pace = Pace::new(clock, Timetable::default());
        assert_eq!((pace.rate(), pace.slice()), (None, None));
        assert_eq!(pace.data(1 << 30), Duration::ZERO);
        pace.set(Timetable::new(Some(1 << 20), &[]).unwrap());
        assert_eq!(pace.rate(), Some(1 << 20));
        assert_eq!(pace.slice(), Some(48 << 10));
        let _ = pace.data(1 << 20);
        assert!(pace.data(1) > Duration::from_millis(800));
        pace.set(Timetable::default());
        assert_eq!(pace.data(1 << 30), Duration::ZERO);
    }
}
