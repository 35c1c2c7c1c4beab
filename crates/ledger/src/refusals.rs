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

/// What was refused in the minute that runs, by cause and network.
#[derive(Debug, Default)]
pub(crate) struct Refusals {
    windows: HashMap<(String, String), Window>,
}

impl Refusals {
    /// Counts a refusal; returns its record when it begins a minute.
    pub(crate) fn count(&mut self, refusal: Refusal) -> Option<AuditRecord> {
        let mut network = network_of(refusal.source);
        if self.windows.len() >= limits::REFUSAL_NETWORKS_MAX
            && !self
                .windows
                .contains_key(&(refusal.cause.clone(), network.clone()))
        {
            network = "many".to_owned();
        }
        let place = (refusal.cause.clone(), network.clone());
        let mut waited = 0;
        if let Some(window) = self.windows.get_mut(&place) {
            if refusal.at.since(window.began) < WINDOW {
                window.waiting += 1;
                return None;
            }
            waited = window.waiting;
        }
        let window = Window {
            began: refusal.at,
            waiting: 0,
        };
        self.windows.insert(place, window);
        Some(record(
            refusal.at,
            &refusal.cause,
            &network,
            waited + 1,
            refusal.details,
        ))
    }

    /// Ends the minutes that are over; returns records of what waited in them.
    pub(crate) fn settle(&mut self, now: Timestamp) -> Vec<AuditRecord> {
        let mut records = Vec::new();
        self.windows.retain(|(cause, network), window| {
            if now.since(window.began) < WINDOW {
                return true;
            }
            if window.waiting == 0 {
                return false;
            }
            records.push(record(
                window.began.plus(WINDOW),
                cause,
                network,
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
    cause: &str,
    network: &str,
    count: u64,
    details: BTreeMap<String, String>,
) -> AuditRecord {
    let mut record = AuditRecord::new(at, AuditKind::SessionRefused, "agent");
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
