//! Raw structure → checked structure: the sections that may stand many times,
//! and what they say of each other.

use std::{collections::BTreeMap, fmt::Display, ops::Range, str::FromStr, time::Duration};

use sealift_identity::{Action, GrantRow, Grants};
use sealift_keys::KeyName;
use sealift_terms::{BucketName, Identity, KeyAlias, KeyId, NameError, PeerName, limits};
use toml::Spanned;

use super::{
    checked::{Bucket, DialFor, KeyServices, NamedKey, Peer, Rule, SourceDirectory},
    checker::Checker,
    error::Place,
    identity::peer_demands,
    limit::limit,
    named::Wanted,
    raw::{self, Text},
    residency,
};

/// The names that sections declare, checked or not: a name that was refused where
/// it is declared is not refused again where it is used.
pub(super) struct Declared {
    pub(super) peers: Vec<String>,
    pub(super) identities: Vec<String>,
    buckets: Vec<String>,
    sources: Vec<String>,
}

impl Declared {
    pub(super) fn new(raw: &raw::Raw) -> Self {
        let peers = raw.peers.iter().map(Spanned::get_ref);
        let buckets = raw.buckets.iter().map(Spanned::get_ref);
        let sources = raw.sources.iter().map(Spanned::get_ref);
        let text = |text: &Text| text.get_ref().clone();
        Self {
            peers: peers.clone().map(|peer| text(&peer.name)).collect(),
            identities: peers.map(|peer| text(&peer.identity)).collect(),
            buckets: buckets.map(|bucket| text(&bucket.name)).collect(),
            sources: sources.map(|source| text(&source.bucket)).collect(),
        }
    }
}

pub(super) fn peers(c: &mut Checker<'_>, raw: &[Spanned<raw::Peer>], listens: bool) -> Vec<Peer> {
    let mut names = Seen::new("peer.name");
    let mut identities = Seen::new("peer.identity");
    if let Some(first_over) = raw.get(limits::PEERS_MAX) {
        let (found, allowed) = (raw.len().to_string(), format!("{}", limits::PEERS_MAX));
        c.refuse::<()>("peer", &first_over.span(), found, allowed, "remove peers");
    }
    let mut peers = Vec::new();
    for entry in raw {
        let span = entry.span();
        let Some(peer) = peer(c, entry.get_ref(), &span, listens) else {
            continue;
        };
        names.once(c, &peer.name, entry.get_ref().name.span());
        identities.once(c, &peer.identity, entry.get_ref().identity.span());
        peers.push(peer);
    }
    peers
}

fn peer(c: &mut Checker<'_>, raw: &raw::Peer, span: &Range<usize>, listens: bool) -> Option<Peer> {
    let name = c.name("peer.name", &raw.name);
    let identity = c.name("peer.identity", &raw.identity);
    let remedy = "copy it from the other side: `sealift ca init` writes one for each authority";
    let trust_bundle = c.named("peer.trust_bundle", &raw.trust_bundle, Wanted::File, remedy);
    let remedy = "copy it from the authority, and keep it fresh: crl/REGION.pem in its directory";
    let crl = raw.crl.as_ref();
    let crl = crl.map(|crl| c.named("peer.crl", crl, Wanted::File, remedy));
    let address = match &raw.address {
        Some(text) => Some(host_and_port(c, "peer.address", text)?),
        None if listens => None,
        None => c.refuse(
            "peer.address",
            span,
            "no address, and no [listen] either",
            "an address to dial, or a [listen] section to be dialled at",
            "add one of the two",
        )?,
    };
    let limit = limit(c, raw.limit.as_ref());
    let (demands, dns) = peer_demands(c, raw, identity.as_ref());
    let dial_for = dial_for(c, raw.dial_for.as_ref(), address.is_some())?;
    Some(Peer {
        name: name?,
        identity: identity?,
        address,
        trust_bundle,
        crl,
        demands,
        dns,
        dial_for,
        limit: limit?,
    })
}

