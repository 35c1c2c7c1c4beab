//! Asking for keys: what can be done with them, and what comes back.

use std::{collections::BTreeSet, path::PathBuf};

use sealift_keys::{
    Held, ImportedMaterial, KeyChange, KeyLife, KeyState, ProviderKind, StretchedPassphrase,
};
use sealift_terms::{
    BucketName, DeletionDays, KeyAlias, KeyId, KeyNote, Reason, Region, RotationDays, Timestamp,
};
use serde::{Deserialize, Serialize};

/// What is to be done with keys: those of the embedded keystore, unless it is only to look.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "act", rename_all = "kebab-case", deny_unknown_fields)]
#[non_exhaustive]
pub enum Keys {
    /// Every key with its life and what rests under each version, and those of key services
    /// that a bucket or a key record names; [`KeyRow`]s.
    List,
    /// One key in the same way.
    Describe {
        /// Id or alias; of a key service's with the word for that in front.
        key: String,
    },
    /// A new key of the site's region; its life.
    Create {
        /// Its human name.
        alias: KeyAlias,
        /// What it is for.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        description: Option<KeyNote>,
        /// How often it gets a version by itself.
        #[serde(default)]
        rotate_every_days: RotationDays,
        /// Whether other regions may be given it.
        #[serde(default)]
        multi_region: bool,
        /// Which of them; any without one.
        #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
        allowed_regions: BTreeSet<Region>,
    },
    /// Another alias, description or time between rotations; the key's life.
    Set {
        /// Id or alias.
        key: String,
        /// What is to be another.
        change: KeyChange,
    },
    /// A new version, which seals from now on; the key's life.
    Rotate {
        /// Id or alias.
        key: String,
        /// Why, for the audit log and the version.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<KeyNote>,
    },
    /// Stops all use of a key; its life.
    Disable {
        /// Id or alias.
        key: String,
    },
    /// Lets a disabled key be used again; its life.
    Enable {
        /// Id or alias.
        key: String,
    },
    /// Stops all use of a key, to destroy it later; its life.
    ScheduleDeletion {
        /// Id or alias.
        key: String,
        /// How long it waits.
        #[serde(default)]
        days: DeletionDays,
    },
    /// Keeps a key that was to be destroyed; its life.
    CancelDeletion {
        /// Id or alias.
        key: String,
    },
    /// Destroys the material of an old version that nothing needs; the key's life.
    Retire {
        /// Id or alias.
        key: String,
        /// The version.
        version: String,
    },
    /// Takes material that somebody brings; the key's life.
    Import {
        /// The id or alias of the key, or the alias of a new one.
        key: KeyAlias,
        /// The material.
        material: ImportedMaterial,
        /// Until when it may be used.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        expires: Option<Timestamp>,
        /// Whether it is a new version of a key.
        #[serde(default)]
        new_version: bool,
        /// What the key is for.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        description: Option<KeyNote>,
    },
    /// Gives a key to another region; its life.
    Replicate {
        /// Id or alias.
        key: String,
        /// The region.
        to: Region,
    },
    /// Makes this region the primary of a key; its life.
    Promote {
        /// Id or alias.
        key: String,
        /// Why the primary that was is not asked, where it is not.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        without_primary: Option<KeyNote>,
    },
    /// In what the regions of a key differ; [`KeyDiffRow`]s.
    Diff {
        /// Id or alias.
        key: String,
        /// The one to compare with; every one without it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        with: Option<Region>,
    },
    /// Waits no more for a replica that will not come back; the key's life.
    DropReplica {
        /// Id or alias.
        key: String,
        /// The region.
        of: Region,
        /// Why.
        reason: KeyNote,
    },
    /// Lets a key service make a root key, which nothing is sealed under yet;
    /// [`RootKeyWrapped`].
    WrapRoot {
        /// The key of a key service.
        under: String,
    },
    /// Seals the keystore under another root key; [`RootKeyChanged`].
    RekeyRoot(NewRootKey),
    /// The whole keystore, sealed; [`KeyVersions`], then the bytes of the file.
    Backup {
        /// What seals it.
        passphrase: StretchedPassphrase,
    },
    /// A backup was opened where it rests; [`KeyVersions`] of it.
    BackedUp(KeyVersions),
    /// Takes back what is missing here; [`KeysRestored`].
    Restore {
        /// What opens the backup.
        passphrase: StretchedPassphrase,
        /// The file.
        backup: String,
    },
}

