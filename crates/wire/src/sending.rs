//! The sending side of a session: which offer, part or commit goes out next.
//!
//! ```text
//!           offer()                 ACCEPT              last part sent, commit()      receipt
//!   ──▶ waiting ──OFFER──▶ offered ───────▶ accepted ─────────COMMIT──────▶ committing ──▶ Completed
//!        ▲   │ inline: OFFER and DATA              │                            │
//!        │   └──────────▶ committing               │                            │
//!        └──────── its link is lost: ask again, never inline, keep what is stored
//! ```

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    ops::Range,
    time::Duration,
};

use sealift_terms::{Checksum, PartIndex, Receipt};

use crate::{
    body::{
        AcceptBody, Close, CommitBody, CreditBody, Offer, OfferBody, PartEndBody, Refusal,
        RefusalBody,
    },
    cbor,
    error::{Misbehaviour, WireError},
    header::{FrameType, Header, OfferId},
    hello::Limits,
    links::{Carries, Frame, LinkEvent, LinkId, Links},
    parts::Parts,
    receipts,
};

/// Whether the bytes of a small object follow its offer at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HowToOffer {
    /// Send it with the offer, if it [fits](Offer::fits_inline): no round trip.
    Inline,
    /// Ask first: it is large, or it may be there already.
    AskFirst,
}

/// What a link is to carry now, behind the frames that [`SendSession::next`]
/// appended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Work {
    /// Write these bytes of the object: OFFER and the header of its one DATA
    /// frame were appended already.
    Inline {
        /// Which offer.
        offer: OfferId,
        /// All bytes of the object.
        bytes: u32,
    },
    /// Write this range of the object as DATA frames ([`Header::data`]), then
    /// call [`SendSession::part_sent`].
    Part {
        /// Which offer.
        offer: OfferId,
        /// Which part.
        part: PartIndex,
        /// Its bytes within the object; empty for an empty last part.
        range: Range<u64>,
    },
}

/// What the driver of a sending session must know.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum SendEvent {
    /// The object is wanted.
    Accepted {
        /// Which offer.
        offer: OfferId,
        /// How many of its parts are there already.
        parts: u32,
    },
    /// The peer stored a part.
    PartStored {
        /// Which offer.
        offer: OfferId,
        /// Which part.
        part: PartIndex,
        /// Its length in bytes.
        bytes: u32,
    },
    /// Every part is sent. If the source has not changed, and the checksum is the
    /// one it should be, call [`SendSession::commit`]; otherwise
    /// [`SendSession::cancel`]. Comes again when parts had to be sent again.
    AllSent {
        /// Which offer.
        offer: OfferId,
        /// The checksum over all parts, those of earlier tries included.
        checksum: Checksum,
    },
    /// The object is durable at the peer. The offer is over.
    Completed {
        /// Which offer.
        offer: OfferId,
        /// What the peer stored.
        receipt: Box<Receipt>,
    },
    /// The peer does not take it. The offer is over.
    Refused {
        /// Which offer.
        offer: OfferId,
        /// Why.
        refusal: Refusal,
    },
    /// Something that concerns a link.
    Link(LinkEvent),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// Waits for a link to be offered on.
    Waiting,
    /// Offered, no answer yet.
    Offered,
    /// Wanted: parts may be sent.
    Accepted,
    /// All is sent: waits for the receipt.
    Committing,
}

/// A part begun and not yet stored.
#[derive(Debug)]
struct Flight {
    link: LinkId,
    bytes: u32,
    /// Its checksum, once it is wholly sent.
    crc64: Option<u64>,
}

#[derive(Debug)]
struct Outgoing {
    offer: Offer,
    inline: bool,
    stage: Stage,
    /// Where its last OFFER or COMMIT went: replies come back there.
    home: Option<LinkId>,
    /// Whether its home still owes an answer to the offer itself.
    unanswered: bool,
    stored: Parts,
    /// Parts reported stored since the offer was lost from sight.
    late: Vec<(PartIndex, u64)>,
    flying: BTreeMap<PartIndex, Flight>,
    /// Parts lost with their link. They keep the credit they had: the peer may
    /// not know yet that they are lost.
    again: BTreeSet<PartIndex>,
    /// The links it was lost on, for the peer to give up as well.
    lost_on: BTreeSet<LinkId>,
    /// How often it was offered without its bytes: the answer repeats it.
    round: u32,
    /// Parts below were all begun once.
    next_new: u32,
    credit: u64,
    all_sent: bool,
}

