//! How a configuration differs from the one in force, and what a running agent can
//! take up of that.

use std::{collections::BTreeSet, net::SocketAddr, path::PathBuf};

use sealift_terms::PeerName;

use crate::{
    CheckLine, Error,
    config::{Bucket, BucketSource, Config, Peer, Rule},
};

/// Something that differs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Difference {
    what: &'static str,
    /// Whether only a new start takes it up.
    needs_restart: bool,
}

/// What an agent runs on.
pub(super) struct InForce<'a> {
    pub(super) config: &'a Config,
    /// The peers that it has senders for since it started, named by its rules or no more.
    pub(super) senders: BTreeSet<&'a PeerName>,
}

/// Refuses what a running agent cannot take up.
pub(super) fn needs_restart(before: &InForce<'_>, after: &Config) -> Result<(), Error> {
    let mut found = differences(before, after).into_iter();
    match found.find(|difference| difference.needs_restart) {
        None => Ok(()),
        Some(Difference { what, .. }) => Err(Error::RestartNeeded {
            what: format!("{what} changed"),
        }),
    }
}

/// What `check` says of a configuration beside the one in force; nothing when they
/// say the same.
pub(super) fn line(before: &InForce<'_>, after: &Config) -> Option<CheckLine> {
    let found = differences(before, after);
    if found.is_empty() {
        return None;
    }
    let remedy = match found.iter().any(|difference| difference.needs_restart) {
        true => "start the agent again to take it up",
        false => "run `sealift reload` to take it up",
    };
    let names: Vec<_> = found.iter().map(|difference| difference.what).collect();
    let told = format!("{} differ from what the agent runs on", names.join(", "));
    Some(CheckLine::warn("running", told, remedy))
}

/// Every section that differs, and whether only a new start takes it up.
pub(super) fn sections(before: &InForce<'_>, after: &Config) -> Vec<(&'static str, bool)> {
    let found = differences(before, after).into_iter();
    found.map(|one| (one.what, one.needs_restart)).collect()
}

fn differences(in_force: &InForce<'_>, after: &Config) -> Vec<Difference> {
    let of = |needs_restart: bool| {
        move |(what, same): &(&'static str, bool)| {
            (!same).then_some(Difference {
                what,
                needs_restart,
            })
        }
    };
    let settled = settled(in_force, after);
    let reloaded = reloaded(in_force.config, after);
    let settled = settled.iter().filter_map(of(true));
    settled
        .chain(reloaded.iter().filter_map(of(false)))
        .collect()
}

/// What only a new start takes up, and whether it is the same.
fn settled(in_force: &InForce<'_>, after: &Config) -> [(&'static str, bool); 18] {
    let before = in_force.config;
    [
        ("[site]", site(before) == site(after)),
        (
            "[keys]",
            (&before.root_key, &before.key_services) == (&after.root_key, &after.key_services),
        ),
        ("[listen]", before.listen == after.listen),
        ("[admin]", before.admin == after.admin),
        ("[limits]", before.limits == after.limits),
        ("[tls]", before.tls == after.tls),
        ("[log]", before.log == after.log),
        ("[ca]", before.ca == after.ca),
        ("[store]", before.store == after.store),
        (
            "[identity] (who it is, and where its certificates come from)",
            (&before.identity.source, &before.identity.agent)
                == (&after.identity.source, &after.identity.agent),
        ),
        ("[admin] socket", socket(before) == socket(after)),
        ("[scrub]", before.scrub == after.scrub),
        ("[watchdog]", before.stalled_after == after.stalled_after),
        (
            "[[peer]] (who they are and where)",
            peers(before) == peers(after),
        ),
        ("[endpoint] listen", listens(before) == listens(after)),
        ("[[source]]", sources(before) == sources(after)),
        (
            "[[forward]] and [[forward_target]] (the first, or the last)",
            before.forwards_at_all() == after.forwards_at_all(),
        ),
        (
            "[[rule]] (the peers they name)",
            named(after).is_subset(&in_force.senders),
        ),
    ]
}

