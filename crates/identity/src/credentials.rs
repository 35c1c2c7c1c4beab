//! What an agent shows of itself: certificate, chain and private key, checked
//! with the eyes of a peer before anyone sees them.

use std::{fmt, path::Path, sync::Arc};

use rustls::{InconsistentKeys, crypto::ring, sign::CertifiedKey};
use rustls_pki_types::CertificateDer;
use sealift_terms::{Timestamp, limits};
use zeroize::Zeroizing;

use crate::{
    bundle::TrustBundle,
    certificate::{CaLife, Leaf},
    chain::{self, Presented, Purpose, Trust},
    demands::OwnDemands,
    error::IdentityError,
    files,
};

/// A certificate, its chain and its private key, such that a peer with the same
/// roots accepted them when they were loaded, or did until the certificate was over
/// ([`Credentials::load_last_as`]). There is no other way to make one.
#[derive(Clone)]
pub struct Credentials {
    leaf: Arc<Leaf>,
    certified: Arc<CertifiedKey>,
}

impl Credentials {
    /// Reads and checks a certificate chain and its private key, both PEM.
    ///
    /// # Errors
    /// [`IdentityError`]: a file that cannot be read or that others can read, a key
    /// that does not belong to the certificate, or what a peer would refuse.
    pub fn load(
        certificate: &Path,
        private_key: &Path,
        own_roots: &TrustBundle,
        now: Timestamp,
    ) -> Result<Self, IdentityError> {
        Self::load_as(
            certificate,
            private_key,
            own_roots,
            &OwnDemands::default(),
            now,
        )
    }

    /// The same where peers ask for something else than the embedded authority's.
    ///
    /// # Errors
    /// [`IdentityError`] as for [`Credentials::load`].
    pub fn load_as(
        certificate: &Path,
        private_key: &Path,
        own_roots: &TrustBundle,
        demands: &OwnDemands,
        now: Timestamp,
    ) -> Result<Self, IdentityError> {
        let (chain, key) = read(certificate, private_key)?;
        Self::check(chain, &key, own_roots, demands, now)
    }

    /// The same, where the certificate may be over: it is held against what counted at its
    /// end then. Peers refuse it; its issuer may still renew it.
    ///
    /// # Errors
    /// [`IdentityError`] as for [`Credentials::load`], but for an end that has passed.
    pub fn load_last_as(
        certificate: &Path,
        private_key: &Path,
        own_roots: &TrustBundle,
        demands: &OwnDemands,
        now: Timestamp,
    ) -> Result<Self, IdentityError> {
        let (chain, key) = read(certificate, private_key)?;
        let end = chain.first().and_then(|leaf| Leaf::not_after_of(leaf).ok());
        let at = end.map_or(now, |end| end.min(now));
        Self::check(chain, &key, own_roots, demands, at)
    }

    /// Checks a certificate chain and its private key, both PEM.
    ///
    /// # Errors
    /// [`IdentityError`] as for [`Credentials::load`].
    pub fn from_pem(
        certificate: &[u8],
        private_key: &[u8],
        own_roots: &TrustBundle,
        now: Timestamp,
    ) -> Result<Self, IdentityError> {
        let demands = OwnDemands::default();
        Self::from_pem_as(certificate, private_key, own_roots, &demands, now)
    }

    /// The same where peers ask for something else than the embedded authority's.
    ///
    /// # Errors
    /// [`IdentityError`] as for [`Credentials::load`].
    pub fn from_pem_as(
        certificate: &[u8],
        private_key: &[u8],
        own_roots: &TrustBundle,
        demands: &OwnDemands,
        now: Timestamp,
    ) -> Result<Self, IdentityError> {
        let chain = files::certificates_from_pem(certificate, limits::CERTIFICATE_CHAIN_MAX)?;
        Self::check(chain, private_key, own_roots, demands, now)
    }

    fn check(
        chain: Vec<CertificateDer<'static>>,
        private_key: &[u8],
        own_roots: &TrustBundle,
        own: &OwnDemands,
        now: Timestamp,
    ) -> Result<Self, IdentityError> {
        let would_be_refused = |refusal| IdentityError::WouldBeRefused { refusal };
        let (end_entity, intermediates) =
            chain
                .split_first()
                .ok_or_else(|| IdentityError::Certificate {
                    what: "the chain is empty".to_owned(),
                })?;
        let dns = |name: &str| own.dns.as_ref()?.identity_of(name);
        let leaf = Leaf::parse_known(end_entity, dns).map_err(would_be_refused)?;
        let algorithms = ring::default_provider().signature_verification_algorithms;
        let presented = Presented {
            end_entity,
            intermediates,
        };
        // An agent dials and answers: its certificate has to do for both.
        let purposes = [Purpose::Server, Purpose::Client];
        let asked = if own.answers_only { 1 } else { 2 };
        for purpose in purposes.into_iter().take(asked) {
            let now = chain::unix_time(now);
            let trust = Trust {
                demands: own.demands,
                ..Trust::of(own_roots.anchors())
            };
            chain::verify(&leaf, presented, trust, purpose, now, &algorithms)
                .map_err(would_be_refused)?;
        }
        let key = ring::sign::any_supported_type(&files::private_key_from_pem(private_key)?)
            .map_err(|error| IdentityError::PrivateKey(Some(error)))?;
        let certified = CertifiedKey::new(chain, key);
        match certified.keys_match() {
            Ok(()) => {}
            Err(rustls::Error::InconsistentKeys(InconsistentKeys::KeyMismatch)) => {
                return Err(IdentityError::KeyMismatch {
                    identity: leaf.identity,
                });
            }
            Err(error) => return Err(IdentityError::PrivateKey(Some(error))),
        }
        Ok(Self {
            leaf: Arc::new(leaf),
            certified: Arc::new(certified),
        })
    }

    /// What the certificate says.
    #[must_use]
    pub fn leaf(&self) -> &Arc<Leaf> {
        &self.leaf
    }

    /// The chain, the agent's own certificate first.
    #[must_use]
    pub fn chain(&self) -> &[CertificateDer<'static>] {
        &self.certified.cert
    }

    /// The life of the CA above the certificate that ends first; none where the chain has
    /// none.
    #[must_use]
    pub fn issuer_life(&self) -> Option<CaLife> {
        let above = self.chain().iter().skip(1);
        above.flat_map(CaLife::of).min_by_key(|life| life.until)
    }

    /// Whether peers are shown the same certificates. The private key is then the same.
    #[must_use]
    pub fn shows_the_same(&self, other: &Self) -> bool {
        self.certified.cert == other.certified.cert
    }

    pub(crate) fn certified(&self) -> &Arc<CertifiedKey> {
        &self.certified
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials")
            .field("leaf", &self.leaf)
            .field("private_key", &"...")
            .finish()
    }
}

/// The chain, and the private key as PEM text.
fn read(
    certificate: &Path,
    private_key: &Path,
) -> Result<(Vec<CertificateDer<'static>>, Zeroizing<Vec<u8>>), IdentityError> {
    let chain = files::read_certificates(certificate)?;
    let key = files::read_secret(private_key, limits::CERTIFICATE_FILE_BYTES_MAX)?;
    Ok((chain, key))
}
