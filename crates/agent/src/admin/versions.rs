//! Of versions, one by one: how they stand and rest, and what verification found.

use sealift_terms::{
    BucketName, ChangeKind, KeyId, ObjectFacts, ObjectKey, ObjectUid, PeerName, Reason, RecordId,
    RuleName, SecondKey, Status, Timestamp, VersionId,
};
use serde::{Deserialize, Serialize};

use super::Count;

/// One version and how it stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObjectRow {
    /// The bucket.
    pub bucket: BucketName,
    /// The key.
    pub key: ObjectKey,
    /// The version; a name that cannot be a key has none.
    #[serde(
        default = "VersionId::none",
        skip_serializing_if = "VersionId::is_none"
    )]
    pub version: VersionId,
    /// Content or delete marker.
    pub kind: ChangeKind,
    /// Bytes of plaintext.
    pub size: u64,
    /// How it stands.
    pub status: Status,
    /// Why, when there is a reason.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Reason>,
    /// The destination of a transfer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peer: Option<PeerName>,
    /// Whether it is the latest of its key.
    pub latest: bool,
    /// When it was last modified at its source.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_modified: Option<Timestamp>,
    /// Its permissions at a directory source, octal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<String>,
    /// When it was stored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stored_at: Option<Timestamp>,
    /// How it rests here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sealing: Option<Sealing>,
    /// The source has it no more, and that is held until it is said to be meant.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub removal_held: bool,
    /// What its source said of it, where that was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub facts: Option<Box<ObjectFacts>>,
}

/// How a version rests.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sealing {
    /// The sealing.
    pub object_uid: ObjectUid,
    /// The key record.
    pub record: RecordId,
    /// The key that wraps the record.
    pub cmk: KeyId,
    /// The version of that key.
    pub cmk_version: String,
    /// The outer layer's key record and key, where it rests in two layers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub second: Option<SecondKey>,
    /// The file in the store.
    pub file: String,
    /// Where in that file.
    pub offset: u64,
    /// How many bytes there.
    pub length: u64,
}

/// One thing that verification found not to be as it should.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// The object, when it is one.
    #[serde(default, skip_serializing_if = "Option::is_none", flatten)]
    pub object: Option<sealift_terms::VersionName>,
    /// What was found: `damaged`, `missing`, `different`, `unreadable`, `orphan`.
    pub finding: String,
    /// The evidence.
    pub evidence: String,
}

/// What verification looked at. Always the last row.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct VerifySummary {
    /// Versions opened, or compared with the source.
    pub verified: Count,
    /// What is not as it should be.
    pub findings: u64,
    /// Files in the store that the catalog does not know: no damage.
    pub orphans: u64,
    /// Files of the store that are there and as long as the catalog says, their bytes
    /// not opened.
    #[serde(default)]
    pub files: u64,
    /// Source objects that are what the receipts say is stored: with `deep` by their
    /// bytes, otherwise by version and size.
    pub compared: u64,
    /// Versions that are not acknowledged yet and so were not looked at.
    pub pending: u64,
}

/// What a catalog was made anew from.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rebuilt {
    /// Versions with content, and delete markers.
    pub versions: u64,
    /// Sets of tags, and purges.
    pub marks: u64,
    /// Key records.
    pub records: u64,
    /// What could not be taken over.
    pub findings: u64,
}

/// A row of `verify`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum VerifyRow {
    /// Something is not as it should be.
    Finding(Finding),
    /// The catalog was made anew, before anything was looked at.
    Rebuilt(Rebuilt),
    /// How far it is.
    Progress(Count),
    /// What was looked at: the last row.
    Summary(VerifySummary),
}

/// What a retry set going.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Retried {
    /// Transfers that are due now.
    pub transfers: u64,
    /// Sources whose held removals were let pass.
    pub accepted: u64,
    /// Those removals.
    #[serde(default)]
    pub removals: u64,
}

/// Why an object stands as it does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Explanation {
    /// The version and its status.
    #[serde(flatten)]
    pub object: ObjectRow,
    /// The rule that covers it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule: Option<RuleName>,
    /// What was seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evidence: Option<String>,
    /// How often it was tried.
    pub tries: u64,
    /// When it is tried next.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_try: Option<Timestamp>,
    /// What to do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remedy: Option<String>,
}
