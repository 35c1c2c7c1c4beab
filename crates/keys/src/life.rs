//! What the embedded keystore says of a key: everything but its material.

use std::collections::BTreeSet;

use sealift_terms::{KeyAlias, KeyId, KeyNote, Region, RotationDays, Timestamp};
use serde::{Deserialize, Serialize};

use crate::{KeyState, ProviderKind};

/// Where the material of a key comes from.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum KeyOrigin {
    /// It was made here.
    #[default]
    Generated,
    /// Somebody brought it, and can bring it again.
    Imported,
}

impl KeyOrigin {
    pub(crate) fn is_generated(&self) -> bool {
        *self == Self::Generated
    }
}

/// A key that is to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewKey {
    /// Its human name.
    pub alias: Option<KeyAlias>,
    /// The region it belongs to.
    pub region: Region,
    /// What it is for.
    pub description: Option<KeyNote>,
    /// How often it gets a new version by itself.
    pub rotate_every_days: RotationDays,
    /// Whether other regions may be given it. A key of one region never can be.
    pub is_multi_region: bool,
    /// The regions that may be given it then; any without one.
    pub allowed_regions: BTreeSet<Region>,
}

impl NewKey {
    /// A key of `region` and nothing special about it.
    #[must_use]
    pub fn of(region: Region) -> Self {
        Self {
            alias: None,
            region,
            description: None,
            rotate_every_days: RotationDays::default(),
            is_multi_region: false,
            allowed_regions: BTreeSet::new(),
        }
    }
}

/// What is to be another about a key; what is none stays as it is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct KeyChange {
    /// Its human name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub alias: Option<KeyAlias>,
    /// What it is for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<KeyNote>,
    /// How often it gets a new version by itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rotate_every_days: Option<RotationDays>,
}

/// A key of the embedded keystore, with what was and what will become of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyLife {
    /// Its id.
    pub id: KeyId,
    /// Its human name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alias: Option<KeyAlias>,
    /// The region it belongs to.
    pub region: Region,
    /// Its provider.
    pub provider: ProviderKind,
    /// Its state.
    pub state: KeyState,
    /// The version that wraps.
    pub current: String,
    /// Every version there ever was, oldest first.
    pub versions: Vec<VersionLife>,
    /// When it was made.
    pub created: Timestamp,
    /// What it is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<KeyNote>,
    /// Where its material comes from.
    pub origin: KeyOrigin,
    /// How often it gets a new version by itself; an imported one does not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rotate_every_days: Option<RotationDays>,
    /// When it gets its next version by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_rotation: Option<Timestamp>,
    /// Whether that time is over.
    pub overdue: bool,
    /// When it is to be destroyed, while it waits for that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delete_at: Option<Timestamp>,
    /// Until when imported material may be used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<Timestamp>,
    /// How its regions stand, where it is a key of several.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub regions: Option<KeyRegions>,
}

/// How the regions of a key stand, as one of them knows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyRegions {
    /// The region that leads: it rotates, and gives the key to others.
    pub primary: Region,
    /// Those that have it, this one with them.
    pub members: BTreeSet<Region>,
    /// Those that may have it; any without one.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub allowed: BTreeSet<Region>,
    /// How often another region became the primary, counted from 1.
    pub term: u64,
    /// The number of the last change of what is shared.
    pub generation: u64,
    /// When that was, by the primary's clock.
    pub changed_at: Timestamp,
    /// The newest version, while it does not wrap yet because a replica lacks it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waiting: Option<String>,
    /// At the primary, how far each of the others is.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub replicas: Vec<KeyReplica>,
}

/// A replica, as the primary knows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyReplica {
    /// Its region.
    pub region: Region,
    /// Versions that it said it has, counted from the first.
    pub versions: u64,
    /// The last change that it said it has taken up.
    pub generation: u64,
    /// When it was last as far as the primary.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub synchronized: Option<Timestamp>,
    /// What keeps it from being brought up to date at present, where somebody knows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trouble: Option<String>,
}

/// One version of such a key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VersionLife {
    /// Its id.
    pub id: String,
    /// When it was made.
    pub created: Timestamp,
    /// Whether a verified backup holds it.
    pub backed_up: bool,
    /// Why it was made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<KeyNote>,
    /// Of imported material: equal where the same bytes were imported, and nothing else
    /// can be told from it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fingerprint: Option<String>,
    /// Whether its imported material is away and has to be imported again.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub material_missing: bool,
    /// When its material was destroyed for good.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub destroyed: Option<Timestamp>,
    /// What rests under it, where somebody counted.
    #[serde(default, flatten, skip_serializing_if = "Option::is_none")]
    pub held: Option<Held>,
}

/// What rests under a version of a key.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Held {
    /// Key records wrapped under it.
    pub records: u64,
    /// Versions and marks sealed under those records.
    pub objects: u64,
    /// Bytes of plaintext of those versions.
    pub bytes: u64,
}
