//! `[[rule]]`: what of a source goes to whom.

use std::time::Duration;

use sealift_terms::{PeerName, limits};
use toml::Spanned;

use super::{
    checked::{Peer, Rule},
    checker::Checker,
    declared::{Declared, Seen, used},
    raw::{self, Text},
    residency, rule_tags,
};

/// The highest `priority`.
const PRIORITY_MAX: u64 = 1_000_000;
/// The longest `rpo_secs`: 30 days.
const RPO_SECS_MAX: u64 = 30 * 86_400;

/// The rules in the order in which they count: the higher priority first, and those of one
/// priority as they stand.
pub(super) fn rules(
    c: &mut Checker<'_>,
    raw: &[Spanned<raw::Rule>],
    declared: &Declared,
    known: &[Peer],
) -> Vec<Rule> {
    let mut seen = Seen::new("rule.name");
    let mut rules = Vec::new();
    for entry in raw.iter().map(Spanned::get_ref) {
        let name = c.name("rule.name", &entry.name);
        let bucket = used(
            c,
            "rule.bucket",
            &entry.bucket,
            &declared.sources,
            "[[source]]",
        );
        let peers = rule_peers(c, &entry.peers, declared);
        residency::hold(c, entry, &peers, known);
        let prefix = prefix(c, "rule.prefix", entry.prefix.as_ref());
        let tags = rule_tags::tags(c, entry, declared);
        let (Some(name), Some(bucket), Some(prefix)) = (name, bucket, prefix) else {
            continue;
        };
        seen.once(c, &name, entry.name.span());
        rules.push(Rule {
            name,
            bucket,
            prefix,
            tags,
            peers,
            priority: c.number(
                "rule.priority",
                entry.priority.as_ref(),
                0..=PRIORITY_MAX,
                0,
            ),
            delete_markers: entry.delete_markers.unwrap_or(true),
            version_deletes: version_deletes(c, entry, declared),
            existing_objects: entry.existing_objects.unwrap_or(true),
            to_origin: entry.to_origin.unwrap_or(false),
            replicas: entry.replicas.unwrap_or(true),
            rpo: rpo(c, entry.rpo_secs.as_ref()),
        });
    }
    rules.sort_by_key(|rule| std::cmp::Reverse(rule.priority));
    rules
}

fn rpo(c: &mut Checker<'_>, raw: Option<&raw::Number>) -> Option<Duration> {
    let secs = c.bound("rule.rpo_secs", raw, 1..=RPO_SECS_MAX);
    secs.map(Duration::from_secs)
}

/// Whether version deletes are sent, and how long a version has to be gone before: of a bucket
/// of S3 or of an archive, as nothing else tells of versions that are gone for good.
fn version_deletes(
    c: &mut Checker<'_>,
    entry: &raw::Rule,
    declared: &Declared,
) -> Option<Duration> {
    let wanted = entry.version_deletes.as_ref();
    let usual = limits::PURGE_HOLD_DEFAULT.as_secs();
    let most = limits::PURGE_HOLD_MAX.as_secs();
    let hold = entry.purge_hold_secs.as_ref();
    let secs = c.number("rule.purge_hold_secs", hold, 1..=most, usual);
    let wanted = wanted.filter(|wanted| *wanted.get_ref())?;
    if !declared.tell_of_purges.contains(entry.bucket.get_ref()) {
        return c.refuse(
            "rule.version_deletes",
            &wanted.span(),
            format!("true, for {:?}", entry.bucket.get_ref()),
            "a bucket whose [[source]] has a [source.s3], or archive = true: no other source tells of versions that are gone for good",
            "leave it out",
        );
    }
    Some(Duration::from_secs(secs))
}

/// What keys begin with; everything where it is left out.
pub(super) fn prefix(c: &mut Checker<'_>, what: &str, raw: Option<&Text>) -> Option<String> {
    let Some(text) = raw else {
        return Some(String::new());
    };
    let prefix = text.get_ref();
    if prefix.len() <= limits::OBJECT_KEY_BYTES_MAX && !prefix.contains('\0') {
        return Some(prefix.clone());
    }
    c.refuse(
        what,
        &text.span(),
        format!("{} bytes", prefix.len()),
        "at most 1,024 bytes of UTF-8 without NUL, as keys are",
        "shorten it",
    )
}

