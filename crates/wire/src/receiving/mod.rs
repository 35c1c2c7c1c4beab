//! The receiving side of a session: checks what the peer sends, says where each
//! byte belongs, and carries the answers back.
//!
//! ```text
//!   OFFER ──▶ Offered ──accept()──▶ parts: Begin … PartEnd ──stored()──▶ all stored and COMMIT ──▶ Commit
//!                │ inline: its bytes, InlineEnd                                       │
//!                └──────────────▶ receipt() or refuse() ◀─────────────────────────────┘
//! ```

mod checks;
mod incoming;

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::Duration,
};

use sealift_terms::{Checksum, PartIndex, Receipt, limits::OFFERS_OUTSTANDING_MAX};

use self::incoming::{Incoming, Stage};
use crate::{
    body::{Close, CommitBody, CreditBody, Offer, OfferBody, PartEndBody, Refusal, RefusalBody},
    cbor,
    error::{Misbehaviour, WireError},
    header::{FrameType, Header, OfferId},
    hello::Limits,
    links::{Carries, Frame, LinkEvent, LinkId, Links},
    parts::Parts,
    receipts,
};

/// Receipts that wait on one link for a peer that does not read.
const RECEIPTS_WAITING_MAX: usize = 4 * OFFERS_OUTSTANDING_MAX;

/// Where a piece of a DATA frame belongs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// Into a part.
    Part {
        /// Which offer.
        offer: OfferId,
        /// Which part.
        part: PartIndex,
        /// Where in the part, in bytes.
        offset: u32,
        /// Whether the part begins on this link with this piece: at its first byte, or where
        /// [what is kept of it](ReceiveSession::kept) ends.
        begins: bool,
    },
    /// Into a small object.
    Inline {
        /// Which offer.
        offer: OfferId,
        /// Where in the object, in bytes.
        offset: u32,
    },
    /// Nowhere: its offer is over, or its link was given up.
    Nowhere,
}

/// What the driver of a receiving session must know, in the order it happened.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum ReceiveEvent {
    /// An object is to be had. Answer with [`accept`](ReceiveSession::accept)
    /// (not when its bytes follow inline), [`refuse`](ReceiveSession::refuse), or
    /// [`receipt`](ReceiveSession::receipt) when it is there already.
    Offered {
        /// The offer's number.
        offer: OfferId,
        /// What is offered.
        what: Box<Offer>,
        /// Its bytes, if any, follow at once: [`InlineEnd`](Self::InlineEnd) comes behind them.
        inline: bool,
    },
    /// All bytes of an inline object came. Answer with a receipt or refusal.
    InlineEnd {
        /// Which offer.
        offer: OfferId,
    },
    /// All bytes of a part came. Compare the checksum, then call
    /// [`stored`](ReceiveSession::stored) or refuse the offer.
    PartEnd {
        /// Which offer.
        offer: OfferId,
        /// Which part.
        part: PartIndex,
        /// Its length. A part of no bytes had no piece that began it.
        bytes: u32,
        /// The CRC-64/NVME that the sending side computed.
        crc64: u64,
    },
    /// A part will not be ended by the one who began it. Answer with
    /// [`kept`](ReceiveSession::kept), once nobody writes to it any more: until then the
    /// offer is not accepted anew.
    PartAbandoned {
        /// Which offer.
        offer: OfferId,
        /// Which part.
        part: PartIndex,
    },
    /// Every part is stored, and the sending side says what the whole must be.
    /// Answer with a receipt or refusal.
    Commit {
        /// Which offer.
        offer: OfferId,
        /// The sending side's checksum of the whole.
        checksum: Checksum,
        /// The CRC-64/NVME of the parts that are stored, combined.
        stored_crc64: u64,
    },
    /// An inline object was cut off: the offer is over, forget its bytes. It will
    /// be offered again.
    Abandoned {
        /// Which offer.
        offer: OfferId,
    },
    /// The sending side withdrew the offer.
    Cancelled {
        /// Which offer.
        offer: OfferId,
        /// Why.
        refusal: Refusal,
    },
    /// Something that concerns a link.
    Link(LinkEvent),
    /// The sending side gave this link up: close it, nothing from it counts.
    GivenUp(LinkId),
}

/// What a link has under way, against the limits.
#[derive(Debug, Default)]
struct Usage {
    unanswered: u32,
    inline_bytes: u64,
    /// Parts begun on it and not stored.
    parts: u32,
    /// The inline offer whose one DATA frame comes next, and how long it is.
    expects: Option<(OfferId, u32)>,
    receipts: Vec<(OfferId, Receipt)>,
}

/// The receiving side of one session.
#[derive(Debug)]
pub struct ReceiveSession {
    limits: Limits,
    links: Links,
    /// Links that are lost, on which a frame may still turn up.
    gone: BTreeSet<LinkId>,
    usage: BTreeMap<LinkId, Usage>,
    offers: BTreeMap<OfferId, Incoming>,
    /// How many of them were asked about first.
    asked: u32,
    highest: u64,
    /// Bytes that may still come for offers that were ended here.
    may_discard: u64,
    events: VecDeque<ReceiveEvent>,
}

