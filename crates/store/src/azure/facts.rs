//! What the headers of an answer say of a blob.

use hyper::http::response::Parts;
use sealift_terms::{ObjectFacts, VersionId};

use crate::{
    StoreError,
    s3::{
        facts::{HeaderNames, size, text, unsupported},
        version,
    },
};

/// Under which names Azure tells of a blob.
const NAMES: HeaderNames = HeaderNames {
    plain: &[],
    prefix: "x-ms-",
    own: &[
        "blob-type",
        "access-tier",
        "encryption-scope",
        "immutability-policy-until-date",
        "immutability-policy-mode",
        "legal-hold",
        "creation-time",
    ],
    metadata: "x-ms-meta-",
};

/// A version as its headers tell it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) facts: ObjectFacts,
    /// The version id; empty where the account kept none when it was written.
    id: String,
    /// How many tags it has.
    pub(super) tags: u64,
}

impl Seen {
    pub(super) fn of(head: &Parts) -> Result<Self, StoreError> {
        let headers = &head.headers;
        let text = |name: &str| text(headers, name);
        let facts = NAMES.facts(headers, size(headers)?)?;
        let tags = text("x-ms-tag-count")?;
        Ok(Self {
            facts,
            id: text("x-ms-version-id")?.unwrap_or_default(),
            tags: tags.and_then(|count| count.parse().ok()).unwrap_or(0),
        })
    }

    /// Refuses another version than the one that was asked for.
    pub(super) fn hold(&self, wanted: &VersionId) -> Result<(), StoreError> {
        let etag = self.facts.etag.as_deref().unwrap_or_default();
        // One that is known by its entity tag has no id that counts.
        let id = match version::own(wanted) == version::NULL {
            true => "",
            false => &self.id,
        };
        let found = version::of(id, etag).map_err(|error| unsupported(&error.to_string()))?;
        match found == *wanted {
            true => Ok(()),
            false => Err(StoreError::SourceChanged {
                evidence: format!("version {wanted} was wanted, {found} is there"),
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use hyper::Response;

    use super::*;

    fn seen(headers: &[(&str, &str)]) -> Result<Seen, StoreError> {
        let mut response = Response::builder();
        for (name, value) in headers {
            response = response.header(*name, *value);
        }
        Seen::of(&response.body(()).unwrap().into_parts().0)
    }

    #[test]
    fn all_that_the_service_says_of_a_blob_is_carried() {
        let seen = seen(&[
            ("content-length", "10"),
            ("content-type", "text/plain"),
            ("content-encoding", "gzip"),
            ("etag", "\"0x8D\""),
            ("last-modified", "Fri, 27 Nov 2026 03:56:07 GMT"),
            ("x-ms-version-id", "2026-11-27T03:56:07.1234567Z"),
            ("x-ms-meta-owner", "me"),
            ("x-ms-access-tier", "Cool"),
            ("x-ms-legal-hold", "true"),
            ("x-ms-tag-count", "2"),
        ])
        .unwrap();
        let of = |id: &str| seen.hold(&VersionId::new(id).unwrap());
        of("2026-11-27T03:56:07.1234567Z").unwrap();
        of("null~0x8D").unwrap();
        for other in ["2026-11-27T03:56:07.1234568Z", "null~0x8E"] {
            assert!(matches!(of(other), Err(StoreError::SourceChanged { .. })));
        }
        let facts = &seen.facts;
        assert_eq!((facts.size, seen.tags), (10, 2));
        assert_eq!(facts.metadata["owner"], "me");
        assert_eq!(facts.system["content-encoding"], "gzip");
        assert_eq!(facts.system["access-tier"], "Cool");
        assert_eq!(facts.system["legal-hold"], "true");
        assert_eq!(facts.last_modified.unwrap().as_secs(), 1_795_751_767);
    }

    #[test]
    fn a_blob_without_a_size_is_none() {
        assert!(seen(&[("etag", "x")]).is_err());
    }
}
