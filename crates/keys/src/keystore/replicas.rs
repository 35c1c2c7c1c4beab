//! Keys of several regions: given to another one, kept the same in all, led by one of them.

use sealift_terms::{KeyId, Region, Timestamp, limits::KEY_VERSIONS_PER_EXCHANGE_MAX};

use super::{Body, LocalKeystore, cmk::Cmk, missing, regions::unseen};
use crate::{KeyDescription, KeyError, KeySeen, KeyState, SharedKey};

/// What became of a step between two regions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Synchronized {
    /// The key from now on.
    pub key: KeyDescription,
    /// How it looks from outside.
    pub seen: KeySeen,
    /// When what is shared was last changed, by the primary's clock.
    pub changed_at: Timestamp,
    /// Whether another version wraps since.
    pub activated: bool,
}

impl LocalKeystore {
    /// Whether a key may be given to `region` from here: it is one of several regions, this
    /// one leads, and its residency allows it. Its id.
    ///
    /// # Errors
    /// [`KeyError::NotShared`], [`KeyError::NotPrimary`], [`KeyError::Residency`],
    /// [`KeyError::StateForbids`], [`KeyError::RegionsDiffer`] for one region too many.
    pub fn replicable(&self, key: &str, region: &Region) -> Result<KeyId, KeyError> {
        let (body, now) = (self.body(), self.world.clock.now());
        let cmk = body.find(key).ok_or_else(|| missing(key))?;
        cmk.hold_replicable(region, now)?;
        Ok(cmk.id.clone())
    }

    /// Remembers that a key is to be in `region`, too. Said twice it is said once.
    ///
    /// # Errors
    /// As [`replicable`](Self::replicable), or what the disk says.
    pub fn add_replica(&self, key: &str, region: &Region) -> Result<KeyDescription, KeyError> {
        let now = self.world.clock.now();
        self.change(|body| {
            let cmk = body.find_mut(key)?;
            cmk.hold_replicable(region, now)?;
            let regions = cmk.leading_mut()?;
            if regions.replica_mut(region).is_none() {
                regions.replicas.push(unseen(region.clone()));
                regions.members.insert(region.clone());
                regions.changed(now);
            }
            Ok(cmk.describe(now))
        })
    }

    /// What a replica that has the first `after` versions of a key lacks.
    ///
    /// # Errors
    /// [`KeyError::Missing`], [`KeyError::NotShared`], [`KeyError::NotPrimary`].
    pub fn share(&self, key: &str, after: u64) -> Result<SharedKey, KeyError> {
        let body = self.body();
        let cmk = body.find(key).ok_or_else(|| missing(key))?;
        cmk.to_share(after, KEY_VERSIONS_PER_EXCHANGE_MAX)
    }

    /// Remembers how far a replica says that it is. A new version wraps from then on if
    /// that was the last replica to have it.
    ///
    /// # Errors
    /// [`KeyError::NotShared`], [`KeyError::NotPrimary`], [`KeyError::NoReplica`],
    /// [`KeyError::RegionsDiffer`] when a version there is another one than here, or what
    /// the disk says.
    pub fn replica_is(&self, key: &str, replica: &KeySeen) -> Result<Synchronized, KeyError> {
        let KeySeen {
            region,
            versions,
            generation,
            ..
        } = replica;
        let now = self.world.clock.now();
        self.change(|body| {
            let cmk = body.find_mut(key)?;
            let (id, before) = (cmk.id.to_string(), cmk.shared()?.active.clone());
            if cmk.seen(now)?.has_another_version(replica) {
                return Err(cmk.differs("one number of a version stands for two"));
            }
            let regions = cmk.leading_mut()?;
            if *generation > regions.generation {
                // This keystore is an older copy: what it says has to be news all the same.
                regions.generation = *generation;
                regions.changed(now);
            }
            let (is_whole, changed_at) = (*generation == regions.generation, regions.changed_at);
            let replica = regions.replica_mut(region).ok_or(KeyError::NoReplica {
                key: id,
                region: region.clone(),
            })?;
            (replica.versions, replica.generation) = (*versions, *generation);
            if is_whole {
                replica.synchronized = Some(now);
            }
            cmk.activate(now);
            cmk.synchronized(&before, changed_at, now)
        })
    }

