//! Single frames: what goes in comes out, and what is wrong is refused by name.

#![allow(clippy::unwrap_used, clippy::panic)]

#[allow(dead_code)]
mod two;

use proptest::{collection::btree_map, option, prelude::*};
use sealift_terms::*;
use sealift_wire::*;
use two::{offer, receipt, split};

fn hello(min: u16, max: u16, role: Role) -> Hello {
    Hello {
        protocol_min: min,
        protocol_max: max,
        session: SessionId([1; 16]),
        link: 0,
        role,
        site: SiteId([2; 16]),
        site_name: SiteName::new("b1").unwrap(),
        region: Region::new("b").unwrap(),
        epoch: Epoch([3; 16]),
        commit_sequence: 4,
        clock: Timestamp::from_millis(5),
        software: "sealift/0.1.0".into(),
        limits: Limits::default(),
        policy: None,
        remembered: None,
        decompresses: None,
        cuts: None,
        key_exchange: None,
        takes: None,
    }
}

fn linked() -> (SendSession, ReceiveSession) {
    let limits = Limits::default();
    let (mut sender, mut receiver) = (SendSession::new(limits), ReceiveSession::new(limits));
    sender.linked(LinkId(0), Carries::Data);
    receiver.linked(LinkId(0), Carries::Data);
    (sender, receiver)
}

/// The one frame that a sender writes for an offer.
fn frame_of(offer: Offer, how: HowToOffer) -> (Header, Vec<u8>) {
    let (mut sender, _) = linked();
    sender.offer(offer, how).unwrap();
    let mut out = Vec::new();
    sender.next(LinkId(0), &mut out);
    split(&mut out).remove(0)
}

#[test]
fn an_older_and_a_newer_peer_speak_the_highest_common_version_or_not_at_all() {
    let ours = hello(3, 5, Role::Send);
    for (min, max, expected) in [(3, 5, 5), (1, 4, 4), (5, 9, 5), (1, 3, 3)] {
        let agreed = ours.check_answer(&hello(min, max, Role::Receive)).unwrap();
        assert_eq!(agreed.protocol, expected);
    }
    for (min, max) in [(1, 2), (6, 9)] {
        let error = ours
            .check_answer(&hello(min, max, Role::Receive))
            .unwrap_err();
        assert!(
            matches!(error, WireError::PeerIncompatible { theirs_min, .. } if theirs_min == min)
        );
        assert_eq!(error.reason(), Reason::PeerProtocolMismatch);
    }
}

#[test]
fn limits_are_the_smaller_of_both() {
    let mut theirs = hello(1, 1, Role::Receive);
    theirs.limits = Limits {
        inline_bytes_max: 5,
        offers_max: u32::MAX,
        parts_max: 1,
        open_offers_max: 7,
    };
    let agreed = hello(1, 1, Role::Send)
        .check_answer(&theirs)
        .unwrap()
        .limits;
    let ours = Limits::default();
    assert_eq!((agreed.inline_bytes_max, agreed.parts_max), (5, 1));
    assert_eq!(agreed.offers_max, ours.offers_max);
    assert_eq!(agreed.open_offers_max, 7);
}

#[test]
fn a_hello_of_another_session_link_site_or_role_is_named() {
    let ours = hello(1, 1, Role::Send);
    let change = |f: fn(&mut Hello)| {
        let mut theirs = hello(1, 1, Role::Receive);
        f(&mut theirs);
        let answer = ours.check_answer(&theirs).err().map(|e| e.to_string());
        let join = theirs
            .check_joins(&hello(1, 1, Role::Receive))
            .err()
            .map(|e| e.to_string());
        (answer.unwrap_or_default(), join.unwrap_or_default())
    };
    assert!(
        change(|h| h.session = SessionId([9; 16]))
            .0
            .contains("session")
    );
    assert!(change(|h| h.link = 1).0.contains("link"));
    assert!(change(|h| h.role = Role::Send).0.contains("role"));
    assert!(change(|h| h.site = SiteId([9; 16])).1.contains("site"));
    assert!(change(|h| h.epoch = Epoch([9; 16])).1.contains("epoch"));
    assert_eq!(change(|_| ()), (String::new(), String::new()));
}

