//! What an ACME order needs of keys and certificates (RFC 8555, RFC 8737): a signing
//! request that says names, the certificate that answers a `tls-alpn-01` challenge,
//! and trust in the server that is asked.

use std::{path::Path, sync::Arc};

use rcgen::{CertificateParams, CustomExtension, DistinguishedName, KeyPair, SanType};
use rustls::{
    ClientConfig, RootCertStore, ServerConfig, crypto::ring, sign::CertifiedKey, version::TLS13,
};
use rustls_pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use sealift_terms::{Clock, Identity, limits};
use zeroize::Zeroizing;

use crate::{
    authority::new_key,
    context::{ClockTime, restrict_server},
    error::IdentityError,
    files,
    policy::TlsPolicy,
};

/// The application protocol of `tls-alpn-01` (RFC 8737, section 6.2).
const ALPN_CHALLENGE: &[u8] = b"acme-tls/1";

/// A signing request (DER, PKCS #10) of a private key, for an order of one DNS name. The
/// identity is said beside it where the authority puts it into certificates.
///
/// # Errors
/// [`IdentityError::PrivateKey`] for what is no private key.
pub fn order_request(
    private_key_pem: &str,
    dns_name: &str,
    identity: Option<&Identity>,
) -> Result<Vec<u8>, IdentityError> {
    let key = KeyPair::from_pem(private_key_pem).map_err(|_| IdentityError::PrivateKey(None))?;
    let key = Zeroizing::new(key);
    let mut params = named(dns_name)?;
    if let Some(identity) = identity {
        let uri = identity.as_str().try_into();
        let uri = uri.map_err(IdentityError::Issuing)?;
        params.subject_alt_names.push(SanType::URI(uri));
    }
    let request = params.serialize_request(&*key);
    let request = request.map_err(IdentityError::Issuing)?;
    Ok(request.der().to_vec())
}

/// Answers `tls-alpn-01` challenges for a DNS name, and nothing else: `digest` is the
/// SHA-256 of the key authorization.
///
/// # Errors
/// [`IdentityError::Issuing`] for what is no DNS name or no digest.
pub fn challenge_server(
    dns_name: &str,
    digest: &[u8; 32],
    clock: Arc<dyn Clock>,
) -> Result<Arc<ServerConfig>, IdentityError> {
    let key = new_key()?;
    let mut params = named(dns_name)?;
    params.custom_extensions = vec![CustomExtension::new_acme_identifier(digest)];
    let certificate = params.self_signed(&key).map_err(IdentityError::Issuing)?;
    let der = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let signing = ring::sign::any_supported_type(&der)
        .map_err(|error| IdentityError::PrivateKey(Some(error)))?;
    let certified = CertifiedKey::new(vec![certificate.der().clone()], signing);
    let time = Arc::new(ClockTime(clock));
    let mut config = ServerConfig::builder_with_details(TlsPolicy::default().provider(), time)
        .with_protocol_versions(&[&TLS13])
        .map_err(IdentityError::Tls)?
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(rustls::sign::SingleCertAndKey::from(certified)));
    restrict_server(&mut config, &[ALPN_CHALLENGE]);
    Ok(Arc::new(config))
}

/// Asks servers that are known by name and by a file of roots, PEM.
///
/// # Errors
/// [`IdentityError`] names the file and what is wrong with it.
pub fn https_client(
    roots: &Path,
    clock: Arc<dyn Clock>,
) -> Result<Arc<ClientConfig>, IdentityError> {
    let pem = files::read_public(roots, limits::ROOTS_FILE_BYTES_MAX)?;
    let certificates = files::certificates_from_pem(&pem, limits::ROOTS_FILE_MAX)
        .map_err(|error| files::in_file(roots, error))?;
    let mut store = RootCertStore::empty();
    // One that cannot be used vouches for nobody; a system's list has such ones.
    if let (0, _) = store.add_parsable_certificates(certificates) {
        return Err(files::content(roots, "holds no root that can be used"));
    }
    let time = Arc::new(ClockTime(clock));
    let mut config = ClientConfig::builder_with_details(TlsPolicy::default().provider(), time)
        .with_protocol_versions(&[&TLS13])
        .map_err(IdentityError::Tls)?
        .with_root_certificates(store)
        .with_no_client_auth();
    config.resumption = rustls::client::Resumption::disabled();
    Ok(Arc::new(config))
}

fn named(dns_name: &str) -> Result<CertificateParams, IdentityError> {
    let names = vec![dns_name.to_owned()];
    let mut params = CertificateParams::new(names).map_err(IdentityError::Issuing)?;
    params.distinguished_name = DistinguishedName::new();
    Ok(params)
}

#[cfg(test)]
mod tests {
    use rustls_pki_types::CertificateSigningRequestDer;

    use super::*;
    use crate::new_private_key;

    #[test]
    fn a_request_says_the_name_and_the_identity_only_where_it_is_wanted() {
        let identity: Identity = "spiffe://d/region/r/agent/a".parse().unwrap();
        let key = new_private_key().unwrap();
        for (identity, names) in [(None, 1), (Some(&identity), 2)] {
            let der = order_request(&key, "a.example.org", identity).unwrap();
            let der = CertificateSigningRequestDer::from(der);
            let read = rcgen::CertificateSigningRequestParams::from_der(&der).unwrap();
            let said = read.params.subject_alt_names;
            assert_eq!(said.len(), names);
            assert!(matches!(&said[0], SanType::DnsName(name) if name.as_str() == "a.example.org"));
        }
        assert!(order_request("no key", "a.example.org", None).is_err());
    }

    #[test]
    fn a_list_of_roots_is_read_and_one_without_any_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("roots.pem");
        let clock: Arc<dyn Clock> = Arc::new(sealift_host::OsClock);
        std::fs::write(&file, "nothing").unwrap();
        assert!(https_client(&file, clock.clone()).is_err());
        let root = crate::RootAuthority::generate("d", &*clock, &sealift_host::OsRng).unwrap();
        std::fs::write(&file, root.certificate_pem()).unwrap();
        assert!(https_client(&file, clock).is_ok());
    }
}
