//! The requester's half: a key of its own, and a signing request of it.

use rcgen::{CertificateParams, KeyPair};
use zeroize::Zeroizing;

use crate::{authority::new_key, error::IdentityError};

/// A new private key, PEM.
///
/// # Errors
/// [`IdentityError::Issuing`] when the system's generator fails.
pub fn new_private_key() -> Result<Zeroizing<String>, IdentityError> {
    let key = Zeroizing::new(new_key()?);
    Ok(Zeroizing::new(key.serialize_pem()))
}

/// A signing request (PEM, PKCS #10) of a private key. It says nothing else: the issuer
/// would not look at it.
///
/// # Errors
/// [`IdentityError::PrivateKey`] for what is no private key.
pub fn signing_request(private_key_pem: &str) -> Result<String, IdentityError> {
    let key = KeyPair::from_pem(private_key_pem).map_err(|_| IdentityError::PrivateKey(None))?;
    let key = Zeroizing::new(key);
    let request = CertificateParams::default().serialize_request(&*key);
    let pem = request.and_then(|request| request.pem());
    pem.map_err(IdentityError::Issuing)
}
