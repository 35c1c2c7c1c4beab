//! Links over real TCP on loopback.

#![allow(clippy::unwrap_used, clippy::panic)]

mod stage;

use std::{
    future::poll_fn,
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    task::Poll,
    time::Duration,
};

use sealift_identity::Refusal;
use sealift_terms::{Networks, PartIndex, Reason};
use sealift_tunnel::*;
use sealift_wire::{FRAME_HEADER_BYTES, FrameType, Header, OfferId, Role};
use stage::{Pair, hello, identity};

const MIB: usize = 1 << 20;

/// Bytes that differ everywhere: a counter multiplied by an odd number.
fn pattern(bytes: usize) -> Vec<u8> {
    let word = |i: usize| (i as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes();
    (0..bytes / 8 + 1).flat_map(word).take(bytes).collect()
}

fn data(offset: usize, length: usize) -> Header {
    Header::data(OfferId(1), PartIndex(0), offset as u32, length as u32)
}

/// Reads DATA of one part until `wanted` bytes came.
async fn read(reader: &mut LinkReader, wanted: usize) -> Vec<u8> {
    let mut all = Vec::new();
    while all.len() < wanted {
        match reader.next().await.unwrap() {
            Some(Incoming::Data {
                header,
                done,
                bytes,
            }) => {
                assert_eq!((header.offset + done) as usize, all.len());
                bytes.iter().for_each(|bytes| all.extend_from_slice(bytes));
            }
            Some(Incoming::Frame { header, .. }) => assert_eq!(header.frame, FrameType::Ping),
            None => panic!("closed after {} bytes", all.len()),
        }
    }
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn both_kinds_agree_on_tls_1_3_post_quantum_and_both_identities() {
    let pair = Pair::new();
    for kind in [LinkKind::Control, LinkKind::Data] {
        let (dialled, answered) = pair.linked(kind).await;
        for link in [&dialled, &answered] {
            let session = link.session();
            assert_eq!(link.kind(), kind);
            assert_eq!(session.alpn, kind.alpn());
            assert_eq!(session.tls_version, "TLSv1.3");
            assert_eq!(session.cipher_suite, "TLS13_AES_256_GCM_SHA384");
            assert_eq!(session.group, "X25519MLKEM768");
        }
        assert_eq!(dialled.session().peer.identity, identity("b", "b1"));
        assert_eq!(answered.session().peer.identity, identity("a", "a1"));
        assert_eq!(dialled.session().peer.serial, answered.session().own.serial);
        assert_eq!(dialled.channel_binding(), answered.channel_binding());
        assert_eq!(
            dialled.channel_binding().is_some(),
            kind == LinkKind::Control
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sixty_four_mebibytes_in_any_cuts_arrive_as_they_were() {
    let pair = Pair::new();
    for kind in [LinkKind::Control, LinkKind::Data] {
        let (dialled, answered) = pair.linked(kind).await;
        let bytes = pattern(64 * MIB);
        let sent = bytes.clone();
        let writing = tokio::spawn(async move {
            let (_reader, mut writer) = dialled.split();
            let (mut at, mut step) = (0, 1);
            while at < sent.len() {
                let length = (step * 7919 % MIB + 1).min(sent.len() - at);
                if step % 3 == 0 {
                    writer.queue(&Header::of(FrameType::Ping, step as u64, 0).encode());
                }
                writer
                    .data(&data(at, length), &sent[at..at + length])
                    .await
                    .unwrap();
                if step % 5 == 0 {
                    writer.flush().await.unwrap();
                }
                at += length;
                step += 1;
            }
            writer.close().await.unwrap();
        });
        let (mut reader, _writer) = answered.split();
        assert!(
            read(&mut reader, bytes.len()).await == bytes,
            "{kind:?}: bytes differ"
        );
        writing.await.unwrap();
        assert!(
            reader.next().await.unwrap().is_none(),
            "{kind:?}: not closed in order"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn frames_that_are_sealed_where_they_lie_arrive_as_they_were_whatever_their_pieces() {
    let (dialled, answered) = Pair::new().linked(LinkKind::Forward).await;
    let bytes = pattern(8 * MIB);
    let sent = bytes.clone();
    let writing = tokio::spawn(async move {
        let (_reader, mut writer) = dialled.split();
        let (mut at, mut step) = (0, 1);
        while at < sent.len() {
            // Some share a record with their header, most do not.
            let length = (step * 7919 % 40_000 + 1).min(sent.len() - at);
            let payload = &sent[at..at + length];
            let (one, other) = payload.split_at(step * 31 % (length + 1));
            writer.seal(&data(at, length), [one, other]).unwrap();
            if step % 3 == 0 {
                poll_fn(|cx| writer.poll_flush(cx)).await.unwrap();
                assert_eq!(writer.unwritten(), 0);
            }
            at += length;
            step += 1;
        }
        writer.close().await.unwrap();
    });
    let (mut reader, _writer) = answered.split();
    assert!(read(&mut reader, bytes.len()).await == bytes);
    writing.await.unwrap();
    assert!(reader.next().await.unwrap().is_none());
}

/// A link made by one runtime is driven by another while nothing turns in the first.
#[test]
fn a_link_goes_on_where_it_is_driven_from_now_on() {
    let made_by = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let (dialled, answered) =
        made_by.block_on(async { Pair::new().linked(LinkKind::Forward).await });
    let bytes = pattern(8 * MIB);
    let ends = [dialled, answered].map(|link| {
        let (sent, wanted) = (bytes.clone(), bytes.clone());
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(async move {
                let socket = link.socket().unwrap();
                let (mut reader, mut writer) = link.split();
                // The second time it is there already.
                for _ in 0..2 {
                    drive_here(&*socket, &mut reader, &mut writer).unwrap();
                }
                let writing = tokio::spawn(async move {
                    for (i, piece) in sent.chunks(MIB).enumerate() {
                        writer.data(&data(i * MIB, MIB), piece).await.unwrap();
                    }
                    writer.close().await.unwrap();
                });
                let read = async {
                    let heard = read(&mut reader, wanted.len()).await;
                    writing.await.unwrap();
                    (heard == wanted, reader.next().await.unwrap().is_none())
                };
                tokio::time::timeout(Duration::from_secs(60), read).await
            })
        })
    });
    for end in ends {
        assert_eq!(end.join().unwrap(), Ok((true, true)));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_polls_a_link_that_is_ended_hears_of_it_each_time() {
    let (_dialled, mut answered) = Pair::new().linked(LinkKind::Forward).await;
    let ender = answered.ender(());
    let (mut reader, _writer) = answered.split();
    let waits = poll_fn(|cx| Poll::Ready(reader.poll_next(cx).is_pending()));
    assert!(waits.await);
    ender.end(Refusal::BadTls {
        what: "ended by a test".to_owned(),
    });
    for _ in 0..2 {
        let ended = poll_fn(|cx| reader.poll_next(cx).map(|next| next.map(drop)));
        assert!(matches!(ended.await, Err(TunnelError::Refused(_))));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn both_ends_writing_at_once_do_not_wait_for_each_other() {
    let pair = Pair::new();
    for kind in [LinkKind::Control, LinkKind::Data] {
        let (dialled, answered) = pair.linked(kind).await;
        let bytes = pattern(32 * MIB);
        let mut tasks = Vec::new();
        for link in [dialled, answered] {
            let (mut reader, mut writer) = link.split();
            let (sent, wanted) = (bytes.clone(), bytes.clone());
            tasks.push(tokio::spawn(async move {
                for (i, piece) in sent.chunks(MIB).enumerate() {
                    writer
                        .data(&data(i * MIB, piece.len()), piece)
                        .await
                        .unwrap();
                }
                writer.flush().await.unwrap();
                tokio::time::sleep(Duration::from_millis(200)).await;
            }));
            tasks.push(tokio::spawn(async move {
                let got = read(&mut reader, wanted.len()).await;
                assert!(got == wanted);
            }));
        }
        for task in tasks {
            tokio::time::timeout(Duration::from_secs(60), task)
                .await
                .unwrap()
                .unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_does_not_read_makes_the_writer_wait() {
    let (dialled, answered) = Pair::new().linked(LinkKind::Data).await;
    let (_reader, mut writer) = dialled.split();
    let piece = pattern(MIB);
    let mut written = 0;
    let stuck = async {
        loop {
            writer.data(&data(0, MIB), &piece).await.unwrap();
            written += 1;
        }
    };
    let stuck: Result<(), _> = tokio::time::timeout(Duration::from_secs(2), stuck).await;
    assert!(stuck.is_err());
    // What the two sockets hold, and no more: nothing is queued behind them.
    assert!((1..32).contains(&written), "{written} MiB were taken");
    drop(answered);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_that_is_cut_is_told_from_one_that_is_closed() {
    for kind in [LinkKind::Control, LinkKind::Data] {
        let (dialled, answered) = Pair::new().linked(kind).await;
        let (mut reader, _writer) = answered.split();
        drop(dialled);
        let error = reader.next().await.unwrap_err();
        assert!(
            matches!(error, TunnelError::CutOff | TunnelError::Io { .. }),
            "{error}"
        );
        let (dialled, answered) = Pair::new().linked(kind).await;
        let (mut reader, _writer) = answered.split();
        let (_reader, writer) = dialled.split();
        writer.close().await.unwrap();
        assert!(reader.next().await.unwrap().is_none());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frame_with_a_bad_header_ends_the_link_before_its_payload() {
    let (dialled, answered) = Pair::new().linked(LinkKind::Data).await;
    let (mut reader, _writer) = answered.split();
    let (_reader, mut writer) = dialled.split();
    writer.queue(
        &Header {
            length: u32::MAX,
            ..data(0, 0)
        }
        .encode(),
    );
    writer.flush().await.unwrap();
    let error = reader.next().await.unwrap_err();
    assert!(
        error
            .to_string()
            .contains("4294967295 bytes, allowed are 1048576"),
        "{error}"
    );
}

/// A peer that renews its keys before every mebibyte it sends, and reads as much.
fn renews_keys<D>(
    mut tls: rustls::StreamOwned<D, TcpStream>,
    role: Role,
    mebibytes: usize,
    renew: impl Fn(&mut D) -> Result<(), rustls::Error>,
) where
    rustls::StreamOwned<D, TcpStream>: Read + Write,
{
    let mut greeting = Vec::new();
    hello(role).append_to(&mut greeting);
    tls.write_all(&greeting).unwrap();
    tls.flush().unwrap();
    let mut header = [0; FRAME_HEADER_BYTES];
    tls.read_exact(&mut header).unwrap();
    let theirs = Header::decode(&header).unwrap();
    assert_eq!(theirs.frame, FrameType::Hello);
    tls.read_exact(&mut vec![0; theirs.length as usize])
        .unwrap();
    let bytes = pattern(mebibytes * MIB);
    for (i, piece) in bytes.chunks(MIB).enumerate() {
        // Asks the other end to renew its keys, too.
        renew(&mut tls.conn).unwrap();
        tls.write_all(&data(i * MIB, MIB).encode()).unwrap();
        tls.write_all(piece).unwrap();
        tls.flush().unwrap();
        let mut came = vec![0; FRAME_HEADER_BYTES + MIB];
        tls.read_exact(&mut came).unwrap();
        assert!(came[FRAME_HEADER_BYTES..] == *piece, "bytes differ");
    }
}

/// Sends back every mebibyte that comes.
async fn echo(link: Link, mebibytes: usize) {
    let (mut reader, mut writer) = link.split();
    let mut offset = 0;
    let mut piece = Vec::new();
    while offset < mebibytes * MIB {
        match reader.next().await.unwrap() {
            Some(Incoming::Data { bytes, .. }) => bytes
                .iter()
                .for_each(|bytes| piece.extend_from_slice(bytes)),
            other => panic!("{other:?}"),
        }
        if piece.len() == MIB {
            writer.data(&data(offset, MIB), &piece).await.unwrap();
            writer.flush().await.unwrap();
            offset += MIB;
            piece.clear();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_are_renewed_under_way_as_the_peer_wishes() {
    const MEBIBYTES: usize = 8;
    let pair = Pair::new();
    for kind in [LinkKind::Control, LinkKind::Data] {
        // The peer dials us.
        let (mut listener, refused) = pair.listen().await;
        let address = listener.address();
        let prepared = pair.a.client(&identity("b", "b1"), &[kind.alpn()]).unwrap();
        let peer = tokio::task::spawn_blocking(move || {
            let name = sealift_identity::TlsContext::server_name();
            let tls = rustls::ClientConnection::new(prepared.config, name).unwrap();
            let tls = rustls::StreamOwned::new(tls, TcpStream::connect(address).unwrap());
            renews_keys(tls, Role::Send, MEBIBYTES, |tls| tls.refresh_traffic_keys());
        });
        let mut link = listener.accept().await.unwrap().link;
        link.answer(&hello(Role::Receive)).await.unwrap();
        echo(link, MEBIBYTES).await;
        peer.await.unwrap();
        assert!(refused.lock().is_empty());

        // We dial the peer.
        let socket = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = socket.local_addr().unwrap().to_string();
        let prepared = pair.b.server(&[kind.alpn()]);
        let peer = tokio::task::spawn_blocking(move || {
            let tls = rustls::ServerConnection::new(prepared.config).unwrap();
            let tls = rustls::StreamOwned::new(tls, socket.accept().unwrap().0);
            renews_keys(tls, Role::Receive, MEBIBYTES, |tls| {
                tls.refresh_traffic_keys()
            });
        });
        let dialer = stage::dialer(&pair.a);
        let mut link = dialer
            .dial(&address, &identity("b", "b1"), kind)
            .await
            .unwrap();
        link.greet(&hello(Role::Send)).await.unwrap();
        echo(link, MEBIBYTES).await;
        peer.await.unwrap();
    }
}

#[tokio::test]
async fn who_comes_from_a_network_that_is_not_allowed_is_not_heard() {
    let networks = |text: &str| Networks::only(vec![text.parse().unwrap()]);
    let pair = Pair::new();
    let (listener, refused) = pair.listen_to(networks("192.0.2.0/24")).await;
    let mut stranger = TcpStream::connect(listener.address()).unwrap();
    let second = Some(Duration::from_secs(10));
    stranger.set_read_timeout(second).unwrap();
    // It is closed without a word, before anything was said.
    let heard = tokio::task::spawn_blocking(move || stranger.read(&mut [0; 64]));
    assert_eq!(heard.await.unwrap().unwrap(), 0);
    let told = std::mem::take(&mut *refused.lock());
    assert_eq!(told.len(), 1);
    assert_eq!(told[0].word(), "network_not_allowed");
    assert_eq!(told[0].reason(), Reason::PolicyDenied);

    let (mut listener, refused) = pair.listen_to(networks("127.0.0.0/8")).await;
    let address = listener.address().to_string();
    let b = identity("b", "b1");
    let dialled = async {
        let dialer = stage::dialer(&pair.a);
        let mut link = dialer.dial(&address, &b, LinkKind::Control).await.unwrap();
        link.greet(&hello(Role::Send)).await.unwrap();
    };
    let answered = async {
        let mut link = listener.accept().await.unwrap().link;
        link.answer(&hello(Role::Receive)).await.unwrap();
    };
    tokio::join!(dialled, answered);
    assert!(refused.lock().is_empty());
}

#[tokio::test]
async fn a_listener_of_an_interface_is_reached_by_it() {
    let by = |name: &str| OnInterface {
        name: name.to_owned(),
    };
    let listener = by("lo").listen("127.0.0.1:0").await.unwrap();
    let address = listener.address().unwrap();
    let (lo, text) = (by("lo"), address.to_string());
    let dialled = lo.dial(&text);
    let (dialled, accepted) = tokio::join!(dialled, listener.accept());
    assert_eq!(dialled.unwrap().peer, address);
    assert!(accepted.is_ok());
    assert!(by("none-such").listen("127.0.0.1:0").await.is_err());
}
