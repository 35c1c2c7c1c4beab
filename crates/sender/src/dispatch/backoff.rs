//! When to try again.

use std::time::Duration;

use sealift_terms::Rng;

const FIRST: Duration = Duration::from_secs(1);
/// The longest wait between two tries.
pub const BACKOFF_MAX: Duration = Duration::from_secs(15 * 60);

/// The wait after `attempts` tries in vain: twice as long each time, from 1 s to
/// [`BACKOFF_MAX`], of which a random half is taken off so that not all come at once.
pub(super) fn backoff(attempts: u32, rng: &dyn Rng) -> Duration {
    let full = FIRST.saturating_mul(1 << attempts.min(20)).min(BACKOFF_MAX);
    let mut random = [0; 4];
    rng.fill(&mut random);
    let share = f64::from(u32::from_be_bytes(random)) / f64::from(u32::MAX);
    full.mul_f64(0.5 + share / 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug)]
    struct Fixed(u8);

    impl Rng for Fixed {
        fn fill(&self, bytes: &mut [u8]) {
            bytes.fill(self.0);
        }
    }

    #[test]
    fn waits_double_from_a_second_to_a_quarter_of_an_hour() {
        let most = |attempts| backoff(attempts, &Fixed(255));
        assert_eq!(most(0), Duration::from_secs(1));
        assert_eq!(most(3), Duration::from_secs(8));
        assert_eq!(most(u32::MAX), BACKOFF_MAX);
        assert_eq!(
            backoff(3, &Fixed(0)),
            Duration::from_secs(4),
            "jitter takes off a half at most"
        );
    }
}
