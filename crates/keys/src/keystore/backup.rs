//! Backups of a keystore: sealed under a passphrase, opened again before they are
//! believed, and taken back.

use std::{path::Path, sync::Arc};

use sealift_terms::{Clock, Disk, KeyId, Rng};

use super::{Body, Cmk, KeyError, LocalKeystore, World, encode, parse};
use crate::RootSecret;

/// How a backup is named in errors.
const SUBJECT: &str = "the backup";

/// A backup of a keystore, and what is in it.
#[derive(Debug, Clone)]
pub struct Backup {
    /// The sealed file.
    pub bytes: Vec<u8>,
    /// The key versions that it holds.
    pub versions: Vec<(KeyId, String)>,
}

/// What a keystore took back from a backup.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Restored {
    /// Keys that were missing.
    pub keys_added: usize,
    /// Key versions that were missing, those of missing keys included.
    pub versions_added: usize,
    /// Key versions of the backup that were destroyed here since, or whose imported material
    /// was forgotten: those stay away.
    pub left_out: usize,
    /// The key versions that the backup holds.
    pub versions: Vec<(KeyId, String)>,
}

impl LocalKeystore {
    /// Makes a keystore from a backup. An existing one is an error.
    ///
    /// # Errors
    /// [`KeyError::KeystoreNotAuthentic`] for a wrong passphrase or an altered backup.
    pub fn restore(
        disk: Arc<dyn Disk>,
        clock: Arc<dyn Clock>,
        rng: Arc<dyn Rng>,
        path: &Path,
        secret: RootSecret,
        backup: &[u8],
        passphrase: &RootSecret,
    ) -> Result<Self, KeyError> {
        let body = opened(backup, passphrase)?;
        Self::install(World { disk, clock, rng }, path, secret, body)
    }

    /// Takes back from a backup of this keystore what is missing here. What is here
    /// stays as it is: a key that was disabled since stays disabled.
    ///
    /// # Errors
    /// [`KeyError::KeystoreNotAuthentic`] for a wrong passphrase or an altered backup,
    /// [`KeyError::BackupForeign`] and [`KeyError::BackupDiffers`] for one that does
    /// not belong to this keystore; nothing was taken then.
    pub fn take_back(&self, backup: &[u8], passphrase: &RootSecret) -> Result<Restored, KeyError> {
        let copy = opened(backup, passphrase)?;
        self.change(|body| {
            if body.facts_secret.expose() != copy.facts_secret.expose() {
                return Err(KeyError::BackupForeign {
                    path: self.path.clone(),
                });
            }
            let (mut keys_added, mut versions_added, mut left_out) = (0, 0, 0);
            for key in &copy.keys {
                match body.keys.iter_mut().find(|own| own.id == key.id) {
                    Some(own) => {
                        let (added, destroyed) = own.take_back(key)?;
                        versions_added += added;
                        left_out += destroyed;
                    }
                    None if body.destroyed.contains(&key.id) => left_out += key.held().count(),
                    None => {
                        body.hold_alias_free(key)?;
                        keys_added += 1;
                        versions_added += key.held().count();
                        body.keys.push(key.clone());
                    }
                }
            }
            let versions = copy.versions();
            body.mark_backed_up(&versions);
            Ok(Restored {
                keys_added,
                versions_added,
                left_out,
                versions,
            })
        })
    }

    /// Seals a copy of everything under a passphrase. Once the caller has it where it
    /// is to rest and has opened it there, [`Self::mark_backed_up`] says so.
    ///
    /// # Errors
    /// [`KeyError::RootKey`] when the passphrase cannot be used.
    pub fn backup(&self, passphrase: &RootSecret) -> Result<Backup, KeyError> {
        let body = self.body();
        let bytes = encode(passphrase, self.cost, &*self.world.rng, &body)?;
        Ok(Backup {
            versions: body.versions(),
            bytes,
        })
    }

    /// Opens a backup: the key versions that it holds.
    ///
    /// # Errors
    /// [`KeyError::KeystoreNotAuthentic`] for a wrong passphrase or an altered backup.
    pub fn verify_backup(
        backup: &[u8],
        passphrase: &RootSecret,
    ) -> Result<Vec<(KeyId, String)>, KeyError> {
        Ok(opened(backup, passphrase)?.versions())
    }

    /// Remembers that a backup, opened where it rests, holds these key versions.
    ///
    /// # Errors
    /// What the disk says.
    pub fn mark_backed_up(&self, versions: &[(KeyId, String)]) -> Result<(), KeyError> {
        self.change(|body| {
            body.mark_backed_up(versions);
            Ok(())
        })
    }

    /// The key versions that no backup holds.
    #[must_use]
    pub fn without_backup(&self) -> Vec<(KeyId, String)> {
        let described = self.list();
        let versions = described.iter().flat_map(|key| {
            let missing = key.versions.iter().filter(|version| !version.backed_up);
            missing.map(|version| (key.id.clone(), version.id.clone()))
        });
        versions.collect()
    }
}

/// What came out of a backup is in one.
fn opened(backup: &[u8], passphrase: &RootSecret) -> Result<Body, KeyError> {
    let mut body = parse(passphrase, SUBJECT, backup)?;
    let versions = body.versions();
    body.mark_backed_up(&versions);
    Ok(body)
}

impl Body {
    fn hold_alias_free(&self, key: &Cmk) -> Result<(), KeyError> {
        match &key.alias {
            Some(alias) if self.find(alias.as_str()).is_some() => Err(KeyError::AliasTaken {
                alias: alias.clone(),
            }),
            _ => Ok(()),
        }
    }

    fn mark_backed_up(&mut self, held: &[(KeyId, String)]) {
        for cmk in &mut self.keys {
            cmk.mark_backed_up_in(held);
        }
    }

    fn versions(&self) -> Vec<(KeyId, String)> {
        let of = |cmk: &Cmk| {
            let id = cmk.id.clone();
            cmk.held()
                .map(|version| (id.clone(), version.id.clone()))
                .collect::<Vec<_>>()
        };
        self.keys.iter().flat_map(of).collect()
    }
}
