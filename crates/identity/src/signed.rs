//! Roots that follow other roots: signed by one of those, so that an issuing agent that
//! is taken over cannot change whom its region and every other one trusts.

use base64::{Engine, engine::general_purpose::STANDARD};
use rustls::crypto::ring;
use rustls_pki_types::CertificateDer;
use sealift_terms::limits;
use serde::{Deserialize, Serialize};
use webpki::EndEntityCert;

use crate::error::IdentityError;

/// Begins what is signed, so that a signature is good for nothing else.
const CONTEXT: &[u8] = b"sealift trust bundle roots 1\0";
/// The longest signature, ECDSA with P-256 in ASN.1.
const SIGNATURE_BYTES_MAX: usize = 80;

/// Under which roots others are put in force.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RootsSigned {
    /// Grows with every other set of roots.
    pub(crate) number: u64,
    /// Each by one root that vouches for the set, base64.
    pub(crate) signatures: Vec<String>,
}

/// What is signed: a domain, a number and the roots, each with its length.
pub(crate) fn statement(domain: &str, number: u64, roots: &[CertificateDer<'_>]) -> Vec<u8> {
    let mut text = CONTEXT.to_vec();
    let mut put = |bytes: &[u8]| {
        text.extend((bytes.len() as u64).to_be_bytes());
        text.extend(bytes);
    };
    put(domain.as_bytes());
    put(&number.to_be_bytes());
    for root in roots {
        put(root);
    }
    text
}

impl RootsSigned {
    pub(crate) fn new(number: u64, signatures: &[Vec<u8>]) -> Self {
        let signatures = signatures.iter().map(|it| STANDARD.encode(it)).collect();
        Self { number, signatures }
    }

    /// Holds them to their form.
    pub(crate) fn check(&self) -> Result<(), IdentityError> {
        let longest = SIGNATURE_BYTES_MAX * 4 / 3 + 4;
        let mut signatures = self.signatures.iter();
        let fits = self.signatures.len() <= limits::TRUST_ROOTS_MAX
            && signatures.all(|signature| signature.len() <= longest);
        match fits {
            true => Ok(()),
            false => Err(IdentityError::TrustBundle {
                what: "its signatures cannot be read".to_owned(),
            }),
        }
    }

    /// Whether one of `vouching` signed `statement`.
    pub(crate) fn is_by_one_of(&self, vouching: &[CertificateDer<'_>], statement: &[u8]) -> bool {
        let algorithms = ring::default_provider().signature_verification_algorithms;
        let signatures: Vec<_> = self
            .signatures
            .iter()
            .flat_map(|it| STANDARD.decode(it))
            .collect();
        vouching
            .iter()
            .flat_map(EndEntityCert::try_from)
            .any(|root| {
                let is_by_it = |signature: &Vec<u8>| {
                    let mut all = algorithms.all.iter();
                    all.any(|one| root.verify_signature(*one, statement, signature).is_ok())
                };
                signatures.iter().any(is_by_it)
            })
    }
}
