//! What the headers of an answer say of a generation.

use std::collections::BTreeMap;

use base64::{Engine, engine::general_purpose::STANDARD};
use hyper::{HeaderMap, http::response::Parts};
use sealift_terms::{ObjectFacts, Reason, VersionId};

use crate::{
    StoreError,
    s3::{
        S3Settings,
        facts::{HeaderNames, size, text, unsupported},
    },
};

/// The number of the generation that an answer is of.
pub(super) const GENERATION: &str = "x-goog-generation";
/// Under which key of Cloud KMS it is encrypted.
const KMS_KEY: &str = "encryption-kms-key-name";
/// Stands between the name of a key and that of its version.
const KEY_VERSION: &str = "/cryptoKeyVersions/";
/// Bytes as they are stored, where the answer's are others.
const STORED_LENGTH: &str = "x-goog-stored-content-length";

/// Under which names Google tells of an object.
const NAMES: HeaderNames = HeaderNames {
    plain: &[],
    prefix: "x-goog-",
    own: &[
        "metageneration",
        "storage-class",
        "component-count",
        "custom-time",
        KMS_KEY,
        "object-lock-mode",
        "object-lock-retain-until-date",
        "object-lock-legal-hold",
    ],
    metadata: "x-goog-meta-",
};

/// A generation as its headers tell it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) facts: ObjectFacts,
    /// CRC-32C of all its bytes; Google keeps one of every object.
    pub(super) crc32c: Option<u32>,
}

impl Seen {
    /// Refuses another generation than the one that was asked for, and what cannot be read.
    pub(super) fn of(head: &Parts, wanted: &VersionId) -> Result<Self, StoreError> {
        let headers = &head.headers;
        let text = |name: &str| text(headers, name);
        hold(text(GENERATION)?, wanted)?;
        if text("x-goog-encryption-key-sha256")?.is_some() {
            let told =
                "it is encrypted under a key of its writer's (CSEK): only who has that can read it";
            return Err(unsupported(told));
        }
        let mut facts = NAMES.facts(headers, stored_size(headers)?)?;
        let hashes = hashes(headers);
        let told = hashes.iter().map(|(name, value)| (*name, *value));
        let told = told.chain([("generation", wanted.as_str())]);
        let told = told.map(|(name, value)| (name.to_owned(), value.to_owned()));
        facts.system.extend(told);
        let checked = facts.check();
        checked.map_err(|error| unsupported(&error.to_string()))?;
        let crc32c = hashes.get("crc32c").map(|value| crc(value)).transpose()?;
        Ok(Self { facts, crc32c })
    }

    /// Refuses an object under a key that is not named: by its name, or by that of one version
    /// of it.
    pub(super) fn hold_key(&self, settings: &S3Settings) -> Result<(), StoreError> {
        let key = self.facts.system.get(KMS_KEY);
        let (Some(selected), Some(version)) = (&settings.kms_keys, key) else {
            return Ok(());
        };
        let key = version.split(KEY_VERSION).next().unwrap_or(version);
        match selected.contains(key) || selected.contains(version) {
            true => Ok(()),
            false => Err(StoreError::SourceRefused {
                reason: Reason::SkippedKmsNotSelected,
                evidence: format!("it is encrypted under {version}, which kms_keys does not name"),
            }),
        }
    }
}

fn hold(found: Option<String>, wanted: &VersionId) -> Result<(), StoreError> {
    match found.as_deref() == Some(wanted.as_str()) {
        true => Ok(()),
        false => Err(StoreError::SourceChanged {
            evidence: format!(
                "generation {wanted} was wanted, {} is there",
                found.as_deref().unwrap_or("one without a number")
            ),
        }),
    }
}

/// Whether an answer is of the generation that was asked for.
pub(super) fn is_of(headers: &HeaderMap, wanted: &VersionId) -> bool {
    let found = headers.get(GENERATION);
    found.is_some_and(|found| found.as_bytes() == wanted.as_str().as_bytes())
}

fn stored_size(headers: &HeaderMap) -> Result<u64, StoreError> {
    match text(headers, STORED_LENGTH)? {
        Some(told) => {
            let stored = told.parse();
            stored.map_err(|_| unsupported("no size in the store's answer"))
        }
        None => size(headers),
    }
}

