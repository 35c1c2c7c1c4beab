//! Trust bundles: the roots of one certificate authority and what it revoked, with a
//! number that grows.

use std::{fmt, path::Path};

use rustls::crypto::{WebPkiSupportedAlgorithms, ring};
use rustls_pki_types::{CertificateDer, TrustAnchor, UnixTime};
use sealift_terms::{Timestamp, limits};
use serde::{Deserialize, Serialize};

use crate::{
    certificate::{CaFacts, CaLife, Leaf},
    chain::{self, Presented, Purpose, Trust},
    error::IdentityError,
    files,
    refusal::Refusal,
    revoked::{self, Revocation},
    signed::{self, RootsSigned},
};

/// The roots of one authority.
///
/// Its file is JSON: `{"domain":"example.org","sequence":1,"roots":["-----BEGIN CERTIFICATE…"]}`.
/// Plain PEM is read too and counts as number 0, so that any numbered bundle replaces it.
/// Roots that followed others are in it with a number of their own and signatures.
#[derive(Clone, PartialEq, Eq)]
pub struct TrustBundle {
    domain: Option<String>,
    sequence: u64,
    roots: Vec<CertificateDer<'static>>,
    anchors: Vec<TrustAnchor<'static>>,
    /// None for the first roots of an authority.
    signed: Option<RootsSigned>,
    revoked: Vec<Revocation>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct BundleFile {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    domain: Option<String>,
    sequence: u64,
    roots: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    signed: Option<RootsSigned>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    revoked: Vec<Revocation>,
}

impl TrustBundle {
    /// A bundle of root certificates.
    ///
    /// # Errors
    /// [`IdentityError::TrustBundle`] when there is none, there are too many, one
    /// comes twice, or one is not a self-issued CA certificate.
    pub fn new(
        domain: Option<String>,
        sequence: u64,
        roots: Vec<CertificateDer<'static>>,
    ) -> Result<Self, IdentityError> {
        if roots.is_empty() || roots.len() > limits::TRUST_ROOTS_MAX {
            let (found, most) = (roots.len(), limits::TRUST_ROOTS_MAX);
            return Err(refused(format!(
                "it has {found} roots, allowed are 1 to {most}"
            )));
        }
        let mut anchors: Vec<TrustAnchor<'static>> = Vec::with_capacity(roots.len());
        for root in &roots {
            let anchor = anchor(root)?;
            if anchors.contains(&anchor) {
                return Err(refused("one root is in it twice".to_owned()));
            }
            anchors.push(anchor);
        }
        Ok(Self {
            domain,
            sequence,
            roots,
            anchors,
            signed: None,
            revoked: Vec::new(),
        })
    }

    /// Roots that take the place of this bundle's, beside a signature of each root that
    /// vouches for them over [`statement`](signed::statement).
    pub(crate) fn with_roots(
        roots: Vec<CertificateDer<'static>>,
        domain: &str,
        signed: RootsSigned,
    ) -> Result<Self, IdentityError> {
        let mut bundle = Self::new(Some(domain.to_owned()), 0, roots)?;
        bundle.signed = Some(signed);
        Ok(bundle)
    }

    /// The next bundle: the roots of `other`, and what is revoked here.
    pub(crate) fn followed_by_roots_of(&self, other: &Self) -> Self {
        Self {
            sequence: self.sequence.saturating_add(1),
            revoked: self.revoked.clone(),
            ..other.clone()
        }
    }

    /// The next bundle, with other revocations.
    pub(crate) fn followed_by_revoked(
        &self,
        revoked: Vec<Revocation>,
    ) -> Result<Self, IdentityError> {
        revoked::check(&revoked)?;
        Ok(Self {
            sequence: self.sequence.saturating_add(1),
            revoked,
            ..self.clone()
        })
    }

    /// Reads a bundle from JSON or PEM.
    ///
    /// # Errors
    /// [`IdentityError::TrustBundle`] when it is neither, or holds no good roots.
    pub fn parse(bytes: &[u8]) -> Result<Self, IdentityError> {
        let pem_roots = |pem: &[u8]| {
            files::certificates_from_pem(pem, limits::TRUST_ROOTS_MAX)
                .map_err(|error| refused(error.to_string()))
        };
        if !bytes.trim_ascii_start().starts_with(b"{") {
            return Self::new(None, 0, pem_roots(bytes)?);
        }
        let file: BundleFile =
            serde_json::from_slice(bytes).map_err(|error| refused(error.to_string()))?;
        if let Some(domain) = &file.domain
            && !sealift_terms::identity::is_trust_domain(domain)
        {
            return Err(refused(format!("{domain:?} is not a trust domain")));
        }
        let mut roots = Vec::new();
        for root in file.roots.iter().take(limits::TRUST_ROOTS_MAX + 1) {
            roots.extend(pem_roots(root.as_bytes())?);
        }
        file.signed.as_ref().map_or(Ok(()), RootsSigned::check)?;
        revoked::check(&file.revoked)?;
        Ok(Self {
            signed: file.signed,
            revoked: file.revoked,
            ..Self::new(file.domain, file.sequence, roots)?
        })
    }

