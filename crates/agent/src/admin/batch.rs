//! Asking for many records or versions to be wrapped or sealed anew.

use sealift_terms::{BucketName, KeyId, ObjectUid, Reason, RecordId, VersionName};
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
    /// The key record that it is sealed under.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub record: Option<RecordId>,
    /// Whether its bucket does without bucket keys: it would have a record of its own.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub own_record: bool,
    /// Why it is as it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Reason>,
    /// What was seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evidence: Option<String>,
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