/// The checksums that are told: in one header, or in one each.
fn hashes(headers: &HeaderMap) -> BTreeMap<&'static str, &str> {
    let told = headers.get_all("x-goog-hash").iter();
    let told = told.filter_map(|value| value.to_str().ok());
    let each = told.flat_map(|value| value.split(','));
    let named = each.filter_map(|one| one.trim().split_once('='));
    named
        .filter_map(|(name, value)| match name {
            "crc32c" => Some(("crc32c", value)),
            "md5" => Some(("md5", value)),
            _ => None,
        })
        .collect()
}

/// A CRC-32C as it is told: four bytes, the highest first, in base64.
fn crc(told: &str) -> Result<u32, StoreError> {
    let bytes = STANDARD.decode(told).ok();
    let bytes = bytes.and_then(|bytes| <[u8; 4]>::try_from(bytes).ok());
    let bytes = bytes.ok_or_else(|| unsupported("a crc32c in the store's answer that is none"))?;
    Ok(u32::from_be_bytes(bytes))
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
        let head = response.body(()).unwrap().into_parts().0;
        Seen::of(&head, &VersionId::new("17").unwrap())
    }

    const NEEDED: [(&str, &[u8]); 2] = [("content-length", b"10"), (GENERATION, b"17")];

    fn with<'a>(more: &[(&'a str, &'a [u8])]) -> Result<Seen, StoreError> {
        let all: Vec<_> = NEEDED.iter().chain(more).copied().collect();
        seen(&all)
    }

    #[test]
    fn all_that_google_says_of_an_object_is_carried() {
        let seen = with(&[
            ("content-type", b"text/plain"),
            ("content-encoding", b"gzip"),
            ("content-language", b"de"),
            ("content-disposition", b"inline"),
            ("cache-control", b"no-transform"),
            ("etag", b"\"abc\""),
            ("last-modified", b"Fri, 27 Nov 2026 03:56:07 GMT"),
            ("x-goog-metageneration", b"3"),
            ("x-goog-storage-class", b"NEARLINE"),
            ("x-goog-stored-content-length", b"7"),
            ("x-goog-hash", b"crc32c=AQIDBA=="),
            ("x-goog-hash", b"md5=CY9rzUYh03PK3k6DJie09g=="),
            ("x-goog-meta-owner", "Zo\u{eb}".as_bytes()),
            ("x-goog-object-lock-mode", b"GOVERNANCE"),
        ])
        .unwrap();
        assert_eq!(seen.crc32c, Some(0x0102_0304));
        let facts = seen.facts;
        assert_eq!(
            (facts.size, facts.content_type.as_deref()),
            (7, Some("text/plain"))
        );
        assert_eq!(facts.metadata["owner"], "Zo\u{eb}");
        for (name, value) in [
            ("content-encoding", "gzip"),
            ("content-language", "de"),
            ("content-disposition", "inline"),
            ("cache-control", "no-transform"),
            ("generation", "17"),
            ("metageneration", "3"),
            ("storage-class", "NEARLINE"),
            ("md5", "CY9rzUYh03PK3k6DJie09g=="),
            ("object-lock-mode", "GOVERNANCE"),
        ] {
            assert_eq!(facts.system[name], value);
        }
        assert_eq!(facts.last_modified.unwrap().as_secs(), 1_795_751_767);
        let both = with(&[(
            "x-goog-hash",
            b"crc32c=AQIDBA==, md5=CY9rzUYh03PK3k6DJie09g==",
        )]);
        assert_eq!(both.unwrap().crc32c, Some(0x0102_0304));
        assert_eq!(with(&[]).unwrap().crc32c, None);
    }

    #[test]
    fn what_cannot_be_read_or_carried_is_refused() {
        for bad in [
            ("x-goog-hash", &b"crc32c=AQIDBAU="[..]),
            ("x-goog-hash", b"crc32c=no base64"),
            ("x-goog-encryption-key-sha256", b"AQID"),
            ("x-goog-stored-content-length", b"-1"),
            ("x-goog-meta-a", b"\xff"),
            ("x-goog-meta-a", &[b'x'; 4096]),
        ] {
            let refused = with(&[bad]).unwrap_err();
            assert_eq!(refused.reason(), Reason::SkippedUnreadable, "{refused}");
        }
        let size = ("content-length", &b"1"[..]);
        for other in [&[size, (GENERATION, b"18")][..], &[size]] {
            let refused = seen(other).unwrap_err();
            assert_eq!(refused.reason(), Reason::SrcObjectChanged, "{refused}");
        }
        assert!(seen(&[(GENERATION, b"17")]).is_err(), "without a size");
    }
}
