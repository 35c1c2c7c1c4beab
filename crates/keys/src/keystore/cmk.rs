//! One CMK of the embedded keystore, with its material.

use sealift_terms::{
    KeyAlias, KeyId, KeyNote, Region, Rng, RotationDays, Timestamp, limits::KEY_VERSION_SETTLES,
};
use serde::{Deserialize, Serialize};

use crate::{
    KeyDescription, KeyError, KeyLife, KeyOrigin, KeyState, KeyVersion, NewKey, ProviderKind,
    VersionLife, keystore::regions::Regions, material::Material,
};

#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Cmk {
    pub(super) id: KeyId,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) alias: Option<KeyAlias>,
    pub(super) region: Region,
    pub(super) state: KeyState,
    pub(super) created: Timestamp,
    /// Oldest first; the last one wraps, unless other regions lack it. Never empty.
    pub(super) versions: Vec<CmkVersion>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) description: Option<KeyNote>,
    #[serde(default, skip_serializing_if = "KeyOrigin::is_generated")]
    pub(super) origin: KeyOrigin,
    /// How often it gets a version by itself; imported ones never do.
    #[serde(default)]
    pub(super) rotate_every_days: RotationDays,
    /// When it is to be destroyed, while it waits for that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) delete_at: Option<Timestamp>,
    /// Until when imported material may be used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) expires: Option<Timestamp>,
    /// What it knows of its other regions, where it may have some.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) regions: Option<Regions>,
}

#[derive(Clone, Serialize, Deserialize)]
pub(super) struct CmkVersion {
    pub(super) id: String,
    pub(super) created: Timestamp,
    /// Gone once it was retired, and while imported material is away.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) material: Option<Material>,
    #[serde(default)]
    pub(super) backed_up: bool,
    /// Why it was made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) reason: Option<KeyNote>,
    /// What imported material has to be like when it comes back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) fingerprint: Option<String>,
    /// When its material was destroyed for good.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) destroyed: Option<Timestamp>,
}

impl CmkVersion {
    /// The version after `before` others.
    pub(super) fn new(before: usize, created: Timestamp, material: Material) -> Self {
        Self {
            id: (before + 1).to_string(),
            created,
            material: Some(material),
            backed_up: false,
            reason: None,
            fingerprint: None,
            destroyed: None,
        }
    }

    fn life(&self) -> VersionLife {
        VersionLife {
            id: self.id.clone(),
            created: self.created,
            backed_up: self.backed_up,
            reason: self.reason.clone(),
            fingerprint: self.fingerprint.clone(),
            material_missing: self.material.is_none() && self.destroyed.is_none(),
            destroyed: self.destroyed,
            held: None,
        }
    }
}

impl Cmk {
    pub(super) fn new(
        new: NewKey,
        origin: KeyOrigin,
        created: Timestamp,
        material: Material,
        rng: &dyn Rng,
    ) -> Result<Self, KeyError> {
        let mut id = [0; 16];
        rng.fill(&mut id);
        let id = KeyId::new(format!("key-{}", hex::encode(id))).map_err(|_| KeyError::Missing {
            key: "key-".to_owned(),
        })?;
        let mut version = CmkVersion::new(0, created, material);
        if origin == KeyOrigin::Imported {
            version.fingerprint = version.material.as_ref().map(Material::fingerprint);
        }
        let regions = new
            .is_multi_region
            .then(|| Regions::first(new.region.clone(), new.allowed_regions, created));
        Ok(Self {
            id,
            alias: new.alias,
            region: new.region,
            state: KeyState::Enabled,
            created,
            versions: vec![version],
            description: new.description,
            origin,
            rotate_every_days: new.rotate_every_days,
            delete_at: None,
            expires: None,
            regions,
        })
    }

    pub(super) fn is_called(&self, key: &str) -> bool {
        self.id.as_str() == key || self.alias.as_ref().is_some_and(|a| a.as_str() == key)
    }

    /// Its state at `now`: imported material ends by itself, whoever looks after it.
    pub(super) fn state_at(&self, now: Timestamp) -> KeyState {
        let is_over = self.expires.is_some_and(|expires| expires <= now);
        match self.state {
            KeyState::Enabled | KeyState::Disabled if is_over => KeyState::PendingImport,
            state => state,
        }
    }

    /// The version that wraps.
    pub(super) fn current(&self) -> Option<&CmkVersion> {
        match &self.regions {
            Some(regions) => self.version(&regions.active),
            None => self.newest(),
        }
    }

    pub(super) fn newest(&self) -> Option<&CmkVersion> {
        self.versions.last()
    }

    /// The versions whose material is here.
    pub(super) fn held(&self) -> impl Iterator<Item = &CmkVersion> {
        self.versions.iter().filter(|one| one.material.is_some())
    }

