//! The examples of `docs/protocol.md` are what is really sent.

#![allow(clippy::unwrap_used, clippy::panic)]

#[allow(dead_code)]
mod two;

use sealift_terms::*;
use sealift_wire::{checksum::crc64, *};
use two::offer;

const DOCUMENT: &str = include_str!("../../../docs/protocol.md");

/// A frame as the document writes it: header, then payload, 16 bytes a line.
fn written(frame: &[u8]) -> String {
    let hex = |bytes: &[u8]| {
        bytes
            .iter()
            .map(|b| format!("{b:02x}"))
            .collect::<Vec<_>>()
            .join(" ")
    };
    let (header, payload) = frame.split_at(FRAME_HEADER_BYTES);
    let lines = header.chunks(8).map(hex).collect::<Vec<_>>().join("  ");
    payload
        .chunks(24)
        .map(hex)
        .fold(lines, |text, line| text + "\n" + &line)
}

fn assert_documented(name: &str, frame: &[u8]) {
    let text = written(frame);
    assert!(
        DOCUMENT.contains(&text),
        "the example of {name} should read:\n{text}"
    );
}

fn small() -> Offer {
    let mut small = offer("a", ChangeKind::Put, 3, true);
    small.checksum = Some(Checksum::crc64nvme(crc64(b"abc")));
    small
}

#[test]
fn every_example_is_what_is_sent() {
    let (mut sender, mut receiver) = (
        SendSession::new(Limits::default()),
        ReceiveSession::new(Limits::default()),
    );
    sender.linked(LinkId(0), Carries::Data);
    receiver.linked(LinkId(0), Carries::Data);
    sender.offer(small(), HowToOffer::AskFirst).unwrap();
    let mut asked = Vec::new();
    sender.next(LinkId(0), &mut asked);
    assert_documented("OFFER", &asked);

    let header = Header::decode(&asked).unwrap();
    receiver
        .frame(LinkId(0), &header, &asked[FRAME_HEADER_BYTES..])
        .unwrap();
    receiver.accept(
        OfferId(1),
        Parts::none_of(3, PartSize::MIN).unwrap(),
        65_536,
    );
    let mut accept = Vec::new();
    receiver.take(LinkId(0), &mut accept);
    assert_documented("ACCEPT", &accept);

    let header = Header::decode(&accept).unwrap();
    sender
        .frame(LinkId(0), &header, &accept[FRAME_HEADER_BYTES..])
        .unwrap();
    let mut out = Vec::new();
    assert!(matches!(
        sender.next(LinkId(0), &mut out),
        Some(Work::Part { .. })
    ));
    let mut data = Header::data(OfferId(1), PartIndex(0), 0, 3)
        .encode()
        .to_vec();
    data.extend_from_slice(b"abc");
    assert_documented("DATA", &data);
    sender.part_sent(LinkId(0), OfferId(1), PartIndex(0), crc64(b"abc"), &mut out);
    assert_documented("PART_END", &out);
    out.clear();
    sender.commit(OfferId(1), &Checksum::crc64nvme(crc64(b"abc")));
    sender.next(LinkId(0), &mut out);
    assert_documented("COMMIT", &out);
}

#[test]
fn the_stream_of_the_example_is_opened_so() {
    let open = forward::Open {
        target: ForwardName::new("postgres").unwrap(),
        token: forward::Token([0x11; 16]),
        is_new: true,
        position: forward::Position {
            received: 0,
            window: 65_536,
        },
    };
    let mut out = Vec::new();
    open.append_to(&mut out);
    assert_documented("OPEN", &out);
    out.clear();
    forward::opened(open.position, &mut out);
    assert_documented("OPENED", &out);
}

#[test]
fn the_hello_of_the_example_is_what_is_sent() {
    let hello = Hello {
        protocol_min: 1,
        protocol_max: 1,
        session: SessionId([0x11; 16]),
        link: 0,
        role: Role::Send,
        site: SiteId([0x22; 16]),
        site_name: SiteName::new("a1").unwrap(),
        region: Region::new("eu-west").unwrap(),
        epoch: Epoch([0x33; 16]),
        commit_sequence: 0,
        clock: Timestamp::from_millis(1_800_000_000_000),
        software: "sealift/0.1.0".into(),
        limits: Limits::default(),
        policy: None,
        remembered: None,
        decompresses: None,
        cuts: None,
        key_exchange: None,
        takes: None,
    };
    let mut out = Vec::new();
    hello.append_to(&mut out);
    assert_documented("HELLO", &out);
}

#[test]
fn every_frame_type_and_its_limit_stand_in_the_table() {
    for frame in FrameType::ALL {
        let row = format!(
            "| {} | {} | {} |",
            *frame as u8,
            frame.as_str(),
            frame.payload_bytes_max()
        );
        assert!(DOCUMENT.contains(&row), "{row}");
    }
}
