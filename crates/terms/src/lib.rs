//! The vocabulary of sealift as types, and the outside world as traits.
//!
//! Every other crate speaks in these words. A string that came from a peer, a
//! file or a user becomes one of these types at the edge, once, and is never
//! checked again further in.
//!
//! ```text
//!   bytes, TOML, flags ──▶ parse ──▶ BucketName · ObjectKey · Region · Identity · …
//!                                    Change (what happened)  ──▶ Receipt (what was stored)
//!                                    Status · Reason (how it stands)
//!   the machine        ──▶ traits ─▶ Disk · Clock · Rng · Audit
//! ```
//!
//! This crate does no I/O, reads no clock and draws no randomness. The traits in
//! [`world`] are how the crates above are given those; the operating system's
//! own are in `sealift-host`.
#![cfg_attr(not(test), warn(clippy::indexing_slicing))]

pub mod audit;
pub mod boxed;
pub mod change;
pub mod checksum;
pub mod days;
pub mod id;
pub mod identity;
pub mod limits;
pub mod name;
pub mod networks;
pub mod order;
pub mod part;
pub mod pause;
pub mod percent;
pub mod quota;
pub mod reason;
pub mod receipt;
pub mod retention;
pub mod status;
pub mod time;
pub mod world;

pub use audit::{Audit, AuditKind, AuditRecord, AuditUnavailable};
pub use boxed::Boxed;
pub use change::{Change, ChangeKind, ObjectFacts, VersionName};
pub use checksum::{Checksum, ChecksumAlgorithm};
pub use days::{DeletionDays, RotationDays};
pub use id::{BatchId, Epoch, ObjectUid, RecordId, RecordIds, SessionId, SiteId, TransferId};
pub use identity::Identity;
pub use name::{
    AccessKeyId, BucketName, ForwardName, KeyAlias, KeyId, KeyNote, NameError, ObjectKey, PeerName,
    Region, RuleName, SiteName, VersionId,
};
pub use networks::{Network, Networks};
pub use order::Order;
pub use part::{CHUNK_BYTES, PartIndex, PartSize};
pub use quota::{PeerQuota, Quota};
pub use reason::Reason;
pub use receipt::{Receipt, SecondKey, SessionFacts};
pub use retention::Retention;
pub use status::Status;
pub use time::Timestamp;
pub use world::{Clock, Disk, DiskFile, Rng};
