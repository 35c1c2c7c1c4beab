//! What a peer brought here, and what it may.

use serde::{Deserialize, Serialize};

/// What rests here of what a peer brought or is on its way in, and what it may have here.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BroughtReport {
    /// Versions with content that rest here; since the last rebuild of the catalog.
    pub objects: u64,
    /// Bytes of their plaintext.
    pub bytes: u64,
    /// Bytes of plaintext that its unfinished objects with files of their own will be.
    pub unfinished_bytes: u64,
    /// Versions that may rest here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quota_objects: Option<u64>,
    /// Bytes that may rest here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quota_bytes: Option<u64>,
    /// Bytes that may be unfinished.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quota_unfinished_bytes: Option<u64>,
    /// Bytes a second that are taken from it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit_bytes_per_second: Option<u64>,
}