#[test]
fn unknown_members_of_a_newer_peer_are_skipped() {
    // HELLO's map with one member more: key 99, an array of text.
    let mut out = Vec::new();
    hello(1, 1, Role::Send).append_to(&mut out);
    let mut payload = out.split_off(FRAME_HEADER_BYTES);
    assert_eq!(payload[0], 0xa0 | 13, "a map of 13");
    payload[0] += 1;
    payload.extend_from_slice(&[0x18, 99, 0x82, 0x61, b'x', 0x61, b'y']);
    let header = Header::of(FrameType::Hello, 0, payload.len() as u32);
    assert_eq!(
        Hello::read(&header, &payload).unwrap(),
        hello(1, 1, Role::Send)
    );
}

#[test]
fn bad_headers_are_refused_with_what_is_wrong() {
    let good = Header::of(FrameType::Cancel, 7, 10).encode();
    let wrong = |at: usize, byte: u8| {
        let mut bytes = good;
        bytes[at] = byte;
        Header::decode(&bytes).unwrap_err().to_string()
    };
    assert!(Header::decode(&good).is_ok());
    assert!(
        Header::decode(&good[..23])
            .unwrap_err()
            .to_string()
            .contains("24 bytes")
    );
    assert!(wrong(0, 0).contains("type 0"));
    assert!(wrong(0, 23).contains("type 23"));
    assert!(wrong(1, 1).contains("flag"));
    assert!(wrong(3, 1).contains("gap"));
    assert!(wrong(5, 1).contains("allowed are 4096"));
    assert!(wrong(16, 1).contains("part"));
    assert!(wrong(23, 1).contains("offset"));
    let mut ping = Header::of(FrameType::Drain, 0, 0).encode();
    ping[15] = 1;
    assert!(
        Header::decode(&ping)
            .unwrap_err()
            .to_string()
            .contains("number")
    );
    let empty = Header::data(OfferId(1), PartIndex(0), 0, 0).encode();
    assert!(Header::decode(&empty).is_err());
    let long = Header::data(OfferId(1), PartIndex(0), 0, limits::FRAME_BYTES_MAX + 1).encode();
    assert!(Header::decode(&long).is_err());
}

#[test]
fn offers_that_make_no_sense_are_refused() {
    let refused = |offer: Offer, inline: bool| {
        let (mut header, payload) = frame_of(offer, HowToOffer::AskFirst);
        header.inline = inline;
        let error = linked().1.frame(LinkId(0), &header, &payload).unwrap_err();
        assert!(
            matches!(error, WireError::InvalidFrame { frame: "OFFER", .. }),
            "{error}"
        );
        error.to_string()
    };
    let large = offer("x", ChangeKind::Put, 2 << 20, true);
    assert!(refused(large, true).contains("large"));
    assert!(refused(offer("x", ChangeKind::Put, 5, false), true).contains("checksum"));
    let mut huge = offer("x", ChangeKind::Put, 5, false);
    huge.change
        .facts
        .metadata
        .insert("k".into(), "v".repeat(3000));
    assert!(refused(huge, false).contains("user metadata"));
    let (header, mut payload) =
        frame_of(offer("x", ChangeKind::Put, 5, false), HowToOffer::AskFirst);
    payload.push(0);
    let error = linked().1.frame(LinkId(0), &header, &payload).unwrap_err();
    assert!(error.to_string().contains("1 bytes follow"), "{error}");
}

