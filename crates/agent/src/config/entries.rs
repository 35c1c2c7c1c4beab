//! Raw structure → checked structure: the sections that may stand many times,
//! and what they say of each other.

use std::{collections::BTreeMap, fmt::Display, ops::Range, str::FromStr, time::Duration};

use sealift_identity::{Action, GrantRow, Grants};
use sealift_keys::{KeyName, ProviderKind};
use sealift_terms::{BucketName, Identity, KeyAlias, KeyId, NameError, Quota, Retention, limits};
use toml::Spanned;

use super::{
    checked::{Bucket, KeyServices, NamedKey},
    checker::Checker,
    error::Place,
    raw::{self, Text},
    residency,
};

/// The names that sections declare, checked or not: a name that was refused where
/// it is declared is not refused again where it is used.
pub(super) struct Declared {
    pub(super) peers: Vec<String>,
    pub(super) identities: Vec<String>,
    pub(super) buckets: Vec<String>,
    pub(super) sources: Vec<String>,
    /// Those of them that have no tags, and what they are.
    pub(super) untagged: BTreeMap<String, &'static str>,
    pub(super) has_endpoint: bool,
    /// The sources that the endpoint stands in front of.
    pub(super) fronted: Vec<String>,
    /// Of these, what tells of versions that are gone for good: buckets of S3, and archives.
    pub(super) tell_of_purges: Vec<String>,
}

impl Declared {
    pub(super) fn new(raw: &raw::Raw) -> Self {
        let peers = raw.peers.iter().map(Spanned::get_ref);
        let buckets = raw.buckets.iter().map(Spanned::get_ref);
        let sources = raw.sources.iter().map(Spanned::get_ref);
        let text = |text: &Text| text.get_ref().clone();
        let is_fronted = |source: &&raw::SourceEntry| {
            let told = source.fronted.as_ref();
            told.is_some_and(|told| *told.get_ref())
        };
        let is_archive = |source: &raw::SourceEntry| {
            let told = source.archive.as_ref();
            told.is_some_and(|told| *told.get_ref())
        };
        let fronted = sources.clone().filter(is_fronted);
        Self {
            fronted: fronted.map(|source| text(&source.bucket)).collect(),
            peers: peers.clone().map(|peer| text(&peer.name)).collect(),
            identities: peers.map(|peer| text(&peer.identity)).collect(),
            buckets: buckets.map(|bucket| text(&bucket.name)).collect(),
            sources: sources.clone().map(|source| text(&source.bucket)).collect(),
            untagged: sources
                .clone()
                .filter_map(|source| Some((text(&source.bucket), source.untagged()?)))
                .collect(),
            tell_of_purges: sources
                .filter(|source| source.s3.is_some() || is_archive(source))
                .map(|source| text(&source.bucket))
                .collect(),
            has_endpoint: raw.endpoint.is_some(),
        }
    }
}

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
        number.map(|number| c.number(setting, Some(number), 1..=most, most))
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
        let days = number.map(|number| c.number(setting, Some(number), 1..=most, most));
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

pub(super) fn grants(
    c: &mut Checker<'_>,
    raw: &[Spanned<raw::Grant>],
    buckets: &[Spanned<raw::Bucket>],
    declared: &Declared,
) -> Grants {
    let rows: Vec<_> = raw
        .iter()
        .filter_map(|entry| grant(c, entry, declared))
        .collect();
    match Grants::new(&rows) {
        Ok(mut grants) => {
            for (bucket, line, regions) in residency::of_buckets(c, buckets) {
                grants.keep_within(bucket, line, regions);
            }
            grants
        }
        Err(error) => {
            // Only their number is left to be refused.
            let span = raw.last().map_or(0..0, Spanned::span);
            let allowed = limits::GRANTS_MAX.to_string();
            let remedy = "use \"*\" for every bucket";
            c.refuse::<()>("grant", &span, error.to_string(), allowed, remedy);
            Grants::default()
        }
    }
}

pub(super) fn line_of(place: &Place) -> u32 {
    match place {
        Place::Line(line) => u32::try_from(*line).unwrap_or(u32::MAX),
        _ => 0,
    }
}

