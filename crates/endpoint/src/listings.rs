//! The three listings of a bucket, as S3 tells them.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use s3s::{
    S3Result,
    dto::{
        CommonPrefix, DeleteMarkerEntry, EncodingType, ListObjectVersionsInput,
        ListObjectVersionsOutput, ListObjectsInput, ListObjectsOutput, ListObjectsV2Input,
        ListObjectsV2Output, Object, ObjectStorageClass, ObjectVersion, ObjectVersionStorageClass,
    },
};
use sealift_archive::ArchiveError;
use sealift_ledger::{ListedVersion, VersionCursor, VersionKind};
use sealift_terms::{BucketName, ObjectKey, VersionId, limits::ENDPOINT_LISTED_MAX, percent};

use crate::{
    core::Core,
    errors::{invalid, of_archive},
    facts::{listed_etag, listed_modified, s3_size, s3_time},
    listing::{After, Entry, Listed, Walk, rolled_up},
};

/// How the names in an answer are written.
#[derive(Clone)]
struct Written(Option<EncodingType>);

impl Written {
    fn new(encoding: Option<EncodingType>) -> S3Result<Self> {
        match encoding {
            Some(encoding) if encoding.as_str() != EncodingType::URL => {
                Err(invalid("encoding-type can be url, or left out"))
            }
            encoding => Ok(Self(encoding)),
        }
    }

    fn name(&self, name: &str) -> String {
        match self.0 {
            Some(_) => percent::encode_path(name),
            None => name.to_owned(),
        }
    }

    fn names(&self, name: Option<String>) -> Option<String> {
        name.map(|name| self.name(&name))
    }
}

/// What the listings have in common.
struct Asked {
    written: Written,
    walk: Walk,
    max_keys: i32,
    prefix: Option<String>,
    delimiter: Option<String>,
}

impl Asked {
    fn new(
        bucket: BucketName,
        prefix: Option<String>,
        delimiter: Option<String>,
        max_keys: Option<i32>,
        encoding: Option<EncodingType>,
    ) -> S3Result<Self> {
        let written = Written::new(encoding)?;
        let asked = max_keys.map_or(Ok(ENDPOINT_LISTED_MAX), usize::try_from);
        let asked = asked.map_err(|_| invalid("max-keys cannot be below 0"))?;
        let max = asked.min(ENDPOINT_LISTED_MAX);
        let delimiter = delimiter.filter(|delimiter| !delimiter.is_empty());
        Ok(Self {
            written,
            max_keys: i32::try_from(max).unwrap_or(i32::MAX),
            walk: Walk {
                bucket,
                prefix: prefix.clone().unwrap_or_default(),
                delimiter: delimiter.clone(),
                all: false,
                max,
                after: None,
            },
            prefix,
            delimiter,
        })
    }

    /// A marker that an application sends back, or made up: a key, or a prefix that keys
    /// were rolled up into.
    fn after_name(&self, name: &str) -> S3Result<Option<After>> {
        if name.is_empty() {
            return Ok(None);
        }
        let delimiter = self.walk.delimiter.as_deref();
        let into = delimiter.and_then(|delimiter| rolled_up(name, &self.walk.prefix, delimiter));
        if into == Some(name) {
            return Ok(Some(After::Prefix(name.to_owned())));
        }
        let key =
            ObjectKey::new(name).map_err(|_| invalid("a marker is a key, and this can be none"))?;
        Ok(Some(After::Row(VersionCursor { key, version: None })))
    }

    async fn walked(&self, core: &Core) -> S3Result<Listed> {
        let listed = self.walk.clone().list(&*core.archive).await;
        listed.map_err(|error: ArchiveError| {
            tracing::error!(bucket = %self.walk.bucket, %error, "a listing failed");
            of_archive(&error)
        })
    }

    fn common_prefixes(&self, entries: &[Entry]) -> Option<Vec<CommonPrefix>> {
        let prefix = |entry: &Entry| match entry {
            Entry::Prefix(prefix) => Some(CommonPrefix {
                prefix: Some(self.written.name(prefix)),
            }),
            Entry::Row(..) => None,
        };
        let prefixes: Vec<_> = entries.iter().filter_map(prefix).collect();
        (!prefixes.is_empty()).then_some(prefixes)
    }

    fn objects(&self, entries: &[Entry]) -> Vec<Object> {
        let object = |entry: &Entry| match entry {
            Entry::Row(row, _) => Some(self.object(row)),
            Entry::Prefix(_) => None,
        };
        entries.iter().filter_map(object).collect()
    }

    fn object(&self, row: &ListedVersion) -> Object {
        Object {
            key: Some(self.written.name(row.key.as_str())),
            e_tag: Some(listed_etag(row)),
            size: Some(s3_size(row.size)),
            last_modified: Some(s3_time(listed_modified(row))),
            storage_class: Some(ObjectStorageClass::from_static(
                ObjectStorageClass::STANDARD,
            )),
            ..Object::default()
        }
    }

