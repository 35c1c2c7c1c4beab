//! What can go wrong in an archive, and whose fault it is.

use std::sync::Arc;

use sealift_keys::KeyError;
use sealift_ledger::LedgerError;
use sealift_seal::SealError;
use sealift_store::StoreError;
use sealift_terms::{
    AuditUnavailable, BucketName, Identity, KeyId, NameError, ObjectKey, Reason, RecordId,
    Timestamp, VersionName, limits::HOLDS_MAX,
};

use crate::QuotaHolder;

/// Why an archive did not do what was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ArchiveError {
    /// No such bucket is configured here.
    #[error("there is no bucket {bucket} here")]
    BucketMissing {
        /// The bucket.
        bucket: BucketName,
    },
    /// Both keys of a bucket are the same one: two layers under it would be one.
    #[error("both keys of bucket {bucket} are {key}: two layers take two keys")]
    SameKey {
        /// The bucket.
        bucket: BucketName,
        /// The key.
        key: KeyId,
    },
    /// Larger than any object may be.
    #[error("an object of {size} bytes is larger than allowed")]
    TooLarge {
        /// Its bytes.
        size: u64,
    },
    /// What the sender says of the object exceeds a limit.
    #[error(transparent)]
    Facts(NameError),
    /// The change was made in the future, by this site's clock.
    #[error("the change is dated {dated}, here it is {here}: more than 60 s ahead")]
    ClockAhead {
        /// The time in its order.
        dated: Timestamp,
        /// The time here.
        here: Timestamp,
    },
    /// It would eat into what is kept free for catalog and audit.
    #[error("{free} bytes are free, {wanted} are wanted and {reserve} are kept")]
    ReserveReached {
        /// Bytes free.
        free: u64,
        /// Bytes the object needs.
        wanted: u64,
        /// Bytes kept.
        reserve: u64,
    },
    /// A bucket would hold more than it may, or what one peer brought would be more.
    #[error("{holder} would hold {wanted} {what}, its quota is {allowed}")]
    QuotaReached {
        /// The bucket, or the peer.
        holder: QuotaHolder,
        /// Bytes, objects, or bytes of unfinished objects.
        what: &'static str,
        /// With the object, and what is on its way.
        wanted: u64,
        /// Its quota.
        allowed: u64,
    },
    /// The sender has too many unfinished uploads here.
    #[error("{origin} has {allowed} unfinished uploads here, more are not taken")]
    TooManyUploads {
        /// The sender.
        origin: Identity,
        /// How many it may have.
        allowed: usize,
    },
    /// Too many objects are coming in pieces.
    #[error("{allowed} objects are being written in pieces here, more are not begun")]
    TooManyAssemblies {
        /// How many may be.
        allowed: usize,
    },
    /// No more files may be open for this peer, or for all of them.
    #[error("{allowed} files of unfinished objects are open, more are not opened")]
    TooManyFiles {
        /// How many may be open.
        allowed: usize,
    },
    /// The version is stored with other content. Nothing was changed.
    #[error("{name} is stored with checksum {stored}, offered was {offered}")]
    Conflict {
        /// The version.
        name: Box<VersionName>,
        /// What is stored.
        stored: String,
        /// What was offered.
        offered: String,
    },
    /// What arrived is not what was announced.
    #[error("{what}: the sender says {announced}, arrived is {arrived}")]
    ChecksumMismatch {
        /// A part, or the object.
        what: String,
        /// The sender's checksum.
        announced: String,
        /// The checksum of what arrived.
        arrived: String,
    },
    /// The object was to be committed before all of it was here.
    #[error("{missing} parts are missing")]
    PartsMissing {
        /// How many.
        missing: u32,
    },
    /// Another writer began this part after this one.
    #[error("part {part} is now written by another connection")]
    Fenced {
        /// The part.
        part: u32,
    },
    /// What was kept of an interrupted part is gone: its time or the room for it was over.
    #[error("nothing is kept any more of part {part}: it has to come from its first byte")]
    NotKept {
        /// The part.
        part: u32,
    },
    /// The upload's file was given up after its disk failed: it has to begin again.
    #[error("the upload was given up: its file could not be made durable")]
    Abandoned,
    /// The caller, that is the sender behind it, asked for something that cannot be.
    #[error("misuse: {0}")]
    Misuse(&'static str),
    /// There is no such version.
    #[error("there is no {bucket}/{key} here{}", version.as_ref().map(|v| format!(" with version {v}")).unwrap_or_default())]
    NotFound {
        /// The bucket.
        bucket: BucketName,
        /// The key.
        key: ObjectKey,
        /// The version asked for.
        version: Option<String>,
    },
    /// The version is a delete marker: the key was removed.
    #[error("{0} is a delete marker")]
    DeleteMarker(Box<VersionName>),
    /// The version was found damaged: it is not served until it came again.
    #[error("{0} is damaged and in quarantine: it is not served until it came again")]
    Quarantined(Box<VersionName>),
    /// The version is sealed otherwise than when it was opened to be sealed anew.
    #[error("{0} was sealed anew, repaired or purged meanwhile: it is as that left it")]
    Superseded(Box<VersionName>),
    /// Tags came of a version that is not here, and was not purged here.
    #[error("{0} is not here: it has to come before its tags")]
    VersionMissing(Box<VersionName>),
    /// The version was purged: it does not come back.
    #[error("{0} was purged here")]
    Purged(Box<VersionName>),
    /// The version is not to be purged now.
    #[error("{name} is retained: {why}")]
    Retained {
        /// Which one.
        name: Box<VersionName>,
        /// What retains it.
        why: String,
    },
    /// What was to expire is the latest version of its key.
    #[error("{0} is the latest version of its key, and does not expire")]
    StillLatest(Box<VersionName>),
    /// There are as many holds as there may be.
    #[error("there are {HOLDS_MAX} legal holds, and there may be no more: put one on a prefix")]
    TooManyHolds,
    /// What is kept of a hold cannot be read: nothing is purged.
    #[error("a legal hold that is kept here cannot be read; nothing is purged")]
    HoldUnreadable,
    /// A key record that a version names is not in the catalog.
    #[error("key record {0} is missing from the catalog")]
    RecordMissing(RecordId),
    /// A key cannot be used.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The ledger failed.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// Sealing or opening failed.
    #[error(transparent)]
    Seal(#[from] SealError),
    /// It could not be put on record.
    #[error(transparent)]
    Audit(#[from] AuditUnavailable),
    /// The catalog is not whole: it was being made anew, and that was cut off.
    #[error("the catalog was being made anew from the store, and that was not finished")]
    CatalogUnfinished,
    /// The archive was closed.
    #[error("the archive is closed")]
    Closed,
    /// What happened to a whole group of objects.
    #[error(transparent)]
    Group(Arc<Self>),
}

impl ArchiveError {
    /// Whether what is stored is not what it should be.
    #[must_use]
    pub fn is_damage(&self) -> bool {
        match self {
            Self::Seal(error) => error.is_damage(),
            Self::RecordMissing(_) | Self::Quarantined(_) | Self::ChecksumMismatch { .. } => true,
            Self::Store(error) => matches!(error, StoreError::NoSuchFile { .. }),
            Self::Group(error) => error.is_damage(),
            _ => false,
        }
    }

    /// The reason code of an object that fails because of this.
    #[must_use]
    pub fn reason(&self) -> Reason {
        match self {
            Self::BucketMissing { .. } => Reason::DstBucketMissing,
            Self::SameKey { .. } => Reason::DstKmsKeysSame,
            Self::TooLarge { .. } | Self::Facts(_) => Reason::DstObjectTooLarge,
            Self::ClockAhead { .. } => Reason::ClockSkew,
            Self::ReserveReached { .. } => Reason::DstStoreFull,
            Self::QuotaReached { .. }
            | Self::TooManyUploads { .. }
            | Self::TooManyAssemblies { .. }
            | Self::TooManyFiles { .. }
            | Self::NotKept { .. } => Reason::DstQuotaExceeded,
            Self::Conflict { .. } | Self::ChecksumMismatch { .. } => Reason::ChecksumMismatch,
            Self::PartsMissing { .. } | Self::Fenced { .. } | Self::Misuse(_) => {
                Reason::PeerProtocolMismatch
            }
            // What is asked for here and is not here says nothing of the source.
            Self::NotFound { .. } | Self::VersionMissing(_) => Reason::DstObjectDamaged,
            Self::DeleteMarker(_) => Reason::SrcObjectGone,
            Self::Purged(_) => Reason::PolicyDenied,
            Self::Retained { .. } | Self::StillLatest(_) => Reason::DstRetained,
            Self::TooManyHolds => Reason::DstQuotaExceeded,
            Self::HoldUnreadable => Reason::DstStoreUnavailable,
            Self::Superseded(_) => Reason::SrcObjectChanged,
            Self::RecordMissing(_) | Self::Quarantined(_) => Reason::DstObjectDamaged,
            Self::Abandoned | Self::CatalogUnfinished | Self::Closed => Reason::DstStoreUnavailable,
            Self::Key(error) => error.reason(),
            Self::Store(error) => error.reason(),
            Self::Ledger(error) => error.reason(),
            Self::Seal(error) if error.is_damage() => Reason::DstObjectDamaged,
            Self::Seal(SealError::Misuse(_) | SealError::OutOfRange { .. }) => {
                Reason::PeerProtocolMismatch
            }
            Self::Seal(SealError::Meta(_) | SealError::MetaJson(_)) => Reason::DstObjectTooLarge,
            Self::Seal(_) => Reason::DstStoreUnavailable,
            Self::Audit(_) => Reason::AuditUnavailable,
            Self::Group(error) => error.reason(),
        }
    }
}