    /// Takes up what the primary of a key says, for a replica in `region`; makes it where
    /// there is none. One that was destroyed here comes back only when it `is_new`.
    ///
    /// # Errors
    /// [`KeyError::Missing`] for one that was destroyed here, [`KeyError::PrimaryBefore`] for
    /// what a primary says that has a successor, [`KeyError::RegionsDiffer`] for what
    /// contradicts what is here, or what the disk says.
    pub fn take_shared(
        &self,
        shared: &SharedKey,
        region: &Region,
        is_new: bool,
    ) -> Result<Synchronized, KeyError> {
        let now = self.world.clock.now();
        self.change(|body| {
            match is_new {
                true => body.destroyed.retain(|id| *id != shared.key),
                false if body.destroyed.contains(&shared.key) => {
                    return Err(missing(shared.key.as_str()));
                }
                false => {}
            }
            let own = body.keys.iter().position(|cmk| cmk.id == shared.key);
            let before = own.and_then(|at| body.keys.get(at));
            let before = before.and_then(|cmk| cmk.regions.as_ref());
            let before = before.map(|regions| regions.active.clone());
            match own.and_then(|at| body.keys.get_mut(at)) {
                Some(cmk) => cmk.take_shared(shared, now)?,
                None => body.keys.push(Cmk::replica_of(shared, region, now)?),
            }
            let cmk = body.by_id(&shared.key)?;
            cmk.synchronized(&before.unwrap_or_default(), shared.changed_at, now)
        })
    }

    /// Gives the lead to `region`, which asks for it with the term that follows. Asked twice
    /// it answers twice.
    ///
    /// # Errors
    /// [`KeyError::PrimaryBefore`] for another term, [`KeyError::NoReplica`],
    /// [`KeyError::ReplicaBehind`], [`KeyError::StateForbids`], or what the disk says.
    pub fn yield_to(&self, key: &str, region: &Region, term: u64) -> Result<KeySeen, KeyError> {
        let now = self.world.clock.now();
        let is_done = |cmk: &Cmk| {
            let regions = cmk.regions.as_ref();
            regions.is_some_and(|regions| regions.term == term && regions.primary == *region)
        };
        if let Some(cmk) = self.body().find(key).filter(|cmk| is_done(cmk)) {
            return cmk.seen(now);
        }
        self.change(|body| {
            let cmk = body.find_mut(key)?;
            cmk.hold_yieldable(region, term, now)?;
            let regions = cmk.leading_mut()?;
            regions.primary = region.clone();
            regions.term = term;
            regions.replicas.clear();
            cmk.seen(now)
        })
    }

    /// Becomes the primary of a key, with the term that follows the one known here.
    ///
    /// # Errors
    /// [`KeyError::NotShared`], [`KeyError::StateForbids`] while it waits for its deletion,
    /// or what the disk says.
    pub fn take_over(&self, key: &str, term: u64) -> Result<KeyDescription, KeyError> {
        let now = self.world.clock.now();
        self.change(|body| {
            let cmk = body.find_mut(key)?;
            cmk.hold_not_deleted("promoted", now)?;
            let known = cmk.shared()?.term;
            if cmk.is_replica() {
                if term <= known {
                    return Err(cmk.differs("it had another primary meanwhile"));
                }
                cmk.lead(term, now)?;
            }
            Ok(cmk.describe(now))
        })
    }

