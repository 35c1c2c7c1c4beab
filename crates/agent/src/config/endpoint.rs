//! Raw structure → checked structure: the S3 endpoint and its access keys.

use std::net::SocketAddr;

use sealift_identity::{AccessRight, AccessRow, AccessRows};
use sealift_terms::{AccessKeyId, limits};
use toml::Spanned;

use super::{
    check::address,
    checked::{AccessKey, EndpointSettings},
    checker::Checker,
    declared::{Declared, Seen, declared_or_any},
    named::Wanted,
    raw::{self, Text},
};

pub(super) fn endpoint(
    c: &mut Checker<'_>,
    raw: Option<&Spanned<raw::Endpoint>>,
    declared: &Declared,
) -> Option<EndpointSettings> {
    let raw = raw?;
    let span = raw.span();
    let raw = raw.get_ref();
    let unsafe_listen = raw.unsafe_listen.unwrap_or_default();
    let listen = address(c, "endpoint.listen", &raw.listen)
        .and_then(|address| held_to_this_machine(c, address, &raw.listen, unsafe_listen));
    if raw.keys.is_empty() {
        let (found, allowed) = ("no access key", "at least one [[endpoint.key]]");
        let remedy = "make one with `sealift endpoint key`, or remove the section";
        c.refuse::<()>("endpoint", &span, found, allowed, remedy);
    }
    let mut ids = Seen::new("endpoint.key.id");
    let (mut keys, mut rows) = (Vec::new(), Vec::new());
    for entry in &raw.keys {
        let Some((key, row)) = key(c, entry, declared) else {
            continue;
        };
        ids.once(c, &key.id, entry.get_ref().id.span());
        keys.push(key);
        rows.push(row);
    }
    Some(EndpointSettings {
        listen: listen?,
        rows: bounded(c, rows, raw.keys.get(limits::ACCESS_KEYS_MAX))?,
        keys,
    })
}

/// Signatures say who asks, and nothing hides what is answered: it must not go over a network.
fn held_to_this_machine(
    c: &mut Checker<'_>,
    address: SocketAddr,
    text: &Text,
    unsafe_listen: bool,
) -> Option<SocketAddr> {
    if address.ip().is_loopback() || unsafe_listen {
        return Some(address);
    }
    c.refuse(
        "endpoint.listen",
        &text.span(),
        format!("{address}, where others could read along"),
        "an address of the loopback interface, such as 127.0.0.1:9000",
        "use one; if the network before it is protected, add unsafe_listen = true",
    )
}

fn key(
    c: &mut Checker<'_>,
    entry: &Spanned<raw::EndpointKey>,
    declared: &Declared,
) -> Option<(AccessKey, AccessRow)> {
    let line = c.place(&entry.span()).line();
    let raw = entry.get_ref();
    let id: Option<AccessKeyId> = c.name("endpoint.key.id", &raw.id);
    let remedy = "make it with `sealift endpoint key`";
    let setting = "endpoint.key.secret_file";
    let secret_file = c.named(setting, &raw.secret_file, Wanted::Secret, remedy);
    let rights = rights(c, &raw.rights);
    if raw.buckets.get_ref().is_empty() {
        let (found, allowed) = ("an empty list", "at least one bucket, or \"*\"");
        let remedy = "name the buckets, or remove the key";
        c.refuse::<()>(
            "endpoint.key.buckets",
            &raw.buckets.span(),
            found,
            allowed,
            remedy,
        );
    }
    let buckets = raw.buckets.get_ref().iter();
    let buckets = buckets
        .filter_map(|bucket| match declared.fronted.contains(bucket.get_ref()) {
            true => Some(bucket.get_ref().clone()),
            false => declared_or_any(c, "endpoint.key.buckets", bucket, declared),
        })
        .collect();
    let id = id?;
    let row = AccessRow {
        line,
        id: id.clone(),
        rights: rights?,
        buckets,
    };
    Some((AccessKey { id, secret_file }, row))
}

fn rights(c: &mut Checker<'_>, raw: &Spanned<Vec<Text>>) -> Option<Vec<AccessRight>> {
    let all = AccessRight::ALL.map(AccessRight::as_str).join(", ");
    let allowed = format!("at least one of {all}");
    let remedy = "name what the application may do";
    let setting = "endpoint.key.rights";
    if raw.get_ref().is_empty() {
        return c.refuse(setting, &raw.span(), "an empty list", allowed, remedy);
    }
    let mut rights = Vec::new();
    for text in raw.get_ref() {
        match text.get_ref().parse() {
            Ok(right) => rights.push(right),
            Err(()) => {
                let found = format!("{:?}", text.get_ref());
                return c.refuse(setting, &text.span(), found, allowed, remedy);
            }
        }
    }
    Some(rights)
}

fn bounded(
    c: &mut Checker<'_>,
    rows: Vec<AccessRow>,
    first_over: Option<&Spanned<raw::EndpointKey>>,
) -> Option<AccessRows> {
    match AccessRows::new(rows) {
        Ok(rows) => Some(rows),
        Err(error) => {
            let span = first_over.map_or(0..0, Spanned::span);
            let allowed = limits::ACCESS_KEYS_MAX.to_string();
            c.refuse(
                "endpoint.key",
                &span,
                error.to_string(),
                allowed,
                "remove some",
            )
        }
    }
}
