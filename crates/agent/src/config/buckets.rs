//! `[[bucket]]`: the sealed buckets, with their keys, quotas and retention.

use std::time::Duration;

use sealift_keys::{KeyName, ProviderKind};
use sealift_terms::{BucketName, KeyAlias, Quota, Retention, limits};
use toml::Spanned;

use super::{
    checked::{Bucket, KeyServices, NamedKey},
    checker::Checker,
    declared::Seen,
    raw::{self, Text},
};

pub(super) fn buckets(
    c: &mut Checker<'_>,
    raw: &[Spanned<raw::Bucket>],
    services: &KeyServices,
) -> Vec<Bucket> {
    let mut seen = Seen::new("bucket.name");
    let mut buckets = Vec::new();
    for entry in raw.iter().map(Spanned::get_ref) {
        let name: Option<BucketName> = c.name("bucket.name", &entry.name);
        let key: Option<KeyAlias> = c.name("bucket.key", &entry.key);
        let second_key = entry.second_key.as_ref();
        let second_key = second_key.and_then(|second| second_key_of(c, second, key.as_ref()));
        let (Some(name), Some(key)) = (name, key) else {
            continue;
        };
        seen.once(c, &name, entry.name.span());
        hold_served(c, services, "bucket.key", &entry.key);
        if let Some(second) = &entry.second_key {
            hold_served(c, services, "bucket.second_key", second);
        }
        buckets.push(Bucket {
            name,
            key: NamedKey {
                name: key.to_string(),
                place: c.place(&entry.key.span()),
            },
            second_key,
            bucket_keys: entry.bucket_keys.unwrap_or(true),
            quota: quota(c, entry),
            retention: retention(c, entry),
        });
    }
    buckets
}

impl Bucket {
    /// Its keys, each in words.
    pub(crate) fn keys(&self) -> impl Iterator<Item = (&'static str, &NamedKey)> {
        let second = self.second_key.iter().map(|key| ("second key", key));
        [("key", &self.key)].into_iter().chain(second)
    }
}

/// How much a bucket may hold.
fn quota(c: &mut Checker<'_>, entry: &raw::Bucket) -> Quota {
    let mut of = |setting, number: Option<&raw::Number>| {
        let most = i64::MAX.unsigned_abs();
        c.bound(setting, number, 1..=most)
    };
    Quota {
        bytes: of("bucket.quota_bytes", entry.quota_bytes.as_ref()),
        objects: of("bucket.quota_objects", entry.quota_objects.as_ref()),
    }
}

/// How long a bucket keeps versions.
fn retention(c: &mut Checker<'_>, entry: &raw::Bucket) -> Retention {
    let mut days = |setting, number: Option<&raw::Number>| {
        let most = limits::RETENTION_DAYS_MAX;
        let days = c.bound(setting, number, 1..=most);
        days.map(|days| Duration::from_secs(days * 86_400))
    };
    Retention {
        min: days(
            "bucket.min_retention_days",
            entry.min_retention_days.as_ref(),
        ),
        expire_noncurrent: days(
            "bucket.expire_noncurrent_days",
            entry.expire_noncurrent_days.as_ref(),
        ),
    }
}

/// Whether a key of AWS is one that AWS makes for a service and manages: `alias/aws/s3`. It
/// serves that service alone, and nobody of another account.
pub(super) fn is_managed_by_aws(key: &str) -> bool {
    let name = key.rsplit(':').next().unwrap_or(key);
    name.starts_with("alias/aws/")
}

/// Refuses a key of a provider that this file does not have, and one that its provider keeps for
/// itself.
fn hold_served(c: &mut Checker<'_>, services: &KeyServices, setting: &str, key: &Text) {
    let name = KeyName::parse(key.get_ref());
    if name.provider == ProviderKind::AwsKms && is_managed_by_aws(name.key) {
        c.refuse::<()>(
            setting,
            &key.span(),
            format!("{:?}", key.get_ref()),
            "a key of your own: those that AWS manages (alias/aws/…) serve its own services alone",
            "make a customer managed key, and name it by its ARN or alias",
        );
    }
    if let (section, false) = services.section(name.provider) {
        c.refuse::<()>(
            setting,
            &key.span(),
            format!("{:?}", key.get_ref()),
            format!("a key of a provider that this file has: {section} is not in it"),
            "add that section, or name a key of the embedded keystore, as in alias/photos",
        );
    }
}

/// Two layers under one key would be one. Two names of one key are found out where keys
/// are asked.
fn second_key_of(c: &mut Checker<'_>, text: &Text, first: Option<&KeyAlias>) -> Option<NamedKey> {
    let second: KeyAlias = c.name("bucket.second_key", text)?;
    if first == Some(&second) {
        return c.refuse(
            "bucket.second_key",
            &text.span(),
            format!("\"{second}\", which is the bucket's key as well"),
            "another key than the bucket's key",
            "make one with `sealift keys create`, or leave second_key out to seal in one layer",
        );
    }
    Some(NamedKey {
        name: second.to_string(),
        place: c.place(&text.span()),
    })
}
