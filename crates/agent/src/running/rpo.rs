//! The RPO of rules: how old the oldest change may be that a destination has not
//! acknowledged yet.

use std::{collections::BTreeMap, time::Duration};

use parking_lot::Mutex;
use sealift_ledger::Count;
use sealift_terms::{AuditKind, PeerName, RuleName, Status, Timestamp};

use super::{Running, upkeep::every};
use crate::{Error, Metric, admin::Alarm, config::Rule};

/// How often the oldest changes are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// A rule and one of its destinations.
type Way = (RuleName, PeerName);

/// What is late now, and since when.
#[derive(Debug, Default)]
pub(super) struct Rpo(Mutex<BTreeMap<Way, Missed>>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Missed {
    since: Timestamp,
    rpo: Duration,
    /// When the oldest change that waits was recorded.
    oldest: Timestamp,
}

/// What changed since the last look.
#[derive(Debug, PartialEq, Eq)]
enum Event {
    Missed(Way, Missed),
    /// All of it is acknowledged that was late, after so long.
    Recovered(Way, Duration),
}

impl Rpo {
    pub(super) fn alarms(&self) -> Vec<Alarm> {
        let told = |((rule, peer), missed): (&Way, &Missed)| Alarm {
            alarm: "rpo missed".to_owned(),
            evidence: format!(
                "rule {rule} to {peer}: something waits since {}, allowed are {} s",
                missed.oldest,
                missed.rpo.as_secs()
            ),
            remedy: "see `sealift status` and `sealift ls --status PENDING`".to_owned(),
        };
        self.0.lock().iter().map(told).collect()
    }

    /// Takes what stands now.
    fn look(&self, rules: &[Rule], counts: &[Count], now: Timestamp) -> Vec<Event> {
        let late = late(rules, counts, now);
        let mut known = self.0.lock();
        let mut events = Vec::new();
        known.retain(|way, missed| {
            let still = late.contains_key(way);
            if !still {
                let after = now.since(missed.since);
                events.push(Event::Recovered(way.clone(), after));
            }
            still
        });
        for (way, missed) in late {
            match known.get_mut(&way) {
                Some(known) => known.oldest = missed.oldest,
                None => {
                    events.push(Event::Missed(way.clone(), missed.clone()));
                    known.insert(way, missed);
                }
            }
        }
        events
    }
}

/// What waits for longer than its rule allows.
fn late(rules: &[Rule], counts: &[Count], now: Timestamp) -> BTreeMap<Way, Missed> {
    let mut late = BTreeMap::new();
    for rule in rules {
        let Some(rpo) = rule.rpo else { continue };
        for peer in &rule.peers {
            let mut of_it = counts.iter().filter(|count| {
                count.rule == rule.name && count.peer == *peer && count.status == Status::Pending
            });
            let oldest = of_it.find_map(|count| count.oldest);
            if let Some(oldest) = oldest.filter(|oldest| now.since(*oldest) > rpo) {
                let since = now;
                let missed = Missed { since, rpo, oldest };
                late.insert((rule.name.clone(), peer.clone()), missed);
            }
        }
    }
    late
}

impl Running {
    /// Tells when an RPO is missed and when it is held again, until the agent ends.
    pub(super) async fn hold_rpo(&self) {
        let mut ticks = every(LOOK_EVERY);
        loop {
            ticks.tick().await;
            if let Err(error) = self.look_at_rpo().await {
                let error = error.in_one_line();
                tracing::error!(error, "whether the RPO of rules is held is not known");
            }
        }
    }

    async fn look_at_rpo(&self) -> Result<(), Error> {
        let config = self.site.current();
        let nothing = self.rpo.0.lock().is_empty();
        if nothing && config.rules.iter().all(|rule| rule.rpo.is_none()) {
            return Ok(());
        }
        let counts = self.site.journal.counts().await?;
        let now = self.site.world.clock.now();
        for event in self.rpo.look(&config.rules, &counts, now) {
            self.tell(&event)?;
        }
        Ok(())
    }

    fn tell(&self, event: &Event) -> Result<(), Error> {
        let (Event::Missed((rule, peer), _) | Event::Recovered((rule, peer), _)) = event;
        let labels = [rule.as_str(), peer.as_str()];
        let series = |metric| self.site.metrics.series(metric, &labels);
        let mut details = vec![("rule", rule.to_string()), ("peer", peer.to_string())];
        match event {
            Event::Missed(_, Missed { rpo, oldest, .. }) => {
                let secs = rpo.as_secs();
                tracing::error!(%rule, %peer, rpo_secs = secs, %oldest, "the RPO is missed");
                series(Metric::RpoMissedTotal).add(1);
                series(Metric::RpoMissed).set(1);
                details.push(("rpo_secs", secs.to_string()));
                details.push(("oldest", oldest.to_string()));
                self.record(AuditKind::RpoMissed, &details)
            }
            Event::Recovered(_, after) => {
                let secs = after.as_secs();
                tracing::info!(%rule, %peer, after_secs = secs, "the RPO is held again");
                series(Metric::RpoMissed).set(0);
                details.push(("after_secs", secs.to_string()));
                self.record(AuditKind::RpoRecovered, &details)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(secs: i64) -> Timestamp {
        Timestamp::from_secs(secs)
    }

    fn rule(rpo: Option<u64>) -> Rule {
        Rule {
            name: RuleName::new("r").unwrap(),
            bucket: sealift_terms::BucketName::new("photos").unwrap(),
            prefix: String::new(),
            tags: std::collections::BTreeMap::new(),
            peers: vec![PeerName::new("x").unwrap(), PeerName::new("y").unwrap()],
            priority: 0,
            delete_markers: true,
            version_deletes: None,
            existing_objects: true,
            to_origin: false,
            replicas: true,
            rpo: rpo.map(Duration::from_secs),
        }
    }

    fn pending(peer: &str, oldest: Option<i64>) -> Count {
        Count {
            rule: RuleName::new("r").unwrap(),
            peer: PeerName::new(peer).unwrap(),
            status: Status::Pending,
            objects: 1,
            bytes: 1,
            folded_objects: 0,
            oldest: oldest.map(at),
            is_expected: oldest.is_some(),
        }
    }

    #[test]
    fn an_rpo_is_missed_once_and_held_again_once_for_each_destination() {
        let (rpo, rules) = (Rpo::default(), [rule(Some(10))]);
        let counts = [pending("x", Some(100)), pending("y", Some(105))];
        assert!(rpo.look(&rules, &counts, at(110)).is_empty());
        let events = rpo.look(&rules, &counts, at(111));
        let way = |peer: &str| (RuleName::new("r").unwrap(), PeerName::new(peer).unwrap());
        assert!(
            matches!(&events[..], [Event::Missed(of, Missed { since, .. })]
                if *of == way("x") && *since == at(111)),
            "{events:?}"
        );
        assert_eq!(rpo.look(&rules, &counts, at(116)).len(), 1);
        assert!(rpo.look(&rules, &counts, at(120)).is_empty(), "told once");
        assert_eq!(rpo.alarms().len(), 2);
        let done = [pending("x", None), pending("y", Some(105))];
        let recovered = Event::Recovered(way("x"), Duration::from_secs(19));
        assert_eq!(rpo.look(&rules, &done, at(130)), [recovered]);
        // A rule without an RPO has none to miss.
        let events = rpo.look(&[rule(None)], &counts, at(131));
        assert!(matches!(&events[..], [Event::Recovered(of, _)] if *of == way("y")));
        assert!(rpo.alarms().is_empty());
    }
}
