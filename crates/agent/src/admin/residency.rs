//! Asking which bytes rest where, and under which keys.

use sealift_terms::{BucketName, KeyId, PeerName, Region, Timestamp};
use serde::{Deserialize, Serialize};

/// Where replicas rest, as far as this site knows.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Residency {
    /// Only of this bucket.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bucket: Option<BucketName>,
}

/// Versions of one bucket that rest in one region under one key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResidencyRow {
    /// The bucket.
    pub bucket: BucketName,
    /// The region in which they rest.
    pub region: Region,
    /// The peer that said so in its receipts; none of what rests here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peer: Option<PeerName>,
    /// The region that they come from, where it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_region: Option<Region>,
    /// The key that opens them: of what rests here the one that wraps its records now, of the rest
    /// the one that the receipts name. Of two layers, the inner one's.
    pub cmk: KeyId,
    /// That key's version.
    pub cmk_version: String,
    /// The outer layer's key, of two: it takes both.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub second_cmk: Option<KeyId>,
    /// That key's version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub second_cmk_version: Option<String>,
    /// Versions, with delete markers, which are sealed as well.
    pub versions: u64,
    /// Bytes of plaintext.
    pub bytes: u64,
    /// When the first of them was stored.
    pub first_stored: Timestamp,
    /// When the last of them was stored.
    pub last_stored: Timestamp,
}
