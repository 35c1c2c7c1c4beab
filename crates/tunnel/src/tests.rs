//! How long a link waits for its peer, with time that a test lets pass.

use std::{sync::Arc, time::Duration};

use sealift_identity::{Leaf, Refusal, Session};
use sealift_terms::{
    Epoch, Identity, PartIndex, Region, SessionId, SiteId, SiteName, Timestamp,
    limits::{HANDSHAKE_TIME_MAX, WRITE_TIME_MAX},
};
use sealift_wire::{Header, Hello, Limits, OfferId, Role};
use tokio::{io::DuplexStream, time::Instant};

use crate::{Connection, Link, LinkKind, TunnelError};

/// A link in memory, and the other end's bytes.
fn link() -> (Link, DuplexStream) {
    let (near, far) = tokio::io::duplex(64 * 1024);
    let (reader, writer) = tokio::io::split(near);
    let connection = Connection {
        reader: Box::new(reader),
        writer: Box::new(writer),
        peer: ([127, 0, 0, 1], 7).into(),
        socket: None,
    };
    let leaf = Arc::new(Leaf {
        identity: "spiffe://example.org/region/a/agent/near".parse().unwrap(),
        serial: "01".to_owned(),
        not_before: Timestamp::default(),
        not_after: Timestamp::default(),
        client_auth: true,
        server_auth: true,
    });
    let session = Session {
        tls_version: "TLSv1.3",
        cipher_suite: "none".to_owned(),
        group: "none".to_owned(),
        alpn: LinkKind::Data.alpn().to_vec(),
        own: leaf.clone(),
        peer: leaf,
    };
    (Link::clear(connection, LinkKind::Data, session), far)
}

fn hello() -> Hello {
    Hello {
        protocol_min: 1,
        protocol_max: 1,
        session: SessionId([1; 16]),
        link: 1,
        role: Role::Send,
        site: SiteId([2; 16]),
        site_name: SiteName::new("a1").unwrap(),
        region: Region::new("a").unwrap(),
        epoch: Epoch([3; 16]),
        commit_sequence: 4,
        clock: Timestamp::from_secs(1),
        software: String::new(),
        limits: Limits::default(),
        policy: None,
        remembered: None,
        decompresses: None,
        cuts: None,
        key_exchange: None,
        takes: None,
    }
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_does_not_answer_our_hello_is_given_up_in_time() {
    let (mut link, _far) = link();
    let begun = Instant::now();
    let greeted = tokio::time::timeout(Duration::from_secs(3600), link.greet(&hello())).await;
    let error = greeted.expect("it waits for ever").unwrap_err();
    assert!(matches!(error, TunnelError::TooSlow), "{error}");
    assert_eq!(begun.elapsed(), HANDSHAKE_TIME_MAX);
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_takes_nothing_is_given_up_in_time() {
    let (link, _far) = link();
    let (_reader, mut writer) = link.split();
    let begun = Instant::now();
    let bytes = vec![0; 1 << 20];
    let header = Header::data(OfferId(1), PartIndex(0), 0, 1 << 20);
    let written = tokio::time::timeout(Duration::from_secs(3600), async {
        writer.data(&header, &bytes).await?;
        writer.flush().await
    });
    let error = written.await.expect("it waits for ever").unwrap_err();
    assert!(matches!(error, TunnelError::Stalled), "{error}");
    assert_eq!(begun.elapsed(), WRITE_TIME_MAX);
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_reads_slowly_is_waited_for() {
    use tokio::io::AsyncReadExt;

    let (link, mut far) = link();
    let (_reader, mut writer) = link.split();
    let reading = tokio::spawn(async move {
        let mut bytes = vec![0; 64 * 1024];
        let mut all = 0;
        while all < 24 + (1 << 20) {
            tokio::time::sleep(WRITE_TIME_MAX - Duration::from_secs(1)).await;
            all += far.read(&mut bytes).await.unwrap();
        }
    });
    let header = Header::data(OfferId(1), PartIndex(0), 0, 1 << 20);
    writer.data(&header, &vec![0; 1 << 20]).await.unwrap();
    writer.flush().await.unwrap();
    reading.await.unwrap();
}

#[tokio::test]
async fn a_link_that_is_ended_from_outside_ends_whoever_reads_and_whoever_writes() {
    let (mut link, _far) = link();
    let held = Arc::new(());
    let ender = link.ender(held.clone());
    let (mut reader, mut writer) = link.split();
    let reading = tokio::spawn(async move { reader.next().await.map(drop) });
    let writing = tokio::spawn(async move {
        let header = Header::data(OfferId(1), PartIndex(0), 0, 1 << 20);
        writer.data(&header, &vec![0; 1 << 20]).await?;
        writer.flush().await
    });
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert!(!reading.is_finished() && !writing.is_finished());
    assert!(!ender.is_gone() && Arc::strong_count(&held) == 2);
    let identity: Identity = "spiffe://example.org/region/a/agent/near".parse().unwrap();
    ender.end(Refusal::Denied { identity });
    for half in [reading, writing] {
        let error = half.await.unwrap().unwrap_err();
        assert!(
            matches!(&error, TunnelError::Refused(Refusal::Denied { .. })),
            "{error}"
        );
    }
    // What the link counted against is given back with it.
    assert!(ender.is_gone());
    assert_eq!(Arc::strong_count(&held), 1);
}
