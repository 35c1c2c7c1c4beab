//! What becomes of the keys of a keystore: made, changed, rotated, stopped, destroyed.

use sealift_terms::{DeletionDays, KeyAlias, KeyId, KeyNote, Region, Timestamp};

use super::{Body, LocalKeystore, cmk::Cmk, cmk::CmkVersion, missing};
use crate::{
    KeyChange, KeyDescription, KeyError, KeyLife, KeyOrigin, KeyState, NewKey, material::Material,
};

impl LocalKeystore {
    /// Makes a CMK of `region` with one version.
    ///
    /// # Errors
    /// [`KeyError::AliasTaken`], or what the disk says.
    pub fn create_key(
        &self,
        alias: Option<KeyAlias>,
        region: Region,
    ) -> Result<KeyDescription, KeyError> {
        self.create_new(NewKey {
            alias,
            ..NewKey::of(region)
        })
    }

    /// Makes a CMK with one version.
    ///
    /// # Errors
    /// As [`create_key`](Self::create_key).
    pub fn create_new(&self, new: NewKey) -> Result<KeyDescription, KeyError> {
        let (rng, now) = (&*self.world.rng, self.world.clock.now());
        self.change(|body| {
            let material = Material::random(rng);
            let cmk = body.add(new, KeyOrigin::Generated, now, material, rng)?;
            Ok(cmk.describe(now))
        })
    }

    /// Changes what is written about a CMK.
    ///
    /// # Errors
    /// [`KeyError::Missing`], [`KeyError::AliasTaken`], [`KeyError::Imported`] for a time
    /// between rotations of an imported one, or what the disk says.
    pub fn set(&self, key: &str, change: KeyChange) -> Result<KeyDescription, KeyError> {
        let now = self.world.clock.now();
        self.change(|body| {
            if let Some(alias) = &change.alias
                && let Some(other) = body.find(alias.as_str())
                && !other.is_called(key)
            {
                let alias = alias.clone();
                return Err(KeyError::AliasTaken { alias });
            }
            let cmk = body.find_mut(key)?;
            if let Some(days) = change.rotate_every_days {
                cmk.hold_generated()?;
                cmk.hold_primary()?;
                cmk.rotate_every_days = days;
                cmk.regions
                    .iter_mut()
                    .for_each(|regions| regions.changed(now));
            }
            cmk.alias = change.alias.or(cmk.alias.take());
            cmk.description = change.description.or(cmk.description.take());
            Ok(cmk.describe(now))
        })
    }

    /// Gives a CMK a new version, which wraps from now on, or once every replica has it;
    /// older ones still unwrap.
    ///
    /// # Errors
    /// [`KeyError::Missing`], [`KeyError::StateForbids`] unless enabled,
    /// [`KeyError::Imported`], or what the disk says.
    pub fn rotate(&self, key: &str) -> Result<KeyDescription, KeyError> {
        self.rotate_because(key, None)
    }

    /// As [`rotate`](Self::rotate), and remembers why with the version.
    ///
    /// # Errors
    /// As [`rotate`](Self::rotate).
    pub fn rotate_because(
        &self,
        key: &str,
        reason: Option<KeyNote>,
    ) -> Result<KeyDescription, KeyError> {
        let (rng, now) = (&*self.world.rng, self.world.clock.now());
        self.change(|body| {
            let cmk = body.find_mut(key)?;
            if !cmk.state_at(now).is_usable() {
                return Err(cmk.forbids("rotated", now));
            }
            cmk.hold_generated()?;
            cmk.hold_primary()?;
            cmk.hold_newest()?;
            let version = CmkVersion::new(cmk.versions.len(), now, Material::random(rng));
            cmk.versions.push(CmkVersion { reason, ..version });
            cmk.regions
                .iter_mut()
                .for_each(|regions| regions.changed(now));
            // It wraps at once, unless a replica has to have it first.
            cmk.activate(now);
            Ok(cmk.describe(now))
        })
    }

