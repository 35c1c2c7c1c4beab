//! `allowed_regions`: from which regions a bucket takes objects in, and to which a rule
//! sends them.

use std::collections::BTreeSet;

use sealift_terms::{BucketName, PeerName, Region};
use toml::Spanned;

use super::{
    checked::Peer,
    checker::Checker,
    raw::{self, Text},
};

/// The buckets that name from which regions objects may come.
pub(super) fn of_buckets(
    c: &mut Checker<'_>,
    buckets: &[Spanned<raw::Bucket>],
) -> Vec<(BucketName, u32, BTreeSet<Region>)> {
    let mut kept = Vec::new();
    for bucket in buckets.iter().map(Spanned::get_ref) {
        let Some(listed) = &bucket.allowed_regions else {
            continue;
        };
        let regions = regions(c, "bucket.allowed_regions", listed);
        let line = c.place(&listed.span()).line();
        if let (Some(regions), Ok(name)) = (regions, bucket.name.get_ref().parse()) {
            kept.push((name, line, regions));
        }
    }
    kept
}

/// Regions by name, at least one.
fn regions(
    c: &mut Checker<'_>,
    setting: &str,
    listed: &Spanned<Vec<Text>>,
) -> Option<BTreeSet<Region>> {
    if listed.get_ref().is_empty() {
        return c.refuse(
            setting,
            &listed.span(),
            "an empty list",
            "the names of regions",
            "leave it out to allow every region",
        );
    }
    let names = listed.get_ref().iter();
    names.map(|name| c.name(setting, name)).collect()
}

/// Refuses a rule whose objects would go where it says that they may not.
pub(super) fn hold(c: &mut Checker<'_>, entry: &raw::Rule, peers: &[PeerName], known: &[Peer]) {
    let Some(listed) = &entry.allowed_regions else {
        return;
    };
    let Some(allowed) = regions(c, "rule.allowed_regions", listed) else {
        return;
    };
    for name in peers {
        let peer = known.iter().find(|peer| peer.name == *name);
        let outside = peer.filter(|peer| !allowed.contains(peer.identity.region()));
        if let Some(peer) = outside {
            let regions: Vec<_> = allowed.iter().map(Region::as_str).collect();
            c.refuse::<()>(
                "rule.allowed_regions",
                &listed.span(),
                format!(
                    "ResidencyDenied: peer {name} is in region {}",
                    peer.identity.region()
                ),
                format!("peers in {}", regions.join(", ")),
                "take the peer out of the rule, or allow its region",
            );
        }
    }
}
