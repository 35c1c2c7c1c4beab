//! Rules that face each other: what is archived here of a bucket goes to a peer that brings
//! what it has of the same bucket. Both sides may then be written to.
//!
//! What a change is later than, and that it does not go back, is told by the region in which it
//! was made: two sites that write have to be of two regions.

use sealift_identity::Action;
use sealift_terms::{BucketName, PeerName, Region};

use super::place;
use crate::{
    CheckLine,
    config::{BucketSource, Config, Peer, Rule, SourceFrom},
};

pub(super) fn check(config: &Config) -> Vec<CheckLine> {
    let archives = config
        .sources
        .iter()
        .filter(|source| source.from == SourceFrom::Archive);
    archives
        .flat_map(|source| of_bucket(config, source))
        .collect()
}

fn of_bucket(config: &Config, source: &BucketSource) -> Vec<CheckLine> {
    let bucket = &source.bucket;
    let facing = facing(config, bucket);
    if facing.is_empty() {
        return Vec::new();
    }
    let check = format!("rules both ways of bucket {bucket}");
    if let Some(found) = same_region(config, &facing) {
        let found = place(config, &source.place, &found);
        let remedy = "let one site of each region take writes, and send to the others from it";
        return vec![CheckLine::fail(check, found, remedy)];
    }
    let mut lines: Vec<_> = facing
        .iter()
        .filter_map(|(peer, rule)| one_sided(&check, peer, rule))
        .collect();
    if lines.is_empty() {
        let there = facing.iter().map(|(peer, _)| {
            let region = peer.identity.region();
            format!("{} in {region}", peer.name)
        });
        let there: Vec<_> = there.collect();
        let found = format!(
            "what is written here goes to {}, what is written there comes here, and neither goes \
             back; of two writes of a key the later is the latest at both, by clock, then by \
             region{}",
            there.join(" and "),
            awaited(&facing)
        );
        lines.push(CheckLine::pass(check, found));
    }
    lines
}

/// The peers that a rule sends the bucket to and that may bring it here, each with that rule.
fn facing<'a>(config: &'a Config, bucket: &BucketName) -> Vec<(&'a Peer, &'a Rule)> {
    let rule_to = |name: &PeerName| {
        let mut rules = config.rules.iter();
        rules.find(|rule| rule.bucket == *bucket && rule.peers.contains(name))
    };
    let may_bring = |peer: &&Peer| {
        let decision = config
            .grants
            .allows(&peer.identity, Action::Replicate, bucket);
        decision.is_allowed()
    };
    let peers = config.peers.iter().filter(may_bring);
    peers
        .filter_map(|peer| Some((peer, rule_to(&peer.name)?)))
        .collect()
}

/// Two sites of one region, of which both may write.
fn same_region(config: &Config, facing: &[(&Peer, &Rule)]) -> Option<String> {
    let mut seen: Vec<(&Region, String)> = vec![(&config.site.region, "this site".to_owned())];
    for (peer, _) in facing {
        let region = peer.identity.region();
        if let Some((_, other)) = seen.iter().find(|(known, _)| *known == region) {
            return Some(format!(
                "{other} and {} are both in {region}: nothing tells what one of them writes from \
                 what the other does",
                peer.name
            ));
        }
        seen.push((region, peer.name.to_string()));
    }
    None
}

/// Which of them have to dial for what is written here to go there.
fn awaited(facing: &[(&Peer, &Rule)]) -> String {
    let awaited = facing.iter().filter(|(peer, _)| !peer.is_dialled_to_send());
    let awaited = awaited.map(|(peer, _)| format!("; {}", peer.has_to_dial()));
    awaited.collect()
}

