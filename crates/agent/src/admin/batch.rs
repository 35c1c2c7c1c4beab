//! Asking for many records or versions to be wrapped, sealed or sent anew.

use std::collections::BTreeMap;

use sealift_ledger::BatchState;
use sealift_terms::{
    BatchId, BucketName, KeyId, ObjectKey, ObjectUid, PeerName, Reason, RecordId, RuleName, Status,
    Timestamp, VersionId, VersionName,
};
use serde::{Deserialize, Serialize};

/// Key records to be wrapped anew; no object is touched.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rewrap {
    /// The key that wraps them then, `KEY` or `KEY:VERSION`: the version has to be its
    /// newest.
    pub to: String,
    /// Only those under this key, `KEY` or `KEY:VERSION`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// Only those of this bucket.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bucket: Option<BucketName>,
    /// Only count them.
    #[serde(default)]
    pub dry_run: bool,
}

/// What comes of wrapping records anew.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum RewrapRow {
    /// A record that is as it was.
    Failed(RewrapFailed),
    /// All of them. Always the last row.
    Summary(RewrapSummary),
}

/// A record that is as it was.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RewrapFailed {
    /// The record.
    pub record: RecordId,
    /// The bucket that it serves.
    pub bucket: BucketName,
    /// Why.
    pub evidence: String,
}

/// What was done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RewrapSummary {
    /// The key that wraps now.
    pub cmk: KeyId,
    /// Its version.
    pub cmk_version: String,
    /// Records that were wrapped anew, or would be.
    pub records: u64,
    /// Records that were under it already.
    pub current: u64,
    /// Records that are as they were.
    pub failed: u64,
    /// Calls to key services that it took, or would take.
    pub calls: u64,
    /// Whether it was only looked at.
    pub dry_run: bool,
}

/// Versions to be sealed anew, under the keys that their buckets have now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reseal {
    /// Which.
    pub objects: Vec<VersionName>,
    /// Only say whether they could be.
    #[serde(default)]
    pub dry_run: bool,
}

/// What became of one version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResealRow {
    /// The version.
    #[serde(flatten)]
    pub object: VersionName,
    /// What was done.
    pub result: ResealResult,
    /// Bytes of plaintext.
    pub size: u64,
    /// The sealing that counts now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub object_uid: Option<ObjectUid>,
    /// The key record that it is sealed under; of two layers, the inner one's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub record: Option<RecordId>,
    /// The outer layer's key record, of two.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub second_record: Option<RecordId>,
    /// In how many layers its bucket is sealed now: it has a record in each, or would have.
    #[serde(default = "one_layer")]
    pub layers: u64,
    /// Whether its bucket does without bucket keys: it would have records of its own.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub own_record: bool,
    /// Why it is as it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Reason>,
    /// What was seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evidence: Option<String>,
}

const fn one_layer() -> u64 {
    1
}

/// What was done with a version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ResealResult {
    /// It is sealed anew.
    Resealed,
    /// It would be.
    Planned,
    /// It is as it was.
    Failed,
}

impl ResealResult {
    /// Its word, in reports.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Resealed => "resealed",
            Self::Planned => "planned",
            Self::Failed => "failed",
        }
    }
}

/// Versions to be sent again, or after all, whatever became of them before.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Replicate {
    /// What is to be done.
    pub act: ReplicateAct,
    /// Whether it is about tags that are others at a destination than at the source, and about
    /// nothing else.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub tags_only: bool,
}

/// A step of replicating a batch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ReplicateAct {
    /// Names what a filter selects.
    Find(ReplicateFilter),
    /// Says what queueing these would do.
    Plan(Vec<ReplicateObject>),
    /// Queues these for a batch.
    Queue {
        /// Which one: it was begun before.
        batch: BatchId,
        /// What.
        objects: Vec<ReplicateObject>,
    },
    /// Says how these stand now, in a batch.
    Look {
        /// Which one.
        batch: BatchId,
        /// What.
        objects: Vec<ReplicateObject>,
    },
}

/// What is done with batches of replication.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Batches {
    /// What is to be done.
    pub act: BatchAct,
}

/// See [`Batches`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BatchAct {
    /// All of them; [`BatchRow`]s, the newest first.
    List,
    /// A new one, that nothing was queued for yet; one [`BatchRow`].
    Begin {
        /// What it is to send, in words.
        what: String,
    },
    /// One; one [`BatchRow`].
    Show(BatchId),
    /// How everything stands that one queued; [`ReplicateRow`]s.
    Objects(BatchId),
    /// What one queued is held back; one [`BatchRow`].
    Pause(BatchId),
    /// It goes on; one [`BatchRow`].
    Resume(BatchId),
    /// What is not sent yet is taken back; one [`BatchRow`].
    Cancel(BatchId),
}

