//! When authorities end: the roots that vouch for this site and its peers, the CA above
//! its own certificate, and those that it issues with. Certificates are cut to the end of
//! what issues them, and after it there are none.

use std::collections::BTreeMap;

use parking_lot::Mutex;
use sealift_identity::CaLife;
use sealift_terms::Timestamp;

use super::Running;
use crate::{Metric, admin::Alarm};

/// The CAs of `[ca]`, as they were when they last signed a list.
#[derive(Debug, Default)]
pub(super) struct Issuers(Mutex<BTreeMap<String, CaLife>>);

impl Issuers {
    pub(super) fn saw(&self, uri: String, life: CaLife) {
        self.0.lock().insert(uri, life);
    }
}

/// What ends, by its words in an alarm.
fn alarm(what: &str, life: CaLife, now: Timestamp) -> Option<Alarm> {
    life.ends_soon(now).then(|| Alarm {
        alarm: "authority".to_owned(),
        evidence: format!("{what} ends at {}", life.until),
        remedy: "replace the root at the issuing site, with `sealift ca rollover announce`; of \
                 another authority bring the new bundle"
            .to_owned(),
    })
}

impl Running {
    /// Every CA that something here depends on, by its words.
    fn authorities(&self) -> Vec<(String, CaLife)> {
        let mut all = Vec::new();
        let own = self.spread.in_force().life();
        all.extend(own.map(|life| ("the last root that vouches for this site".to_owned(), life)));
        let issuer = self.tls.credentials().issuer_life();
        all.extend(issuer.map(|life| ("the CA above this site's certificate".to_owned(), life)));
        for peer in self.tls.peers().iter() {
            let what = format!("the last root that vouches for {}", peer.name);
            all.extend(peer.roots.life().map(|life| (what, life)));
        }
        let issuing = self.issuers.0.lock();
        let issuing = issuing.iter();
        all.extend(issuing.map(|(uri, life)| (format!("the issuing CA {uri}"), *life)));
        all
    }

    /// Those of them that end soon.
    pub(super) fn authority_alarms(&self) -> Vec<Alarm> {
        let now = self.site.world.clock.now();
        let alarms = self.authorities().into_iter();
        alarms
            .filter_map(|(what, life)| alarm(&what, life, now))
            .collect()
    }

    /// Shows when each ends.
    pub(super) fn show_authorities(&self) {
        let metrics = &self.site.metrics;
        metrics.clear(Metric::BundleExpiry);
        metrics.clear(Metric::CaExpiry);
        let show = |metric, label: &str, life: Option<CaLife>| {
            if let Some(life) = life {
                let until = u64::try_from(life.until.as_secs()).unwrap_or_default();
                metrics.series(metric, &[label]).set(until);
            }
        };
        let credentials = self.tls.credentials();
        let own = credentials.leaf().identity.clone();
        let in_force = self.spread.in_force().life();
        show(Metric::BundleExpiry, own.as_str(), in_force);
        for peer in self.tls.peers().iter() {
            let identity = peer.identity.as_str();
            show(Metric::BundleExpiry, identity, peer.roots.life());
        }
        show(Metric::CaExpiry, own.as_str(), credentials.issuer_life());
        for (uri, life) in &*self.issuers.0.lock() {
            show(Metric::CaExpiry, uri, Some(*life));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_authority_that_ends_soon_is_an_alarm_that_says_when() {
        let day = |days: i64| Timestamp::from_secs(days * 86_400);
        let life = CaLife {
            from: day(0),
            until: day(1825),
        };
        let told = |now| alarm("the issuing CA spiffe://example.org/region/a", life, now);
        assert_eq!(told(day(1700)), None);
        let alarm = told(day(1740)).unwrap();
        assert!(alarm.evidence.contains(&day(1825).to_string()), "{alarm:?}");
        assert!(alarm.evidence.contains("region/a"));
    }
}
