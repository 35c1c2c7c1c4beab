//! What is negotiated, and what never is.

use std::sync::Arc;

use rustls::{
    ClientConfig, HandshakeKind, ServerConnection,
    crypto::{
        CryptoProvider,
        ring::{self, cipher_suite, kx_group},
    },
};
use sealift_identity::{ALPN_DATA, Direction, Refusal, Session, TlsContext, TlsPolicy};
use sealift_terms::Reason;

use crate::stage::{
    ALPN, Ca, HeldClock, NOW, Shown, handshake, identity, strange_server, stranger, trust,
};

/// Agent `one` of region a and agent `two` of region b, who trust each other.
fn pair(ca: &Ca) -> (TlsContext, TlsContext) {
    let (one, two) = (identity("a", "one"), identity("b", "two"));
    (
        ca.context(&one, &[(&two, &ca.bundle)]),
        ca.context(&two, &[(&one, &ca.bundle)]),
    )
}

fn good_client(ca: &Ca, provider: CryptoProvider) -> ClientConfig {
    stranger(Some(&Shown::of(&ca.issue(&identity("a", "one")))), provider)
}

#[test]
fn both_ends_tell_the_same_facts_with_the_hybrid_group_and_aes_256() {
    let ca = Ca::new();
    let (a, b) = pair(&ca);
    let client = a.client(&identity("b", "two"), ALPN).unwrap();
    let server = b.server(ALPN);
    let outcome = handshake(&client.config, &server.config);
    let sender = Session::of(&outcome.client.unwrap(), &client.own).unwrap();
    let receiver = Session::of(&outcome.server.unwrap(), &server.own).unwrap();
    let facts = sender.facts(Direction::Sending);
    assert_eq!(facts, receiver.facts(Direction::Receiving));
    assert_eq!(facts.tls_version, "TLSv1.3");
    assert_eq!(facts.cipher_suite, "TLS13_AES_256_GCM_SHA384");
    assert_eq!(facts.group, "X25519MLKEM768");
    assert_eq!(facts.sender, identity("a", "one"));
    assert_eq!(facts.sender_serial, a.credentials().leaf().serial);
    assert_eq!(facts.receiver, identity("b", "two"));
    assert_eq!(facts.receiver_serial, b.credentials().leaf().serial);
    assert_eq!(sender.alpn, ALPN[0]);
    assert_eq!(sender.ends(), a.credentials().leaf().not_after);
}

#[test]
fn every_allowed_suite_and_group_can_be_negotiated_in_our_order() {
    let ca = Ca::new();
    let (one, two) = (identity("a", "one"), identity("b", "two"));
    for suite in TlsPolicy::known_suites() {
        for group in TlsPolicy::known_groups() {
            let policy = TlsPolicy::from_names(&[suite], &[group]).unwrap();
            let peers = trust(&[(&one, &ca.bundle)]);
            let b = TlsContext::new(policy, ca.credentials(&two), peers, HeldClock::at(NOW));
            // The client would take everything, and has another order.
            let every = TlsPolicy::from_names(
                &["TLS13_CHACHA20_POLY1305_SHA256", "TLS13_AES_256_GCM_SHA384"],
                &["secp384r1", "secp256r1", "X25519", "X25519MLKEM768"],
            );
            let peers = trust(&[(&two, &ca.bundle)]);
            let clock = HeldClock::at(NOW);
            let a = TlsContext::new(every.unwrap(), ca.credentials(&one), peers, clock).unwrap();
            let (client, server) = (a.client(&two, ALPN).unwrap(), b.unwrap().server(ALPN));
            let outcome = handshake(&client.config, &server.config);
            let session = Session::of(&outcome.server.unwrap(), &server.own).unwrap();
            assert_eq!(
                (session.cipher_suite.as_str(), session.group.as_str()),
                (suite, group)
            );
        }
    }
}

#[test]
fn our_order_of_suites_counts_not_the_clients() {
    let ca = Ca::new();
    let (_, b) = pair(&ca);
    let mut provider = ring::default_provider();
    provider
        .cipher_suites
        .sort_by_key(|suite| *suite != cipher_suite::TLS13_CHACHA20_POLY1305_SHA256);
    let server = b.server(ALPN);
    let outcome = handshake(&Arc::new(good_client(&ca, provider)), &server.config);
    let session = Session::of(&outcome.server.unwrap(), &server.own).unwrap();
    assert_eq!(session.cipher_suite, "TLS13_AES_256_GCM_SHA384");
    assert_eq!(session.group, "X25519", "the client has no hybrid group");
}

#[test]
fn a_suite_or_a_group_off_the_list_is_refused() {
    let ca = Ca::new();
    let (_, b) = pair(&ca);
    let mut weak_suite = ring::default_provider();
    weak_suite.cipher_suites = vec![cipher_suite::TLS13_AES_128_GCM_SHA256];
    let mut other_group = ring::default_provider();
    other_group.kx_groups = vec![kx_group::SECP384R1];
    for (provider, expected) in [
        (weak_suite, Refusal::NoCommonSuite),
        (other_group, Refusal::NoCommonGroup),
    ] {
        let client = Arc::new(good_client(&ca, provider));
        let outcome = handshake(&client, &b.server(ALPN).config);
        let refusal = Refusal::of(&outcome.server.unwrap_err());
        assert_eq!(refusal, expected);
        assert_eq!(refusal.reason(), Reason::PeerProtocolMismatch);
        let told = Refusal::of(&outcome.client.unwrap_err());
        assert_eq!(told.reason(), Reason::PeerProtocolMismatch, "{told}");
    }
}