fn grant(
    c: &mut Checker<'_>,
    entry: &Spanned<raw::Grant>,
    declared: &Declared,
) -> Option<GrantRow> {
    let (span, line) = (entry.span(), line_of(&c.place(&entry.span())));
    let entry = entry.get_ref();
    let identity: Option<Identity> = used(
        c,
        "grant.identity",
        &entry.identity,
        &declared.identities,
        "[[peer]]",
    );
    let actions = grant_actions(c, &entry.actions);
    let is_of_keys = |word: &&String| word.as_str() == Action::ReplicateKeys.as_str();
    let of_keys = actions.iter().filter(is_of_keys).count();
    let buckets: Option<Vec<String>> = match &entry.bucket {
        Some(bucket) => declared_or_any(c, "grant.bucket", bucket, declared).map(|name| vec![name]),
        None if of_keys == actions.len() => Some(Vec::new()),
        None => c.refuse(
            "grant.bucket",
            &span,
            "no bucket",
            "the name of a [[bucket]], or \"*\"",
            "name the bucket that the actions are for",
        ),
    };
    let keys = granted_keys(c, entry, of_keys > 0, &span);
    Some(GrantRow {
        line,
        identity: identity?.to_string(),
        actions,
        buckets: buckets?,
        keys: keys?,
    })
}

/// The keys, by id, that a grant is for: said where it is one to replicate keys, and only
/// there.
fn granted_keys(
    c: &mut Checker<'_>,
    entry: &raw::Grant,
    is_of_keys: bool,
    span: &Range<usize>,
) -> Option<Vec<String>> {
    let allowed = "the ids of keys, or \"*\", with the action replicate-keys";
    let remedy = "`sealift keys list` at the key's primary shows its id";
    let Some(listed) = &entry.keys else {
        return match is_of_keys {
            false => Some(Vec::new()),
            true => c.refuse("grant.keys", span, "none", allowed, remedy),
        };
    };
    if !is_of_keys || listed.get_ref().is_empty() {
        let found = match is_of_keys {
            true => "an empty list",
            false => "keys without the action replicate-keys",
        };
        return c.refuse("grant.keys", &listed.span(), found, allowed, remedy);
    }
    let key = |c: &mut Checker<'_>, text: &Text| match text.get_ref().as_str() {
        "*" => Some("*".to_owned()),
        _ => c
            .name::<KeyId>("grant.keys", text)
            .map(|key| key.to_string()),
    };
    let names = listed.get_ref().iter();
    names.map(|text| key(c, text)).collect()
}

/// A bucket of this file, or `*` for every one.
pub(super) fn declared_or_any(
    c: &mut Checker<'_>,
    setting: &str,
    text: &Text,
    declared: &Declared,
) -> Option<String> {
    if text.get_ref() == "*" {
        return Some("*".to_owned());
    }
    used::<BucketName>(c, setting, text, &declared.buckets, "[[bucket]]")
        .map(|bucket| bucket.to_string())
}

fn grant_actions(c: &mut Checker<'_>, raw: &Spanned<Vec<Text>>) -> Vec<String> {
    let allowed = Action::ALL.map(Action::as_str).join(", ");
    let allowed = format!("at least one of {allowed}");
    let remedy = "name what the peer may do";
    if raw.get_ref().is_empty() {
        let found = "an empty list";
        c.refuse::<()>("grant.actions", &raw.span(), found, allowed.clone(), remedy);
    }
    let mut actions = Vec::new();
    for text in raw.get_ref() {
        let word = text.get_ref();
        if word.parse::<Action>().is_ok() {
            actions.push(word.clone());
        } else {
            let found = format!("{word:?}");
            c.refuse::<()>(
                "grant.actions",
                &text.span(),
                found,
                allowed.clone(),
                remedy,
            );
        }
    }
    actions
}

/// A name that another section must declare.
pub(super) fn used<T: FromStr<Err = NameError>>(
    c: &mut Checker<'_>,
    setting: &str,
    text: &Text,
    known: &[String],
    section: &str,
) -> Option<T> {
    if known.contains(text.get_ref()) {
        // Refused where it is declared, if at all.
        return text.get_ref().parse().ok();
    }
    let allowed = match known.is_empty() {
        true => format!("the name of a {section} of this file, which has none"),
        false => known.join(", "),
    };
    let found = format!("{:?}, which no {section} declares", text.get_ref());
    let remedy = format!("correct it, or add the {section}");
    c.refuse(setting, &text.span(), found, allowed, remedy)
}

/// Names that may stand only once.
pub(super) struct Seen {
    setting: &'static str,
    names: BTreeMap<String, Place>,
}

impl Seen {
    pub(super) fn new(setting: &'static str) -> Self {
        Self {
            setting,
            names: BTreeMap::new(),
        }
    }

    pub(super) fn once(&mut self, c: &mut Checker<'_>, name: &impl Display, span: Range<usize>) {
        let place = c.place(&span);
        let Some(first) = self.names.insert(name.to_string(), place) else {
            return;
        };
        let where_first = match first {
            Place::Line(line) => format!("line {line}"),
            _ => "another place".to_owned(),
        };
        let found = format!("\"{name}\" again, after {where_first}");
        c.refuse::<()>(
            self.setting,
            &span,
            found,
            "every name once",
            "rename or remove one",
        );
    }
}
