//! Streams that outlive their links.

use std::time::Duration;

use sealift_identity::Refusal;
use sealift_terms::limits::{FORWARD_HELD_TIME_MAX, FORWARD_RESUME_TIME_MAX, FORWARD_SILENT_MAX};
use sealift_wire::{
    FrameType,
    forward::{Open, Position, Token},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    time::{Instant, sleep},
};

use super::stage::{Stage, identity, pattern};
use crate::Links;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn links_that_are_cut_again_and_again_lose_nothing_and_nobody_notices() {
    let stage = Stage::new().await;
    let (client, served) = stage.connected().await;
    let (mut client_reader, mut client_writer) = client.into_split();
    let (mut served_reader, mut served_writer) = served.into_split();
    let (there, back) = (pattern(48_000_000, 5), pattern(48_000_000, 6));
    let (sent_there, sent_back) = (there.clone(), back.clone());
    let write_there = tokio::spawn(async move {
        client_writer.write_all(&sent_there).await.unwrap();
        client_writer.shutdown().await.unwrap();
    });
    let write_back = tokio::spawn(async move {
        served_writer.write_all(&sent_back).await.unwrap();
        served_writer.shutdown().await.unwrap();
    });
    let (mut came_there, mut came_back) = (Vec::new(), Vec::new());
    let cut_as_it_comes = async {
        let (mut piece, mut cut, mut next) = (vec![0; 64 * 1024], 0, 1_000_000);
        loop {
            let read = served_reader.read(&mut piece).await.unwrap();
            if read == 0 {
                return cut;
            }
            came_there.extend_from_slice(&piece[..read]);
            if came_there.len() >= next {
                cut += stage.way.cut();
                next = came_there.len() + 1_000_000;
            }
        }
    };
    let (cut, _) = tokio::join!(cut_as_it_comes, async {
        client_reader.read_to_end(&mut came_back).await.unwrap()
    });
    assert!(came_there == there && came_back == back);
    assert!(cut > 4, "{cut}");
    write_there.await.unwrap();
    write_back.await.unwrap();
    drop((client_reader, served_reader));
    stage.settled().await;
    let counts = stage.near.counts().remove(0);
    assert!(counts.moves >= 2, "{counts:?}");
    assert_eq!(counts.ended.get("in_order"), Some(&1), "{counts:?}");
    assert_eq!(stage.memory.used(), 0);
}

#[tokio::test(start_paused = true)]
async fn without_a_link_in_time_a_stream_is_closed_with_notice_and_counted() {
    let stage = Stage::new().await;
    let (mut client, mut served) = stage.connected().await;
    *stage.way.is_down.lock() = true;
    let begun = Instant::now();
    assert_eq!(stage.way.cut(), 2);
    let mut byte = [0];
    assert!(client.read(&mut byte).await.is_err(), "the client is told");
    let took = begun.elapsed();
    let second = Duration::from_secs(1);
    assert!(took >= FORWARD_RESUME_TIME_MAX && took < FORWARD_RESUME_TIME_MAX + second);
    assert!(served.read(&mut byte).await.is_err(), "the service is told");
    let took = begun.elapsed();
    assert!(took >= FORWARD_HELD_TIME_MAX && took < FORWARD_HELD_TIME_MAX + second);
    stage.settled().await;
    for counts in [stage.near.counts(), stage.way.far.counts()] {
        assert_eq!(counts[0].dropped, 1);
        assert_eq!(counts[0].ended.get("not_resumed"), Some(&1));
    }
    assert_eq!(stage.log.count("forward.closed", &["not_resumed"]), 2);
    let why = ["PeerUnreachable", "the way is down"];
    assert_eq!(stage.log.count("forward.closed", &why), 1);
}

#[tokio::test(start_paused = true)]
async fn a_stream_moves_before_its_certificates_end_and_stays_where_none_is_fresher() {
    let stage = Stage::new().await;
    *stage.way.life.lock() = Duration::from_secs(30);
    let (mut client, mut served) = stage.connected().await;
    // Nothing that is made now would live longer.
    *stage.way.life.lock() = Duration::ZERO;
    sleep(Duration::from_secs(22)).await;
    assert_eq!(stage.near.counts()[0].moves, 0);
    *stage.way.life.lock() = Duration::from_secs(300);
    sleep(Duration::from_secs(6)).await;
    let counts = stage.near.counts().remove(0);
    assert_eq!((counts.moves, counts.open), (1, 1));
    // The old link may be cut now.
    client.write_all(b"still here").await.unwrap();
    let mut heard = [0; 10];
    served.read_exact(&mut heard).await.unwrap();
    assert_eq!(&heard, b"still here");
    drop((client, served));
    stage.settled().await;
    assert_eq!(stage.near.counts()[0].dropped, 0);
}

