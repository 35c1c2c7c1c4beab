//! What a receiving session checks of what comes, before anyone hears of it.

use sealift_terms::{Checksum, PartIndex, Reason};

use super::{
    Place, ReceiveEvent, ReceiveSession,
    incoming::{Incoming, OpenPart, Stage},
};
use crate::{
    body::{AcceptBody, Offer, OfferBody, Refusal, RefusalBody},
    cbor,
    error::{Misbehaviour, WireError},
    header::{FrameType, Header, OfferId},
    links::LinkId,
    parts::Parts,
};

/// What comes in.
impl ReceiveSession {
    pub(super) fn offered(
        &mut self,
        link: LinkId,
        header: &Header,
        body: OfferBody,
    ) -> Result<(), WireError> {
        for lost in body.lost_links().iter().map(|lost| LinkId(*lost)) {
            if lost != link && self.links.contains(lost) {
                self.lost(lost);
                self.events.push_back(ReceiveEvent::GivenUp(lost));
            }
        }
        let (id, round) = (header.offer(), header.part.0);
        let offer = body.checked(header.inline)?;
        self.highest = self.highest.max(id.0);
        if let Some(incoming) = self.offers.get_mut(&id) {
            if incoming.offer != offer || header.inline || round <= incoming.round {
                return Err(Misbehaviour::OfferChanged { offer: id }.into());
            }
            self.uncount(id);
            self.count_offer(link, &offer, false)?;
            self.offered_again(link, id, round);
            return Ok(());
        }
        if offer.is_put() && !header.inline && self.asked >= self.limits.open_offers_max {
            self.refuse_one_more(link, id);
            return Ok(());
        }
        self.count_offer(link, &offer, header.inline)?;
        let Some(stored) = Parts::none_of(offer.bytes(), offer.part_size) else {
            return Ok(());
        };
        let bytes = u32::try_from(offer.bytes()).unwrap_or(u32::MAX);
        let stage = match (header.inline, bytes) {
            (false, _) if offer.is_put() => Stage::Offered,
            (true, 1..) => Stage::Inline(link),
            _ => Stage::Committing,
        };
        let inline = stage != Stage::Offered;
        self.asked += u32::from(!inline);
        let what = Box::new(offer.clone());
        self.offers
            .insert(id, Incoming::new(offer, stage, link, round, stored));
        self.events.push_back(ReceiveEvent::Offered {
            offer: id,
            what,
            inline,
        });
        match stage {
            Stage::Inline(_) => {
                if let Some(usage) = self.usage.get_mut(&link) {
                    usage.expects = Some((id, bytes));
                }
            }
            Stage::Committing => self.events.push_back(ReceiveEvent::InlineEnd { offer: id }),
            _ => {}
        }
        Ok(())
    }

    /// Answers an offer for which there is no room in the session.
    fn refuse_one_more(&mut self, link: LinkId, id: OfferId) {
        let evidence = format!("{} offers are open in this session", self.asked);
        let refusal = Refusal::new(Reason::DstQuotaExceeded, evidence);
        let header = Header::of(FrameType::Refuse, id.0, 0);
        self.links.send(link, |out| {
            cbor::append(out, header, &RefusalBody::from(&refusal))
        });
    }

    /// Counts an offer against the limits of its link.
    pub(super) fn count_offer(
        &mut self,
        link: LinkId,
        offer: &Offer,
        inline: bool,
    ) -> Result<(), WireError> {
        let Some(usage) = self.usage.get_mut(&link) else {
            return Ok(());
        };
        usage.unanswered += 1;
        if usage.unanswered > self.limits.offers_max {
            let allowed = self.limits.offers_max as usize;
            return Err(Misbehaviour::TooManyOffers { allowed }.into());
        }
        if inline {
            usage.inline_bytes += offer.bytes();
            let allowed = self.limits.inline_bytes_max;
            if usage.inline_bytes > allowed {
                return Err(Misbehaviour::InlineCreditExceeded { allowed }.into());
            }
        }
        Ok(())
    }

    /// The sending side lost sight of an offer that is here, and asks about it.
    pub(super) fn offered_again(&mut self, link: LinkId, id: OfferId, round: u32) {
        let Some(incoming) = self.offers.get_mut(&id) else {
            return;
        };
        incoming.home = link;
        incoming.round = round;
        incoming.unanswered = true;
        match incoming.stage {
            // The driver's answer will answer this one too.
            Stage::Offered | Stage::Committing => {}
            Stage::Inline(_) => {
                // Its bytes stopped on a link that the peer did not name as lost:
                // what came is of no use, the object will come as parts.
                incoming.stage = Stage::Offered;
                self.asked += u32::from(!std::mem::replace(&mut incoming.asked, true));
                let what = Box::new(incoming.offer.clone());
                self.free_inline(id);
                self.events.push_back(ReceiveEvent::Abandoned { offer: id });
                self.events.push_back(ReceiveEvent::Offered {
                    offer: id,
                    what,
                    inline: false,
                });
            }
            Stage::Accepted => {
                incoming.commit = None;
                self.answer_offer(id);
            }
        }
    }

