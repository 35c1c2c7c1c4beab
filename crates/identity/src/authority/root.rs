//! The root: signs issuing CAs, and nothing else.

use std::{fmt, path::Path};

use rcgen::{Issuer, KeyPair, SigningKey};
use rustls_pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use sealift_terms::{Clock, Region, Rng, limits};
use zeroize::Zeroizing;

use super::{
    issuing::IssuingAuthority,
    profile::{self, ISSUING_LIFE, ROOT_LIFE, Validity},
    sealed,
};
use crate::{
    bundle::{TrustBundle, certificate_pem},
    certificate::CaFacts,
    error::IdentityError,
    files,
};

/// The root of a trust domain, its key in memory.
pub struct RootAuthority {
    domain: String,
    certificate: CertificateDer<'static>,
    key: Zeroizing<KeyPair>,
}

impl RootAuthority {
    /// Makes a new root, in memory only.
    ///
    /// # Errors
    /// [`IdentityError::BadName`] when `domain` is not a trust domain.
    pub fn generate(domain: &str, clock: &dyn Clock, rng: &dyn Rng) -> Result<Self, IdentityError> {
        check_domain(domain)?;
        let key = Zeroizing::new(profile::new_key()?);
        let validity = Validity::of_life(clock.now(), ROOT_LIFE);
        let params = profile::root(domain, validity, rng)?;
        let certificate = params.self_signed(&*key).map_err(IdentityError::Issuing)?;
        Ok(Self {
            domain: domain.to_owned(),
            certificate: certificate.der().clone(),
            key,
        })
    }

    /// Opens a root whose key was sealed by [`RootAuthority::seal_key`].
    pub(super) fn open(
        domain: &str,
        certificate: &Path,
        sealed_key: &Path,
        passphrase: &str,
    ) -> Result<Self, IdentityError> {
        let chain = files::read_certificates(certificate)?;
        let [certificate] = <[_; 1]>::try_from(chain)
            .map_err(|_| files::content(certificate, "holds more than the root's certificate"))?;
        let text = files::read_secret(sealed_key, limits::CERTIFICATE_FILE_BYTES_MAX)?;
        let pkcs8 = sealed::open(sealed::KEY, &text, passphrase, Some(domain));
        let pkcs8 = pkcs8.map_err(|error| match error {
            sealed::OpenError::Refused => IdentityError::Passphrase {
                path: sealed_key.to_owned(),
            },
            sealed::OpenError::Format(what) => files::content(sealed_key, &what),
        })?;
        let der = PrivatePkcs8KeyDer::from(pkcs8.as_slice());
        let key = KeyPair::try_from(&der).map_err(IdentityError::Issuing)?;
        Ok(Self {
            domain: domain.to_owned(),
            certificate,
            key: Zeroizing::new(key),
        })
    }

    /// Makes the issuing CA of a region.
    ///
    /// # Errors
    /// [`IdentityError`] when the root has expired or the certificate cannot be made.
    pub fn issuing(
        &self,
        region: &Region,
        clock: &dyn Clock,
        rng: &dyn Rng,
    ) -> Result<IssuingAuthority, IdentityError> {
        let now = clock.now();
        let facts = self.facts()?;
        if now > facts.not_after {
            return Err(IdentityError::IssuerNotValid {
                issuer: format!("the root of {}", self.domain),
                not_before: facts.not_before,
                not_after: facts.not_after,
                now,
            });
        }
        let validity = Validity::of_life(now, ISSUING_LIFE).ending_by(facts.not_after);
        let params = profile::issuing(&self.domain, region, validity, rng)?;
        let key = Zeroizing::new(profile::new_key()?);
        let root = Issuer::from_ca_cert_der(&self.certificate, &*self.key)
            .map_err(IdentityError::Issuing)?;
        let certificate = params
            .signed_by(&*key, &root)
            .map_err(IdentityError::Issuing)?;
        IssuingAuthority::new(certificate.der().clone(), key)
    }

    /// The trust bundle with this root alone.
    ///
    /// # Errors
    /// [`IdentityError::TrustBundle`] when the root's certificate is not usable as one.
    pub fn bundle(&self, sequence: u64) -> Result<TrustBundle, IdentityError> {
        let domain = Some(self.domain.clone());
        TrustBundle::new(domain, sequence, vec![self.certificate.clone()])
    }

    /// The trust domain.
    #[must_use]
    pub fn domain(&self) -> &str {
        &self.domain
    }

    /// The root's certificate as PEM text.
    #[must_use]
    pub fn certificate_pem(&self) -> String {
        certificate_pem(&self.certificate)
    }

    pub(super) fn certificate(&self) -> &CertificateDer<'static> {
        &self.certificate
    }

    /// Its signature over a statement about roots.
    pub(super) fn sign(&self, statement: &[u8]) -> Result<Vec<u8>, IdentityError> {
        self.key.sign(statement).map_err(IdentityError::Issuing)
    }

    /// The root's key under a passphrase, as the text of a file.
    pub(super) fn seal_key(
        &self,
        passphrase: &str,
        rng: &dyn Rng,
    ) -> Result<String, IdentityError> {
        let pkcs8 = self.key.serialized_der();
        sealed::seal(sealed::KEY, pkcs8, passphrase, &self.domain, rng)
    }

    fn facts(&self) -> Result<CaFacts, IdentityError> {
        CaFacts::parse(&self.certificate).map_err(|error| IdentityError::Certificate {
            what: error.to_string(),
        })
    }
}

impl fmt::Debug for RootAuthority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RootAuthority")
            .field("domain", &self.domain)
            .field("key", &"...")
            .finish()
    }
}

fn check_domain(domain: &str) -> Result<(), IdentityError> {
    if sealift_terms::identity::is_trust_domain(domain) {
        return Ok(());
    }
    Err(IdentityError::BadName {
        what: "trust domain",
        found: domain.chars().take(80).collect(),
        allowed: "1 to 255 of a-z, 0-9, `.`, `-` and `_`",
    })
}
