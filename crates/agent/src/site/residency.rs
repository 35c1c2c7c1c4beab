//! Where a key may be: what the buckets that it seals are kept within.

use sealift_keys::{KeyLife, KeyName, ProviderKind};
use sealift_terms::Region;

use crate::config::{Bucket, Config};

/// Why a key must not be in `region`, in words: a bucket under it is kept within others.
pub(crate) fn crossing(config: &Config, key: &KeyLife, region: &Region) -> Option<String> {
    let mut sealed = sealed_under(config, key);
    sealed.find_map(|bucket| {
        let (line, within) = config.grants.kept_within(&bucket.name)?;
        let is_outside = !within.contains(region) && *region != config.site.region;
        is_outside.then(|| {
            format!(
                "line {line} keeps bucket {}, which is sealed under the key, out of region {region}",
                bucket.name
            )
        })
    })
}

/// The buckets of a configuration that name a key of the keystore, by its alias or its id.
pub(crate) fn sealed_under<'a>(
    config: &'a Config,
    key: &'a KeyLife,
) -> impl Iterator<Item = &'a Bucket> {
    let names = move |name: &str| {
        let name = KeyName::parse(name);
        let alias = key.alias.as_ref().map(|alias| alias.as_str());
        let is_it = name.key == key.id.as_str() || Some(name.key) == alias;
        name.provider == ProviderKind::Local && is_it
    };
    let buckets = config.buckets.iter();
    buckets.filter(move |bucket| bucket.keys().any(|(_, key)| names(&key.name)))
}
