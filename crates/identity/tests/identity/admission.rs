//! Who is let in, and what is said of those who are not.

use std::sync::Arc;

use rustls::{ClientConfig, crypto::ring};
use sealift_identity::{PeerTrust, Peers, Refusal, TlsContext, TlsPolicy, TrustBundle};
use sealift_terms::{Identity, PeerName, Reason};

use crate::stage::{
    ALPN, Ca, HeldClock, NOW, Shown, forge, handshake, identity, leaf_params, region,
    strange_server, stranger, trust,
};

/// What the server of `ca`, whose only peer is agent `one` of region a, says to a client.
fn refusal_of(ca: &Ca, client: ClientConfig) -> Refusal {
    refusal_at(ca, client, HeldClock::at(NOW), &ca.bundle)
}

fn refusal_at(
    ca: &Ca,
    client: ClientConfig,
    clock: Arc<HeldClock>,
    roots: &TrustBundle,
) -> Refusal {
    let (one, two) = (identity("a", "one"), identity("b", "two"));
    let peers = trust(&[(&one, roots)]);
    let context =
        TlsContext::new(TlsPolicy::default(), ca.credentials(&two), peers, clock).unwrap();
    let outcome = handshake(&Arc::new(client), &context.server(ALPN).config);
    let refusal = Refusal::of(&outcome.server.expect_err("the server must refuse"));
    let told = Refusal::of(&outcome.client.expect_err("the client must be told"));
    assert!(
        matches!(
            told,
            Refusal::ByPeer {
                reason: Reason::PeerIdentityRefused,
                ..
            }
        ),
        "{told}"
    );
    refusal
}

fn shows(shown: &Shown) -> ClientConfig {
    stranger(Some(shown), ring::default_provider())
}

#[test]
fn a_configured_peer_with_a_good_certificate_is_let_in() {
    let ca = Ca::new();
    let one = Shown::of(&ca.issue(&identity("a", "one")));
    let own = ca.context(
        &identity("b", "two"),
        &[(&identity("a", "one"), &ca.bundle)],
    );
    let outcome = handshake(&Arc::new(shows(&one)), &own.server(ALPN).config);
    assert!(outcome.client.is_ok() && outcome.server.is_ok());
}

#[test]
fn a_client_without_certificate_is_refused() {
    let ca = Ca::new();
    let refusal = refusal_of(&ca, stranger(None, ring::default_provider()));
    assert_eq!(refusal, Refusal::NoCertificate);
    assert_eq!(refusal.reason(), Reason::PeerIdentityRefused);
}

#[test]
fn a_certificate_of_another_authority_is_refused_whatever_it_says() {
    let (ca, other) = (Ca::new(), Ca::new());
    for name in ["one", "unknown"] {
        let claimed = identity("a", name);
        let refusal = refusal_of(&ca, shows(&Shown::of(&other.issue(&claimed))));
        assert_eq!(refusal, Refusal::UntrustedIssuer { identity: claimed });
        assert!(
            refusal
                .to_string()
                .contains("certificate authority that is not trusted")
        );
    }
}

#[test]
fn the_same_authority_is_not_enough_for_an_identity_that_is_no_peer() {
    let ca = Ca::new();
    let three = identity("a", "three");
    let refusal = refusal_of(&ca, shows(&Shown::of(&ca.issue(&three))));
    assert_eq!(
        refusal,
        Refusal::UnknownIdentity {
            identity: three.clone()
        }
    );
    assert_eq!(refusal.identity(), Some(&three));
    assert_eq!(refusal.reason(), Reason::PeerIdentityRefused);
}

#[test]
fn roots_of_one_peer_do_not_vouch_for_another() {
    let (ca, other) = (Ca::new(), Ca::new());
    let (one, three) = (identity("a", "one"), identity("a", "three"));
    let own = ca.context(
        &identity("b", "two"),
        &[(&one, &ca.bundle), (&three, &other.bundle)],
    );
    let admits = |ca: &Ca, who: &Identity| {
        let shown = Shown::of(&ca.issue(who));
        handshake(&Arc::new(shows(&shown)), &own.server(ALPN).config)
            .server
            .err()
    };
    assert!(admits(&ca, &one).is_none() && admits(&other, &three).is_none());
    for (ca, who) in [(&other, &one), (&ca, &three)] {
        let refusal = Refusal::of(&admits(ca, who).unwrap());
        assert_eq!(
            refusal,
            Refusal::UntrustedIssuer {
                identity: who.clone()
            }
        );
    }
}

