//! A receiving session whose peer is authenticated and means ill: it never
//! panics, never lets more come than was granted, and never keeps much.
#![no_main]

use std::collections::BTreeMap;

use libfuzzer_sys::fuzz_target;
use sealift_fuzz::{
    memory::{Counting, held},
    script::{self, Script},
};
use sealift_terms::{PartIndex, Reason};
use sealift_wire::{
    Carries, FrameType, Header, Limits, LinkId, Offer, OfferId, Parts, Place, ReceiveEvent,
    ReceiveSession, Refusal, SendSession, WireError,
};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const LIMITS: Limits = Limits {
    inline_bytes_max: 100_000,
    offers_max: 8,
    parts_max: 2,
    open_offers_max: 8,
};

/// More than the session may hold for one frame or call.
const STEP_BYTES: isize = 2048;
const LINKS: u32 = 6;

fuzz_target!(|bytes: &[u8]| {
    let before = held();
    let mut script = Script(bytes);
    let mut receiver = Receiver::new();
    let mut steps = 0;
    while let Some(action) = script.byte() {
        let (went_on, frame_bytes) = receiver.step(action, &mut script);
        receiver.hear(link_of(action));
        receiver.check();
        steps += 1 + (frame_bytes as isize) / 64;
        assert!(held() - before < 64 * 1024 + steps * STEP_BYTES);
        if !went_on {
            return;
        }
    }
});

/// The link that a step is about.
fn link_of(action: u8) -> LinkId {
    LinkId(u32::from(action >> 4) % LINKS)
}

/// The session, and what it said came in.
struct Receiver {
    session: ReceiveSession,
    links: u32,
    offers: BTreeMap<OfferId, Known>,
}

struct Known {
    what: Offer,
    /// The link that its bytes come over, if they come behind the offer.
    inline_on: Option<LinkId>,
    granted: u64,
    /// Parts begun and not stored: on which link, how much came, how much will.
    open: BTreeMap<PartIndex, (LinkId, u32, u32)>,
}

impl Receiver {
    fn new() -> Self {
        let mut session = ReceiveSession::new(LIMITS);
        session.linked(LinkId(0), Carries::Control);
        session.linked(LinkId(1), Carries::Data);
        Self {
            session,
            links: 2,
            offers: BTreeMap::new(),
        }
    }

    /// One step; whether the session goes on, and the bytes of the frame if any.
    fn step(&mut self, action: u8, script: &mut Script<'_>) -> (bool, usize) {
        let link = link_of(action);
        let known = link.0 < self.links;
        let mut next = || script.byte().unwrap_or_default();
        match action & 15 {
            7 => {
                let (id, credit) = (OfferId(next().into()), u64::from(next()) * 8192);
                self.accept(id, credit);
            }
            8 => {
                let id = OfferId(next().into());
                self.session
                    .refuse(id, &Refusal::new(Reason::PolicyDenied, "no"));
                self.offers.remove(&id);
            }
            9 => {
                let (id, part) = (OfferId(next().into()), script::part(next()));
                if self.session.stored(id, part) {
                    let known = self.offers.get_mut(&id).unwrap();
                    let (_, got, bytes) = known.open.remove(&part).unwrap();
                    assert_eq!(got, bytes);
                }
            }
            10 => {
                let (id, credit) = (OfferId(next().into()), u64::from(next()) * 8192);
                self.session.credit(id, credit);
                if let Some(known) = self.offers.get_mut(&id) {
                    known.granted = known.granted.max(credit);
                }
            }
            11 => {
                let number = next();
                let id = OfferId(number.into());
                self.session.receipt(id, script::receipt(number));
                self.offers.remove(&id);
            }
            12 => self.session.take(link, &mut Vec::new()),
            13 => self
                .session
                .tick(std::time::Duration::from_secs(next().into())),
            14 if self.links < LINKS => {
                self.session.linked(LinkId(self.links), Carries::Data);
                self.links += 1;
            }
            15 => self.session.lost(link),
            6 if known => return self.offered(link, script),
            _ if known => {
                if let Some(Some((header, payload))) = script.frame() {
                    return (self.frame(link, &header, payload).is_ok(), payload.len());
                }
            }
            _ => {}
        }
        (true, 0)
    }

    fn accept(&mut self, id: OfferId, credit: u64) {
        if let Some(known) = self.offers.get_mut(&id) {
            let parts = Parts::none_of(known.what.bytes(), known.what.part_size).unwrap();
            if self.session.accept(id, parts, credit) {
                known.granted = credit;
            }
        }
    }

