//! What is taken from outside when a certificate is asked for: a public key and
//! DNS names, and nothing else.

use rcgen::{
    PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, PKCS_ED25519, PublicKeyData,
    SubjectPublicKeyInfo,
};
use rustls_pki_types::{CertificateSigningRequestDer, DnsName, pem::PemObject};
use sealift_terms::limits;
use x509_parser::{certification_request::X509CertificationRequest, prelude::FromDer};

use crate::error::IdentityError;

/// The public key of a signing request that is signed by that key.
pub(super) fn public_key(csr_pem: &[u8]) -> Result<SubjectPublicKeyInfo, IdentityError> {
    let refuse = |what: &str| IdentityError::SigningRequest {
        what: what.to_owned(),
    };
    if csr_pem.len() > limits::CERTIFICATE_FILE_BYTES_MAX {
        return Err(refuse("it is larger than 64 KiB"));
    }
    let der = CertificateSigningRequestDer::from_pem_slice(csr_pem)
        .map_err(|_| refuse("it is not PEM"))?;
    let (rest, csr) =
        X509CertificationRequest::from_der(&der).map_err(|_| refuse("it is not PKCS #10"))?;
    if !rest.is_empty() {
        return Err(refuse("bytes follow it"));
    }
    // Proof that the requester has the private key.
    csr.verify_signature()
        .map_err(|_| refuse("it is not signed by its own key"))?;
    let key = SubjectPublicKeyInfo::from_der(csr.certification_request_info.subject_pki.raw)
        .map_err(|_| refuse("its key is of an unknown sort"))?;
    let allowed = [
        &PKCS_ECDSA_P256_SHA256,
        &PKCS_ECDSA_P384_SHA384,
        &PKCS_ED25519,
    ];
    if !allowed.contains(&key.algorithm()) {
        return Err(refuse("its key is not P-256, P-384 or Ed25519"));
    }
    Ok(key)
}

/// That key as it stands in the request, for a comparison.
pub(crate) fn signing_key(csr_pem: &[u8]) -> Result<Vec<u8>, IdentityError> {
    Ok(public_key(csr_pem)?.der_bytes().to_vec())
}

pub(super) fn check_dns_names(names: &[String]) -> Result<(), IdentityError> {
    let refuse = |found: &str| IdentityError::BadName {
        what: "list of DNS names",
        found: found.to_owned(),
        allowed: "at most 16 DNS names",
    };
    if names.len() > limits::CERTIFICATE_DNS_NAMES_MAX {
        return Err(refuse(&format!("{} names", names.len())));
    }
    match names
        .iter()
        .find(|name| DnsName::try_from(name.as_str()).is_err())
    {
        Some(bad) => Err(refuse(bad)),
        None => Ok(()),
    }
}
