//! How long changes take until they are durable at their destination.

use std::time::Duration;

use serde::Serialize;

/// Bounds by which lags are counted: each counts what took at most so long.
pub const LAG_BOUNDS: [Duration; 12] = [
    Duration::from_millis(100),
    Duration::from_millis(500),
    Duration::from_secs(1),
    Duration::from_secs(5),
    Duration::from_secs(15),
    Duration::from_secs(60),
    Duration::from_secs(300),
    Duration::from_secs(900),
    Duration::from_secs(3_600),
    Duration::from_secs(6 * 3_600),
    Duration::from_secs(86_400),
    Duration::from_secs(7 * 86_400),
];

/// Lags counted since the agent started.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Lag {
    /// Objects in all.
    pub objects: u64,
    /// Milliseconds that all of them took together.
    pub sum_millis: u64,
    /// Those within each of [`LAG_BOUNDS`].
    pub within: [u64; LAG_BOUNDS.len()],
}

impl Lag {
    /// Counts one that took so long.
    pub(crate) fn add(&mut self, took: Duration) {
        self.objects += 1;
        let millis = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
        self.sum_millis = self.sum_millis.saturating_add(millis);
        for (within, bound) in self.within.iter_mut().zip(LAG_BOUNDS) {
            *within += u64::from(took <= bound);
        }
    }

    /// The bound within which this many of a hundred came; none where nothing did, or not so
    /// many within the longest.
    #[must_use]
    pub fn percentile(&self, of_hundred: u64) -> Option<Duration> {
        let wanted = self.objects.saturating_mul(of_hundred).div_ceil(100);
        let mut bounds = self.within.iter().zip(LAG_BOUNDS);
        let found = bounds.find(|(within, _)| **within >= wanted.max(1));
        found.map(|(_, bound)| bound)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentile_is_the_bound_that_so_many_came_within() {
        let mut lag = Lag::default();
        assert_eq!(lag.percentile(50), None);
        for millis in (1..=100).map(|n| n * 50) {
            lag.add(Duration::from_millis(millis));
        }
        assert_eq!((lag.objects, lag.sum_millis), (100, 252_500));
        assert_eq!(lag.within[..4], [2, 10, 20, 100]);
        let secs = |secs| Some(Duration::from_secs(secs));
        assert_eq!([lag.percentile(20), lag.percentile(21)], [secs(1), secs(5)]);
        lag.add(Duration::from_secs(8 * 86_400));
        assert_eq!(lag.percentile(99), secs(5));
        assert_eq!(lag.percentile(100), None, "beyond the longest bound");
    }
}