    /// Forgets the replica in `region`: it is gone, or somebody answers for that. The primary
    /// that waited for the last one waits for its own deletion from then on.
    ///
    /// # Errors
    /// [`KeyError::NotPrimary`], [`KeyError::NoReplica`], or what the disk says.
    pub fn remove_replica(&self, key: &str, region: &Region) -> Result<KeyDescription, KeyError> {
        let now = self.world.clock.now();
        self.change(|body| {
            let cmk = body.find_mut(key)?;
            let id = cmk.id.to_string();
            let regions = cmk.leading_mut()?;
            if regions.replica_mut(region).is_none() {
                return Err(KeyError::NoReplica {
                    key: id,
                    region: region.clone(),
                });
            }
            regions.replicas.retain(|replica| replica.region != *region);
            regions.members.remove(region);
            regions.changed(now);
            let (is_last, days) = (regions.replicas.is_empty(), regions.delete_after);
            if is_last && cmk.state == KeyState::PendingReplicaDeletion {
                cmk.state = KeyState::PendingDeletion;
                cmk.delete_at = Some(now.plus(days.unwrap_or_default().duration()));
            }
            cmk.activate(now);
            Ok(cmk.describe(now))
        })
    }

    /// How a key of several regions looks from outside; nothing of one that is not there, or
    /// of one region.
    ///
    /// # Errors
    /// [`KeyError::Missing`], [`KeyError::NotShared`].
    pub fn seen(&self, key: &str) -> Result<KeySeen, KeyError> {
        let body = self.body();
        let cmk = body.find(key).ok_or_else(|| missing(key))?;
        cmk.seen(self.world.clock.now())
    }

    /// Whether a key was destroyed here.
    #[must_use]
    pub fn was_destroyed(&self, key: &KeyId) -> bool {
        self.body().destroyed.contains(key)
    }
}

impl Body {
    fn by_id(&self, id: &KeyId) -> Result<&Cmk, KeyError> {
        let found = self.keys.iter().find(|cmk| cmk.id == *id);
        found.ok_or_else(|| missing(id.as_str()))
    }
}

impl Cmk {
    fn hold_replicable(&self, region: &Region, now: Timestamp) -> Result<(), KeyError> {
        let regions = self.shared()?;
        self.hold_primary()?;
        self.hold_not_deleted("given to another region", now)?;
        if *region == self.region {
            return Err(self.differs("this is the region that it is of"));
        }
        if !regions.may_be_in(region) {
            return Err(KeyError::Residency {
                key: self.id.to_string(),
                region: region.clone(),
            });
        }
        match regions.members.contains(region) {
            true => Ok(()),
            false => self.hold_room(),
        }
    }

    fn hold_yieldable(&self, region: &Region, term: u64, now: Timestamp) -> Result<(), KeyError> {
        let regions = self.shared()?;
        self.hold_primary()?;
        self.hold_not_deleted("led by another region", now)?;
        let key = || self.id.to_string();
        if regions.term.checked_add(1) != Some(term) {
            return Err(KeyError::PrimaryBefore {
                key: key(),
                primary: regions.primary.clone(),
            });
        }
        let mut replicas = regions.replicas.iter();
        let replica = replicas.find(|replica| replica.region == *region);
        let replica = replica.ok_or_else(|| KeyError::NoReplica {
            key: key(),
            region: region.clone(),
        })?;
        match (replica.versions, replica.generation) == (self.count(), regions.generation) {
            true => Ok(()),
            false => Err(KeyError::ReplicaBehind {
                key: key(),
                region: region.clone(),
            }),
        }
    }

    fn hold_not_deleted(&self, act: &'static str, now: Timestamp) -> Result<(), KeyError> {
        match self.state {
            KeyState::PendingDeletion | KeyState::PendingReplicaDeletion => {
                Err(self.forbids(act, now))
            }
            _ => Ok(()),
        }
    }

    fn synchronized(
        &self,
        before: &str,
        changed_at: Timestamp,
        now: Timestamp,
    ) -> Result<Synchronized, KeyError> {
        let seen = self.seen(now)?;
        Ok(Synchronized {
            key: self.describe(now),
            activated: seen.current != before,
            changed_at,
            seen,
        })
    }
}
