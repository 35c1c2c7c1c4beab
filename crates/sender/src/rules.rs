//! Rules: what of a bucket goes to whom.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use sealift_ledger::{Destination, Skip};
use sealift_terms::{
    BucketName, Change, ChangeKind, ObjectKey, PeerName, Reason, Region, RuleName,
};
use sealift_wire::checksum::crc64;

use crate::Tagged;

/// One rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// Its name.
    pub name: RuleName,
    /// Which bucket.
    pub bucket: BucketName,
    /// Only keys that begin so.
    pub prefix: String,
    /// Only versions that have all of these tags when they are first seen.
    pub tags: BTreeMap<String, String>,
    /// Where to.
    pub peers: Vec<PeerName>,
    /// Whether delete markers are sent as well.
    pub delete_markers: bool,
    /// Whether a version that was permanently deleted at the source is purged there as well,
    /// and how long it has to be gone before it is.
    pub version_deletes: Option<Duration>,
    /// Whether what was there before the rule is sent as well.
    pub existing_objects: bool,
    /// Whether replicas are sent to a peer of the region that they come from: to one that
    /// has lost what it had.
    pub to_origin: bool,
    /// Whether replicas, which were made in other regions, are sent at all.
    pub replicas: bool,
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
pub struct Rules {
    rules: Vec<Rule>,
    /// The region that they are in force in.
    here: Option<Region>,
    /// The regions of peers.
    of_peers: BTreeMap<PeerName, Region>,
}

impl Rules {
    /// Takes rules in the order in which they count.
    #[must_use]
    pub fn new(rules: Vec<Rule>) -> Self {
        Self {
            rules,
            ..Self::default()
        }
    }

    /// In force in the region `here`, for peers in these regions: what a change is held
    /// against that was made elsewhere.
    #[must_use]
    pub fn between(self, here: Region, of_peers: BTreeMap<PeerName, Region>) -> Self {
        Self {
            here: Some(here),
            of_peers,
            ..self
        }
    }

    /// Where a change goes that may have been made elsewhere: a replica is not sent back to
    /// the region that its order says it comes from. Behind a version that goes to `behind`
    /// come delete markers and changes of tags.
    #[must_use]
    pub fn of_change(
        &self,
        change: &Change,
        existed: bool,
        behind: &BTreeSet<PeerName>,
    ) -> Vec<Destination> {
        let (name, kind) = (&change.name, change.kind);
        let kind = Kind {
            change: kind,
            existed,
        };
        let tagged = Tagged::of(change, behind);
        self.from_origin(&name.bucket, &name.key, kind, tagged, &change.order.region)
    }

    /// As [`destinations`](Self::destinations), of something that was made in `origin`.
    #[must_use]
    pub fn from_origin(
        &self,
        bucket: &BucketName,
        key: &ObjectKey,
        kind: Kind,
        tagged: Tagged<'_>,
        origin: &Region,
    ) -> Vec<Destination> {
        let mut destinations = self.destinations(bucket, key, kind, tagged);
        for to in &mut destinations {
            let rule = self.rules.iter().find(|rule| rule.name == to.rule);
            if let (Some(rule), None) = (rule, &to.skip) {
                to.skip = self.comes_back(rule, &to.peer, origin);
            }
        }
        destinations
    }

    /// Why a rule does not send something to a peer that was made in `origin`, if it does not.
    fn comes_back(&self, rule: &Rule, peer: &PeerName, origin: &Region) -> Option<Skip> {
        if self.here.as_ref() == Some(origin) {
            return None;
        }
        let is_back = self.of_peers.get(peer) == Some(origin);
        let why = match is_back {
            true if rule.to_origin => return None,
            false if rule.replicas => return None,
            true => format!("where {peer} is (rule {}: to_origin", rule.name),
            false => format!("and not here (rule {}: replicas", rule.name),
        };
        Some(Skip {
            reason: Reason::SkippedReplica,
            evidence: format!("it was made in {origin}, {why} = false)"),
        })
    }

