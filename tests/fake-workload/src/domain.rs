//! A trust domain: an authority that issues documents as SPIRE does.

use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType,
};
use time::OffsetDateTime;

/// An X509-SVID with what vouches for it, all DER.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Document {
    /// The SPIFFE id.
    pub id: String,
    /// The certificate, and those above it.
    pub chain: Vec<Vec<u8>>,
    /// Its private key, PKCS #8.
    pub key: Vec<u8>,
    /// The roots of its trust domain.
    pub bundle: Vec<Vec<u8>>,
}

/// How long a document is good, from now on.
#[derive(Debug, Clone, Copy)]
pub struct Life(pub Duration);

/// The roots of a trust domain: the last one issues.
pub struct Domain {
    name: String,
    roots: Vec<Vec<u8>>,
    issuer: Issuer<'static, KeyPair>,
}

impl Domain {
    /// One with a root.
    #[must_use]
    pub fn new(name: &str) -> Self {
        let (root, issuer) = root(name);
        Self {
            name: name.to_owned(),
            roots: vec![root],
            issuer,
        }
    }

    /// Its roots, DER.
    #[must_use]
    pub fn roots(&self) -> Vec<Vec<u8>> {
        self.roots.clone()
    }

    /// From now on another root issues, and both are known.
    pub fn take_another_root(&mut self) {
        let (root, issuer) = root(&self.name);
        self.roots.push(root);
        self.issuer = issuer;
    }

    /// The older roots are known no more.
    pub fn retire_roots(&mut self) {
        self.roots.drain(..self.roots.len() - 1);
    }

    /// A document with a key of its own.
    #[must_use]
    pub fn document(&self, path: &str, Life(life): Life) -> Document {
        let id = format!("spiffe://{}/{path}", self.name);
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.subject_alt_names = vec![SanType::URI(id.as_str().try_into().unwrap())];
        (params.not_before, params.not_after) = period(life);
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![
            KeyUsagePurpose::DigitalSignature,
            KeyUsagePurpose::KeyEncipherment,
        ];
        params.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ServerAuth,
            ExtendedKeyUsagePurpose::ClientAuth,
        ];
        params.use_authority_key_identifier_extension = true;
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        Document {
            id,
            chain: vec![certificate.der().to_vec()],
            key: key.serialize_der(),
            bundle: self.roots(),
        }
    }
}

/// A little before now, as SPIRE has it, until the end of its life.
fn period(life: Duration) -> (OffsetDateTime, OffsetDateTime) {
    let now = OffsetDateTime::now_utc();
    (now - life / 10, now + life)
}

fn root(name: &str) -> (Vec<u8>, Issuer<'static, KeyPair>) {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::default();
    let id = format!("spiffe://{name}");
    params.subject_alt_names = vec![SanType::URI(id.as_str().try_into().unwrap())];
    (params.not_before, params.not_after) = period(Duration::from_secs(86_400));
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let certificate = params.self_signed(&key).unwrap();
    (certificate.der().to_vec(), Issuer::new(params, key))
}
