//! Keys of several regions: how one agent gives a key to another, and both keep it the same.
//!
//! ```text
//!   primary                          control link of any session            replica
//!   running::regions ──▶ Courier ──▶ Channel ══ ASK, ANSWER ══▶ KeyDesk ──▶ grants ──▶ keystore
//!      ▲ every second, after a change             material only as wrapped by keys::bring
//!      └── keystore: how far each replica said that it is
//! ```
//!
//! The primary asks and the replica answers, whoever dialled and whoever sends objects: both
//! ends of a session may ask. Nothing is remembered but in the two keystores, and each step
//! may be taken again: a connection or a process that ends in the middle of one leaves
//! nothing to be tidied up.

mod channel;
mod courier;
mod desk;
mod messages;

pub(crate) use channel::Channel;
pub(crate) use courier::{Brought, Courier, lag_ms};
pub(crate) use desk::KeyDesk;
pub(crate) use messages::{Answer, Question};

use sealift_keys::KeyError;
use sealift_terms::{PeerName, Reason, Region};

use crate::Error;

/// Why a step between two regions was not taken.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Trouble {
    /// The configuration has no peer there.
    #[error("no [[peer]] is in region {0}")]
    NoPeer(Region),
    /// It has several, each with a keystore of its own.
    #[error("several peers are in region {0}: a key has one replica in a region")]
    SeveralPeers(Region),
    /// There is no connection with it.
    #[error("peer {peer} cannot be asked now: {what}")]
    NoSession {
        /// The peer.
        peer: PeerName,
        /// What was seen.
        what: String,
    },
    /// It does not know how.
    #[error("peer {0} is older and exchanges no keys")]
    Older(PeerName),
    /// It did not answer in time.
    #[error("no answer came from region {0}")]
    NoAnswer(Region),
    /// It refused.
    #[error("region {region} refuses: {told}")]
    Refused {
        /// The region.
        region: Region,
        /// The reason code and what it says, in its words.
        told: String,
    },
    /// Its answer is none to what it was asked.
    #[error("region {0} answers something else than it was asked")]
    Misplaced(Region),
    /// The configuration keeps the key out of the region.
    #[error("{reason}: {told}", reason = Reason::ResidencyDenied)]
    Residency {
        /// Which line does, in words.
        told: String,
    },
    /// The two ends' copies of the key do not fit together.
    #[error("{0}")]
    Differs(String),
    /// The keystore here.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// This site.
    #[error("{}", .0.in_one_line())]
    Site(Error),
}

impl From<Error> for Trouble {
    fn from(error: Error) -> Self {
        match error {
            Error::Keys(error) => Self::Key(error),
            error => Self::Site(error),
        }
    }
}

impl Trouble {
    /// As the end of a command about `what`.
    pub(crate) fn of(self, what: &str) -> Error {
        match self {
            Self::NoPeer(region) => Error::NotFound {
                what: format!("peer in region {region}"),
            },
            Self::Key(error) => Error::Keys(error),
            Self::Site(error) => error,
            trouble @ (Self::NoSession { .. } | Self::NoAnswer(_)) => Error::TryAgain {
                what: trouble.to_string(),
                reason: Some(Reason::PeerUnreachable),
            },
            trouble => Error::refused(what)(trouble),
        }
    }
}