    /// Reads a bundle file.
    ///
    /// # Errors
    /// [`IdentityError`] names the file and what is wrong with it.
    pub fn load(path: &Path) -> Result<Self, IdentityError> {
        let bytes = files::read_public(path, limits::TRUST_BUNDLE_BYTES_MAX)?;
        Self::parse(&bytes).map_err(|error| files::in_file(path, error))
    }

    /// The bundle as its JSON file, with a line end.
    #[must_use]
    pub fn to_json(&self) -> String {
        let file = BundleFile {
            domain: self.domain.clone(),
            sequence: self.sequence,
            roots: self.roots.iter().map(certificate_pem).collect(),
            signed: self.signed.clone(),
            revoked: self.revoked.clone(),
        };
        // Strings and numbers alone: there is nothing that cannot be written.
        serde_json::to_string_pretty(&file).unwrap_or_default() + "\n"
    }

    /// Writes the bundle file, readable by all.
    ///
    /// # Errors
    /// [`IdentityError::File`] when it cannot be written.
    pub fn save(&self, path: &Path) -> Result<(), IdentityError> {
        files::write_public(path, self.to_json().as_bytes())
    }

    /// The trust domain it speaks for; none for plain PEM.
    #[must_use]
    pub fn domain(&self) -> Option<&str> {
        self.domain.as_deref()
    }

    /// Its number: a bundle with a lower one never replaces it.
    #[must_use]
    pub fn sequence(&self) -> u64 {
        self.sequence
    }

    /// The root certificates.
    #[must_use]
    pub fn roots(&self) -> &[CertificateDer<'static>] {
        &self.roots
    }

    /// What the authority revoked and could still be valid.
    #[must_use]
    pub fn revoked(&self) -> &[Revocation] {
        &self.revoked
    }

    /// Whether a certificate is revoked.
    #[must_use]
    pub fn is_revoked(&self, leaf: &Leaf) -> bool {
        self.revoked.iter().any(|one| one.covers(leaf))
    }

    /// SHA-256 of each root certificate, hex.
    #[must_use]
    pub fn root_fingerprints(&self) -> Vec<String> {
        self.roots.iter().map(fingerprint).collect()
    }