impl ReceiveSession {
    /// A session that lets its peer do what `limits` say.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            links: Links::default(),
            gone: BTreeSet::new(),
            usage: BTreeMap::new(),
            offers: BTreeMap::new(),
            asked: 0,
            highest: 0,
            may_discard: 0,
            events: VecDeque::new(),
        }
    }

    /// A link is there, greeted by both ends.
    pub fn linked(&mut self, link: LinkId, carries: Carries) {
        self.links.add(link, carries);
        self.usage.insert(link, Usage::default());
    }

    /// A link is gone, for whatever reason. Parts that were coming over it and
    /// inline objects cut short are abandoned; everything else goes on.
    pub fn lost(&mut self, link: LinkId) {
        if !self.links.remove(link) {
            return;
        }
        self.gone.insert(link);
        self.usage.remove(&link);
        let events = &mut self.events;
        self.offers.retain(|&offer, incoming| {
            incoming.open.retain(|&part, open| {
                let keep = open.link != link || open.ended.is_some();
                if !keep {
                    incoming.unsettled.insert(part);
                    events.push_back(ReceiveEvent::PartAbandoned { offer, part });
                }
                keep
            });
            let cut = incoming.stage == Stage::Inline(link);
            if cut {
                events.push_back(ReceiveEvent::Abandoned { offer });
            }
            !cut
        });
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
        if self.gone.contains(&link) {
            return Ok(());
        }
        self.links.heard(link)?;
        if let Some((offer, _)) = self.usage.get(&link).and_then(|usage| usage.expects) {
            return Err(Misbehaviour::InlineDataMissing {
                found: header.frame,
                offer,
            }
            .into());
        }
        match self.links.frame(link, header, payload)? {
            Frame::Done => return Ok(()),
            Frame::Event(event) => {
                self.events.push_back(ReceiveEvent::Link(event));
                return Ok(());
            }
            Frame::OfAnOffer => {}
        }
        let offer = header.offer();
        if header.frame == FrameType::Offer {
            let body: OfferBody = cbor::read(header.frame, payload)?;
            return self.offered(link, header, body);
        }
        if offer.0 > self.highest {
            return Err(Misbehaviour::UnknownOffer {
                found: header.frame,
                offer,
            }
            .into());
        }
        match header.frame {
            FrameType::PartEnd => {
                let body: PartEndBody = cbor::read(header.frame, payload)?;
                self.part_end(link, offer, header.part, body.crc64)
            }
            FrameType::Commit => {
                let body: CommitBody = cbor::read(header.frame, payload)?;
                self.commit(link, offer, header.part.0, body.checksum)
            }
            FrameType::Cancel => {
                let body: RefusalBody = cbor::read(header.frame, payload)?;
                if self.remove(offer).is_some() {
                    self.events.push_back(ReceiveEvent::Cancelled {
                        offer,
                        refusal: body.into(),
                    });
                }
                Ok(())
            }
            found => Err(Misbehaviour::WrongRole { found }.into()),
        }
    }

    /// Says where a piece of a DATA frame belongs: `piece` bytes that follow the
    /// first `done` bytes of its payload. Every byte of a frame is asked about
    /// once, in order; where the pieces are cut does not matter.
    ///
    /// # Errors
    /// [`WireError`]: the peer's fault; the session is to be ended.
    pub fn data(
        &mut self,
        link: LinkId,
        header: &Header,
        done: u32,
        piece: u32,
    ) -> Result<Place, WireError> {
        if self.gone.contains(&link) {
            return Ok(Place::Nowhere);
        }
        self.links.heard(link)?;
        if let Some((offer, bytes)) = self.usage.get(&link).and_then(|usage| usage.expects) {
            return self.inline_data(link, header, offer, bytes, done, piece);
        }
        let (offer, part) = (header.offer(), header.part);
        if done == 0 && !self.begin_frame(link, header)? {
            return Ok(Place::Nowhere);
        }
        let incoming = self.offers.get_mut(&offer);
        let open = incoming
            .and_then(|i| i.open.get_mut(&part))
            .filter(|o| o.link == link);
        let Some(open) = open.filter(|open| open.got == header.offset + done) else {
            return Ok(Place::Nowhere);
        };
        let offset = open.got;
        open.got += piece;
        Ok(Place::Part {
            offer,
            part,
            offset,
            begins: offset == open.from,
        })
    }

    /// Takes an offer: `have` are the parts that are there from earlier tries, in the cut
    /// that they have. False when the offer is over, or its bytes come inline.
    pub fn accept(&mut self, offer: OfferId, have: Parts, credit: u64) -> bool {
        let Some(incoming) = self.offers.get_mut(&offer) else {
            return false;
        };
        if incoming.stage != Stage::Offered {
            return false;
        }
        incoming.stage = Stage::Accepted;
        incoming.stored = have;
        incoming.credit = credit;
        incoming.credit_max = credit;
        self.answer_offer(offer);
        true
    }

    /// Says what is there of a part that nobody writes: after it was
    /// [abandoned](ReceiveEvent::PartAbandoned), and of parts of earlier tries before the
    /// offer is accepted. It may go on behind these bytes; without any it begins anew.
    pub fn kept(&mut self, offer: OfferId, part: PartIndex, bytes: Option<u32>) {
        let Some(incoming) = self.offers.get_mut(&offer) else {
            return;
        };
        let settles = incoming.unsettled.remove(&part);
        if settles || incoming.stage == Stage::Offered {
            if let Some(bytes) = bytes {
                incoming.begun.insert(part, bytes);
            }
            self.answer_offer(offer);
        }
    }

    /// Ends an offer with a reason. False when it was over.
    pub fn refuse(&mut self, offer: OfferId, refusal: &Refusal) -> bool {
        let Some(incoming) = self.remove(offer) else {
            return false;
        };
        if let Some((_, out)) = self.links.reply(Some(incoming.home)) {
            let header = Header::of(FrameType::Refuse, offer.0, 0);
            cbor::append(out, header, &RefusalBody::from(refusal));
        }
        true
    }

    /// A part whose [end](ReceiveEvent::PartEnd) came is stored. False when the
    /// offer is over.
    pub fn stored(&mut self, offer: OfferId, part: PartIndex) -> bool {
        let Some(incoming) = self.offers.get_mut(&offer) else {
            return false;
        };
        let Some((link, crc64)) = incoming
            .open
            .get(&part)
            .and_then(|open| Some((open.link, open.ended?)))
        else {
            return false;
        };
        incoming.open.remove(&part);
        incoming.stored.insert(part, crc64);
        if let Some(usage) = self.usage.get_mut(&link) {
            usage.parts = usage.parts.saturating_sub(1);
        }
        if let Some((_, out)) = self.links.reply(Some(link)) {
            let header = Header {
                part,
                ..Header::of(FrameType::PartStored, offer.0, 0)
            };
            cbor::append(out, header, &PartEndBody { crc64 });
        }
        self.answer_offer(offer);
        self.check_complete(offer);
        true
    }

    /// Changes how many bytes of an offer's parts may be begun and not yet stored.
    pub fn credit(&mut self, offer: OfferId, credit: u64) {
        let Some(incoming) = self.offers.get_mut(&offer) else {
            return;
        };
        incoming.credit = credit;
        incoming.credit_max = incoming.credit_max.max(credit);
        let home = incoming.home;
        let header = Header::of(FrameType::Credit, offer.0, 0);
        self.links.send(home, |out| {
            cbor::append(out, header, &CreditBody { credit })
        });
    }

    /// Ends an offer: the object is durable. False when it was over.
    pub fn receipt(&mut self, offer: OfferId, receipt: Receipt) -> bool {
        let Some(incoming) = self.remove(offer) else {
            return false;
        };
        if let Some((link, _)) = self.links.reply(Some(incoming.home))
            && let Some(usage) = self.usage.get_mut(&link)
        {
            usage.receipts.push((offer, receipt));
            if usage.receipts.len() > RECEIPTS_WAITING_MAX {
                self.links.jam(link);
            }
        }
        true
    }

    /// Moves the frames that wait for `link` to `out`. Call it whenever the link
    /// can take more.
    pub fn take(&mut self, link: LinkId, out: &mut Vec<u8>) {
        self.links.take(link, out);
        if let Some(usage) = self.usage.get_mut(&link) {
            receipts::append(out, &std::mem::take(&mut usage.receipts));
        }
    }

    /// Passes time, measured from any start: pings and notices silent links.
    /// Call it about once a second.
    pub fn tick(&mut self, now: Duration) {
        let events = &mut self.events;
        self.links
            .tick(now, |event| events.push_back(ReceiveEvent::Link(event)));
    }

    /// The next thing the driver must know.
    pub fn next_event(&mut self) -> Option<ReceiveEvent> {
        self.events.pop_front()
    }

    /// The offers that are not over, in the order they were made.
    pub fn unfinished(&self) -> impl Iterator<Item = OfferId> + '_ {
        self.offers.keys().copied()
    }

    /// Asks the peer to begin nothing new on `link`.
    pub fn drain(&mut self, link: LinkId) {
        self.links.drain(link);
    }

    /// Whether offers or parts are under way on `link`: a drained link without
    /// any can be closed.
    #[must_use]
    pub fn is_busy(&self, link: LinkId) -> bool {
        self.links.waiting(link)
            || self
                .usage
                .get(&link)
                .is_some_and(|usage| !usage.receipts.is_empty())
            || self.offers.values().any(|incoming| {
                incoming.home == link || incoming.open.values().any(|open| open.link == link)
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