    fn version(&self, row: &ListedVersion, is_latest: bool) -> ObjectVersion {
        let class = ObjectVersionStorageClass::STANDARD;
        ObjectVersion {
            key: Some(self.written.name(row.key.as_str())),
            version_id: Some(row.version.to_string()),
            is_latest: Some(is_latest),
            e_tag: Some(listed_etag(row)),
            size: Some(s3_size(row.size)),
            last_modified: Some(s3_time(listed_modified(row))),
            storage_class: Some(ObjectVersionStorageClass::from_static(class)),
            ..ObjectVersion::default()
        }
    }

    fn marker(&self, row: &ListedVersion, is_latest: bool) -> DeleteMarkerEntry {
        DeleteMarkerEntry {
            key: Some(self.written.name(row.key.as_str())),
            version_id: Some(row.version.to_string()),
            is_latest: Some(is_latest),
            last_modified: Some(s3_time(listed_modified(row))),
            owner: None,
        }
    }
}

/// Where the next page begins, for applications to send back: opaque to them.
fn token(after: &After) -> String {
    let text = match after {
        After::Row(cursor) => format!("k{}", cursor.key),
        After::Prefix(prefix) => format!("p{prefix}"),
    };
    URL_SAFE_NO_PAD.encode(text)
}

fn from_token(token: &str) -> S3Result<After> {
    let unknown = || invalid("this continuation token was not given out here");
    let text = URL_SAFE_NO_PAD.decode(token).map_err(|_| unknown())?;
    let text = String::from_utf8(text).map_err(|_| unknown())?;
    if let Some(prefix) = text.strip_prefix('p') {
        return Ok(After::Prefix(prefix.to_owned()));
    }
    let key = text.strip_prefix('k').ok_or_else(unknown)?;
    let key = ObjectKey::new(key).map_err(|_| unknown())?;
    Ok(After::Row(VersionCursor { key, version: None }))
}

/// The name that a page ends with.
fn name_of(after: &After) -> &str {
    match after {
        After::Row(cursor) => cursor.key.as_str(),
        After::Prefix(prefix) => prefix,
    }
}

pub(crate) async fn objects_v2(
    core: &Core,
    bucket: BucketName,
    input: ListObjectsV2Input,
) -> S3Result<ListObjectsV2Output> {
    let ListObjectsV2Input {
        prefix,
        delimiter,
        max_keys,
        encoding_type,
        ..
    } = input;
    let name = bucket.to_string();
    let mut asked = Asked::new(bucket, prefix, delimiter, max_keys, encoding_type)?;
    asked.walk.after = match (&input.continuation_token, &input.start_after) {
        (Some(token), _) => Some(from_token(token)?),
        (None, Some(name)) => asked.after_name(name)?,
        (None, None) => None,
    };
    let listed = asked.walked(core).await?;
    let written = &asked.written;
    Ok(ListObjectsV2Output {
        name: Some(name),
        key_count: Some(i32::try_from(listed.entries.len()).unwrap_or(i32::MAX)),
        contents: Some(asked.objects(&listed.entries)),
        common_prefixes: asked.common_prefixes(&listed.entries),
        is_truncated: Some(listed.next.is_some()),
        next_continuation_token: listed.next.as_ref().map(token),
        continuation_token: input.continuation_token,
        start_after: written.names(input.start_after),
        prefix: written.names(asked.prefix.clone()),
        delimiter: written.names(asked.delimiter.clone()),
        max_keys: Some(asked.max_keys),
        encoding_type: written.0.clone(),
        ..ListObjectsV2Output::default()
    })
}

pub(crate) async fn objects(
    core: &Core,
    bucket: BucketName,
    input: ListObjectsInput,
) -> S3Result<ListObjectsOutput> {
    let ListObjectsInput {
        prefix,
        delimiter,
        max_keys,
        encoding_type,
        ..
    } = input;
    let name = bucket.to_string();
    let mut asked = Asked::new(bucket, prefix, delimiter, max_keys, encoding_type)?;
    asked.walk.after = asked.after_name(input.marker.as_deref().unwrap_or_default())?;
    let listed = asked.walked(core).await?;
    let written = &asked.written;
    let next = listed.next.as_ref();
    Ok(ListObjectsOutput {
        name: Some(name),
        contents: Some(asked.objects(&listed.entries)),
        common_prefixes: asked.common_prefixes(&listed.entries),
        is_truncated: Some(listed.next.is_some()),
        next_marker: next.map(|next| written.name(name_of(next))),
        marker: written.names(input.marker),
        prefix: written.names(asked.prefix.clone()),
        delimiter: written.names(asked.delimiter.clone()),
        max_keys: Some(asked.max_keys),
        encoding_type: written.0.clone(),
        ..ListObjectsOutput::default()
    })
}

