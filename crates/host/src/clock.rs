//! The machine's clocks.

use std::{
    sync::OnceLock,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use sealift_terms::{Clock, Timestamp};

/// The wall clock and the monotonic clock of this machine.
#[derive(Debug, Clone, Copy, Default)]
pub struct OsClock;

/// One start for the whole process, so that every copy of the clock agrees.
static START: OnceLock<Instant> = OnceLock::new();

impl Clock for OsClock {
    fn now(&self) -> Timestamp {
        let millis = match SystemTime::now().duration_since(UNIX_EPOCH) {
            Ok(since) => i64::try_from(since.as_millis()).unwrap_or(i64::MAX),
            Err(before) => i64::try_from(before.duration().as_millis()).map_or(i64::MIN, |m| -m),
        };
        Timestamp::from_millis(millis)
    }

    fn monotonic(&self) -> Duration {
        START.get_or_init(Instant::now).elapsed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn monotonic_time_goes_forward_and_now_is_after_2026() {
        let clock = OsClock;
        let first = clock.monotonic();
        assert!(clock.monotonic() >= first);
        assert!(clock.now() > Timestamp::from_secs(1_700_000_000));
    }
}
