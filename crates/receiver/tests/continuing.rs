//! A part whose link is lost goes on over another one, where the receiver says.
#![allow(clippy::unwrap_used, clippy::expect_used)]

#[allow(dead_code, reason = "not every test uses all of it")]
mod stage;

use std::time::Duration;

use sealift_receiver::Patience;
use sealift_terms::PartSize;
use sealift_wire::FrameType;
use stage::{Far, MIB, Stage};

const SIZE: usize = 9 * MIB;

fn part_size() -> PartSize {
    PartSize::new(4 << 20).unwrap()
}

/// The end of an ACCEPT which says that so much of part 0 is there.
fn begun(bytes: usize) -> Vec<u8> {
    let mut said = vec![3, 0x81, 0x82, 0, 0x1a];
    said.extend_from_slice(&u32::try_from(bytes).unwrap().to_be_bytes());
    said
}

/// Sends the beginning of part 0, and waits until it came.
async fn begins(stage: &Stage, data: &mut Far, bytes: &[u8]) {
    let free = stage.budget.free();
    data.sends_all(1, 0, 0, bytes).await;
    while stage.budget.free() == free {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_part_goes_on_over_another_link_behind_what_came() {
    let stage = Stage::new(Patience::default()).await;
    let bytes = vec![7; 4 * MIB];
    let mut control = stage.link(0);
    let mut data = stage.link(1);
    control.offers(1, "large", SIZE, part_size()).await;
    control.hears(FrameType::Accept).await;
    let came = 2 * MIB + 77;
    begins(&stage, &mut data, &bytes[..came]).await;
    // The link is gone, here as there; all that was written to it arrived.
    drop(data.end_of_stream().await);
    control.offers_again(1, 2, "large", SIZE, part_size()).await;
    let (_, accept) = control.hears(FrameType::Accept).await;
    assert!(accept.ends_with(&begun(came)), "{accept:02x?}");
    let mut data = stage.link(2);
    data.sends_all(1, 0, came, &bytes[came..]).await;
    data.ends_part(1, 0, &bytes).await;
    data.hears(FrameType::PartStored).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_that_only_the_sender_lost_is_out_of_the_part_before_it_goes_on() {
    let stage = Stage::new(Patience::default()).await;
    let bytes = vec![7; 4 * MIB];
    let mut control = stage.link(0);
    let mut deaf = stage.link(1);
    control.offers(1, "large", SIZE, part_size()).await;
    control.hears(FrameType::Accept).await;
    begins(&stage, &mut deaf, &bytes[..MIB]).await;
    control.gives_up(1, 2, "large", SIZE, part_size(), 1).await;
    let (_, accept) = control.hears(FrameType::Accept).await;
    assert_eq!(
        accept.get(accept.len() - 9..accept.len() - 4),
        Some(&begun(0)[..5])
    );
    let told = accept.last_chunk().map(|last| u32::from_be_bytes(*last));
    let came = told.unwrap() as usize;
    assert!(came > 0 && came <= MIB, "{came}");
    let mut data = stage.link(2);
    data.sends_all(1, 0, came, &bytes[came..]).await;
    data.ends_part(1, 0, &bytes).await;
    data.hears(FrameType::PartStored).await;
    deaf.end().await.unwrap_err();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_session_that_is_gone_had_begun_is_offered_to_the_next_one() {
    let stage = Stage::new(Patience::default()).await;
    let bytes = vec![7; MIB - 1];
    let mut control = stage.link(0);
    let mut data = stage.link(1);
    // One that will rest in a pack: nothing of it is in any file or table.
    control.offers(1, "small", bytes.len(), part_size()).await;
    control.hears(FrameType::Accept).await;
    begins(&stage, &mut data, &bytes[..MIB / 2]).await;
    drop(data.end_of_stream().await);
    drop(control.end_of_stream().await);
    stage.session.end();

    let next = stage.again();
    let mut control = next.link(0);
    let mut data = next.link(1);
    control.offers(1, "small", bytes.len(), part_size()).await;
    let (_, accept) = control.hears(FrameType::Accept).await;
    assert!(accept.ends_with(&begun(MIB / 2)), "{accept:02x?}");
    data.sends_all(1, 0, MIB / 2, &bytes[MIB / 2..]).await;
    data.ends_part(1, 0, &bytes).await;
    data.hears(FrameType::PartStored).await;
}