#[test]
fn an_issuing_ca_speaks_for_its_own_region_only() {
    let ca = Ca::new();
    let one = identity("a", "one");
    // Region b's issuing key signs for an agent of region a.
    let refusal = refusal_of(&ca, shows(&forge(&ca.b, |_| ())));
    let issuer = "spiffe://example.org/region/b".to_owned();
    assert_eq!(
        refusal,
        Refusal::RegionMismatch {
            identity: one,
            issuer
        }
    );
}

#[test]
fn an_issuing_ca_cannot_make_another_issuing_ca() {
    let ca = Ca::new();
    let below = forge(&ca.b, |params| {
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Constrained(0));
        let uri = "spiffe://example.org/region/a".try_into().unwrap();
        params.subject_alt_names = vec![rcgen::SanType::URI(uri)];
        params
            .distinguished_name
            .push(rcgen::DnType::CommonName, "issuing a, or so it says");
    });
    let signer = rcgen::KeyPair::from_pem(&below.key).unwrap();
    let issuer = rcgen::Issuer::from_ca_cert_der(&below.chain[0], &signer).unwrap();
    let key = rcgen::KeyPair::generate().unwrap();
    let leaf = leaf_params(&identity("a", "one"))
        .signed_by(&key, &issuer)
        .unwrap();
    let mut chain = vec![leaf.der().clone()];
    chain.extend(below.chain);
    let refusal = refusal_of(
        &ca,
        shows(&Shown {
            chain,
            key: key.serialize_pem(),
        }),
    );
    assert!(matches!(refusal, Refusal::BadChain { .. }), "{refusal}");
    assert!(refusal.to_string().contains("PathLen"), "{refusal}");
}

#[test]
fn a_certificate_is_refused_before_and_after_its_time_with_both_times_said() {
    let ca = Ca::new();
    let issued = ca.issue(&identity("a", "one"));
    let at = |now| {
        refusal_at(
            &ca,
            shows(&Shown::of(&issued)),
            HeldClock::at(now),
            &ca.bundle,
        )
    };
    let late = issued
        .leaf
        .not_after
        .plus(std::time::Duration::from_secs(1));
    let refusal = at(late);
    assert!(matches!(refusal, Refusal::Expired { .. }), "{refusal}");
    assert_eq!(refusal.reason(), Reason::PeerCertificateExpired);
    for time in [late, issued.leaf.not_after] {
        assert!(refusal.to_string().contains(&time.to_string()), "{refusal}");
    }
    let early = issued
        .leaf
        .not_before
        .minus(std::time::Duration::from_secs(1));
    let refusal = at(early);
    assert!(matches!(refusal, Refusal::NotYetValid { .. }), "{refusal}");
    assert_eq!(refusal.reason(), Reason::ClockSkew);
}

#[test]
fn more_than_47_days_are_refused_and_47_are_not() {
    let ca = Ca::new();
    let of_secs = |secs: i64| {
        forge(&ca.a, |params| {
            params.not_after = params.not_before + time::Duration::seconds(secs);
        })
    };
    let refusal = refusal_of(&ca, shows(&of_secs(47 * 86_400 + 1)));
    assert!(
        matches!(refusal, Refusal::LifetimeTooLong { days: 47, .. }),
        "{refusal}"
    );
    let own = ca.context(
        &identity("b", "two"),
        &[(&identity("a", "one"), &ca.bundle)],
    );
    let longest = Arc::new(shows(&of_secs(47 * 86_400)));
    assert!(handshake(&longest, &own.server(ALPN).config).server.is_ok());
}

