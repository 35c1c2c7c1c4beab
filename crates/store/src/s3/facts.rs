//! What the headers of an answer say of an object.

use std::collections::BTreeMap;

use base64::{Engine, engine::general_purpose::STANDARD};
use hyper::{
    HeaderMap,
    header::{CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG, LAST_MODIFIED},
    http::response::Parts,
};
use sealift_terms::{Checksum, ChecksumAlgorithm, ObjectFacts, Timestamp, VersionId};
use time::{PrimitiveDateTime, format_description::BorrowedFormatItem, macros::format_description};

use super::version;
use crate::StoreError;

/// How a version is encrypted, among its system metadata.
pub(super) const SSE: &str = "server-side-encryption";
/// Under which key of a key service.
pub(super) const SSE_KEY: &str = "server-side-encryption-aws-kms-key-id";
/// Encrypted under a key of a key service; `aws:kms:dsse` in two layers.
pub(super) const KMS: &str = "aws:kms";

/// System metadata that every service tells of under its name in HTTP.
const OF_HTTP: [&str; 4] = [
    "cache-control",
    "content-disposition",
    "content-encoding",
    "content-language",
];

/// Under which names S3 tells of an object.
const NAMES: HeaderNames = HeaderNames {
    plain: &["expires"],
    prefix: "x-amz-",
    own: &[
        "website-redirect-location",
        "storage-class",
        SSE,
        SSE_KEY,
        "server-side-encryption-bucket-key-enabled",
        "object-lock-mode",
        "object-lock-retain-until-date",
        "object-lock-legal-hold",
        "replication-status",
        "checksum-type",
        "checksum-crc32",
        "checksum-crc32c",
        "checksum-crc64nvme",
        "checksum-sha1",
        "checksum-sha256",
        "checksum-md5",
        "mp-parts-count",
    ],
    metadata: "x-amz-meta-",
};
/// How HTTP writes a time (RFC 9110, section 5.6.7).
const HTTP_DATE: &[BorrowedFormatItem<'_>] = format_description!(
    "[weekday repr:short], [day] [month repr:short] [year] [hour]:[minute]:[second] GMT"
);

/// A version as its headers tell it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) facts: ObjectFacts,
    /// The version id; empty where there is none.
    id: String,
    /// How many tags it has, where the store tells.
    pub(super) tags: Option<u64>,
}

impl Seen {
    pub(super) fn of(head: &Parts) -> Result<Self, StoreError> {
        let headers = &head.headers;
        let text = |name: &str| text(headers, name);
        if text("x-amz-missing-meta")?.is_some_and(|count| count != "0") {
            // What HTTP cannot carry would be lost on the way.
            return Err(unsupported("metadata that no header can carry"));
        }
        let facts = NAMES.facts(headers, size(headers)?)?;
        Ok(Self {
            facts,
            id: text("x-amz-version-id")?.unwrap_or_default(),
            tags: text("x-amz-tagging-count")?.and_then(|count| count.parse().ok()),
        })
    }

    /// Its version id.
    pub(super) fn version(&self) -> Result<VersionId, StoreError> {
        let etag = self.facts.etag.as_deref().unwrap_or_default();
        version::of(&self.id, etag).map_err(|error| unsupported(&error.to_string()))
    }

    /// Refuses another version than the one that was asked for.
    pub(super) fn hold(&self, wanted: &VersionId) -> Result<(), StoreError> {
        let found = self.version()?;
        match found == *wanted {
            true => Ok(()),
            false => Err(StoreError::SourceChanged {
                evidence: format!("version {wanted} was wanted, {found} is there"),
            }),
        }
    }

    /// The checksum of all its bytes, where the store keeps the one that sealift computes.
    pub(super) fn checksum(&self) -> Option<Checksum> {
        let of = |name: &str| self.facts.system.get(name);
        if of("checksum-type").is_some_and(|kind| kind != "FULL_OBJECT") {
            return None;
        }
        let value = STANDARD.decode(of("checksum-crc64nvme")?).ok()?;
        Checksum::new(ChecksumAlgorithm::Crc64Nvme, &value).ok()
    }
}

/// Under which names a service tells of an object.
pub(crate) struct HeaderNames {
    /// System metadata under its name in HTTP, beside what every service tells of so.
    pub(crate) plain: &'static [&'static str],
    /// What begins the names of the service's own headers.
    pub(crate) prefix: &'static str,
    /// System metadata whose name begins so.
    pub(crate) own: &'static [&'static str],
    /// What begins the names of the user's metadata.
    pub(crate) metadata: &'static str,
}

impl HeaderNames {
    /// What an answer tells of an object of this size, but for its tags.
    pub(crate) fn facts(&self, headers: &HeaderMap, size: u64) -> Result<ObjectFacts, StoreError> {
        let text = |name: &str| text(headers, name);
        let mut system = BTreeMap::new();
        // An answer has few of those that there may be.
        for name in headers.keys() {
            if let Some(own) = self.system(name.as_str()) {
                system.extend(text(name.as_str())?.map(|value| (own.to_owned(), value)));
            }
        }
        let last_modified = text(LAST_MODIFIED.as_str())?;
        Ok(ObjectFacts {
            size,
            content_type: text(CONTENT_TYPE.as_str())?,
            metadata: metadata(headers, self.metadata)?,
            system,
            tags: BTreeMap::new(),
            etag: text(ETAG.as_str())?,
            last_modified: last_modified.as_deref().and_then(http_date),
            source_region: None,
        })
    }

