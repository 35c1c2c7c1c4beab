//! The regions of a multi-region key: which one leads, how far each of the others is, and
//! which version wraps until all of them are as far.

use std::collections::BTreeSet;

use sealift_terms::{DeletionDays, Region, Timestamp, limits::KEY_REGIONS_MAX};
use serde::{Deserialize, Serialize};

use super::cmk::{Cmk, CmkVersion};
use crate::{
    KeyError, KeyOrigin, KeyRegions, KeyReplica, KeySeen, KeyState, SharedKey, material::Material,
    shared::SharedVersion,
};

/// What a key of several regions knows of the others.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Regions {
    /// The one that rotates.
    pub(super) primary: Region,
    /// How often another one became the primary: of two that call themselves so, the higher
    /// one is right.
    pub(super) term: u64,
    /// The number of the last change of what is shared.
    pub(super) generation: u64,
    /// When that was, by the primary's clock.
    pub(super) changed_at: Timestamp,
    /// The version that wraps.
    pub(super) active: String,
    /// Since when it does, here.
    pub(super) active_since: Timestamp,
    /// The regions that may have it; any without one.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub(super) allowed: BTreeSet<Region>,
    /// The regions that have it, this one with them.
    pub(super) members: BTreeSet<Region>,
    /// At the primary, how far each of the others is.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) replicas: Vec<KeyReplica>,
    /// At the primary, how long it waits for its deletion once the last replica is gone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) delete_after: Option<DeletionDays>,
}

impl Regions {
    /// Of a key that only `region` has so far.
    pub(super) fn first(region: Region, allowed: BTreeSet<Region>, now: Timestamp) -> Self {
        Self {
            primary: region.clone(),
            term: 1,
            generation: 1,
            changed_at: now,
            active: "1".to_owned(),
            active_since: now,
            allowed,
            members: BTreeSet::from([region]),
            replicas: Vec::new(),
            delete_after: None,
        }
    }

    pub(super) fn changed(&mut self, now: Timestamp) {
        self.generation = self.generation.saturating_add(1);
        self.changed_at = now;
    }

    pub(super) fn may_be_in(&self, region: &Region) -> bool {
        self.allowed.is_empty() || self.allowed.contains(region)
    }

    pub(super) fn replica_mut(&mut self, region: &Region) -> Option<&mut KeyReplica> {
        let mut replicas = self.replicas.iter_mut();
        replicas.find(|replica| replica.region == *region)
    }
}

/// A replica of which nothing is known yet.
pub(super) fn unseen(region: Region) -> KeyReplica {
    KeyReplica {
        region,
        versions: 0,
        generation: 0,
        synchronized: None,
        trouble: None,
    }
}

impl Cmk {
    /// Versions that there ever were.
    pub(super) fn count(&self) -> u64 {
        self.versions.len() as u64
    }

    /// Whether another region leads.
    pub(super) fn is_replica(&self) -> bool {
        let regions = self.regions.as_ref();
        regions.is_some_and(|regions| regions.primary != self.region)
    }

    /// Refuses what only the primary decides. A key of one region is its own primary.
    pub(super) fn hold_primary(&self) -> Result<(), KeyError> {
        match &self.regions {
            Some(regions) if regions.primary != self.region => Err(KeyError::NotPrimary {
                key: self.id.to_string(),
                primary: regions.primary.clone(),
            }),
            _ => Ok(()),
        }
    }

    /// Refuses to make a version under a number that a replica has another one for: this
    /// keystore is an older copy then.
    pub(super) fn hold_newest(&self) -> Result<(), KeyError> {
        let mut replicas = self.regions.iter().flat_map(|regions| &regions.replicas);
        match replicas.any(|replica| replica.versions > self.count()) {
            true => Err(self.differs("a replica has versions that are missing here")),
            false => Ok(()),
        }
    }

    /// What a key of several regions knows of them.
    pub(super) fn shared(&self) -> Result<&Regions, KeyError> {
        let key = || self.id.to_string();
        self.regions
            .as_ref()
            .ok_or_else(|| KeyError::NotShared { key: key() })
    }

    pub(super) fn shared_mut(&mut self) -> Result<&mut Regions, KeyError> {
        let key = self.id.to_string();
        self.regions.as_mut().ok_or(KeyError::NotShared { key })
    }

