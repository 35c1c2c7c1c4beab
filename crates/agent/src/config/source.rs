//! The text of a configuration and the way back from a value to its line.

use std::{
    ops::Range,
    path::{Path, PathBuf},
};

use super::error::Place;

/// One setting given outside the file; it wins over the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Override {
    /// The setting, as in `site.data_dir`.
    pub setting: String,
    /// Its value, as it would stand in the file without quotes.
    pub value: String,
    /// Who gave it.
    pub place: Place,
}

/// A configuration file as it was read, with what was given beside it.
#[derive(Debug, Clone)]
pub struct Source {
    /// The file, for messages and as the base of relative paths.
    pub path: PathBuf,
    /// Its text.
    pub text: String,
    /// What wins over it, weakest first.
    pub overrides: Vec<Override>,
}

impl Source {
    /// The span given to the value of override `index`: just behind the text,
    /// where no value of the file can be.
    pub(crate) fn override_span(&self, index: usize) -> Range<usize> {
        let at = self.text.len() + 1 + index;
        at..at
    }

    /// Where the value with this span stands.
    pub(crate) fn place(&self, span: &Range<usize>) -> Place {
        if let Some(index) = span.start.checked_sub(self.text.len() + 1) {
            return self
                .overrides
                .get(index)
                .map_or(Place::File, |given| given.place.clone());
        }
        let before = self.text.as_bytes().iter().take(span.start);
        Place::Line(1 + before.filter(|byte| **byte == b'\n').count())
    }

    /// A path of the file: relative ones start at the file's directory.
    pub(crate) fn resolve(&self, path: &str) -> PathBuf {
        let base = self.path.parent().unwrap_or(Path::new(""));
        base.join(path)
    }
}
