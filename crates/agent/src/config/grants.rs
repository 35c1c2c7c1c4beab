//! `[[grant]]`: what peers may do here.

use std::ops::Range;

use sealift_identity::{Action, GrantRow, Grants};
use sealift_terms::{Identity, KeyId, limits};
use toml::Spanned;

use super::{
    checker::Checker,
    declared::{Declared, declared_or_any, used},
    raw::{self, Text},
    residency,
};

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

fn grant(
    c: &mut Checker<'_>,
    entry: &Spanned<raw::Grant>,
    declared: &Declared,
) -> Option<GrantRow> {
    let (span, line) = (entry.span(), c.place(&entry.span()).line());
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
