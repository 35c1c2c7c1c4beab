//! The checks of keys: they seal and open here, and would outlive this disk.

use sealift_keys::{EncryptionContext, KeyError, KeyProvider, LocalKeystore};
use sealift_ledger::key_use_in;
use sealift_seal::RecordKey;
use sealift_terms::RecordId;

use super::{chain, counted, place};
use crate::{
    CheckLine, Error, World,
    config::{Bucket, Config},
    error::with_key,
    open_keystore,
    site::CATALOG_FILE,
};

/// The check that fails without keeping an agent from its work: the keys in memory
/// are as good as before, and a site that stands still is no better backed up.
pub(crate) const KEY_BACKUP: &str = "key backup";

pub(super) async fn check(config: &Config, world: &World, lines: &mut Vec<CheckLine>) {
    let keystore = match open_keystore(config, world) {
        Ok(keystore) => keystore,
        Err(error) => {
            let found = chain(&error);
            let remedy = Error::Keys(error).hint();
            lines.push(CheckLine::fail(
                "keystore",
                found,
                remedy.unwrap_or_default(),
            ));
            return;
        }
    };
    let found = counted(keystore.list().len(), "key", "keys");
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
        let are = counted(all, "key version is", "key versions are");
        let found = format!("{are} in a verified backup");
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
            let are = counted(missing.len(), "key version is", "key versions are");
            let found = format!("{are} in no backup");
            CheckLine::warn(KEY_BACKUP, found, remedy)
        }
        false => {
            let found = format!(
                "objects rest under what is in no backup: {}",
                in_use.join(", ")
            );
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
                with_key(error.reason().remedy(), &bucket.key),
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
        Err(error) => CheckLine::fail(
            check,
            chain(&error),
            with_key(error.reason().remedy(), &bucket.key),
        ),
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