    /// An offer as an honest sender makes it, with a number and a round of the
    /// script's choice.
    fn offered(&mut self, link: LinkId, script: &mut Script<'_>) -> (bool, usize) {
        let (number, round) = (script.byte(), script.byte());
        let (size, how) = (script.word(), script.byte());
        let (Some(number), Some(round), Some(size), Some(how)) = (number, round, size, how) else {
            return (false, 0);
        };
        let size = u64::from(size) * if how & 8 == 8 { 7 } else { 1 };
        let (what, how) = script::offer(number, size, how);
        let mut sender = SendSession::new(Limits::default());
        sender.linked(link, Carries::Data);
        sender.offer(what, how);
        let mut out = Vec::new();
        sender.next(link, &mut out);
        let (header, payload) = script::frames_in(&out).swap_remove(0);
        let header = Header {
            number: number.into(),
            part: if header.inline {
                header.part
            } else {
                script::part(round)
            },
            ..header
        };
        let result = self.frame(link, &header, &payload);
        (result.is_ok(), payload.len())
    }

    fn frame(&mut self, link: LinkId, header: &Header, payload: &[u8]) -> Result<(), WireError> {
        if header.frame != FrameType::Data {
            return self.session.frame(link, header, payload);
        }
        // In two pieces, as a record of TLS may end anywhere.
        let first = header.length.min(1 + header.length / 3);
        let mut done = 0;
        for piece in [first, header.length - first] {
            if piece > 0 || done == 0 {
                let place = self.session.data(link, header, done, piece)?;
                self.came(link, place, piece);
            }
            done += piece;
        }
        Ok(())
    }

    fn came(&mut self, link: LinkId, place: Place, piece: u32) {
        match place {
            Place::Part {
                offer,
                part,
                offset,
                begins,
            } => {
                let known = self.offers.get_mut(&offer).unwrap();
                let bytes = known.what.part_size.part_bytes(known.what.bytes(), part);
                let bytes = bytes.unwrap();
                if begins && piece > 0 {
                    let before = known.open.insert(part, (link, offset, bytes));
                    assert!(before.is_none_or(|(_, got, _)| got == 0));
                }
                if let Some((on, got, bytes)) = known.open.get_mut(&part) {
                    assert_eq!((*on, *got), (link, offset));
                    *got += piece;
                    assert!(*got <= *bytes);
                }
            }
            Place::Inline { offer, offset } => {
                let known = &self.offers[&offer];
                assert!(u64::from(offset) + u64::from(piece) <= known.what.bytes());
            }
            Place::Nowhere => {}
        }
    }

    /// Hears what a step on `link` led to.
    fn hear(&mut self, link: LinkId) {
        while let Some(event) = self.session.next_event() {
            match event {
                ReceiveEvent::Offered {
                    offer,
                    what,
                    inline,
                } => {
                    let known = Known {
                        what: *what,
                        inline_on: inline.then_some(link),
                        granted: 0,
                        open: BTreeMap::new(),
                    };
                    assert!(self.offers.insert(offer, known).is_none());
                }
                ReceiveEvent::PartEnd {
                    offer, part, bytes, ..
                } => {
                    let known = self.offers.get_mut(&offer).unwrap();
                    let empty = (LinkId(0), 0, 0);
                    let (_, got, _) = known.open.entry(part).or_insert(empty);
                    assert_eq!(*got, bytes);
                }
                ReceiveEvent::PartAbandoned { offer, part } => {
                    let known = self.offers.get_mut(&offer);
                    let open = known.and_then(|known| known.open.remove(&part));
                    // Some of them go on, as those of which memory is left.
                    let kept = open.filter(|(_, got, bytes)| *got > 0 && got < bytes);
                    let kept = kept.map(|(_, got, _)| got).filter(|got| got % 3 > 0);
                    self.session.kept(offer, part, kept);
                }
                ReceiveEvent::Abandoned { offer } | ReceiveEvent::Cancelled { offer, .. } => {
                    assert!(self.offers.remove(&offer).is_some());
                }
                _ => {}
            }
        }
    }

    /// What the peer was granted holds.
    fn check(&self) {
        let mut on_links = BTreeMap::<LinkId, u32>::new();
        for known in self.offers.values() {
            let open = known.open.values();
            let begun: u64 = open.clone().map(|(_, _, bytes)| u64::from(*bytes)).sum();
            assert!(begun <= known.granted, "credit");
            for (link, ..) in open.filter(|(_, _, bytes)| *bytes > 0) {
                *on_links.entry(*link).or_default() += 1;
            }
        }
        assert!(on_links.values().all(|parts| *parts <= LIMITS.parts_max));
        for link in (0..self.links).map(LinkId) {
            let offers = self.offers.values();
            let inline = offers.filter(|known| known.inline_on == Some(link));
            let bytes: u64 = inline.map(|known| known.what.bytes()).sum();
            assert!(bytes <= LIMITS.inline_bytes_max, "inline credit");
        }
        let unanswered = self.offers.values().filter(|known| known.granted == 0);
        let most = LIMITS.offers_max as usize * self.links as usize;
        assert!(unanswered.count() <= most + 256, "offers");
    }
}
