//! A sending session whose peer is authenticated and means ill: it never panics,
//! never sends what was not granted or is not there, and never keeps much.
#![no_main]

use std::collections::BTreeMap;

use libfuzzer_sys::fuzz_target;
use sealift_fuzz::{
    memory::{Counting, held},
    script::{self, Script},
};
use sealift_terms::{Checksum, PartIndex, Reason};
use sealift_wire::{
    Carries, FrameType, Header, Limits, LinkId, OfferId, Parts, ReceiveSession, Refusal, SendEvent,
    SendSession, Work,
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
    let mut sender = Sender::new();
    let mut steps = 0;
    while let Some(action) = script.byte() {
        let (went_on, frame_bytes) = sender.step(action, &mut script);
        sender.hear();
        steps += 1 + (frame_bytes as isize) / 64;
        assert!(held() - before < 64 * 1024 + steps * STEP_BYTES);
        if !went_on {
            return;
        }
    }
});

struct Sender {
    session: SendSession,
    links: u32,
    offers: BTreeMap<OfferId, Made>,
}

struct Made {
    size: u64,
    /// The most that was granted; none once a frame of the script's own granted more.
    granted: Option<u64>,
    flying: BTreeMap<PartIndex, (LinkId, u64)>,
}

impl Sender {
    fn new() -> Self {
        let mut session = SendSession::new(LIMITS);
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
        let link = LinkId(u32::from(action >> 4) % LINKS);
        let known = link.0 < self.links;
        let mut next = || script.byte().unwrap_or_default();
        match action & 15 {
            5 if known => return (self.accepted(link, next(), next(), next()), 0),
            6 if self.offers.len() < 255 => {
                let (size, how) = (u64::from(next()) * 2048, next());
                let number = self.offers.len() as u8 + 1;
                let (what, how) = script::offer(number, size, how);
                let made = Made {
                    size: what.bytes(),
                    granted: Some(0),
                    flying: BTreeMap::new(),
                };
                if let Some(id) = self.session.offer(what, how) {
                    self.offers.insert(id, made);
                }
            }
            7 if known => self.carry(link),
            8 if known => {
                let (id, part) = (OfferId(next().into()), script::part(next()));
                if self.session.wants(link, id, part) {
                    let mut out = Vec::new();
                    self.session.part_sent(link, id, part, 0, &mut out);
                    script::frames_in(&out);
                }
            }
            10 => {
                let refusal = Refusal::new(Reason::PolicyDenied, "no");
                self.session.cancel(OfferId(next().into()), &refusal);
            }
            12 => {
                self.session.question(link, &[1]);
            }
            13 => self
                .session
                .tick(std::time::Duration::from_secs(next().into())),
            14 if self.links < LINKS => {
                self.session.linked(LinkId(self.links), Carries::Data);
                self.links += 1;
            }
            15 => {
                self.session.lost(link);
                for made in self.offers.values_mut() {
                    made.flying.retain(|_, (on, _)| *on != link);
                }
            }
            _ if known => {
                if let Some(Some((header, payload))) = script.frame() {
                    return (self.frame(link, &header, payload), payload.len());
                }
            }
            _ => {}
        }
        (true, 0)
    }

    fn frame(&mut self, link: LinkId, header: &Header, payload: &[u8]) -> bool {
        if header.frame == FrameType::Data {
            return true;
        }
        if matches!(header.frame, FrameType::Accept | FrameType::Credit)
            && let Some(made) = self.offers.get_mut(&header.offer())
        {
            made.granted = None;
        }
        self.session.frame(link, header, payload).is_ok()
    }

    /// An ACCEPT as an honest receiver makes it.
    fn accepted(&mut self, link: LinkId, number: u8, have: u8, credit: u8) -> bool {
        let id = OfferId(number.into());
        let Some(made) = self.offers.get_mut(&id) else {
            return true;
        };
        let (what, _) = script::offer(number, made.size, 0);
        let mut parts = Parts::none_of(what.bytes(), what.part_size).unwrap();
        for at in 0..have & 7 {
            parts.insert(script::part(at), 0);
        }
        let mut sender = SendSession::new(Limits::default());
        let mut receiver = ReceiveSession::new(Limits::default());
        sender.linked(link, Carries::Data);
        receiver.linked(link, Carries::Data);
        sender.offer(what, sealift_wire::HowToOffer::AskFirst);
        let mut out = Vec::new();
        sender.next(link, &mut out);
        let (header, payload) = script::frames_in(&out).swap_remove(0);
        receiver.frame(link, &header, &payload).unwrap();
        let credit = u64::from(credit) * 8192;
        receiver.accept(OfferId(1), parts, credit);
        out.clear();
        receiver.take(link, &mut out);
        let (header, payload) = script::frames_in(&out).swap_remove(0);
        made.granted = made.granted.map(|granted| granted.max(credit));
        let header = Header {
            number: number.into(),
            // The round stands where the part does; its upper bits are free here.
            part: script::part(1 + (have >> 4)),
            ..header
        };
        self.session.frame(link, &header, &payload).is_ok()
    }

    fn carry(&mut self, link: LinkId) {
        let mut out = Vec::new();
        let work = self.session.next(link, &mut out);
        match work {
            Some(Work::Inline { offer, bytes }) => {
                assert_eq!(u64::from(bytes), self.offers[&offer].size);
            }
            Some(Work::Part {
                offer,
                part,
                range,
                there,
            }) => {
                assert!(u64::from(there) <= range.end - range.start);
                let made = self.offers.get_mut(&offer).unwrap();
                let begin = u64::from(part.0) * u64::from(script::PART);
                assert_eq!(range.start, begin);
                assert!(range.end <= made.size && range.end - begin <= script::PART.into());
                made.flying.insert(part, (link, range.end - begin));
                let begun: u64 = made.flying.values().map(|(_, bytes)| bytes).sum();
                assert!(made.granted.is_none_or(|granted| begun <= granted));
                let on_link = |made: &Made| {
                    let flying = made.flying.values();
                    flying.filter(|(on, _)| *on == link).count()
                };
                let parts: usize = self.offers.values().map(on_link).sum();
                assert!(parts <= LIMITS.parts_max as usize);
            }
            None => {}
        }
    }

    fn hear(&mut self) {
        while let Some(event) = self.session.next_event() {
            match event {
                SendEvent::PartStored { offer, part, .. } => {
                    if let Some(made) = self.offers.get_mut(&offer) {
                        made.flying.remove(&part);
                    }
                }
                SendEvent::AllSent { offer, .. } => {
                    self.session.commit(offer, &Checksum::crc64nvme(0));
                }
                SendEvent::Completed { offer, .. } | SendEvent::Refused { offer, .. } => {
                    if let Some(made) = self.offers.get_mut(&offer) {
                        made.flying.clear();
                    }
                }
                _ => {}
            }
        }
    }
}
