//! How far a scrub has come; what of it outlives a restart.

use sealift_ledger::{VersionCursor, VersionRow};
use sealift_terms::{BucketName, ObjectKey, ObjectUid, Order, RecordId, Timestamp, VersionId};
use serde::{Deserialize, Serialize};

/// What a pass looks at, in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Stage {
    /// Nothing: no pass is under way.
    #[default]
    Idle,
    /// Key records: both copies.
    Records,
    /// Versions: every chunk.
    Versions,
    /// Marks.
    Marks,
}

/// What one pass has looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Scrubbed {
    /// Key records compared.
    pub records: u64,
    /// Versions and marks opened.
    pub versions: u64,
    /// Sealed bytes read.
    pub bytes: u64,
    /// Findings.
    pub findings: u64,
    /// Versions that could not be opened because their key cannot be used now.
    pub skipped: u64,
}

/// The place within the versions: what was passed last.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Passed {
    pub(super) key: ObjectKey,
    pub(super) order: Order,
    pub(super) version: VersionId,
}

/// The place within a large object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Within {
    pub(super) uid: ObjectUid,
    /// Plaintext bytes that were opened.
    pub(super) at: u64,
    /// Their CRC-64/NVME.
    pub(super) crc64: u64,
}

/// How a scrub stands. Written to the catalog as JSON now and then.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ScrubState {
    /// When the pass under way, or the last one, began.
    pub started: Option<Timestamp>,
    /// When a pass last came to its end.
    pub finished: Option<Timestamp>,
    /// What the pass under way, or the last one, has looked at.
    pub scrubbed: Scrubbed,
    pub(super) stage: Stage,
    pub(super) record: Option<RecordId>,
    pub(super) bucket: Option<BucketName>,
    pub(super) passed: Option<Passed>,
    pub(super) within: Option<Within>,
}

impl ScrubState {
    /// Whether a pass is under way.
    #[must_use]
    pub fn is_under_way(&self) -> bool {
        self.stage != Stage::Idle
    }

    pub(super) fn begin(&mut self, now: Timestamp) {
        *self = Self {
            started: Some(now),
            finished: self.finished,
            stage: Stage::Records,
            ..Self::default()
        };
    }

    /// Goes on behind a version.
    pub(super) fn pass(&mut self, row: &VersionRow) {
        self.within = None;
        self.passed = Some(Passed {
            key: row.name.key.clone(),
            order: row.order.clone(),
            version: row.name.version.clone(),
        });
    }

    pub(super) fn cursor(&self) -> Option<VersionCursor> {
        let passed = self.passed.clone()?;
        Some(VersionCursor {
            key: passed.key,
            version: Some((passed.order, passed.version)),
        })
    }
}
