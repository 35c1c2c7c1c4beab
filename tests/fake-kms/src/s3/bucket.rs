//! Versions of objects, and what is answered of them.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write,
    ops::Bound,
};

use bytes::Bytes;
use http_body_util::Full;
use hyper::{
    Method, Response,
    http::{request::Parts, response::Builder},
};
use time::{OffsetDateTime, format_description::BorrowedFormatItem, macros::format_description};

use super::{
    Answered, Put,
    answers::{Query, encoded, error, escaped, xml},
    google,
    light::{Content, EntityTags},
};

/// The first version is of this second (2020-01-01T00:00:01Z), every other one of the next.
const EPOCH: i64 = 1_577_836_800;
pub(super) const IN_LISTINGS: &[BorrowedFormatItem<'_>] =
    format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].000Z");
const IN_HEADERS: &[BorrowedFormatItem<'_>] = format_description!(
    "[weekday repr:short], [day] [month repr:short] [year] [hour]:[minute]:[second] GMT"
);

pub(super) struct Version {
    pub(super) id: String,
    pub(super) etag: String,
    /// What Google calls it by.
    pub(super) generation: u64,
    /// What is said of it; none for a delete marker.
    pub(super) put: Option<Put>,
    pub(super) content: Content,
}

/// What is wrong with keys of the key service, by their names.
#[derive(Default)]
pub(super) struct KmsTrouble {
    /// Nobody may use them.
    pub(super) denied: BTreeSet<String>,
    /// Too much is asked of them.
    pub(super) throttled: BTreeSet<String>,
}

impl KmsTrouble {
    /// Answers as the store does when the key service does not let it read.
    fn hold(&self, key: &str, is_google: bool) -> Result<(), Answered> {
        if is_google && self.denied.contains(key) {
            let told = "Permission denied on Cloud KMS key. Please ensure that your Cloud Storage service account has been authorized to use this key.";
            return Err(error(403, "AccessDenied", told));
        }
        if self.throttled.contains(key) {
            let told = "You have exceeded the rate at which you may call KMS. Reduce the frequency of your calls.";
            return Err(error(400, "KMS.ThrottlingException", told));
        }
        if self.denied.contains(key) {
            let told = "User: x is not authorized to perform: kms:Decrypt on the resource associated with this ciphertext";
            return Err(error(403, "AccessDenied", told));
        }
        Ok(())
    }
}

/// Refuses what has to be brought back first, and what is under a key of its writer's.
fn hold(parts: &Parts, put: &Put) -> Result<(), Answered> {
    let of = |name: &str| {
        let mut headers = put.headers.iter();
        headers.find_map(|(found, value)| (found == name).then_some(value.as_str()))
    };
    if of("x-amz-server-side-encryption-customer-algorithm").is_some() {
        let told = "The object was stored using a form of Server Side Encryption. The correct parameters must be provided to retrieve the object.";
        return Err(error(400, "InvalidRequest", told));
    }
    let is_archived = matches!(of("x-amz-storage-class"), Some("GLACIER" | "DEEP_ARCHIVE"));
    let is_back =
        of("x-amz-restore").is_some_and(|told| told.contains("ongoing-request=\"false\""));
    match is_archived && !is_back && parts.method != Method::HEAD {
        true => Err(error(
            403,
            "InvalidObjectState",
            "The operation is not valid for the object's storage class",
        )),
        false => Ok(()),
    }
}

#[derive(Default)]
pub(super) struct Bucket {
    /// By key, the oldest version first.
    pub(super) keys: BTreeMap<String, Vec<Version>>,
    count: u64,
    /// Its versions are generations, and what is overwritten while none are kept is gone.
    is_google: bool,
    /// What was set in place of `Enabled`.
    versioning: Option<String>,
    tags: EntityTags,
}

impl Bucket {
    pub(super) fn new(is_google: bool, tags: EntityTags) -> Self {
        Self {
            is_google,
            tags,
            ..Self::default()
        }
    }

    pub(super) fn set_versioning(&mut self, state: &str) {
        self.versioning = (state != "Enabled").then(|| state.to_owned());
    }

    /// The id of the next version: none while versions are not kept.
    fn next(&mut self, key: &str) -> String {
        self.count += 1;
        if self.is_google {
            if self.versioning.is_some() {
                self.take_live(key);
            }
            return self.count.to_string();
        }
        if self.versioning.is_none() {
            return format!("v{:08}", self.count);
        }
        if let Some(versions) = self.keys.get_mut(key) {
            versions.retain(|version| version.id != "null");
        }
        "null".to_owned()
    }

    pub(super) fn put(&mut self, key: &str, put: Put) -> String {
        let bytes = put.bytes.clone();
        self.put_content(key, put, bytes.into())
    }

    pub(super) fn put_content(&mut self, key: &str, put: Put, content: Content) -> String {
        let id = self.next(key);
        let etag = self.tags.of(&content, self.count);
        let version = Version {
            id: id.clone(),
            etag,
            generation: self.count,
            put: Some(put),
            content,
        };
        self.keys.entry(key.to_owned()).or_default().push(version);
        id
    }

