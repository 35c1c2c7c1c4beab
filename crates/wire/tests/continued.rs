//! Parts that go on where a lost link left them, and what either end holds the other to.

#![allow(clippy::unwrap_used, clippy::panic)]

#[allow(dead_code, reason = "not every test uses all of it")]
mod two;

use sealift_terms::{ChangeKind, PartIndex, PartSize};
use sealift_wire::*;
use two::{PART, offer, split};

const FIRST: LinkId = LinkId(0);
const SECOND: LinkId = LinkId(1);
const SIZE: u64 = 3 * PART as u64;

/// A sender and a receiver that have agreed on an object of four parts.
fn agreed() -> (SendSession, ReceiveSession) {
    let mut sender = SendSession::new(Limits::default());
    let mut receiver = ReceiveSession::new(Limits::default());
    for link in [FIRST, SECOND] {
        sender.linked(link, Carries::Data);
        receiver.linked(link, Carries::Data);
    }
    let what = offer("x", ChangeKind::Put, SIZE, false);
    sender.offer(what, HowToOffer::AskFirst).unwrap();
    hand_over(&mut sender, &mut receiver, FIRST);
    let none = Parts::none_of(SIZE, PartSize::MIN).unwrap();
    assert!(receiver.accept(OfferId(1), none, SIZE));
    answer(&mut sender, &mut receiver, FIRST);
    (sender, receiver)
}

/// Offers that wait, from the sender to the receiver.
fn hand_over(sender: &mut SendSession, receiver: &mut ReceiveSession, link: LinkId) {
    let mut out = Vec::new();
    assert!(sender.next(link, &mut out).is_none());
    for (header, payload) in split(&mut out) {
        receiver.frame(link, &header, &payload).unwrap();
    }
}

/// Answers that wait, from the receiver to the sender; how many.
fn answer(sender: &mut SendSession, receiver: &mut ReceiveSession, link: LinkId) -> usize {
    let mut out = Vec::new();
    receiver.take(link, &mut out);
    let frames = split(&mut out);
    for (header, payload) in &frames {
        sender.frame(link, header, payload).unwrap();
    }
    frames.len()
}

fn data(part: u32, offset: u32, length: u32) -> Header {
    Header::data(OfferId(1), PartIndex(part), offset, length)
}

/// The first link is lost in the middle of part 0, both ends know, and the sender asks again.
fn lost_within_a_part() -> (SendSession, ReceiveSession) {
    let (mut sender, mut receiver) = agreed();
    let work = sender.next(FIRST, &mut Vec::new());
    assert!(matches!(work, Some(Work::Part { there: 0, .. })));
    receiver
        .data(FIRST, &data(0, 0, 30_000), 0, 30_000)
        .unwrap();
    sender.lost(FIRST);
    receiver.lost(FIRST);
    hand_over(&mut sender, &mut receiver, SECOND);
    (sender, receiver)
}

#[test]
fn an_offer_is_answered_once_it_is_known_what_is_kept_of_its_parts() {
    let (mut sender, mut receiver) = lost_within_a_part();
    let abandoned = std::iter::from_fn(|| receiver.next_event())
        .filter(|event| matches!(event, ReceiveEvent::PartAbandoned { .. }));
    assert_eq!(abandoned.count(), 1);
    assert_eq!(answer(&mut sender, &mut receiver, SECOND), 0, "not yet");
    receiver.kept(OfferId(1), PartIndex(0), Some(30_000));
    assert_eq!(answer(&mut sender, &mut receiver, SECOND), 1);
    let work = sender.next(SECOND, &mut Vec::new());
    let range = 0..u64::from(PART);
    let expected = Work::Part {
        offer: OfferId(1),
        part: PartIndex(0),
        range,
        there: 30_000,
    };
    assert_eq!(work, Some(expected));
    assert_eq!(sender.continued(), 30_000);
    // Said once, it is not offered again with the next loss: that part is another's then.
    receiver.kept(OfferId(1), PartIndex(1), Some(5));
    assert!(receiver.data(SECOND, &data(1, 5, 1), 0, 1).is_err());
}