    /// Lets a disabled CMK be used again.
    ///
    /// # Errors
    /// [`KeyError::Missing`], [`KeyError::StateForbids`], or what the disk says.
    pub fn enable(&self, key: &str) -> Result<KeyDescription, KeyError> {
        self.set_state(key, KeyState::Enabled, "enabled", KeyState::can_be_enabled)
    }

    /// Stops all use of a CMK until it is enabled again.
    ///
    /// # Errors
    /// [`KeyError::Missing`], [`KeyError::StateForbids`], or what the disk says.
    pub fn disable(&self, key: &str) -> Result<KeyDescription, KeyError> {
        let may = KeyState::can_be_disabled;
        self.set_state(key, KeyState::Disabled, "disabled", may)
    }

    fn set_state(
        &self,
        key: &str,
        state: KeyState,
        act: &'static str,
        may: fn(KeyState) -> bool,
    ) -> Result<KeyDescription, KeyError> {
        let now = self.world.clock.now();
        self.change(|body| {
            let cmk = body.find_mut(key)?;
            if !may(cmk.state_at(now)) {
                return Err(cmk.forbids(act, now));
            }
            cmk.state = state;
            Ok(cmk.describe(now))
        })
    }

    /// Stops all use of a CMK, and says when it may be destroyed; of a primary, once its
    /// replicas are gone.
    ///
    /// # Errors
    /// [`KeyError::Missing`], [`KeyError::StateForbids`], or what the disk says.
    pub fn schedule_deletion(
        &self,
        key: &str,
        days: DeletionDays,
    ) -> Result<KeyDescription, KeyError> {
        let now = self.world.clock.now();
        self.change(|body| {
            let cmk = body.find_mut(key)?;
            if !cmk.state.can_be_deleted() {
                return Err(cmk.forbids("deleted once more", now));
            }
            let regions = cmk.regions.as_mut();
            match regions.filter(|regions| !regions.replicas.is_empty()) {
                // The primary goes last.
                Some(regions) => {
                    regions.delete_after = Some(days);
                    cmk.state = KeyState::PendingReplicaDeletion;
                }
                None => {
                    cmk.state = KeyState::PendingDeletion;
                    cmk.delete_at = Some(now.plus(days.duration()));
                }
            }
            Ok(cmk.describe(now))
        })
    }

    /// Keeps a CMK that was to be destroyed; it is disabled from then on.
    ///
    /// # Errors
    /// [`KeyError::Missing`], [`KeyError::StateForbids`], or what the disk says.
    pub fn cancel_deletion(&self, key: &str) -> Result<KeyDescription, KeyError> {
        let now = self.world.clock.now();
        self.change(|body| {
            let cmk = body.find_mut(key)?;
            let waits = [KeyState::PendingDeletion, KeyState::PendingReplicaDeletion];
            if !waits.contains(&cmk.state) {
                return Err(cmk.forbids("kept from a deletion", now));
            }
            cmk.delete_at = None;
            cmk.regions
                .iter_mut()
                .for_each(|regions| regions.delete_after = None);
            let is_there = cmk.current().is_some_and(|one| one.material.is_some());
            cmk.state = match is_there {
                true => KeyState::Disabled,
                false => KeyState::PendingImport,
            };
            Ok(cmk.describe(now))
        })
    }

    /// Destroys a CMK whose time has come, here and in every copy of the keystore. Who
    /// calls this has seen that nothing rests under it.
    ///
    /// # Errors
    /// [`KeyError::Missing`], [`KeyError::StateForbids`] before its time, or what the disk
    /// says.
    pub fn destroy(&self, key: &str) -> Result<KeyDescription, KeyError> {
        let now = self.world.clock.now();
        self.change(|body| {
            let cmk = body.find_mut(key)?;
            let is_due = cmk.delete_at.is_some_and(|due| due <= now);
            if cmk.state != KeyState::PendingDeletion || !is_due {
                return Err(cmk.forbids("destroyed yet", now));
            }
            let (id, described) = (cmk.id.clone(), cmk.describe(now));
            body.keys.retain(|one| one.id != id);
            body.destroyed.push(id);
            body.copies_from = body.sequence;
            Ok(described)
        })
    }

