//! What an examination of an archive comes upon.

use std::{fmt, ops::Range};

use sealift_terms::{RecordId, VersionName};

/// Something that is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Finding {
    /// A file that versions rest in is not in the store.
    FileMissing {
        /// The file.
        file: String,
        /// Versions and marks that rest in it.
        objects: u64,
    },
    /// A file is shorter than what is known to be durable of it.
    FileShort {
        /// The file.
        file: String,
        /// Its length.
        found: u64,
        /// What it should have at least.
        expected: u64,
    },
    /// A file in the store that the catalog does not know.
    Orphan {
        /// The file.
        file: String,
        /// Its length.
        bytes: u64,
    },
    /// A version does not open.
    ObjectDamaged {
        /// The version.
        name: VersionName,
        /// Where it rests.
        file: String,
        /// What is wrong.
        cause: String,
    },
    /// Bytes of a pack are no entry.
    PackDamaged {
        /// The pack.
        file: String,
        /// From this byte.
        offset: u64,
        /// So many bytes.
        bytes: u64,
        /// What is wrong.
        cause: String,
    },
    /// A file of the store cannot be taken into the catalog.
    FileDamaged {
        /// The file.
        file: String,
        /// What is wrong.
        cause: String,
    },
    /// The two copies of a key record differ, or one is missing.
    RecordDiffers {
        /// The record.
        record: RecordId,
        /// What is wrong.
        cause: String,
    },
}

impl Finding {
    /// Bytes of a pack that are no entry.
    pub(crate) fn in_pack(file: &str, range: &Range<u64>, cause: String) -> Self {
        Self::PackDamaged {
            file: file.to_owned(),
            offset: range.start,
            bytes: range.end - range.start,
            cause,
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::FileMissing { file, objects } => {
                write!(f, "{file} is missing: {objects} versions rest in it")
            }
            Self::FileShort {
                file,
                found,
                expected,
            } => write!(f, "{file} has {found} bytes, expected are {expected}"),
            Self::Orphan { file, bytes } => {
                write!(f, "{file} ({bytes} bytes) is not in the catalog")
            }
            Self::ObjectDamaged { name, file, cause } => write!(f, "{name} in {file}: {cause}"),
            Self::PackDamaged {
                file,
                offset,
                bytes,
                cause,
            } => write!(
                f,
                "{file}: {bytes} bytes from {offset} are no entry: {cause}"
            ),
            Self::FileDamaged { file, cause } => write!(f, "{file}: {cause}"),
            Self::RecordDiffers { record, cause } => write!(f, "key record {record}: {cause}"),
        }
    }
}

/// An error with its causes in one line.
#[must_use]
pub fn in_words(error: &(dyn std::error::Error + 'static)) -> String {
    let mut words = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        let cause = error.to_string();
        if !words.ends_with(&cause) {
            words.push_str(": ");
            words.push_str(&cause);
        }
        source = error.source();
    }
    words
}