    fn take_live(&mut self, key: &str) {
        if let Some(versions) = self.keys.get_mut(key) {
            versions.pop_if(|version| version.put.is_some());
            if versions.is_empty() {
                self.keys.remove(key);
            }
        }
    }

    pub(super) fn remove(&mut self, key: &str) -> String {
        let id = self.next(key);
        if self.is_google && self.versioning.is_some() {
            return id;
        }
        let version = Version {
            id: id.clone(),
            etag: String::new(),
            generation: self.count,
            put: None,
            content: Content::default(),
        };
        self.keys.entry(key.to_owned()).or_default().push(version);
        id
    }

    /// As DELETE does it: a marker where versions are kept, and nothing where not.
    pub(super) fn delete(&mut self, key: &str) -> Option<String> {
        match self.versioning.is_none() {
            true => Some(self.remove(key)),
            false => {
                match self.is_google {
                    true => self.take_live(key),
                    false => drop(self.keys.remove(key)),
                }
                None
            }
        }
    }

    /// Gives a version these tags, the latest unless one is named; its id.
    pub(super) fn tag(
        &mut self,
        key: &str,
        id: Option<&str>,
        tags: BTreeMap<String, String>,
    ) -> Result<String, Answered> {
        let id = self.version(key, id)?.id.clone();
        let versions = self.keys.get_mut(key).into_iter().flatten();
        for version in versions.filter(|version| version.id == id) {
            if let Some(put) = &mut version.put {
                put.tags.clone_from(&tags);
            }
        }
        Ok(id)
    }

    /// Keys with their latest versions, where those are no delete markers.
    pub(super) fn latest(&self) -> impl Iterator<Item = (&str, &Version)> {
        let keys = self.keys.iter();
        keys.filter_map(|(key, versions)| Some((key.as_str(), versions.last()?)))
            .filter(|(_, version)| version.put.is_some())
    }

    pub(super) fn latest_of(&self, key: &str) -> Option<&Version> {
        let latest = self.keys.get(key)?.last()?;
        latest.put.is_some().then_some(latest)
    }

    pub(super) fn bytes(&self, key: &str) -> Option<Bytes> {
        Some(self.latest_of(key)?.content.whole())
    }

    pub(super) fn purge(&mut self, key: &str, id: &str) {
        if let Some(versions) = self.keys.get_mut(key) {
            versions.retain(|version| version.id != id);
            if versions.is_empty() {
                self.keys.remove(key);
            }
        }
    }

    pub(super) fn versioning(&self) -> Answered {
        let state = self.versioning.as_deref().unwrap_or("Enabled");
        let inner = match state {
            "" => String::new(),
            state => format!("<Status>{state}</Status>"),
        };
        xml("VersioningConfiguration", &inner)
    }

