//! Counts what was sent, and how fast lately.

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use parking_lot::Mutex;
use sealift_ledger::Transfer;
use sealift_terms::{ChangeKind, RuleName, Timestamp};

use crate::{Lag, Sent};

/// Rates forget at this pace.
const RATE_SECONDS: f64 = 10.0;
/// After this long without anything a rate is none, whatever it was before.
const STANDS_STILL: Duration = Duration::from_secs(30);

#[derive(Debug, Default)]
pub(super) struct Tally {
    rules: Mutex<BTreeMap<RuleName, Counts>>,
    acknowledged: AtomicU64,
    answered: AtomicU64,
}

#[derive(Debug, Default, Clone, Copy)]
struct Counts {
    objects: u64,
    bytes: u64,
    /// Objects and bytes since the last tick.
    lately: (u64, u64),
    /// Objects and bytes a second.
    rate: (f64, f64),
    /// How long nothing came.
    still: Duration,
    lag: Lag,
}

impl Tally {
    /// The peer stored some bytes of a large object.
    pub(super) fn stored(&self, rule: &RuleName, bytes: u64) {
        self.acknowledged.fetch_add(1, Ordering::Relaxed);
        self.rules.lock().entry(rule.clone()).or_default().lately.1 += bytes;
    }

    /// An object is done now, of which `counted` bytes were counted already.
    pub(super) fn completed(&self, transfer: &Transfer, counted: u64, now: Timestamp) {
        let size = transfer.change.facts.size;
        self.acknowledged.fetch_add(1, Ordering::Relaxed);
        let mut all = self.rules.lock();
        let counts = all.entry(transfer.rule.clone()).or_default();
        counts.objects += 1;
        // A purge waited on purpose, and what a batch alone wants was late for nobody.
        if transfer.change.kind != ChangeKind::Purge && transfer.is_owed() {
            counts.lag.add(now.since(transfer.recorded_at));
        }
        counts.bytes += size;
        counts.lately.0 += 1;
        counts.lately.1 += size.saturating_sub(counted);
    }

    /// The peer gave some answer to an offer.
    pub(super) fn answered(&self) {
        self.answered.fetch_add(1, Ordering::Relaxed);
    }

    /// Objects and parts that the peer said are stored, and answers of any kind.
    pub(super) fn heard(&self) -> (u64, u64) {
        let acknowledged = self.acknowledged.load(Ordering::Relaxed);
        (acknowledged, self.answered.load(Ordering::Relaxed))
    }

    pub(super) fn tick(&self, passed: Duration) {
        let seconds = passed.as_secs_f64().max(0.001);
        let share = (seconds / RATE_SECONDS).min(1.0);
        for counts in self.rules.lock().values_mut() {
            let (objects, bytes) = std::mem::take(&mut counts.lately);
            counts.still = match (objects, bytes) {
                (0, 0) => counts.still.saturating_add(passed),
                _ => Duration::ZERO,
            };
            if counts.still >= STANDS_STILL {
                counts.rate = (0.0, 0.0);
                continue;
            }
            counts.rate.0 += share * (objects as f64 / seconds - counts.rate.0);
            counts.rate.1 += share * (bytes as f64 / seconds - counts.rate.1);
        }
    }

    pub(super) fn snapshot(&self) -> Vec<Sent> {
        let sent = |(rule, counts): (&RuleName, &Counts)| Sent {
            rule: rule.clone(),
            objects: counts.objects,
            bytes: counts.bytes,
            objects_per_second: counts.rate.0,
            bytes_per_second: counts.rate.1,
            stored_under_way: 0,
            lag: counts.lag,
        };
        self.rules.lock().iter().map(sent).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_none_once_nothing_has_moved_for_half_a_minute() {
        let tally = Tally::default();
        let rule = RuleName::new("all").unwrap();
        tally.stored(&rule, 100 << 20);
        tally.tick(Duration::from_secs(1));
        let rate = || tally.snapshot()[0].bytes_per_second;
        let begun = rate();
        assert!(begun > 1e6);
        for _ in 0..29 {
            tally.tick(Duration::from_secs(1));
        }
        assert!(rate() > 0.0 && rate() < begun, "it goes down by and by");
        tally.tick(Duration::from_secs(1));
        assert_eq!(rate(), 0.0);
    }
}
