//! The keystore's root key and where it comes from.

use std::{
    env, fmt,
    path::{Path, PathBuf},
};

use argon2::{Algorithm, Argon2, Params, Version};
use sealift_host::{read_credential_file, read_secret_file};
use sealift_terms::{Rng, limits::PASSPHRASE_CHARS_MIN};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::{KeyError, material::Material};

/// A root key file: 64 hex digits and a line end, with some room.
const ROOT_FILE_BYTES_MAX: usize = 128;
/// A passphrase file.
const PASSPHRASE_BYTES_MAX: usize = 1024;

/// What opens a keystore.
#[derive(Clone)]
pub struct RootSecret(Secret);

#[derive(Clone)]
enum Secret {
    /// A key of 32 bytes.
    Key(Material),
    /// A passphrase, from which argon2id makes the key.
    Passphrase(Zeroizing<Vec<u8>>),
    /// The key that a passphrase gave for files that name this lock.
    Stretched { lock: RootLock, key: Material },
}

impl fmt::Debug for RootSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            Secret::Key(_) => "RootSecret(key)",
            Secret::Passphrase(_) => "RootSecret(passphrase)",
            Secret::Stretched { .. } => "RootSecret(stretched passphrase)",
        })
    }
}

impl RootSecret {
    /// A new root key, to be written with [`Self::to_file_text`].
    #[must_use]
    pub fn generate(rng: &dyn Rng) -> Self {
        Self(Secret::Key(Material::random(rng)))
    }

    /// The content of a root key file: 64 hex digits and a line end.
    /// `None` for a passphrase.
    #[must_use]
    pub fn to_file_text(&self) -> Option<Zeroizing<String>> {
        match &self.0 {
            Secret::Key(key) => {
                let mut text = key.to_hex();
                text.push('\n');
                Some(text)
            }
            Secret::Passphrase(_) | Secret::Stretched { .. } => None,
        }
    }

    /// A key that somebody else kept.
    pub(crate) const fn from_key(key: Material) -> Self {
        Self(Secret::Key(key))
    }

    /// Reads a root key file: 32 bytes in hex, readable by its owner alone.
    ///
    /// # Errors
    /// [`KeyError::SecretFile`] or [`KeyError::RootKey`].
    pub fn from_file(path: &Path) -> Result<Self, KeyError> {
        Self::from_text(&read_secret_file(path, ROOT_FILE_BYTES_MAX)?)
    }

    fn from_text(text: &[u8]) -> Result<Self, KeyError> {
        Material::from_hex(text.trim_ascii())
            .map(|key| Self(Secret::Key(key)))
            .ok_or(KeyError::RootKey {
                what: "the file does not hold 64 hex digits",
            })
    }

    /// Reads a root key from a systemd credential (`LoadCredential=`,
    /// `LoadCredentialEncrypted=`): a file of that name in `$CREDENTIALS_DIRECTORY`.
    ///
    /// # Errors
    /// As [`Self::from_file`]; [`KeyError::RootKey`] when no credentials were passed.
    pub fn from_credential(name: &str) -> Result<Self, KeyError> {
        let dir = env::var_os("CREDENTIALS_DIRECTORY").ok_or(KeyError::RootKey {
            what: "$CREDENTIALS_DIRECTORY is not set: not started by systemd with this credential",
        })?;
        Self::from_credential_in(&PathBuf::from(dir), name)
    }

    fn from_credential_in(dir: &Path, name: &str) -> Result<Self, KeyError> {
        if name.is_empty() || name.contains('/') || name.starts_with('.') {
            return Err(KeyError::RootKey {
                what: "the name of a credential is a plain file name",
            });
        }
        Self::from_text(&read_credential_file(&dir.join(name), ROOT_FILE_BYTES_MAX)?)
    }

    /// A passphrase, for break-glass and backups.
    ///
    /// # Errors
    /// [`KeyError::RootKey`] when it has fewer than 8 characters.
    pub fn from_passphrase(passphrase: &str) -> Result<Self, KeyError> {
        if passphrase.chars().count() < PASSPHRASE_CHARS_MIN {
            return Err(KeyError::RootKey {
                what: "a passphrase has at least 8 characters",
            });
        }
        Ok(Self(Secret::Passphrase(Zeroizing::new(passphrase.into()))))
    }

    /// Reads a passphrase from the first line of a file readable by its owner alone.
    ///
    /// # Errors
    /// [`KeyError::SecretFile`] or [`KeyError::RootKey`].
    pub fn from_passphrase_file(path: &Path) -> Result<Self, KeyError> {
        let text = read_secret_file(path, PASSPHRASE_BYTES_MAX)?;
        let line = text.split(|byte| *byte == b'\n').next().unwrap_or_default();
        let line = std::str::from_utf8(line).map_err(|_| KeyError::RootKey {
            what: "the passphrase is not UTF-8",
        })?;
        Self::from_passphrase(line.trim_end_matches('\r'))
    }

    /// What [`StretchedPassphrase`](crate::StretchedPassphrase) opens and seals with.
    pub(crate) fn stretched(lock: RootLock, key: Material) -> Self {
        Self(Secret::Stretched { lock, key })
    }

