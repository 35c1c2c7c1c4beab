//! Asking for keys: what can be done with them, and what comes back.

use sealift_keys::StretchedPassphrase;
use sealift_terms::{KeyAlias, KeyId};
use serde::{Deserialize, Serialize};

/// What is to be done with the keys of the embedded keystore.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "act", rename_all = "kebab-case", deny_unknown_fields)]
#[non_exhaustive]
pub enum Keys {
    /// Every key; [`KeyDescription`](sealift_keys::KeyDescription)s.
    List,
    /// A new key of the site's region; its description.
    Create {
        /// Its human name.
        alias: KeyAlias,
    },
    /// A new version, which seals from now on; the key's description.
    Rotate {
        /// Id or alias.
        key: String,
        /// Why, for the audit log.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
    },
    /// Stops all use of a key; its description.
    Disable {
        /// Id or alias.
        key: String,
    },
    /// Lets a disabled key be used again; its description.
    Enable {
        /// Id or alias.
        key: String,
    },
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
}
