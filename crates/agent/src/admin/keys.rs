//! Asking for keys: what can be done with them, and what comes back.

use std::path::PathBuf;

use sealift_keys::{ImportedMaterial, KeyChange, StretchedPassphrase};
use sealift_terms::{DeletionDays, KeyAlias, KeyId, KeyNote, RotationDays, Timestamp};
use serde::{Deserialize, Serialize};

/// What is to be done with the keys of the embedded keystore.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "act", rename_all = "kebab-case", deny_unknown_fields)]
#[non_exhaustive]
pub enum Keys {
    /// Every key with its life and what rests under each version;
    /// [`KeyLife`](sealift_keys::KeyLife)s.
    List,
    /// One key in the same way; its life.
    Describe {
        /// Id or alias.
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

/// Where another root key is read from, by whoever has the keystore open.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewRootKey {
    /// The file.
    pub file: PathBuf,
    /// Whether it holds a passphrase instead of a key.
    #[serde(default)]
    pub is_passphrase: bool,
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
