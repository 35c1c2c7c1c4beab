//! Order: which of two changes of one key came later, the same at every site.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{Region, Timestamp};

/// The order of a change: hybrid logical clock, then region, then change number.
///
/// Compared field by field; the highest order of a key is its latest version,
/// whatever arrived first. (Kulkarni et al., *Logical Physical Clocks*, 2014.)
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Order {
    /// Milliseconds since 1970 in the upper 48 bits, a counter in the lower 16.
    pub clock: u64,
    /// The region in which the change was made.
    pub region: Region,
    /// The number of the change at its site.
    pub change: u64,
}

impl Order {
    /// The physical part of the clock.
    #[must_use]
    pub fn time(&self) -> Timestamp {
        Timestamp::from_millis(i64::try_from(self.clock >> 16).unwrap_or(i64::MAX))
    }
}

impl fmt::Display for Order {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}.{}.{}", self.clock, self.region, self.change)
    }
}

/// The next reading of a hybrid logical clock whose last reading was `last`.
#[must_use]
pub fn next_clock(last: u64, now: Timestamp) -> u64 {
    let physical = u64::try_from(now.as_millis()).unwrap_or(0) << 16;
    physical.max(last.saturating_add(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clock_never_goes_back_even_when_the_wall_clock_does() {
        let late = next_clock(0, Timestamp::from_millis(2_000));
        let after_jump_back = next_clock(late, Timestamp::from_millis(1_000));
        assert!(after_jump_back > late);
        assert_eq!(after_jump_back, late + 1);
    }

    #[test]
    fn clock_decides_before_region_before_change() {
        let order = |clock, region: &str, change| Order {
            clock,
            region: Region::new(region).unwrap(),
            change,
        };
        assert!(order(2, "a", 1) > order(1, "b", 9));
        assert!(order(2, "b", 1) > order(2, "a", 9));
        assert!(order(2, "a", 2) > order(2, "a", 1));
    }
}
