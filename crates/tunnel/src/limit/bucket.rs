//! Paces bytes: a token bucket that is told the time.
//!
//! It keeps one moment, at which all that was let go so far would have left at the rate.
//! Whoever wants to write reserves, and is told how long to wait: in the order of asking,
//! so that no link starves another, and to the nanosecond, so that a wait that lasts too
//! long is made good by the next one.

use std::time::Duration;

/// How far ahead of the rate bytes may leave after a rest: 100 ms of it.
pub const BURST_TIME: Duration = Duration::from_millis(100);

/// The state of a limit.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Bucket {
    /// When everything reserved would have left.
    done_at: Duration,
}

impl Bucket {
    /// Takes `bytes` at `rate` bytes a second; says how long to wait before they may
    /// leave.
    pub(crate) fn reserve(&mut self, now: Duration, bytes: u64, rate: u64) -> Duration {
        let begin = self.done_at.max(now);
        self.done_at = begin.saturating_add(time_of(bytes, rate));
        begin.saturating_sub(now).saturating_sub(BURST_TIME)
    }
}

/// How long `bytes` take, to the next nanosecond.
fn time_of(bytes: u64, rate: u64) -> Duration {
    let nanos = u128::from(bytes) * 1_000_000_000;
    let nanos = nanos.div_ceil(u128::from(rate.max(1)));
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SLICE: u64 = 16 * 1024;

    /// Writes slices over `links` for `secs`, each link waiting as it is told and `late`
    /// after that; says how many bytes left.
    fn written(rate: u64, links: usize, secs: u64, late: Duration) -> u64 {
        let (mut bucket, mut bytes) = (Bucket::default(), 0);
        let end = Duration::from_secs(secs);
        let mut next = vec![Duration::ZERO; links];
        let mut reserved: Vec<bool> = vec![false; links];
        loop {
            let (link, now) = next
                .iter()
                .copied()
                .enumerate()
                .min_by_key(|(_, at)| *at)
                .unwrap();
            if now >= end {
                return bytes;
            }
            if std::mem::replace(&mut reserved[link], true) {
                bytes += SLICE;
            }
            let wait = bucket.reserve(now, SLICE, rate);
            next[link] = now + wait + if wait.is_zero() { Duration::ZERO } else { late };
        }
    }

    #[test]
    fn what_leaves_is_the_rate_whatever_the_number_of_links() {
        for rate in [64 << 10, 1 << 20, 100_000_000, 1 << 30] {
            for links in [1, 2, 8] {
                let sent = written(rate, links, 30, Duration::ZERO);
                let due = rate * 30;
                let most = due + rate / 10 + (links as u64 + 1) * SLICE;
                assert!(sent <= most, "{rate} {links}: {sent} of {due}");
                assert!(sent >= due * 97 / 100, "{rate} {links}: {sent} of {due}");
            }
        }
    }

    #[test]
    fn waits_that_last_too_long_are_made_good() {
        let sent = written(1 << 20, 1, 30, Duration::from_millis(50));
        assert!(sent >= (30 << 20) * 99 / 100, "{sent}");
    }

    #[test]
    fn a_rest_is_worth_no_more_than_the_burst() {
        let (mut bucket, rate) = (Bucket::default(), 1 << 20);
        let now = Duration::from_secs(3600);
        let mut at_once = 0;
        while bucket.reserve(now, SLICE, rate).is_zero() {
            at_once += SLICE;
        }
        assert!(at_once <= rate / 10 + SLICE, "{at_once}");
    }

    #[test]
    fn another_rate_holds_from_the_next_reservation_on() {
        let mut bucket = Bucket::default();
        let mut now = Duration::ZERO;
        for _ in 0..100 {
            now += bucket.reserve(now, SLICE, 64 << 10);
        }
        let begun = now;
        for _ in 0..100 {
            now += bucket.reserve(now, SLICE, 64 << 20);
        }
        assert!(
            now - begun < Duration::from_millis(300),
            "{:?}",
            now - begun
        );
    }

    #[test]
    fn nothing_overflows() {
        let mut bucket = Bucket::default();
        bucket.reserve(Duration::MAX, u64::MAX, 1);
        assert_eq!(bucket.reserve(Duration::MAX, u64::MAX, 0), Duration::ZERO);
    }
}
