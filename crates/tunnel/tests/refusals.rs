//! Who is not let in, and what is said about it.

#![allow(clippy::unwrap_used, clippy::panic)]

mod stage;

use std::{sync::Arc, time::Duration};

use parking_lot::Mutex;
use sealift_identity::TlsPolicy;
use sealift_terms::{Reason, limits};
use sealift_tunnel::*;
use sealift_wire::Role;
use stage::{Ca, Pair, dialer, hello, identity};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
};

type Log = Arc<Mutex<Vec<Refused>>>;

async fn one(log: &Log) -> Refused {
    for _ in 0..6000 {
        if let Some(refused) = log.lock().pop() {
            return refused;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("nothing was refused");
}

/// Sends bytes and reads until the other end closes.
async fn send(listener: &Listener, bytes: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(listener.address()).await.unwrap();
    stream.write_all(bytes).await.unwrap();
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    answer
}

/// The peer makes a link and is answered.
async fn comes_in(pair: &Pair, listener: &mut Listener) {
    let (address, b) = (listener.address().to_string(), identity("b", "b1"));
    let dialled = async {
        let mut link = dialer(&pair.a)
            .dial(&address, &b, LinkKind::Data)
            .await
            .unwrap();
        link.greet(&hello(Role::Send)).await.unwrap();
    };
    let answered = async {
        let mut accepted = listener.accept().await.unwrap();
        accepted.link.answer(&hello(Role::Receive)).await.unwrap();
    };
    tokio::join!(dialled, answered);
}

/// Says nothing, and comes from an address of its own on loopback.
async fn stranger(number: u8, listener: &Listener) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(([127, 7, 0, number], 0).into()).unwrap();
    socket.connect(listener.address()).await.unwrap()
}

/// A ClientHello of TLS 1.2 with ECDHE-RSA-AES128-GCM-SHA256 on secp256r1.
fn tls_1_2_hello() -> Vec<u8> {
    let extensions: &[u8] = &[
        0, 10, 0, 4, 0, 2, 0, 23, // supported_groups
        0, 13, 0, 4, 0, 2, 4, 1, // signature_algorithms
    ];
    let mut body = vec![3, 3];
    body.extend([7; 32]);
    body.extend([0, 0, 2, 0xc0, 0x2f, 1, 0, 0, extensions.len() as u8]);
    body.extend(extensions);
    let mut hello = vec![1, 0, 0, body.len() as u8];
    hello.extend(body);
    let mut record = vec![22, 3, 1, 0, hello.len() as u8];
    record.extend(hello);
    record
}

#[tokio::test(flavor = "multi_thread")]
async fn plaintext_and_tls_1_2_are_refused_with_their_cause() {
    let (listener, log) = Pair::new().listen().await;
    send(&listener, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await;
    let refused = one(&log).await;
    assert_eq!(
        (refused.word(), refused.reason()),
        ("not_tls", Reason::PeerProtocolMismatch)
    );
    assert!(refused.from.ip().is_loopback());
    let answer = send(&listener, &tls_1_2_hello()).await;
    assert_eq!(one(&log).await.word(), "old_tls");
    assert_eq!(
        answer.get(..3),
        Some(&[21, 3, 3][..]),
        "an alert and nothing else: {answer:?}"
    );
    assert!(log.lock().is_empty(), "each is reported once");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_of_another_ca_or_of_no_known_identity_is_refused_on_both_sides() {
    let pair = Pair::new();
    let (listener, log) = pair.listen().await;
    let address = listener.address().to_string();
    let b = identity("b", "b1");
    let other_ca = Ca::new();
    let policy = TlsPolicy::default;
    let impostor = other_ca.agent(
        &identity("a", "a1"),
        std::slice::from_ref(&b),
        &pair.ca.bundle,
        policy(),
    );
    let stranger = pair.ca.agent(
        &identity("a", "a2"),
        std::slice::from_ref(&b),
        &pair.ca.bundle,
        policy(),
    );
    for kind in [LinkKind::Control, LinkKind::Data] {
        for (tls, word) in [
            (&impostor, "untrusted_issuer"),
            (&stranger, "unknown_identity"),
        ] {
            let link = dialer(tls).dial(&address, &b, kind).await;
            // The client's part of the handshake is over before it is judged.
            let error = match link {
                Ok(mut link) => link.greet(&hello(Role::Send)).await.unwrap_err(),
                Err(error) => error,
            };
            let refused = one(&log).await;
            assert_eq!(
                (refused.word(), refused.reason()),
                (word, Reason::PeerIdentityRefused)
            );
            assert!(refused.identity().is_some());
            assert_eq!(error.reason(), Reason::PeerIdentityRefused, "{error}");
        }
    }
    // And the other way round: who dials an address where somebody else answers.
    let wrong = dialer(&stranger)
        .dial(&address, &identity("b", "b1"), LinkKind::Data)
        .await;
    drop(wrong);
    let agent = pair.ca.agent(
        &identity("a", "a1"),
        &[identity("b", "b2")],
        &pair.ca.bundle,
        policy(),
    );
    let error = dialer(&agent)
        .dial(&address, &identity("b", "b2"), LinkKind::Data)
        .await
        .unwrap_err();
    assert!(error.to_string().contains("b1"), "{error}");
    assert_eq!(error.reason(), Reason::PeerIdentityRefused);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_suite_or_group_off_the_list_is_refused() {
    let pair = Pair::new();
    let ca = &pair.ca;
    let a = identity("a", "a1");
    let only_aes =
        TlsPolicy::from_names(&["TLS13_AES_256_GCM_SHA384"], &["X25519MLKEM768"]).unwrap();
    let strict = Pair {
        b: ca.agent(
            &identity("b", "b1"),
            std::slice::from_ref(&a),
            &ca.bundle,
            only_aes,
        ),
        a: pair.a.clone(),
        ca: Ca::new(),
    };
    let (listener, log) = strict.listen().await;
    let address = listener.address().to_string();
    for (suites, groups, word) in [
        (
            "TLS13_CHACHA20_POLY1305_SHA256",
            "X25519MLKEM768",
            "no_common_suite",
        ),
        ("TLS13_AES_256_GCM_SHA384", "X25519", "no_common_group"),
    ] {
        let policy = TlsPolicy::from_names(&[suites], &[groups]).unwrap();
        let tls = ca.agent(&a, &[identity("b", "b1")], &ca.bundle, policy);
        for kind in [LinkKind::Control, LinkKind::Data] {
            let error = dialer(&tls)
                .dial(&address, &identity("b", "b1"), kind)
                .await
                .unwrap_err();
            assert_eq!(error.reason(), Reason::PeerProtocolMismatch, "{error}");
            assert_eq!(one(&log).await.word(), word);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn silent_connections_are_bounded_per_source_and_cut_off_in_time() {
    let pair = Pair::new();
    let (mut listener, log) = pair.listen().await;
    let mut silent = Vec::new();
    for _ in 0..limits::PENDING_HANDSHAKES_PER_SOURCE_MAX {
        silent.push(TcpStream::connect(listener.address()).await.unwrap());
    }
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert!(log.lock().is_empty());
    send(&listener, b"").await;
    assert_eq!(one(&log).await.word(), "too_many_from_source");
    // When they hang up, others are let in again.
    silent.clear();
    for _ in 0..limits::PENDING_HANDSHAKES_PER_SOURCE_MAX {
        assert_eq!(one(&log).await.word(), "cut_off");
    }
    let silent = TcpStream::connect(listener.address()).await.unwrap();
    comes_in(&pair, &mut listener).await;
    assert_eq!(one(&log).await.word(), "too_slow");
    drop(silent);
}

#[tokio::test(flavor = "multi_thread")]
async fn strangers_of_many_addresses_keep_out_strangers_and_no_peer_that_was_there() {
    let pair = Pair::new();
    let (mut listener, log) = pair.listen().await;
    comes_in(&pair, &mut listener).await;
    let mut strangers = Vec::new();
    while log.lock().is_empty() {
        let number = u8::try_from(strangers.len()).expect("none is refused");
        strangers.push(stranger(number, &listener).await);
    }
    let refused = one(&log).await;
    assert_eq!(refused.word(), "too_many_strangers", "{refused}");
    comes_in(&pair, &mut listener).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handshake_without_a_hello_counts_as_unfinished() {
    let pair = Pair::new();
    let (listener, log) = pair.listen().await;
    let address = listener.address().to_string();
    let b = identity("b", "b1");
    let link = dialer(&pair.a)
        .dial(&address, &b, LinkKind::Control)
        .await
        .unwrap();
    let (_reader, mut writer) = link.split();
    let ping = sealift_wire::Header::of(sealift_wire::FrameType::Ping, 0, 0);
    writer.queue(&ping.encode());
    writer.flush().await.unwrap();
    let refused = one(&log).await;
    assert_eq!(
        (refused.word(), refused.reason()),
        ("bad_hello", Reason::PeerProtocolMismatch)
    );
}