impl Keys {
    /// The key that is to be changed, by the name that was given for it.
    #[must_use]
    pub fn changes(&self) -> Option<&str> {
        match self {
            Self::Set { key, .. }
            | Self::Rotate { key, .. }
            | Self::Disable { key }
            | Self::Enable { key }
            | Self::ScheduleDeletion { key, .. }
            | Self::CancelDeletion { key }
            | Self::Retire { key, .. }
            | Self::Replicate { key, .. }
            | Self::Promote { key, .. }
            | Self::Diff { key, .. }
            | Self::DropReplica { key, .. } => Some(key),
            _ => None,
        }
    }
}

/// A key as `keys list` and `keys describe` tell it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
#[non_exhaustive]
pub enum KeyRow {
    /// One of the embedded keystore, which sealift looks after.
    Own(Box<KeyLife>),
    /// One of a key service, which looks after it.
    Service(Box<ServiceKey>),
}

/// A key of a key service: what the service says of it now, and what rests under it here.
/// What the service does not say is not here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceKey {
    /// The name that a bucket has for it; with the word for its service in front.
    pub name: String,
    /// Its service.
    pub provider: ProviderKind,
    /// Its id there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<KeyId>,
    /// The region it belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region: Option<Region>,
    /// Its state.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<KeyState>,
    /// The version that wraps.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub current: Option<String>,
    /// When it was made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created: Option<Timestamp>,
    /// The versions that the service tells of, and those that key records name.
    pub versions: Vec<ServiceKeyVersion>,
    /// The buckets that are sealed under it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub buckets: Vec<BucketName>,
    /// Why it cannot be used, or why nothing is known of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Reason>,
    /// What was seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evidence: Option<String>,
}

/// One version of such a key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceKeyVersion {
    /// Its id.
    pub id: String,
    /// When it was made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created: Option<Timestamp>,
    /// Whether the service tells of it; otherwise key records alone name it.
    pub told: bool,
    /// What rests under it.
    #[serde(flatten)]
    pub held: Held,
}

/// How often key providers were asked since the agent started.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct KeyCalls {
    /// Calls that wrapped or unwrapped.
    pub made: u64,
    /// Objects that key records served without one.
    pub saved: u64,
    /// Of a hundred calls that there would have been, those that were saved.
    pub saved_percent: f64,
}

impl KeyCalls {
    /// None while nothing was sealed or opened.
    #[must_use]
    pub fn of(made: u64, saved: u64) -> Option<Self> {
        let all = made.saturating_add(saved);
        (all > 0).then(|| Self {
            made,
            saved,
            saved_percent: saved as f64 * 100.0 / all as f64,
        })
    }
}

/// One thing in which a key differs between this region and another one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyDiffRow {
    /// The key.
    pub key: KeyId,
    /// The other region.
    pub region: Region,
    /// What differs; `reached` when the region could not be asked.
    pub property: String,
    /// Whether it ought to be the same.
    pub shared: bool,
    /// What it is here.
    pub here: String,
    /// What it is there.
    pub there: String,
}

/// Where another root key is read from, by whoever has the keystore open.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewRootKey {
    /// The file.
    pub file: PathBuf,
    /// What it holds.
    #[serde(default)]
    pub holds: RootKeyForm,
}

/// What the file of a root key holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RootKeyForm {
    /// The key, as 64 hex digits.
    #[default]
    Key,
    /// A passphrase.
    Passphrase,
    /// The key, as a key service wrapped it.
    Wrapped,
}

/// A root key that a key service made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RootKeyWrapped {
    /// The content of its file.
    pub text: String,
}

/// The keystore is sealed under another root key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RootKeyChanged {
    /// Where the root key is.
    pub file: PathBuf,
    /// How the configuration names it.
    pub setting: String,
    /// Keys in the keystore.
    pub keys: usize,
}

/// The key versions of a backup.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyVersions {
    /// Id of the key, id of the version.
    pub versions: Vec<(KeyId, String)>,
}

/// What came back from a backup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeysRestored {
    /// Key versions that the backup holds.
    pub versions: usize,
    /// Keys that were missing here.
    pub keys_added: usize,
    /// Key versions that were missing here.
    pub versions_added: usize,
    /// Key versions that were destroyed here since, or forgotten, and stay away.
    #[serde(default)]
    pub left_out: usize,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_hundred_calls_those_are_counted_that_nobody_made() {
        assert_eq!(KeyCalls::of(0, 0), None);
        let percent = |made, saved| KeyCalls::of(made, saved).unwrap().saved_percent;
        assert!((percent(1, 0) - 0.0).abs() < f64::EPSILON);
        assert!((percent(10, 9_990) - 99.9).abs() < 1e-9);
    }
}
