//! What is asked of a certificate besides that roots vouch for it.

use std::time::Duration;

use sealift_terms::{Identity, limits};

use crate::error::IdentityError;

/// Who has to stand between an agent's certificate and a root.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Issuers {
    /// The issuing CA of the agent's region and nobody else: the embedded authority.
    #[default]
    Region,
    /// Whomever the root lets: an authority that knows nothing of regions. It vouches
    /// for every identity below its root alike.
    Any,
}

/// What a verifier asks of a chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Demands {
    /// The longest life that is let pass.
    pub life_max: Duration,
    /// Who may have issued it.
    pub issuers: Issuers,
}

impl Default for Demands {
    fn default() -> Self {
        Self {
            life_max: limits::CERTIFICATE_LIFE_MAX,
            issuers: Issuers::Region,
        }
    }
}

/// Whom a certificate is for that names a DNS name and no URI, as those of public
/// authorities do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DnsAgent {
    name: String,
    identity: Identity,
}

impl DnsAgent {
    /// The agent `identity`, known by its DNS name.
    ///
    /// # Errors
    /// [`IdentityError::BadName`] for what is no DNS name, and for wildcards.
    pub fn new(name: &str, identity: Identity) -> Result<Self, IdentityError> {
        match is_dns_name(name) {
            true => Ok(Self {
                name: name.to_owned(),
                identity,
            }),
            false => Err(IdentityError::BadName {
                what: "DNS name",
                found: name.to_owned(),
                allowed: "lower-case labels with dots between them, and no wildcard",
            }),
        }
    }

    /// The DNS name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The identity it stands for.
    pub(crate) fn identity_of(&self, name: &str) -> Option<Identity> {
        self.name
            .eq_ignore_ascii_case(name)
            .then(|| self.identity.clone())
    }
}

/// What an agent's own certificate is held against before any peer sees it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct OwnDemands {
    /// What peers ask of the chain.
    pub demands: Demands,
    /// Who the agent is, where its certificate says a DNS name only.
    pub dns: Option<DnsAgent>,
    /// Whether the agent never dials: its certificate need not do for a client then.
    pub answers_only: bool,
}

/// Whether `name` is a host name (RFC 1123, section 2.1), lower case, of several labels.
#[must_use]
pub fn is_dns_name(name: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(allowed)
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    name.len() <= limits::DNS_NAME_BYTES_MAX && name.split('.').all(is_label)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_host_names_are_dns_names() {
        for good in ["b1.example.org", "localhost", "a-b.c"] {
            assert!(is_dns_name(good), "{good}");
        }
        let long = ["a"; 128].join(".");
        for bad in [
            "",
            "*.example.org",
            "a..b",
            "-a.b",
            "a.",
            "A.b",
            "a_b",
            &long,
        ] {
            assert!(!is_dns_name(bad), "{bad}");
        }
    }
}