    /// Checks the start of a DATA frame of a part. False when its bytes are for nobody.
    pub(super) fn begin_frame(&mut self, link: LinkId, header: &Header) -> Result<bool, WireError> {
        let (offer, part) = (header.offer(), header.part);
        if offer.0 > self.highest {
            return Err(Misbehaviour::UnknownOffer {
                found: header.frame,
                offer,
            }
            .into());
        }
        let Some(incoming) = self
            .offers
            .get_mut(&offer)
            .filter(|i| i.stage != Stage::Offered)
        else {
            let left = self.may_discard.checked_sub(u64::from(header.length));
            self.may_discard = left.ok_or(Misbehaviour::TooMuchDiscarded)?;
            return Ok(false);
        };
        let wrong = |what| Misbehaviour::PartOutOfOrder {
            offer,
            part: part.0,
            what,
        };
        let end = header.offset.checked_add(header.length);
        let bytes = incoming
            .stored
            .part_bytes(part)
            .ok_or(wrong("no such part exists"))?;
        if end.is_none_or(|end| end > bytes) {
            return Err(wrong("bytes beyond its end").into());
        }
        let goes_on = incoming.begun.get(&part) == Some(&header.offset);
        if header.offset == 0 || goes_on {
            self.begin_part(link, offer, part, (header.offset, bytes))?;
        } else {
            let open = incoming
                .open
                .get(&part)
                .filter(|o| o.link == link && o.ended.is_none());
            let open = open.ok_or(wrong("bytes of a part that is not open"))?;
            if open.got != header.offset {
                return Err(wrong("bytes that do not follow those before").into());
            }
        }
        Ok(true)
    }

    /// Opens a part of so many bytes on a link, within what was granted, at its first byte
    /// or where what is kept of it ends.
    pub(super) fn begin_part(
        &mut self,
        link: LinkId,
        offer: OfferId,
        part: PartIndex,
        (from, bytes): (u32, u32),
    ) -> Result<(), WireError> {
        let allowed = self.limits.parts_max;
        if self.usage.get(&link).is_some_and(|u| u.parts >= allowed) {
            let allowed = allowed as usize;
            return Err(Misbehaviour::TooManyParts { allowed }.into());
        }
        let Some(incoming) = self.offers.get_mut(&offer) else {
            return Ok(());
        };
        let wrong = |what| {
            Err(Misbehaviour::PartOutOfOrder {
                offer,
                part: part.0,
                what,
            }
            .into())
        };
        if incoming.stage != Stage::Accepted {
            let found = FrameType::Data;
            return Err(Misbehaviour::NotAccepted { found, offer }.into());
        }
        if incoming.stored.contains(part) {
            return wrong("it is stored already");
        }
        if incoming.open.contains_key(&part) || incoming.unsettled.contains(&part) {
            return wrong("it was begun and not given up");
        }
        let open = incoming
            .open
            .values()
            .map(|open| u64::from(open.bytes))
            .sum::<u64>();
        let (used, allowed) = (open + u64::from(bytes), incoming.credit_max);
        if used > allowed {
            return Err(Misbehaviour::CreditExceeded {
                offer,
                used,
                allowed,
            }
            .into());
        }
        if let Some(usage) = self.usage.get_mut(&link) {
            usage.parts += 1;
        }
        incoming.begun.remove(&part);
        incoming.open.insert(
            part,
            OpenPart {
                link,
                from,
                got: from,
                bytes,
                ended: None,
            },
        );
        Ok(())
    }

    /// A piece of the one DATA frame behind an inline offer.
    pub(super) fn inline_data(
        &mut self,
        link: LinkId,
        header: &Header,
        offer: OfferId,
        bytes: u32,
        done: u32,
        piece: u32,
    ) -> Result<Place, WireError> {
        let whole = Header::data(offer, PartIndex(0), 0, bytes);
        if *header != whole {
            return Err(Misbehaviour::InlineDataMissing {
                found: header.frame,
                offer,
            }
            .into());
        }
        let ends = done.saturating_add(piece) >= bytes;
        if let Some(usage) = self.usage.get_mut(&link).filter(|_| ends) {
            usage.expects = None;
        }
        let here = |incoming: &&mut Incoming| incoming.stage == Stage::Inline(link);
        let Some(incoming) = self.offers.get_mut(&offer).filter(here) else {
            return Ok(Place::Nowhere);
        };
        if ends {
            incoming.stage = Stage::Committing;
            self.events.push_back(ReceiveEvent::InlineEnd { offer });
        }
        Ok(Place::Inline {
            offer,
            offset: done,
        })
    }

