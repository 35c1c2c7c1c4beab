//! Version ids: S3's own, but for objects that are older than the bucket's versioning.
//!
//! All of those have the id `null`, and so has what is written while versioning is
//! suspended. Their id here says the entity tag as well, so that two of them are two
//! versions; with it they are asked for.

use sealift_terms::{NameError, VersionId};

/// What S3 calls a version that has no id.
pub(crate) const NULL: &str = "null";
const TAGGED: &str = "null~";

/// The id of a version, as S3 tells it with its entity tag.
pub(crate) fn of(told: &str, etag: &str) -> Result<VersionId, NameError> {
    match told {
        "" | NULL => VersionId::new(format!("{TAGGED}{}", plain(etag))),
        told => VersionId::new(told),
    }
}

/// What S3 is asked for.
pub(crate) fn own(version: &VersionId) -> &str {
    match version.as_str().starts_with(TAGGED) {
        true => NULL,
        false => version.as_str(),
    }
}

/// Whether a version is the one that somebody who asks in the store's own words means: all from
/// before the versioning are `null` there, of which a key has one at a time.
#[must_use]
pub fn is_called(version: &VersionId, asked: &VersionId) -> bool {
    version == asked || (asked.as_str() == NULL && own(version) == NULL)
}

/// An entity tag without its quotes, in characters that an id may have.
fn plain(etag: &str) -> String {
    let plain = |c: &char| c.is_ascii_alphanumeric() || *c == '-';
    etag.chars().filter(plain).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_without_an_id_is_known_by_its_entity_tag() {
        let [null, before, other] =
            ["null", "null~abc", "v1"].map(|id| VersionId::new(id).unwrap());
        assert!(
            is_called(&before, &null) && is_called(&before, &before) && is_called(&other, &other)
        );
        assert!(!is_called(&other, &null) && !is_called(&before, &other));
        let version = of("3HL4kqtJlcpXroDTDmJ", "\"abc\"").unwrap();
        assert_eq!(
            (version.as_str(), own(&version)),
            ("3HL4kqtJlcpXroDTDmJ", "3HL4kqtJlcpXroDTDmJ")
        );
        for told in ["", NULL] {
            let version = of(told, "\"d41d8-2\"").unwrap();
            assert_eq!((version.as_str(), own(&version)), ("null~d41d8-2", NULL));
        }
        assert!(of("with space", "").is_err());
    }
}
