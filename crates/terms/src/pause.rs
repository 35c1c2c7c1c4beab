//! How long to wait before something outside is asked again.

use std::{ops::RangeInclusive, time::Duration};

use crate::Rng;

/// The pause after `troubles` in vain before this one: the first of `pauses`, twice as long
/// each time, no longer than the last, of which a random half is taken off so that not all
/// come at once.
#[must_use]
pub fn after(troubles: u32, pauses: RangeInclusive<Duration>, rng: &dyn Rng) -> Duration {
    let longest = *pauses.start() * 2_u32.saturating_pow(troubles.min(16));
    part_of(longest.min(*pauses.end()), rng)
}

/// Between half of a time and all of it.
#[must_use]
pub fn part_of(longest: Duration, rng: &dyn Rng) -> Duration {
    let mut byte = [0];
    rng.fill(&mut byte);
    let [byte] = byte;
    longest / 2 + longest * u32::from(byte) / 512
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
    fn pauses_double_to_the_last_and_a_half_of_each_is_random() {
        let (first, last) = (Duration::from_millis(512), Duration::from_secs(60));
        let least = |troubles| after(troubles, first..=last, &Fixed(0));
        assert_eq!(least(0), first / 2);
        assert_eq!(least(3), first * 4);
        assert_eq!(least(u32::MAX), last / 2);
        assert_eq!(
            after(0, first..=last, &Fixed(255)),
            Duration::from_millis(256 + 255)
        );
    }
}
