//! META's JSON: everything a store must know to be rebuilt without a catalog.

use std::collections::BTreeMap;

use base64::{Engine, engine::general_purpose::STANDARD};
use sealift_terms::{
    BucketName, Checksum, ChecksumAlgorithm, ObjectFacts, ObjectKey, Order, Region, Timestamp,
    VersionId, VersionName, limits,
};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::{
    error::{Damage, SealError},
    json,
};

/// What a sealed object that is no object means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mark {
    /// The key was removed: this is its version.
    DeleteMarker,
    /// The version has these tags from now on.
    Tags,
    /// The version's bytes were freed.
    Purge,
    /// A legal hold was set or lifted: [`Meta::hold`] says on what. Key and version name it.
    Hold,
}

/// What is said of versions by legal holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HoldMark {
    /// The key that it is on, or the beginning of keys.
    pub key: String,
    /// Whether it is the beginning.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub prefix: bool,
    /// That a hold is on them.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "json::object"
    )]
    pub set: Option<HoldWord>,
    /// That the hold which they came with from their source is on them no more.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "json::object"
    )]
    pub source_lifted: Option<HoldWord>,
    /// One version of the key; all of them without.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<VersionId>,
}

/// Who said it, why, and when.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HoldWord {
    /// Who.
    pub by: String,
    /// Why.
    pub reason: String,
    /// When.
    pub since: Timestamp,
}

/// The facts sealed beside an object's bytes. Members are written in the order of
/// their names, so that equal facts are equal bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Meta {
    /// Its bucket.
    pub bucket: BucketName,
    /// The checksum of the plaintext.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "checksum")]
    pub checksum: Option<Checksum>,
    /// The media type.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content_type: Option<String>,
    /// The source's entity tag.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub etag: Option<String>,
    /// What a mark of a hold says.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "json::object"
    )]
    pub hold: Option<HoldMark>,
    /// Its key.
    pub key: ObjectKey,
    /// When the source says it was last modified.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_modified: Option<Timestamp>,
    /// What it marks, when it is no object. A mark has no bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mark: Option<Mark>,
    /// The user's metadata.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub metadata: BTreeMap<String, String>,
    /// Where it stands among the key's changes.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "json::object"
    )]
    pub order: Option<Order>,
    /// When it was sealed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sealed_at: Option<Timestamp>,
    /// The receiver's commit sequence when it was sealed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sequence: Option<u64>,
    /// Bytes of plaintext.
    pub size: u64,
    /// The region of the source.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_region: Option<Region>,
    /// System metadata: `cache-control` and the like.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub system: BTreeMap<String, String>,
    /// Tags.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub tags: BTreeMap<String, String>,
    /// Its version id.
    pub version: VersionId,
}

impl Meta {
    /// The facts of a version as its source gave them; the rest is empty.
    #[must_use]
    pub fn new(name: VersionName, facts: ObjectFacts) -> Self {
        Self {
            bucket: name.bucket,
            checksum: None,
            content_type: facts.content_type,
            etag: facts.etag,
            hold: None,
            key: name.key,
            last_modified: facts.last_modified,
            mark: None,
            metadata: facts.metadata,
            order: None,
            sealed_at: None,
            sequence: None,
            size: facts.size,
            source_region: facts.source_region,
            system: facts.system,
            tags: facts.tags,
            version: name.version,
        }
    }

    /// Which version it is.
    #[must_use]
    pub fn name(&self) -> VersionName {
        VersionName {
            bucket: self.bucket.clone(),
            key: self.key.clone(),
            version: self.version.clone(),
        }
    }

    /// What the source said of it.
    #[must_use]
    pub fn facts(&self) -> ObjectFacts {
        ObjectFacts {
            size: self.size,
            content_type: self.content_type.clone(),
            metadata: self.metadata.clone(),
            system: self.system.clone(),
            tags: self.tags.clone(),
            etag: self.etag.clone(),
            last_modified: self.last_modified,
            source_region: self.source_region.clone(),
        }
    }

    /// The JSON to be sealed.
    pub(crate) fn encode(&self) -> Result<Vec<u8>, SealError> {
        if self.mark.is_some() && self.size != 0 {
            return Err(SealError::Meta("a mark has no bytes"));
        }
        let json = serde_json::to_vec(self).map_err(SealError::MetaJson)?;
        if json.len() > limits::META_JSON_BYTES_MAX {
            return Err(SealError::Meta("more than 64 KiB of JSON"));
        }
        Ok(json)
    }