    /// How a header's system metadata is called here, if it has some.
    fn system<'a>(&self, header: &'a str) -> Option<&'a str> {
        match header.strip_prefix(self.prefix) {
            Some(own) => self.own.contains(&own).then_some(own),
            None => {
                let is_told = OF_HTTP.contains(&header) || self.plain.contains(&header);
                is_told.then_some(header)
            }
        }
    }
}

pub(crate) fn unsupported(evidence: &str) -> StoreError {
    StoreError::SourceUnsupported {
        evidence: evidence.to_owned(),
    }
}

/// A header, if it is there once and is UTF-8.
pub(crate) fn text(headers: &HeaderMap, name: &str) -> Result<Option<String>, StoreError> {
    let Some(value) = headers.get(name) else {
        return Ok(None);
    };
    match str::from_utf8(value.as_bytes()) {
        Ok(text) => Ok(Some(text.to_owned())),
        Err(_) => Err(unsupported(&format!("its {name} is no UTF-8"))),
    }
}

/// Headers whose names begin so, under the rest of their names.
fn metadata(headers: &HeaderMap, prefix: &str) -> Result<BTreeMap<String, String>, StoreError> {
    let mut metadata = BTreeMap::new();
    for name in headers.keys() {
        if let Some(own) = name.as_str().strip_prefix(prefix) {
            metadata.extend(text(headers, name.as_str())?.map(|value| (own.to_owned(), value)));
        }
    }
    Ok(metadata)
}

/// Bytes of the whole object, of a part of it as well.
pub(crate) fn size(headers: &HeaderMap) -> Result<u64, StoreError> {
    let told = match text(headers, CONTENT_RANGE.as_str())? {
        Some(range) => range.rsplit_once('/').map(|(_, size)| size.to_owned()),
        None => text(headers, CONTENT_LENGTH.as_str())?,
    };
    let size = told.and_then(|size| size.parse().ok());
    size.ok_or_else(|| unsupported("no size in the store's answer"))
}

pub(crate) fn http_date(text: &str) -> Option<Timestamp> {
    let moment = PrimitiveDateTime::parse(text, HTTP_DATE).ok()?;
    Some(Timestamp::from_secs(moment.assume_utc().unix_timestamp()))
}

#[cfg(test)]
mod tests {
    use hyper::Response;

    use super::*;

    fn seen(headers: &[(&str, &[u8])]) -> Result<Seen, StoreError> {
        let mut response = Response::builder();
        for (name, value) in headers {
            response = response.header(*name, *value);
        }
        Seen::of(&response.body(()).unwrap().into_parts().0)
    }

    #[test]
    fn all_that_a_store_says_of_an_object_is_carried() {
        let seen = seen(&[
            ("content-length", b"10"),
            ("content-type", b"text/plain"),
            ("cache-control", b"no-store"),
            ("etag", b"\"abc\""),
            ("last-modified", b"Fri, 27 Nov 2026 03:56:07 GMT"),
            ("x-amz-version-id", b"v1"),
            ("x-amz-meta-owner", "Zo\u{eb}".as_bytes()),
            ("x-amz-storage-class", b"STANDARD_IA"),
            ("x-amz-checksum-type", b"FULL_OBJECT"),
            ("x-amz-checksum-crc64nvme", b"AQIDBAUGBwg="),
            ("x-amz-tagging-count", b"2"),
        ])
        .unwrap();
        assert_eq!(seen.version().unwrap().as_str(), "v1");
        assert_eq!(seen.tags, Some(2));
        assert_eq!(
            seen.checksum(),
            Some(Checksum::crc64nvme(0x0102_0304_0506_0708))
        );
        let facts = seen.facts;
        assert_eq!(
            (facts.size, facts.content_type.as_deref()),
            (10, Some("text/plain"))
        );
        assert_eq!(facts.metadata["owner"], "Zo\u{eb}");
        assert_eq!(facts.system["cache-control"], "no-store");
        assert_eq!(facts.system["storage-class"], "STANDARD_IA");
        assert_eq!(facts.last_modified.unwrap().as_secs(), 1_795_751_767);
    }

    #[test]
    fn what_cannot_be_carried_is_refused_and_a_checksum_of_parts_is_none_of_all() {
        let size: (&str, &[u8]) = ("content-length", b"1");
        for bad in [
            ("x-amz-missing-meta", &b"1"[..]),
            ("x-amz-meta-a", b"\xff"),
            ("cache-control", b"\xff"),
        ] {
            let refused = seen(&[size, bad]);
            assert!(
                matches!(refused, Err(StoreError::SourceUnsupported { .. })),
                "{refused:?}"
            );
        }
        assert!(seen(&[]).is_err());
        let parts = seen(&[
            size,
            ("x-amz-checksum-type", b"COMPOSITE"),
            ("x-amz-checksum-crc64nvme", b"AQIDBAUGBwg="),
        ]);
        assert_eq!(parts.unwrap().checksum(), None);
        let of_range = seen(&[("content-length", b"1"), ("content-range", b"bytes 0-0/77")]);
        assert_eq!(of_range.unwrap().facts.size, 77);
    }
}
