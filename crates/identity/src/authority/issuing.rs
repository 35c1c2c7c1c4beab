//! The issuing CA of one region: makes certificates for that region's agents.

use std::{fmt, path::Path, time::Duration};

use rcgen::{Issuer, KeyPair, PublicKeyData};
use rustls_pki_types::CertificateDer;
use sealift_terms::{Clock, Identity, Region, Rng, Timestamp, limits};
use zeroize::Zeroizing;

use super::{
    profile::{self, Validity},
    request,
};
use crate::{
    bundle::certificate_pem,
    certificate::{CaFacts, CaLife, Leaf, region_uri},
    error::IdentityError,
    files,
};

/// What a new certificate is to say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeafRequest {
    /// Who it is for: an agent of the issuing CA's region.
    pub identity: Identity,
    /// Names for clients that know servers by DNS name. sealift itself does not use them.
    pub dns_names: Vec<String>,
    /// Its life from the moment of issue: at most 47 days.
    pub life: Duration,
    /// It does not begin before: everything older of this identity is revoked.
    pub not_before_min: Option<Timestamp>,
}

impl LeafRequest {
    /// A certificate for `identity` that lives 24 hours.
    #[must_use]
    pub fn new(identity: Identity) -> Self {
        Self {
            identity,
            dns_names: Vec::new(),
            life: limits::CERTIFICATE_LIFE_DEFAULT,
            not_before_min: None,
        }
    }
}

/// A certificate that was made, and its private key if that was made with it.
pub struct Issued {
    /// The chain as PEM text: the agent's certificate, then the issuing CA's.
    pub chain_pem: String,
    /// The private key as PEM text; none when the requester has it.
    pub private_key_pem: Option<Zeroizing<String>>,
    /// What the certificate says.
    pub leaf: Leaf,
}

impl Issued {
    /// What an issuer gave for a private key, or for one that its requester has.
    ///
    /// # Errors
    /// [`IdentityError::Certificate`] for what is no chain.
    pub fn new(
        chain_pem: String,
        private_key_pem: Option<Zeroizing<String>>,
    ) -> Result<Self, IdentityError> {
        let chain = chain_pem.as_bytes();
        let chain = files::certificates_from_pem(chain, limits::CERTIFICATE_CHAIN_MAX)?;
        let malformed = |what: String| IdentityError::Certificate { what };
        let first = chain.first();
        let first = first.ok_or_else(|| malformed("the chain is empty".to_owned()))?;
        let leaf = Leaf::parse(first).map_err(|error| malformed(error.to_string()))?;
        Ok(Self {
            chain_pem,
            private_key_pem,
            leaf,
        })
    }

    /// Writes chain and private key (mode 0600), the key first: a certificate
    /// without its key is of no use, a key without certificate harms nobody.
    ///
    /// # Errors
    /// [`IdentityError::File`] when a file cannot be written.
    pub fn save(&self, certificate: &Path, private_key: &Path) -> Result<(), IdentityError> {
        if let Some(key) = &self.private_key_pem {
            files::write_secret(private_key, key.as_bytes())?;
        }
        files::write_public(certificate, self.chain_pem.as_bytes())
    }
}

impl fmt::Debug for Issued {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Issued")
            .field("leaf", &self.leaf)
            .finish_non_exhaustive()
    }
}

/// The issuing CA of one region, its key in memory.
pub struct IssuingAuthority {
    domain: String,
    region: Region,
    certificate: CertificateDer<'static>,
    facts: CaFacts,
    key: Zeroizing<KeyPair>,
}

impl IssuingAuthority {
    pub(super) fn new(
        certificate: CertificateDer<'static>,
        key: Zeroizing<KeyPair>,
    ) -> Result<Self, IdentityError> {
        let refuse = |what: String| IdentityError::Certificate { what };
        let facts = CaFacts::parse(&certificate).map_err(|error| refuse(error.to_string()))?;
        let Some((domain, region)) = facts.region.clone() else {
            return Err(refuse(
                "it is not the certificate of a region's issuing CA".to_owned(),
            ));
        };
        if !facts.is_ca {
            return Err(refuse("it may not sign certificates".to_owned()));
        }
        Ok(Self {
            domain,
            region,
            certificate,
            facts,
            key,
        })
    }

    /// Reads an issuing CA: its certificate and its private key (mode 0600).
    ///
    /// # Errors
    /// [`IdentityError`] names the file and what is wrong with it.
    pub fn load(certificate: &Path, private_key: &Path) -> Result<Self, IdentityError> {
        let mut chain = files::read_certificates(certificate)?;
        let pem = files::read_secret(private_key, limits::CERTIFICATE_FILE_BYTES_MAX)?;
        let pem = str::from_utf8(&pem).map_err(|_| IdentityError::PrivateKey(None))?;
        let key = KeyPair::from_pem(pem).map_err(IdentityError::Issuing)?;
        let issuing = Self::new(chain.swap_remove(0), Zeroizing::new(key))
            .map_err(|error| files::in_file(certificate, error))?;
        let end_entity = webpki::EndEntityCert::try_from(&issuing.certificate)
            .map_err(|error| files::content(certificate, &error.to_string()))?;
        if end_entity.subject_public_key_info().as_ref() != issuing.key.subject_public_key_info() {
            return Err(files::content(
                private_key,
                "is not the key of the issuing CA",
            ));
        }
        Ok(issuing)
    }

