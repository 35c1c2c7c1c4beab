//! What stands in the certificates that are made.

use std::{collections::HashSet, time::Duration};

use rcgen::{BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, KeyPair, SanType};
use rustls_pki_types::{CertificateDer, pem::PemObject};
use sealift_host::OsRng;
use sealift_identity::{IdentityError, Issued, Leaf, LeafRequest, RootAuthority};
use sealift_terms::limits;
use x509_parser::prelude::{FromDer, GeneralName, ParsedExtension, X509Certificate};

use crate::stage::{Ca, DOMAIN, HeldClock, NOW, identity, region};

fn der(pem: &str) -> Vec<CertificateDer<'static>> {
    CertificateDer::pem_slice_iter(pem.as_bytes())
        .collect::<Result<_, _>>()
        .unwrap()
}

fn names<'a>(x509: &'a X509Certificate<'_>) -> Vec<&'a GeneralName<'a>> {
    x509.subject_alternative_name()
        .unwrap()
        .unwrap()
        .value
        .general_names
        .iter()
        .collect()
}

fn issue_with(ca: &Ca, request: &LeafRequest) -> Result<Issued, IdentityError> {
    ca.a.issue(request, &*HeldClock::at(NOW), &OsRng)
}

#[test]
fn a_leaf_has_one_uri_both_usages_an_authority_key_and_no_ca_right() {
    let ca = Ca::new();
    let issued = ca.issue(&identity("a", "one"));
    let chain = der(&issued.chain_pem);
    let (_, leaf) = X509Certificate::from_der(&chain[0]).unwrap();
    let (_, issuing) = X509Certificate::from_der(&chain[1]).unwrap();
    assert_eq!(
        names(&leaf),
        [&GeneralName::URI(identity("a", "one").as_str())]
    );
    let usage = leaf.extended_key_usage().unwrap().unwrap().value;
    assert!(usage.server_auth && usage.client_auth && !usage.any && usage.other.is_empty());
    assert!(!leaf.is_ca());
    assert!(leaf.key_usage().unwrap().unwrap().value.digital_signature());
    let key_ids = |x509: &X509Certificate<'_>| {
        let mut ids = (None, None);
        for extension in x509.extensions() {
            match extension.parsed_extension() {
                ParsedExtension::SubjectKeyIdentifier(id) => ids.0 = Some(id.0.to_vec()),
                ParsedExtension::AuthorityKeyIdentifier(id) => {
                    ids.1 = id.key_identifier.as_ref().map(|id| id.0.to_vec());
                }
                _ => {}
            }
        }
        ids
    };
    assert!(key_ids(&issuing).0.is_some());
    assert_eq!(key_ids(&leaf).1, key_ids(&issuing).0);
    assert_eq!(issued.leaf.not_before, NOW.minus(Duration::from_secs(300)));
    assert_eq!(issued.leaf.not_after, NOW.plus(Duration::from_secs(86_400)));
}

#[test]
fn an_issuing_ca_names_its_region_and_can_make_no_further_ca() {
    let ca = Ca::new();
    let chain = der(&ca.issue(&identity("b", "two")).chain_pem);
    let (_, issuing) = X509Certificate::from_der(&chain[1]).unwrap();
    let constraints = issuing.basic_constraints().unwrap().unwrap().value;
    assert!(constraints.ca);
    assert_eq!(constraints.path_len_constraint, Some(0));
    assert_eq!(
        names(&issuing),
        [&GeneralName::URI("spiffe://example.org/region/b")]
    );
    assert_eq!(ca.b.uri(), "spiffe://example.org/region/b");
    assert_eq!(ca.b.region(), &region("b"));
}

#[test]
fn serial_numbers_are_random_and_128_bits_long() {
    let ca = Ca::new();
    let key = KeyPair::generate().unwrap();
    let csr = CertificateParams::default()
        .serialize_request(&key)
        .unwrap()
        .pem()
        .unwrap();
    let request = LeafRequest::new(identity("a", "one"));
    let clock = HeldClock::at(NOW);
    let serials: HashSet<String> = (0..64)
        .map(|_| {
            ca.a.issue_for_csr(csr.as_bytes(), &request, &*clock, &OsRng)
                .unwrap()
        })
        .map(|issued| issued.leaf.serial)
        .collect();
    assert_eq!(
        serials.len(),
        64,
        "the same key never gets the same number twice"
    );
    let digits = |serial: &String| serial.len() <= 32;
    assert!(serials.iter().all(digits));
    assert!(
        serials
            .iter()
            .any(|serial| serial.len() == 32 && serial.as_str() >= "8")
    );
}

#[test]
fn a_signing_request_gets_its_key_certified_and_nothing_else() {
    let ca = Ca::new();
    let key = KeyPair::generate().unwrap();
    let mut wish = CertificateParams::new(vec!["evil.example.net".to_owned()]).unwrap();
    wish.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let foreign = "spiffe://example.org/region/b/agent/two"
        .try_into()
        .unwrap();
    wish.subject_alt_names.push(SanType::URI(foreign));
    wish.extended_key_usages = vec![ExtendedKeyUsagePurpose::CodeSigning];
    wish.distinguished_name
        .push(rcgen::DnType::CommonName, "the root");
    let csr = wish.serialize_request(&key).unwrap().pem().unwrap();
    let request = LeafRequest::new(identity("a", "one"));
    let clock = HeldClock::at(NOW);
    let issued =
        ca.a.issue_for_csr(csr.as_bytes(), &request, &*clock, &OsRng)
            .unwrap();
    assert!(issued.private_key_pem.is_none());
    let chain = der(&issued.chain_pem);
    let (_, leaf) = X509Certificate::from_der(&chain[0]).unwrap();
    assert!(!leaf.is_ca());
    assert_eq!(
        names(&leaf),
        [&GeneralName::URI(identity("a", "one").as_str())]
    );
    assert!(
        !leaf
            .extended_key_usage()
            .unwrap()
            .unwrap()
            .value
            .code_signing
    );
    assert_eq!(
        leaf.subject()
            .iter_common_name()
            .next()
            .unwrap()
            .as_str()
            .unwrap(),
        "one"
    );
    assert_eq!(
        Leaf::parse(&chain[0]).unwrap().period(),
        Duration::from_secs(86_700)
    );
    use rcgen::PublicKeyData;
    assert_eq!(leaf.public_key().raw, key.subject_public_key_info());
}