/// What a reload takes up, and whether it is the same.
fn reloaded(before: &Config, after: &Config) -> [(&'static str, bool); 11] {
    [
        ("[identity]", identity(before) == identity(after)),
        (
            "[[peer]] (trust bundles and revocation lists)",
            trust(before) == trust(after),
        ),
        ("[peer.limit]", limits(before) == limits(after)),
        ("[peer.quota]", quotas(before) == quotas(after)),
        ("[[bucket]]", buckets(before) == buckets(after)),
        ("[[rule]]", rules(before) == rules(after)),
        (
            "[[operator]]",
            before.operators.allow_the_same(&after.operators),
        ),
        ("[[grant]]", before.grants.allow_the_same(&after.grants)),
        ("[[endpoint.key]]", access_is_the_same(before, after)),
        ("[[forward]]", before.forwards == after.forwards),
        (
            "[[forward_target]]",
            before.forward_targets == after.forward_targets,
        ),
    ]
}

/// Whether access keys are the same ones and may the same.
fn access_is_the_same(before: &Config, after: &Config) -> bool {
    match (&before.endpoint, &after.endpoint) {
        (Some(before), Some(after)) => {
            before.keys == after.keys && before.rows.allow_the_same(&after.rows)
        }
        (before, after) => before.is_some() == after.is_some(),
    }
}

fn listens(config: &Config) -> Option<SocketAddr> {
    config.endpoint.as_ref().map(|endpoint| endpoint.listen)
}

fn socket(config: &Config) -> Option<&PathBuf> {
    config.operators_socket.as_ref()
}

fn site(config: &Config) -> impl PartialEq {
    let site = &config.site;
    (
        site.name.clone(),
        site.region.clone(),
        site.data_dir.clone(),
    )
}

fn identity(config: &Config) -> impl PartialEq {
    let files = &config.identity;
    (
        files.certificate.clone(),
        files.private_key_file.clone(),
        files.trust_bundle.clone(),
        files.own.clone(),
    )
}

fn peers(config: &Config) -> impl PartialEq {
    let of = |peer: &Peer| {
        let dial = peer.dial_for;
        let dial_for = (dial.send, dial.receive, dial.forward_target);
        let (name, identity) = (peer.name.clone(), peer.identity.clone());
        (name, identity, peer.address.clone(), dial_for)
    };
    config.peers.iter().map(of).collect::<Vec<_>>()
}

fn trust(config: &Config) -> impl PartialEq {
    let of = |peer: &Peer| {
        let (name, bundle) = (peer.name.clone(), peer.trust_bundle.clone());
        let (crl, demands) = (peer.crl.clone(), peer.demands);
        (name, bundle, crl, demands, peer.dns.clone())
    };
    config.peers.iter().map(of).collect::<Vec<_>>()
}

fn limits(config: &Config) -> impl PartialEq {
    let of = |peer: &Peer| (peer.name.clone(), peer.limit.clone());
    config.peers.iter().map(of).collect::<Vec<_>>()
}

fn quotas(config: &Config) -> impl PartialEq {
    let of = |peer: &Peer| (peer.name.clone(), peer.quota);
    config.peers.iter().map(of).collect::<Vec<_>>()
}

fn sources(config: &Config) -> impl PartialEq {
    let of = |source: &BucketSource| {
        let BucketSource {
            bucket,
            from,
            scan_interval,
            front,
            ..
        } = source.clone();
        (bucket, from, scan_interval, front)
    };
    config.sources.iter().map(of).collect::<Vec<_>>()
}

fn buckets(config: &Config) -> impl PartialEq {
    let of = |bucket: &Bucket| {
        let second = bucket.second_key.as_ref().map(|key| key.name.clone());
        let keys = (bucket.key.name.clone(), second, bucket.bucket_keys);
        (bucket.name.clone(), keys, (bucket.quota, bucket.retention))
    };
    config.buckets.iter().map(of).collect::<Vec<_>>()
}

fn rules(config: &Config) -> impl PartialEq {
    let of = |rule: &Rule| {
        let Rule {
            name,
            bucket,
            prefix,
            tags,
            peers,
            priority: _,
            delete_markers,
            version_deletes,
            existing_objects,
            to_origin,
            replicas,
            rpo,
        } = rule.clone();
        let deletes = (delete_markers, version_deletes);
        let what = (deletes, existing_objects, to_origin, replicas, rpo);
        (name, bucket, (prefix, tags), peers, what)
    };
    config.rules.iter().map(of).collect::<Vec<_>>()
}

fn named(config: &Config) -> BTreeSet<&PeerName> {
    let rules = config.rules.iter();
    rules.flat_map(|rule| &rule.peers).collect()
}
