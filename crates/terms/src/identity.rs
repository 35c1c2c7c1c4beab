//! Who speaks: a SPIFFE id that names an agent of a region.

use std::{fmt, str::FromStr, sync::Arc};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::name::{NameError, Region, SiteName};

const ALLOWED: &str = "spiffe://DOMAIN/region/REGION/agent/NAME";

/// The identity in an agent's certificate: `spiffe://DOMAIN/region/REGION/agent/NAME`
/// ([SPIFFE-ID], section 2; the path is sealift's).
///
/// [SPIFFE-ID]: https://github.com/spiffe/spiffe/blob/main/standards/SPIFFE-ID.md
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Identity {
    uri: Arc<str>,
    region: Region,
    name: SiteName,
}

impl Identity {
    /// The identity of agent `name` of `region` in the trust domain `domain`.
    ///
    /// # Errors
    /// [`NameError`] when `domain` is not a trust domain name.
    pub fn new(domain: &str, region: &Region, name: &SiteName) -> Result<Self, NameError> {
        format!("spiffe://{domain}/region/{region}/agent/{name}").parse()
    }

    /// Of an agent of `region` of which nothing else is known. No certificate has it: names
    /// below `invalid` are nobody's (RFC 2606, section 2).
    pub(crate) fn unknown_of(region: &Region) -> Self {
        Self::below_invalid("unknown", region)
    }

    /// Of the applications that write at the site itself, of `region`. No certificate has it,
    /// as names below `invalid` are nobody's.
    #[must_use]
    pub fn applications_of(region: &Region) -> Self {
        Self::below_invalid("applications", region)
    }

    /// Of what applications write in pieces, of `region`; in no certificate either.
    #[must_use]
    pub fn pieces_of(region: &Region) -> Self {
        Self::below_invalid("pieces", region)
    }

    fn below_invalid(label: &str, region: &Region) -> Self {
        let name = SiteName::unknown();
        Self {
            uri: format!("spiffe://{label}.invalid/region/{region}/agent/{name}").into(),
            region: region.clone(),
            name,
        }
    }

    /// The whole URI.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.uri
    }

    /// The trust domain.
    #[must_use]
    pub fn domain(&self) -> &str {
        self.uri
            .trim_start_matches("spiffe://")
            .split('/')
            .next()
            .unwrap_or_default()
    }

    /// The region the agent belongs to.
    #[must_use]
    pub fn region(&self) -> &Region {
        &self.region
    }

    /// The agent's name within its region.
    #[must_use]
    pub fn name(&self) -> &SiteName {
        &self.name
    }
}

/// Whether `domain` is a trust domain name: 1 to 255 of a-z, 0-9, `.`, `-` and `_`.
#[must_use]
pub fn is_trust_domain(domain: &str) -> bool {
    let allowed =
        |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'.' | b'-' | b'_');
    (1..=255).contains(&domain.len()) && domain.bytes().all(allowed)
}

impl FromStr for Identity {
    type Err = NameError;

    fn from_str(uri: &str) -> Result<Self, NameError> {
        let error = || NameError::new("identity", uri, ALLOWED);
        let path = uri.strip_prefix("spiffe://").ok_or_else(error)?;
        let mut segments = path.split('/');
        let mut next = || segments.next().ok_or_else(error);
        let (domain, region_word, region) = (next()?, next()?, next()?);
        let (agent_word, name) = (next()?, next()?);
        if segments.next().is_some()
            || region_word != "region"
            || agent_word != "agent"
            || !is_trust_domain(domain)
        {
            return Err(error());
        }
        Ok(Self {
            uri: Arc::from(uri),
            region: Region::new(region)?,
            name: SiteName::new(name)?,
        })
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.uri)
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.uri, f)
    }
}

impl Serialize for Identity {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.uri)
    }
}

impl<'de> Deserialize<'de> for Identity {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identity_names_domain_region_and_agent() {
        let id: Identity = "spiffe://example.org/region/eu-west/agent/b1"
            .parse()
            .unwrap();
        assert_eq!(
            (id.domain(), id.region().as_str(), id.name().as_str()),
            ("example.org", "eu-west", "b1")
        );
        let made = Identity::new("example.org", id.region(), id.name()).unwrap();
        assert_eq!(made, id);
    }

    #[test]
    fn other_uris_are_refused() {
        for bad in [
            "https://example.org/region/a/agent/b",
            "spiffe://example.org/region/a/agent/b/c",
            "spiffe://example.org/region/a",
            "spiffe://Example.org/region/a/agent/b",
            "spiffe:///region/a/agent/b",
            "spiffe://example.org/agent/a/region/b",
            "spiffe://example.org/region/a/agent/",
        ] {
            assert!(bad.parse::<Identity>().is_err(), "{bad}");
        }
    }
}
