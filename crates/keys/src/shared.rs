//! What the regions of a multi-region key have in common, and how a replica looks from
//! outside.

use std::collections::BTreeSet;

use sealift_terms::{
    KeyAlias, KeyId, KeyNote, Region, RotationDays, Timestamp,
    limits::{KEY_REGIONS_MAX, KEY_VERSIONS_PER_EXCHANGE_MAX},
};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::{KeyError, KeyState, material::Material};

/// Fingerprints that a region tells of its newest versions.
const PRINTS_TOLD_MAX: usize = 128;

/// The shared half of a key on its way from the primary to a replica: what it is, and the
/// next versions that the replica lacks. Alias, description, state and deletion stay behind.
#[derive(Clone, Serialize, Deserialize)]
pub struct SharedKey {
    pub(crate) key: KeyId,
    pub(crate) primary: Region,
    pub(crate) term: u64,
    pub(crate) generation: u64,
    pub(crate) changed_at: Timestamp,
    /// The version that wraps.
    pub(crate) active: String,
    #[serde(default)]
    pub(crate) allowed: BTreeSet<Region>,
    pub(crate) members: BTreeSet<Region>,
    pub(crate) created: Timestamp,
    pub(crate) rotate_every_days: RotationDays,
    /// Versions that the primary has.
    pub(crate) total: u64,
    pub(crate) versions: Vec<SharedVersion>,
}

#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct SharedVersion {
    pub(crate) id: String,
    pub(crate) created: Timestamp,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) reason: Option<KeyNote>,
    /// Nothing where the primary destroyed it before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) material: Option<Material>,
}

impl std::fmt::Debug for SharedKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let versions = self.versions.len();
        write!(f, "SharedKey({}, {versions} versions)", self.key)
    }
}

impl SharedKey {
    /// Which key it is.
    #[must_use]
    pub fn key(&self) -> &KeyId {
        &self.key
    }

    /// The region that it comes from.
    #[must_use]
    pub fn primary(&self) -> &Region {
        &self.primary
    }

    /// The number of the last change that it tells of.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// When that change was made, by the primary's clock.
    #[must_use]
    pub fn changed_at(&self) -> Timestamp {
        self.changed_at
    }

    /// Versions that the primary has.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.total
    }

    pub(crate) fn to_json(&self) -> Result<Zeroizing<Vec<u8>>, KeyError> {
        // Sized first: a growing buffer would leave pieces of key material behind.
        let room = 4096 + 256 * self.members.len() + 1024 * self.versions.len();
        let mut json = Zeroizing::new(Vec::with_capacity(room));
        serde_json::to_writer(&mut *json, self).map_err(|_| self.odd("it cannot be written"))?;
        Ok(json)
    }

    /// Reads what a primary sent, and holds it against what it must be for `region`.
    pub(crate) fn parse(json: &[u8], key: &KeyId, region: &Region) -> Result<Self, KeyError> {
        let odd = |what| KeyError::RegionsDiffer {
            key: key.to_string(),
            what,
        };
        let shared: Self =
            serde_json::from_slice(json).map_err(|_| odd("what came is not of a key"))?;
        if shared.key != *key {
            return Err(odd("another key came than was offered"));
        }
        shared.hold_form()?;
        match shared.may_be_in(region) {
            true => Ok(shared),
            false => Err(KeyError::Residency {
                key: key.to_string(),
                region: region.clone(),
            }),
        }
    }

    fn hold_form(&self) -> Result<(), KeyError> {
        let of = |id: &String| id.parse::<u64>().ok();
        let numbers: Option<Vec<u64>> = self.versions.iter().map(|one| of(&one.id)).collect();
        let numbers = numbers.ok_or_else(|| self.odd("a version has no number"))?;
        // An id that were somebody's alias here would stand for two keys.
        let digits = self.key.as_str().strip_prefix("key-").unwrap_or_default();
        if digits.len() != 32 || !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(self.odd("its id is none that a keystore gives"));
        }
        let follow =
            |pair: &[u64]| matches!(pair, [one, next] if one.checked_add(1) == Some(*next));
        let last = numbers.last().copied().unwrap_or_default();
        if self.versions.len() > KEY_VERSIONS_PER_EXCHANGE_MAX {
            return Err(self.odd("too many versions come at once"));
        }
        if !numbers.windows(2).all(follow) || last > self.total {
            return Err(self.odd("its versions do not follow one another"));
        }
        if self.members.len() > KEY_REGIONS_MAX || !self.members.contains(&self.primary) {
            return Err(self.odd("its regions are too many, or lack the primary"));
        }
        match of(&self.active) {
            Some(active) if (1..=self.total).contains(&active) => Ok(()),
            _ => Err(self.odd("the version that wraps is none of its versions")),
        }
    }

    fn may_be_in(&self, region: &Region) -> bool {
        self.allowed.is_empty() || self.allowed.contains(region)
    }

    fn odd(&self, what: &'static str) -> KeyError {
        KeyError::RegionsDiffer {
            key: self.key.to_string(),
            what,
        }
    }
}

