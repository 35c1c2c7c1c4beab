//! Material that people bring: the same bytes, by hand, in several regions.

use std::collections::BTreeSet;

use sealift_terms::Timestamp;

use super::{LocalKeystore, cmk::Cmk, cmk::CmkVersion};
use crate::{
    ImportedMaterial, KeyDescription, KeyError, KeyOrigin, KeyState, NewKey, material::Material,
};

/// Of 32 random bytes fewer are different from each other once in 10^13 tries: what has
/// fewer was not drawn at random.
const DIFFERENT_BYTES_MIN: usize = 16;

/// Material that is to be imported.
#[derive(Debug)]
pub struct Import {
    /// Until when it may be used; for good without it.
    pub expires: Option<Timestamp>,
    /// Whether it is a new version of the key, which wraps from then on.
    pub is_new_version: bool,
    /// The material.
    pub material: ImportedMaterial,
}

impl LocalKeystore {
    /// Imports material: into a new key, or into the one that is called so, which takes
    /// what it had before, or a new version where that is said.
    ///
    /// # Errors
    /// [`KeyError::Imported`] for material that the key did not have, that has no
    /// randomness, or that a key made here is to take; [`KeyError::StateForbids`] while
    /// it waits for its deletion; what the disk says.
    pub fn import(&self, new: NewKey, import: Import) -> Result<KeyDescription, KeyError> {
        let (rng, now) = (&*self.world.rng, self.world.clock.now());
        let name = new.alias.clone().map(|alias| alias.to_string());
        let key = name.unwrap_or_default();
        let refused = |what| KeyError::Imported {
            key: key.clone(),
            what,
        };
        let Import {
            expires,
            is_new_version,
            material: ImportedMaterial(material),
        } = import;
        let different: BTreeSet<&u8> = material.expose().iter().collect();
        if different.len() < DIFFERENT_BYTES_MIN {
            return Err(refused("these bytes were not drawn at random"));
        }
        if expires.is_some_and(|expires| expires <= now) {
            return Err(refused("its time is over already"));
        }
        self.change(|body| {
            let cmk = match body.find_mut(&key) {
                Ok(cmk) => {
                    cmk.take_import(material, is_new_version, now)?;
                    cmk.description = new.description.or(cmk.description.take());
                    cmk
                }
                Err(error) if is_new_version => return Err(error),
                Err(_) => body.add(new, KeyOrigin::Imported, now, material, rng)?,
            };
            cmk.expires = expires;
            Ok(cmk.describe(now))
        })
    }

    /// Forgets imported material whose time is over, here and in every copy of the
    /// keystore; the keys of which some was forgotten.
    ///
    /// # Errors
    /// What the disk says.
    pub fn forget_expired(&self) -> Result<Vec<KeyDescription>, KeyError> {
        let now = self.world.clock.now();
        if !self.body().keys.iter().any(|cmk| cmk.is_expired(now)) {
            return Ok(Vec::new());
        }
        self.change(|body| {
            body.copies_from = body.sequence;
            let expired = body.keys.iter_mut().filter(|cmk| cmk.is_expired(now));
            let forget = |cmk: &mut Cmk| {
                let versions = cmk.versions.iter_mut();
                versions.for_each(|version| version.material = None);
                cmk.expires = None;
                if cmk.state != KeyState::PendingDeletion {
                    cmk.state = KeyState::PendingImport;
                }
                cmk.describe(now)
            };
            Ok(expired.map(forget).collect())
        })
    }
}

impl Cmk {
    fn is_expired(&self, now: Timestamp) -> bool {
        self.expires.is_some_and(|expires| expires <= now)
    }

    fn take_import(
        &mut self,
        material: Material,
        is_new_version: bool,
        now: Timestamp,
    ) -> Result<(), KeyError> {
        if self.state == KeyState::PendingDeletion {
            return Err(self.forbids("given material", now));
        }
        let refused = |what| KeyError::Imported {
            key: self.id.to_string(),
            what,
        };
        if self.origin != KeyOrigin::Imported {
            return Err(refused("it was made here and takes none"));
        }
        let fingerprint = material.fingerprint();
        let is_it = |one: &&mut CmkVersion| one.fingerprint.as_ref() == Some(&fingerprint);
        match self.versions.iter_mut().find(is_it) {
            Some(_) if is_new_version => return Err(refused("a version of it is the same")),
            Some(one) if one.destroyed.is_some() => return Err(refused("it was destroyed here")),
            Some(one) => one.material = Some(material),
            None if is_new_version => {
                let version = CmkVersion::new(self.versions.len(), now, material);
                self.versions.push(CmkVersion {
                    fingerprint: Some(fingerprint),
                    ..version
                });
            }
            None => return Err(refused("no version of it had this material")),
        }
        let is_there = self.current().is_some_and(|one| one.material.is_some());
        if is_there && self.state_at(now) == KeyState::PendingImport {
            self.state = KeyState::Enabled;
        }
        Ok(())
    }
}
