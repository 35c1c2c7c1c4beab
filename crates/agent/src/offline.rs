//! The checks that need no peer: files, keys, certificates, disk. `up` refuses to
//! start when one of them fails, but for the backup of keys and for sources that
//! are away.

mod authority;
mod databases;
mod endings;
mod endpoint;
mod facing;
mod forwards;
mod halves;
mod keys;
mod receiving;
mod sources;
mod storing;

use std::{
    fs::{self, DirBuilder},
    io,
    os::unix::fs::{DirBuilderExt, MetadataExt},
    path::Path,
};

use sealift_identity::{Demands, Leaf};
use sealift_terms::{Boxed, DiskFile, RecordId, limits, world::Open};

use crate::{
    CheckLine, World,
    bundles::own_bundle,
    certifying::{is_renewable, load_last_credentials},
    config::{CertificatesFrom, Config, Place, Refusal, is_workload_bundle},
    error::ENROL_AGAIN,
    harden::may_lock_memory,
    load_credentials, load_peers,
};

pub(crate) use keys::{KEY_BACKUP, KEYSTORE};
pub(crate) use sources::{SOURCE, is_source};
pub(crate) use storing::is_versioning_off;

/// The check of the site's own certificate.
pub(crate) const CERTIFICATE: &str = "certificate";

/// A certificate with less than this part of its life left is warned of.
const LIFE_LEFT_WARNED: u32 = 5;

/// Looks at everything that a configuration needs on this machine. The
/// configuration itself was found good already.
pub fn check_offline<'a>(config: &'a Config, world: &'a World) -> Boxed<'a, Vec<CheckLine>> {
    Box::pin(async move {
        let path = config.path.display().to_string();
        let mut lines = vec![CheckLine::pass("configuration", path)];
        match named(config, "data directory", "site.data_dir") {
            // Nothing can be tried in what is not there.
            Some(refused) => lines.extend(refused),
            None => {
                lines.extend([data_dir(config), room(config, world), store(config, world)]);
                lines.extend(storing::check(config, world).await);
                lines.extend(databases::check(config));
            }
        }
        match named(config, "certificate", "identity.") {
            Some(refused) => lines.extend(refused),
            None => lines.push(certificate(config, world)),
        }
        lines.extend(long_lives(config));
        match named(config, "trust bundles", "peer.") {
            Some(refused) => lines.extend(refused),
            None => lines.extend(peers(config, world)),
        }
        match named(config, "keystore", "keys.") {
            Some(refused) => lines.extend(refused),
            None => keys::check(config, world, &mut lines).await,
        }
        lines.extend(config.ca.as_ref().map(|ca| authority::check(ca, world)));
        lines.extend(receiving::check(config));
        lines.extend(sources::check(config, world).await);
        lines.extend(facing::check(config));
        lines.extend(endpoint::check(config));
        lines.extend(forwards::check(config).await);
        lines.push(memory());
        lines
    })
}

/// What these settings name and is not as it must be, one line each.
fn named(config: &Config, check: &str, settings: &str) -> Option<Vec<CheckLine>> {
    let refused = config.look_at(&[settings]).err()?.refusals;
    let line = |refusal: Refusal| {
        let found = format!(
            "{}: found {}; allowed is {}",
            refusal.setting, refusal.found, refusal.allowed
        );
        CheckLine::fail(check, place(config, &refusal.place, &found), refusal.remedy)
    };
    Some(refused.into_iter().map(line).collect())
}

pub(crate) fn data_dir(config: &Config) -> CheckLine {
    let path = &config.site.data_dir;
    let check = "data directory";
    let metadata = match fs::metadata(path) {
        Ok(metadata) => metadata,
        Err(error) => return CheckLine::fail(check, error.to_string(), "run `sealift init`"),
    };
    let mode = metadata.mode() & 0o7777;
    if metadata.uid() != rustix::process::geteuid().as_raw() {
        let found = format!("{} belongs to user {}", path.display(), metadata.uid());
        return CheckLine::fail(check, found, "run as that user, or change the owner");
    }
    if mode & 0o077 != 0 {
        let found = format!("{} has mode {mode:04o}", path.display());
        let remedy = format!("run `chmod 700 {}`", path.display());
        return CheckLine::fail(check, found, remedy);
    }
    CheckLine::pass(check, path.display().to_string())
}

