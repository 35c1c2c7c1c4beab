//! How far the clocks of peers are from this one. A peer says its time with every HELLO;
//! in between its clock is taken to go on as the machine's monotonic one does, so that
//! this one is seen to be set while a session lives. Of the peer's clock that is for the
//! peer to see.

use std::{collections::BTreeMap, time::Duration};

use parking_lot::Mutex;
use sealift_terms::{Clock, PeerName, Reason, Timestamp, limits::CLOCK_SKEW_MAX};

use crate::{admin::Alarm, operations::Apart};

/// What each peer said of its time last.
#[derive(Debug, Default)]
pub(super) struct Clocks(Mutex<BTreeMap<PeerName, Heard>>);

#[derive(Debug)]
struct Heard {
    theirs: Timestamp,
    /// When that was, on the monotonic clock.
    at: Duration,
    /// Whether it was told that it is too far.
    told: bool,
}

impl Heard {
    fn apart(&self, clock: &dyn Clock) -> Apart {
        let since = clock.monotonic().saturating_sub(self.at);
        Apart {
            here: clock.now(),
            there: self.theirs.plus(since),
        }
    }
}

impl Clocks {
    /// A peer said what time it is there.
    pub(super) fn heard(&self, peer: &PeerName, theirs: Timestamp, clock: &dyn Clock) {
        let mut all = self.0.lock();
        let told = all.get(peer).is_some_and(|heard| heard.told);
        let at = clock.monotonic();
        all.insert(peer.clone(), Heard { theirs, at, told });
        drop(all);
        self.look(clock);
    }

    /// Tells once of each clock that has come to be too far, and of each that is not any more.
    pub(super) fn look(&self, clock: &dyn Clock) {
        for (peer, heard) in self.0.lock().iter_mut() {
            let apart @ Apart { here, there } = heard.apart(clock);
            let is_too_far = apart.is_too_far();
            if is_too_far && !heard.told {
                tracing::error!(%peer, %here, %there, reason = %Reason::ClockSkew, "the clocks differ");
            }
            if !is_too_far && heard.told {
                tracing::info!(%peer, %here, %there, "the clocks agree again");
            }
            heard.told = is_too_far;
        }
    }

    /// How it stands with one peer, if it was heard.
    pub(super) fn apart(&self, peer: &PeerName, clock: &dyn Clock) -> Option<Apart> {
        self.0.lock().get(peer).map(|heard| heard.apart(clock))
    }

    /// Clocks of these peers that are too far.
    pub(super) fn alarms<'a>(
        &self,
        peers: impl Iterator<Item = &'a PeerName>,
        clock: &dyn Clock,
    ) -> Vec<Alarm> {
        let far = peers.filter_map(|peer| {
            let apart = self.apart(peer, clock)?;
            apart.is_too_far().then(|| alarm(peer, apart))
        });
        far.collect()
    }
}

fn alarm(peer: &PeerName, apart: Apart) -> Alarm {
    Alarm {
        alarm: "clock".to_owned(),
        evidence: format!(
            "the clock of {peer} is {} s from this one: here {}, there {}; allowed are {} s",
            apart.by().as_secs(),
            apart.here,
            apart.there,
            CLOCK_SKEW_MAX.as_secs()
        ),
        remedy: "set both clocks and run a time service; the peer's is heard with its next \
                 connection, which `sealift check` makes"
            .to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Wall and monotonic time, set by hand.
    #[derive(Debug)]
    struct Set(Mutex<(Timestamp, Duration)>);

    impl Set {
        fn pass(&self, time: Duration) {
            let mut set = self.0.lock();
            *set = (set.0.plus(time), set.1 + time);
        }
    }

    impl Clock for Set {
        fn now(&self) -> Timestamp {
            self.0.lock().0
        }

        fn monotonic(&self) -> Duration {
            self.0.lock().1
        }
    }

    #[test]
    fn a_clock_more_than_a_minute_away_is_an_alarm_while_it_is_and_a_jump_is_seen_in_between() {
        let (hour, begin) = (
            Duration::from_secs(3600),
            Timestamp::from_secs(1_800_000_000),
        );
        let clock = Set(Mutex::new((begin, Duration::ZERO)));
        let (clocks, b) = (Clocks::default(), PeerName::new("b").unwrap());
        let alarms = || clocks.alarms([&b].into_iter(), &clock);
        assert!(alarms().is_empty() && clocks.apart(&b, &clock).is_none());
        clocks.heard(&b, begin.plus(Duration::from_secs(60)), &clock);
        assert!(alarms().is_empty());
        // Nothing comes of time that passes.
        clock.pass(hour * 24);
        assert_eq!(clocks.apart(&b, &clock).unwrap().by().as_secs(), 60);
        assert!(alarms().is_empty());
        // This clock is set back by two hours, with nothing heard.
        let mut set = clock.0.lock();
        set.0 = set.0.minus(hour * 2);
        drop(set);
        clocks.look(&clock);
        let alarm = alarms().pop().unwrap();
        assert!(alarm.evidence.contains("7260 s from this one"), "{alarm:?}");
        // The peer's is heard to be as wrong.
        clocks.heard(&b, clock.now(), &clock);
        assert!(alarms().is_empty());
        // It is behind: that is as far.
        clocks.heard(&b, clock.now().minus(Duration::from_secs(61)), &clock);
        assert_eq!(alarms().len(), 1);
        // Of a peer that is configured no more nothing is told.
        assert!(clocks.alarms([].into_iter(), &clock).is_empty());
    }
}