/// A batch of replication.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BatchRow {
    /// Its number.
    pub batch: BatchId,
    /// What it was asked to send, in words.
    pub what: String,
    /// What becomes of it.
    pub state: BatchState,
    /// Whether nothing that it queued is to be sent any more.
    pub over: bool,
    /// When it began.
    pub begun_at: Timestamp,
    /// When it was last paused, let go on, or cancelled.
    pub changed_at: Timestamp,
    /// What waits, or is on its way: once it is cancelled, the latter alone.
    pub queued: BatchSum,
    /// What waits, and does so without the batch: a cancel leaves it.
    pub owed: BatchSum,
    /// What is there.
    pub replicated: BatchSum,
    /// What is not sent, or cannot be.
    pub failed: BatchSum,
    /// What rules leave out that became less since it was queued.
    pub left_out: BatchSum,
    /// What was taken back.
    pub cancelled: BatchSum,
}

impl From<sealift_ledger::Batch> for BatchRow {
    fn from(batch: sealift_ledger::Batch) -> Self {
        let (over, counts) = (batch.is_over(), batch.counts);
        let sum = |sum: sealift_ledger::BatchSum| BatchSum {
            versions: sum.versions,
            bytes: sum.bytes,
        };
        Self {
            batch: batch.id,
            what: batch.what,
            state: batch.state,
            over,
            begun_at: batch.begun_at,
            changed_at: batch.changed_at,
            queued: sum(counts.queued),
            owed: sum(counts.owed),
            replicated: sum(counts.completed),
            failed: sum(counts.failed),
            left_out: sum(counts.left_out),
            cancelled: sum(counts.taken_back),
        }
    }
}

/// Versions, once for each destination.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BatchSum {
    /// How many.
    pub versions: u64,
    /// Bytes of plaintext.
    pub bytes: u64,
}

/// An object, or one version of it, to every destination or to one.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ReplicateObject {
    /// The bucket.
    pub bucket: BucketName,
    /// The key.
    pub key: ObjectKey,
    /// The version; the latest without one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<VersionId>,
    /// The destination; each of them without one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peer: Option<PeerName>,
}

/// Which transfers are meant.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ReplicateFilter {
    /// Only of this bucket.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bucket: Option<BucketName>,
    /// Only keys that begin so.
    pub prefix: String,
    /// Only to this peer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub peer: Option<PeerName>,
    /// Only of this rule.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rule: Option<RuleName>,
    /// Only with one of these; with any where there is none.
    pub statuses: Vec<Status>,
    /// Older versions, too: of a directory they are gone.
    pub versions: bool,
    /// Only those whose status changed at this time or later.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,
    /// Only those whose status changed before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
    /// Only versions that their source says were modified at this time or later.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub modified_since: Option<Timestamp>,
    /// Only versions that their source says were modified before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub modified_until: Option<Timestamp>,
    /// Only versions that have all of these tags now.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub tags: BTreeMap<String, String>,
}

/// How one version stands at one destination.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReplicateRow {
    /// The version and the destination; without those, what goes nowhere.
    #[serde(flatten)]
    pub object: ReplicateObject,
    /// The rule that sends it there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule: Option<RuleName>,
    /// What became of it, or would.
    pub result: ReplicateResult,
    /// Whether it is a delete marker.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub delete_marker: bool,
    /// Whether its tags alone are meant.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub tags_only: bool,
    /// Bytes of plaintext.
    pub size: u64,
    /// Why it is not there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Reason>,
    /// What was seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evidence: Option<String>,
}

/// What became of a version at a destination.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum ReplicateResult {
    /// It would be queued.
    Planned,
    /// It is on its way.
    Queued,
    /// It is there: the receipt is in the journal.
    Replicated,
    /// No rule in force sends it there, or it was left out and is not asked for.
    #[serde(rename = "left-out")]
    LeftOut,
    /// It is not sent, or cannot be.
    Failed,
    /// Its batch was cancelled before it was sent.
    Cancelled,
    /// Its tags are there as they should be: nothing is sent.
    Same,
}

impl ReplicateResult {
    /// Its word, in reports.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Planned => "planned",
            Self::Queued => "queued",
            Self::Replicated => "replicated",
            Self::LeftOut => "left-out",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
            Self::Same => "same",
        }
    }
}
