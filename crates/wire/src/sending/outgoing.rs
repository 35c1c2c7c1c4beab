//! One offer on its way out: what of it is stored, under way, lost, to come.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Range,
};

use sealift_terms::PartIndex;

use crate::{
    body::{Offer, OfferBody},
    cbor,
    header::{FrameType, Header, OfferId},
    links::LinkId,
    parts::Parts,
};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
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
pub(super) struct Flight {
    pub(super) link: LinkId,
    pub(super) bytes: u32,
    /// Its checksum, once it is wholly sent.
    pub(super) crc64: Option<u64>,
}

#[derive(Debug)]
pub(super) struct Outgoing {
    pub(super) offer: Offer,
    pub(super) inline: bool,
    /// Whether it counts as one that was asked about before its bytes were sent.
    pub(super) asked: bool,
    pub(super) stage: Stage,
    /// Where its last OFFER or COMMIT went: replies come back there.
    pub(super) home: Option<LinkId>,
    /// Whether its home still owes an answer to the offer itself.
    pub(super) unanswered: bool,
    pub(super) stored: Parts,
    /// Parts reported stored since the offer was lost from sight.
    pub(super) late: Vec<(PartIndex, u64)>,
    pub(super) flying: BTreeMap<PartIndex, Flight>,
    /// Parts lost with their link. They keep the credit they had: the peer may
    /// not know yet that they are lost.
    pub(super) again: BTreeSet<PartIndex>,
    /// How many bytes the peer keeps of parts that are not whole.
    pub(super) begun: BTreeMap<PartIndex, u32>,
    /// Whether the peer has said how the object is cut there.
    pub(super) is_cut: bool,
    /// The links it was lost on, for the peer to give up as well.
    pub(super) lost_on: BTreeSet<LinkId>,
    /// How often it was offered without its bytes: the answer repeats it.
    pub(super) round: u32,
    /// Parts below were all begun once.
    pub(super) next_new: u32,
    pub(super) credit: u64,
    pub(super) all_sent: bool,
}

/// What the loss of a link means for one offer.
pub(super) enum Lost {
    Nothing,
    AskAnywhere,
    AskAt(LinkId),
}

/// What [`Outgoing::begin`] found to do.
pub(super) enum Begun {
    /// This part, its bytes in the object, and how many of them are there.
    Part(PartIndex, Range<u64>, u32),
    NoCredit,
    Nothing,
}

impl Outgoing {
    pub(super) fn new(offer: Offer, inline: bool, stored: Parts) -> Self {
        Self {
            offer,
            inline,
            asked: false,
            stage: Stage::Waiting,
            home: None,
            unanswered: false,
            stored,
            late: Vec::new(),
            flying: BTreeMap::new(),
            again: BTreeSet::new(),
            begun: BTreeMap::new(),
            is_cut: false,
            lost_on: BTreeSet::new(),
            round: 0,
            next_new: 0,
            credit: 0,
            all_sent: false,
        }
    }

    pub(super) fn append_offer(&mut self, id: OfferId, to: &mut Vec<u8>) {
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
    pub(super) fn lose(&mut self, link: LinkId) -> Lost {
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
    pub(super) fn accept(&mut self, have: Parts, begun: BTreeMap<PartIndex, u32>, credit: u64) {
        self.stored = have;
        self.is_cut = true;
        self.begun = begun;
        for (part, crc64) in std::mem::take(&mut self.late) {
            self.stored.insert(part, crc64);
        }
        // The answer may have left before pieces arrived that are on their way by now: what is
        // stored or flies goes on by itself.
        let (stored, flying) = (&self.stored, &self.flying);
        self.again.retain(|part| !stored.contains(*part));
        self.begun
            .retain(|part, _| !stored.contains(*part) && !flying.contains_key(part));
        self.lost_on.clear();
        self.next_new = 0;
        self.credit = credit;
        self.stage = Stage::Accepted;
    }

    /// Begins the next part on `link`: lost ones first, then those that the peer keeps
    /// something of.
    pub(super) fn begin(&mut self, link: LinkId) -> Begun {
        if self.stage != Stage::Accepted {
            return Begun::Nothing;
        }
        let again = self.again.first().copied();
        let next = again.or_else(|| self.next_begun());
        let Some(part) = next.or_else(|| self.next_unsent()) else {
            return Begun::Nothing;
        };
        let Some(bytes) = self.stored.part_bytes(part) else {
            return Begun::Nothing;
        };
        if again.is_none() {
            if self.under_way() + u64::from(bytes) > self.credit {
                return Begun::NoCredit;
            }
            if next.is_none() {
                self.next_new = part.0 + 1;
            }
        }
        self.again.remove(&part);
        let there = self.begun.remove(&part).unwrap_or_default();
        self.flying.insert(
            part,
            Flight {
                link,
                bytes,
                crc64: None,
            },
        );
        let start = self.stored.part_size().offset_of(part);
        Begun::Part(part, start..start + u64::from(bytes), there)
    }

    fn next_begun(&self) -> Option<PartIndex> {
        let is_free = |part: &&PartIndex| !self.flying.contains_key(part);
        self.begun.keys().find(is_free).copied()
    }

    pub(super) fn next_unsent(&self) -> Option<PartIndex> {
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
    pub(super) fn under_way(&self) -> u64 {
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
    pub(super) fn whole(&self) -> Option<u64> {
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