    /// Why a change that was recorded earlier does not go to a peer by these rules, if it does
    /// not. What was there before its rule is of no account: that was decided when it was
    /// recorded.
    #[must_use]
    pub fn leave_out(&self, change: &Change, peer: &PeerName, tagged: Tagged<'_>) -> Option<Skip> {
        let (bucket, key) = (&change.name.bucket, &change.name.key);
        if change.kind == ChangeKind::Purge {
            return match self.purge_of(bucket, key, peer) {
                Some(_) => None,
                None => Some(Skip {
                    reason: Reason::SkippedPurge,
                    evidence: "no rule sends version deletes of it there any more".to_owned(),
                }),
            };
        }
        let mut untaken = None;
        let rules = self.of_key(bucket, key);
        for rule in rules.filter(|rule| rule.peers.contains(peer)) {
            match tagged.leaves_out(&rule.name, &rule.tags, peer) {
                Some(skip) => untaken = untaken.or(Some(skip)),
                None => {
                    let skip = rule.leaves_out(Kind::new(change.kind));
                    return skip.or_else(|| self.comes_back(rule, peer, &change.order.region));
                }
            }
        }
        Some(untaken.unwrap_or_else(|| Skip {
            reason: Reason::SkippedFiltered,
            evidence: format!("no rule in force sends it to {peer}"),
        }))
    }

    /// Whether both send the same of a bucket to the same peers.
    #[must_use]
    pub fn are_the_same_for(&self, other: &Self, bucket: &BucketName) -> bool {
        self.of(bucket).eq(other.of(bucket))
    }

    /// A number that is another one when what goes where of a bucket is.
    #[must_use]
    pub(crate) fn digest(&self, bucket: &BucketName) -> u64 {
        let rules: Vec<_> = self.of(bucket).collect();
        let peers = self.peers_of(bucket);
        let regions: Vec<_> = peers.iter().map(|peer| self.of_peers.get(peer)).collect();
        crc64(format!("{rules:?}{:?}{regions:?}", self.here).as_bytes())
    }

    /// Where something goes: once to each peer, by the first rule that names it and takes
    /// what its tags are. What that rule leaves out is left out, and said to be; so is what
    /// no rule takes for its tags.
    #[must_use]
    pub fn destinations(
        &self,
        bucket: &BucketName,
        key: &ObjectKey,
        kind: Kind,
        tagged: Tagged<'_>,
    ) -> Vec<Destination> {
        let mut found: Vec<Destination> = Vec::new();
        let mut not_taken: Vec<Destination> = Vec::new();
        for rule in self.of_key(bucket, key) {
            for peer in &rule.peers {
                let untaken = tagged.leaves_out(&rule.name, &rule.tags, peer);
                let (to, skip) = match untaken {
                    Some(skip) => (&mut not_taken, Some(skip)),
                    None => (&mut found, rule.leaves_out(kind)),
                };
                if !to.iter().any(|destination| destination.peer == *peer) {
                    to.push(Destination {
                        rule: rule.name.clone(),
                        peer: peer.clone(),
                        skip,
                    });
                }
            }
        }
        not_taken.retain(|not| !found.iter().any(|to| to.peer == not.peer));
        found.append(&mut not_taken);
        found
    }

    /// Whether what goes where of a key depends on tags.
    #[must_use]
    pub fn ask_tags_of(&self, bucket: &BucketName, key: &ObjectKey) -> bool {
        self.of_key(bucket, key).any(|rule| !rule.tags.is_empty())
    }

    /// Whether something of a key may go anywhere, whatever its tags are.
    #[must_use]
    pub(crate) fn may_send(&self, bucket: &BucketName, key: &ObjectKey, kind: Kind) -> bool {
        if self.ask_tags_of(bucket, key) {
            let mut rules = self.of_key(bucket, key);
            return rules.any(|rule| rule.leaves_out(kind).is_none());
        }
        let none = BTreeMap::new();
        let to = self.destinations(bucket, key, kind, Tagged::With(&none));
        to.iter().any(|to| to.skip.is_none())
    }

    /// The rule that sends the delete marker of a key of which a peer has a version there, if
    /// one does; `origin` is where it was removed.
    #[must_use]
    pub fn remove(
        &self,
        (bucket, key): (&BucketName, &ObjectKey),
        peer: &PeerName,
        origin: &Region,
    ) -> Option<RuleName> {
        let (kind, has_it) = (Kind::new(ChangeKind::DeleteMarker), [peer.clone()].into());
        let to = self.from_origin(bucket, key, kind, Tagged::Behind(&has_it), origin);
        let mut to = to.into_iter();
        let to = to.find(|to| to.peer == *peer && to.skip.is_none());
        to.map(|to| to.rule)
    }

    /// Whether any rule is about this key and this peer, whatever it leaves out.
    #[must_use]
    pub(crate) fn name_it(&self, bucket: &BucketName, key: &ObjectKey, peer: &PeerName) -> bool {
        let mut rules = self.of_key(bucket, key);
        rules.any(|rule| rule.peers.contains(peer))
    }