pub(super) fn host_and_port(c: &mut Checker<'_>, setting: &str, text: &Text) -> Option<String> {
    let well_formed = text.get_ref().rsplit_once(':').is_some_and(|(host, port)| {
        !host.is_empty() && port.parse::<u16>().is_ok_and(|port| port > 0)
    });
    if well_formed {
        return Some(text.get_ref().clone());
    }
    c.refuse(
        setting,
        &text.span(),
        format!("{:?}", text.get_ref()),
        "HOST:PORT, as in receiver.example.org:7443",
        "write host and port",
    )
}

fn dial_for(
    c: &mut Checker<'_>,
    raw: Option<&Spanned<Vec<Text>>>,
    can_dial: bool,
) -> Option<DialFor> {
    let mut dial = DialFor {
        send: false,
        receive: false,
        forward_target: false,
    };
    let Some(raw) = raw else {
        dial.send = can_dial;
        return Some(dial);
    };
    if !can_dial && !raw.get_ref().is_empty() {
        let (found, allowed) = ("dial_for without an address", "an address beside it");
        return c.refuse(
            "peer.dial_for",
            &raw.span(),
            found,
            allowed,
            "add the address",
        );
    }
    for word in raw.get_ref() {
        match word.get_ref().as_str() {
            "send" => dial.send = true,
            "receive" => dial.receive = true,
            "forward_target" => dial.forward_target = true,
            other => {
                let (found, allowed) = (
                    format!("{other:?}"),
                    "\"send\", \"receive\" and \"forward_target\"",
                );
                let remedy = "write what this agent does on connections it makes";
                return c.refuse("peer.dial_for", &word.span(), found, allowed, remedy);
            }
        }
    }
    Some(dial)
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
        });
    }
    buckets
}

/// Refuses a key of a provider that this file does not have.
fn hold_served(c: &mut Checker<'_>, services: &KeyServices, setting: &str, key: &Text) {
    if let (section, false) = services.section(KeyName::parse(key.get_ref()).provider) {
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

pub(super) fn sources(
    c: &mut Checker<'_>,
    raw: &[Spanned<raw::SourceEntry>],
    data_dir: &std::path::Path,
) -> Vec<SourceDirectory> {
    let mut seen = Seen::new("source.bucket");
    let mut sources = Vec::new();
    for entry in raw.iter().map(Spanned::get_ref) {
        let bucket: Option<BucketName> = c.name("source.bucket", &entry.bucket);
        let directory = c.source.resolve(entry.directory.get_ref());
        if directory.starts_with(data_dir) || data_dir.starts_with(&directory) {
            c.refuse::<()>(
                "source.directory",
                &entry.directory.span(),
                format!("{}, which overlaps site.data_dir", directory.display()),
                "a directory apart from the agent's own data",
                "move one of the two",
            );
        }
        let scan_secs = c.number(
            "source.scan_interval_secs",
            entry.scan_interval_secs.as_ref(),
            1..=86_400,
            limits::SCAN_INTERVAL_DEFAULT.as_secs(),
        );
        let Some(bucket) = bucket else {
            continue;
        };
        seen.once(c, &bucket, entry.bucket.span());
        sources.push(SourceDirectory {
            bucket,
            directory,
            place: c.place(&entry.directory.span()),
            scan_interval: Duration::from_secs(scan_secs),
        });
    }
    sources
}

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
        let prefix = rule_prefix(c, entry.prefix.as_ref());
        let (Some(name), Some(bucket), Some(prefix)) = (name, bucket, prefix) else {
            continue;
        };
        seen.once(c, &name, entry.name.span());
        rules.push(Rule {
            name,
            bucket,
            prefix,
            peers,
        });
    }
    rules
}

fn rule_prefix(c: &mut Checker<'_>, raw: Option<&Text>) -> Option<String> {
    let Some(text) = raw else {
        return Some(String::new());
    };
    let prefix = text.get_ref();
    if prefix.len() <= limits::OBJECT_KEY_BYTES_MAX && !prefix.contains('\0') {
        return Some(prefix.clone());
    }
    c.refuse(
        "rule.prefix",
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