    /// Parses JSON whose tags were good.
    pub(crate) fn parse(json: &[u8]) -> Result<Self, SealError> {
        let meta: Self = json::parse(json).map_err(Damage::MetaJson)?;
        if meta.mark.is_some() && meta.size != 0 {
            return Err(Damage::Meta("a mark with bytes").into());
        }
        Ok(meta)
    }
}

/// `{"algorithm": …, "value": base64}`.
mod checksum {
    use super::*;

    #[derive(Serialize, Deserialize)]
    struct Raw {
        algorithm: ChecksumAlgorithm,
        value: String,
    }

    pub(super) fn serialize<S: Serializer>(
        sum: &Option<Checksum>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        let raw = sum.as_ref().map(|sum| Raw {
            algorithm: sum.algorithm(),
            value: sum.value_base64(),
        });
        raw.serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<Checksum>, D::Error> {
        let Some(raw) = json::object::<_, Raw>(deserializer)? else {
            return Ok(None);
        };
        let value = STANDARD.decode(raw.value).map_err(de::Error::custom)?;
        Checksum::new(raw.algorithm, &value)
            .map(Some)
            .map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::meta;

    #[test]
    fn every_fact_survives_and_members_are_sorted() {
        let mut full = meta(7);
        full.checksum = Some(Checksum::crc64nvme(1));
        full.order = Some(Order {
            clock: u64::MAX,
            region: Region::new("eu-west").unwrap(),
            change: 3,
        });
        full.sequence = Some(u64::MAX);
        full.sealed_at = Some(Timestamp::from_millis(1_790_000_000_123));
        full.tags.insert("a".into(), "b".into());
        let json = full.encode().unwrap();
        assert_eq!(Meta::parse(&json).unwrap(), full);
        let text = String::from_utf8(json).unwrap();
        assert!(text.contains(r#""checksum":{"algorithm":"crc64nvme","value":"AAAAAAAAAAE="}"#));
        let back = Meta::new(full.name(), full.facts());
        assert_eq!((back.name(), back.facts()), (full.name(), full.facts()));
    }

    #[test]
    fn unknown_members_are_ignored_and_required_ones_are_required() {
        let ok = r#"{"bucket":"b","key":"k","version":"v","size":0,"later":[{"x":1}]}"#;
        assert!(Meta::parse(ok.as_bytes()).is_ok());
        for bad in [
            r#"{"key":"k","version":"v","size":0}"#,
            r#"{"bucket":"b","key":"k","version":"v"}"#,
            r#"{"bucket":"b","key":"k","version":"v","size":-1}"#,
            r#"{"bucket":"b","key":"k","version":"v","size":"0"}"#,
            r#"{"bucket":"b","key":"k","version":"v","size":0,"size":0}"#,
            r#"{"bucket":"b","key":"k","version":"v","size":0,"z":1,"z":1}"#,
            r#"{"bucket":"b","key":"k","version":"v","size":0,"metadata":{"a":"1","a":"2"}}"#,
            r#"{"bucket":"b","key":"k","version":"v","size":1,"mark":"purge"}"#,
            r#"{"bucket":"b","key":"k","version":"v","size":0} "x""#,
            r#"["b",null,null,null,"k",null,null,{},null,null,null,0,null,{},{},"v"]"#,
            r#"{"bucket":"b","key":"k","version":"v","size":0,"order":[1,"a",2]}"#,
            r#"{"bucket":"b","key":"k","version":"v","size":0,"checksum":["crc64nvme","AAAAAAAAAAE="]}"#,
            "",
        ] {
            assert!(Meta::parse(bad.as_bytes()).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_limit_on_json_is_held_when_sealing() {
        let mut large = meta(0);
        let mut with = |len: usize| {
            large.metadata.insert("n".into(), "v".repeat(len));
            large.encode().map(|json| json.len())
        };
        let room = limits::META_JSON_BYTES_MAX - with(0).unwrap();
        assert_eq!(with(room).unwrap(), limits::META_JSON_BYTES_MAX);
        assert!(matches!(with(room + 1), Err(SealError::Meta(_))));
    }
}