#[tokio::test(start_paused = true)]
async fn a_link_that_falls_silent_is_left_and_silence_of_applications_is_not_that() {
    let stage = Stage::new().await;
    let (mut client, mut served) = stage.connected().await;
    sleep(Duration::from_secs(600)).await;
    assert_eq!(stage.near.counts()[0].moves, 0);
    client.write_all(b"b").await.unwrap();
    assert_eq!(served.read_u8().await.unwrap(), b'b');
    drop((client, served));
    stage.settled().await;

    *stage.way.is_silent.lock() = true;
    let mut client = stage.client().await;
    client.write_all(b"!").await.unwrap();
    let begun = Instant::now();
    sleep(Duration::from_secs(1)).await;
    // The other agent answers again, and knows of no such stream.
    *stage.way.is_silent.lock() = false;
    assert!(client.read_u8().await.is_err());
    let took = begun.elapsed();
    assert!(
        took >= FORWARD_SILENT_MAX && took < FORWARD_SILENT_MAX * 2,
        "{took:?}"
    );
    stage.settled().await;
    let closed = ["not_resumed", "no such stream"];
    assert_eq!(stage.log.count("forward.closed", &closed), 1);
}

#[tokio::test(start_paused = true)]
async fn one_certificate_that_is_revoked_ends_its_links_and_no_stream_of_its_identity() {
    let stage = Stage::new().await;
    let (mut client, mut served) = stage.connected().await;
    // The other end knows nothing of it.
    let cut = stage.way.cut_there_for(Refusal::Revoked {
        identity: identity("a", "near"),
        serial: "01".to_owned(),
    });
    assert_eq!(cut, 1);
    let begun = Instant::now();
    // Over a link with a certificate that counts.
    client.write_all(b"still here").await.unwrap();
    let mut heard = [0; 10];
    served.read_exact(&mut heard).await.unwrap();
    assert_eq!(&heard, b"still here");
    let took = begun.elapsed();
    assert!(
        took < FORWARD_SILENT_MAX,
        "the link was held on to: {took:?}"
    );
    drop((client, served));
    stage.settled().await;
    let counts = stage.near.counts().remove(0);
    assert!(counts.moves >= 1 && counts.dropped == 0, "{counts:?}");
}

/// What the far side answers to an OPEN for the stream `token`.
async fn asked(stage: &Stage, token: Token, is_new: bool) -> FrameType {
    let mut link = stage.way.link(&stage.forward.peer).await.unwrap();
    let open = Open {
        target: stage.target.name.clone(),
        token,
        is_new,
        position: Position {
            received: 0,
            window: 1000,
        },
    };
    let mut frame = Vec::new();
    open.append_to(&mut frame);
    link.say(&frame).await.unwrap();
    link.first(Duration::from_secs(5)).await.unwrap().0.frame
}

#[tokio::test]
async fn a_token_counts_for_the_identity_that_opened_the_stream_and_for_nobody_else() {
    let stage = Stage::with(|_, target| {
        target.allow.insert(identity("a", "other"));
    })
    .await;
    let token = Token([9; 16]);
    assert_eq!(asked(&stage, token, true).await, FrameType::Opened);
    assert_eq!(stage.way.far.streams(), 1);
    *stage.way.identity.lock() = identity("a", "other");
    assert_eq!(asked(&stage, token, false).await, FrameType::Refuse);
    let words = ["no such stream", "agent/other"];
    assert_eq!(stage.log.count("access.denied", &words), 1);
    *stage.way.identity.lock() = identity("a", "near");
    assert_eq!(
        asked(&stage, Token([8; 16]), false).await,
        FrameType::Refuse
    );
    assert_eq!(asked(&stage, token, true).await, FrameType::Refuse, "twice");
    assert_eq!(asked(&stage, token, false).await, FrameType::Opened);
}