    pub(super) fn part_end(
        &mut self,
        link: LinkId,
        offer: OfferId,
        part: PartIndex,
        crc64: u64,
    ) -> Result<(), WireError> {
        let Some(incoming) = self
            .offers
            .get(&offer)
            .filter(|i| i.stage != Stage::Offered)
        else {
            return Ok(());
        };
        // The last part of an object may be empty: then its end is all there is of it.
        if incoming.stored.part_bytes(part) == Some(0) {
            self.begin_part(link, offer, part, (0, 0))?;
        }
        let incoming = self.offers.get_mut(&offer);
        let open = incoming.and_then(|i| i.open.get_mut(&part));
        let wrong = |what| Misbehaviour::PartOutOfOrder {
            offer,
            part: part.0,
            what,
        };
        let open = open
            .filter(|open| open.link == link && open.ended.is_none())
            .ok_or(wrong("the end of a part that is not open"))?;
        if open.got != open.bytes {
            return Err(wrong("its end before its last byte").into());
        }
        open.ended = Some(crc64);
        let bytes = open.bytes;
        self.events.push_back(ReceiveEvent::PartEnd {
            offer,
            part,
            bytes,
            crc64,
        });
        Ok(())
    }

    pub(super) fn commit(
        &mut self,
        link: LinkId,
        offer: OfferId,
        round: u32,
        sum: Checksum,
    ) -> Result<(), WireError> {
        let Some(incoming) = self.offers.get_mut(&offer) else {
            return Ok(());
        };
        if round < incoming.round {
            return Ok(()); // Overtaken: the offer was made again, on another link.
        }
        let found = FrameType::Commit;
        if round > incoming.round {
            return Err(Misbehaviour::NotAccepted { found, offer }.into());
        }
        match incoming.stage {
            Stage::Accepted => {
                incoming.home = link;
                incoming.commit = Some(sum);
                self.check_complete(offer);
                Ok(())
            }
            Stage::Committing => Ok(()),
            Stage::Offered | Stage::Inline(_) => {
                Err(Misbehaviour::NotAccepted { found, offer }.into())
            }
        }
    }

    /// Says so when every part is stored and the sending side has committed.
    pub(super) fn check_complete(&mut self, offer: OfferId) {
        let Some(incoming) = self.offers.get_mut(&offer) else {
            return;
        };
        if incoming.stage != Stage::Accepted {
            return;
        }
        if let (Some(checksum), Some(stored_crc64)) = (&incoming.commit, incoming.stored.whole()) {
            let checksum = checksum.clone();
            incoming.stage = Stage::Committing;
            self.events.push_back(ReceiveEvent::Commit {
                offer,
                checksum,
                stored_crc64,
            });
        }
    }

    /// Answers the last OFFER of an accepted offer, once it is certain what is
    /// there: parts that came whole over a lost link and are still being stored
    /// would otherwise be sent again.
    pub(super) fn answer_offer(&mut self, offer: OfferId) {
        let links = &self.links;
        let Some(incoming) = self.offers.get_mut(&offer) else {
            return;
        };
        let uncertain = |o: &OpenPart| o.ended.is_some() && !links.contains(o.link);
        if !incoming.unanswered
            || incoming.stage != Stage::Accepted
            || !incoming.unsettled.is_empty()
            || incoming.open.values().any(uncertain)
        {
            return;
        }
        let header = Header {
            part: PartIndex(incoming.round),
            ..Header::of(FrameType::Accept, offer.0, 0)
        };
        let offered = incoming.offer.part_size;
        let body = AcceptBody::new(&incoming.stored, &incoming.begun, incoming.credit, offered);
        let home = incoming.home;
        self.uncount(offer);
        // Without its home there is nobody to answer: the offer will come again.
        self.links
            .send(home, |out| cbor::append(out, header, &body));
    }

    /// Gives back what an unanswered offer took of its link's limits.
    pub(super) fn uncount(&mut self, offer: OfferId) {
        let Some(incoming) = self.offers.get_mut(&offer) else {
            return;
        };
        if !std::mem::take(&mut incoming.unanswered) {
            return;
        }
        if let Some(usage) = self.usage.get_mut(&incoming.home) {
            usage.unanswered = usage.unanswered.saturating_sub(1);
        }
    }

    /// Gives back the inline credit of an offer whose bytes are kept no more.
    fn free_inline(&mut self, offer: OfferId) {
        let Some(incoming) = self.offers.get_mut(&offer) else {
            return;
        };
        let link = incoming.inline_on.take();
        if let Some(usage) = link.and_then(|link| self.usage.get_mut(&link)) {
            usage.inline_bytes = usage.inline_bytes.saturating_sub(incoming.offer.bytes());
        }
    }

    pub(super) fn remove(&mut self, offer: OfferId) -> Option<Incoming> {
        self.uncount(offer);
        self.free_inline(offer);
        let incoming = self.offers.remove(&offer)?;
        self.asked -= u32::from(incoming.asked);
        for open in incoming.open.values() {
            if let Some(usage) = self.usage.get_mut(&open.link) {
                usage.parts = usage.parts.saturating_sub(1);
            }
        }
        // What the peer may have begun before it hears of the end, and once more
        // for parts it begins again after a loss.
        let begun = incoming
            .credit_max
            .max(u64::from(incoming.stored.part_size().bytes()));
        self.may_discard = self.may_discard.saturating_add(begun.saturating_mul(2));
        Some(incoming)
    }
}
