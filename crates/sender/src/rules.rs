//! Rules: what of a bucket goes to whom.

use std::collections::BTreeSet;

use sealift_ledger::{Destination, Skip};
use sealift_terms::{BucketName, ChangeKind, ObjectKey, PeerName, Reason, RuleName};

/// One rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// Its name.
    pub name: RuleName,
    /// Which bucket.
    pub bucket: BucketName,
    /// Only keys that begin so.
    pub prefix: String,
    /// Where to.
    pub peers: Vec<PeerName>,
    /// Whether delete markers are sent as well.
    pub delete_markers: bool,
    /// Whether what was there before the rule is sent as well.
    pub existing_objects: bool,
}

/// What a rule is asked about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kind {
    /// What happened.
    pub change: ChangeKind,
    /// Whether it was there before the rule, or before the first scan.
    pub existed: bool,
}

impl Kind {
    /// Something that happens now.
    #[must_use]
    pub const fn new(change: ChangeKind) -> Self {
        Self {
            change,
            existed: false,
        }
    }

    /// An object that was there already.
    #[must_use]
    pub const fn existing() -> Self {
        Self {
            change: ChangeKind::Put,
            existed: true,
        }
    }
}

/// All rules, the first that fits first.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Rules(Vec<Rule>);

impl Rules {
    /// Takes rules in the order in which they count.
    #[must_use]
    pub fn new(rules: Vec<Rule>) -> Self {
        Self(rules)
    }

    /// Where something goes: once to each peer, by the first rule that names it. What that
    /// rule leaves out is left out, and said to be.
    #[must_use]
    pub fn destinations(
        &self,
        bucket: &BucketName,
        key: &ObjectKey,
        kind: Kind,
    ) -> Vec<Destination> {
        let mut found: Vec<Destination> = Vec::new();
        for rule in self
            .of(bucket)
            .filter(|rule| key.as_str().starts_with(&rule.prefix))
        {
            for peer in &rule.peers {
                if !found.iter().any(|destination| destination.peer == *peer) {
                    found.push(Destination {
                        rule: rule.name.clone(),
                        peer: peer.clone(),
                        skip: rule.leaves_out(kind),
                    });
                }
            }
        }
        found
    }

    /// The peers to which something of a bucket goes.
    #[must_use]
    pub fn peers_of(&self, bucket: &BucketName) -> BTreeSet<PeerName> {
        self.of(bucket)
            .flat_map(|rule| rule.peers.iter().cloned())
            .collect()
    }

    fn of(&self, bucket: &BucketName) -> impl Iterator<Item = &Rule> {
        self.0.iter().filter(move |rule| rule.bucket == *bucket)
    }
}

impl Rule {
    fn leaves_out(&self, kind: Kind) -> Option<Skip> {
        let (setting, what) = match kind {
            Kind {
                change: ChangeKind::DeleteMarker,
                ..
            } if !self.delete_markers => ("delete_markers", "sends no delete markers"),
            Kind { existed: true, .. } if !self.existing_objects => {
                ("existing_objects", "sends nothing that was there before it")
            }
            _ => return None,
        };
        Some(Skip {
            reason: Reason::SkippedFiltered,
            evidence: format!("rule {} {what} ({setting} = false)", self.name),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(name: &str, prefix: &str, peers: &[&str]) -> Rule {
        Rule {
            name: RuleName::new(name).unwrap(),
            bucket: BucketName::new("b").unwrap(),
            prefix: prefix.to_owned(),
            peers: peers
                .iter()
                .map(|peer| PeerName::new(peer).unwrap())
                .collect(),
            delete_markers: true,
            existing_objects: true,
        }
    }

    fn to(rules: &Rules, bucket: &str, key: &str, kind: Kind) -> Vec<String> {
        let (bucket, key) = (
            BucketName::new(bucket).unwrap(),
            ObjectKey::new(key).unwrap(),
        );
        let destinations = rules.destinations(&bucket, &key, kind);
        let told = destinations.iter().map(|d| {
            let skip = d.skip.as_ref().map_or("", |_| " skipped");
            format!("{}:{}{skip}", d.rule, d.peer)
        });
        told.collect()
    }

    #[test]
    fn an_object_goes_once_to_each_peer_by_the_first_rule_that_fits() {
        let rules = Rules::new(vec![
            rule("logs", "logs/", &["x"]),
            rule("all", "", &["x", "y"]),
        ]);
        let put = Kind::new(ChangeKind::Put);
        assert_eq!(to(&rules, "b", "logs/1", put), ["logs:x", "all:y"]);
        assert_eq!(to(&rules, "b", "other", put), ["all:x", "all:y"]);
        assert!(to(&rules, "c", "logs/1", put).is_empty());
    }

    #[test]
    fn the_rule_that_counts_for_a_peer_says_what_is_left_out_there() {
        let logs = Rule {
            delete_markers: false,
            existing_objects: false,
            ..rule("logs", "logs/", &["x"])
        };
        let rules = Rules::new(vec![logs, rule("all", "", &["x", "y"])]);
        let marker = Kind::new(ChangeKind::DeleteMarker);
        for kind in [marker, Kind::existing()] {
            assert_eq!(to(&rules, "b", "logs/1", kind), ["logs:x skipped", "all:y"]);
            assert_eq!(to(&rules, "b", "other", kind), ["all:x", "all:y"]);
        }
        let put = Kind::new(ChangeKind::Put);
        assert_eq!(to(&rules, "b", "logs/1", put), ["logs:x", "all:y"]);
    }
}