#[test]
fn a_certificate_has_to_name_the_usage_it_is_used_for() {
    let ca = Ca::new();
    for usages in [vec![], vec![rcgen::ExtendedKeyUsagePurpose::ServerAuth]] {
        let shown = forge(&ca.a, |params| params.extended_key_usages = usages);
        let refusal = refusal_of(&ca, shows(&shown));
        assert!(matches!(
            refusal,
            Refusal::WrongPurpose {
                missing: "clientAuth",
                ..
            }
        ));
    }
    let shown = forge(&ca.a, |params| {
        params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ClientAuth];
    });
    let own = ca.context(
        &identity("b", "two"),
        &[(&identity("a", "one"), &ca.bundle)],
    );
    let client = own.client(&identity("a", "one"), ALPN).unwrap();
    let outcome = handshake(&client.config, &Arc::new(strange_server(&shown)));
    let refusal = Refusal::of(&outcome.client.unwrap_err());
    assert!(
        matches!(
            refusal,
            Refusal::WrongPurpose {
                missing: "serverAuth",
                ..
            }
        ),
        "{refusal}"
    );
}

#[test]
fn a_certificate_with_no_uri_or_two_or_another_sort_names_nobody() {
    let ca = Ca::new();
    let uri = |text: &str| rcgen::SanType::URI(text.try_into().unwrap());
    for names in [
        vec![rcgen::SanType::DnsName(
            "one.example.org".try_into().unwrap(),
        )],
        vec![
            uri(identity("a", "one").as_str()),
            uri(identity("a", "other").as_str()),
        ],
        vec![uri("spiffe://example.org/region/a")],
        vec![uri("https://example.org/")],
    ] {
        let refusal = refusal_of(&ca, shows(&forge(&ca.a, |p| p.subject_alt_names = names)));
        assert!(matches!(refusal, Refusal::NoIdentity { .. }), "{refusal}");
    }
}

#[test]
fn a_chain_longer_than_allowed_is_refused_before_it_is_followed() {
    let ca = Ca::new();
    let mut shown = forge(&ca.a, |_| ());
    while shown.chain.len() < 5 {
        shown.chain.push(shown.chain[1].clone());
    }
    let refusal = refusal_of(&ca, shows(&shown));
    assert!(
        refusal.to_string().contains("more than 4 certificates"),
        "{refusal}"
    );
}

#[test]
fn a_stolen_certificate_without_its_key_is_refused() {
    let ca = Ca::new();
    let mut shown = Shown::of(&ca.issue(&identity("a", "one")));
    shown.key = rcgen::KeyPair::generate().unwrap().serialize_pem();
    // rustls would not show a key that does not fit, so it is put in by hand.
    let key = ring::sign::any_supported_type(
        &rustls_pki_types::pem::PemObject::from_pem_slice(shown.key.as_bytes()).unwrap(),
    );
    let mut client = stranger(None, ring::default_provider());
    let certified = rustls::sign::CertifiedKey::new(shown.chain, key.unwrap());
    client.client_auth_cert_resolver = Arc::new(rustls::sign::SingleCertAndKey::from(certified));
    let own = ca.context(
        &identity("b", "two"),
        &[(&identity("a", "one"), &ca.bundle)],
    );
    let outcome = handshake(&Arc::new(client), &own.server(ALPN).config);
    let refusal = Refusal::of(&outcome.server.unwrap_err());
    assert!(matches!(refusal, Refusal::BadTls { .. }), "{refusal}");
    assert!(
        refusal.to_string().contains("not signed by the key"),
        "{refusal}"
    );
}

#[test]
fn another_agent_than_the_one_dialled_is_refused() {
    let ca = Ca::new();
    let (one, two, three) = (
        identity("a", "one"),
        identity("b", "two"),
        identity("b", "three"),
    );
    let dialer = ca.context(&one, &[(&two, &ca.bundle), (&three, &ca.bundle)]);
    let answerer = ca.context(&three, &[(&one, &ca.bundle)]);
    let client = dialer.client(&two, ALPN).unwrap();
    let outcome = handshake(&client.config, &answerer.server(ALPN).config);
    let refusal = Refusal::of(&outcome.client.unwrap_err());
    assert_eq!(
        refusal,
        Refusal::OtherIdentity {
            expected: two,
            found: three
        }
    );
    assert!(
        dialer.client(&one, ALPN).is_err(),
        "an unknown peer cannot be dialled"
    );
}

