//! What the line to a peer carries, as the waits of writes have shown. A line that never
//! made anyone wait has no rate: nothing is known that would be slow.

use std::{collections::VecDeque, time::Duration};

use sealift_terms::{
    PartSize,
    limits::{CONNECTIONS_PER_PEER_DEFAULT, PART_TIME_WANTED},
};

/// The line is judged by what it carried in this time.
const WINDOW: Duration = Duration::from_millis(250);
/// So many of the last full windows count at the least: in one alone the peer may only have
/// caught its breath.
const WINDOWS_MIN: usize = 2;
/// And so much time of them: TCP has found out by then what the line carries.
const PROVEN_IN: Duration = Duration::from_secs(2);
/// Over a long way an object has at least so many parts for each link, so that all of them
/// come to their end at about the same time.
const PARTS_A_LINK: u64 = 16;
/// But none smaller than this for it: two of them on its way fill what one link carries.
const SPREAD_BYTES_MIN: u64 = 2 << 20;

/// The current window.
#[derive(Debug)]
pub(crate) struct Line {
    since: Duration,
    bytes: u64,
    waited: Duration,
    /// Bytes a second that it carries, once writes had to wait for it.
    pub(crate) carries: Option<u64>,
}

/// What came of a window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Window {
    /// Bytes a second.
    rate: u64,
    /// How long it was.
    time: Duration,
    /// Whether more than that would not have gone.
    full: bool,
}

impl Line {
    pub(crate) fn new(now: Duration) -> Self {
        Self {
            since: now,
            bytes: 0,
            waited: Duration::ZERO,
            carries: None,
        }
    }

    /// Takes a write that ended `now`. Gives the window that came to its end with it.
    pub(crate) fn wrote(&mut self, now: Duration, bytes: u64, waited: Duration) -> Option<Window> {
        self.bytes += bytes;
        self.waited += waited;
        let elapsed = now.saturating_sub(self.since);
        if elapsed < WINDOW {
            return None;
        }
        let rate = per_second(self.bytes, elapsed);
        let full = self.waited >= elapsed / 2;
        self.carries = match (full, self.carries) {
            // This is what it carries.
            (true, _) => Some(rate),
            // It carries this at least.
            (false, known) => known.map(|known| known.max(rate)),
        };
        (self.since, self.bytes, self.waited) = (now, 0, Duration::ZERO);
        let time = elapsed;
        Some(Window { rate, time, full })
    }
}

/// What the line was seen to carry lately, over sessions.
#[derive(Debug, Default)]
pub(crate) struct Proven {
    lately: VecDeque<Window>,
}

impl Proven {
    pub(crate) fn take(&mut self, window: Window) {
        let is_more = self
            .bytes_per_sec()
            .is_some_and(|known| window.rate > known);
        if window.full || is_more {
            self.lately.push_back(window);
        }
        while let Some(oldest) = self.lately.front()
            && self.lately.len() > WINDOWS_MIN
            && self.time().saturating_sub(oldest.time) >= PROVEN_IN
        {
            self.lately.pop_front();
        }
    }

    /// Bytes a second; nothing while the line was not full for long enough.
    pub(crate) fn bytes_per_sec(&self) -> Option<u64> {
        let is_proven = self.lately.len() >= WINDOWS_MIN && self.time() >= PROVEN_IN;
        let most = self.lately.iter().map(|window| window.rate).max();
        most.filter(|_| is_proven)
    }

    fn time(&self) -> Duration {
        self.lately.iter().map(|window| window.time).sum()
    }
}

/// The part size for a line: what it moves in [`PART_TIME_WANTED`], `most` at the most. It
/// goes in powers of two, so that it does not change with every measurement.
pub(crate) fn cut(bytes_per_sec: Option<u64>, most: PartSize) -> PartSize {
    let Some(rate) = bytes_per_sec else {
        return most;
    };
    let moved = rate.saturating_mul(PART_TIME_WANTED.as_secs());
    if moved >= u64::from(most.bytes()) {
        return most;
    }
    let power = moved.checked_ilog2().map_or(0, |log| 1_u64 << log);
    at_most(power.max(PartSize::MIN.bytes().into()), most)
}

/// The part size for an object of `size` bytes that goes over so many data links, `most` at
/// the most. Two of them are a short way, over which a part takes no time.
pub(crate) fn spread(size: u64, links: usize, most: PartSize) -> PartSize {
    if links <= CONNECTIONS_PER_PEER_DEFAULT {
        return most;
    }
    let share = size / (links as u64).saturating_mul(PARTS_A_LINK);
    let power = share.checked_ilog2().map_or(0, |log| 1_u64 << log);
    at_most(power.max(SPREAD_BYTES_MIN), most)
}