/// A key of several regions as one of them has it, told to the others: no material.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeySeen {
    /// The region that tells.
    pub region: Region,
    /// Its state there.
    pub state: KeyState,
    /// Its alias there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alias: Option<KeyAlias>,
    /// Its description there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<KeyNote>,
    /// How often it gets a new version by itself.
    pub rotate_every_days: RotationDays,
    /// The version that wraps there.
    pub current: String,
    /// The region that leads, as far as is known there.
    pub primary: Region,
    /// How often another one became the primary.
    pub term: u64,
    /// The last change of what is shared that is known there whole.
    pub generation: u64,
    /// The regions that have it, as far as is known there.
    pub members: BTreeSet<Region>,
    /// Versions that are known there, counted from the first.
    pub versions: u64,
    /// The fingerprints of the newest of them, none of one that was destroyed there.
    pub prints: Vec<(String, Option<String>)>,
}

impl KeySeen {
    /// The newest of these versions.
    pub(crate) fn told<T>(versions: &[T]) -> &[T] {
        let from = versions.len().saturating_sub(PRINTS_TOLD_MAX);
        versions.get(from..).unwrap_or_default()
    }

    /// In what this region and another one differ: the property, what is here, what is there,
    /// and whether it ought to be the same.
    #[must_use]
    pub fn differences(&self, other: &Self) -> Vec<KeyDifference> {
        let text = |value: Option<String>| value.unwrap_or_default();
        let days = |seen: &Self| seen.rotate_every_days.to_string();
        let members = |seen: &Self| {
            let names: Vec<_> = seen.members.iter().map(Region::as_str).collect();
            names.join(" ")
        };
        let name = |seen: &Self| text(seen.alias.as_ref().map(ToString::to_string));
        let note = |seen: &Self| text(seen.description.as_ref().map(ToString::to_string));
        let pairs = [
            (
                "versions",
                true,
                self.versions.to_string(),
                other.versions.to_string(),
            ),
            (
                "version that wraps",
                true,
                self.current.clone(),
                other.current.clone(),
            ),
            ("rotation in days", true, days(self), days(other)),
            (
                "primary",
                true,
                self.primary.to_string(),
                other.primary.to_string(),
            ),
            (
                "promotions",
                true,
                self.term.to_string(),
                other.term.to_string(),
            ),
            ("regions", true, members(self), members(other)),
            (
                "state",
                false,
                self.state.to_string(),
                other.state.to_string(),
            ),
            ("alias", false, name(self), name(other)),
            ("description", false, note(self), note(other)),
        ];
        let pairs = pairs
            .into_iter()
            .filter(|(_, _, here, there)| here != there);
        let told = pairs.map(|(property, shared, here, there)| KeyDifference {
            property: property.to_owned(),
            shared,
            here,
            there,
        });
        told.chain(self.prints_differ(other)).collect()
    }

    /// Whether one number of a version stands for two.
    pub(crate) fn has_another_version(&self, other: &Self) -> bool {
        self.prints_differ(other)
            .any(|difference| difference.shared)
    }

    /// Versions that both tell of and that are not the same bytes. One that was destroyed in
    /// a region may be: that is each region's own affair.
    fn prints_differ(&self, other: &Self) -> impl Iterator<Item = KeyDifference> {
        let differ = self.prints.iter().filter_map(|(id, here)| {
            let (_, there) = other.prints.iter().find(|(theirs, _)| theirs == id)?;
            (here != there).then(|| KeyDifference {
                property: format!("version {id}"),
                shared: here.is_some() && there.is_some(),
                here: here.clone().unwrap_or_else(|| "destroyed".to_owned()),
                there: there.clone().unwrap_or_else(|| "destroyed".to_owned()),
            })
        });
        differ.collect::<Vec<_>>().into_iter()
    }
}

/// One thing in which two regions of a key differ.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyDifference {
    /// What it is.
    pub property: String,
    /// Whether it ought to be the same.
    pub shared: bool,
    /// What it is here.
    pub here: String,
    /// What it is there.
    pub there: String,
}