fn rule_peers(c: &mut Checker<'_>, raw: &Spanned<Vec<Text>>, declared: &Declared) -> Vec<PeerName> {
    if raw.get_ref().is_empty() {
        let (found, allowed) = ("an empty list", "at least one peer");
        c.refuse::<()>(
            "rule.peers",
            &raw.span(),
            found,
            allowed,
            "name a destination",
        );
    }
    let mut peers = Vec::new();
    for text in raw.get_ref() {
        let peer = used(c, "rule.peers", text, &declared.peers, "[[peer]]");
        peers.extend(peer.filter(|peer| !peers.contains(peer)));
    }
    peers
}

#[cfg(test)]
mod tests {
    use crate::config::{Config, ConfigError, tests::checked};

    /// Rules for a directory, or for a bucket if they begin with it.
    fn check(rules: &str) -> Result<Config, ConfigError> {
        let from = match rules.starts_with("[source.s3]") {
            true => "",
            false => "directory = \"/srv\"\n",
        };
        checked(&format!(
            "[site]\nname = \"a1\"\nregion = \"eu-west\"\ndata_dir = \"data\"\n\
                 [keys]\nroot_key_file = \"root.key\"\n[listen]\naddress = \"127.0.0.1:1\"\n\
                 [identity]\ntrust_bundle = \"r\"\ncertificate = \"c\"\nprivate_key_file = \"k\"\n\
                 [[peer]]\nname = \"b\"\nidentity = \"spiffe://example.org/region/r/agent/b\"\n\
                 trust_bundle = \"b\"\n[[source]]\nbucket = \"photos\"\n{from}{rules}"
        ))
    }

    fn rule(name: &str, more: &str) -> String {
        format!("[[rule]]\nname = \"{name}\"\nbucket = \"photos\"\npeers = [\"b\"]\n{more}\n")
    }

    #[test]
    fn the_higher_priority_comes_first_and_equals_stay_in_their_order() {
        let rules = [
            rule("one", ""),
            rule("two", "priority = 5\nrpo_secs = 60\ndelete_markers = false"),
            rule(
                "three",
                "existing_objects = false\nto_origin = true\nreplicas = false",
            ),
            rule("four", "priority = 9"),
        ];
        let config = check(&rules.concat()).unwrap();
        let names: Vec<_> = config.rules.iter().map(|rule| rule.name.as_str()).collect();
        assert_eq!(names, ["four", "two", "one", "three"]);
        let [four, two, one, three] = &config.rules[..] else {
            panic!("{names:?}");
        };
        assert!(four.delete_markers && four.existing_objects && four.rpo.is_none());
        assert!(three.to_origin && !four.to_origin);
        assert!(!three.replicas && four.replicas);
        assert!(!two.delete_markers && one.existing_objects && !three.existing_objects);
        assert_eq!(two.rpo, Some(std::time::Duration::from_secs(60)));
    }

    #[test]
    fn version_deletes_are_asked_for_of_a_bucket_that_tells_of_them_and_wait_a_day() {
        let of_s3 = |more: &str| {
            let rule = rule("one", more);
            let s3 = "[source.s3]\nregion = \"eu-west-1\"\ncredentials_file = \"c\"\n";
            check(&format!("{s3}{rule}"))
        };
        let hold = |more| of_s3(more).unwrap().rules[0].version_deletes;
        assert_eq!((hold(""), hold("version_deletes = false")), (None, None));
        let day = std::time::Duration::from_secs(86_400);
        assert_eq!(hold("version_deletes = true"), Some(day));
        let soon = "version_deletes = true\npurge_hold_secs = 1";
        assert_eq!(hold(soon), Some(std::time::Duration::from_secs(1)));
    }

    #[test]
    fn numbers_out_of_range_and_what_is_no_setting_are_refused() {
        for (more, told) in [
            ("priority = 1000001", "rule.priority"),
            ("rpo_secs = 0", "rule.rpo_secs"),
            ("rpo_secs = 2592001", "rule.rpo_secs"),
            ("tagged = true", "tagged"),
            ("purge_hold_secs = 0", "rule.purge_hold_secs"),
            ("purge_hold_secs = 31536001", "rule.purge_hold_secs"),
            ("version_deletes = true", "rule.version_deletes"),
        ] {
            let error = check(&rule("one", more)).unwrap_err();
            assert!(error.to_string().contains(told), "{more}: {error}");
        }
    }
}