/// A receiver with one accepted offer of three parts and 128 KiB of credit.
fn accepted() -> (ReceiveSession, Header) {
    let (_, mut receiver) = linked();
    let (header, payload) = frame_of(
        offer("x", ChangeKind::Put, 140_000, false),
        HowToOffer::AskFirst,
    );
    receiver.frame(LinkId(0), &header, &payload).unwrap();
    let none = Parts::none_of(140_000, PartSize::MIN).unwrap();
    assert!(receiver.accept(OfferId(1), none, 131_072));
    (receiver, Header::data(OfferId(1), PartIndex(0), 0, 1000))
}

#[test]
fn data_out_of_place_is_the_peers_misbehaviour() {
    let refused = |f: fn(&mut Header)| {
        let (mut receiver, mut header) = accepted();
        f(&mut header);
        match receiver.data(LinkId(0), &header, 0, header.length) {
            Err(WireError::PeerMisbehaved(misbehaviour)) => misbehaviour,
            other => panic!("{other:?}"),
        }
    };
    assert!(matches!(
        refused(|h| h.number = 2),
        Misbehaviour::UnknownOffer { .. }
    ));
    for out_of_order in [
        refused(|h| h.part = PartIndex(3)),
        refused(|h| h.offset = 1),
        refused(|h| h.length = 65_537),
        refused(|h| (h.offset, h.length) = (u32::MAX, 1)),
    ] {
        assert!(
            matches!(out_of_order, Misbehaviour::PartOutOfOrder { .. }),
            "{out_of_order}"
        );
    }
}

#[test]
fn credit_parts_and_gaps_are_held_to_the_byte() {
    let (mut receiver, data) = accepted();
    let part = |part, offset, length| Header {
        part: PartIndex(part),
        offset,
        length,
        ..data
    };
    let mut write = |header: Header| receiver.data(LinkId(0), &header, 0, header.length);
    assert!(matches!(
        write(part(0, 0, 100)),
        Ok(Place::Part { begins: true, .. })
    ));
    assert!(matches!(
        write(part(0, 101, 1)),
        Err(WireError::PeerMisbehaved(_))
    ));
    assert!(matches!(
        write(part(0, 0, 1)),
        Err(WireError::PeerMisbehaved(_))
    ));
    assert!(write(part(1, 0, 65_536)).is_ok());
    let error = write(part(2, 0, 1)).unwrap_err();
    assert!(error.to_string().contains("parts open"), "{error}");
    let (mut receiver, _) = accepted();
    receiver.linked(LinkId(1), Carries::Data);
    assert!(receiver.data(LinkId(1), &part(0, 0, 1), 0, 1).is_ok());
    assert!(receiver.data(LinkId(1), &part(1, 0, 1), 0, 1).is_ok());
    let error = receiver.data(LinkId(0), &part(2, 0, 1), 0, 1).unwrap_err();
    assert!(
        error.to_string().contains("its credit is 131072"),
        "{error}"
    );
}

#[test]
fn small_objects_beyond_their_credit_and_too_many_offers_are_refused() {
    let limits = Limits {
        inline_bytes_max: 10,
        offers_max: 3,
        parts_max: 2,
        open_offers_max: 3,
    };
    let send = |size, count: u64| {
        let mut receiver = ReceiveSession::new(limits);
        receiver.linked(LinkId(0), Carries::Data);
        for id in 1..=count {
            let small = offer("x", ChangeKind::Put, size, true);
            let (mut header, payload) = frame_of(small, HowToOffer::Inline);
            header.number = id;
            receiver.frame(LinkId(0), &header, &payload)?;
            let data = Header::data(OfferId(id), PartIndex(0), 0, size as u32);
            receiver.data(LinkId(0), &data, 0, size as u32)?;
        }
        Ok::<_, WireError>(())
    };
    assert!(send(5, 2).is_ok() && send(1, 3).is_ok());
    assert!(
        send(5, 3)
            .unwrap_err()
            .to_string()
            .contains("more than 10 bytes")
    );
    assert!(
        send(1, 4)
            .unwrap_err()
            .to_string()
            .contains("more than 3 offers")
    );
}