/// The sending side of one session.
#[derive(Debug)]
pub struct SendSession {
    limits: Limits,
    links: Links,
    offers: BTreeMap<OfferId, Outgoing>,
    to_ask: VecDeque<OfferId>,
    to_inline: VecDeque<OfferId>,
    /// Accepted offers that may have parts to begin, oldest first.
    ready: Vec<OfferId>,
    usage: BTreeMap<LinkId, Usage>,
    events: VecDeque<SendEvent>,
    offers_made: u64,
    inline_next: bool,
}

/// What a link has under way, against the limits of the peer.
#[derive(Debug, Default, Clone, Copy)]
struct Usage {
    unanswered: u32,
    inline_bytes: u64,
    parts: u32,
}

impl SendSession {
    /// A session whose peer lets it do what `limits` say.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            links: Links::default(),
            offers: BTreeMap::new(),
            to_ask: VecDeque::new(),
            to_inline: VecDeque::new(),
            ready: Vec::new(),
            usage: BTreeMap::new(),
            events: VecDeque::new(),
            offers_made: 0,
            inline_next: false,
        }
    }

    /// A link is there, greeted by both ends.
    pub fn linked(&mut self, link: LinkId, carries: Carries) {
        self.links.add(link, carries);
        self.usage.insert(link, Usage::default());
    }

    /// A link is gone, for whatever reason. What was under way on it is asked
    /// about, and sent again where it did not arrive, on the links that are left.
    pub fn lost(&mut self, link: LinkId) {
        if !self.links.remove(link) {
            return;
        }
        self.usage.remove(&link);
        for (id, out) in &mut self.offers {
            match out.lose(link) {
                Lost::Nothing => {}
                Lost::AskAnywhere => self.to_ask.push_back(*id),
                Lost::AskAt(home) => self.links.send(home, |to| out.append_offer(*id, to)),
            }
        }
        let offers = &self.offers;
        self.ready.retain(|id| {
            offers
                .get(id)
                .is_some_and(|out| out.stage == Stage::Accepted)
        });
    }

    /// Offers an object. The number returned names the offer from now on.
    pub fn offer(&mut self, offer: Offer, how: HowToOffer) -> Option<OfferId> {
        let stored = Parts::none_of(offer.bytes(), offer.part_size)?;
        self.offers_made += 1;
        let id = OfferId(self.offers_made);
        let inline = !offer.is_put() || (how == HowToOffer::Inline && offer.fits_inline());
        let queue = if inline {
            &mut self.to_inline
        } else {
            &mut self.to_ask
        };
        queue.push_back(id);
        self.offers.insert(id, Outgoing::new(offer, inline, stored));
        Some(id)
    }

    /// Withdraws an offer.
    pub fn cancel(&mut self, offer: OfferId, refusal: &Refusal) {
        let Some(out) = self.remove(offer) else {
            return;
        };
        if out.stage == Stage::Waiting && out.flying.is_empty() && out.lost_on.is_empty() {
            return; // The peer never heard of it.
        }
        let header = Header::of(FrameType::Cancel, offer.0, 0);
        let body = RefusalBody::from(refusal);
        let told: BTreeSet<LinkId> = out
            .flying
            .values()
            .map(|f| f.link)
            .chain(out.home)
            .collect();
        for link in &told {
            self.links
                .send(*link, |out| cbor::append(out, header, &body));
        }
        if told.is_empty()
            && let Some((_, out)) = self.links.reply(None)
        {
            cbor::append(out, header, &body);
        }
    }

    /// Confirms an offer of which [all is sent](SendEvent::AllSent): its source
    /// did not change, and `checksum` is that of the whole.
    pub fn commit(&mut self, offer: OfferId, checksum: &Checksum) {
        let Some(out) = self.offers.get_mut(&offer).filter(|out| out.all_sent) else {
            return;
        };
        if out.stage != Stage::Accepted {
            return;
        }
        let header = Header::of(FrameType::Commit, offer.0, 0);
        if let Some((link, to)) = self.links.reply(out.home) {
            cbor::append(
                to,
                header,
                &CommitBody {
                    checksum: checksum.clone(),
                },
            );
            out.home = Some(link);
            out.stage = Stage::Committing;
        }
    }

    /// Appends the frames that wait for `link` to `out`, and says what the link
    /// is to carry behind them. Call it whenever the link can take more; nothing
    /// new comes up on a link without a call that changed something.
    pub fn next(&mut self, link: LinkId, out: &mut Vec<u8>) -> Option<Work> {
        self.links.take(link, out);
        if !self.links.takes_work(link) {
            return None;
        }
        self.ask(link, out);
        if !self.links.carries_data(link) {
            return None;
        }
        // In turn, so that neither large nor small objects starve.
        self.inline_next = !self.inline_next;
        if self.inline_next {
            self.inline(link, out).or_else(|| self.part(link))
        } else {
            self.part(link).or_else(|| self.inline(link, out))
        }
    }

    /// Whether the part is still to be sent on this link. Ask between two DATA
    /// frames; when it is not, stop without [`part_sent`](Self::part_sent).
    #[must_use]
    pub fn wants(&self, link: LinkId, offer: OfferId, part: PartIndex) -> bool {
        let flight = self
            .offers
            .get(&offer)
            .and_then(|out| out.flying.get(&part));
        flight.is_some_and(|flight| flight.link == link)
    }

    /// All bytes of a part were written to `link`; `crc64` is their CRC-64/NVME.
    /// Appends PART_END, to be written to the same link.
    pub fn part_sent(
        &mut self,
        link: LinkId,
        offer: OfferId,
        part: PartIndex,
        crc64: u64,
        out: &mut Vec<u8>,
    ) {
        let Some(outgoing) = self.offers.get_mut(&offer) else {
            return;
        };
        let Some(flight) = outgoing.flying.get_mut(&part).filter(|f| f.link == link) else {
            return;
        };
        flight.crc64 = Some(crc64);
        let header = Header {
            part,
            ..Header::of(FrameType::PartEnd, offer.0, 0)
        };
        cbor::append(out, header, &PartEndBody { crc64 });
        self.check_all_sent(offer);
    }

    /// Takes a frame that came on `link`, DATA aside.
    ///
    /// # Errors
    /// [`WireError`]: the peer's fault; the session is to be ended.
    pub fn frame(
        &mut self,
        link: LinkId,
        header: &Header,
        payload: &[u8],
    ) -> Result<(), WireError> {
        self.links.heard(link)?;
        match self.links.frame(link, header, payload)? {
            Frame::Done => return Ok(()),
            Frame::Event(event) => {
                self.events.push_back(SendEvent::Link(event));
                return Ok(());
            }
            Frame::OfAnOffer => {}
        }
        let offer = header.offer();
        if offer.0 > self.offers_made {
            return Err(Misbehaviour::UnknownOffer {
                found: header.frame,
                offer,
            }
            .into());
        }
        match header.frame {
            FrameType::Accept => {
                self.accepted(offer, header.part.0, &cbor::read(header.frame, payload)?)
            }
            FrameType::PartStored => {
                let body: PartEndBody = cbor::read(header.frame, payload)?;
                self.stored(offer, header.part, body.crc64)
            }
            FrameType::Credit => {
                let body: CreditBody = cbor::read(header.frame, payload)?;
                if let Some(out) = self.offers.get_mut(&offer) {
                    out.credit = body.credit;
                }
                Ok(())
            }
            FrameType::Refuse => {
                let body: RefusalBody = cbor::read(header.frame, payload)?;
                if self.remove(offer).is_some() {
                    self.events.push_back(SendEvent::Refused {
                        offer,
                        refusal: body.into(),
                    });
                }
                Ok(())
            }
            FrameType::Receipts => self.receipts(payload),
            found => Err(Misbehaviour::WrongRole { found }.into()),
        }
    }

    /// Passes time, measured from any start: pings and notices silent links.
    /// Call it about once a second.
    pub fn tick(&mut self, now: Duration) {
        let events = &mut self.events;
        self.links
            .tick(now, |event| events.push_back(SendEvent::Link(event)));
    }

    /// The next thing the driver must know.
    pub fn next_event(&mut self) -> Option<SendEvent> {
        self.events.pop_front()
    }

    /// The offers that are not over, in the order they were made.
    pub fn unfinished(&self) -> impl Iterator<Item = OfferId> + '_ {
        self.offers.keys().copied()
    }

    /// Asks the peer to begin nothing new on `link`, and begins nothing itself.
    pub fn drain(&mut self, link: LinkId) {
        self.links.drain(link);
    }

    /// Whether offers or parts are under way on `link`: a drained link without
    /// any can be closed.
    #[must_use]
    pub fn is_busy(&self, link: LinkId) -> bool {
        self.links.waiting(link)
            || self.offers.values().any(|out| {
                out.home == Some(link) || out.flying.values().any(|flight| flight.link == link)
            })
    }

    /// Queues the last frame of `link`.
    pub fn close(&mut self, link: LinkId, close: &Close) {
        self.links.close(link, close);
    }

    /// Asks the peer something outside of any offer; the number returned comes
    /// back with the answer.
    pub fn question(&mut self, link: LinkId, body: &[u8]) -> u64 {
        self.links.ask(link, body)
    }

    /// Answers the peer's question.
    pub fn answer(&mut self, link: LinkId, number: u64, body: &[u8]) {
        self.links.answer(link, number, body);
    }
}

