//! Rules: what of a bucket goes to whom.

use std::collections::BTreeSet;

use sealift_ledger::Destination;
use sealift_terms::{BucketName, ObjectKey, PeerName, RuleName};

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

    /// Where an object goes: once to each peer, by the first rule that names it.
    #[must_use]
    pub fn destinations(&self, bucket: &BucketName, key: &ObjectKey) -> Vec<Destination> {
        let mut found: Vec<Destination> = Vec::new();
        for rule in self
            .of(bucket)
            .filter(|rule| key.as_str().starts_with(&rule.prefix))
        {
            for peer in &rule.peers {
                if !found.iter().any(|destination| destination.peer == *peer) {
                    let (rule, peer) = (rule.name.clone(), peer.clone());
                    found.push(Destination {
                        rule,
                        peer,
                        skip: None,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_goes_once_to_each_peer_by_the_first_rule_that_fits() {
        let rule = |name: &str, prefix: &str, peers: &[&str]| Rule {
            name: RuleName::new(name).unwrap(),
            bucket: BucketName::new("b").unwrap(),
            prefix: prefix.to_owned(),
            peers: peers
                .iter()
                .map(|peer| PeerName::new(peer).unwrap())
                .collect(),
        };
        let rules = Rules::new(vec![
            rule("logs", "logs/", &["x"]),
            rule("all", "", &["x", "y"]),
        ]);
        let to = |bucket: &str, key: &str| -> Vec<String> {
            let (bucket, key) = (
                BucketName::new(bucket).unwrap(),
                ObjectKey::new(key).unwrap(),
            );
            let destinations = rules.destinations(&bucket, &key);
            destinations
                .iter()
                .map(|d| format!("{}:{}", d.rule, d.peer))
                .collect()
        };
        assert_eq!(to("b", "logs/1"), ["logs:x", "all:y"]);
        assert_eq!(to("b", "other"), ["all:x", "all:y"]);
        assert!(to("c", "logs/1").is_empty());
    }
}