#[test]
fn a_small_object_that_is_offered_again_keeps_the_credit_it_took() {
    let limits = Limits {
        inline_bytes_max: 10,
        ..Limits::default()
    };
    let mut receiver = ReceiveSession::new(limits);
    receiver.linked(LinkId(0), Carries::Data);
    let send = |receiver: &mut ReceiveSession, id| {
        let small = offer("x", ChangeKind::Put, 6, true);
        let (mut header, payload) = frame_of(small.clone(), HowToOffer::Inline);
        header.number = id;
        receiver.frame(LinkId(0), &header, &payload)?;
        let data = Header::data(OfferId(id), PartIndex(0), 0, 6);
        receiver.data(LinkId(0), &data, 0, 6)?;
        let (mut header, payload) = frame_of(small, HowToOffer::AskFirst);
        header.number = id;
        receiver.frame(LinkId(0), &header, &payload)
    };
    // The bytes that came are still kept, whatever is asked about them.
    send(&mut receiver, 1).unwrap();
    let error = send(&mut receiver, 2).unwrap_err();
    assert!(error.to_string().contains("more than 10 bytes"), "{error}");

    let mut receiver = ReceiveSession::new(limits);
    receiver.linked(LinkId(0), Carries::Data);
    for id in 1..=3 {
        send(&mut receiver, id).unwrap();
        assert!(receiver.refuse(OfferId(id), &Refusal::new(Reason::DstStoreFull, "full")));
    }
}

#[test]
fn bytes_for_an_ended_offer_go_nowhere_but_not_for_ever() {
    let (mut receiver, header) = accepted();
    assert!(receiver.refuse(OfferId(1), &Refusal::new(Reason::DstStoreFull, "full")));
    let header = Header {
        length: 60_000,
        ..header
    };
    let mut discarded = 0;
    let error = loop {
        match receiver.data(LinkId(0), &header, 0, header.length) {
            Ok(place) => assert_eq!(place, Place::Nowhere),
            Err(error) => break error,
        }
        discarded += header.length;
    };
    assert!(matches!(
        error,
        WireError::PeerMisbehaved(Misbehaviour::TooMuchDiscarded)
    ));
    assert!((131_072..=262_144).contains(&discarded), "{discarded}");
}

#[test]
fn frames_of_the_other_role_and_a_second_hello_are_refused() {
    let (mut sender, mut receiver) = linked();
    let offer = offer("x", ChangeKind::Put, 5, false);
    let (header, payload) = frame_of(offer.clone(), HowToOffer::AskFirst);
    sender.offer(offer, HowToOffer::AskFirst);
    let error = sender.frame(LinkId(0), &header, &payload).unwrap_err();
    assert!(error.to_string().contains("other role"), "{error}");
    let mut out = Vec::new();
    hello(1, 1, Role::Send).append_to(&mut out);
    let (header, payload) = split(&mut out).remove(0);
    assert!(receiver.frame(LinkId(0), &header, &payload).is_err());
    assert!(
        receiver
            .frame(LinkId(9), &Header::of(FrameType::Drain, 0, 0), &[])
            .is_err()
    );
}

#[test]
fn a_code_that_only_a_newer_peer_knows_waits_and_is_shown() {
    // REFUSE {0: "DstOnTheMoon", 1: "dust"}
    let payload = [&[0xa2, 0, 0x6c][..], b"DstOnTheMoon", &[1, 0x64], b"dust"].concat();
    let (mut sender, _) = linked();
    sender.offer(offer("x", ChangeKind::Put, 5, false), HowToOffer::AskFirst);
    let header = Header::of(FrameType::Refuse, 1, payload.len() as u32);
    sender.frame(LinkId(0), &header, &payload).unwrap();
    let Some(SendEvent::Refused { refusal, .. }) = sender.next_event() else {
        panic!()
    };
    assert_eq!(refusal.reason, Reason::PeerProtocolMismatch);
    assert!(!refusal.reason.is_permanent());
    assert_eq!(refusal.evidence.as_str(), "DstOnTheMoon: dust");
}

