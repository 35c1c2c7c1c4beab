//! A passphrase that was already turned into the key of a file.

use std::fmt;

use sealift_terms::Rng;
use serde::{Deserialize, Serialize};

use crate::{KeyError, PassphraseCost, RootSecret, envelope, material::Material, root::RootLock};

/// The key that a passphrase gives for one backup, with the salt and the cost that
/// gave it.
///
/// Stretching takes 64 MiB and is done where the person is: a running agent is
/// handed this, and never learns the passphrase.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StretchedPassphrase {
    lock: RootLock,
    key: Material,
}

impl StretchedPassphrase {
    /// For a backup that is to be made, with a new salt.
    ///
    /// # Errors
    /// [`KeyError::RootKey`] when `passphrase` is none.
    pub fn for_new_backup(passphrase: &RootSecret, rng: &dyn Rng) -> Result<Self, KeyError> {
        let lock = passphrase.new_lock(rng, PassphraseCost::default());
        if lock == RootLock::Key {
            return Err(KeyError::RootKey {
                what: "a backup is sealed under a passphrase",
            });
        }
        let key = passphrase.unlock(&lock)?;
        Ok(Self { lock, key })
    }

    /// For a backup that was made.
    ///
    /// # Errors
    /// [`KeyError::KeystoreFormat`] when it is none, [`KeyError::RootKey`] when it asks
    /// for a cost that is not allowed.
    pub fn for_backup(passphrase: &RootSecret, backup: &[u8]) -> Result<Self, KeyError> {
        let lock = envelope::lock("the backup", backup)?;
        let key = passphrase.unlock(&lock)?;
        Ok(Self { lock, key })
    }

    /// What seals and opens the file.
    #[must_use]
    pub fn to_secret(&self) -> RootSecret {
        RootSecret::stretched(self.lock.clone(), self.key.clone())
    }
}

impl PartialEq for StretchedPassphrase {
    fn eq(&self, other: &Self) -> bool {
        self.lock == other.lock && self.key.expose() == other.key.expose()
    }
}

impl Eq for StretchedPassphrase {}

impl fmt::Debug for StretchedPassphrase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("StretchedPassphrase(..)")
    }
}

#[cfg(test)]
mod tests {
    use sealift_host::OsRng;

    use super::*;

    #[test]
    fn it_survives_the_way_to_an_agent_and_is_never_shown() {
        let passphrase = RootSecret::from_passphrase("correct horse").unwrap();
        let stretched = StretchedPassphrase::for_new_backup(&passphrase, &OsRng).unwrap();
        let json = serde_json::to_vec(&stretched).unwrap();
        let read: StretchedPassphrase = serde_json::from_slice(&json).unwrap();
        assert_eq!(read, stretched);
        assert_eq!(format!("{read:?}"), "StretchedPassphrase(..)");
        assert!(read.to_secret().to_file_text().is_none());
        let key = RootSecret::generate(&OsRng);
        assert!(StretchedPassphrase::for_new_backup(&key, &OsRng).is_err());
    }

    #[test]
    fn it_opens_what_was_sealed_with_its_salt_and_nothing_else() {
        let passphrase = RootSecret::from_passphrase("correct horse").unwrap();
        let cost = PassphraseCost::default();
        let first = StretchedPassphrase::for_new_backup(&passphrase, &OsRng).unwrap();
        let file = envelope::seal(&first.to_secret(), cost, &OsRng, b"{}").unwrap();
        assert_eq!(*envelope::open(&passphrase, "f", &file).unwrap(), b"{}");
        let again = StretchedPassphrase::for_backup(&passphrase, &file).unwrap();
        assert_eq!(
            *envelope::open(&again.to_secret(), "f", &file).unwrap(),
            b"{}"
        );
        let other = StretchedPassphrase::for_new_backup(&passphrase, &OsRng).unwrap();
        assert!(envelope::open(&other.to_secret(), "f", &file).is_err());
        let wrong = RootSecret::from_passphrase("battery staple").unwrap();
        let wrong = StretchedPassphrase::for_backup(&wrong, &file).unwrap();
        let error = envelope::open(&wrong.to_secret(), "f", &file).unwrap_err();
        assert!(matches!(error, KeyError::KeystoreNotAuthentic { .. }));
    }
}