/// What the server says to raw bytes.
fn answer_to(bytes: &[u8]) -> Refusal {
    let ca = Ca::new();
    let (_, b) = pair(&ca);
    let mut server = ServerConnection::new(b.server(ALPN).config).unwrap();
    let mut rest = bytes;
    while !rest.is_empty() {
        server.read_tls(&mut rest).unwrap();
        if let Err(error) = server.process_new_packets() {
            return Refusal::of(&error);
        }
    }
    panic!("the bytes were accepted");
}

#[test]
fn a_tls_1_2_client_is_refused() {
    // A client hello as TLS 1.2 has it (RFC 5246, 7.4.1.2): version 3.3, no supported_versions,
    // suite TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384, groups, signature algorithms.
    let extensions = [
        &[0x00, 0x0a, 0x00, 0x04, 0x00, 0x02, 0x00, 0x1d][..],
        &[0x00, 0x0d, 0x00, 0x04, 0x00, 0x02, 0x04, 0x03],
    ]
    .concat();
    let mut hello = vec![0x03, 0x03];
    hello.extend([0x55; 32]);
    hello.extend([0x00, 0x00, 0x02, 0xc0, 0x2c, 0x01, 0x00]);
    hello.extend(u16::try_from(extensions.len()).unwrap().to_be_bytes());
    hello.extend(extensions);
    let body = u8::try_from(hello.len()).unwrap();
    let mut record = vec![0x16, 0x03, 0x01, 0x00, body + 4, 0x01, 0x00, 0x00, body];
    record.extend(hello);
    let refusal = answer_to(&record);
    assert_eq!(refusal, Refusal::OldTls);
    assert_eq!(refusal.reason(), Reason::PeerProtocolMismatch);
    assert!(refusal.to_string().contains("older than 1.3"));
}

#[test]
fn tls_1_2_is_not_even_compiled_in() {
    assert_eq!(rustls::ALL_VERSIONS.len(), 1);
}

#[test]
fn plaintext_is_refused_as_such() {
    for bytes in [
        &b"GET / HTTP/1.1\r\nHost: example.org\r\n\r\n"[..],
        b"SSH-2.0-OpenSSH_9.2p1\r\n",
        &[0; 64],
        b"sealift HELLO in the clear",
    ] {
        let refusal = answer_to(bytes);
        assert_eq!(refusal, Refusal::NotTls);
        assert!(refusal.to_string().contains("plaintext"));
    }
}

#[test]
fn another_application_protocol_is_refused_and_so_is_none() {
    let ca = Ca::new();
    let (_, b) = pair(&ca);
    let mut other = good_client(&ca, ring::default_provider());
    other.alpn_protocols = vec![b"h2".to_vec()];
    let server = b.server(ALPN);
    let outcome = handshake(&Arc::new(other), &server.config);
    assert_eq!(
        Refusal::of(&outcome.server.unwrap_err()),
        Refusal::NoCommonProtocol
    );
    let mut none = good_client(&ca, ring::default_provider());
    none.alpn_protocols.clear();
    let outcome = handshake(&Arc::new(none), &server.config);
    let session = Session::of(&outcome.server.unwrap(), &server.own);
    assert_eq!(session.unwrap_err(), Refusal::NoCommonProtocol);
}

#[test]
fn the_application_protocol_tells_control_from_data() {
    let ca = Ca::new();
    let (a, b) = pair(&ca);
    let client = a.client(&identity("b", "two"), &[ALPN_DATA]).unwrap();
    let server = b.server(&[ALPN[0], ALPN_DATA]);
    let outcome = handshake(&client.config, &server.config);
    let session = Session::of(&outcome.server.unwrap(), &server.own).unwrap();
    assert_eq!(session.alpn, ALPN_DATA);
}

#[test]
fn a_server_gives_no_tickets_and_resumes_nothing() {
    let ca = Ca::new();
    let (_, b) = pair(&ca);
    // This client would resume and send early data if it could.
    let mut client = good_client(&ca, ring::default_provider());
    client.enable_early_data = true;
    let client = Arc::new(client);
    for _ in 0..2 {
        let server = b.server(ALPN);
        assert_eq!(server.config.send_tls13_tickets, 0);
        assert_eq!(server.config.max_early_data_size, 0);
        assert!(!server.config.session_storage.can_cache());
        assert!(!server.config.ticketer.enabled());
        let outcome = handshake(&client, &server.config);
        let client = outcome.client.unwrap();
        assert_eq!(client.tls13_tickets_received(), 0);
        assert_eq!(client.handshake_kind(), Some(HandshakeKind::Full));
        assert_eq!(
            outcome.server.unwrap().handshake_kind(),
            Some(HandshakeKind::Full)
        );
    }
}

#[test]
fn a_client_takes_no_ticket_and_resumes_nothing() {
    let ca = Ca::new();
    let (a, _) = pair(&ca);
    // This server hands out tickets and resumes, one configuration for both handshakes.
    let server = Arc::new(strange_server(&Shown::of(&ca.issue(&identity("b", "two")))));
    let client = a.client(&identity("b", "two"), ALPN).unwrap().config;
    for _ in 0..2 {
        let outcome = handshake(&client, &server);
        let client = outcome.client.unwrap();
        assert_eq!(
            client.tls13_tickets_received(),
            2,
            "the tickets were there to take"
        );
        assert_ne!(client.handshake_kind(), Some(HandshakeKind::Resumed));
        assert_ne!(
            outcome.server.unwrap().handshake_kind(),
            Some(HandshakeKind::Resumed)
        );
    }
    assert!(!client.enable_early_data && !client.enable_sni);
}

#[test]
fn an_unfinished_handshake_is_no_session() {
    let ca = Ca::new();
    let (_, b) = pair(&ca);
    let server = b.server(ALPN);
    let connection = ServerConnection::new(server.config).unwrap();
    assert!(Session::of(&connection, &server.own).is_err());
}
