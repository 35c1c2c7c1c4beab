//! Trust bundles: the roots of one certificate authority, with a number that grows.

use std::{fmt, path::Path};

use rustls::crypto::WebPkiSupportedAlgorithms;
use rustls_pki_types::{CertificateDer, TrustAnchor, UnixTime};
use sealift_terms::limits;
use serde::Deserialize;

use crate::{
    certificate::{CaFacts, Leaf},
    chain::{self, Presented, Purpose},
    error::IdentityError,
    files,
    refusal::Refusal,
};

/// Longest bundle file.
const BUNDLE_BYTES_MAX: usize = limits::CERTIFICATE_FILE_BYTES_MAX * 4;

/// The roots of one authority.
///
/// Its file is JSON: `{"domain":"example.org","sequence":1,"roots":["-----BEGIN CERTIFICATE…"]}`.
/// Plain PEM is read too and counts as number 0, so that any numbered bundle replaces it.
#[derive(Clone, PartialEq, Eq)]
pub struct TrustBundle {
    domain: Option<String>,
    sequence: u64,
    roots: Vec<CertificateDer<'static>>,
    anchors: Vec<TrustAnchor<'static>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct BundleFile {
    #[serde(default)]
    domain: Option<String>,
    sequence: u64,
    roots: Vec<String>,
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
        Self::new(file.domain, file.sequence, roots)
    }

    /// Reads a bundle file.
    ///
    /// # Errors
    /// [`IdentityError`] names the file and what is wrong with it.
    pub fn load(path: &Path) -> Result<Self, IdentityError> {
        let bytes = files::read_public(path, BUNDLE_BYTES_MAX)?;
        Self::parse(&bytes).map_err(|error| files::in_file(path, error))
    }

    /// The bundle as its JSON file, with a line end.
    #[must_use]
    pub fn to_json(&self) -> String {
        let mut file = serde_json::json!({
            "sequence": self.sequence,
            "roots": self.roots.iter().map(certificate_pem).collect::<Vec<_>>(),
        });
        if let (Some(domain), Some(fields)) = (&self.domain, file.as_object_mut()) {
            fields.insert("domain".to_owned(), domain.as_str().into());
        }
        format!("{file:#}\n")
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
        chain::verify(&leaf, presented, &self.anchors, purpose, now, algorithms)?;
        Ok(leaf)
    }

    /// Whether this bundle may take the place of `current`.
    ///
    /// # Errors
    /// [`IdentityError::StaleBundle`] when it is older, [`IdentityError::TrustBundle`]
    /// when it has the same number and other roots, or is for another domain.
    pub fn check_successor_of(&self, current: &Self) -> Result<(), IdentityError> {
        if self.sequence < current.sequence {
            let (current, offered) = (current.sequence, self.sequence);
            return Err(IdentityError::StaleBundle { current, offered });
        }
        if current.domain.is_some() && self.domain != current.domain {
            return Err(refused("it is for another trust domain".to_owned()));
        }
        // Plain PEM has no number to tell two of them apart.
        if self.sequence == current.sequence && self.sequence != 0 && self.roots != current.roots {
            return Err(refused(format!(
                "two different bundles are number {}",
                self.sequence
            )));
        }
        Ok(())
    }
}

impl fmt::Debug for TrustBundle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TrustBundle")
            .field("domain", &self.domain)
            .field("sequence", &self.sequence)
            .field("roots", &self.roots.len())
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
