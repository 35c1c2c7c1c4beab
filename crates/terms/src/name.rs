//! Names: strings that were checked once, where they entered.

use std::{borrow::Borrow, fmt, str::FromStr, sync::Arc};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::limits;

/// Why a string is not a name of the wanted sort.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{found:?} is not a {what}: allowed is {allowed}")]
pub struct NameError {
    /// The sort of name that was wanted, for example `bucket name`.
    pub what: &'static str,
    /// What was found, cut to 80 characters.
    pub found: String,
    /// What is allowed, in words.
    pub allowed: &'static str,
}

impl NameError {
    pub(crate) fn new(what: &'static str, found: &str, allowed: &'static str) -> Self {
        Self {
            what,
            found: found.chars().take(80).collect(),
            allowed,
        }
    }
}

/// Declares a checked string: parsing, display, ordering by bytes, serde.
macro_rules! name {
    ($(#[$doc:meta])* $name:ident, $what:literal, $allowed:expr, $check:expr) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Arc<str>);

        impl $name {
            /// Checks and takes a string.
            ///
            /// # Errors
            /// [`NameError`] says what was found and what is allowed.
            pub fn new(name: impl AsRef<str>) -> Result<Self, NameError> {
                let name = name.as_ref();
                let check: fn(&str) -> bool = $check;
                if check(name) {
                    Ok(Self(Arc::from(name)))
                } else {
                    Err(NameError::new($what, name, $allowed))
                }
            }

            /// The name as it was given.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = NameError;
            fn from_str(name: &str) -> Result<Self, NameError> {
                Self::new(name)
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&self.0, f)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let name = String::deserialize(deserializer)?;
                Self::new(name).map_err(de::Error::custom)
            }
        }
    };
}

const LABEL: &str = "1 to 63 of a-z, 0-9, '-' and '.', beginning and ending with a letter or digit";

fn is_label(s: &str) -> bool {
    let edge = |b: Option<u8>| b.is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    s.len() <= 63
        && edge(s.bytes().next())
        && edge(s.bytes().last())
        && !s.contains("..")
        && s.bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'.')
}

fn is_printable(s: &str, longest: usize) -> bool {
    !s.is_empty() && s.len() <= longest && s.bytes().all(|b| b.is_ascii_graphic())
}

name!(
    /// The name of a bucket, the same in source and archive.
    BucketName, "bucket name", LABEL, is_label
);
name!(
    /// The name of a region, for example `eu-west`.
    Region, "region", LABEL, is_label
);
name!(
    /// The name of a site: one agent and its data.
    SiteName, "site name", LABEL, is_label
);

impl SiteName {
    /// Of a site that is not known.
    pub(crate) fn unknown() -> Self {
        Self(Arc::from("unknown"))
    }
}

name!(
    /// The local name of a peer: the agent at the other end.
    PeerName, "peer name", LABEL, is_label
);
name!(
    /// The name of a replication rule.
    RuleName, "rule name", LABEL, is_label
);
name!(
    /// The name of a forward: a service that is reached through a peer.
    ForwardName, "forward name", LABEL, is_label
);
name!(
    /// The id of a customer-managed key at its provider.
    KeyId, "key id", "1 to 256 printable ASCII characters without spaces", |s| is_printable(s, 256)
);
name!(
    /// A human name of a customer-managed key, for example `alias/photos`.
    KeyAlias, "key alias", "1 to 256 printable ASCII characters without spaces",
    |s| is_printable(s, 256)
);
name!(
    /// What people write about a customer-managed key: its description, or why it was rotated.
    KeyNote, "note about a key", "1 to 256 bytes of UTF-8 without control characters",
    |s| !s.is_empty() && s.len() <= limits::KEY_NOTE_BYTES_MAX && !s.chars().any(char::is_control)
);
name!(
    /// The id of an access key at the S3 endpoint.
    AccessKeyId, "access key id", "3 to 128 of A-Z, a-z, 0-9, '-', '_' and '.'",
    |s| (3..=128).contains(&s.len())
        && s.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
);
name!(
    /// The key of an object: UTF-8, compared as bytes, never normalised.
    ObjectKey, "object key", "1 to 1,024 bytes of UTF-8 without NUL",
    |s| !s.is_empty() && s.len() <= limits::OBJECT_KEY_BYTES_MAX && !s.contains('\0')
);
name!(
    /// The id of one version of an object. Never used twice within a bucket.
    VersionId, "version id", "1 to 1,024 printable ASCII characters without spaces",
    |s| is_printable(s, 1024)
);

impl VersionId {
    /// What stands in listings for the version of a name that can be no key, and so
    /// has none.
    #[must_use]
    pub fn none() -> Self {
        Self(Arc::from("none"))
    }

    /// Whether it stands for no version.
    #[must_use]
    pub fn is_none(&self) -> bool {
        *self == Self::none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bucket_names_follow_the_s3_alphabet() {
        for good in ["b", "photos", "a.b-c", "0"] {
            assert!(BucketName::new(good).is_ok(), "{good}");
        }
        for bad in ["", "-a", "a-", "A", "a..b", "a/b", "ä", &"x".repeat(64)] {
            assert!(BucketName::new(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn an_access_key_id_fits_into_a_credential_of_a_signature() {
        for good in ["app", "AKIA.photo_app-1", &"x".repeat(128)] {
            assert!(AccessKeyId::new(good).is_ok(), "{good}");
        }
        for bad in ["", "ab", "a/b", "a b c", "a,b,c", "ä€ö", &"x".repeat(129)] {
            assert!(AccessKeyId::new(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn object_keys_are_bounded_in_bytes_and_hold_any_utf8() {
        assert!(ObjectKey::new("ä/日本/ space").is_ok());
        assert!(ObjectKey::new("é".repeat(512)).is_ok());
        assert!(ObjectKey::new("é".repeat(513)).is_err());
        assert!(ObjectKey::new("a\0b").is_err());
    }

    #[test]
    fn an_error_says_what_was_found_and_what_is_allowed() {
        let error = Region::new("EU West").unwrap_err().to_string();
        assert!(
            error.contains("EU West") && error.contains("a-z"),
            "{error}"
        );
    }

    #[test]
    fn serde_refuses_what_new_refuses() {
        assert!(serde_json::from_str::<BucketName>("\"UPPER\"").is_err());
    }
}