    pub(super) fn versions(&self, query: &Query) -> Answered {
        let get = |name| query.get(name).unwrap_or_default();
        let (prefix, marker, id_marker) =
            (get("prefix"), get("key-marker"), get("version-id-marker"));
        let at_once = get("max-keys").parse().unwrap_or(1000).min(1000);
        let is_encoded = get("encoding-type") == "url";
        let key_of = |key: &str| match is_encoded {
            true => encoded(key),
            false => escaped(key),
        };
        let from = prefix.max(marker);
        let mut inner = String::new();
        let (mut count, mut last, mut is_truncated) = (0, (String::new(), String::new()), false);
        let keys = self
            .keys
            .range::<str, _>((Bound::Included(from), Bound::Unbounded));
        'keys: for (key, versions) in keys.take_while(|(key, _)| key.starts_with(prefix)) {
            let mut skipping = !marker.is_empty() && key == marker;
            for (place, version) in versions.iter().rev().enumerate() {
                if skipping {
                    // Behind a key alone nothing of it comes any more.
                    skipping = id_marker.is_empty() || version.id != id_marker;
                    continue;
                }
                if count == at_once {
                    is_truncated = true;
                    break 'keys;
                }
                count += 1;
                last = (key_of(key), version.id.clone());
                version.list(&mut inner, &last.0, place == 0);
            }
        }
        if is_encoded {
            inner += "<EncodingType>url</EncodingType>";
        }
        let _ = write!(inner, "<IsTruncated>{is_truncated}</IsTruncated>");
        if is_truncated {
            let (key, id) = last;
            let _ = write!(
                inner,
                "<NextKeyMarker>{key}</NextKeyMarker><NextVersionIdMarker>{id}</NextVersionIdMarker>"
            );
        }
        xml("ListVersionsResult", &inner)
    }

    fn version(&self, key: &str, id: Option<&str>) -> Result<&Version, Answered> {
        let missing = |code| error(404, code, "it is not there");
        let versions = self.keys.get(key).ok_or_else(|| missing("NoSuchKey"))?;
        let version = match id {
            None => versions.last(),
            Some(id) => versions.iter().find(|version| version.id == id),
        };
        let version = version.ok_or_else(|| missing("NoSuchVersion"))?;
        if version.put.is_some() {
            return Ok(version);
        }
        let (status, code) = match id {
            None => (404, "NoSuchKey"),
            Some(_) => (405, "MethodNotAllowed"),
        };
        let mut marker = error(status, code, "it is a delete marker");
        let headers = marker.headers_mut();
        headers.insert("x-amz-delete-marker", "true".parse().unwrap());
        headers.insert("x-amz-version-id", version.id.parse().unwrap());
        Err(marker)
    }

    pub(super) fn tags(&self, key: &str, id: Option<&str>) -> Result<Answered, Answered> {
        let version = self.version(key, id)?;
        let tags = version.put.iter().flat_map(|put| &put.tags);
        let of = |(name, value): (&String, &String)| {
            format!(
                "<Tag><Key>{}</Key><Value>{}</Value></Tag>",
                escaped(name),
                escaped(value)
            )
        };
        let tags: String = tags.map(of).collect();
        Ok(xml("Tagging", &format!("<TagSet>{tags}</TagSet>")))
    }

    pub(super) fn read(
        &self,
        parts: &Parts,
        key: &str,
        id: Option<&str>,
        kms: &KmsTrouble,
    ) -> Result<Answered, Answered> {
        let version = self.version(key, id)?;
        let put = version.put.clone().unwrap_or_default();
        google::hold(parts, &put)?;
        hold(parts, &put)?;
        let header = |name: &str| {
            parts
                .headers
                .get(name)
                .and_then(|value| value.to_str().ok())
        };
        // A HEAD needs the key where it is to tell the checksum alone.
        let needs_key = parts.method != Method::HEAD || header("x-amz-checksum-mode").is_some();
        if let Some(key) = put.kms_key.as_ref().filter(|_| needs_key) {
            kms.hold(key, self.is_google)?;
        }
        if header("if-match").is_some_and(|wanted| wanted != version.etag) {
            return Err(error(412, "PreconditionFailed", "another entity tag"));
        }
        let size = version.content.len();
        let range = match header("range") {
            None => None,
            Some(range) => {
                let range = range
                    .strip_prefix("bytes=")
                    .and_then(|range| range.split_once('-'));
                let (from, to) = range.unwrap_or_default();
                let from: usize = from.parse().unwrap_or(0);
                let to = to.parse().unwrap_or(usize::MAX).min(size.saturating_sub(1));
                if from >= size {
                    return Err(error(416, "InvalidRange", "beyond its end"));
                }
                Some((from, to))
            }
        };
        let mut response = Response::builder()
            .header("etag", &version.etag)
            .header("last-modified", version.modified(IN_HEADERS));
        response = match self.is_google {
            true => google::headers(response, version, &put),
            false => aws_headers(response, version, &put),
        };
        for (name, value) in &put.headers {
            // Of a part of it no checksum is told.
            if !(range.is_some() && name.starts_with("x-amz-checksum")) {
                response = response.header(name, value);
            }
        }
        if self.is_google && google::is_taken_apart(parts, &put) {
            let headers = response.headers_mut().into_iter();
            headers.for_each(|headers| drop(headers.remove("content-encoding")));
            let taken_apart = [&version.content.whole()[..], b" taken apart"].concat();
            return Ok(response.body(Full::new(taken_apart.into())).unwrap());
        }
        let bytes: Bytes = match range {
            None => version.content.whole(),
            Some((from, to)) => {
                let told = format!("bytes {from}-{to}/{size}");
                response = response.status(206).header("content-range", told);
                version.content.slice(from, to + 1)
            }
        };
        let response = response.header("content-length", bytes.len());
        Ok(response.body(Full::new(bytes)).unwrap())
    }
}

fn aws_headers(mut response: Builder, version: &Version, put: &Put) -> Builder {
    response = response.header("x-amz-version-id", &version.id);
    if !put.tags.is_empty() {
        response = response.header("x-amz-tagging-count", put.tags.len());
    }
    if let Some(key) = &put.kms_key {
        response = response
            .header("x-amz-server-side-encryption", "aws:kms")
            .header("x-amz-server-side-encryption-aws-kms-key-id", key);
    }
    response
}

impl Version {
    pub(super) fn modified(&self, format: &[BorrowedFormatItem<'_>]) -> String {
        let secs = EPOCH + i64::try_from(self.generation).unwrap();
        let moment = OffsetDateTime::from_unix_timestamp(secs).unwrap();
        moment.format(format).unwrap()
    }

    fn list(&self, inner: &mut String, key: &str, is_latest: bool) {
        let kind = if self.put.is_some() {
            "Version"
        } else {
            "DeleteMarker"
        };
        let _ = write!(
            inner,
            "<{kind}><Key>{key}</Key><VersionId>{}</VersionId><IsLatest>{is_latest}</IsLatest>\
             <LastModified>{}</LastModified>",
            self.id,
            self.modified(IN_LISTINGS)
        );
        if self.put.is_some() {
            let _ = write!(
                inner,
                "<ETag>{}</ETag><Size>{}</Size><StorageClass>STANDARD</StorageClass>",
                escaped(&self.etag),
                self.content.len()
            );
        }
        let _ = write!(inner, "</{kind}>");
    }
}