#[test]
fn a_signing_request_that_proves_nothing_is_refused() {
    let ca = Ca::new();
    let key = KeyPair::generate().unwrap();
    let csr = CertificateParams::default()
        .serialize_request(&key)
        .unwrap();
    let request = LeafRequest::new(identity("a", "one"));
    let clock = HeldClock::at(NOW);
    let refused = |pem: &[u8]| {
        let made = ca.a.issue_for_csr(pem, &request, &*clock, &OsRng);
        assert!(
            matches!(made, Err(IdentityError::SigningRequest { .. })),
            "{made:?}"
        );
    };
    let mut altered = csr.der().to_vec();
    *altered.last_mut().unwrap() ^= 1;
    let pem = |der: &[u8]| {
        use base64::{Engine, engine::general_purpose::STANDARD};
        let text = STANDARD.encode(der);
        format!("-----BEGIN CERTIFICATE REQUEST-----\n{text}\n-----END CERTIFICATE REQUEST-----\n")
    };
    refused(pem(&altered).as_bytes());
    refused(pem(&[csr.der().as_ref(), b"more"].concat()).as_bytes());
    refused(pem(b"rubbish").as_bytes());
    refused(b"rubbish");
    refused(&vec![b' '; limits::CERTIFICATE_FILE_BYTES_MAX + 1]);
}

#[test]
fn a_region_does_not_issue_for_another() {
    let ca = Ca::new();
    for foreign in [
        "spiffe://example.org/region/b/agent/two",
        "spiffe://d/region/a/agent/one",
    ] {
        let made = issue_with(&ca, &LeafRequest::new(foreign.parse().unwrap()));
        assert!(
            matches!(made, Err(IdentityError::ForeignIdentity { .. })),
            "{made:?}"
        );
    }
}

#[test]
fn lives_from_ten_seconds_to_47_days_are_issued_and_no_others() {
    let ca = Ca::new();
    let of = |life| {
        issue_with(
            &ca,
            &LeafRequest {
                life,
                ..LeafRequest::new(identity("a", "one"))
            },
        )
    };
    let short = of(Duration::from_secs(20)).unwrap().leaf;
    assert_eq!(
        NOW.since(short.not_before),
        Duration::from_secs(2),
        "a tenth of the life"
    );
    assert_eq!(short.not_after.since(NOW), Duration::from_secs(20));
    let long = of(limits::CERTIFICATE_LIFE_MAX).unwrap().leaf;
    assert_eq!(
        long.period(),
        limits::CERTIFICATE_LIFE_MAX,
        "the early start counts too"
    );
    for life in [
        limits::CERTIFICATE_LIFE_MAX + Duration::from_secs(1),
        limits::CERTIFICATE_LIFE_MIN - Duration::from_secs(1),
    ] {
        assert!(matches!(of(life), Err(IdentityError::Lifetime { .. })));
    }
}

#[test]
fn nothing_is_issued_beyond_the_life_of_the_issuing_ca() {
    let ca = Ca::new();
    let five_years = Duration::from_secs(1825 * 86_400);
    let clock = HeldClock::at(NOW.plus(five_years - Duration::from_secs(3_600)));
    let request = LeafRequest::new(identity("a", "one"));
    let last = ca.a.issue(&request, &*clock, &OsRng).unwrap();
    assert_eq!(last.leaf.not_after, NOW.plus(five_years));
    clock.set(NOW.plus(five_years));
    let made = ca.a.issue(&request, &*clock, &OsRng);
    assert!(
        matches!(made, Err(IdentityError::IssuerNotValid { .. })),
        "{made:?}"
    );
}

#[test]
fn dns_names_stand_beside_the_identity_when_they_are_wanted() {
    let ca = Ca::new();
    let with = |names: Vec<String>| {
        issue_with(
            &ca,
            &LeafRequest {
                dns_names: names,
                ..LeafRequest::new(identity("a", "one"))
            },
        )
    };
    let issued = with(vec!["one.example.org".to_owned()]).unwrap();
    let chain = der(&issued.chain_pem);
    let (_, leaf) = X509Certificate::from_der(&chain[0]).unwrap();
    assert!(names(&leaf).contains(&&GeneralName::DNSName("one.example.org")));
    assert!(with(vec!["not a name".to_owned()]).is_err());
    assert!(with(vec!["n.example.org".to_owned(); 17]).is_err());
}

#[test]
fn a_trust_domain_is_checked_and_secrets_are_not_shown() {
    let clock = HeldClock::at(NOW);
    for bad in ["", "Example.org", "a/b", "a b"] {
        assert!(
            RootAuthority::generate(bad, &*clock, &OsRng).is_err(),
            "{bad}"
        );
    }
    let ca = Ca::new();
    let issued = ca.issue(&identity("a", "one"));
    let shown = format!("{:?} {:?} {:?}", ca.root, ca.a, issued);
    assert!(shown.contains(DOMAIN) && !shown.contains("BEGIN") && !shown.contains("PRIVATE"));
}
