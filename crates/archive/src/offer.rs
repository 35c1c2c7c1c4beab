//! What is offered to an archive, and how it answers.

use std::sync::Arc;

use sealift_terms::{Change, Checksum, Identity, PartSize, Receipt, SessionFacts, VersionName};

use crate::{Upload, reseal::Reseals, written::Written};

/// A change that a peer offers.
#[derive(Debug, Clone)]
pub struct Offer {
    /// What happened in the source.
    pub change: Change,
    /// How the object will be cut.
    pub part_size: PartSize,
    /// The sender goes on in the cut of an earlier try, whatever it offers now.
    pub any_cut: bool,
    /// The checksum of the object, when the sender knows it already.
    pub checksum: Option<Checksum>,
    /// Over which session it comes; goes into the receipt.
    pub session: Arc<SessionFacts>,
    /// Who offers it.
    pub origin: Identity,
    /// The bytes are on their way already: whether the version is known is then
    /// left to the commit, which saves a look into the catalog per small object.
    pub data_follows: bool,
    /// It rests here already and is sealed anew. Nothing that comes from a peer is that.
    pub reseals: Option<Reseals>,
    /// An application writes it here. Nothing that comes from a peer is that.
    pub written: Option<Written>,
}

/// The answer to an offer.
#[derive(Debug)]
pub enum Begin {
    /// The version is stored, with this content: nothing is to be sent.
    Known(Box<Receipt>),
    /// The version is stored with other content: refused, and on record.
    Conflict {
        /// The version.
        name: VersionName,
        /// The checksum that is stored.
        stored: Option<Checksum>,
    },
    /// Send [`Upload::missing`], then commit.
    Upload(Box<Upload>),
}