/// What goes out.
impl SendSession {
    /// Appends offers that wait for an answer first, as many as the peer takes.
    fn ask(&mut self, link: LinkId, to: &mut Vec<u8>) {
        let Some(usage) = self.usage.get_mut(&link) else {
            return;
        };
        while usage.unanswered < self.limits.offers_max {
            let Some(id) = self.to_ask.pop_front() else {
                break;
            };
            let Some(out) = self
                .offers
                .get_mut(&id)
                .filter(|out| out.stage == Stage::Waiting)
            else {
                continue;
            };
            out.append_offer(id, to);
            out.stage = Stage::Offered;
            out.home = Some(link);
            out.unanswered = true;
            usage.unanswered += 1;
        }
    }

    /// The next small object, if the peer takes more of them on this link.
    fn inline(&mut self, link: LinkId, to: &mut Vec<u8>) -> Option<Work> {
        let usage = self.usage.get_mut(&link)?;
        loop {
            let id = *self.to_inline.front()?;
            let Some(out) = self.offers.get_mut(&id) else {
                self.to_inline.pop_front();
                continue;
            };
            let bytes = out.offer.bytes();
            if usage.unanswered >= self.limits.offers_max {
                return None;
            }
            if usage.inline_bytes + bytes > self.limits.inline_bytes_max {
                if bytes <= self.limits.inline_bytes_max {
                    return None;
                }
                // This peer never takes it inline: ask first.
                self.to_inline.pop_front();
                out.inline = false;
                self.to_ask.push_back(id);
                continue;
            }
            self.to_inline.pop_front();
            let header = Header {
                inline: true,
                ..Header::of(FrameType::Offer, id.0, 0)
            };
            cbor::append(to, header, &OfferBody::new(&out.offer, Vec::new()));
            out.stage = Stage::Committing;
            out.home = Some(link);
            out.unanswered = true;
            usage.unanswered += 1;
            usage.inline_bytes += bytes;
            let Some(bytes) = u32::try_from(bytes).ok().filter(|bytes| *bytes > 0) else {
                continue; // No bytes, no DATA: the offer says it all.
            };
            to.extend_from_slice(&Header::data(id, PartIndex(0), 0, bytes).encode());
            return Some(Work::Inline { offer: id, bytes });
        }
    }

