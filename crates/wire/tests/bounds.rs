//! What a session holds for a peer that asks for too much has an end, with the
//! limits that agents really have.

#![allow(clippy::unwrap_used, clippy::panic)]

#[allow(dead_code)]
mod two;

use std::time::Duration;

use sealift_terms::{ChangeKind, PartIndex, PartSize, Reason, limits};
use sealift_wire::*;
use two::{PART, offer, receipt};

const LINK: LinkId = LinkId(0);

fn receiver() -> ReceiveSession {
    let mut receiver = ReceiveSession::new(Limits::default());
    receiver.linked(LINK, Carries::Data);
    receiver
}

/// An OFFER frame of this number, as a sending session writes it.
fn offered(id: u64, size: u64, how: HowToOffer) -> (Header, Vec<u8>) {
    let mut sender = SendSession::new(Limits::default());
    sender.linked(LINK, Carries::Data);
    let inline = how == HowToOffer::Inline;
    sender
        .offer(offer("x", ChangeKind::Put, size, inline), how)
        .unwrap();
    let mut out = Vec::new();
    sender.next(LINK, &mut out);
    let mut header = Header::decode(&out).unwrap();
    header.number = id;
    let end = FRAME_HEADER_BYTES + header.length as usize;
    (header, out[FRAME_HEADER_BYTES..end].to_vec())
}

/// Offers an object of one part first, and has it accepted.
fn open(receiver: &mut ReceiveSession, id: u64, parts: u32) -> Result<bool, WireError> {
    let size = u64::from(PART * parts - 1);
    let (header, payload) = offered(id, size, HowToOffer::AskFirst);
    receiver.frame(LINK, &header, &payload)?;
    let have = Parts::none_of(size, PartSize::MIN).unwrap();
    Ok(receiver.accept(OfferId(id), have, u64::from(PART * parts)))
}

fn refusals(receiver: &mut ReceiveSession) -> usize {
    let mut out = Vec::new();
    receiver.take(LINK, &mut out);
    let (mut refused, mut rest) = (0, &out[..]);
    while !rest.is_empty() {
        let header = Header::decode(rest).unwrap();
        refused += usize::from(header.frame == FrameType::Refuse);
        rest = &rest[FRAME_HEADER_BYTES + header.length as usize..];
    }
    refused
}

#[test]
fn accepted_offers_of_which_nothing_comes_are_bounded_and_one_more_is_refused() {
    let mut receiver = receiver();
    let most = limits::OPEN_OFFERS_PER_SESSION_MAX as u64;
    for id in 1..=most {
        assert!(open(&mut receiver, id, 1).unwrap());
    }
    assert_eq!(refusals(&mut receiver), 0);
    assert!(!open(&mut receiver, most + 1, 1).unwrap());
    assert_eq!(refusals(&mut receiver), 1);
    assert_eq!(receiver.unfinished().count() as u64, most);
    // Whatever ends one makes room for another.
    assert!(receiver.refuse(OfferId(1), &Refusal::new(Reason::DstStoreFull, "")));
    assert!(open(&mut receiver, most + 2, 1).unwrap());
    // Small objects that come with their offers are counted otherwise.
    let (header, payload) = offered(most + 3, 0, HowToOffer::Inline);
    receiver.frame(LINK, &header, &payload).unwrap();
    assert_eq!(receiver.unfinished().count() as u64, most + 1);
}

#[test]
fn a_sending_session_waits_before_it_has_more_offers_open_than_agreed() {
    let limits = Limits {
        open_offers_max: 2,
        ..Limits::default()
    };
    let mut sender = SendSession::new(limits);
    sender.linked(LINK, Carries::Data);
    for _ in 0..5 {
        let large = offer("x", ChangeKind::Put, 70_000, false);
        sender.offer(large, HowToOffer::AskFirst).unwrap();
    }
    let offers = |sender: &mut SendSession| {
        let mut out = Vec::new();
        sender.next(LINK, &mut out);
        let mut rest = &out[..];
        let mut numbers = Vec::new();
        while !rest.is_empty() {
            let header = Header::decode(rest).unwrap();
            numbers.push(header.number);
            rest = &rest[FRAME_HEADER_BYTES + header.length as usize..];
        }
        numbers
    };
    assert_eq!(offers(&mut sender), [1, 2]);
    assert!(offers(&mut sender).is_empty());
    sender.cancel(OfferId(1), &Refusal::new(Reason::SrcObjectGone, ""));
    assert_eq!(offers(&mut sender), [1, 3], "CANCEL 1, OFFER 3");
    // Those that were open go first when a link was lost: they count already.
    sender.lost(LINK);
    sender.linked(LinkId(1), Carries::Data);
    let mut out = Vec::new();
    sender.next(LinkId(1), &mut out);
    let again = Header::decode(&out).unwrap();
    assert!([2, 3].contains(&again.number), "{again:?}");
}

#[test]
fn four_thousand_and_ninety_six_offers_without_an_answer_and_no_more() {
    let mut receiver = receiver();
    let most = limits::OFFERS_OUTSTANDING_MAX as u64;
    let (mut header, payload) = offered(1, 0, HowToOffer::Inline);
    for id in 1..=most {
        header.number = id;
        receiver.frame(LINK, &header, &payload).unwrap();
    }
    header.number = most + 1;
    let error = receiver.frame(LINK, &header, &payload).unwrap_err();
    assert!(
        error.to_string().contains("more than 4096 offers"),
        "{error}"
    );
}