    /// Destroys the material of an old version of a CMK, here and in every copy of the
    /// keystore. Who calls this has seen that nothing rests under it.
    ///
    /// # Errors
    /// [`KeyError::Missing`], [`KeyError::VersionMissing`], [`KeyError::InUse`] for the
    /// version that wraps or did a moment ago, or what the disk says.
    pub fn retire(&self, key: &str, version: &str) -> Result<KeyDescription, KeyError> {
        let now = self.world.clock.now();
        self.change(|body| {
            let cmk = body.find_mut(key)?;
            cmk.hold_retirable(version, now)?;
            let one = cmk.version_mut(version)?;
            one.material = None;
            one.destroyed = Some(now);
            let described = cmk.describe(now);
            body.copies_from = body.sequence;
            Ok(described)
        })
    }

    /// Whether a version could be destroyed now, whatever rests under it; the key's id.
    ///
    /// # Errors
    /// As [`retire`](Self::retire).
    pub fn retirable(&self, key: &str, version: &str) -> Result<KeyId, KeyError> {
        let body = self.body();
        let cmk = body.find(key).ok_or_else(|| missing(key))?;
        cmk.hold_retirable(version, self.world.clock.now())?;
        Ok(cmk.id.clone())
    }

    /// Every CMK with its life, in the order they were made.
    #[must_use]
    pub fn lives(&self) -> Vec<KeyLife> {
        let now = self.world.clock.now();
        self.body().keys.iter().map(|cmk| cmk.life(now)).collect()
    }

    /// One of them.
    ///
    /// # Errors
    /// [`KeyError::Missing`].
    pub fn life(&self, key: &str) -> Result<KeyLife, KeyError> {
        let body = self.body();
        let cmk = body.find(key).ok_or_else(|| missing(key))?;
        Ok(cmk.life(self.world.clock.now()))
    }
}

impl Body {
    pub(super) fn add(
        &mut self,
        new: NewKey,
        origin: KeyOrigin,
        now: Timestamp,
        material: Material,
        rng: &dyn sealift_terms::Rng,
    ) -> Result<&mut Cmk, KeyError> {
        if let Some(alias) = &new.alias
            && self.find(alias.as_str()).is_some()
        {
            let alias = alias.clone();
            return Err(KeyError::AliasTaken { alias });
        }
        let cmk = Cmk::new(new, origin, now, material, rng)?;
        let id = cmk.id.clone();
        self.keys.push(cmk);
        self.find_mut(id.as_str())
    }
}

impl Cmk {
    fn hold_generated(&self) -> Result<(), KeyError> {
        match self.origin.is_generated() {
            true => Ok(()),
            false => Err(KeyError::Imported {
                key: self.id.to_string(),
                what: "its versions are brought by hand",
            }),
        }
    }

    fn hold_retirable(&self, version: &str, now: Timestamp) -> Result<(), KeyError> {
        let one = self.version(version);
        if one.is_none_or(|one| one.destroyed.is_some()) {
            return Err(KeyError::VersionMissing {
                key: self.id.to_string(),
                version: version.to_owned(),
            });
        }
        let by = match self.retirable_from(version) {
            None => "it is the one that wraps, or will".to_owned(),
            Some(from) if from > now => {
                format!("it wrapped until a moment ago; it can be destroyed from {from} on")
            }
            Some(_) => return Ok(()),
        };
        Err(KeyError::InUse {
            what: format!("version {version} of key {}", self.id),
            by,
        })
    }
}
