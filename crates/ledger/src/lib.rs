//! What a site must remember, durably: the sender's journal, the receiver's
//! catalog and the audit log. Each is a trait with one conformance suite, and has
//! an implementation in SQLite. Another, in log files, is for simulations: it
//! writes through a [`Disk`](sealift_terms::Disk).
//!
//! ```text
//!  changes of a source ──▶ Journal   what is to be sent, to whom, how it stands
//!  sealed versions     ──▶ Catalog   what rests in the store, where, under which key record
//!  what happened       ──▶ AuditLog  leaves of a Merkle tree, durable with the catalog's commits
//! ```
//!
//! Names, sizes and times are in the clear in these databases. User metadata,
//! tags and checksums are sealed row by row through a [`FactsSealer`], which the
//! caller gives at construction: this crate holds no key.
//!
//! It moves no object bytes, decides nothing about rules or retries, and signs
//! nothing.

#![cfg_attr(not(test), warn(clippy::indexing_slicing))]

pub mod audit;
mod batches;
pub mod catalog;
#[cfg(any(test, feature = "conformance"))]
pub mod conformance;
mod error;
mod facts;
pub mod journal;
#[cfg(any(test, feature = "simulation"))]
pub mod log;
mod marks;
pub mod merkle;
mod notes;
mod quarantined;
mod records;
mod refusals;
pub mod sqlite;
#[cfg(test)]
mod tests;

pub use audit::{AuditLog, AuditVerdict, Flaw, Leaf, Refusal};
pub use batches::{Batch, BatchCounts, BatchStanding, BatchState, BatchSum, Batched, Enlist};
pub use catalog::{
    BucketCount, Catalog, Commit, Committed, FileRow, KeyUse, ListVersions, ListedVersion,
    Location, NewVersion, Outcome, PackState, ReceiptTerms, RecordRow, Relocation, SenderCount,
    SiteRow, Standing, UploadPart, UploadRow, VersionCursor, VersionKind, VersionPage, VersionRow,
};
pub use error::LedgerError;
pub use facts::{FactsError, FactsSealer};
pub(crate) use journal::held_back;
pub use journal::{
    Count, Destination, Followed, HighWater, Intent, IntentCount, Journal, KnownCounts, KnownKey,
    ListTransfers, NewChange, PeerMemory, PurgeSent, Requeue, SentVersion, Settlement, Skip,
    Touched, Transfer, TransferOutcome, TransferStanding, UnsupportedName,
};
pub use marks::{MarkKind, MarkRow, NewMark};
pub use merkle::TreeHead;
pub use notes::{NOTES_KEPT, Note};
pub use quarantined::{DamagedVersion, ListQuarantined, QuarantineCount, Quarantined};
pub use sqlite::{
    Examined, NewSite, SqliteAudit, SqliteCatalog, SqliteJournal, examine_catalog, examine_journal,
    key_use_in,
};

/// What the functions of this crate return.
pub type Result<T> = std::result::Result<T, LedgerError>;
