//! The sending side of a session: which offer, part or commit goes out next.
//!
//! ```text
//!           offer()                 ACCEPT              last part sent, commit()      receipt
//!   ──▶ waiting ──OFFER──▶ offered ───────▶ accepted ─────────COMMIT──────▶ committing ──▶ Completed
//!        ▲   │ inline: OFFER and DATA              │                            │
//!        │   └──────────▶ committing               │                            │
//!        └──────── its link is lost: ask again, never inline, keep what is stored
//! ```

mod outgoing;
mod traffic;

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    ops::Range,
    time::Duration,
};

use sealift_terms::{Checksum, PartIndex, Receipt};

use self::outgoing::{Lost, Outgoing, Stage};
use crate::{
    body::{Close, CommitBody, CreditBody, Offer, PartEndBody, Refusal, RefusalBody},
    cbor,
    error::{Misbehaviour, WireError},
    header::{FrameType, Header, OfferId},
    hello::Limits,
    links::{Carries, Frame, LinkEvent, LinkId, Links},
    parts::Parts,
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
    /// Write this range of the object as DATA frames ([`Header::data`]), less what is
    /// there, then call [`SendSession::part_sent`].
    Part {
        /// Which offer.
        offer: OfferId,
        /// Which part.
        part: PartIndex,
        /// Its bytes within the object; empty for an empty last part.
        range: Range<u64>,
        /// How many of them the peer has: the first frame follows these. They are in the
        /// checksum of the part as all others.
        there: u32,
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

/// The sending side of one session.
#[derive(Debug)]
pub struct SendSession {
    limits: Limits,
    links: Links,
    offers: BTreeMap<OfferId, Outgoing>,
    /// How many of them were asked about first.
    asked: u32,
    to_ask: VecDeque<OfferId>,
    to_inline: VecDeque<OfferId>,
    /// Accepted offers that may have parts to begin, oldest first.
    ready: Vec<OfferId>,
    usage: BTreeMap<LinkId, Usage>,
    events: VecDeque<SendEvent>,
    offers_made: u64,
    inline_next: bool,
    is_resting: bool,
    /// Parts that were begun on a link which was gone before they were stored.
    interrupted: u64,
    /// Bytes of such parts that the peer kept, so that they were not sent again.
    continued: u64,
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
            asked: 0,
            to_ask: VecDeque::new(),
            to_inline: VecDeque::new(),
            ready: Vec::new(),
            usage: BTreeMap::new(),
            events: VecDeque::new(),
            offers_made: 0,
            inline_next: false,
            is_resting: false,
            interrupted: 0,
            continued: 0,
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
            let flying = out.flying.len();
            let lost = out.lose(link);
            self.interrupted += (flying - out.flying.len()) as u64;
            match lost {
                Lost::Nothing => {}
                // Those that count already come before those that would count anew.
                Lost::AskAnywhere if out.asked => self.to_ask.push_front(*id),
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

    /// Whether the peer has no part in an offer that could make it durable there: it was not
    /// told of it yet, or wants it and was not sent all.
    #[must_use]
    pub fn can_be_withdrawn(&self, offer: OfferId) -> bool {
        self.offers.get(&offer).is_some_and(|out| match out.stage {
            Stage::Waiting => out.flying.is_empty() && out.lost_on.is_empty(),
            Stage::Accepted => !out.all_sent,
            Stage::Offered | Stage::Committing => false,
        })
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
        let header = Header {
            part: PartIndex(out.round),
            ..Header::of(FrameType::Commit, offer.0, 0)
        };
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

    /// Appends the frames that wait for `link` to `out`, and begins nothing: for a link
    /// that has to wait before it may carry more.
    pub fn frames(&mut self, link: LinkId, out: &mut Vec<u8>) {
        self.links.take(link, out);
    }

    /// Appends the frames that wait for `link` to `out`, and says what the link
    /// is to carry behind them. Call it whenever the link can take more; nothing
    /// new comes up on a link without a call that changed something.
    pub fn next(&mut self, link: LinkId, out: &mut Vec<u8>) -> Option<Work> {
        self.links.take(link, out);
        if self.is_resting || !self.links.takes_work(link) {
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

    /// Begins nothing any more, on no link: what is begun comes to its end, what is not
    /// goes on in another session.
    pub fn rest(&mut self) {
        self.is_resting = true;
    }

    /// Whether nothing is on its way: no part is begun and not stored, and of no object
    /// all is sent without a receipt.
    #[must_use]
    pub fn is_quiet(&self) -> bool {
        let is_quiet = |out: &Outgoing| {
            out.flying.is_empty() && out.stage != Stage::Committing && !out.all_sent
        };
        self.offers.values().all(is_quiet)
    }

    /// Parts that were begun and whose link was gone before they were stored.
    #[must_use]
    pub fn interrupted(&self) -> u64 {
        self.interrupted
    }

    /// Bytes of interrupted parts that were not sent again, because the peer kept them.
    #[must_use]
    pub fn continued(&self) -> u64 {
        self.continued
    }

    /// Bytes of parts that are begun and not stored.
    #[must_use]
    pub fn flying_bytes(&self) -> u64 {
        let flying = self.offers.values().flat_map(|out| out.flying.values());
        flying.map(|flight| u64::from(flight.bytes)).sum()
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
