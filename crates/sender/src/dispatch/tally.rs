//! Counts what was sent, and how fast lately.

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use parking_lot::Mutex;
use sealift_ledger::Transfer;
use sealift_terms::RuleName;

use crate::Sent;

/// Rates forget at this pace.
const RATE_SECONDS: f64 = 10.0;

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
}

impl Tally {
    /// The peer stored some bytes of a large object.
    pub(super) fn stored(&self, rule: &RuleName, bytes: u64) {
        self.acknowledged.fetch_add(1, Ordering::Relaxed);
        self.rules.lock().entry(rule.clone()).or_default().lately.1 += bytes;
    }

    /// An object is done, of which `counted` bytes were counted already.
    pub(super) fn completed(&self, transfer: &Transfer, counted: u64) {
        let size = transfer.change.facts.size;
        self.acknowledged.fetch_add(1, Ordering::Relaxed);
        let mut all = self.rules.lock();
        let counts = all.entry(transfer.rule.clone()).or_default();
        counts.objects += 1;
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
        };
        self.rules.lock().iter().map(sent).collect()
    }
}
