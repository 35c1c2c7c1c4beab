//! Who may have a stream, how many there are, and for how long.

use std::time::Duration;

use sealift_identity::Refusal;
use sealift_terms::Reason;
use sealift_tunnel::Timetable;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::Instant,
};

use super::stage::{Stage, held_port, identity, pattern};

/// Whether this connection was closed or reset.
async fn is_closed(mut client: TcpStream) -> bool {
    let _ = client.write_all(b"!").await;
    let mut byte = [0];
    let read = tokio::time::timeout(Duration::from_secs(10), client.read(&mut byte)).await;
    matches!(read.expect("it is let wait"), Err(_) | Ok(0))
}

#[tokio::test]
async fn an_identity_that_is_not_allowed_is_refused_and_that_is_on_record_once() {
    let stage = Stage::with(|_, target| target.allow = [identity("a", "other")].into()).await;
    for _ in 0..5 {
        assert!(is_closed(stage.client().await).await);
    }
    let refused = &stage.way.far.counts()[0].refused;
    assert_eq!(refused.get(&Reason::PolicyDenied), Some(&5));
    assert_eq!(
        stage.near.counts()[0].refused.get(&Reason::PolicyDenied),
        Some(&5)
    );
    let words = ["PolicyDenied", "service", "agent/near"];
    assert_eq!(stage.log.count("access.denied", &words), 1);
    assert_eq!(stage.log.count("forward.opened", &[]), 0);
    assert_eq!(stage.memory.used(), 0);
}

#[tokio::test]
async fn one_that_is_not_allowed_any_more_loses_its_streams() {
    let stage = Stage::new().await;
    let (mut client, mut served) = stage.connected().await;
    let mut target = stage.target.clone();
    target.allow.clear();
    stage.way.far.set_targets(vec![target]);
    let mut byte = [0];
    assert!(client.read(&mut byte).await.is_err());
    assert!(served.read(&mut byte).await.is_err());
    stage.settled().await;
    let words = ["not_allowed", "PolicyDenied"];
    assert_eq!(stage.log.count("forward.closed", &words), 1);
    assert_eq!(stage.near.counts()[0].ended.get("by_peer"), Some(&1));
}

#[tokio::test]
async fn who_is_revoked_is_told_that_its_streams_are_over_although_its_links_end_at_once() {
    let stage = Stage::new().await;
    let (mut client, mut served) = stage.connected().await;
    stage.way.far.sweep(|_| false);
    let cut = stage.way.cut_there_for(Refusal::Revoked {
        identity: identity("a", "near"),
        serial: "01".to_owned(),
    });
    assert_eq!(cut, 1);
    let mut byte = [0];
    assert!(client.read(&mut byte).await.is_err());
    assert!(served.read(&mut byte).await.is_err());
    stage.settled().await;
    // It did not look for another link first.
    let ended = &stage.near.counts()[0].ended;
    assert_eq!(ended.get("by_peer"), Some(&1), "{ended:?}");
    let ended = &stage.way.far.counts()[0].ended;
    assert_eq!(ended.get("not_allowed"), Some(&1), "{ended:?}");
}

#[tokio::test]
async fn no_more_streams_than_allowed_on_either_side_and_places_are_given_back() {
    for near_max in [2, 8] {
        let stage = Stage::with(|forward, target| {
            forward.streams_max = near_max;
            target.streams_max = 2;
        })
        .await;
        let open = [stage.connected().await, stage.connected().await];
        assert!(is_closed(stage.client().await).await);
        let side = match near_max {
            2 => stage.near.counts(),
            _ => stage.way.far.counts(),
        };
        assert_eq!(side[0].refused.get(&Reason::DstQuotaExceeded), Some(&1));
        drop(open);
        stage.settled().await;
        drop(stage.connected().await);
    }
}

#[tokio::test]
async fn without_memory_for_it_a_stream_is_refused() {
    let stage = Stage::new().await;
    let mut hoard = Vec::new();
    while let Some(lease) = stage.memory.begin() {
        hoard.push(lease);
    }
    assert!(is_closed(stage.client().await).await);
    hoard.clear();
    drop(stage.connected().await);
    stage.settled().await;
}