pub(crate) async fn versions(
    core: &Core,
    bucket: BucketName,
    input: ListObjectVersionsInput,
) -> S3Result<ListObjectVersionsOutput> {
    let ListObjectVersionsInput {
        prefix,
        delimiter,
        max_keys,
        encoding_type,
        ..
    } = input;
    let name = bucket.to_string();
    let mut asked = Asked::new(bucket, prefix, delimiter, max_keys, encoding_type)?;
    asked.walk.all = true;
    let key = input.key_marker.as_deref().unwrap_or_default();
    let version = input.version_id_marker.as_deref().unwrap_or_default();
    asked.walk.after = match (key, version) {
        ("", "") => None,
        ("", _) => return Err(invalid("a version-id-marker goes with a key-marker")),
        (key, "") => asked.after_name(key)?,
        (key, version) => Some(after_version(core, &asked.walk.bucket, key, version).await?),
    };
    let listed = asked.walked(core).await?;
    let written = &asked.written;
    let next = listed.next.as_ref();
    let (mut versions, mut markers) = (Vec::new(), Vec::new());
    for entry in &listed.entries {
        match entry {
            Entry::Row(row, is_latest) if row.kind == VersionKind::Object => {
                versions.push(asked.version(row, *is_latest));
            }
            Entry::Row(row, is_latest) => markers.push(asked.marker(row, *is_latest)),
            Entry::Prefix(_) => {}
        }
    }
    Ok(ListObjectVersionsOutput {
        name: Some(name),
        versions: Some(versions),
        delete_markers: Some(markers),
        common_prefixes: asked.common_prefixes(&listed.entries),
        is_truncated: Some(next.is_some()),
        next_key_marker: next.map(|next| written.name(name_of(next))),
        next_version_id_marker: next.and_then(version_of),
        key_marker: written.names(input.key_marker),
        version_id_marker: input.version_id_marker,
        prefix: written.names(asked.prefix.clone()),
        delimiter: written.names(asked.delimiter.clone()),
        max_keys: Some(asked.max_keys),
        encoding_type: written.0.clone(),
        ..ListObjectVersionsOutput::default()
    })
}

fn version_of(after: &After) -> Option<String> {
    match after {
        After::Row(cursor) => cursor
            .version
            .as_ref()
            .map(|(_, version)| version.to_string()),
        After::Prefix(_) => None,
    }
}

/// Behind one version of a key, which has to be there: where it stands its order says.
async fn after_version(
    core: &Core,
    bucket: &BucketName,
    key: &str,
    version: &str,
) -> S3Result<After> {
    let unknown = || invalid("there is no such version to go on from");
    let key = ObjectKey::new(key).map_err(|_| unknown())?;
    let version = VersionId::new(version).map_err(|_| unknown())?;
    let row = core.archive.find(bucket, &key, Some(&version)).await;
    let row = row.map_err(|error| match error {
        ArchiveError::NotFound { .. } => unknown(),
        error => of_archive(&error),
    })?;
    Ok(After::Row(VersionCursor {
        key,
        version: Some((row.order, version)),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(prefix: &str, delimiter: Option<&str>) -> Asked {
        let bucket = BucketName::new("photos").unwrap();
        let delimiter = delimiter.map(str::to_owned);
        Asked::new(bucket, Some(prefix.to_owned()), delimiter, None, None).unwrap()
    }

    #[test]
    fn tokens_come_back_and_others_are_refused() {
        for after in [
            After::Prefix("dir/ä".to_owned()),
            asked("", None)
                .after_name("a key/of any sort")
                .unwrap()
                .unwrap(),
        ] {
            assert_eq!(from_token(&token(&after)).unwrap(), after);
        }
        for bad in ["", "!", "eA", "aw", &URL_SAFE_NO_PAD.encode([b'k', 0xFF])] {
            assert!(from_token(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_marker_that_was_a_common_prefix_goes_on_behind_all_of_it() {
        let rolled = asked("a/", Some("/"));
        let at = |name| rolled.after_name(name).unwrap();
        assert_eq!(at("a/b/"), Some(After::Prefix("a/b/".to_owned())));
        assert!(matches!(at("a/b/c"), Some(After::Row(_))));
        assert!(matches!(at("a/b"), Some(After::Row(_))));
        assert_eq!(at(""), None);
        assert!(matches!(
            asked("a/", None).after_name("a/b/").unwrap(),
            Some(After::Row(_))
        ));
        assert!(rolled.after_name(&"x".repeat(2000)).is_err());
    }

    #[test]
    fn limits_and_encodings_are_held() {
        let bucket = || BucketName::new("photos").unwrap();
        let max = |max| Asked::new(bucket(), None, None, Some(max), None).map(|a| a.walk.max);
        assert_eq!(max(0).unwrap(), 0);
        assert_eq!(max(7).unwrap(), 7);
        assert_eq!(max(i32::MAX).unwrap(), ENDPOINT_LISTED_MAX);
        assert!(max(-1).is_err());
        let encoded = |word: &str| {
            let encoding = Some(EncodingType::from(word.to_owned()));
            Asked::new(bucket(), None, None, None, encoding).map(|asked| asked.written.name("a b"))
        };
        assert_eq!(encoded("url").unwrap(), "a%20b");
        assert!(encoded("base64").is_err());
    }
}
