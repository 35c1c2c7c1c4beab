//! Where bytes come from and where sealed bytes rest.
//!
//! A *source* lists objects in key order, says what changed, and reads one
//! version without mistaking it for another. A *store* keeps sealed files under
//! opaque names: staged, synced, published.
//!
//! ```text
//!   directory, bucket ──▶ Source ── scan · watch · look ──▶ Listed, Hint     (sender)
//!                                ── open ── read ── finish ──▶ plaintext
//!
//!   sealed bytes ──▶ Store ── create · write · sync · publish ──▶ directory   (archive)
//!                          ◀─ open ── read
//! ```
//!
//! What is in the bytes is no matter here: sealing belongs to `seal` and
//! `archive`, what is to be remembered to `ledger`, which change is sent where
//! to `sender`.

#![cfg_attr(not(test), warn(clippy::indexing_slicing))]

mod azure;
mod blocking;
mod bucket_store;
pub mod conformance;
mod directory;
mod directory_store;
mod error;
mod faulty;
mod gathered;
mod gcs;
mod memory_source;
mod memory_store;
mod name;
mod oldest_first;
mod onward;
mod ordered;
mod s3;
mod source;
mod store;
mod tagged;
mod throttled;
mod trying;

pub use azure::{AZURE_SOURCE_ACTIONS, AZURE_STORE_ACTIONS, AzureSettings, AzureSource};
pub use blocking::blocking;
pub use bucket_store::{BucketSettings, BucketStore, LeaseTimes, Machine};
pub use directory::{DirectorySource, HINTS_QUEUED_MAX, WATCHES_MAX};
pub use directory_store::DirectoryStore;
pub use error::StoreError;
pub use faulty::{Call, Faults, Faulty};
pub use gcs::{GCS_SOURCE_ACTIONS, GcsSource};
pub use memory_source::MemorySource;
pub use memory_store::MemoryStore;
pub use name::StoreName;
pub use ordered::{After, Committed, CommittedTo, Ordered, OrderedSource};
pub use s3::{
    EventQueue, GCS_STORE_ACTIONS, Made, Passed, Probe, S3_FRONT_ACTIONS, S3_LOCK_ACTIONS,
    S3_SOURCE_ACTIONS, S3_STORE_ACTIONS, S3Error, S3Front, S3Settings, S3Source, SQS_ACTIONS,
    Webhook, is_called,
};
pub use source::{
    Earlier, Hint, History, Listed, Page, Recorded, RecordedAt, Removed, Scan, Skipped, Source,
    SourceObject, TagsTold, Watch, Whole,
};
pub use store::{Cut, Store, StoreEntry, StoreFile, StoreObject};
pub use throttled::Throttled;
