//! Marks: sealed objects without bytes, which say something of others.

use std::collections::BTreeMap;

use sealift_terms::{ObjectUid, Order, RecordId, VersionName};
use serde::{Deserialize, Serialize};

use crate::{Location, Note};

/// What a mark says of a version that may already rest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum MarkKind {
    /// Its tags are these.
    Tags(BTreeMap<String, String>),
    /// It is gone for good.
    Purge,
    /// It is no version that is named, but what a legal hold is on: these notes are kept, or
    /// forgotten, with the mark of the highest order.
    Hold(Vec<Note>),
}

impl MarkKind {
    /// Of two marks of a name those of one sort take each other's place.
    #[must_use]
    pub const fn sort(&self) -> u8 {
        match self {
            Self::Tags(_) => 0,
            Self::Purge => PURGES,
            Self::Hold(_) => 2,
        }
    }
}

/// The sort of purges.
pub(crate) const PURGES: u8 = 1;

/// A mark to be committed. (A delete marker is a version, not one of these.)
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewMark {
    /// Of which version.
    pub name: VersionName,
    /// Its order; of two sets of tags the higher wins.
    pub order: Order,
    /// What it says.
    pub kind: MarkKind,
    /// Its sealing.
    pub object_uid: ObjectUid,
    /// The key record it is sealed under; of two layers, the inner one.
    pub record: RecordId,
    /// The outer layer's key record, of two.
    pub second_record: Option<RecordId>,
    /// Where it rests.
    pub location: Location,
    /// The sequence in its META.
    pub sequence: u64,
}

/// A mark that rests in the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MarkRow {
    /// Of which version.
    pub name: VersionName,
    /// Its order.
    pub order: Order,
    /// What it says.
    pub kind: MarkKind,
    /// Its sealing.
    pub object_uid: ObjectUid,
    /// The key record it is sealed under; of two layers, the inner one.
    pub record: RecordId,
    /// The outer layer's key record, of two.
    pub second_record: Option<RecordId>,
    /// Where it rests.
    pub location: Location,
}
