//! What is checked before an agent shows a certificate to anyone.

use std::{fs, os::unix::fs::PermissionsExt, time::Duration};

use sealift_identity::{Credentials, IdentityError, Refusal};
use sealift_terms::Timestamp;

use crate::stage::{Ca, NOW, Shown, forge, identity};

pub fn pem(shown: &Shown) -> String {
    use base64::{Engine, engine::general_purpose::STANDARD};
    let one = |der: &rustls_pki_types::CertificateDer<'_>| {
        let text = STANDARD.encode(der);
        format!("-----BEGIN CERTIFICATE-----\n{text}\n-----END CERTIFICATE-----\n")
    };
    shown.chain.iter().map(one).collect()
}

fn check(ca: &Ca, shown: &Shown, now: Timestamp) -> Result<Credentials, IdentityError> {
    Credentials::from_pem(pem(shown).as_bytes(), shown.key.as_bytes(), &ca.bundle, now)
}

fn refusal(made: Result<Credentials, IdentityError>) -> Refusal {
    match made {
        Err(IdentityError::WouldBeRefused { refusal }) => refusal,
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_a_peer_would_refuse_is_not_loaded() {
    let (ca, other) = (Ca::new(), Ca::new());
    assert!(check(&ca, &forge(&ca.a, |_| ()), NOW).is_ok());
    let foreign = refusal(check(&ca, &forge(&other.a, |_| ()), NOW));
    assert!(matches!(foreign, Refusal::UntrustedIssuer { .. }));
    let region = refusal(check(&ca, &forge(&ca.b, |_| ()), NOW));
    assert!(matches!(region, Refusal::RegionMismatch { .. }));
    let long = forge(&ca.a, |params| params.not_after += time::Duration::days(47));
    assert!(matches!(
        refusal(check(&ca, &long, NOW)),
        Refusal::LifetimeTooLong { .. }
    ));
    for only in [
        rcgen::ExtendedKeyUsagePurpose::ServerAuth,
        rcgen::ExtendedKeyUsagePurpose::ClientAuth,
    ] {
        let half = forge(&ca.a, |params| params.extended_key_usages = vec![only]);
        assert!(matches!(
            refusal(check(&ca, &half, NOW)),
            Refusal::WrongPurpose { .. }
        ));
    }
    let good = forge(&ca.a, |_| ());
    let late = refusal(check(&ca, &good, NOW.plus(Duration::from_secs(2 * 86_400))));
    assert!(matches!(late, Refusal::Expired { .. }));
    let early = refusal(check(&ca, &good, NOW.minus(Duration::from_secs(600))));
    assert!(matches!(early, Refusal::NotYetValid { .. }));
    let mut bare = forge(&ca.a, |_| ());
    bare.chain.truncate(1);
    let bare = refusal(check(&ca, &bare, NOW));
    assert!(
        matches!(bare, Refusal::UntrustedIssuer { .. }),
        "the issuing CA is missing: {bare}"
    );
}

#[test]
fn a_key_of_another_certificate_is_not_loaded() {
    let ca = Ca::new();
    let mut shown = forge(&ca.a, |_| ());
    shown.key = rcgen::KeyPair::generate().unwrap().serialize_pem();
    let made = check(&ca, &shown, NOW);
    assert!(
        matches!(made, Err(IdentityError::KeyMismatch { .. })),
        "{made:?}"
    );
    shown.key = "rubbish".to_owned();
    let made = check(&ca, &shown, NOW);
    assert!(
        matches!(made, Err(IdentityError::PrivateKey(_))),
        "{made:?}"
    );
}

#[test]
fn a_key_file_that_others_can_read_is_refused_and_the_key_is_never_shown() {
    let ca = Ca::new();
    let dir = tempfile::tempdir().unwrap();
    let (cert, key) = (dir.path().join("c.pem"), dir.path().join("k.pem"));
    ca.issue(&identity("a", "one")).save(&cert, &key).unwrap();
    let loaded = Credentials::load(&cert, &key, &ca.bundle, NOW).unwrap();
    assert!(format!("{loaded:?}").contains("private_key: \"...\""));
    fs::set_permissions(&key, fs::Permissions::from_mode(0o604)).unwrap();
    let made = Credentials::load(&cert, &key, &ca.bundle, NOW);
    assert!(
        matches!(made, Err(IdentityError::SecretExposed { mode: 0o604, .. })),
        "{made:?}"
    );
    let error = Credentials::load(&dir.path().join("none"), &key, &ca.bundle, NOW).unwrap_err();
    assert!(error.to_string().contains("none"), "{error}");
}