    /// The next part that has credit, oldest offer first.
    fn part(&mut self, link: LinkId) -> Option<Work> {
        let usage = self
            .usage
            .get_mut(&link)
            .filter(|u| u.parts < self.limits.parts_max)?;
        let mut at = 0;
        while let Some(id) = self.ready.get(at).copied() {
            let begun = match self.offers.get_mut(&id).map(|out| out.begin(link)) {
                Some(Begun::Part(part, range)) => Work::Part {
                    offer: id,
                    part,
                    range,
                },
                Some(Begun::NoCredit) => {
                    at += 1;
                    continue;
                }
                Some(Begun::Nothing) | None => {
                    self.ready.remove(at);
                    continue;
                }
            };
            usage.parts += 1;
            return Some(begun);
        }
        None
    }
}

/// What comes in.
impl SendSession {
    fn accepted(&mut self, offer: OfferId, round: u32, body: &AcceptBody) -> Result<(), WireError> {
        let Some(out) = self.offers.get_mut(&offer) else {
            return Ok(());
        };
        let have = body.parts(&out.offer)?;
        if out.inline || !out.offer.is_put() || round > out.round {
            return Err(Misbehaviour::AnswerUnasked {
                found: FrameType::Accept,
                offer,
            }
            .into());
        }
        if out.stage != Stage::Offered || round < out.round {
            return Ok(()); // It answers an offer that was made again since.
        }
        out.accept(have, body.credit);
        let parts = out.stored.count();
        self.answered(offer);
        self.ready.push(offer);
        self.events.push_back(SendEvent::Accepted { offer, parts });
        self.check_all_sent(offer);
        Ok(())
    }

