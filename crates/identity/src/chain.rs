//! The one check of a chain of certificates. Both sides of a handshake use it,
//! and so does an agent on its own certificate before it shows it to anyone.

use std::{cell::RefCell, time::Duration};

use rustls::crypto::WebPkiSupportedAlgorithms;
use rustls_pki_types::{CertificateDer, TrustAnchor, UnixTime};
use sealift_terms::{Timestamp, limits};
use webpki::{EndEntityCert, Error as ChainError, KeyUsage, RevocationOptions, VerifiedPath};

use crate::{
    certificate::{CaFacts, Leaf, region_uri},
    demands::{Demands, Issuers},
    lists::RevocationLists,
    refusal::Refusal,
};

/// What the holder of a certificate uses it for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// To answer.
    Server,
    /// To dial.
    Client,
}

/// A chain as it was presented.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Presented<'a> {
    pub(crate) end_entity: &'a CertificateDer<'a>,
    pub(crate) intermediates: &'a [CertificateDer<'a>],
}

/// What a chain is held against.
#[derive(Clone, Copy)]
pub(crate) struct Trust<'a> {
    /// Where it has to lead.
    pub(crate) roots: &'a [TrustAnchor<'static>],
    /// What is asked of it besides.
    pub(crate) demands: Demands,
    /// Where there are lists, the certificate has to be in the scope of one that is not
    /// over, and not on it.
    pub(crate) lists: Option<&'a RevocationLists>,
}

impl<'a> Trust<'a> {
    /// The embedded authority's, without lists.
    pub(crate) fn of(roots: &'a [TrustAnchor<'static>]) -> Self {
        Self {
            roots,
            demands: Demands::default(),
            lists: None,
        }
    }
}

/// Verifies that `presented`, which says `leaf`, can be trusted now, and for `purpose`.
pub(crate) fn verify(
    leaf: &Leaf,
    presented: Presented<'_>,
    trust: Trust<'_>,
    purpose: Purpose,
    now: UnixTime,
    algorithms: &WebPkiSupportedAlgorithms,
) -> Result<(), Refusal> {
    let Trust {
        roots,
        demands,
        lists,
    } = trust;
    if presented.intermediates.len() >= limits::CERTIFICATE_CHAIN_MAX {
        let what = format!(
            "it has more than {} certificates",
            limits::CERTIFICATE_CHAIN_MAX
        );
        return Err(Refusal::BadChain {
            identity: leaf.identity.clone(),
            what,
        });
    }
    check_leaf(leaf, demands.life_max, purpose, moment(now))?;
    // The library swallows what the closure says when it tries the next path.
    let region_mismatch = RefCell::new(None);
    let check_region = |path: &VerifiedPath<'_>| match check_region(leaf, path) {
        _ if demands.issuers == Issuers::Any => Ok(()),
        Ok(()) => Ok(()),
        Err(refusal) => {
            *region_mismatch.borrow_mut() = Some(refusal);
            Err(ChainError::UnknownIssuer)
        }
    };
    let usage = match purpose {
        Purpose::Server => KeyUsage::server_auth(),
        Purpose::Client => KeyUsage::client_auth(),
    };
    let end_entity = EndEntityCert::try_from(presented.end_entity).map_err(|error| {
        Refusal::MalformedCertificate {
            what: error.to_string(),
        }
    })?;
    let check = |revocation: Option<RevocationOptions<'_>>| {
        let (algorithms, above) = (algorithms.all, presented.intermediates);
        let region = Some(&check_region as &dyn Fn(&VerifiedPath<'_>) -> Result<(), ChainError>);
        end_entity
            .verify_for_usage(algorithms, roots, above, now, usage, revocation, region)
            .map(drop)
    };
    let verified = match lists {
        Some(lists) => lists.with_options(check),
        None => check(None),
    };
    match verified {
        Ok(()) => Ok(()),
        Err(error) => Err(region_mismatch
            .take()
            .unwrap_or_else(|| explain(leaf, &error, now))),
    }
}

/// What the certificate itself must hold, before anyone's signature is checked.
fn check_leaf(
    leaf: &Leaf,
    life_max: Duration,
    purpose: Purpose,
    now: Timestamp,
) -> Result<(), Refusal> {
    let identity = leaf.identity.clone();
    if leaf.period() > life_max {
        let days = |life: Duration| life.as_secs() / 86_400;
        return Err(Refusal::LifetimeTooLong {
            identity,
            days: days(leaf.period()),
            days_max: days(life_max),
        });
    }
    if leaf.is_over(now) {
        return Err(Refusal::Expired {
            identity,
            not_after: leaf.not_after,
            now,
        });
    }
    if now < leaf.not_before {
        return Err(Refusal::NotYetValid {
            identity,
            not_before: leaf.not_before,
            now,
        });
    }
    // A certificate that names no usage at all would pass the chain check.
    match purpose {
        Purpose::Client if !leaf.client_auth => Err(Refusal::WrongPurpose {
            identity,
            missing: "clientAuth",
        }),
        Purpose::Server if !leaf.server_auth => Err(Refusal::WrongPurpose {
            identity,
            missing: "serverAuth",
        }),
        _ => Ok(()),
    }
}

/// The region rule: between agent and root stands exactly one issuing CA, that of
/// the agent's region. Without it, whoever takes one region's issuing key could
/// speak as an agent of any other.
fn check_region(leaf: &Leaf, path: &VerifiedPath<'_>) -> Result<(), Refusal> {
    let mismatch = |issuer: &str| Refusal::RegionMismatch {
        identity: leaf.identity.clone(),
        issuer: issuer.to_owned(),
    };
    let mut issuers = path.intermediate_certificates();
    let (Some(issuer), None) = (issuers.next(), issuers.next()) else {
        return Err(mismatch("the root or a longer chain"));
    };
    let facts = CaFacts::parse(&issuer.der()).map_err(|_| mismatch("an unreadable certificate"))?;
    let Some((domain, region)) = facts.region else {
        return Err(mismatch("a CA without a region"));
    };
    if domain == leaf.identity.domain() && region == *leaf.identity.region() {
        Ok(())
    } else {
        Err(mismatch(&region_uri(&domain, &region)))
    }
}

fn explain(leaf: &Leaf, error: &ChainError, now: UnixTime) -> Refusal {
    let identity = leaf.identity.clone();
    match error {
        // The same name with another key is another authority as well.
        ChainError::UnknownIssuer | ChainError::InvalidSignatureForPublicKey => {
            Refusal::UntrustedIssuer { identity }
        }
        ChainError::CertRevoked => Refusal::Revoked {
            identity,
            serial: leaf.serial.clone(),
        },
        ChainError::CrlExpired { .. } => Refusal::StaleRevocationList {
            identity,
            now: moment(now),
        },
        ChainError::UnknownRevocationStatus => Refusal::NoRevocationList { identity },
        ChainError::CertExpired { .. } | ChainError::CertNotValidYet { .. } => {
            Refusal::IssuerNotValid {
                identity,
                now: moment(now),
            }
        }
        other => Refusal::BadChain {
            identity,
            what: other.to_string(),
        },
    }
}

/// The time as the TLS library counts it, as a timestamp.
pub(crate) fn moment(time: UnixTime) -> Timestamp {
    Timestamp::from_secs(i64::try_from(time.as_secs()).unwrap_or(i64::MAX))
}

/// A timestamp as the TLS library counts time.
pub(crate) fn unix_time(moment: Timestamp) -> UnixTime {
    let millis = u64::try_from(moment.as_millis()).unwrap_or(0);
    UnixTime::since_unix_epoch(std::time::Duration::from_millis(millis))
}
