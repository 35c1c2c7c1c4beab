//! Errors of the parts below, as a command ends with them.

use std::error::Error as StdError;

use sealift_archive::ArchiveError;
use sealift_ledger::LedgerError;
use sealift_terms::Reason;

use crate::Error;

impl From<ArchiveError> for Error {
    fn from(error: ArchiveError) -> Self {
        match error {
            ArchiveError::NotFound { .. } => Self::NotFound {
                what: strip(&error, "there is no "),
            },
            ArchiveError::BucketMissing { bucket } => Self::NotFound {
                what: format!("bucket {bucket} at this site"),
            },
            ArchiveError::DeleteMarker(name) => Self::NotFound {
                what: format!(
                    "content of {}/{}: version {} is a delete marker",
                    name.bucket, name.key, name.version
                ),
            },
            ArchiveError::Key(error) => Self::Keys(error),
            ArchiveError::Audit(error) => Self::TryAgain {
                what: error.to_string(),
                reason: Some(Reason::AuditUnavailable),
            },
            error if error.is_damage() => Self::Verification {
                what: in_words(&error),
            },
            error => Self::failed("reading the archive")(error),
        }
    }
}

impl From<LedgerError> for Error {
    fn from(error: LedgerError) -> Self {
        Self::failed("reading the databases")(error)
    }
}

/// An error with its causes, in one line.
pub(super) fn in_words(error: &(dyn StdError + 'static)) -> String {
    let mut words = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let cause_words = cause.to_string();
        if !words.ends_with(&cause_words) {
            words = format!("{words}: {cause_words}");
        }
        next = cause.source();
    }
    words
}

fn strip(error: &ArchiveError, prefix: &str) -> String {
    let words = error.to_string();
    words
        .strip_prefix(prefix)
        .map(str::to_owned)
        .unwrap_or(words)
}
