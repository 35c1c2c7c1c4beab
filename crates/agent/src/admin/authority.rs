//! What `ca token`, `ca issue`, `ca revoke` and `ca rollover` ask, and what they are answered.

use std::{fmt, path::PathBuf};

use sealift_identity::{Rollover, SiteRoles};
use sealift_terms::{Identity, Region, SiteName, Timestamp};
use serde::{Deserialize, Serialize};
use zeroize::Zeroize;

/// A one-time token that is to be made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewToken {
    /// The authority's directory: the agent's own, or it is refused.
    pub directory: PathBuf,
    /// The new agent's region.
    pub region: Region,
    /// The new agent's name.
    pub name: SiteName,
    /// What it may do.
    #[serde(default, skip_serializing_if = "SiteRoles::is_any")]
    pub roles: SiteRoles,
    /// How long the token is good for.
    pub ttl_secs: u64,
    /// Where the issuing agent is asked.
    pub issuer: String,
    /// Who the issuing agent is.
    pub issuer_identity: Identity,
}

/// A token that was made. It is a secret.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenRow {
    /// Who it makes of its bearer.
    pub identity: Identity,
    /// What that may do.
    #[serde(default)]
    pub roles: SiteRoles,
    /// Its text.
    pub token: String,
    /// Until when it is good.
    pub ends: Timestamp,
}

impl fmt::Debug for TokenRow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenRow")
            .field("identity", &self.identity)
            .field("roles", &self.roles)
            .field("token", &"...")
            .field("ends", &self.ends)
            .finish()
    }
}

impl Drop for TokenRow {
    fn drop(&mut self) {
        self.token.zeroize();
    }
}

/// A certificate that is to be issued by command.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewCertificate {
    /// The authority's directory: the agent's own, or it is refused.
    pub directory: PathBuf,
    /// The agent's region.
    pub region: Region,
    /// The agent's name.
    pub name: SiteName,
    /// How long it lives.
    pub life_secs: u64,
    /// DNS names to put in besides.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub dns_names: Vec<String>,
    /// The signing request, PEM: its key is taken and nothing else.
    pub csr: String,
}

/// A certificate that was issued by command.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewCertificateRow {
    /// Whose it is.
    pub identity: Identity,
    /// Its serial number.
    pub serial: String,
    /// Until when it is valid.
    pub not_after: Timestamp,
    /// The chain, PEM.
    pub chain: String,
    /// The authority's trust bundle, JSON.
    pub bundle: String,
}

/// What is revoked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Revoke {
    /// An identity, for all that it was given; or the serial number of one certificate.
    pub what: String,
    /// Why, for the audit log.
    pub reason: String,
}

/// What was revoked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RevokedRow {
    /// Whose it is, if that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identity: Option<Identity>,
    /// Serial numbers of the certificates.
    pub serials: Vec<String>,
    /// The number of the trust bundle that says so.
    pub sequence: u64,
    /// Whether it was not revoked before.
    pub is_news: bool,
}

/// A step of a CA roll-over, or what belongs to it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RolloverStep {
    /// None: only how it stands.
    #[default]
    Status,
    /// The new root is in the bundle beside the old one.
    Announce,
    /// Certificates come from the new root.
    Issue,
    /// The old root leaves the bundle.
    Retire,
    /// An operator's word that a peer has a bundle in force, and a certificate of the root
    /// that counts then.
    Acknowledge,
}

impl RolloverStep {
    /// Its word, as on the command line.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Status => "status",
            Self::Announce => "announce",
            Self::Issue => "issue",
            Self::Retire => "retire",
            Self::Acknowledge => "acknowledge",
        }
    }
}

/// A step that is to be taken.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TakeStep {
    /// Which.
    pub step: RolloverStep,
    /// Peers that are not waited for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub without: Vec<Identity>,
    /// Why not, or how it is known what a peer has in force.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// For whom is acknowledged.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub peer: Option<Identity>,
    /// The number of the bundle that it has in force.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sequence: Option<u64>,
}

/// How a roll-over stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RolloverReport {
    /// The authority's trust domain.
    pub domain: String,
    /// How far it is, and the number of the bundle that everybody has to have in force
    /// before the next step.
    pub rollover: Rollover,
    /// The number of the trust bundle.
    pub bundle: u64,
    /// Roots in it.
    pub roots: usize,
    /// Revocations in it.
    pub revoked: usize,
}

/// Somebody whom a roll-over waits for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KnownRow {
    /// Who.
    pub identity: Identity,
    /// The number of the trust bundle it has in force; none when it never said so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bundle: Option<u64>,
    /// SHA-256 of the root its certificate comes from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub root: Option<String>,
    /// Since when.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,
    /// Who said so for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
    /// Whether the next step does not wait for it.
    pub ready: bool,
}
