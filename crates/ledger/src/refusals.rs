//! Refusals before authentication, counted together.

use std::{
    collections::{BTreeMap, HashMap},
    net::{IpAddr, Ipv6Addr},
    time::Duration,
};

use sealift_terms::{AuditKind, AuditRecord, Timestamp, limits};

use crate::Refusal;

/// One record per cause and network goes into the log in this time.
const WINDOW: Duration = Duration::from_secs(60);

#[derive(Debug)]
struct Window {
    began: Timestamp,
    /// Refusals since the last record.
    waiting: u64,
}

/// What was refused, why, and from which network.
type Sort = (AuditKind, String, String);

/// What was refused in the minute that runs.
#[derive(Debug, Default)]
pub(crate) struct Refusals {
    windows: HashMap<Sort, Window>,
}

impl Refusals {
    /// Counts a refusal; returns its record when it begins a minute.
    pub(crate) fn count(&mut self, refusal: Refusal) -> Option<AuditRecord> {
        let sort = |network: String| (refusal.kind, refusal.cause.clone(), network);
        let mut sort_of_it = sort(network_of(refusal.source));
        if self.windows.len() >= limits::REFUSAL_NETWORKS_MAX
            && !self.windows.contains_key(&sort_of_it)
        {
            sort_of_it = sort("many".to_owned());
        }
        let mut waited = 0;
        if let Some(window) = self.windows.get_mut(&sort_of_it) {
            if refusal.at.since(window.began) < WINDOW {
                window.waiting += 1;
                return None;
            }
            waited = window.waiting;
        }
        let record = record(refusal.at, &sort_of_it, waited + 1, refusal.details);
        let window = Window {
            began: refusal.at,
            waiting: 0,
        };
        self.windows.insert(sort_of_it, window);
        Some(record)
    }

    /// Ends the minutes that are over; returns records of what waited in them.
    pub(crate) fn settle(&mut self, now: Timestamp) -> Vec<AuditRecord> {
        let mut records = Vec::new();
        self.windows.retain(|sort, window| {
            if now.since(window.began) < WINDOW {
                return true;
            }
            if window.waiting == 0 {
                return false;
            }
            records.push(record(
                window.began.plus(WINDOW),
                sort,
                window.waiting,
                BTreeMap::new(),
            ));
            // That record begins a minute of its own.
            window.began = window.began.plus(WINDOW);
            window.waiting = 0;
            true
        });
        records
    }
}

fn record(
    at: Timestamp,
    (kind, cause, network): &Sort,
    count: u64,
    details: BTreeMap<String, String>,
) -> AuditRecord {
    let mut record = AuditRecord::new(at, *kind, "agent");
    record.details = details;
    record
        .with("cause", cause)
        .with("network", network)
        .with("count", count)
}

/// The /24 or /48 of an address.
fn network_of(source: Option<IpAddr>) -> String {
    match source.map(|address| address.to_canonical()) {
        None => "local".to_owned(),
        Some(IpAddr::V4(address)) => {
            let [a, b, c, _] = address.octets();
            format!("{a}.{b}.{c}.0/24")
        }
        Some(IpAddr::V6(address)) => {
            let [a, b, c, ..] = address.segments();
            format!("{}/48", Ipv6Addr::new(a, b, c, 0, 0, 0, 0, 0))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_cause_of_two_kinds_is_counted_apart() {
        let mut refusals = Refusals::default();
        let mut refuse = |kind| {
            refusals.count(Refusal {
                at: Timestamp::from_secs(1),
                kind,
                cause: "too_slow".to_owned(),
                source: None,
                details: BTreeMap::new(),
            })
        };
        let kinds = [AuditKind::SessionRefused, AuditKind::EnrolmentRefused];
        for kind in kinds {
            assert_eq!(refuse(kind).map(|record| record.kind), Some(kind));
            assert_eq!(refuse(kind), None);
        }
    }
}