    pub(super) fn version(&self, id: &str) -> Option<&CmkVersion> {
        self.versions.iter().find(|version| version.id == id)
    }

    pub(super) fn version_mut(&mut self, id: &str) -> Result<&mut CmkVersion, KeyError> {
        let missing = KeyError::VersionMissing {
            key: self.id.to_string(),
            version: id.to_owned(),
        };
        let mut versions = self.versions.iter_mut();
        versions.find(|version| version.id == id).ok_or(missing)
    }

    /// From when on a version may be destroyed: it has a successor, and that has wrapped for
    /// long enough.
    pub(super) fn retirable_from(&self, id: &str) -> Option<Timestamp> {
        let mut versions = self.versions.iter().skip_while(|version| version.id != id);
        versions.next()?;
        let successor = versions.next()?.created;
        let since = match &self.regions {
            None => successor,
            Some(regions) => {
                let at = |id: &str| self.versions.iter().position(|version| version.id == id);
                let wrapped_before = at(id) < at(&regions.active);
                wrapped_before.then(|| successor.max(regions.active_since))?
            }
        };
        Some(since.plus(KEY_VERSION_SETTLES))
    }

    /// When it gets its next version by itself.
    pub(super) fn next_rotation(&self) -> Option<Timestamp> {
        let newest = self.newest()?;
        let rotates = self.origin.is_generated() && self.delete_at.is_none() && !self.is_replica();
        rotates.then(|| newest.created.plus(self.rotate_every_days.duration()))
    }

    pub(super) fn forbids(&self, act: &'static str, now: Timestamp) -> KeyError {
        KeyError::StateForbids {
            key: self.id.to_string(),
            state: self.state_at(now),
            act,
        }
    }

    pub(super) fn mark_backed_up_in(&mut self, held: &[(KeyId, String)]) {
        for version in &mut self.versions {
            let is_held = |(key, id): &(KeyId, String)| *key == self.id && *id == version.id;
            version.backed_up |= held.iter().any(is_held);
        }
    }

    /// Takes the versions of a backed-up `copy` that are missing here; says how many, and
    /// how many are left out as their material was destroyed here, or is away until it is
    /// imported again.
    pub(super) fn take_back(&mut self, copy: &Self) -> Result<(usize, usize), KeyError> {
        let (mut added, mut left_out) = (0, 0);
        for version in &copy.versions {
            let held = version.material.as_ref();
            match (self.version(&version.id), held) {
                (Some(own), Some(theirs)) => match &own.material {
                    Some(own) if own.expose() == theirs.expose() => {}
                    None => left_out += 1,
                    Some(_) => {
                        return Err(KeyError::BackupDiffers {
                            key: self.id.to_string(),
                            version: version.id.clone(),
                        });
                    }
                },
                (Some(_), None) => {}
                // What its regions have in common comes from its primary.
                (None, Some(_)) if self.is_replica() => left_out += 1,
                (None, held) => {
                    added += usize::from(held.is_some());
                    self.versions.push(version.clone());
                }
            }
        }
        // The last one wraps.
        self.versions
            .sort_by_key(|version| version.id.parse::<u64>().unwrap_or(u64::MAX));
        Ok((added, left_out))
    }

    pub(super) fn describe(&self, now: Timestamp) -> KeyDescription {
        let versions = self.held().map(|version| KeyVersion {
            id: version.id.clone(),
            created: Some(version.created),
            backed_up: version.backed_up,
        });
        KeyDescription {
            id: self.id.clone(),
            alias: self.alias.clone(),
            region: self.region.clone(),
            provider: ProviderKind::Local,
            state: self.state_at(now),
            current: self.current().map(|v| v.id.clone()).unwrap_or_default(),
            versions: versions.collect(),
            created: Some(self.created),
            other_regions: self.other_regions(),
        }
    }

    fn other_regions(&self) -> Vec<Region> {
        let members = self.regions.iter().flat_map(|regions| &regions.members);
        let others = members.filter(|region| **region != self.region);
        others.cloned().collect()
    }

    pub(super) fn life(&self, now: Timestamp) -> KeyLife {
        let described = self.describe(now);
        let next_rotation = self.next_rotation();
        KeyLife {
            id: described.id,
            alias: described.alias,
            region: described.region,
            provider: described.provider,
            state: described.state,
            current: described.current,
            versions: self.versions.iter().map(CmkVersion::life).collect(),
            created: self.created,
            description: self.description.clone(),
            origin: self.origin,
            rotate_every_days: self.origin.is_generated().then_some(self.rotate_every_days),
            next_rotation,
            overdue: next_rotation.is_some_and(|due| due <= now),
            delete_at: self.delete_at,
            expires: self.expires,
            regions: self.regions_life(),
        }
    }
}
