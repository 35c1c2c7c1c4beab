//! The time at a site: that of the simulation, and what its wall clock is off by.

use std::{
    sync::atomic::{AtomicI64, Ordering},
    time::Duration,
};

use sealift_terms::{Clock, Timestamp};
use tokio::time::Instant;

/// When every run begins.
const BEGIN: Timestamp = Timestamp::from_secs(1_800_000_000);

/// A site's clock.
#[derive(Debug)]
pub(crate) struct SimClock {
    start: Instant,
    off_millis: AtomicI64,
}

impl SimClock {
    pub(crate) fn new() -> Self {
        Self {
            start: Instant::now(),
            off_millis: AtomicI64::new(0),
        }
    }

    /// Sets what the wall clock is off by.
    pub(crate) fn set_off(&self, millis: i64) {
        self.off_millis.store(millis, Ordering::Relaxed);
    }
}

impl Clock for SimClock {
    fn now(&self) -> Timestamp {
        let off = self.off_millis.load(Ordering::Relaxed);
        let now = BEGIN.plus(self.start.elapsed());
        Timestamp::from_millis(now.as_millis() + off)
    }

    fn monotonic(&self) -> Duration {
        self.start.elapsed()
    }
}