    fn stored(&mut self, offer: OfferId, part: PartIndex, crc64: u64) -> Result<(), WireError> {
        let Some(out) = self.offers.get_mut(&offer) else {
            return Ok(());
        };
        let Some(bytes) = out.stored.part_bytes(part) else {
            let what = "stored, and no such part exists";
            return Err(Misbehaviour::PartOutOfOrder {
                offer,
                part: part.0,
                what,
            }
            .into());
        };
        let flight = out.flying.remove(&part);
        out.again.remove(&part);
        // What we sent counts: a peer that stored other bytes is found out at COMMIT.
        let crc64 = flight
            .as_ref()
            .and_then(|flight| flight.crc64)
            .unwrap_or(crc64);
        if matches!(out.stage, Stage::Waiting | Stage::Offered) {
            out.late.push((part, crc64));
        }
        let new = out.stored.insert(part, crc64);
        if let Some(usage) = flight.and_then(|flight| self.usage.get_mut(&flight.link)) {
            usage.parts = usage.parts.saturating_sub(1);
        }
        if new {
            self.events
                .push_back(SendEvent::PartStored { offer, part, bytes });
        }
        self.check_all_sent(offer);
        Ok(())
    }

    fn receipts(&mut self, payload: &[u8]) -> Result<(), WireError> {
        for nameless in receipts::read(payload)? {
            let offer = nameless.offer;
            if offer.0 > self.offers_made {
                let found = FrameType::Receipts;
                return Err(Misbehaviour::UnknownOffer { found, offer }.into());
            }
            if let Some(out) = self.remove(offer) {
                let receipt = Box::new(nameless.named(out.offer.change.name));
                self.events
                    .push_back(SendEvent::Completed { offer, receipt });
            }
        }
        Ok(())
    }

    /// Says so when the last part is on its way.
    fn check_all_sent(&mut self, offer: OfferId) {
        let Some(out) = self.offers.get_mut(&offer) else {
            return;
        };
        if out.stage == Stage::Accepted
            && !out.all_sent
            && let Some(crc64) = out.whole()
        {
            out.all_sent = true;
            let checksum = Checksum::crc64nvme(crc64);
            self.events
                .push_back(SendEvent::AllSent { offer, checksum });
        }
    }

    /// Gives back what an unanswered offer took of its link's limits.
    fn answered(&mut self, offer: OfferId) {
        let Some(out) = self.offers.get_mut(&offer) else {
            return;
        };
        let unanswered = std::mem::take(&mut out.unanswered);
        if let Some(usage) = out
            .home
            .filter(|_| unanswered)
            .and_then(|l| self.usage.get_mut(&l))
        {
            usage.unanswered = usage.unanswered.saturating_sub(1);
            if out.inline {
                usage.inline_bytes = usage.inline_bytes.saturating_sub(out.offer.bytes());
            }
        }
    }

    fn remove(&mut self, offer: OfferId) -> Option<Outgoing> {
        self.answered(offer);
        let out = self.offers.remove(&offer)?;
        for flight in out.flying.values() {
            if let Some(usage) = self.usage.get_mut(&flight.link) {
                usage.parts = usage.parts.saturating_sub(1);
            }
        }
        self.ready.retain(|id| *id != offer);
        Some(out)
    }
}

/// What the loss of a link means for one offer.
enum Lost {
    Nothing,
    AskAnywhere,
    AskAt(LinkId),
}

/// What [`Outgoing::begin`] found to do.
enum Begun {
    Part(PartIndex, Range<u64>),
    NoCredit,
    Nothing,
}