    /// Whether a rule sends version deletes of a bucket.
    #[must_use]
    pub(crate) fn purge(&self, bucket: &BucketName) -> bool {
        self.of(bucket).any(|rule| rule.version_deletes.is_some())
    }

    /// The rule that sends version deletes of a key to a peer, if one does, and how long they
    /// wait. Where rules ask for tags, which of them sent a version is not known any more: all
    /// that may have done it have to send version deletes, and the longest wait counts.
    #[must_use]
    pub(crate) fn purge_of(
        &self,
        bucket: &BucketName,
        key: &ObjectKey,
        peer: &PeerName,
    ) -> Option<(RuleName, Duration)> {
        let mut found: Option<(RuleName, Duration)> = None;
        let rules = self.of_key(bucket, key);
        for rule in rules.filter(|rule| rule.peers.contains(peer)) {
            let wait = rule.version_deletes?;
            let (_, longest) = found.get_or_insert_with(|| (rule.name.clone(), wait));
            *longest = wait.max(*longest);
            if rule.tags.is_empty() {
                break;
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
        self.rules.iter().filter(move |rule| rule.bucket == *bucket)
    }

    fn of_key(&self, bucket: &BucketName, key: &ObjectKey) -> impl Iterator<Item = &Rule> {
        self.of(bucket)
            .filter(|rule| key.as_str().starts_with(&rule.prefix))
    }
}

impl Rule {
    fn leaves_out(&self, kind: Kind) -> Option<Skip> {
        let (setting, what) = match kind {
            Kind {
                change: ChangeKind::DeleteMarker,
                ..
            } if !self.delete_markers => ("delete_markers", "sends no delete markers"),
            Kind {
                change: ChangeKind::Purge,
                ..
            } if self.version_deletes.is_none() => ("version_deletes", "sends no version deletes"),
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
            tags: BTreeMap::new(),
            peers: peers
                .iter()
                .map(|peer| PeerName::new(peer).unwrap())
                .collect(),
            delete_markers: true,
            version_deletes: None,
            existing_objects: true,
            to_origin: false,
            replicas: true,
        }
    }

    fn to(rules: &Rules, bucket: &str, key: &str, kind: Kind) -> Vec<String> {
        tagged_to(rules, (bucket, key), kind, Tagged::With(&BTreeMap::new()))
    }

    fn tagged_to(
        rules: &Rules,
        (bucket, key): (&str, &str),
        kind: Kind,
        tagged: Tagged<'_>,
    ) -> Vec<String> {
        let (bucket, key) = (
            BucketName::new(bucket).unwrap(),
            ObjectKey::new(key).unwrap(),
        );
        let destinations = rules.destinations(&bucket, &key, kind, tagged);
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

    fn tags(text: &str) -> BTreeMap<String, String> {
        let pairs = text.split(' ').filter_map(|pair| pair.split_once('='));
        pairs
            .map(|(tag, value)| (tag.to_owned(), value.to_owned()))
            .collect()
    }

    #[test]
    fn a_rule_takes_what_has_all_of_its_tags_and_the_next_one_may_take_the_rest() {
        let hot = Rule {
            tags: tags("class=hot keep=yes"),
            ..rule("hot", "logs/", &["x", "y"])
        };
        let rules = Rules::new(vec![hot, rule("rest", "logs/", &["y"])]);
        let put = Kind::new(ChangeKind::Put);
        for (key, its, expected) in [
            (
                "logs/1",
                "class=hot keep=yes more=1",
                vec!["hot:x", "hot:y"],
            ),
            ("logs/1", "class=hot", vec!["rest:y", "hot:x skipped"]),
            (
                "logs/1",
                "class=cold keep=yes",
                vec!["rest:y", "hot:x skipped"],
            ),
            ("logs/1", "", vec!["rest:y", "hot:x skipped"]),
            ("other", "class=hot keep=yes", vec![]),
        ] {
            let its_tags = tags(its);
            let found = tagged_to(&rules, ("b", key), put, Tagged::With(&its_tags));
            assert_eq!(found, expected, "{key} {its}");
        }
        // A delete marker has no tags: it goes where a version of its key does.
        let marker = Kind::new(ChangeKind::DeleteMarker);
        let sent = BTreeSet::from([PeerName::new("x").unwrap()]);
        let found = tagged_to(&rules, ("b", "logs/1"), marker, Tagged::Behind(&sent));
        assert_eq!(found, ["hot:x", "rest:y"]);
        let found = tagged_to(
            &rules,
            ("b", "logs/1"),
            marker,
            Tagged::Behind(&BTreeSet::new()),
        );
        assert_eq!(found, ["rest:y", "hot:x skipped"]);

        let (bucket, key) = (
            BucketName::new("b").unwrap(),
            ObjectKey::new("logs/1").unwrap(),
        );
        let its_tags = tags("class=cold");
        let to = rules.destinations(&bucket, &key, put, Tagged::With(&its_tags));
        let told = to.iter().find_map(|to| to.skip.as_ref()).unwrap();
        assert_eq!(told.reason, Reason::SkippedFiltered);
        assert!(told.evidence.contains("class=hot, keep=yes"), "{told:?}");
        assert!(told.evidence.contains("class=cold"), "{told:?}");
        let other = ObjectKey::new("other").unwrap();
        assert!(rules.ask_tags_of(&bucket, &key) && !rules.ask_tags_of(&bucket, &other));
    }

    #[test]
    fn versions_are_purged_where_the_rule_that_counts_says_so_and_nowhere_else() {
        let day = Duration::from_secs(86_400);
        let logs = Rule {
            version_deletes: Some(day),
            ..rule("logs", "logs/", &["x"])
        };
        let rules = Rules::new(vec![logs.clone(), rule("all", "", &["x", "y"])]);
        let bucket = |name| BucketName::new(name).unwrap();
        let of = |key, peer| {
            let (key, peer) = (ObjectKey::new(key).unwrap(), PeerName::new(peer).unwrap());
            rules.purge_of(&bucket("b"), &key, &peer)
        };
        assert_eq!(of("logs/1", "x"), Some((logs.name.clone(), day)));
        assert_eq!((of("logs/1", "y"), of("other", "x")), (None, None));
        assert!(rules.purge(&bucket("b")) && !rules.purge(&bucket("c")));
        let purge = Kind::new(ChangeKind::Purge);
        assert_eq!(
            to(&rules, "b", "logs/1", purge),
            ["logs:x", "all:y skipped"]
        );
        // Of two of which either may have sent it, both have to say so.
        let day_or_two = |tagged: Option<u32>, rest: Option<u32>| {
            let of = |name, days: Option<u32>| Rule {
                version_deletes: days.map(|days| day * days),
                ..rule(name, "", &["x"])
            };
            let hot = Rule {
                tags: tags("class=hot"),
                ..of("hot", tagged)
            };
            let rules = Rules::new(vec![hot, of("rest", rest), of("never", None)]);
            let (key, peer) = (ObjectKey::new("k").unwrap(), PeerName::new("x").unwrap());
            rules
                .purge_of(&bucket("b"), &key, &peer)
                .map(|(_, wait)| wait)
        };
        assert_eq!(day_or_two(Some(1), Some(2)), Some(day * 2));
        assert_eq!(day_or_two(Some(1), None), None);
        assert_eq!(day_or_two(None, Some(1)), None);
        // An earlier rule without it counts.
        let rules = Rules::new(vec![rule("all", "", &["x"]), logs]);
        let key = ObjectKey::new("logs/1").unwrap();
        assert!(
            rules
                .purge_of(&bucket("b"), &key, &PeerName::new("x").unwrap())
                .is_none()
        );
    }

    fn made_in(region: &str) -> Change {
        Change {
            name: sealift_terms::VersionName {
                bucket: BucketName::new("b").unwrap(),
                key: ObjectKey::new("k").unwrap(),
                version: sealift_terms::VersionId::new("v").unwrap(),
            },
            order: sealift_terms::Order {
                clock: 1,
                region: Region::new(region).unwrap(),
                change: 1,
            },
            kind: ChangeKind::Put,
            facts: Default::default(),
        }
    }

    #[test]
    fn what_was_recorded_is_left_out_as_what_is_new_would_be() {
        let change = |kind, key: &str| Change {
            kind,
            name: sealift_terms::VersionName {
                key: ObjectKey::new(key).unwrap(),
                ..made_in("a").name
            },
            ..made_in("a")
        };
        let x = PeerName::new("x").unwrap();
        let hot: BTreeMap<_, _> = [("class".to_owned(), "hot".to_owned())].into();
        let keeps = Rule {
            delete_markers: false,
            existing_objects: false,
            ..rule("keeps", "p/", &["x"])
        };
        let asks = Rule {
            tags: hot.clone(),
            version_deletes: Some(Duration::ZERO),
            ..rule("asks", "t/", &["x"])
        };
        let first = rule("all", "", &["x"]);
        let rules = Rules::new(vec![keeps, asks.clone()]);
        let (there, nobody) = (BTreeSet::from([x.clone()]), BTreeSet::new());
        let none = BTreeMap::new();
        use ChangeKind::{DeleteMarker, Purge, Put, Tags};
        for (kind, key, tagged, why) in [
            (Put, "p/1", Tagged::With(&none), ""),
            (
                DeleteMarker,
                "p/1",
                Tagged::Behind(&there),
                "delete_markers",
            ),
            (Tags, "p/1", Tagged::Behind(&there), ""),
            (
                Purge,
                "p/1",
                Tagged::Behind(&there),
                "no rule sends version deletes",
            ),
            (
                Put,
                "q",
                Tagged::With(&none),
                "no rule in force sends it to x",
            ),
            (
                Put,
                "t/1",
                Tagged::With(&none),
                "asks for the tags class=hot",
            ),
            (Put, "t/1", Tagged::With(&hot), ""),
            (DeleteMarker, "t/1", Tagged::Behind(&there), ""),
            (DeleteMarker, "t/1", Tagged::Behind(&nobody), "comes behind"),
            (Purge, "t/1", Tagged::Behind(&nobody), ""),
        ] {
            let skip = rules.leave_out(&change(kind, key), &x, tagged);
            let told = skip.map(|skip| skip.evidence).unwrap_or_default();
            let is_as_told = told.is_empty() == why.is_empty() && told.contains(why);
            assert!(is_as_told, "{kind:?} {key}: {told:?}");
        }
        // The first that takes it counts, and one behind it takes what its tags are not.
        let both = Rules::new(vec![asks, first]);
        assert_eq!(
            both.leave_out(&change(Put, "t/1"), &x, Tagged::With(&none)),
            None
        );
        let other = PeerName::new("y").unwrap();
        let skip = both.leave_out(&change(Put, "t/1"), &other, Tagged::With(&hot));
        assert_eq!(skip.unwrap().reason, Reason::SkippedFiltered);
        let replicas = Rules::new(vec![Rule {
            replicas: false,
            ..rule("own", "", &["x"])
        }]);
        let skip = replicas.leave_out(&change(Put, "k"), &x, Tagged::With(&none));
        assert_eq!(skip.unwrap().reason, Reason::SkippedReplica);
        let origin = &made_in("a").order.region;
        let key = |key| ObjectKey::new(key).unwrap();
        let bucket = made_in("a").name.bucket;
        let removes = |of| rules.remove((&bucket, &key(of)), &x, origin);
        assert_eq!(removes("t/1"), Some(RuleName::new("asks").unwrap()));
        assert_eq!(removes("p/1"), None);
    }

    #[test]
    fn a_replica_goes_on_to_the_next_region_and_back_only_where_a_rule_says_so() {
        let region = |name: &str| Region::new(name).unwrap();
        let of_peers = || {
            let of = [("a1", "a"), ("b2", "b"), ("c1", "c")];
            let of = of.map(|(peer, of)| (PeerName::new(peer).unwrap(), region(of)));
            BTreeMap::from(of)
        };
        let in_b = |all: Rule| Rules::new(vec![all]).between(region("b"), of_peers());
        let told = |rules: &Rules, change: &Change| -> Vec<_> {
            let to = rules.of_change(change, false, &BTreeSet::new());
            let told = to.into_iter().map(|to| to.skip.map(|skip| skip.reason));
            told.collect()
        };
        let all = rule("all", "", &["a1", "b2", "c1"]);
        let rules = in_b(all.clone());
        let back = Some(Reason::SkippedReplica);
        assert_eq!(told(&rules, &made_in("a")), [back, None, None]);
        assert_eq!(told(&rules, &made_in("c")), [None, None, back]);
        // What was made here goes to the other site of this region as well.
        assert_eq!(told(&rules, &made_in("b")), [None, None, None]);
        let returning = in_b(Rule {
            to_origin: true,
            ..all.clone()
        });
        assert_eq!(told(&returning, &made_in("a")), [None, None, None]);
        // A rule may send what is made here, and nothing else.
        let own = |to_origin| {
            in_b(Rule {
                replicas: false,
                to_origin,
                ..all.clone()
            })
        };
        assert_eq!(told(&own(false), &made_in("a")), [back, back, back]);
        assert_eq!(told(&own(true), &made_in("a")), [None, back, back]);
        assert_eq!(told(&own(false), &made_in("b")), [None, None, None]);
        let bucket = BucketName::new("b").unwrap();
        assert_ne!(rules.digest(&bucket), returning.digest(&bucket));
        assert_eq!(rules.digest(&bucket), rules.clone().digest(&bucket));
    }
}