    /// Writes certificate and private key (mode 0600).
    ///
    /// # Errors
    /// [`IdentityError::File`] when a file cannot be written.
    pub fn save(&self, certificate: &Path, private_key: &Path) -> Result<(), IdentityError> {
        let key = Zeroizing::new(self.key.serialize_pem());
        files::write_secret(private_key, key.as_bytes())?;
        files::write_public(certificate, certificate_pem(&self.certificate).as_bytes())
    }

    /// Makes a key pair and a certificate for it.
    ///
    /// # Errors
    /// [`IdentityError`]: an identity of another region, a life that is not allowed,
    /// or an issuing CA that is not valid now.
    pub fn issue(
        &self,
        request: &LeafRequest,
        clock: &dyn Clock,
        rng: &dyn Rng,
    ) -> Result<Issued, IdentityError> {
        let key = Zeroizing::new(profile::new_key()?);
        let mut issued = self.sign(request, &*key, clock, rng)?;
        issued.private_key_pem = Some(Zeroizing::new(key.serialize_pem()));
        Ok(issued)
    }

    /// Makes a certificate for the key in a signing request (PEM). Whatever else the
    /// request asks for (names, usages, CA rights, lifetimes) counts for nothing.
    ///
    /// # Errors
    /// [`IdentityError::SigningRequest`] when it cannot be read, is not signed by its
    /// key, or has a key of another sort; otherwise as [`IssuingAuthority::issue`].
    pub fn issue_for_csr(
        &self,
        csr_pem: &[u8],
        request: &LeafRequest,
        clock: &dyn Clock,
        rng: &dyn Rng,
    ) -> Result<Issued, IdentityError> {
        self.sign(request, &request::public_key(csr_pem)?, clock, rng)
    }

    fn sign(
        &self,
        request: &LeafRequest,
        public_key: &impl PublicKeyData,
        clock: &dyn Clock,
        rng: &dyn Rng,
    ) -> Result<Issued, IdentityError> {
        let mut validity = self.validity(request, clock)?;
        if let Some(min) = request.not_before_min {
            validity.not_before = validity.not_before.max(min);
        }
        request::check_dns_names(&request.dns_names)?;
        let params = profile::leaf(&request.identity, &request.dns_names, validity, rng)?;
        let certificate = params
            .signed_by(public_key, &self.issuer()?)
            .map_err(IdentityError::Issuing)?;
        let leaf = Leaf::parse(certificate.der()).map_err(|error| IdentityError::Certificate {
            what: error.to_string(),
        })?;
        let chain_pem = certificate_pem(certificate.der()) + &certificate_pem(&self.certificate);
        Ok(Issued {
            chain_pem,
            private_key_pem: None,
            leaf,
        })
    }

    pub(super) fn issuer(&self) -> Result<Issuer<'static, &KeyPair>, IdentityError> {
        Issuer::from_ca_cert_der(&self.certificate, &*self.key).map_err(IdentityError::Issuing)
    }

    fn validity(
        &self,
        request: &LeafRequest,
        clock: &dyn Clock,
    ) -> Result<Validity, IdentityError> {
        let identity = &request.identity;
        if identity.domain() != self.domain || *identity.region() != self.region {
            let (issuer, identity) = (self.uri(), identity.clone());
            return Err(IdentityError::ForeignIdentity { issuer, identity });
        }
        check_life(request.life)?;
        let (now, facts) = (clock.now(), &self.facts);
        if now < facts.not_before || now >= facts.not_after {
            return Err(IdentityError::IssuerNotValid {
                issuer: self.uri(),
                not_before: facts.not_before,
                not_after: facts.not_after,
                now,
            });
        }
        Ok(Validity::of_life(now, request.life)
            .within_life_max()
            .ending_by(facts.not_after))
    }

    /// The trust domain.
    #[must_use]
    pub fn domain(&self) -> &str {
        &self.domain
    }

    /// From when until when it may issue.
    #[must_use]
    pub fn life(&self) -> CaLife {
        CaLife {
            from: self.facts.not_before,
            until: self.facts.not_after,
        }
    }

    /// The region.
    #[must_use]
    pub fn region(&self) -> &Region {
        &self.region
    }

    /// Its URI, `spiffe://DOMAIN/region/REGION`.
    #[must_use]
    pub fn uri(&self) -> String {
        region_uri(&self.domain, &self.region)
    }
}

impl fmt::Debug for IssuingAuthority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IssuingAuthority")
            .field("uri", &self.uri())
            .field("key", &"...")
            .finish()
    }
}

/// Whether a life may be asked for.
fn check_life(life: Duration) -> Result<(), IdentityError> {
    let (min, max) = (limits::CERTIFICATE_LIFE_MIN, limits::CERTIFICATE_LIFE_MAX);
    if (min..=max).contains(&life) {
        return Ok(());
    }
    Err(IdentityError::Lifetime {
        asked_secs: life.as_secs(),
        min_secs: min.as_secs(),
        max_secs: max.as_secs(),
    })
}
