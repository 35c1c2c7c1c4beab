//! Deletes in great number are held until someone says that they are meant.

/// Below this many keys, any number may vanish.
const KEYS_MIN: u64 = 10;

/// Counts what vanished since the last scan, against what there was then.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Vanishing {
    live: u64,
    vanished: u64,
}

impl Vanishing {
    /// Begins anew with this many live keys.
    pub(super) fn new(live: u64) -> Self {
        Self { live, vanished: 0 }
    }

    pub(super) fn live(&self) -> u64 {
        self.live
    }

    /// How many would have vanished with `more`.
    pub(super) fn with(&self, more: u64) -> u64 {
        self.vanished + more
    }

    /// Whether `more` may vanish without asking.
    pub(super) fn allows(&self, more: u64) -> bool {
        self.live < KEYS_MIN || self.with(more) * 2 <= self.live
    }

    /// Notes that `more` did vanish.
    pub(super) fn note(&mut self, more: u64) {
        self.vanished += more;
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
}
