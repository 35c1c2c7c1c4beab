//! What a sending session puts on its links, and what it takes from them.

use sealift_terms::{Checksum, PartIndex};

use super::{
    SendEvent, SendSession, Work,
    outgoing::{Begun, Outgoing, Stage},
};
use crate::{
    body::{AcceptBody, OfferBody},
    cbor,
    error::{FrameFault, Misbehaviour, WireError},
    header::{FrameType, Header, OfferId},
    links::LinkId,
    receipts,
};

/// What goes out.
impl SendSession {
    /// Appends offers that wait for an answer first, as many as the peer takes.
    pub(super) fn ask(&mut self, link: LinkId, to: &mut Vec<u8>) {
        let Some(usage) = self.usage.get_mut(&link) else {
            return;
        };
        while usage.unanswered < self.limits.offers_max {
            let Some(id) = self.to_ask.front().copied() else {
                break;
            };
            let out = self.offers.get_mut(&id);
            let Some(out) = out.filter(|out| out.stage == Stage::Waiting) else {
                self.to_ask.pop_front();
                continue;
            };
            if !out.asked {
                if self.asked >= self.limits.open_offers_max {
                    break;
                }
                out.asked = true;
                self.asked += 1;
            }
            self.to_ask.pop_front();
            out.append_offer(id, to);
            out.stage = Stage::Offered;
            out.home = Some(link);
            out.unanswered = true;
            usage.unanswered += 1;
        }
    }

    /// The next small object, if the peer takes more of them on this link.
    pub(super) fn inline(&mut self, link: LinkId, to: &mut Vec<u8>) -> Option<Work> {
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
    pub(super) fn part(&mut self, link: LinkId) -> Option<Work> {
        let usage = self
            .usage
            .get_mut(&link)
            .filter(|u| u.parts < self.limits.parts_max)?;
        let mut at = 0;
        while let Some(id) = self.ready.get(at).copied() {
            let begun = match self.offers.get_mut(&id).map(|out| out.begin(link)) {
                Some(Begun::Part(part, range, there)) => {
                    self.continued += u64::from(there);
                    Work::Part {
                        offer: id,
                        part,
                        range,
                        there,
                    }
                }
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
    pub(super) fn accepted(
        &mut self,
        offer: OfferId,
        round: u32,
        body: &AcceptBody,
    ) -> Result<(), WireError> {
        let Some(out) = self.offers.get_mut(&offer) else {
            return Ok(());
        };
        let have = body.parts(&out.offer)?;
        let begun = body.begun(&have)?;
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
        if out.is_cut && have.part_size() != out.stored.part_size() {
            let what = "another cut than before";
            return Err(WireError::bad(
                FrameType::Accept,
                FrameFault::Inconsistent { what },
            ));
        }
        out.accept(have, begun, body.credit);
        let parts = out.stored.count();
        self.answered(offer);
        self.ready.push(offer);
        self.events.push_back(SendEvent::Accepted { offer, parts });
        self.check_all_sent(offer);
        Ok(())
    }

    pub(super) fn stored(
        &mut self,
        offer: OfferId,
        part: PartIndex,
        crc64: u64,
    ) -> Result<(), WireError> {
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

    pub(super) fn receipts(&mut self, payload: &[u8]) -> Result<(), WireError> {
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
    pub(super) fn check_all_sent(&mut self, offer: OfferId) {
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
    pub(super) fn answered(&mut self, offer: OfferId) {
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

    pub(super) fn remove(&mut self, offer: OfferId) -> Option<Outgoing> {
        self.answered(offer);
        let out = self.offers.remove(&offer)?;
        self.asked -= u32::from(out.asked);
        for flight in out.flying.values() {
            if let Some(usage) = self.usage.get_mut(&flight.link) {
                usage.parts = usage.parts.saturating_sub(1);
            }
        }
        self.ready.retain(|id| *id != offer);
        Some(out)
    }
}