#[test]
fn two_peers_cannot_share_a_name_or_an_identity_nor_have_roots_of_another_domain() {
    let ca = Ca::new();
    let peer = |name: &str, agent: &str| PeerTrust {
        name: PeerName::new(name).unwrap(),
        identity: identity("a", agent),
        roots: ca.bundle.clone(),
        demands: Default::default(),
        dns: None,
    };
    assert!(Peers::new([peer("x", "one"), peer("y", "two")], []).is_ok());
    assert!(Peers::new([peer("x", "one"), peer("x", "two")], []).is_err());
    assert!(Peers::new([peer("x", "one"), peer("y", "one")], []).is_err());
    let mut foreign = peer("x", "one");
    foreign.identity = "spiffe://other.org/region/a/agent/one".parse().unwrap();
    assert!(Peers::new([foreign], []).is_err());
    let many = |n: usize| Peers::new((0..n).map(|i| peer(&format!("p{i}"), &format!("p{i}"))), []);
    assert!(many(64).is_ok());
    assert!(many(65).is_err());
    assert_eq!(region("a").as_str(), "a");
}

/// A CA certificate made by hand: its name, the region it says it is for, and who signs.
fn hand_made_ca(
    name: &str,
    uri: Option<&str>,
    signer: Option<&(rcgen::Certificate, rcgen::KeyPair)>,
) -> (rcgen::Certificate, rcgen::KeyPair) {
    let key = rcgen::KeyPair::generate().unwrap();
    let mut params = leaf_params(&identity("a", "one"));
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    params
        .distinguished_name
        .push(rcgen::DnType::CommonName, name);
    params.subject_alt_names = uri
        .map(|uri| rcgen::SanType::URI(uri.try_into().unwrap()))
        .into_iter()
        .collect();
    let certificate = match signer {
        None => params.self_signed(&key).unwrap(),
        Some((above, signer)) => {
            let issuer = rcgen::Issuer::from_ca_cert_der(above.der(), signer).unwrap();
            params.signed_by(&key, &issuer).unwrap()
        }
    };
    (certificate, key)
}

#[test]
fn between_root_and_agent_stands_one_issuing_ca_no_more_and_no_fewer() {
    let ca = Ca::new();
    let (of_a, of_b) = (
        "spiffe://example.org/region/a",
        "spiffe://example.org/region/b",
    );
    let root = hand_made_ca("root", None, None);
    let middle = hand_made_ca("middle", Some(of_b), Some(&root));
    let below = hand_made_ca("below", Some(of_a), Some(&middle));
    let right = hand_made_ca("right", Some(of_a), Some(&root));
    let roots = TrustBundle::new(None, 0, vec![root.0.der().clone()]).unwrap();
    let shown = |signer: &(rcgen::Certificate, rcgen::KeyPair), rest: &[&rcgen::Certificate]| {
        let issuer = rcgen::Issuer::from_ca_cert_der(signer.0.der(), &signer.1).unwrap();
        let key = rcgen::KeyPair::generate().unwrap();
        let leaf = leaf_params(&identity("a", "one"))
            .signed_by(&key, &issuer)
            .unwrap();
        let mut chain = vec![leaf.der().clone()];
        chain.extend(rest.iter().map(|above| above.der().clone()));
        shows(&Shown {
            chain,
            key: key.serialize_pem(),
        })
    };
    for client in [shown(&below, &[&below.0, &middle.0]), shown(&root, &[])] {
        let refusal = refusal_at(&ca, client, HeldClock::at(NOW), &roots);
        assert!(
            matches!(refusal, Refusal::RegionMismatch { .. }),
            "{refusal}"
        );
    }
    let own = ca.context(&identity("b", "two"), &[(&identity("a", "one"), &roots)]);
    let good = Arc::new(shown(&right, &[&right.0]));
    assert!(handshake(&good, &own.server(ALPN).config).server.is_ok());
}
