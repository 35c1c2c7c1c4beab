//! What can go wrong, by whose fault it is.

use std::{path::PathBuf, sync::Arc};

use sealift_terms::{Reason, TransferId, VersionName};

use crate::FactsError;

/// Why the ledger did not do what was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LedgerError {
    /// The database was written by a newer sealift.
    #[error(
        "{path} has schema version {found}, this sealift knows versions up to {supported}: \
         run the newer sealift that wrote it"
    )]
    NewerSchema {
        /// The database file.
        path: PathBuf,
        /// Its schema version.
        found: i64,
        /// The newest this program knows.
        supported: i64,
    },
    /// The file is a database, but of something else.
    #[error("{path} is no sealift {wanted}")]
    WrongDatabase {
        /// The database file.
        path: PathBuf,
        /// `journal` or `catalog`.
        wanted: &'static str,
    },
    /// The database file is damaged.
    #[error("{path} is damaged: {finding}")]
    Damaged {
        /// The database file.
        path: PathBuf,
        /// The first finding of the integrity check.
        finding: String,
    },
    /// A row holds something that this program never wrote there.
    #[error("a row of {table} cannot be read: {finding}")]
    BadRow {
        /// The table.
        table: &'static str,
        /// What was found.
        finding: String,
    },
    /// SQLite refused, or the disk under it did.
    #[error("the database failed at: {doing}")]
    Database {
        /// What was being done.
        doing: &'static str,
        /// What SQLite said.
        #[source]
        source: Arc<rusqlite::Error>,
    },
    /// The disk under a log file refused.
    #[error("the log {path} failed at: {doing}")]
    Log {
        /// The file.
        path: PathBuf,
        /// What was being done.
        doing: &'static str,
        /// What the disk said.
        #[source]
        source: Arc<std::io::Error>,
    },
    /// Sealed facts could not be sealed or opened.
    #[error("facts of {row} cannot be sealed or opened")]
    Facts {
        /// Which row, in words.
        row: String,
        /// What the sealer said.
        #[source]
        source: FactsError,
    },
    /// The writer thread has ended: the ledger is closed.
    #[error("the ledger is closed")]
    Closed,
    /// The caller named a transfer that is not there, or a receipt of another version.
    #[error("transfer {id} does not exist or is not of {name:?}")]
    NoSuchTransfer {
        /// The transfer.
        id: TransferId,
        /// The version of the receipt that was to complete it.
        name: Option<VersionName>,
    },
    /// The caller named a record key that the catalog does not hold.
    #[error(
        "key record {0} is not in the catalog: it must be durable before what is sealed under it"
    )]
    NoSuchRecord(sealift_terms::RecordId),
    /// A number is too large for the database.
    #[error("{what} {number} is too large")]
    TooLarge {
        /// What sort of number.
        what: &'static str,
        /// The number.
        number: u64,
    },
}

impl LedgerError {
    /// The reason code of what waits for the ledger: no audit, no acknowledgement.
    #[must_use]
    pub fn reason(&self) -> Reason {
        Reason::AuditUnavailable
    }

    /// Whether what lies in the file is not what was written there, as against a file
    /// that cannot be read or written now.
    #[must_use]
    pub fn is_damage(&self) -> bool {
        match self {
            Self::BadRow { .. } | Self::Damaged { .. } | Self::Facts { .. } => true,
            Self::Database { source, .. } => matches!(
                source.sqlite_error_code(),
                Some(rusqlite::ErrorCode::DatabaseCorrupt | rusqlite::ErrorCode::NotADatabase)
            ),
            _ => false,
        }
    }

    /// For `map_err`: says what was being done.
    pub(crate) fn at(doing: &'static str) -> impl FnOnce(rusqlite::Error) -> Self {
        move |source| Self::Database {
            doing,
            source: Arc::new(source),
        }
    }
}
