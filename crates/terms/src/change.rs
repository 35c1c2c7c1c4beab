//! What happened in a source: the unit that a rule turns into transfers.

use std::{collections::BTreeMap, fmt};

use serde::{Deserialize, Serialize};

use crate::{BucketName, ObjectKey, Order, Region, Timestamp, VersionId, limits, name::NameError};

/// The full name of one version.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct VersionName {
    /// Its bucket.
    pub bucket: BucketName,
    /// Its key.
    pub key: ObjectKey,
    /// Its version id.
    pub version: VersionId,
}

impl fmt::Display for VersionName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{} version {}", self.bucket, self.key, self.version)
    }
}

/// What sort of change it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ChangeKind {
    /// A new version with content.
    Put,
    /// The key was removed: a delete marker is its latest version.
    DeleteMarker,
    /// The tags of an existing version changed.
    Tags,
    /// A version, or a delete marker, was permanently deleted.
    Purge,
}

impl ChangeKind {
    /// The word used in files.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Put => "put",
            Self::DeleteMarker => "delete-marker",
            Self::Tags => "tags",
            Self::Purge => "purge",
        }
    }

    /// Whether it makes a version or a delete marker, and does not only say something of one.
    #[must_use]
    pub const fn is_version(self) -> bool {
        matches!(self, Self::Put | Self::DeleteMarker)
    }
}

/// What the source says of a version besides its content.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ObjectFacts {
    /// Bytes of plaintext.
    pub size: u64,
    /// The media type.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content_type: Option<String>,
    /// The user's metadata.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub metadata: BTreeMap<String, String>,
    /// System metadata: `cache-control` and the like; `posix-mode` (octal) of a directory source.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub system: BTreeMap<String, String>,
    /// Tags.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub tags: BTreeMap<String, String>,
    /// The source's entity tag.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub etag: Option<String>,
    /// When the source says it was last modified.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_modified: Option<Timestamp>,
    /// The region of the source.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_region: Option<Region>,
}

impl ObjectFacts {
    /// Holds the limits on size, metadata and tags.
    ///
    /// # Errors
    /// [`NameError`] names the first limit that is exceeded.
    pub fn checked(self) -> Result<Self, NameError> {
        self.check()?;
        Ok(self)
    }

    /// Whether the limits are held.
    ///
    /// # Errors
    /// As [`Self::checked`].
    pub fn check(&self) -> Result<(), NameError> {
        let bytes = |map: &BTreeMap<String, String>| -> usize {
            map.iter()
                .map(|(name, value)| name.len() + value.len())
                .sum()
        };
        let refuse = |what, found: String, allowed| Err(NameError::new(what, &found, allowed));
        if self.size > limits::OBJECT_BYTES_MAX {
            return refuse("object size", self.size.to_string(), "at most 5 TiB");
        }
        let metadata = bytes(&self.metadata);
        if metadata > limits::USER_METADATA_BYTES_MAX {
            return refuse(
                "user metadata",
                format!("{metadata} bytes"),
                "at most 2 KiB",
            );
        }
        if self.tags.len() > limits::TAGS_MAX {
            return refuse(
                "set of tags",
                format!("{} tags", self.tags.len()),
                "at most 10",
            );
        }
        let rest = bytes(&self.system)
            + bytes(&self.tags)
            + self.content_type.as_ref().map_or(0, String::len)
            + self.etag.as_ref().map_or(0, String::len);
        if rest > limits::SYSTEM_METADATA_BYTES_MAX {
            return refuse("system metadata", format!("{rest} bytes"), "at most 16 KiB");
        }
        Ok(())
    }
}

/// One change of one key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// Which version.
    pub name: VersionName,
    /// Where it stands among the key's changes.
    pub order: Order,
    /// What happened.
    pub kind: ChangeKind,
    /// What the source says of it.
    pub facts: ObjectFacts,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_on_facts_are_held() {
        let facts = |f: fn(&mut ObjectFacts)| {
            let mut facts = ObjectFacts::default();
            f(&mut facts);
            facts.checked()
        };
        assert!(facts(|f| f.size = 5 << 40).is_ok());
        assert!(facts(|f| f.size = (5 << 40) + 1).is_err());
        assert!(facts(|f| drop(f.metadata.insert("k".into(), "v".repeat(2047)))).is_ok());
        assert!(facts(|f| drop(f.metadata.insert("k".into(), "v".repeat(2048)))).is_err());
        assert!(
            facts(|f| f.tags = (0..11).map(|i| (i.to_string(), String::new())).collect()).is_err()
        );
        assert!(
            facts(|f| f.etag = Some("e".repeat(limits::SYSTEM_METADATA_BYTES_MAX + 1))).is_err()
        );
    }
}