#[tokio::test]
async fn without_an_audit_log_there_is_no_stream() {
    let stage = Stage::new().await;
    *stage.log.is_broken.lock() = true;
    assert!(is_closed(stage.client().await).await);
    assert_eq!(stage.way.far.counts()[0].opened, 0);
    *stage.log.is_broken.lock() = false;
    // It was tried, and nothing came.
    let (mut tried, _) = stage.service.accept().await.unwrap();
    assert!(!matches!(tried.read(&mut [0]).await, Ok(1..)));
    drop(stage.connected().await);
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_carries_nothing_for_too_long_is_closed() {
    let idle = Duration::from_secs(30);
    let stage = Stage::with(|forward, _| forward.idle = idle).await;
    let (mut client, mut served) = stage.connected().await;
    tokio::time::sleep(idle / 2).await;
    served.write_all(b".").await.unwrap();
    assert_eq!(client.read_u8().await.unwrap(), b'.');
    let begun = Instant::now();
    let mut byte = [0];
    assert!(client.read(&mut byte).await.is_err());
    let took = begun.elapsed();
    assert!(
        took >= idle && took < idle + Duration::from_secs(5),
        "{took:?}"
    );
    assert!(served.read(&mut byte).await.is_err());
    stage.settled().await;
    assert_eq!(stage.near.counts()[0].ended.get("idle"), Some(&1));
}

#[tokio::test]
async fn a_target_that_does_not_answer_is_said_to_be_it() {
    // Nobody listens there, and nobody else comes to.
    let gone = held_port();
    let stage = Stage::with(|_, target| {
        target.address = crate::Address::Tcp(gone.local_addr().unwrap().to_string());
    })
    .await;
    assert!(is_closed(stage.client().await).await);
    let refused = &stage.near.counts()[0].refused;
    assert_eq!(refused.get(&Reason::PeerUnreachable), Some(&1));
    let words = ["target service", "refused"];
    assert_eq!(stage.log.count("access.denied", &words), 1);
}

#[tokio::test]
async fn an_agent_that_stops_closes_what_is_open_with_notice() {
    let stage = Stage::new().await;
    let (mut client, _served) = stage.connected().await;
    stage.near.close();
    tokio::time::sleep(Duration::from_millis(50)).await;
    let crate::Address::Tcp(address) = &stage.forward.listen else {
        panic!()
    };
    assert!(TcpStream::connect(address).await.is_err());
    client.write_all(b"goes on").await.unwrap();
    stage.near.end_all();
    let mut byte = [0];
    assert!(client.read(&mut byte).await.is_err());
    stage.settled().await;
    assert_eq!(stage.near.counts()[0].ended.get("stopping"), Some(&1));
    assert_eq!(stage.way.far.counts()[0].ended.get("by_peer"), Some(&1));
}

#[tokio::test]
async fn a_forward_that_is_taken_out_closes_its_streams_and_its_socket_and_others_stay() {
    let stage = Stage::new().await;
    let (mut client, _served) = stage.connected().await;
    let same = stage
        .near
        .prepare(std::slice::from_ref(&stage.forward))
        .await;
    stage.near.put_in_force(same.unwrap());
    client.write_all(b"stays").await.unwrap();
    assert_eq!(stage.near.streams(), 1);
    let none = stage.near.prepare(&[]).await.unwrap();
    stage.near.put_in_force(none);
    let mut byte = [0];
    assert!(client.read(&mut byte).await.is_err());
    stage.settled().await;
    assert_eq!(stage.near.counts()[0].ended.get("removed"), Some(&1));
}

#[tokio::test]
async fn the_limit_of_a_peer_holds_for_its_streams_and_can_be_taken_away() {
    let stage = Stage::new().await;
    let (rate, bytes) = (4 << 20, 64 << 20);
    stage.way.pace.set(Timetable::new(Some(rate), &[]).unwrap());
    let (mut client, mut served) = stage.connected().await;
    let sent = pattern(bytes, 9);
    let begun = Instant::now();
    let sending = tokio::spawn(async move {
        client.write_all(&sent).await.unwrap();
        (client, sent)
    });
    let mut heard = vec![0; bytes];
    let (first, rest) = heard.split_at_mut(4 << 20);
    served.read_exact(first).await.unwrap();
    let taken = begun.elapsed().as_secs_f64();
    // What may leave at once after a rest is a tenth of a second's.
    assert!(taken >= 0.85, "{taken} s for one second's bytes");
    stage.way.pace.set(Timetable::default());
    let begun = Instant::now();
    served.read_exact(rest).await.unwrap();
    let taken = begun.elapsed();
    assert!(taken < Duration::from_secs(12), "{taken:?} for 15 seconds'");
    let (client, sent) = sending.await.unwrap();
    assert!(heard == sent);
    drop((client, served));
    stage.settled().await;
}

#[tokio::test]
async fn a_window_grows_with_what_comes_and_stays_small_for_what_carries_little() {
    let stage = Stage::new().await;
    let (mut client, mut served) = stage.connected().await;
    let least = stage.memory.used();
    for _ in 0..200 {
        client.write_all(&[7; 200]).await.unwrap();
        served.read_exact(&mut [0; 200]).await.unwrap();
        tokio::time::sleep(Duration::from_millis(4)).await;
    }
    assert_eq!(stage.memory.used(), least);
    let sending = tokio::spawn(async move {
        client.write_all(&pattern(32 << 20, 3)).await.unwrap();
        client
    });
    let mut most = 0;
    for _ in 0..32 {
        served.read_exact(&mut vec![0; 1 << 20]).await.unwrap();
        most = most.max(stage.memory.used());
    }
    // An eighth of all for the window, which is what one direction may have.
    assert!(most >= least + (1 << 20), "{most} of {least}");
    drop((sending.await.unwrap(), served));
    stage.settled().await;
    assert_eq!(stage.memory.used(), 0);
}
