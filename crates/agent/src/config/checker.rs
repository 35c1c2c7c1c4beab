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
        let remedy = format!("leave it out for the default, {default}");
        number.map_or(default, |number| {
            self.within(setting, number, &allowed, remedy)
                .unwrap_or(default)
        })
    }

    /// A number within `allowed` that holds for nothing where it is left out. One that is
    /// refused is told to be there all the same, so that nobody misses it besides.
    pub(crate) fn bound(
        &mut self,
        setting: &str,
        number: Option<&Number>,
        allowed: RangeInclusive<u64>,
    ) -> Option<u64> {
        let remedy = "leave it out to have none".to_owned();
        let within = self.within(setting, number?, &allowed, remedy);
        Some(within.unwrap_or(*allowed.end()))
    }

    fn within(
        &mut self,
        setting: &str,
        number: &Number,
        allowed: &RangeInclusive<u64>,
        remedy: String,
    ) -> Option<u64> {
        let found = *number.get_ref();
        if allowed.contains(&found) {
            return Some(found);
        }
        let range = format!("{} to {}", allowed.start(), allowed.end());
        self.refuse(setting, &number.span(), found.to_string(), range, remedy)
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