fn at_most(bytes: u64, most: PartSize) -> PartSize {
    let size = u32::try_from(bytes).ok().map(PartSize::new);
    match size {
        Some(Ok(size)) => size.min(most),
        _ => most,
    }
}

pub(crate) fn per_second(bytes: u64, time: Duration) -> u64 {
    let micros = time.as_micros().max(1);
    u64::try_from(u128::from(bytes) * 1_000_000 / micros).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    #[test]
    fn a_part_is_what_the_line_moves_in_five_seconds_between_64_kib_and_what_is_wanted() {
        let most = PartSize::DEFAULT;
        let bytes = |rate| cut(rate, most).bytes();
        assert_eq!(bytes(None), 8 << 20, "a line that was never slow");
        for (rate, expected) in [
            (u64::MAX, 8 << 20),
            (2 * MIB, 8 << 20),
            (MIB, 4 << 20),
            (MIB / 8, 512 << 10),
            (13_000, 64 << 10),
            (1, 64 << 10),
            (0, 64 << 10),
        ] {
            assert_eq!(bytes(Some(rate)), expected, "{rate} bytes a second");
        }
        // Never more than is configured, however fast it is.
        let small = PartSize::new(96 << 10).unwrap();
        assert_eq!(cut(None, small), small);
        assert_eq!(cut(Some(u64::MAX), small), small);
        assert_eq!(cut(Some(18_000), small), PartSize::MIN);
    }

    #[test]
    fn an_object_has_several_parts_for_each_of_many_links() {
        let most = PartSize::DEFAULT;
        let bytes = |size, links| spread(size, links, most).bytes();
        assert_eq!(bytes(256 << 20, 0), 8 << 20);
        assert_eq!(bytes(256 << 20, 2), 8 << 20, "a short way");
        assert_eq!(bytes(256 << 20, 8), 2 << 20, "16 parts for each of 8");
        assert_eq!(bytes(700 << 20, 8), 4 << 20);
        assert_eq!(bytes(2 << 30, 8), 8 << 20);
        assert_eq!(bytes(u64::MAX, 8), 8 << 20);
        assert_eq!(bytes(0, 8), 2 << 20);
        let small = PartSize::new(96 << 10).unwrap();
        assert_eq!(
            spread(256 << 20, 8, small),
            small,
            "what is wanted is the most"
        );
    }

    fn window(rate: u64, millis: u64, full: bool) -> Window {
        let time = Duration::from_millis(millis);
        Window { rate, time, full }
    }

    #[test]
    fn a_line_is_proven_in_two_seconds_and_one_pause_of_the_peer_makes_none_slow() {
        let mut proven = Proven::default();
        proven.take(window(5, 9000, false));
        assert_eq!(proven.bytes_per_sec(), None, "nobody waited");
        // TCP begins slowly, on a long line above all.
        for rate in [1, 2, 4, 8, 16, 32, 64] {
            proven.take(window(rate * MIB, 250, true));
            assert_eq!(proven.bytes_per_sec(), None, "not known yet");
        }
        proven.take(window(100 * MIB, 250, true));
        assert_eq!(proven.bytes_per_sec(), Some(100 * MIB));
        proven.take(window(1000, 10_000, true));
        assert_eq!(proven.bytes_per_sec(), Some(100 * MIB), "a pause");
        proven.take(window(1000, 10_000, true));
        assert_eq!(proven.bytes_per_sec(), Some(1000));
        // It became faster: seen at once, whether anyone waits or not.
        proven.take(window(50 * MIB, 250, false));
        assert_eq!(proven.bytes_per_sec(), Some(50 * MIB));
        // A little traffic says nothing.
        (0..9).for_each(|_| proven.take(window(10, 60_000, false)));
        assert_eq!(proven.bytes_per_sec(), Some(50 * MIB));
        assert!(proven.lately.len() < 10, "old windows go");
    }

    #[test]
    fn a_window_is_full_when_its_writes_waited_for_half_of_it() {
        let mut line = Line::new(Duration::ZERO);
        let at = Duration::from_millis;
        assert_eq!(line.wrote(at(100), 1000, at(100)), None, "not over yet");
        let first = line.wrote(at(500), 1000, at(200));
        assert_eq!(first, Some(window(4000, 500, true)));
        let second = line.wrote(at(1000), 1000, at(200));
        assert_eq!(second, Some(window(2000, 500, false)));
        assert_eq!(line.carries, Some(4000));
    }
}