    /// The same, of the one region that may change what is shared.
    pub(super) fn leading_mut(&mut self) -> Result<&mut Regions, KeyError> {
        self.shared()?;
        self.hold_primary()?;
        self.shared_mut()
    }

    /// At the primary: lets the newest version wrap that every region has. Never an older
    /// one than wraps already.
    pub(super) fn activate(&mut self, now: Timestamp) {
        let newest = self.count();
        let Some(regions) = self.regions.as_mut() else {
            return;
        };
        let held = regions.replicas.iter().map(|replica| replica.versions);
        let held = held.min().unwrap_or(newest).min(newest);
        if number(&regions.active) < held {
            regions.active = held.to_string();
            regions.active_since = now;
            regions.changed(now);
        }
    }

    /// What a replica that has `after` versions lacks, as many as go at once.
    pub(super) fn to_share(&self, after: u64, at_once: usize) -> Result<SharedKey, KeyError> {
        let regions = self.shared()?;
        self.hold_primary()?;
        let skipped = usize::try_from(after).unwrap_or(usize::MAX);
        let next = self.versions.iter().skip(skipped).take(at_once);
        let version = |one: &CmkVersion| SharedVersion {
            id: one.id.clone(),
            created: one.created,
            reason: one.reason.clone(),
            material: one.material.clone(),
        };
        Ok(SharedKey {
            key: self.id.clone(),
            primary: regions.primary.clone(),
            term: regions.term,
            generation: regions.generation,
            changed_at: regions.changed_at,
            active: regions.active.clone(),
            allowed: regions.allowed.clone(),
            members: regions.members.clone(),
            created: self.created,
            rotate_every_days: self.rotate_every_days,
            total: self.count(),
            versions: next.map(version).collect(),
        })
    }

    /// The replica in `region` that what came makes.
    pub(super) fn replica_of(
        shared: &SharedKey,
        region: &Region,
        now: Timestamp,
    ) -> Result<Self, KeyError> {
        let none = Regions {
            primary: shared.primary.clone(),
            term: shared.term,
            generation: 0,
            ..Regions::first(region.clone(), BTreeSet::new(), now)
        };
        let mut cmk = Self {
            id: shared.key.clone(),
            alias: None,
            region: region.clone(),
            state: KeyState::Enabled,
            created: shared.created,
            versions: Vec::new(),
            description: None,
            origin: KeyOrigin::Generated,
            rotate_every_days: shared.rotate_every_days,
            delete_at: None,
            expires: None,
            regions: Some(none),
        };
        cmk.take_shared(shared, now)?;
        match cmk.versions.is_empty() {
            true => Err(cmk.differs("a replica without any version was to be made")),
            false => Ok(cmk),
        }
    }

    /// Takes up what the primary says. What was taken up before changes nothing, and what
    /// contradicts it is refused: no material is ever replaced.
    pub(super) fn take_shared(
        &mut self,
        shared: &SharedKey,
        now: Timestamp,
    ) -> Result<(), KeyError> {
        let regions = match &self.regions {
            Some(regions) => regions,
            None => return Err(self.differs("a key of one region has the same id here")),
        };
        if shared.primary == self.region {
            return Err(self.differs("another region speaks for this one"));
        }
        if shared.term < regions.term {
            return Err(KeyError::PrimaryBefore {
                key: self.id.to_string(),
                primary: regions.primary.clone(),
            });
        }
        let is_same_term = shared.term == regions.term;
        if is_same_term && shared.primary != regions.primary {
            return Err(self.differs("two regions became its primary at once"));
        }
        if is_same_term && shared.generation < regions.generation {
            return Ok(());
        }
        if !is_same_term && !self.is_replica() {
            self.step_down();
        }
        self.take_versions(shared)?;
        self.follow(shared, now);
        Ok(())
    }

    /// A primary that has a successor forgets the versions that never wrapped: the successor
    /// may have made others under the same numbers.
    fn step_down(&mut self) {
        let Some(regions) = self.regions.as_mut() else {
            return;
        };
        let wrapped = number(&regions.active);
        self.versions
            .retain(|version| number(&version.id) <= wrapped);
        if self.state == KeyState::PendingReplicaDeletion {
            self.state = KeyState::Disabled;
        }
    }

