//! How fast what a peer sends is taken: one rate for all its links. What comes faster is not
//! read for a while, so that the line fills up and the sender waits: nothing fails.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use parking_lot::Mutex;
use sealift_terms::{Clock, Identity};
use sealift_tunnel::{Pace, Timetable};

/// The rates of the peers that sent something since the start.
pub(crate) struct Rates {
    clock: Arc<dyn Clock>,
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    /// Bytes a second of those that have a limit.
    limits: BTreeMap<Identity, u64>,
    of: HashMap<Identity, Arc<Pace>>,
}

impl Rates {
    pub(crate) fn new(clock: Arc<dyn Clock>) -> Self {
        let known = Mutex::default();
        Self { clock, known }
    }

    pub(crate) fn set(&self, limits: &BTreeMap<Identity, u64>) {
        let mut known = self.known.lock();
        known.limits = limits.clone();
        for (identity, pace) in &known.of {
            pace.set(timetable(limits.get(identity).copied()));
        }
    }

    /// What holds the links of a peer to its rate, all of them together.
    pub(crate) fn of(&self, identity: &Identity) -> Arc<Pace> {
        let mut known = self.known.lock();
        let limit = known.limits.get(identity).copied();
        let new = || Arc::new(Pace::new(self.clock.clone(), timetable(limit)));
        known.of.entry(identity.clone()).or_insert_with(new).clone()
    }
}

/// The same at any time; a rate that is none is none.
fn timetable(limit: Option<u64>) -> Timetable {
    Timetable::new(limit, &[]).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use sealift_terms::Timestamp;

    use super::*;

    /// A clock that stands.
    #[derive(Debug)]
    struct Still;

    impl Clock for Still {
        fn now(&self) -> Timestamp {
            Timestamp::from_secs(1)
        }

        fn monotonic(&self) -> Duration {
            Duration::from_secs(1)
        }
    }

    fn peer(name: &str) -> Identity {
        format!("spiffe://example.org/region/a/agent/{name}")
            .parse()
            .unwrap()
    }

    #[test]
    fn all_links_of_a_peer_share_its_rate_and_a_change_holds_for_those_that_stand() {
        let rates = Rates::new(Arc::new(Still));
        rates.set(&BTreeMap::from([(peer("slow"), 1 << 20)]));
        let links = [rates.of(&peer("slow")), rates.of(&peer("slow"))];
        assert!(links[0].data(1 << 20).is_zero(), "after a rest");
        let wait = links[1].data(1);
        assert!(wait >= Duration::from_millis(890), "{wait:?}");
        assert_eq!(rates.of(&peer("other")).data(1 << 30), Duration::ZERO);
        rates.set(&BTreeMap::from([(peer("other"), 1 << 20)]));
        assert_eq!(links[1].data(1 << 30), Duration::ZERO);
        assert_eq!(rates.of(&peer("other")).rate(), Some(1 << 20));
    }
}
