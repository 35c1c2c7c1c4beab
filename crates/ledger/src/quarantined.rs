//! Damaged bytes of versions, as the catalog remembers them.

use sealift_terms::{ObjectUid, Timestamp, VersionName};
use serde::{Deserialize, Serialize};

use crate::Location;

/// A version whose bytes were found damaged.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DamagedVersion {
    /// Which version.
    pub name: VersionName,
    /// The sealing that was examined: another one is not meant.
    pub object_uid: ObjectUid,
    /// What is wrong.
    pub cause: String,
}

/// Damaged bytes of a version, out of use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Quarantined {
    /// Its number in the quarantine.
    pub id: u64,
    /// Which version.
    pub name: VersionName,
    /// The damaged sealing.
    pub object_uid: ObjectUid,
    /// Where its bytes rest.
    pub location: Location,
    /// When the damage was found.
    pub found_at: Timestamp,
    /// What is wrong.
    pub cause: String,
    /// When the version came again and took its place.
    pub repaired_at: Option<Timestamp>,
}

/// Which of the quarantine to list.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ListQuarantined {
    /// Only those that are repaired, or that are not.
    pub repaired: Option<bool>,
    /// Only those whose bytes rest in this file.
    pub file: Option<String>,
    /// Only those with a higher number.
    pub after: u64,
    /// At most this many.
    pub limit: usize,
}

/// How many are in quarantine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct QuarantineCount {
    /// Versions that are damaged and did not come again yet.
    pub damaged: u64,
    /// Damaged bytes kept of versions that did.
    pub repaired: u64,
}
