//! What can go wrong, and whose fault it is.

use std::io;

use sealift_terms::{NameError, Reason};

use crate::StoreName;

/// A failure of a source or a store. The variants say whose fault it is.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The source does not hold this version: it was removed.
    #[error("the version is no longer in the source")]
    SourceGone,
    /// The source holds another version by now.
    #[error("the object changed: {evidence}")]
    SourceChanged {
        /// What differs.
        evidence: String,
    },
    /// The source does not let us read.
    #[error("the source refuses to be read: {path}")]
    SourceDenied {
        /// Where.
        path: String,
        /// What the operating system said.
        #[source]
        source: io::Error,
    },
    /// The source as a whole, or the disk under it, does not answer.
    #[error("the source cannot be read: {path}")]
    SourceUnavailable {
        /// Where.
        path: String,
        /// What the operating system said.
        #[source]
        source: io::Error,
    },
    /// The source does not give a version, or nothing at all, for a reason of its own.
    #[error("the source does not give it: {evidence}")]
    SourceRefused {
        /// The reason.
        reason: Reason,
        /// What was seen.
        evidence: String,
    },
    /// The source names something that cannot be sent.
    #[error("cannot be an object: {evidence}")]
    SourceUnsupported {
        /// What it is instead.
        evidence: String,
    },
    /// The store has no file of this name.
    #[error("the store has no file {name}")]
    NoSuchFile {
        /// The name that was asked for.
        name: StoreName,
    },
    /// The store has a file of this name already.
    #[error("the store already has a file {name}")]
    FileExists {
        /// The name that was to be created.
        name: StoreName,
    },
    /// A file is to be published without a sync that succeeded after its last write.
    #[error("{name} is not synced: it cannot be published")]
    NotSynced {
        /// The file.
        name: StoreName,
    },
    /// An earlier sync of this file failed: what it holds is unknown, it is to be abandoned.
    #[error("an earlier sync of {name} failed: the file is abandoned")]
    Abandoned {
        /// The file.
        name: StoreName,
    },
    /// The store has no room left.
    #[error("the store is full")]
    StoreFull {
        /// What the operating system said.
        #[source]
        source: io::Error,
    },
    /// The store does not let us write or read.
    #[error("the store refuses: {name}")]
    StoreDenied {
        /// The file.
        name: String,
        /// What the operating system said.
        #[source]
        source: io::Error,
    },
    /// The store failed.
    #[error("the store failed at {name}")]
    StoreFailed {
        /// The file.
        name: String,
        /// What the operating system said.
        #[source]
        source: io::Error,
    },
    /// A store that is asked over a network does not do it, or does not answer.
    #[error("the store does not take or give {name}")]
    StoreRefused {
        /// The reason.
        reason: Reason,
        /// The file.
        name: String,
        /// What it said.
        #[source]
        source: io::Error,
    },
    /// Another agent writes this store.
    #[error("another agent writes this store: {holder}")]
    StoreLeased {
        /// Who, and since when.
        holder: String,
    },
    /// The store as a whole is not there: unmounted, or deleted.
    #[error("the store is not there: {path} is missing; is it mounted?")]
    StoreMissing {
        /// The file that every store has.
        path: String,
    },
    /// A file was deleted while it was written: what was written is nowhere.
    #[error("{name} was deleted while it was written")]
    Deleted {
        /// The file.
        name: StoreName,
    },
    /// The caller's name is not a name.
    #[error(transparent)]
    Name(#[from] NameError),
}

impl StoreError {
    /// Whether what is written is as it was, and the same may be asked of the store later:
    /// nothing of it need come again. Not so where a disk failed: what it holds is unknown.
    #[must_use]
    pub fn leaves_it_whole(&self) -> bool {
        matches!(self, Self::StoreRefused { .. } | Self::StoreLeased { .. })
    }

    /// The reason code of this failure.
    #[must_use]
    pub fn reason(&self) -> Reason {
        match self {
            Self::SourceGone => Reason::SrcObjectGone,
            Self::SourceChanged { .. } => Reason::SrcObjectChanged,
            Self::SourceDenied { .. } => Reason::SrcGetDenied,
            Self::SourceUnavailable { .. } => Reason::SrcUnavailable,
            Self::SourceUnsupported { .. } => Reason::SkippedUnreadable,
            Self::SourceRefused { reason, .. } | Self::StoreRefused { reason, .. } => *reason,
            Self::StoreFull { .. } => Reason::DstStoreFull,
            Self::StoreDenied { .. } => Reason::DstPutDenied,
            Self::NoSuchFile { .. }
            | Self::FileExists { .. }
            | Self::NotSynced { .. }
            | Self::Abandoned { .. }
            | Self::StoreFailed { .. }
            | Self::StoreLeased { .. }
            | Self::StoreMissing { .. }
            | Self::Deleted { .. }
            | Self::Name(_) => Reason::DstStoreUnavailable,
        }
    }
}
