//! The TLS of an enrolment: the issuing side is known by a key, the other by a token or
//! by the certificate it renews.

use std::sync::Arc;

use rustls::{
    ClientConfig, ServerConfig,
    sign::{CertifiedKey, SingleCertAndKey},
    version::TLS13,
};
use sealift_terms::Clock;

use super::EnrolmentToken;
use crate::{
    bundle::TrustBundle,
    context::{ClockTime, restrict_client, restrict_server},
    credentials::Credentials,
    error::IdentityError,
    policy::TlsPolicy,
    verifier::{AnyAgent, TheIssuer},
};

/// The application protocol of enrolments.
const ALPN: &[u8] = b"http/1.1";

/// What the issuing agent answers with: its own certificate, the root behind it, and a
/// certificate of the other side if that has one.
///
/// # Errors
/// [`IdentityError::Tls`] when rustls does not take the policy.
pub fn issuing_server(
    policy: &TlsPolicy,
    credentials: &Credentials,
    roots: &TrustBundle,
    clock: Arc<dyn Clock>,
) -> Result<Arc<ServerConfig>, IdentityError> {
    let provider = policy.provider();
    let verifier = AnyAgent {
        roots: roots.clone(),
        algorithms: provider.signature_verification_algorithms,
    };
    let own = credentials.certified();
    let chain = [own.cert.as_slice(), roots.roots()].concat();
    let shown = CertifiedKey::new(chain, own.key.clone());
    let mut config = ServerConfig::builder_with_details(provider, Arc::new(ClockTime(clock)))
        .with_protocol_versions(&[&TLS13])
        .map_err(IdentityError::Tls)?
        .with_client_cert_verifier(Arc::new(verifier))
        .with_cert_resolver(Arc::new(SingleCertAndKey::from(shown)));
    restrict_server(&mut config, &[ALPN]);
    Ok(Arc::new(config))
}

/// What a new agent dials the issuing one with.
///
/// # Errors
/// [`IdentityError::Tls`] when rustls does not take the policy.
pub fn enrolling_client(
    policy: &TlsPolicy,
    token: &EnrolmentToken,
    clock: Arc<dyn Clock>,
) -> Result<Arc<ClientConfig>, IdentityError> {
    let provider = policy.provider();
    let verifier = TheIssuer {
        expected: token.issuer_identity.clone(),
        ca_keys: token.ca_keys.clone(),
        algorithms: provider.signature_verification_algorithms,
    };
    let mut config = ClientConfig::builder_with_details(provider, Arc::new(ClockTime(clock)))
        .with_protocol_versions(&[&TLS13])
        .map_err(IdentityError::Tls)?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_no_client_auth();
    restrict_client(&mut config, &[ALPN]);
    Ok(Arc::new(config))
}
