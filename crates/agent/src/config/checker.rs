//! The tools of the checks: each takes one raw value, gives back the checked one,
//! or notes a refusal and gives back nothing.

use std::{
    fs::{self, Metadata},
    ops::{Range, RangeInclusive},
    os::unix::fs::PermissionsExt,
    path::PathBuf,
    str::FromStr,
};

use sealift_terms::NameError;

use super::{
    error::{Place, Refusal},
    raw::{Number, Text},
    source::Source,
};

/// Collects refusals.
#[derive(Debug)]
pub(crate) struct Checker<'a> {
    pub(crate) source: &'a Source,
    /// Whether files and directories are looked at, too.
    pub(crate) on_disk: bool,
    pub(crate) refusals: Vec<Refusal>,
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

    /// A file that must be there.
    pub(crate) fn file(&mut self, setting: &str, text: &Text, remedy: &str) -> PathBuf {
        let path = self.source.resolve(text.get_ref());
        if self.on_disk {
            self.look(setting, text, &path, remedy, Metadata::is_file, "a file");
        }
        path
    }

    /// A directory that must be there.
    pub(crate) fn directory(&mut self, setting: &str, text: &Text, remedy: &str) -> PathBuf {
        let path = self.source.resolve(text.get_ref());
        if self.on_disk {
            let is_dir = Metadata::is_dir;
            self.look(setting, text, &path, remedy, is_dir, "a directory");
        }
        path
    }

    /// A file with a secret: it must be there and only its owner may read it.
    pub(crate) fn secret_file(&mut self, setting: &str, text: &Text, remedy: &str) -> PathBuf {
        let path = self.source.resolve(text.get_ref());
        if !self.on_disk {
            return path;
        }
        let is_file = Metadata::is_file;
        let Some(metadata) = self.look(setting, text, &path, remedy, is_file, "a file") else {
            return path;
        };
        let mode = metadata.permissions().mode() & 0o7777;
        if mode & 0o077 != 0 {
            self.refuse::<()>(
                setting,
                &text.span(),
                format!(
                    "mode {mode:04o} of {}, which others can read",
                    path.display()
                ),
                "a secret file that only its owner can read",
                format!("run `chmod 600 {}`", path.display()),
            );
        }
        path
    }

    fn look(
        &mut self,
        setting: &str,
        text: &Text,
        path: &PathBuf,
        remedy: &str,
        wanted: fn(&Metadata) -> bool,
        what: &str,
    ) -> Option<Metadata> {
        match fs::metadata(path) {
            Ok(metadata) if wanted(&metadata) => Some(metadata),
            Ok(_) => self.refuse(
                setting,
                &text.span(),
                format!("{}, which is something else", path.display()),
                what,
                remedy,
            ),
            Err(error) => self.refuse(
                setting,
                &text.span(),
                format!("{} ({error})", path.display()),
                format!("{what} that can be read"),
                remedy,
            ),
        }
    }
}
