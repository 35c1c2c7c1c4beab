//! Compressed frames: taken where they were agreed on, and no more than they announce.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

#[allow(dead_code)]
mod stage;

use sealift_receiver::{Patience, ReceiverError};
use sealift_terms::{PartIndex, PartSize, Reason};
use sealift_wire::{FrameType, Header, OfferId, Packer, checksum::crc64};
use stage::{Far, MIB, Stage};

fn part_size() -> PartSize {
    PartSize::new(4 << 20).unwrap()
}

/// Two links of a session in which an object of three mebibytes is wanted.
async fn wanted(packs: bool) -> (Stage, Far, Far) {
    let stage = Stage::new(Patience::default()).await;
    stage.session.let_pack(packs);
    let (mut control, data) = (stage.link(0), stage.link(1));
    control.offers(1, "object", 3 * MIB, part_size()).await;
    control.hears(FrameType::Accept).await;
    (stage, control, data)
}

fn packed(plain: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    assert!(Packer::new().unwrap().pack(plain, &mut out));
    out
}

fn header(offset: usize) -> Header {
    Header::data(OfferId(1), PartIndex(0), offset as u32, 0).packed(0)
}

/// That the session ends, says why to the peer and in its own error.
async fn ends(mut data: Far, why: &str) {
    let (_, close) = data.hears(FrameType::Close).await;
    let close = String::from_utf8_lossy(&close).into_owned();
    assert!(close.contains("PeerProtocolMismatch"), "{close}");
    let error = data.end().await.unwrap_err();
    assert_eq!(error.reason(), Reason::PeerProtocolMismatch);
    assert!(matches!(error, ReceiverError::PeerMisbehaved(_)), "{error}");
    assert!(error.to_string().contains(why), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn compressed_and_plain_frames_make_one_part() {
    let (_stage, _control, mut data) = wanted(true).await;
    let bytes: Vec<u8> = (0..3 * MIB).map(|n| (n / 1000) as u8).collect();
    data.says(header(0), &packed(&bytes[..MIB])).await;
    data.sends(1, 0, MIB, &bytes[MIB..2 * MIB]).await;
    data.says(header(2 * MIB), &packed(&bytes[2 * MIB..])).await;
    let end = [&[0xa1, 0, 0x1b], &crc64(&bytes).to_be_bytes()[..]].concat();
    data.says(Header::of(FrameType::PartEnd, 1, 0), &end).await;
    // Its checksum is that of the plain bytes.
    data.hears(FrameType::PartStored).await;
    assert!(data.runs());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_compressed_frame_that_was_not_agreed_on_ends_the_session() {
    let (_stage, _control, mut data) = wanted(false).await;
    data.says(header(0), &packed(&vec![7; MIB])).await;
    ends(data, "PACKED").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bomb_ends_the_session() {
    let (_stage, _control, mut data) = wanted(true).await;
    let mut bomb = packed(&vec![0; MIB]);
    bomb[..4].copy_from_slice(&1000_u32.to_be_bytes());
    data.says(header(0), &bomb).await;
    ends(data, "more bytes than it says").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn compressed_bytes_have_to_be_in_their_place_like_others() {
    let (_stage, _control, mut data) = wanted(true).await;
    // Beyond the end of the part, by the bytes in it.
    data.says(header(2 * MIB + 1), &packed(&vec![0; MIB])).await;
    ends(data, "part 0").await;
}
