//! Certificates of authorities that know nothing of regions: known by DNS name, issued
//! below any root, living longer. Each only where it is said so.

use std::time::Duration;

use rcgen::{ExtendedKeyUsagePurpose, IsCa, KeyPair, SanType};
use rustls_pki_types::CertificateDer;
use sealift_identity::{
    Credentials, Demands, DnsAgent, IdentityError, Issuers, OwnDemands, PeerTrust, Peers, Refusal,
    TlsContext, TlsPolicy, TrustBundle,
};
use sealift_terms::PeerName;

use super::stage::{HeldClock, NOW, Shown, identity, leaf_params};

/// An authority of somebody else, without issuing CAs.
struct Foreign {
    key: KeyPair,
    params: rcgen::CertificateParams,
    root: CertificateDer<'static>,
}

impl Foreign {
    fn new() -> Self {
        let mut params = leaf_params(&identity("a", "unused"));
        params.subject_alt_names.clear();
        params.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        params.extended_key_usages.clear();
        params.key_usages = vec![rcgen::KeyUsagePurpose::KeyCertSign];
        let key = KeyPair::generate().unwrap();
        let root = params.self_signed(&key).unwrap().der().clone();
        Self { key, params, root }
    }

    fn bundle(&self) -> TrustBundle {
        TrustBundle::new(None, 0, vec![self.root.clone()]).unwrap()
    }

    /// A certificate for `names`, of a server only.
    fn issue(&self, names: Vec<SanType>, life_days: i64) -> Shown {
        let mut params = leaf_params(&identity("b", "one"));
        params.subject_alt_names = names;
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let end = NOW.as_secs() - 300 + life_days * 86_400;
        params.not_after = time::OffsetDateTime::from_unix_timestamp(end).unwrap();
        let own = KeyPair::generate().unwrap();
        let issuer = rcgen::Issuer::from_params(&self.params, &self.key);
        let leaf = params.signed_by(&own, &issuer).unwrap();
        Shown {
            chain: vec![leaf.der().clone()],
            key: own.serialize_pem(),
        }
    }

    fn credentials(&self, shown: &Shown, own: &OwnDemands) -> Result<Credentials, IdentityError> {
        let pem = super::credentials::pem(shown);
        Credentials::from_pem_as(
            pem.as_bytes(),
            shown.key.as_bytes(),
            &self.bundle(),
            own,
            NOW,
        )
    }
}

fn dns(name: &str) -> SanType {
    SanType::DnsName(name.try_into().unwrap())
}

fn agent() -> DnsAgent {
    DnsAgent::new("b1.example.org", identity("b", "one")).unwrap()
}

fn any(life_days: u64) -> Demands {
    Demands {
        life_max: Duration::from_secs(life_days * 86_400),
        issuers: Issuers::Any,
    }
}

fn own(demands: Demands) -> OwnDemands {
    OwnDemands {
        demands,
        dns: Some(agent()),
        answers_only: true,
    }
}

#[test]
fn a_server_under_a_public_authority_is_known_by_its_dns_name() {
    let (foreign, ca) = (Foreign::new(), super::stage::Ca::new());
    let shown = foreign.issue(vec![dns("b1.example.org")], 40);
    let b = foreign.credentials(&shown, &own(any(47))).unwrap();
    assert_eq!(b.leaf().identity, identity("b", "one"));
    let (clock, policy) = (HeldClock::at(NOW), TlsPolicy::default());
    let trusted = super::stage::trust(&[(&identity("a", "one"), &ca.bundle)]);
    let b = TlsContext::new(policy, b, trusted, clock).unwrap();
    let peer = |demands, dns| PeerTrust {
        name: PeerName::new("b").unwrap(),
        identity: identity("b", "one"),
        roots: foreign.bundle(),
        demands,
        dns,
    };
    let dial = |peer: PeerTrust| {
        let a = ca.credentials(&identity("a", "one"));
        let peers = Peers::new([peer], []).unwrap();
        let a = TlsContext::new(TlsPolicy::default(), a, peers, HeldClock::at(NOW)).unwrap();
        let prepared = a.client(&identity("b", "one"), &[b"x"]).unwrap();
        let server = b.server(&[b"x"]);
        let outcome = super::stage::handshake(&prepared.config, &server.config);
        outcome
            .client
            .map(|connection| sealift_identity::Session::of(&connection, &prepared.own))
            .map_err(|error| Refusal::of(&error))
    };
    let session = dial(peer(any(47), Some(agent()))).unwrap().unwrap();
    assert_eq!(session.peer.identity, identity("b", "one"));
    // Without the name in the configuration it is nobody.
    let refusal = dial(peer(any(47), None)).unwrap_err();
    assert!(matches!(refusal, Refusal::NoIdentity { .. }), "{refusal}");
    // Without leave the region's issuing CA is asked for, and 47 days are the most.
    let refusal = dial(peer(Demands::default(), Some(agent()))).unwrap_err();
    assert!(
        matches!(refusal, Refusal::RegionMismatch { .. }),
        "{refusal}"
    );
    let refusal = dial(peer(any(39), Some(agent()))).unwrap_err();
    assert!(
        matches!(
            refusal,
            Refusal::LifetimeTooLong {
                days: 40,
                days_max: 39,
                ..
            }
        ),
        "{refusal}"
    );
}

#[test]
fn a_certificate_for_a_server_alone_does_not_do_for_an_agent_that_dials() {
    let foreign = Foreign::new();
    let shown = foreign.issue(vec![dns("b1.example.org")], 40);
    let dials = OwnDemands {
        answers_only: false,
        ..own(any(47))
    };
    let error = foreign.credentials(&shown, &dials).unwrap_err();
    assert!(
        matches!(
            &error,
            IdentityError::WouldBeRefused {
                refusal: Refusal::WrongPurpose {
                    missing: "clientAuth",
                    ..
                }
            }
        ),
        "{error}"
    );
}

#[test]
fn other_names_several_uris_and_a_uri_of_another_are_not_the_agent() {
    let foreign = Foreign::new();
    let uri = |text: &str| SanType::URI(text.try_into().unwrap());
    for names in [
        vec![dns("b2.example.org")],
        vec![],
        vec![dns("b1.example.org"), uri("https://example.org")],
        vec![
            uri("spiffe://d/region/a/agent/x"),
            uri("spiffe://d/region/a/agent/y"),
            dns("b1.example.org"),
        ],
    ] {
        let shown = foreign.issue(names, 40);
        assert!(foreign.credentials(&shown, &own(any(47))).is_err());
    }
}

#[test]
fn two_peers_cannot_have_one_dns_name() {
    let foreign = Foreign::new();
    let peer = |name: &str| PeerTrust {
        name: PeerName::new(name).unwrap(),
        identity: identity("b", name),
        roots: foreign.bundle(),
        demands: any(47),
        dns: Some(agent()),
    };
    assert!(Peers::new([peer("one"), peer("two")], []).is_err());
}
