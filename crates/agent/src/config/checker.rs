//! The tools of the checks: each takes one raw value, gives back the checked one,
//! or notes a refusal and gives back nothing.

use std::{
    ops::{Range, RangeInclusive},
    path::PathBuf,
    str::FromStr,
};

use sealift_terms::NameError;

use super::{
    error::{Place, Refusal},
    named::{Named, Wanted},
    raw::{Number, Text},
    source::Source,
};

/// Collects refusals, and what is to be looked at later.
#[derive(Debug)]
pub(crate) struct Checker<'a> {
    pub(crate) source: &'a Source,
    pub(crate) refusals: Vec<Refusal>,
    /// The files and directories named so far.
    pub(crate) named: Vec<Named>,
}

impl Checker<'_> {
    /// Notes a refusal.
    pub(crate) fn refuse<T>(
        &mut self,
        setting: &str,
        span: &Range<usize>,
        found: impl Into<String>,
        allowed: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Option<T> {
        self.refusals.push(Refusal {
            place: self.source.place(span),
            setting: setting.to_owned(),
            found: found.into(),
            allowed: allowed.into(),
            remedy: remedy.into(),
        });
        None
    }

    /// Where a value stands.
    pub(crate) fn place(&self, span: &Range<usize>) -> Place {
        self.source.place(span)
    }

    /// A name of the vocabulary.
    pub(crate) fn name<T: FromStr<Err = NameError>>(
        &mut self,
        setting: &str,
        text: &Text,
    ) -> Option<T> {
        match text.get_ref().parse() {
            Ok(name) => Some(name),
            Err(NameError {
                what,
                found,
                allowed,
            }) => self.refuse(
                setting,
                &text.span(),
                format!("{found:?}"),
                allowed,
                format!("correct this {what}"),
            ),
        }
    }

    /// A number within `allowed`, or `default`.
    pub(crate) fn number(
        &mut self,
        setting: &str,
        number: Option<&Number>,
        allowed: RangeInclusive<u64>,
        default: u64,
    ) -> u64 {
        let Some(number) = number else {
            return default;
        };
        if allowed.contains(number.get_ref()) {
            return *number.get_ref();
        }
        let range = format!("{} to {}", allowed.start(), allowed.end());
        let remedy = format!("leave it out for the default, {default}");
        self.refuse::<()>(
            setting,
            &number.span(),
            number.get_ref().to_string(),
            range,
            remedy,
        );
        default
    }

    /// A file or directory that must be there, which is looked at later.
    pub(crate) fn named(
        &mut self,
        setting: &'static str,
        text: &Text,
        wanted: Wanted,
        remedy: &'static str,
    ) -> PathBuf {
        let path = self.source.resolve(text.get_ref());
        self.named.push(Named {
            setting,
            place: self.source.place(&text.span()),
            path: path.clone(),
            wanted,
            remedy,
        });
        path
    }
}
