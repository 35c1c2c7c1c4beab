//! The audit log: an append-only list of leaves under a Merkle tree.

use std::{collections::BTreeMap, net::IpAddr};

use async_trait::async_trait;
use sealift_terms::{Audit, AuditKind, AuditRecord, AuditUnavailable, Timestamp};
use serde::{Deserialize, Serialize};

use crate::{Result, TreeHead};

/// A leaf as it is written down.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leaf {
    /// Its place in the log, from 0.
    pub index: u64,
    /// The canonical JSON that is hashed.
    pub json: String,
    /// Its RFC 6962 leaf hash, as stored.
    pub hash: [u8; 32],
}

/// The members of a leaf, in the order of their names: so its JSON is canonical,
/// without spaces.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeafBody {
    /// Who did it.
    pub actor: String,
    /// When it happened.
    pub at: Timestamp,
    /// What else is to be known.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub details: BTreeMap<String, String>,
    /// Its place in the log.
    pub index: u64,
    /// What it is about.
    pub kind: sealift_terms::AuditKind,
}

impl LeafBody {
    /// The leaf of `record` at `index`.
    #[must_use]
    pub fn new(index: u64, record: AuditRecord) -> Self {
        Self {
            actor: record.actor,
            at: record.at,
            details: record.details,
            index,
            kind: record.kind,
        }
    }
}

/// A connection that was refused before it was authenticated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// When.
    pub at: Timestamp,
    /// What was refused.
    pub kind: AuditKind,
    /// The cause, one word or a short phrase of a fixed set.
    pub cause: String,
    /// From where; none for a Unix socket.
    pub source: Option<IpAddr>,
    /// What else is to be known of the first of a minute.
    pub details: BTreeMap<String, String>,
}

/// What an examination of the whole log found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditVerdict {
    /// The head, computed from the leaves' text.
    pub head: TreeHead,
    /// What is wrong, first found first, at most 100; empty when the log is whole.
    pub flaws: Vec<Flaw>,
}

/// What is wrong with the log.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Flaw {
    /// A leaf's text does not give its stored hash.
    #[error("leaf {index} was altered: its text does not give its hash")]
    LeafAltered {
        /// Which leaf.
        index: u64,
    },
    /// A leaf's text names another place.
    #[error("leaf {index} says of itself that it is another one")]
    LeafMisplaced {
        /// Where it stands.
        index: u64,
    },
    /// A leaf is missing.
    #[error("leaf {index} is missing")]
    LeafMissing {
        /// Which leaf.
        index: u64,
    },
    /// The leaves do not give the head that was stored with the last commit.
    #[error("the leaves do not give the stored head of {stored} leaves")]
    HeadDiffers {
        /// The size of the stored head.
        stored: u64,
    },
}

/// The audit log with its reading side.
#[async_trait]
pub trait AuditLog: Audit {
    /// Takes a refusal before authentication. One record per cause and source
    /// network (/24, /48) goes into the log in a minute: the first at once, the
    /// others as its successor's `count`.
    ///
    /// # Errors
    /// [`AuditUnavailable`] when the record cannot be kept.
    fn refused(&self, refusal: Refusal) -> std::result::Result<(), AuditUnavailable>;

    /// Records what was counted in minutes that are over; to be called now and
    /// then, and with a far future at the end.
    ///
    /// # Errors
    /// [`AuditUnavailable`] when a record cannot be kept.
    fn settle_refusals(&self, now: Timestamp) -> std::result::Result<(), AuditUnavailable>;

    /// Whether a record would be taken now: asked before something is done that goes on
    /// record when it is known what came of it.
    ///
    /// # Errors
    /// [`AuditUnavailable`] when not: then it must not be done.
    fn ready(&self) -> std::result::Result<(), AuditUnavailable>;

    /// Returns when everything recorded before is durable.
    async fn flush(&self) -> Result<()>;

    /// The head of the durable log.
    async fn head(&self) -> Result<TreeHead>;

    /// Leaves from `index` on, at most `limit`.
    async fn leaves(&self, index: u64, limit: usize) -> Result<Vec<Leaf>>;

    /// Reads the whole log and compares text, hashes and head.
    async fn verify(&self) -> Result<AuditVerdict>;
}