    /// The lock that a new envelope under this secret names.
    pub(crate) fn new_lock(&self, rng: &dyn Rng, cost: PassphraseCost) -> RootLock {
        match &self.0 {
            Secret::Key(_) => RootLock::Key,
            Secret::Stretched { lock, .. } => lock.clone(),
            Secret::Passphrase(_) => {
                let mut salt = [0; 16];
                rng.fill(&mut salt);
                RootLock::Argon2id {
                    cost,
                    salt: hex::encode(salt),
                }
            }
        }
    }

    /// The key for an envelope that names `lock`.
    pub(crate) fn unlock(&self, lock: &RootLock) -> Result<Material, KeyError> {
        match (&self.0, lock) {
            (Secret::Key(key), RootLock::Key) => Ok(key.clone()),
            (Secret::Passphrase(passphrase), RootLock::Argon2id { cost, salt }) => {
                let salt = hex::decode(salt).map_err(|_| KeyError::RootKey {
                    what: "the file's salt is not hex",
                })?;
                cost.derive(passphrase, &salt)
            }
            (Secret::Stretched { lock: own, key }, lock) if own == lock => Ok(key.clone()),
            (Secret::Stretched { .. }, _) => Err(KeyError::RootKey {
                what: "the passphrase was stretched for another file",
            }),
            (Secret::Key(_), RootLock::Argon2id { .. }) => Err(KeyError::RootKey {
                what: "the file was sealed under a passphrase, given was a key",
            }),
            (Secret::Passphrase(_), RootLock::Key) => Err(KeyError::RootKey {
                what: "the file was sealed under a key, given was a passphrase",
            }),
        }
    }
}

/// How an envelope's key is found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase", deny_unknown_fields)]
pub(crate) enum RootLock {
    /// The key is given as it is.
    Key,
    /// The key is made from a passphrase.
    Argon2id {
        #[serde(flatten)]
        cost: PassphraseCost,
        salt: String,
    },
}

/// What a guess at a passphrase costs (RFC 9106).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct PassphraseCost {
    /// Memory, in KiB.
    pub memory_kib: u32,
    /// Passes over the memory.
    pub passes: u32,
}

impl Default for PassphraseCost {
    /// 64 MiB and three passes: RFC 9106's second recommendation.
    fn default() -> Self {
        Self {
            memory_kib: 64 * 1024,
            passes: 3,
        }
    }
}

impl PassphraseCost {
    /// A file may not make its reader spend more than this.
    const MEMORY_KIB_MAX: u32 = 1024 * 1024;
    const PASSES_MAX: u32 = 16;

    fn derive(self, passphrase: &[u8], salt: &[u8]) -> Result<Material, KeyError> {
        let refused = |_| KeyError::RootKey {
            what: "the file's argon2id cost or salt is out of range",
        };
        if self.memory_kib > Self::MEMORY_KIB_MAX || self.passes > Self::PASSES_MAX {
            return Err(refused(argon2::Error::MemoryTooMuch));
        }
        let params = Params::new(self.memory_kib, self.passes, 1, Some(32)).map_err(refused)?;
        let mut key = [0; 32];
        Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
            .hash_password_into(passphrase, salt, &mut key)
            .map_err(refused)?;
        Ok(Material::from(key))
    }
}

#[cfg(test)]
mod tests {
    use std::{
        fs,
        os::unix::fs::{MetadataExt, PermissionsExt},
    };

    use sealift_host::OsRng;

    use super::*;

    fn secret_file(content: &str, mode: u32) -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("root");
        fs::write(&path, content).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        (dir, path)
    }

    #[test]
    fn a_root_key_file_comes_back_and_is_refused_when_others_can_read_it() {
        let secret = RootSecret::generate(&OsRng);
        let text = secret.to_file_text().unwrap();
        let (dir, path) = secret_file(&text, 0o600);
        let read = RootSecret::from_credential_in(dir.path(), "root").unwrap();
        assert_eq!(*read.to_file_text().unwrap(), *text);
        // As systemd makes it for a service that runs as a user of its own.
        fs::set_permissions(&path, fs::Permissions::from_mode(0o440)).unwrap();
        let is_root = fs::metadata(&path).unwrap().uid() == 0;
        let read = RootSecret::from_credential_in(dir.path(), "root");
        assert_eq!(read.is_ok(), is_root);
        assert!(RootSecret::from_file(&path).is_err());
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        assert!(RootSecret::from_file(&path).is_err());
        assert!(RootSecret::from_credential_in(dir.path(), "../root").is_err());
        for bad in ["", "abc", &"g".repeat(64), &"a".repeat(200)] {
            let (_dir, path) = secret_file(bad, 0o600);
            assert!(RootSecret::from_file(&path).is_err(), "{bad}");
        }
    }

    #[test]
    fn passphrases_are_bounded_and_a_file_cannot_ask_for_any_cost() {
        assert!(RootSecret::from_passphrase("seven77").is_err());
        let (_dir, path) = secret_file("correct horse\n", 0o600);
        let secret = RootSecret::from_passphrase_file(&path).unwrap();
        assert!(secret.to_file_text().is_none());
        assert!(!format!("{secret:?}").contains("horse"));
        let greedy = PassphraseCost {
            memory_kib: u32::MAX,
            passes: 1,
        };
        assert!(greedy.derive(b"correct horse", &[0; 16]).is_err());
    }
}
