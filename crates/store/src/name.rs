//! Names of files in a store.

use std::{fmt, str::FromStr, sync::Arc};

use sealift_terms::NameError;

const LENGTH_MAX: usize = 255;

/// The opaque name of a file in a store: segments of `a-z 0-9 - _ .` joined by
/// `/`. It says nothing of the object inside.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StoreName(Arc<str>);

impl StoreName {
    /// Checks and takes a name.
    ///
    /// # Errors
    /// [`NameError`] for anything that could leave the store or be hidden in it.
    pub fn new(name: impl AsRef<str>) -> Result<Self, NameError> {
        let name = name.as_ref();
        if name.len() <= LENGTH_MAX && name.split('/').all(is_segment) {
            return Ok(Self(Arc::from(name)));
        }
        Err(NameError {
            what: "store file name",
            found: name.chars().take(80).collect(),
            allowed: "up to 255 bytes: segments of a-z, 0-9, '-', '_' and '.', joined by '/'",
        })
    }

    /// The name as it was given.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

fn is_segment(segment: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-_.".contains(&b);
    !segment.is_empty() && !segment.starts_with('.') && segment.bytes().all(allowed)
}

impl fmt::Display for StoreName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl FromStr for StoreName {
    type Err = NameError;
    fn from_str(name: &str) -> Result<Self, NameError> {
        Self::new(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_cannot_leave_the_store_or_hide_in_it() {
        for good in ["a", "packs/0f-1.slp", "objects/ab/0_1"] {
            assert!(StoreName::new(good).is_ok(), "{good}");
        }
        for bad in [
            "",
            "/a",
            "a/",
            "a//b",
            "../a",
            "a/..",
            ".a",
            "A",
            "a b",
            "ä",
            &"x".repeat(256),
        ] {
            assert!(StoreName::new(bad).is_err(), "{bad}");
        }
    }
}
