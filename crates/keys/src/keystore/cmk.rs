//! One CMK of the embedded keystore, with its material.

use sealift_terms::{KeyAlias, KeyId, Region, Rng, Timestamp};
use serde::{Deserialize, Serialize};

use crate::{KeyDescription, KeyError, KeyState, KeyVersion, ProviderKind, material::Material};

#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Cmk {
    pub(super) id: KeyId,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) alias: Option<KeyAlias>,
    pub(super) region: Region,
    pub(super) state: KeyState,
    pub(super) created: Timestamp,
    /// Oldest first; the last one wraps. Never empty.
    pub(super) versions: Vec<CmkVersion>,
}

#[derive(Clone, Serialize, Deserialize)]
pub(super) struct CmkVersion {
    pub(super) id: String,
    pub(super) created: Timestamp,
    pub(super) material: Material,
    #[serde(default)]
    pub(super) backed_up: bool,
}

impl CmkVersion {
    /// The version after `before` others.
    pub(super) fn new(before: usize, created: Timestamp, rng: &dyn Rng) -> Self {
        Self {
            id: (before + 1).to_string(),
            created,
            material: Material::random(rng),
            backed_up: false,
        }
    }
}

impl Cmk {
    pub(super) fn new(
        alias: Option<KeyAlias>,
        region: Region,
        created: Timestamp,
        rng: &dyn Rng,
    ) -> Result<Self, KeyError> {
        let mut id = [0; 16];
        rng.fill(&mut id);
        let id = KeyId::new(format!("key-{}", hex::encode(id))).map_err(|_| KeyError::Missing {
            key: "key-".to_owned(),
        })?;
        Ok(Self {
            id,
            alias,
            region,
            state: KeyState::Enabled,
            created,
            versions: vec![CmkVersion::new(0, created, rng)],
        })
    }

    pub(super) fn is_called(&self, key: &str) -> bool {
        self.id.as_str() == key || self.alias.as_ref().is_some_and(|a| a.as_str() == key)
    }

    pub(super) fn current(&self) -> Option<&CmkVersion> {
        self.versions.last()
    }

    pub(super) fn version(&self, id: &str) -> Option<&CmkVersion> {
        self.versions.iter().find(|version| version.id == id)
    }

    pub(super) fn forbids(&self, act: &'static str) -> KeyError {
        KeyError::StateForbids {
            key: self.id.to_string(),
            state: self.state,
            act,
        }
    }

    pub(super) fn mark_backed_up_in(&mut self, held: &[(KeyId, String)]) {
        for version in &mut self.versions {
            let is_held = |(key, id): &(KeyId, String)| *key == self.id && *id == version.id;
            version.backed_up |= held.iter().any(is_held);
        }
    }

    /// Takes the versions of a backed-up `copy` that are missing here; says how many.
    pub(super) fn take_back(&mut self, copy: &Self) -> Result<usize, KeyError> {
        let before = self.versions.len();
        for version in &copy.versions {
            match self.version(&version.id) {
                Some(own) if own.material.expose() == version.material.expose() => {}
                Some(_) => {
                    return Err(KeyError::BackupDiffers {
                        key: self.id.to_string(),
                        version: version.id.clone(),
                    });
                }
                None => self.versions.push(version.clone()),
            }
        }
        // The last one wraps.
        self.versions
            .sort_by_key(|version| version.id.parse::<u64>().unwrap_or(u64::MAX));
        Ok(self.versions.len() - before)
    }

    pub(super) fn describe(&self) -> KeyDescription {
        let versions = self.versions.iter().map(|version| KeyVersion {
            id: version.id.clone(),
            created: version.created,
            backed_up: version.backed_up,
        });
        KeyDescription {
            id: self.id.clone(),
            alias: self.alias.clone(),
            region: self.region.clone(),
            provider: ProviderKind::Local,
            state: self.state,
            current: self.current().map(|v| v.id.clone()).unwrap_or_default(),
            versions: versions.collect(),
            created: self.created,
        }
    }
}
