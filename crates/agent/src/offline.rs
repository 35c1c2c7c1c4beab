//! The checks that need no peer: files, keys, certificates, disk. `up` refuses to
//! start when one of them fails, but for the backup of keys.

use std::{
    fs::{self, DirBuilder},
    io,
    os::unix::fs::{DirBuilderExt, MetadataExt},
    path::Path,
};

use sealift_keys::{EncryptionContext, KeyError, KeyProvider, LocalKeystore};
use sealift_ledger::key_use_in;
use sealift_seal::RecordKey;
use sealift_terms::{DiskFile, RecordId, limits, world::Open};

use crate::{
    CheckLine, World,
    config::{Bucket, Config, Place, SourceDirectory},
    load_credentials, load_peers, open_keystore,
    site::CATALOG_FILE,
};

/// The check that fails without keeping an agent from its work: the keys in memory
/// are as good as before, and a site that stands still is no better backed up.
pub(crate) const KEY_BACKUP: &str = "key backup";

/// A certificate with less than this part of its life left is warned of.
const LIFE_LEFT_WARNED: u32 = 5;

/// Looks at everything that a configuration needs on this machine. The
/// configuration itself was found good already.
pub async fn check_offline(config: &Config, world: &World) -> Vec<CheckLine> {
    let mut lines = vec![
        CheckLine::pass("configuration", config.path.display().to_string()),
        data_dir(config),
        room(config, world),
        store(config, world),
        certificate(config, world),
        peers(config),
    ];
    keys(config, world, &mut lines).await;
    lines.extend(config.sources.iter().map(source));
    lines.push(memory());
    lines
}

fn data_dir(config: &Config) -> CheckLine {
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
    let check = "certificate";
    let remedy = "issue one for this site: `sealift ca issue`";
    let credentials = match load_credentials(config, world) {
        Ok(credentials) => credentials,
        Err(error) => {
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

fn peers(config: &Config) -> CheckLine {
    match load_peers(config) {
        Ok(_) => CheckLine::pass("trust bundles", format!("{} peers", config.peers.len())),
        Err(error) => CheckLine::fail(
            "trust bundles",
            chain(&error),
            "copy the bundle of the authority that issues the peer's certificates",
        ),
    }
}

async fn keys(config: &Config, world: &World, lines: &mut Vec<CheckLine>) {
    let keystore = match open_keystore(config, world) {
        Ok(keystore) => keystore,
        Err(error) => {
            let remedy = "give the root key this keystore was made with, or run `sealift init`";
            lines.push(CheckLine::fail("keystore", chain(&error), remedy));
            return;
        }
    };
    let found = format!("{} keys", keystore.list().len());
    lines.push(CheckLine::pass("keystore", found));
    for bucket in &config.buckets {
        lines.push(key(config, world, &keystore, bucket).await);
    }
    lines.extend(backup(config, &keystore));
}

/// A key version that something rests under, and that only this disk holds, is one
/// broken disk away from the loss of it.
fn backup(config: &Config, keystore: &LocalKeystore) -> Option<CheckLine> {
    let all: usize = keystore.list().iter().map(|key| key.versions.len()).sum();
    let missing = keystore.without_backup();
    if all == 0 {
        return None;
    }
    if missing.is_empty() {
        let found = format!("{all} key versions are in a verified backup");
        return Some(CheckLine::pass(KEY_BACKUP, found));
    }
    let remedy = "run `sealift keys backup FILE`, and keep the file and its passphrase elsewhere";
    let used = match key_use_in(&config.site.data_dir.join(CATALOG_FILE)) {
        Ok(used) => used,
        Err(error) => return Some(CheckLine::fail(KEY_BACKUP, chain(&error), remedy)),
    };
    let in_use: Vec<_> = used
        .iter()
        .filter(|used| used.objects > 0)
        .map(|used| (used.cmk.clone(), used.cmk_version.clone()))
        .filter(|version| missing.contains(version))
        .map(|(key, version)| format!("{key} version {version}"))
        .collect();
    Some(match in_use.is_empty() {
        true => {
            let found = format!("{} key versions are in no backup", missing.len());
            CheckLine::warn(KEY_BACKUP, found, remedy)
        }
        false => {
            let found = format!("objects rest under what is in no backup: {}", in_use.join(", "));
            CheckLine::fail(KEY_BACKUP, found, remedy)
        }
    })
}

/// The key is there, of this region, and really wraps and unwraps.
async fn key(
    config: &Config,
    world: &World,
    keystore: &LocalKeystore,
    bucket: &Bucket,
) -> CheckLine {
    let check = format!("key of bucket {}", bucket.name);
    let described = match keystore.describe(&bucket.key).await {
        Ok(described) => described,
        Err(error) => {
            return CheckLine::fail(
                check,
                place(config, &bucket.key_place, &chain(&error)),
                error.reason().remedy(),
            );
        }
    };
    if described.region != config.site.region {
        let found = format!("{} is a key of {}", bucket.key, described.region);
        let remedy = sealift_terms::Reason::DstKmsKeyWrongRegion.remedy();
        return CheckLine::fail(check, place(config, &bucket.key_place, &found), remedy);
    }
    match wraps(config, world, keystore, bucket).await {
        Ok(true) => CheckLine::pass(
            check,
            format!(
                "{} version {} wraps and unwraps",
                bucket.key, described.current
            ),
        ),
        Ok(false) => CheckLine::fail(
            check,
            "another key came back than was wrapped",
            "restore the keystore from its backup",
        ),
        Err(error) => CheckLine::fail(check, chain(&error), error.reason().remedy()),
    }
}

fn place(config: &Config, place: &Place, found: &str) -> String {
    match place {
        Place::Line(line) => format!("{}:{line}: {found}", config.path.display()),
        _ => found.to_owned(),
    }
}

async fn wraps(
    config: &Config,
    world: &World,
    keystore: &LocalKeystore,
    bucket: &Bucket,
) -> Result<bool, KeyError> {
    let record = RecordId::random(&*world.rng);
    let context = EncryptionContext::bucket(&bucket.name, &config.site.region, record);
    let key = RecordKey::random(&*world.rng);
    let wrapped = keystore.wrap(&bucket.key, &key, &context).await?;
    let unwrapped = keystore.unwrap(&wrapped, &context).await?;
    Ok(unwrapped == key)
}

fn source(source: &SourceDirectory) -> CheckLine {
    let check = format!("source of bucket {}", source.bucket);
    let path = source.directory.display();
    match fs::read_dir(&source.directory).and_then(|mut entries| entries.next().transpose()) {
        Ok(_) => CheckLine::pass(check, format!("{path} can be read")),
        Err(error) => CheckLine::fail(
            check,
            format!("{path}: {error}"),
            sealift_terms::Reason::SrcUnavailable.remedy(),
        ),
    }
}

fn memory() -> CheckLine {
    match crate::swap_is_on() {
        true => CheckLine::warn(
            "memory",
            "swap is on: plaintext in memory could be written to it",
            "turn it off with `swapoff -a`, or encrypt it",
        ),
        false => CheckLine::pass("memory", "no swap"),
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