fn room(config: &Config, world: &World) -> CheckLine {
    let check = "room";
    match world.disk.room(&config.site.data_dir) {
        Ok(room) => {
            let reserve = limits::STORE_RESERVE_BYTES_MIN.max(room.total_bytes / 100);
            let found = format!("{} MiB free", room.free_bytes >> 20);
            match room.free_bytes > reserve {
                true => CheckLine::pass(check, found),
                false => CheckLine::fail(
                    check,
                    found,
                    format!("make room: {} MiB are kept in reserve", reserve >> 20),
                ),
            }
        }
        Err(error) => CheckLine::fail(check, error.to_string(), "check the disk"),
    }
}

/// Write, sync, read back, remove: what every commit relies on.
fn store(config: &Config, world: &World) -> CheckLine {
    let dir = config.site.data_dir.join("staging");
    match try_store(&dir, world) {
        Ok(()) => CheckLine::pass("store", "written, synced, read back, removed"),
        Err(error) => {
            let found = format!("{}: {error}", dir.display());
            CheckLine::fail(
                "store",
                found,
                "let the agent's user write there; check the disk",
            )
        }
    }
}

fn try_store(dir: &Path, world: &World) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
    // A name of its own: a running agent may be checked as well.
    let path = dir.join(format!("check-{}", RecordId::random(&*world.rng)));
    let mut bytes = [0; 64];
    world.rng.fill(&mut bytes);
    let outcome = (|| {
        let file = world.disk.open(&path, Open::CreateNew)?;
        file.write_all_at(&bytes, 0)?;
        file.sync()?;
        world.disk.sync_dir(dir)?;
        let mut read = [0; 64];
        let file = world.disk.open(&path, Open::Read)?;
        DiskFile::read_exact_at(&*file, &mut read, 0)?;
        match read == bytes {
            true => Ok(()),
            false => Err(io::Error::other("other bytes came back than were written")),
        }
    })();
    let removed = world.disk.remove_file(&path);
    outcome.and(removed)
}

fn certificate(config: &Config, world: &World) -> CheckLine {
    let check = CERTIFICATE;
    let (remedy, awaited) = match &config.identity.source {
        CertificatesFrom::Acme(_) => ("see what the ACME server says in the agent's log", true),
        CertificatesFrom::Spiffe(_) => (
            "see what the Workload API gives to the agent's user, in the agent's log",
            true,
        ),
        _ => ("issue one for this site: `sealift ca issue`", false),
    };
    if awaited && !config.identity.certificate.exists() {
        return CheckLine::skip(check, "there is none yet: it is got when the agent starts");
    }
    let credentials = match load_credentials(config, world) {
        Ok(credentials) => credentials,
        Err(error) => {
            if let Ok(last) = load_last_credentials(config, world) {
                return expired(config, world, last.leaf(), remedy);
            }
            let found = format!(
                "{}: {}",
                config.identity.certificate.display(),
                chain(&error)
            );
            let found = place(config, &config.identity.certificate_place, &found);
            return CheckLine::fail(check, found, remedy);
        }
    };
    let leaf = credentials.leaf();
    if leaf.identity.region() != &config.site.region {
        let found = format!("{} is not of region {}", leaf.identity, config.site.region);
        let found = place(config, &config.identity.certificate_place, &found);
        return CheckLine::fail(check, found, remedy);
    }
    let left = leaf.not_after.since(world.clock.now());
    let found = format!("{}, valid until {}", leaf.identity, leaf.not_after);
    match left < leaf.period() / LIFE_LEFT_WARNED {
        true => CheckLine::warn(check, found, "renew it: it ends soon"),
        false => CheckLine::pass(check, found),
    }
}

/// A certificate that is over, and how there comes to be another.
fn expired(config: &Config, world: &World, leaf: &Leaf, remedy: &str) -> CheckLine {
    let found = format!("{} ended at {}", leaf.identity, leaf.not_after);
    let found = place(config, &config.identity.certificate_place, &found);
    let is_renewable = is_renewable(config, leaf, world.clock.now());
    match (&config.identity.source, is_renewable) {
        (CertificatesFrom::Issuer(_), true) => {
            CheckLine::fail(CERTIFICATE, found, "start the agent: its issuer renews it")
        }
        (CertificatesFrom::Issuer(_), false) => {
            let found = format!(
                "{found}, and could be renewed until {}",
                leaf.renewable_until()
            );
            CheckLine::fail(CERTIFICATE, found, ENROL_AGAIN)
        }
        _ => CheckLine::fail(CERTIFICATE, found, remedy),
    }
}

