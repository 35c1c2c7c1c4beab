//! The checks of keys: they seal and open here, and would outlive this disk.

use std::sync::Arc;

use sealift_keys::{
    EncryptionContext, KeyDescription, KeyError, KeyName, KeyProvider, LocalKeystore, ProviderKind,
    WrappedRoot,
};
use sealift_ledger::key_use_in;
use sealift_terms::{Reason, RecordId};

use super::{chain, counted, halves, place};
use crate::{
    CheckLine, Error, World,
    config::{Bucket, Config, NamedKey, RootKeySource},
    error::of_key,
    open_keystore,
    providers::{Services, open_services, with_keystore},
    site::{CATALOG_FILE, is_same_key, key_crosses, key_fits, may_pass},
    world::{open_keystore_under, root_secret_by},
};

/// The check that fails without keeping an agent from its work: the keys in memory
/// are as good as before, and a site that stands still is no better backed up.
pub(crate) const KEY_BACKUP: &str = "key backup";

/// The check that the keystore opens.
pub(crate) const KEYSTORE: &str = "keystore";

pub(super) async fn check(config: &Config, world: &World, lines: &mut Vec<CheckLine>) {
    let services = open_services(config, world);
    let opened = match &services {
        Ok(services) => keystore(config, world, services).await,
        Err(_) => open_keystore(config, world),
    };
    let keystore = match opened {
        Ok(keystore) => keystore,
        Err(error) => {
            let found = chain(&error);
            let remedy = Error::Keys(error).hint();
            lines.push(CheckLine::fail(KEYSTORE, found, remedy.unwrap_or_default()));
            return;
        }
    };
    let found = counted(keystore.list().len(), "key", "keys");
    let found = format!("{found}{}", under(config, world));
    lines.push(CheckLine::pass(KEYSTORE, found));
    lines.extend(backup(config, &keystore));
    lines.extend(regions(config, &keystore));
    let providers = match services {
        Ok(services) => with_keystore(Arc::new(keystore), services),
        Err(error) => {
            let remedy = error.hint().unwrap_or_default();
            lines.push(CheckLine::fail("key services", error.in_one_line(), remedy));
            return;
        }
    };
    for bucket in &config.buckets {
        for (which, named) in bucket.keys() {
            let check = format!("{which} of bucket {}", bucket.name);
            lines.push(key(config, world, &*providers, bucket, check, named).await);
        }
    }
}

async fn keystore(
    config: &Config,
    world: &World,
    services: &Services,
) -> Result<LocalKeystore, KeyError> {
    let secret = root_secret_by(config, world, services).await?;
    open_keystore_under(config, world, secret)
}

/// What wrapped the root key, where something did.
fn under(config: &Config, world: &World) -> String {
    let RootKeySource::WrappedFile(path) = &config.root_key else {
        return String::new();
    };
    let root = WrappedRoot::read(&*world.disk, path);
    root.map_or_else(
        |_| String::new(),
        |root| format!("; root key under {}", root.key_name()),
    )
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
        .filter(|used| used.objects > 0 && used.provider == ProviderKind::Local.as_str())
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

/// A key of several regions opens in each of them what it seals in one: also what a bucket
/// is kept within.
fn regions(config: &Config, keystore: &LocalKeystore) -> Vec<CheckLine> {
    let mut lines = Vec::new();
    for key in keystore.lives() {
        let Some(regions) = &key.regions else {
            continue;
        };
        let name = key
            .alias
            .as_ref()
            .map_or(key.id.as_str(), |alias| alias.as_str());
        let check = format!("regions of key {name}");
        let outside: Vec<_> = regions
            .members
            .iter()
            .filter_map(|region| key_crosses(config, &key, region))
            .collect();
        let members: Vec<_> = regions
            .members
            .iter()
            .map(|region| region.as_str())
            .collect();
        let line = match outside.is_empty() {
            true => CheckLine::pass(check, members.join(", ")),
            false => CheckLine::warn(
                check,
                outside.join("; "),
                "give the bucket a key of this region alone, or allow the region in its \
                 allowed_regions",
            ),
        };
        lines.push(line);
    }
    lines
}

/// The key is there, of this region, not the bucket's other key under another name, and
/// really wraps and unwraps, as whoever the agent is to its provider.
async fn key(
    config: &Config,
    world: &World,
    providers: &dyn KeyProvider,
    bucket: &Bucket,
    check: String,
    key: &NamedKey,
) -> CheckLine {
    match tried(config, world, providers, bucket, &key.name).await {
        Ok((described, _)) if is_first_again(providers, bucket, key, &described).await => {
            let found = format!("{} and {} are one key", bucket.key.name, key.name);
            let remedy = Reason::DstKmsKeysSame.remedy();
            CheckLine::fail(check, place(config, &key.place, &found), remedy)
        }
        Ok((described, Some(reached))) => CheckLine::pass(
            check,
            format!(
                "{} version {} of {} is {}, wraps and unwraps ({reached})",
                key.name, described.current, described.region, described.state
            ),
        ),
        Ok((described, None)) => CheckLine::pass(
            check,
            format!(
                "{} version {} wraps and unwraps",
                key.name, described.current
            ),
        ),
        Err(Tried::AnotherKey) => CheckLine::fail(
            check,
            "another key came back than was wrapped",
            "restore the keystore from its backup",
        ),
        Err(Tried::Failed(error)) => {
            let found = place(config, &key.place, &chain(&error));
            let remedy = match &error {
                KeyError::AccessDenied { told, .. } if is_of_aws(&key.name) => {
                    halves::remedy("kms:Encrypt and kms:Decrypt", told)
                }
                error => of_key(error),
            };
            match may_pass(&key.name, &error) {
                // Objects wait for it, and the agent need not.
                true => CheckLine::warn(check, found, remedy),
                false => CheckLine::fail(check, found, remedy),
            }
        }
    }
}

/// Whether a key is one of AWS KMS, where two owners may have to allow its use.
fn is_of_aws(name: &str) -> bool {
    KeyName::parse(name).provider == ProviderKind::AwsKms
}

/// Whether a key is the bucket's first one under another name.
async fn is_first_again(
    providers: &dyn KeyProvider,
    bucket: &Bucket,
    key: &NamedKey,
    described: &KeyDescription,
) -> bool {
    let first = &bucket.key.name;
    *first != key.name
        && providers
            .describe(first)
            .await
            .is_ok_and(|first| is_same_key(&first, described))
}

/// Why a key was not found good.
enum Tried {
    Failed(KeyError),
    AnotherKey,
}

impl From<KeyError> for Tried {
    fn from(error: KeyError) -> Self {
        Self::Failed(error)
    }
}

async fn tried(
    config: &Config,
    world: &World,
    providers: &dyn KeyProvider,
    bucket: &Bucket,
    cmk: &str,
) -> Result<(KeyDescription, Option<String>), Tried> {
    let region = &config.site.region;
    let described = providers.describe(cmk).await?;
    let described = key_fits(cmk, region, described)?;
    let record = RecordId::random(&*world.rng);
    let context = EncryptionContext::bucket(&bucket.name, region, record);
    let (key, wrapped) = providers.generate(cmk, &context, &*world.rng).await?;
    let unwrapped = providers.unwrap(&wrapped, &context).await?;
    match unwrapped == key {
        true => Ok((described, providers.reached(cmk).await?)),
        false => Err(Tried::AnotherKey),
    }
}
