//! A certificate that is over can be renewed for a while, and is good for nothing else.

use std::{sync::Arc, time::Duration};

use rustls::crypto::ring;
use sealift_host::OsRng;
use sealift_identity::{
    Authority, Credentials, Enrolments, LeafRequest, Refusal, TlsContext, TlsPolicy, TrustBundle,
    issuing_server,
};
use sealift_terms::Timestamp;

use crate::stage::{
    ALPN, Ca, DOMAIN, HeldClock, NOW, Shown, handshake, identity, region, stranger, trust,
};

const SECOND: Duration = Duration::from_secs(1);

/// What the listener that issues certificates says of a certificate at a moment.
fn shown_to_issuer(ca: &Ca, roots: &TrustBundle, shown: &Shown, at: Timestamp) -> Option<Refusal> {
    let issuer = ca.credentials(&identity("a", "issuer"));
    let policy = TlsPolicy::default();
    let server = issuing_server(&policy, &issuer, roots, HeldClock::at(at)).unwrap();
    let mut client = stranger(Some(shown), ring::default_provider());
    client.alpn_protocols = vec![b"http/1.1".to_vec()];
    let outcome = handshake(&Arc::new(client), &server);
    outcome.server.err().map(|error| Refusal::of(&error))
}

#[test]
fn the_issuer_looks_at_an_expired_certificate_until_its_grace_is_over() {
    let ca = Ca::new();
    let issued = ca.issue(&identity("a", "one"));
    let (shown, leaf) = (Shown::of(&issued), &issued.leaf);
    for at in [
        leaf.not_after,
        leaf.not_after.plus(SECOND),
        leaf.renewable_until(),
    ] {
        assert_eq!(shown_to_issuer(&ca, &ca.bundle, &shown, at), None, "{at}");
    }
    let late = leaf.renewable_until().plus(SECOND);
    let refused = shown_to_issuer(&ca, &ca.bundle, &shown, late);
    assert!(
        matches!(refused, Some(Refusal::Expired { .. })),
        "{refused:?}"
    );
    // Other checks are as strict as ever: its authority, and when it begins.
    let other = Ca::new();
    let refused = shown_to_issuer(&ca, &other.bundle, &shown, leaf.renewable_until());
    let untrusted = matches!(refused, Some(Refusal::UntrustedIssuer { .. }));
    assert!(untrusted, "{refused:?}");
    let early = leaf.not_before.minus(SECOND);
    let refused = shown_to_issuer(&ca, &ca.bundle, &shown, early);
    assert!(
        matches!(refused, Some(Refusal::NotYetValid { .. })),
        "{refused:?}"
    );
}

#[test]
fn the_issuer_refuses_a_revoked_certificate_within_its_grace() {
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path().join("ca");
    let (clock, regions) = (HeldClock::at(NOW), [region("a")]);
    Authority::init(&at, DOMAIN, &regions, "correct horse", &*clock, &OsRng).unwrap();
    let mut all = Enrolments::open(&at).unwrap();
    let one = identity("a", "one");
    let issuing = all.authority().issuing(one.region()).unwrap();
    let issued = issuing.issue(&LeafRequest::new(one), &*clock, &OsRng);
    let issued = issued.unwrap();
    let (ca, shown) = (Ca::new(), Shown::of(&issued));
    let over = issued.leaf.not_after.plus(SECOND);
    let before = all.authority().bundle().clone();
    assert_eq!(shown_to_issuer(&ca, &before, &shown, over), None);
    all.revoke_serial(&issued.leaf.serial, NOW).unwrap();
    // Revocations that are forgotten in between are older ones.
    all.revoke_serial("0a", over).unwrap();
    let revoked = all.authority().bundle();
    let refused = shown_to_issuer(&ca, revoked, &shown, over);
    assert!(
        matches!(refused, Some(Refusal::Revoked { .. })),
        "{refused:?}"
    );
}

#[test]
fn peers_refuse_an_expired_certificate_on_either_side_however_short_ago_it_ended() {
    let ca = Ca::new();
    let (one, two) = (identity("a", "one"), identity("b", "two"));
    let credentials = ca.credentials(&one);
    let over = credentials.leaf().not_after.plus(SECOND);
    let context = |own: Credentials, peer| {
        let (policy, peers) = (TlsPolicy::default(), trust(&[(peer, &ca.bundle)]));
        TlsContext::new(policy, own, peers, HeldClock::at(over)).unwrap()
    };
    let a = context(credentials, &two);
    let request = LeafRequest::new(two.clone());
    let fresh = ca.b.issue(&request, &*HeldClock::at(over), &OsRng).unwrap();
    let key = fresh.private_key_pem.as_ref().unwrap();
    let (chain, key) = (fresh.chain_pem.as_bytes(), key.as_bytes());
    let b = context(
        Credentials::from_pem(chain, key, &ca.bundle, over).unwrap(),
        &one,
    );
    let dialled = handshake(
        &a.client(&two, ALPN).unwrap().config,
        &b.server(ALPN).config,
    );
    let refused = Refusal::of(&dialled.server.unwrap_err());
    assert!(matches!(refused, Refusal::Expired { .. }), "{refused}");
    let answered = handshake(
        &b.client(&one, ALPN).unwrap().config,
        &a.server(ALPN).config,
    );
    let refused = Refusal::of(&answered.client.unwrap_err());
    assert!(matches!(refused, Refusal::Expired { .. }), "{refused}");
}

#[test]
fn what_an_agent_begins_with_may_be_over_and_nothing_else_may_be_wrong_with_it() {
    let ca = Ca::new();
    let issued = ca.issue(&identity("a", "one"));
    let dir = tempfile::tempdir().unwrap();
    let (certificate, key) = (dir.path().join("c"), dir.path().join("k"));
    issued.save(&certificate, &key).unwrap();
    let over = issued.leaf.not_after.plus(SECOND * 1_000_000);
    let load = |roots: &TrustBundle, at| {
        Credentials::load_last_as(&certificate, &key, roots, &Default::default(), at)
    };
    assert!(Credentials::load(&certificate, &key, &ca.bundle, over).is_err());
    assert_eq!(**load(&ca.bundle, over).unwrap().leaf(), issued.leaf);
    let early = issued.leaf.not_before.minus(SECOND);
    assert!(load(&ca.bundle, early).is_err(), "it has not begun");
    assert!(load(&Ca::new().bundle, over).is_err(), "whose is it");
    let other = ca.issue(&identity("a", "one"));
    other.save(&dir.path().join("x"), &key).unwrap();
    assert!(load(&ca.bundle, over).is_err(), "another key");
}
