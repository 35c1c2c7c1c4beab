//! Keys that a watch saw leave, gathered until no more of them do: they are judged
//! together, and not one by one while the rest is still on its way out.

use std::{collections::BTreeSet, time::Duration};

use sealift_terms::ObjectKey;
use tokio::time::Instant;

use super::Vanishing;

/// A burst of removals is over after this time without another.
const QUIET: Duration = Duration::from_millis(300);
/// What is little is not waited for any longer.
const LITTLE_WAITS_MAX: Duration = Duration::from_secs(1);
/// Nor is what is much: it counts on when the rest comes.
const BURST_TIME_MAX: Duration = Duration::from_secs(60);
/// Keys gathered at most; beyond, a whole scan counts them.
pub(super) const KEYS_GATHERED_MAX: usize = 10_000;

/// A burst of removals, or none.
#[derive(Debug, Default)]
pub(super) struct Leaving {
    keys: BTreeSet<ObjectKey>,
    overflows: bool,
    /// When it began, and when the last key was seen leaving.
    times: Option<(Instant, Instant)>,
}

/// What a burst was.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Burst {
    /// These keys left.
    Keys(BTreeSet<ObjectKey>),
    /// More than are gathered: a scan has to count them.
    TooMany,
}

impl Leaving {
    /// Takes a key that was seen leaving; says whether a burst begins with it.
    pub(super) fn add(&mut self, key: ObjectKey, now: Instant) -> bool {
        if self.keys.len() < KEYS_GATHERED_MAX {
            self.keys.insert(key);
        } else {
            self.overflows |= !self.keys.contains(&key);
        }
        let begins = self.times.is_none();
        let since = self.times.map_or(now, |(since, _)| since);
        self.times = Some((since, now));
        begins
    }

    /// When the burst is to be judged.
    pub(super) fn due(&self, vanishing: &Vanishing) -> Option<Instant> {
        let (since, last) = self.times?;
        let little = !self.overflows && vanishing.is_unsuspected(self.keys.len() as u64);
        let longest = match little {
            true => LITTLE_WAITS_MAX,
            false => BURST_TIME_MAX,
        };
        Some((last + QUIET).min(since + longest))
    }

    /// Takes the burst; another can begin.
    pub(super) fn take(&mut self) -> Burst {
        let Self {
            keys, overflows, ..
        } = std::mem::take(self);
        match overflows {
            true => Burst::TooMany,
            false => Burst::Keys(keys),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(n: usize) -> ObjectKey {
        ObjectKey::new(format!("k{n:06}")).unwrap()
    }

    #[test]
    fn a_burst_ends_with_a_silence_and_a_great_one_is_waited_for() {
        let (begun, vanishing) = (Instant::now(), Vanishing::new(100));
        let mut leaving = Leaving::default();
        assert_eq!(leaving.due(&vanishing), None);
        assert!(leaving.add(key(0), begun));
        assert_eq!(leaving.due(&vanishing), Some(begun + QUIET));
        for n in 1..=12 {
            let later = begun + Duration::from_millis(200) * n;
            assert!(!leaving.add(key(n as usize), later));
        }
        // Thirteen of a hundred: it is seen whether there are more.
        let last = begun + Duration::from_millis(2400);
        assert_eq!(leaving.due(&vanishing), Some(last + QUIET));
        let many = Vanishing::new(1000);
        assert_eq!(leaving.due(&many), Some(begun + LITTLE_WAITS_MAX));
        assert!(matches!(leaving.take(), Burst::Keys(keys) if keys.len() == 13));
        assert_eq!(leaving.due(&vanishing), None);
    }

    #[test]
    fn no_more_than_so_many_keys_are_gathered() {
        let mut leaving = Leaving::default();
        for n in 0..=KEYS_GATHERED_MAX {
            leaving.add(key(n), Instant::now());
        }
        assert_eq!(leaving.keys.len(), KEYS_GATHERED_MAX);
        assert_eq!(leaving.take(), Burst::TooMany);
    }
}
