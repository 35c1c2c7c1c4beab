//! A peer that sends rubbish, too much or too slowly costs itself, and no other.
#![allow(clippy::unwrap_used, clippy::expect_used)]

#[allow(dead_code, reason = "not every test uses all of it")]
mod stage;

use std::time::Duration;

use sealift_receiver::{Patience, ReceiverError};
use sealift_terms::PartSize;
use sealift_wire::{FrameType, Header};
use stage::{MIB, Stage, TIME_MAX};

fn part_size() -> PartSize {
    PartSize::new(4 << 20).unwrap()
}

/// Ticks of 20 ms: what takes a minute takes a bit more than a second.
fn hasty() -> Patience {
    Patience {
        tick: Duration::from_millis(20),
        ..Patience::default()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_part_that_does_not_come_is_given_up_and_its_memory_is_free() {
    let stage = Stage::new(hasty()).await;
    let mut control = stage.link(0);
    let mut data = stage.link(1);
    control.offers(1, "slow", 9 * MIB, part_size()).await;
    control.hears(FrameType::Accept).await;
    let free = stage.budget.free();
    let begun = tokio::time::Instant::now();
    data.sends(1, 0, 0, b"the first bytes, and then").await;
    let taken = async {
        while stage.budget.free() == free {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(TIME_MAX, taken).await.unwrap();
    // It shows that it lives, and sends a byte now and then.
    let alive = async {
        for offset in 25.. {
            data.sends(1, 0, offset, b".").await;
            data.says(Header::of(FrameType::Ping, 7, 0), &[]).await;
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    let refused = tokio::select! {
        () = alive => unreachable!(),
        (_, why) = control.hears(FrameType::Refuse) => String::from_utf8_lossy(&why).into_owned(),
    };
    assert!(refused.contains("PeerUnreachable"), "{refused}");
    assert!(refused.contains("65536 bytes"), "{refused}");
    assert!(begun.elapsed() > Duration::from_secs(1));
    let given_back = async {
        while stage.budget.free() < free {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(TIME_MAX, given_back).await.unwrap();
    // The session goes on: another object arrives on the same links.
    let bytes = vec![7; 3 * MIB];
    control.offers(2, "other", bytes.len(), part_size()).await;
    control.hears(FrameType::Accept).await;
    data.sends_part(2, 0, &bytes).await;
    data.hears(FrameType::PartStored).await;
    assert!(control.runs() && data.runs());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_part_for_which_there_is_no_memory_is_refused_in_time_and_comes_later() {
    let patience = Patience {
        lease: Duration::from_millis(300),
        ..hasty()
    };
    let stage = Stage::new(patience).await;
    let mut control = stage.link(0);
    let mut data = stage.link(1);
    control.offers(1, "large", 9 * MIB, part_size()).await;
    control.hears(FrameType::Accept).await;
    let all = stage.budget.take(usize::MAX).await;
    data.sends(1, 0, 0, b"x").await;
    let (_, why) = control.hears(FrameType::Refuse).await;
    let why = String::from_utf8_lossy(&why).into_owned();
    assert!(why.contains("DstQuotaExceeded"), "{why}");
    drop(all);
    let bytes = vec![7; 3 * MIB];
    control.offers(2, "again", bytes.len(), part_size()).await;
    control.hears(FrameType::Accept).await;
    data.sends_part(2, 0, &bytes).await;
    data.hears(FrameType::PartStored).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn credit_is_lowered_when_memory_runs_short_and_raised_when_it_is_back() {
    let stage = Stage::new(hasty()).await;
    let mut control = stage.link(0);
    control.offers(1, "large", 900 * MIB, part_size()).await;
    let (_, accept) = control.hears(FrameType::Accept).await;
    let credit =
        |payload: &[u8]| u32::from_be_bytes(payload[payload.len() - 4..].try_into().unwrap());
    let part = 4 * MIB as u32;
    assert_eq!(
        credit(&accept),
        16 * part,
        "half of 64 MiB, at most 16 parts"
    );
    // Others' parts take the memory: their store is slow.
    let others = stage.budget.take(60 * MIB).await;
    let (_, lowered) = control.hears(FrameType::Credit).await;
    assert_eq!(credit(&lowered), 2 * part);
    drop(others);
    let (_, raised) = control.hears(FrameType::Credit).await;
    assert_eq!(credit(&raised), 16 * part);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_does_not_read_is_ended_with_its_session_and_holds_up_no_link() {
    let stage = Stage::new(hasty()).await;
    let mut control = stage.link(0);
    let mut deaf = stage.link(1);
    let mut data = stage.link(2);
    // PONGs fill the pipe to the one that does not read them.
    let ping = Header::of(FrameType::Ping, 1, 0).encode();
    deaf.floods(&ping.repeat(64), Duration::from_millis(500))
        .await;
    let bytes = vec![7; 3 * MIB];
    control.offers(1, "other", bytes.len(), part_size()).await;
    control.hears(FrameType::Accept).await;
    data.sends_part(1, 0, &bytes).await;
    data.hears(FrameType::PartStored).await;
    assert!(deaf.runs());
    stage.session.end();
    for link in [control, deaf, data] {
        link.end().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_that_falls_silent_ends_alone() {
    // A minute passes in three seconds.
    let patience = Patience {
        pace: 20,
        ..hasty()
    };
    let stage = Stage::new(patience).await;
    let begun = tokio::time::Instant::now();
    let mut control = stage.link(0);
    let silent = stage.link(1);
    let mut data = stage.link(2);
    while silent.runs() {
        for alive in [&mut control, &mut data] {
            alive.says(Header::of(FrameType::Ping, 7, 0), &[]).await;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert!(begun.elapsed() < TIME_MAX, "it is waited for");
    }
    let end = silent.end().await;
    assert!(matches!(end, Err(ReceiverError::PeerSilent)), "{end:?}");
    assert!(begun.elapsed() > Duration::from_secs(2));
    control.offers(1, "k", 3 * MIB, part_size()).await;
    control.hears(FrameType::Accept).await;
    data.sends_part(1, 0, &vec![7; 3 * MIB]).await;
    data.hears(FrameType::PartStored).await;
    assert!(control.runs() && data.runs());
}

#[tokio::test(flavor = "multi_thread")]
async fn rubbish_ends_the_session_and_is_said_to_be_the_peers_fault() {
    let stage = Stage::new(hasty()).await;
    let control = stage.link(0);
    let mut data = stage.link(1);
    data.says(Header::of(FrameType::Receipts, 0, 0), &[0xa0])
        .await;
    let end = data.end().await;
    assert!(
        matches!(end, Err(ReceiverError::PeerMisbehaved(_))),
        "{end:?}"
    );
    control.end().await.unwrap();
    let (reason, evidence) = stage.session.fault().unwrap();
    assert_eq!(reason.as_str(), "PeerProtocolMismatch");
    assert!(evidence.contains("link 1"), "{evidence}");
}