/// Longer lives than 47 days are let pass where that is configured, and told each time.
fn long_lives(config: &Config) -> Option<CheckLine> {
    let is_long = |demands: &Demands| demands.life_max > limits::CERTIFICATE_LIFE_MAX;
    let peers = config.peers.iter().filter(|peer| is_long(&peer.demands));
    let mut whose: Vec<_> = peers.map(|peer| format!("peer {}", peer.name)).collect();
    if is_long(&config.identity.own.demands) {
        whose.insert(0, "this site".to_owned());
    }
    if whose.is_empty() {
        return None;
    }
    Some(CheckLine::warn(
        "lives of certificates",
        format!("more than 47 days are let pass for {}", whose.join(", ")),
        "have certificates issued for 47 days or less, then remove life_days_max",
    ))
}

/// What vouches for each peer, and what says which of its certificates are revoked.
fn peers(config: &Config, world: &World) -> Vec<CheckLine> {
    let check = "trust bundles";
    let own_path = &config.identity.trust_bundle;
    if is_workload_bundle(&config.site.data_dir, own_path) && !own_path.exists() {
        let found = "there are none yet: the Workload API gives them when the agent starts";
        return vec![CheckLine::skip(check, found)];
    }
    let loaded =
        load_peers(config, world).and_then(|peers| Ok((peers, own_bundle(config, world)?)));
    let (peers, own) = match loaded {
        Ok(loaded) => loaded,
        Err(error) => {
            let remedy = "copy the bundle of the authority that issues the peer's certificates";
            return vec![CheckLine::fail(check, chain(&error), remedy)];
        }
    };
    let count = counted(config.peers.len(), "peer", "peers");
    let found = format!("{count}; number {} vouches for this site", own.sequence());
    let mut lines = vec![CheckLine::pass(check, found)];
    for peer in &config.peers {
        if peers.find(&peer.identity).is_none() {
            lines.push(CheckLine::warn(
                format!("trust bundle of {}", peer.name),
                format!(
                    "the Workload API has none for {}: the peer is not let in",
                    peer.identity.domain()
                ),
                "federate with that trust domain, or name a file: trust_bundle",
            ));
        }
    }
    lines.extend(endings::check(config, &peers, &own, world));
    for peer in peers.iter() {
        lines.extend(peers.lists(&peer.identity).map(|lists| {
            let (check, now) = (
                format!("revocation list of {}", peer.name),
                world.clock.now(),
            );
            let until = lists.next_update();
            match until < now {
                // Nobody else is kept out by it.
                true => CheckLine::warn(
                    check,
                    format!("it ended at {until}: the peer is not let in"),
                    "copy a fresh one from the authority: crl/REGION.pem in its directory",
                ),
                false => CheckLine::pass(check, format!("good until {until}")),
            }
        }));
    }
    lines
}

/// A count with its noun.
pub(super) fn counted(count: usize, one: &str, many: &str) -> String {
    match count {
        1 => format!("1 {one}"),
        _ => format!("{count} {many}"),
    }
}

fn memory() -> CheckLine {
    match crate::swap_is_on() {
        true if may_lock_memory() => {
            let found = "swap is on; an agent with these limits keeps its memory out of it";
            CheckLine::pass("memory", found)
        }
        true => CheckLine::warn(
            "memory",
            "swap is on: plaintext in memory could be written to it",
            "turn it off with `swapoff -a`, encrypt it, or start the agent with LimitMEMLOCK=infinity",
        ),
        false => CheckLine::pass("memory", "no swap"),
    }
}

/// What was found, behind the line that it is about.
pub(crate) fn place(config: &Config, place: &Place, found: &str) -> String {
    match place {
        Place::Line(line) => format!("{}:{line}: {found}", config.path.display()),
        _ => found.to_owned(),
    }
}

/// An error with its causes, in one line. Some errors tell their cause themselves.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let told = cause.to_string();
        if !text.ends_with(&told) {
            text = format!("{text}: {told}");
        }
        next = cause.source();
    }
    text
}