/// What makes the two sides differ, or goes back for nothing.
fn one_sided(check: &str, peer: &Peer, rule: &Rule) -> Option<CheckLine> {
    let (name, rule_name) = (&peer.name, &rule.name);
    if !rule.delete_markers {
        let found = format!("rule {rule_name}: what is removed here stays there, at {name}");
        let remedy = "leave out delete_markers = false, and both sides list the same";
        return Some(CheckLine::warn(check, found, remedy));
    }
    if rule.to_origin {
        let found = format!("rule {rule_name}: what {name} wrote is offered to it once more");
        let remedy = "take to_origin = true back once it has again what it lost";
        return Some(CheckLine::warn(check, found, remedy));
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Outcome, config::tests::checked};

    /// A site in `eu-west` with these peers, by name and region, which may all bring photos.
    fn lines(peers: &[(&str, &str)], rule: &str) -> Vec<CheckLine> {
        let peer = |(name, region): &(&str, &str)| {
            format!(
                "[[peer]]\nname = \"{name}\"\ntrust_bundle = \"b\"\n\
                 identity = \"spiffe://example.org/region/{region}/agent/{name}\"\n\
                 [[grant]]\nidentity = \"spiffe://example.org/region/{region}/agent/{name}\"\n\
                 actions = [\"replicate\", \"delete\"]\nbucket = \"photos\"\n"
            )
        };
        let told: String = peers.iter().map(peer).collect();
        let text = format!(
            "[site]\nname = \"a1\"\nregion = \"eu-west\"\ndata_dir = \"data\"\n\
             [keys]\nroot_key_file = \"root.key\"\n[listen]\naddress = \"127.0.0.1:1\"\n\
             [identity]\ntrust_bundle = \"r\"\ncertificate = \"c\"\nprivate_key_file = \"k\"\n\
             {told}[[bucket]]\nname = \"photos\"\nkey = \"alias/photos\"\n\
             [[source]]\nbucket = \"photos\"\narchive = true\n\
             [[rule]]\nname = \"all\"\nbucket = \"photos\"\n{rule}\n"
        );
        check(&checked(&text).unwrap())
    }

    #[test]
    fn two_rules_that_face_each_other_are_explained() {
        let told = lines(&[("b1", "us-east")], "peers = [\"b1\"]");
        assert_eq!(told.len(), 1);
        assert_eq!(told[0].outcome, Outcome::Pass);
        assert!(told[0].found.contains("b1 in us-east"), "{told:?}");
        let three = [("b1", "us-east"), ("c1", "ap-south")];
        let told = lines(&three, "peers = [\"b1\", \"c1\"]");
        assert_eq!(told[0].outcome, Outcome::Pass);
        // Neither has an address: nothing goes there unless they dial for it.
        assert!(
            told[0]
                .found
                .contains("c1 has to dial here with \"receive\""),
            "{told:?}"
        );
        // One that only brings, or is only sent to, is none of two.
        assert!(lines(&three[..1], "peers = [\"b1\"]\nprefix = \"x/\"").len() == 1);
        let one_way = lines(&[("b1", "us-east"), ("c1", "us-east")], "peers = [\"c1\"]");
        assert_eq!(one_way[0].outcome, Outcome::Pass);
    }

    #[test]
    fn two_that_write_in_one_region_are_refused() {
        let told = lines(&[("a2", "eu-west")], "peers = [\"a2\"]");
        assert_eq!(told[0].outcome, Outcome::Fail, "{told:?}");
        assert!(told[0].found.contains("this site and a2"), "{told:?}");
        let both = [("b1", "us-east"), ("b2", "us-east")];
        let told = lines(&both, "peers = [\"b1\", \"b2\"]");
        assert_eq!(told[0].outcome, Outcome::Fail, "{told:?}");
        assert!(told[0].found.contains("b1 and b2"), "{told:?}");
    }

    #[test]
    fn what_makes_both_sides_differ_is_warned_of() {
        for (setting, told) in [
            ("delete_markers = false", "what is removed here stays there"),
            ("to_origin = true", "is offered to it once more"),
        ] {
            let lines = lines(
                &[("b1", "us-east")],
                &format!("peers = [\"b1\"]\n{setting}"),
            );
            assert_eq!(lines[0].outcome, Outcome::Warn);
            assert!(lines[0].found.contains(told), "{lines:?}");
        }
    }
}
