//! What sections say of each other: the names that they declare, once each, and that
//! others use.

use std::{collections::BTreeMap, fmt::Display, ops::Range, str::FromStr};

use sealift_terms::{BucketName, NameError};
use toml::Spanned;

use super::{
    checker::Checker,
    error::Place,
    raw::{self, Text},
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
