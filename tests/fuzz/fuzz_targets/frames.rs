//! One frame as it comes from the wire: its header, HELLO, and what both roles
//! make of it with an offer under way.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sealift_fuzz::script::{PART, offer};
use sealift_terms::PartIndex;
use sealift_wire::{
    Carries, FRAME_HEADER_BYTES, FrameType, Header, Hello, Limits, LinkId, OfferId, Parts,
    ReceiveSession, SendSession,
};

const LINK: LinkId = LinkId(0);

fuzz_target!(|bytes: &[u8]| {
    let Ok(header) = Header::decode(bytes) else {
        return;
    };
    assert_eq!(header.encode(), bytes[..FRAME_HEADER_BYTES]);
    assert!(header.length <= header.frame.payload_bytes_max());
    let payload = &bytes[FRAME_HEADER_BYTES..];
    // The reader of a link hands over whole payloads only; DATA has none here.
    let data = header.frame == FrameType::Data;
    let longest = header.frame.payload_bytes_max() as usize;
    let payload = &payload[..payload.len().min(if data { 0 } else { longest })];
    let length = payload.len() as u32;
    let header = Header {
        length: if data { header.length } else { length },
        ..header
    };
    if header.frame == FrameType::Hello {
        hello(&header, payload);
    }

    let mut sender = SendSession::new(Limits::default());
    let mut receiver = ReceiveSession::new(Limits::default());
    sender.linked(LINK, Carries::Data);
    receiver.linked(LINK, Carries::Data);
    let (what, how) = offer(1, 200_000, 0);
    let parts = Parts::none_of(what.bytes(), what.part_size).unwrap();
    sender.offer(what, how);
    let mut out = Vec::new();
    sender.next(LINK, &mut out);
    let first = Header::decode(&out).unwrap();
    receiver.frame(LINK, &first, &out[24..]).unwrap();
    receiver.accept(OfferId(1), parts, 200_000);

    if !data {
        let _ = sender.frame(LINK, &header, payload);
        let _ = receiver.frame(LINK, &header, payload);
    } else if receiver.data(LINK, &header, 0, header.length).is_ok() {
        assert!(header.part <= PartIndex(3) && header.length <= PART);
    }
    while sender.next_event().is_some() {}
    while receiver.next_event().is_some() {}
    while sender.next(LINK, &mut out).is_some() {}
    receiver.take(LINK, &mut out);
});

fn hello(header: &Header, payload: &[u8]) {
    if let Ok(hello) = Hello::read(header, payload) {
        let mut out = Vec::new();
        hello.append_to(&mut out);
        let header = Header::decode(&out).unwrap();
        assert_eq!(Hello::read(&header, &out[24..]).ok(), Some(hello));
    }
}
