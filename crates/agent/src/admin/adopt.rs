//! Asking for plaintext that was found to be sealed.

use std::path::PathBuf;

use sealift_terms::{BucketName, ObjectKey, ObjectUid, Reason, RecordId, VersionId};
use serde::{Deserialize, Serialize};

/// Plaintext below a directory, to become versions of a bucket.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Adopt {
    /// The directory, as the agent sees it.
    pub from: PathBuf,
    /// The bucket.
    pub bucket: BucketName,
    /// What keys begin with, before the path below the directory.
    #[serde(default)]
    pub prefix: String,
    /// What is to be done.
    pub act: AdoptAct,
}

/// A step of adopting.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AdoptAct {
    /// Names every file; [`AdoptRow`]s.
    List,
    /// Says what sealing these would do; [`AdoptRow`]s in their order.
    Plan(AdoptFiles),
    /// Seals these, reads each back and compares; [`AdoptRow`]s in their order.
    Seal(AdoptFiles),
}

/// Which files, and what may become of them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AdoptFiles {
    /// Their paths below the directory.
    pub files: Vec<ObjectKey>,
    /// Also where the key is there already: it becomes its latest version.
    #[serde(default)]
    pub over_existing: bool,
    /// Remove the file, once what is sealed of it was read back and is the same.
    #[serde(default)]
    pub remove: bool,
}

/// What became of one file, or would.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AdoptRow {
    /// The bucket.
    pub bucket: BucketName,
    /// The key: what is no key stands here escaped.
    pub key: String,
    /// The version that it is, or would be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<VersionId>,
    /// Its path below the directory.
    pub file: String,
    /// What was done.
    pub result: AdoptResult,
    /// Bytes of plaintext.
    pub size: u64,
    /// Whether the plaintext was removed.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub removed: bool,
    /// The sealing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub object_uid: Option<ObjectUid>,
    /// The key record that it is sealed under; of two layers, the inner one's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub record: Option<RecordId>,
    /// Key records that it would have of its own: one a layer without bucket keys.
    #[serde(default)]
    pub own_records: u64,
    /// Why not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Reason>,
    /// What was seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evidence: Option<String>,
}

/// What was done with a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum AdoptResult {
    /// It is there.
    Found,
    /// It would be sealed.
    Planned,
    /// It is sealed, durable, and was read back.
    Adopted,
    /// It is as it was: what may be sealed of it does not count as adopted.
    Failed,
}

impl AdoptResult {
    /// Its word, in reports.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Found => "found",
            Self::Planned => "planned",
            Self::Adopted => "adopted",
            Self::Failed => "failed",
        }
    }
}
