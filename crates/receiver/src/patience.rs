//! How long a session waits for its peer, and for room.

use std::time::Duration;

use sealift_terms::limits::{LEASE_TIME_MAX, PART_PROGRESS_BYTES_MIN, PART_PROGRESS_TIME_MAX};

/// What a session waits for, and for how long.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// How often a link looks at the time.
    pub tick: Duration,
    /// In how many ticks at least [`PART_PROGRESS_BYTES_MIN`] of an open part have to come.
    pub quiet_ticks_max: u32,
    /// How long a part waits for memory.
    pub lease: Duration,
    /// Seconds that count as silence for each that passes: one, but in a test.
    pub pace: u32,
}

impl Default for Patience {
    fn default() -> Self {
        let tick = Duration::from_secs(1);
        let ticks = PART_PROGRESS_TIME_MAX.as_secs() / tick.as_secs().max(1);
        Self {
            tick,
            quiet_ticks_max: u32::try_from(ticks).unwrap_or(u32::MAX),
            lease: LEASE_TIME_MAX,
            pace: 1,
        }
    }
}

/// How fast bytes come. Time is counted in ticks of the link they come on: a tick
/// passes while the link waits for its peer, none while it waits for the store.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    gained: usize,
    quiet_ticks: u32,
}

impl Progress {
    pub(crate) fn came(&mut self, bytes: usize) {
        self.gained += bytes;
        if self.gained >= PART_PROGRESS_BYTES_MIN {
            *self = Self::default();
        }
    }

    /// Passes one tick. Whether it has been too slow for too long.
    pub(crate) fn tick(&mut self, patience: &Patience) -> bool {
        self.quiet_ticks = self.quiet_ticks.saturating_add(1);
        self.quiet_ticks >= patience.quiet_ticks_max
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trickle_is_no_progress_and_a_slow_link_is() {
        let patience = Patience::default();
        assert_eq!(patience.quiet_ticks_max, 60);
        let ticks_of = |bytes_a_tick: usize| {
            let mut progress = Progress::default();
            (1..=1000).find(|_| {
                progress.came(bytes_a_tick);
                progress.tick(&patience)
            })
        };
        assert_eq!(ticks_of(0), Some(60));
        assert_eq!(ticks_of(1), Some(60));
        assert_eq!(ticks_of(2 * PART_PROGRESS_BYTES_MIN / 60), None);
    }
}