#[test]
fn a_part_goes_on_exactly_where_it_was_left_or_begins_anew() {
    let continued = |offset: u32| {
        let (mut sender, mut receiver) = lost_within_a_part();
        receiver.kept(OfferId(1), PartIndex(0), Some(30_000));
        answer(&mut sender, &mut receiver, SECOND);
        let place = receiver.data(SECOND, &data(0, offset, 100), 0, 100)?;
        // Having begun, it goes on as any part does, and nowhere else a second time.
        let next = data(0, offset + 100, 10);
        receiver.data(SECOND, &next, 0, 10)?;
        assert!(receiver.data(SECOND, &data(0, 30_000, 1), 0, 1).is_err());
        Ok::<_, WireError>(place)
    };
    for offset in [30_000, 0] {
        let begun = Place::Part {
            offer: OfferId(1),
            part: PartIndex(0),
            offset,
            begins: true,
        };
        assert_eq!(continued(offset).unwrap(), begun);
    }
    for offset in [1, 29_999, 30_001, 60_000] {
        let error = continued(offset).unwrap_err();
        assert!(matches!(error, WireError::PeerMisbehaved(_)), "{error}");
    }
}

#[test]
fn a_part_is_not_begun_while_its_last_writer_may_still_write() {
    let (_, mut receiver) = lost_within_a_part();
    let error = receiver.data(SECOND, &data(0, 0, 100), 0, 100).unwrap_err();
    assert!(error.to_string().contains("not given up"), "{error}");
}

#[test]
fn a_receiver_that_keeps_what_an_object_has_not_is_at_fault() {
    // {0: [], 1: 196608, 3: [[part, bytes], …]}
    let accept = |begun: &[u8]| {
        let (mut sender, _) = lost_within_a_part();
        let mut payload = vec![0xa3, 0, 0x80, 1, 0x1a, 0, 3, 0, 0, 3];
        payload.extend_from_slice(begun);
        let mut header = Header::of(FrameType::Accept, 1, payload.len() as u32);
        header.part = PartIndex(2);
        sender.frame(SECOND, &header, &payload)
    };
    assert!(accept(&[0x81, 0x82, 0, 0x19, 0xff, 0xff]).is_ok());
    for wrong in [
        &[0x81, 0x82, 0, 0][..],
        &[0x81, 0x82, 0, 0x1a, 0, 1, 0, 0],
        &[0x81, 0x82, 4, 1],
        &[0x81, 0x82, 3, 1],
        &[0x82, 0x82, 0, 1, 0x82, 0, 2],
    ] {
        assert!(accept(wrong).is_err(), "{wrong:?}");
    }
}

#[test]
fn the_cut_of_an_object_is_said_once_and_stays() {
    // {0: [], 1: 196608, 2: part bytes}
    let accept = |sender: &mut SendSession, round: u32, bytes: u32| {
        let mut payload = vec![0xa3, 0, 0x80, 1, 0x1a, 0, 3, 0, 0, 2, 0x1a];
        payload.extend_from_slice(&bytes.to_be_bytes());
        let mut header = Header::of(FrameType::Accept, 1, payload.len() as u32);
        header.part = PartIndex(round);
        sender.frame(SECOND, &header, &payload)
    };
    let (mut sender, _) = lost_within_a_part();
    assert!(
        accept(&mut sender, 2, 2 * PART).is_err(),
        "it began as offered"
    );

    let mut sender = SendSession::new(Limits::default());
    sender.linked(SECOND, Carries::Data);
    let what = offer("x", ChangeKind::Put, SIZE, false);
    sender.offer(what, HowToOffer::AskFirst).unwrap();
    assert!(sender.next(SECOND, &mut Vec::new()).is_none());
    assert!(accept(&mut sender, 1, 5).is_err(), "no part size");
    accept(&mut sender, 1, 2 * PART).unwrap();
    let Some(Work::Part { range, .. }) = sender.next(SECOND, &mut Vec::new()) else {
        panic!("no part");
    };
    assert_eq!(range, 0..2 * u64::from(PART));
}

#[test]
fn a_part_size_is_the_nearest_that_the_other_end_takes() {
    let cuts = |part_bytes_min, part_bytes_max| Cuts {
        part_bytes_min,
        part_bytes_max,
    };
    let bytes = |cuts: Cuts, wanted| {
        let wanted = PartSize::new(wanted).unwrap();
        cuts.nearest(wanted).map(PartSize::bytes)
    };
    assert_eq!(bytes(Cuts::default(), 8 << 20), Some(8 << 20));
    assert_eq!(bytes(cuts(1 << 20, 4 << 20), 8 << 20), Some(4 << 20));
    assert_eq!(bytes(cuts(1 << 20, 4 << 20), 65_536), Some(1 << 20));
    assert_eq!(bytes(cuts(0, 100_000), 8 << 20), Some(98_304));
    // Whoever allows none says so: its peer keeps to what it would do without.
    assert_eq!(bytes(cuts(9 << 20, 1), 8 << 20), None);
    assert_eq!(bytes(cuts(u32::MAX, u32::MAX), 8 << 20), None);
}
