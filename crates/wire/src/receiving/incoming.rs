//! One offer on its way in: what of it is stored, and what is under way.

use std::collections::{BTreeMap, BTreeSet};

use sealift_terms::{Checksum, PartIndex};

use crate::{body::Offer, links::LinkId, parts::Parts};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    Offered,
    /// Its bytes are coming behind the offer, on this link.
    Inline(LinkId),
    Accepted,
    /// All is here; the driver has to answer.
    Committing,
}

/// A part begun and not yet stored.
#[derive(Debug)]
pub(super) struct OpenPart {
    pub(super) link: LinkId,
    /// The byte from which it was begun on this link.
    pub(super) from: u32,
    pub(super) got: u32,
    pub(super) bytes: u32,
    pub(super) ended: Option<u64>,
}

#[derive(Debug)]
pub(super) struct Incoming {
    pub(super) offer: Offer,
    pub(super) stage: Stage,
    pub(super) home: LinkId,
    /// The round of the last OFFER; 0 for an inline one.
    pub(super) round: u32,
    /// Whether that OFFER has no answer yet.
    pub(super) unanswered: bool,
    /// Whose inline credit its bytes take, from the offer until they are forgotten
    /// or durable: being asked about frees nothing.
    pub(super) inline_on: Option<LinkId>,
    /// Whether it counts as one that was asked about before its bytes came.
    pub(super) asked: bool,
    pub(super) stored: Parts,
    pub(super) open: BTreeMap<PartIndex, OpenPart>,
    /// Parts whose link was lost, of which the driver has not said yet what is kept.
    pub(super) unsettled: BTreeSet<PartIndex>,
    /// How many bytes are kept of parts that nobody writes now.
    pub(super) begun: BTreeMap<PartIndex, u32>,
    pub(super) credit: u64,
    pub(super) credit_max: u64,
    pub(super) commit: Option<Checksum>,
}

impl Incoming {
    pub(super) fn new(offer: Offer, stage: Stage, home: LinkId, round: u32, stored: Parts) -> Self {
        Self {
            offer,
            stage,
            home,
            round,
            unanswered: true,
            inline_on: match stage {
                Stage::Offered | Stage::Accepted => None,
                Stage::Inline(_) | Stage::Committing => Some(home),
            },
            asked: stage == Stage::Offered,
            stored,
            open: BTreeMap::new(),
            unsettled: BTreeSet::new(),
            begun: BTreeMap::new(),
            credit: 0,
            credit_max: 0,
            commit: None,
        }
    }
}
