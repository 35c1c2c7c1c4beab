//! Deletes in great number are held until someone says that they are meant.

/// Below this many keys, any number may vanish.
const KEYS_MIN: u64 = 10;
/// Up to this part of a bucket may vanish before it is waited for whether more does.
const PART_UNSUSPECTED: u64 = 8;

/// Counts what vanished since the last scan, against what there was before it did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Vanishing {
    live: u64,
    /// New keys that came since the burst of removals that is under way began: what
    /// takes the place of others does not make up for them.
    fresh: u64,
    vanished: u64,
}

impl Vanishing {
    /// Begins anew with this many live keys.
    pub(super) fn new(live: u64) -> Self {
        Self {
            live,
            fresh: 0,
            vanished: 0,
        }
    }

    pub(super) fn live(&self) -> u64 {
        self.live
    }

    /// With keys beside that were removed before, and live at a peer.
    pub(super) fn beside(self, missed: u64) -> Self {
        Self {
            live: self.live + missed,
            ..self
        }
    }

    /// How many would have vanished with `more`.
    fn with(&self, more: u64) -> u64 {
        self.vanished + more
    }

    /// Whether `more` may vanish without asking.
    pub(super) fn allows(&self, more: u64) -> bool {
        self.live < KEYS_MIN || self.with(more) * 2 <= self.live
    }

    /// Whether `more` is so little of the bucket that more of the like to come
    /// would still be seen in time.
    pub(super) fn is_unsuspected(&self, more: u64) -> bool {
        self.live < KEYS_MIN || self.with(more) * PART_UNSUSPECTED <= self.live
    }

    /// Notes that `more` did vanish.
    pub(super) fn note(&mut self, more: u64) {
        self.vanished += more;
    }

    /// Notes a key that was not there before.
    pub(super) fn came(&mut self) {
        self.fresh += 1;
    }

    /// A burst of removals begins: they are measured against all that came before.
    pub(super) fn burst(&mut self) {
        self.live += std::mem::take(&mut self.fresh);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_of_a_bucket_may_vanish_and_not_one_more() {
        let mut of_ten = Vanishing::new(10);
        assert!(of_ten.allows(5) && !of_ten.allows(6));
        of_ten.note(3);
        assert!(
            of_ten.allows(2) && !of_ten.allows(3),
            "step by step no more than at once"
        );
        assert!(
            Vanishing::new(9).allows(9),
            "of fewer than ten keys all may"
        );
    }

    #[test]
    fn what_came_before_a_burst_counts_and_what_came_with_it_does_not() {
        let mut vanishing = Vanishing::new(0);
        (0..200).for_each(|_| vanishing.came());
        vanishing.burst();
        assert_eq!(vanishing.live(), 200);
        assert!(vanishing.allows(100) && !vanishing.allows(101));
        // Others take their place while they go.
        (0..200).for_each(|_| vanishing.came());
        assert!(!vanishing.allows(101));
    }

    #[test]
    fn an_eighth_of_a_bucket_is_not_waited_for() {
        let vanishing = Vanishing::new(80);
        assert!(vanishing.is_unsuspected(10) && !vanishing.is_unsuspected(11));
    }
}