impl Outgoing {
    fn new(offer: Offer, inline: bool, stored: Parts) -> Self {
        Self {
            offer,
            inline,
            stage: Stage::Waiting,
            home: None,
            unanswered: false,
            stored,
            late: Vec::new(),
            flying: BTreeMap::new(),
            again: BTreeSet::new(),
            lost_on: BTreeSet::new(),
            round: 0,
            next_new: 0,
            credit: 0,
            all_sent: false,
        }
    }

    fn append_offer(&mut self, id: OfferId, to: &mut Vec<u8>) {
        self.round += 1;
        let round = PartIndex(self.round);
        let header = Header {
            part: round,
            ..Header::of(FrameType::Offer, id.0, 0)
        };
        let lost = self.lost_on.iter().map(|link| link.0).collect();
        cbor::append(to, header, &OfferBody::new(&self.offer, lost));
    }

    /// Takes the loss of a link, and says where the peer has to be asked again.
    fn lose(&mut self, link: LinkId) -> Lost {
        let gone: Vec<PartIndex> = self
            .flying
            .iter()
            .filter(|(_, f)| f.link == link)
            .map(|(part, _)| *part)
            .collect();
        if gone.is_empty() && self.home != Some(link) {
            return Lost::Nothing;
        }
        for part in gone {
            self.flying.remove(&part);
            self.again.insert(part);
        }
        self.lost_on.insert(link);
        match (self.stage, self.home) {
            (Stage::Waiting, _) => return Lost::Nothing, // It will be asked about anyway.
            (Stage::Offered, Some(home)) if home != link => return Lost::AskAt(home),
            _ => {}
        }
        self.stage = Stage::Waiting;
        self.home = None;
        self.unanswered = false;
        self.inline = false;
        self.all_sent = false;
        Lost::AskAnywhere
    }

    /// Takes the peer's word for what is there. It knows of every part it
    /// reported before the offer came; those reported since are in `late`.
    fn accept(&mut self, have: Parts, credit: u64) {
        self.stored = have;
        for (part, crc64) in std::mem::take(&mut self.late) {
            self.stored.insert(part, crc64);
        }
        let stored = &self.stored;
        self.again.retain(|part| !stored.contains(*part));
        self.lost_on.clear();
        self.next_new = 0;
        self.credit = credit;
        self.stage = Stage::Accepted;
    }

    /// Begins the next part on `link`, lost ones first.
    fn begin(&mut self, link: LinkId) -> Begun {
        if self.stage != Stage::Accepted {
            return Begun::Nothing;
        }
        let again = self.again.first().copied();
        let Some(part) = again.or_else(|| self.next_unsent()) else {
            return Begun::Nothing;
        };
        let Some(bytes) = self.stored.part_bytes(part) else {
            return Begun::Nothing;
        };
        if again.is_none() {
            if self.under_way() + u64::from(bytes) > self.credit {
                return Begun::NoCredit;
            }
            self.next_new = part.0 + 1;
        }
        self.again.remove(&part);
        self.flying.insert(
            part,
            Flight {
                link,
                bytes,
                crc64: None,
            },
        );
        let start = u64::from(part.0) * u64::from(self.offer.part_size.bytes());
        Begun::Part(part, start..start + u64::from(bytes))
    }

    fn next_unsent(&self) -> Option<PartIndex> {
        let mut from = self.next_new;
        loop {
            let part = self.stored.next_missing(from)?;
            if !self.flying.contains_key(&part) {
                return Some(part);
            }
            from = part.0 + 1;
        }
    }

    /// Bytes that count against the credit.
    fn under_way(&self) -> u64 {
        let lost = self
            .again
            .iter()
            .filter_map(|part| self.stored.part_bytes(*part));
        self.flying
            .values()
            .map(|flight| flight.bytes)
            .chain(lost)
            .map(u64::from)
            .sum()
    }

    /// The checksum of the whole, once every part is stored or wholly sent.
    fn whole(&self) -> Option<u64> {
        if self.stored.count() as usize + self.flying.len() < self.stored.of() as usize {
            return None;
        }
        let mut all = self.stored.clone();
        for (part, flight) in &self.flying {
            all.insert(*part, flight.crc64?);
        }
        all.whole()
    }
}