prop_compose! {
    fn any_offer()(
        key in "\\PC{1,200}", version in "[!-~]{1,64}", kind in 0usize..3, size in 0u64..1 << 40,
        order in any::<(u64, u64)>(), part in 4u32..4096,
        metadata in btree_map("[a-z]{1,8}", "\\PC{0,40}", 0..5),
        tags in btree_map("[a-z]{1,8}", "[a-z]{0,8}", 0..5),
        texts in (option::of("\\PC{0,40}"), option::of("\\PC{0,40}")),
        checksum in option::of(any::<u64>()), modified in option::of(any::<i64>()),
    ) -> Offer {
        let mut made = offer("x", ChangeKind::Put, size, false);
        let change = &mut made.change;
        change.name.key = ObjectKey::new(key).unwrap();
        change.name.version = VersionId::new(version).unwrap();
        change.kind = [ChangeKind::Put, ChangeKind::DeleteMarker, ChangeKind::Tags][kind];
        (change.order.clock, change.order.change) = order;
        change.facts.metadata = metadata;
        change.facts.tags = tags;
        (change.facts.content_type, change.facts.etag) = texts;
        change.facts.last_modified = modified.map(Timestamp::from_millis);
        change.facts.source_region = Some(Region::new("a").unwrap());
        made.part_size = PartSize::fitting(size, PartSize::new(part * 16_384).unwrap()).unwrap();
        made.checksum = checksum.map(Checksum::crc64nvme);
        made
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn headers_survive_a_round_trip(
        ty in 0..FrameType::ALL.len(), inline: bool, length: u32, number: u64, part: u32, offset: u32,
    ) {
        let header = Header { frame: FrameType::ALL[ty], inline, length, number, part: PartIndex(part), offset };
        if let Ok(decoded) = Header::decode(&header.encode()) {
            prop_assert_eq!(decoded, header);
        }
    }

    #[test]
    fn offers_survive_a_round_trip(made in any_offer()) {
        let (header, payload) = frame_of(made.clone(), HowToOffer::AskFirst);
        let (_, mut receiver) = linked();
        receiver.frame(LinkId(0), &header, &payload).unwrap();
        let Some(ReceiveEvent::Offered { what, .. }) = receiver.next_event() else { panic!() };
        prop_assert_eq!(*what, made);
    }

    #[test]
    fn hellos_survive_a_round_trip(
        link: u32, sequence: u64, clock: i64, versions: (u16, u16), key_exchange: Option<u8>,
    ) {
        let mut made = hello(versions.0, versions.1, Role::Receive);
        made.key_exchange = key_exchange;
        (made.link, made.commit_sequence, made.clock) = (link, sequence, Timestamp::from_millis(clock));
        let mut out = Vec::new();
        made.append_to(&mut out);
        let (header, payload) = split(&mut out).remove(0);
        prop_assert_eq!(Hello::read(&header, &payload).unwrap(), made);
    }

    #[test]
    fn answers_survive_a_round_trip(
        have in proptest::collection::btree_map(0u32..40, any::<u64>(), 0..40), credit: u64,
        evidence in "\\PC{0,2000}", after in option::of(0u64..1 << 40), sequences in proptest::collection::vec(any::<u64>(), 1..600),
    ) {
        let (mut sender, mut receiver) = linked();
        let big = offer("big", ChangeKind::Put, 39 * 65_536 + 5, false);
        let first = sender.offer(big.clone(), HowToOffer::AskFirst).unwrap();
        let refused = sender.offer(offer("no", ChangeKind::Put, 5, false), HowToOffer::AskFirst).unwrap();
        for _ in &sequences {
            sender.offer(offer("small", ChangeKind::Put, 5, false), HowToOffer::AskFirst);
        }
        let mut out = Vec::new();
        prop_assert!(sender.next(LinkId(0), &mut out).is_none());
        for (header, payload) in split(&mut out) {
            receiver.frame(LinkId(0), &header, &payload).unwrap();
        }
        let mut parts = Parts::none_of(big.bytes(), big.part_size).unwrap();
        for (part, crc64) in &have {
            parts.insert(PartIndex(*part), *crc64);
        }
        receiver.accept(first, parts, credit);
        let retry_after = after.map(std::time::Duration::from_millis);
        let refusal = Refusal { reason: Reason::DstStoreFull, evidence: Evidence::new(evidence), retry_after };
        receiver.refuse(refused, &refusal);
        let mut expected = Vec::new();
        for (i, sequence) in sequences.iter().enumerate() {
            let mut made = receipt(&offer("small", ChangeKind::Put, 5, false).change.name, 5);
            made.sequence = *sequence;
            made.signature = (i % 2 == 0).then(|| "signed".to_owned());
            made.record.0[0] = (i % 3) as u8;
            // Of some in two layers, with one outer record or another.
            made.second = (i % 4 > 0).then(|| SecondKey {
                record: RecordId([(i % 2) as u8; 16]),
                cmk: KeyId::new("key-2").unwrap(),
                cmk_version: "3".to_owned(),
            });
            expected.push((OfferId(3 + i as u64), made.clone()));
            receiver.receipt(OfferId(3 + i as u64), made);
        }
        receiver.take(LinkId(0), &mut out);
        for (header, payload) in split(&mut out) {
            sender.frame(LinkId(0), &header, &payload).unwrap();
        }
        let mut completed = Vec::new();
        while let Some(event) = sender.next_event() {
            match event {
                SendEvent::Accepted { parts, .. } => prop_assert_eq!(parts as usize, have.len()),
                SendEvent::Refused { refusal: found, .. } => prop_assert_eq!(&found, &refusal),
                SendEvent::Completed { offer, receipt } => completed.push((offer, *receipt)),
                _ => {}
            }
        }
        prop_assert_eq!(completed, expected);
    }

    #[test]
    fn garbage_never_panics(
        frames in proptest::collection::vec((0..FrameType::ALL.len(), any::<bool>(), 0u64..6, 0u32..4, prop_oneof![Just(0u32), any::<u32>()], proptest::collection::vec(any::<u8>(), 0..60)), 1..40),
        offers in 0usize..4,
    ) {
        let (mut sender, mut receiver) = linked();
        for i in 0..offers {
            let made = offer("x", ChangeKind::Put, 70_000 * i as u64, false);
            sender.offer(made.clone(), HowToOffer::AskFirst);
            let (mut header, payload) = frame_of(made, HowToOffer::AskFirst);
            header.number = i as u64 + 1;
            receiver.frame(LinkId(0), &header, &payload).unwrap();
            receiver.accept(OfferId(i as u64 + 1), Parts::none_of(70_000 * i as u64, PartSize::MIN).unwrap(), 65_536);
        }
        let mut out = Vec::new();
        sender.next(LinkId(0), &mut out);
        for (ty, inline, number, part, offset, payload) in frames {
            let header = Header { frame: FrameType::ALL[ty], inline, number, part: PartIndex(part), offset, length: payload.len() as u32 };
            let _ = Header::decode(&payload);
            let _ = sender.frame(LinkId(0), &header, &payload);
            let _ = Hello::read(&header, &payload);
            if header.frame == FrameType::Data {
                let _ = receiver.data(LinkId(0), &header, 0, header.length);
            } else {
                let _ = receiver.frame(LinkId(0), &header, &payload);
            }
            while sender.next_event().is_some() {}
            while receiver.next_event().is_some() {}
            let _ = sender.next(LinkId(0), &mut out);
            receiver.take(LinkId(0), &mut out);
        }
    }
}