#[test]
fn sixty_four_questions_without_an_answer_and_no_more() {
    let ask = |number| Header::of(FrameType::Ask, number, 0);
    let mut receiver = receiver();
    let most = limits::QUESTIONS_OUTSTANDING_MAX as u64;
    for number in 1..=most {
        receiver.frame(LINK, &ask(number), &[]).unwrap();
    }
    let mut asked = 0;
    while let Some(event) = receiver.next_event() {
        asked += u64::from(matches!(event, ReceiveEvent::Link(LinkEvent::Asked { .. })));
    }
    assert_eq!(asked, most);
    // An answer makes room for a question.
    receiver.answer(LINK, 1, b"yes");
    receiver.frame(LINK, &ask(most + 1), &[]).unwrap();
    let error = receiver.frame(LINK, &ask(most + 2), &[]).unwrap_err();
    assert!(
        error.to_string().contains("more than 64 questions"),
        "{error}"
    );

    let mut sender = SendSession::new(Limits::default());
    sender.linked(LINK, Carries::Data);
    for number in 1..=most {
        sender.frame(LINK, &ask(number), &[]).unwrap();
    }
    assert!(sender.frame(LINK, &ask(most + 1), &[]).is_err());
}

/// Sends frames that are answered, and reads no answer.
fn never_reads(mut frame: impl FnMut(u64) -> Result<(), WireError>) -> WireError {
    (1..)
        .find_map(|number| {
            assert!(number < 2_000_000, "there is no end");
            frame(number).err()
        })
        .unwrap()
}

#[test]
fn answers_do_not_pile_up_for_a_peer_that_does_not_read() {
    let ping = |number| Header::of(FrameType::Ping, number, 0);
    let mut sender = SendSession::new(Limits::default());
    sender.linked(LINK, Carries::Data);
    let error = never_reads(|number| sender.frame(LINK, &ping(number), &[]));
    assert!(error.to_string().contains("wait for it to read"), "{error}");
    let mut out = Vec::new();
    sender.next(LINK, &mut out);
    assert!(out.len() <= limits::LINK_QUEUE_BYTES_MAX + FRAME_HEADER_BYTES);

    let mut receiver = receiver();
    let error = never_reads(|number| receiver.frame(LINK, &ping(number), &[]));
    assert!(error.to_string().contains("wait for it to read"), "{error}");
    // One that is silent from then on is not waited for either.
    receiver.tick(Duration::from_secs(1));
    let jammed = ReceiveEvent::Link(LinkEvent::Jammed(LINK));
    assert_eq!(receiver.next_event(), Some(jammed));
}

#[test]
fn receipts_do_not_pile_up_for_a_peer_that_does_not_read() {
    let mut receiver = receiver();
    let (mut header, payload) = offered(1, 0, HowToOffer::Inline);
    let name = offer("x", ChangeKind::Put, 0, true).change.name;
    let error = never_reads(|number| {
        header.number = number;
        receiver.frame(LINK, &header, &payload)?;
        receiver.receipt(OfferId(number), receipt(&name, 0));
        while receiver.next_event().is_some() {}
        Ok(())
    });
    assert!(error.to_string().contains("wait for it to read"), "{error}");
}

#[test]
fn a_wish_to_drain_and_an_end_are_heard_once_however_often_they_are_said() {
    let mut receiver = receiver();
    let drain = Header::of(FrameType::Drain, 0, 0);
    for _ in 0..1000 {
        receiver.frame(LINK, &drain, &[]).unwrap();
    }
    assert!(receiver.next_event().is_some());
    assert_eq!(receiver.next_event(), None);
}

#[test]
fn parts_begun_on_a_link_are_counted_down_whatever_ends_them() {
    let mut receiver = receiver();
    let begin = |receiver: &mut ReceiveSession, id, part| {
        let header = Header::data(OfferId(id), PartIndex(part), 0, 1);
        receiver.data(LINK, &header, 0, 1)
    };
    for id in 1..=4 {
        assert!(open(&mut receiver, id, 3).unwrap());
    }
    begin(&mut receiver, 1, 0).unwrap();
    begin(&mut receiver, 2, 0).unwrap();
    assert!(begin(&mut receiver, 3, 0).is_err());
    // One offer is refused: its part counts no more.
    assert!(receiver.refuse(OfferId(1), &Refusal::new(Reason::DstStoreFull, "")));
    begin(&mut receiver, 3, 0).unwrap();
    assert!(begin(&mut receiver, 4, 0).is_err());
    // A part is stored: the same.
    let rest = Header::data(OfferId(3), PartIndex(0), 1, PART - 1);
    receiver.data(LINK, &rest, 0, PART - 1).unwrap();
    let mut out = Vec::new();
    part_end(&mut out, 3, 0);
    let header = Header::decode(&out).unwrap();
    receiver
        .frame(LINK, &header, &out[FRAME_HEADER_BYTES..])
        .unwrap();
    assert!(receiver.stored(OfferId(3), PartIndex(0)));
    begin(&mut receiver, 4, 0).unwrap();
    assert!(begin(&mut receiver, 4, 1).is_err());
}

/// PART_END `{0: 0}`.
fn part_end(out: &mut Vec<u8>, id: u64, part: u32) {
    let header = Header {
        part: PartIndex(part),
        ..Header::of(FrameType::PartEnd, id, 3)
    };
    out.extend_from_slice(&header.encode());
    out.extend_from_slice(&[0xa1, 0, 0]);
}