    /// The root that vouches for a chain, as in
    /// [`root_fingerprints`](Self::root_fingerprints); none when the chain does not hold.
    #[must_use]
    pub fn root_behind(&self, chain: &[CertificateDer<'_>], now: Timestamp) -> Option<String> {
        let (end_entity, intermediates) = chain.split_first()?;
        let leaf = Leaf::parse(end_entity).ok()?;
        let presented = Presented {
            end_entity,
            intermediates,
        };
        let algorithms = ring::default_provider().signature_verification_algorithms;
        let (purpose, now) = (Purpose::Client, chain::unix_time(now));
        let mut roots = self.anchors.iter().zip(&self.roots);
        let behind = roots.find(|(anchor, _)| {
            let anchor = std::slice::from_ref(*anchor);
            chain::verify(
                &leaf,
                presented,
                Trust::of(anchor),
                purpose,
                now,
                &algorithms,
            )
            .is_ok()
        });
        behind.map(|(_, root)| fingerprint(root))
    }

    /// The life of the root that ends last: after it the bundle vouches for nobody.
    #[must_use]
    pub fn life(&self) -> Option<CaLife> {
        let lives = self.roots.iter().flat_map(CaLife::of);
        lives.max_by_key(|life| life.until)
    }

    /// The number of its set of roots.
    pub(crate) fn roots_number(&self) -> u64 {
        self.signed.as_ref().map_or(0, |signed| signed.number)
    }

    pub(crate) fn anchors(&self) -> &[TrustAnchor<'static>] {
        &self.anchors
    }

    /// Verifies that a presented chain leads to one of its roots, whoever it is of.
    pub(crate) fn verify(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        purpose: Purpose,
        now: UnixTime,
        algorithms: &WebPkiSupportedAlgorithms,
    ) -> Result<Leaf, Refusal> {
        let leaf = Leaf::parse(end_entity)?;
        let presented = Presented {
            end_entity,
            intermediates,
        };
        let trust = Trust::of(&self.anchors);
        chain::verify(&leaf, presented, trust, purpose, now, algorithms)?;
        match self.is_revoked(&leaf) {
            true => Err(Refusal::revoked(&leaf)),
            false => Ok(leaf),
        }
    }

    /// The same of a certificate that is shown to be renewed: one that is over is held
    /// against what counted at its end, as long as its grace lasts.
    pub(crate) fn verify_renewable(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
        algorithms: &WebPkiSupportedAlgorithms,
    ) -> Result<Leaf, Refusal> {
        let leaf = Leaf::parse(end_entity)?;
        let moment = chain::moment(now);
        let has_grace = leaf.is_over(moment) && moment <= leaf.renewable_until();
        let at = match has_grace {
            true => chain::unix_time(leaf.not_after),
            false => now,
        };
        self.verify(end_entity, intermediates, Purpose::Client, at, algorithms)
    }

    /// Whether this bundle may take the place of `current`.
    ///
    /// # Errors
    /// [`IdentityError::StaleBundle`] when it is older, [`IdentityError::TrustBundle`]
    /// when it has the same number and another content, or is for another domain.
    pub fn check_successor_of(&self, current: &Self) -> Result<(), IdentityError> {
        if self.sequence < current.sequence {
            let (current, offered) = (current.sequence, self.sequence);
            return Err(IdentityError::StaleBundle { current, offered });
        }
        if current.domain.is_some() && self.domain != current.domain {
            return Err(refused("it is for another trust domain".to_owned()));
        }
        // Plain PEM has no number to tell two of them apart.
        let differs = self.roots != current.roots || self.revoked != current.revoked;
        if self.sequence == current.sequence && self.sequence != 0 && differs {
            return Err(refused(format!(
                "two different bundles are number {}",
                self.sequence
            )));
        }
        Ok(())
    }

    /// Whether this bundle may take the place of `current` when it did not come from the
    /// hands of an operator: other roots have to be signed by one of those in force.
    ///
    /// # Errors
    /// As [`check_successor_of`](Self::check_successor_of), and
    /// [`IdentityError::TrustBundle`] for roots that nobody vouches for.
    pub fn check_offered_to(&self, current: &Self) -> Result<(), IdentityError> {
        self.check_successor_of(current)?;
        if self.roots == current.roots {
            return Ok(());
        }
        let domain = self.domain.as_deref().unwrap_or_default();
        let statement = signed::statement(domain, self.roots_number(), &self.roots);
        let is_signed = self.roots_number() > current.roots_number()
            && self
                .signed
                .as_ref()
                .is_some_and(|signed| signed.is_by_one_of(&current.roots, &statement));
        match is_signed {
            true => Ok(()),
            false => Err(refused(
                "its roots are others, and no root in force has signed them".to_owned(),
            )),
        }
    }
}

impl fmt::Debug for TrustBundle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TrustBundle")
            .field("domain", &self.domain)
            .field("sequence", &self.sequence)
            .field("roots", &self.roots.len())
            .field("revoked", &self.revoked.len())
            .finish()
    }
}

fn anchor(root: &CertificateDer<'static>) -> Result<TrustAnchor<'static>, IdentityError> {
    let facts = CaFacts::parse(root).map_err(|error| refused(error.to_string()))?;
    if !facts.is_ca || !facts.self_issued {
        return Err(refused(
            "it holds a certificate that is not a root CA".to_owned(),
        ));
    }
    match webpki::anchor_from_trusted_cert(root) {
        Ok(anchor) => Ok(anchor.to_owned()),
        Err(error) => Err(refused(format!("a root cannot be used: {error}"))),
    }
}

fn fingerprint(root: &CertificateDer<'_>) -> String {
    hex::encode(::ring::digest::digest(&::ring::digest::SHA256, root))
}

fn refused(what: String) -> IdentityError {
    IdentityError::TrustBundle { what }
}

/// A certificate as PEM text.
pub(crate) fn certificate_pem(certificate: &CertificateDer<'_>) -> String {
    use base64::{Engine, engine::general_purpose::STANDARD};
    let base64 = STANDARD.encode(certificate);
    let mut pem = String::from("-----BEGIN CERTIFICATE-----\n");
    let mut rest = base64.as_str();
    while !rest.is_empty() {
        let (line, more) = rest.split_at_checked(64).unwrap_or((rest, ""));
        pem.push_str(line);
        pem.push('\n');
        rest = more;
    }
    pem.push_str("-----END CERTIFICATE-----\n");
    pem
}