    fn take_versions(&mut self, shared: &SharedKey) -> Result<(), KeyError> {
        for theirs in &shared.versions {
            if let Some(own) = self.version(&theirs.id) {
                let both = (own.material.as_ref(), theirs.material.as_ref());
                match both {
                    (Some(own), Some(theirs)) if own.expose() != theirs.expose() => {
                        return Err(self.differs("one number of a version stands for two"));
                    }
                    // What was destroyed in a region stays so there.
                    _ => continue,
                }
            }
            if number(&theirs.id) != self.count() + 1 {
                return Err(self.differs("versions before those that came are missing"));
            }
            self.versions.push(CmkVersion {
                id: theirs.id.clone(),
                created: theirs.created,
                material: theirs.material.clone(),
                backed_up: false,
                reason: theirs.reason.clone(),
                fingerprint: None,
                destroyed: theirs.material.is_none().then_some(shared.changed_at),
            });
        }
        Ok(())
    }

    fn follow(&mut self, shared: &SharedKey, now: Timestamp) {
        let held = self.count();
        self.rotate_every_days = shared.rotate_every_days;
        let Some(regions) = self.regions.as_mut() else {
            return;
        };
        let active = number(&shared.active).min(held).max(1).to_string();
        if regions.active != active {
            regions.active = active;
            regions.active_since = now;
        }
        regions.primary = shared.primary.clone();
        regions.term = shared.term;
        regions.changed_at = shared.changed_at;
        // Until all of it is here it is not said to be.
        regions.generation = match held >= shared.total {
            true => shared.generation,
            false => 0,
        };
        regions.allowed = shared.allowed.clone();
        regions.members = shared.members.clone();
        regions.replicas.clear();
        regions.delete_after = None;
    }

    /// Becomes the primary in the place of the one that led until `term`.
    pub(super) fn lead(&mut self, term: u64, now: Timestamp) -> Result<(), KeyError> {
        let region = self.region.clone();
        let regions = self.shared_mut()?;
        regions.primary = region.clone();
        regions.term = term;
        regions.members.insert(region.clone());
        let others = regions.members.iter().filter(|other| **other != region);
        regions.replicas = others.cloned().map(unseen).collect();
        regions.changed(now);
        Ok(())
    }

    pub(super) fn hold_room(&self) -> Result<(), KeyError> {
        match self.shared()?.members.len() < KEY_REGIONS_MAX {
            true => Ok(()),
            false => Err(self.differs("it is in as many regions as it may be")),
        }
    }

    pub(super) fn differs(&self, what: &'static str) -> KeyError {
        KeyError::RegionsDiffer {
            key: self.id.to_string(),
            what,
        }
    }

    pub(super) fn regions_life(&self) -> Option<KeyRegions> {
        let regions = self.regions.as_ref()?;
        let newest = self.newest().map(|version| version.id.clone());
        Some(KeyRegions {
            primary: regions.primary.clone(),
            members: regions.members.clone(),
            allowed: regions.allowed.clone(),
            term: regions.term,
            generation: regions.generation,
            changed_at: regions.changed_at,
            waiting: newest.filter(|newest| *newest != regions.active),
            replicas: regions.replicas.clone(),
        })
    }

    pub(super) fn seen(&self, now: Timestamp) -> Result<KeySeen, KeyError> {
        let regions = self.shared()?;
        let prints = KeySeen::told(&self.versions).iter().map(|version| {
            let print = version.material.as_ref().map(Material::fingerprint);
            (version.id.clone(), print)
        });
        Ok(KeySeen {
            region: self.region.clone(),
            state: self.state_at(now),
            alias: self.alias.clone(),
            description: self.description.clone(),
            rotate_every_days: self.rotate_every_days,
            current: regions.active.clone(),
            primary: regions.primary.clone(),
            term: regions.term,
            generation: regions.generation,
            members: regions.members.clone(),
            versions: self.count(),
            prints: prints.collect(),
        })
    }
}

/// A version by its number; what is none comes before the first.
pub(super) fn number(id: &str) -> u64 {
    id.parse().unwrap_or(0)
}
