//! What can go wrong, and whose fault it is.

use sealift_terms::{NameError, Reason};

use crate::header::{FrameType, OfferId};

/// Why a session or link cannot go on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WireError {
    /// The peer's bytes are not a frame of this protocol.
    #[error("the peer sent a bad {frame} frame: {fault}")]
    InvalidFrame {
        /// What it claimed to be, `unknown` when not even that is clear.
        frame: &'static str,
        /// What is wrong with it.
        #[source]
        fault: FrameFault,
    },
    /// The peer's frames are well formed, and not allowed here.
    #[error("the peer broke the protocol: {0}")]
    PeerMisbehaved(#[source] Misbehaviour),
    /// No version of the protocol is spoken by both.
    #[error(
        "no common protocol version: we speak {ours_min} to {ours_max}, the peer {theirs_min} to {theirs_max}"
    )]
    PeerIncompatible {
        /// Our lowest version.
        ours_min: u16,
        /// Our highest version.
        ours_max: u16,
        /// The peer's lowest version.
        theirs_min: u16,
        /// The peer's highest version.
        theirs_max: u16,
    },
}

impl WireError {
    /// The reason code of objects that could not move because of this.
    #[must_use]
    pub fn reason(&self) -> Reason {
        Reason::PeerProtocolMismatch
    }

    pub(crate) fn bad(frame: FrameType, fault: FrameFault) -> Self {
        Self::InvalidFrame {
            frame: frame.as_str(),
            fault,
        }
    }
}

impl From<Misbehaviour> for WireError {
    fn from(misbehaviour: Misbehaviour) -> Self {
        Self::PeerMisbehaved(misbehaviour)
    }
}

/// What is wrong with a frame.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FrameFault {
    /// Fewer bytes than a header has.
    #[error("a header has 24 bytes, {found} were given")]
    ShortHeader {
        /// How many there were.
        found: usize,
    },
    /// No such frame type in this version.
    #[error("type {found} does not exist")]
    UnknownType {
        /// The type byte.
        found: u8,
    },
    /// A flag or field that this type does not use is set.
    #[error("{field} must be zero")]
    NotZero {
        /// Which one.
        field: &'static str,
    },
    /// The payload is longer than the type allows.
    #[error("a payload of {found} bytes, allowed are {allowed}")]
    TooLong {
        /// Its length.
        found: u32,
        /// The longest allowed.
        allowed: u32,
    },
    /// The payload's length is not the only one the type allows.
    #[error("a payload of {found} bytes instead of {expected}")]
    WrongLength {
        /// Its length.
        found: usize,
        /// The length expected.
        expected: usize,
    },
    /// The payload is not the CBOR expected.
    #[error("its payload cannot be read: {0}")]
    Cbor(#[source] minicbor::decode::Error),
    /// Bytes are left after the payload's one CBOR item.
    #[error("{found} bytes follow its payload")]
    Trailing {
        /// How many.
        found: usize,
    },
    /// A value is out of its range.
    #[error("{0}")]
    Value(#[source] NameError),
    /// Values that do not go together.
    #[error("{what}")]
    Inconsistent {
        /// Which, in words.
        what: &'static str,
    },
}

/// What the peer did that the protocol does not allow.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Misbehaviour {
    /// The first frame of a link is not HELLO, or a later one is.
    #[error("{found} where HELLO was expected, or a second HELLO")]
    HelloMisplaced {
        /// What came.
        found: FrameType,
    },
    /// A HELLO that belongs to another session, link, site or role than it should.
    #[error("its HELLO says another {what} than agreed")]
    HelloMismatch {
        /// What differs.
        what: &'static str,
    },
    /// A frame that only the other role sends.
    #[error("{found} comes from the other role only")]
    WrongRole {
        /// What came.
        found: FrameType,
    },
    /// A frame on a link that was never greeted.
    #[error("a frame on link {link}, which does not exist")]
    UnknownLink {
        /// The link.
        link: u32,
    },
    /// A frame for an offer that was never made.
    #[error("{found} for offer {offer}, which was never made")]
    UnknownOffer {
        /// What came.
        found: FrameType,
        /// For which offer.
        offer: OfferId,
    },
    /// An offer made again as another object.
    #[error("offer {offer} was made again with other facts")]
    OfferChanged {
        /// Which offer.
        offer: OfferId,
    },
    /// More offers without an answer than allowed.
    #[error("more than {allowed} offers without an answer")]
    TooManyOffers {
        /// How many are allowed.
        allowed: usize,
    },
    /// More questions without an answer than allowed.
    #[error("more than {allowed} questions without an answer")]
    TooManyQuestions {
        /// How many are allowed.
        allowed: usize,
    },
    /// It sends, and does not read the answers.
    #[error("more than {allowed} bytes wait for it to read them")]
    NotReading {
        /// How many may wait.
        allowed: usize,
    },
    /// More bytes of small objects without an answer than allowed.
    #[error("more than {allowed} bytes of small objects without an answer")]
    InlineCreditExceeded {
        /// How many are allowed.
        allowed: u64,
    },
    /// More bytes of parts begun and not stored than credit was given for.
    #[error("offer {offer} has {used} bytes under way, its credit is {allowed}")]
    CreditExceeded {
        /// Which offer.
        offer: OfferId,
        /// Bytes under way.
        used: u64,
        /// Bytes granted.
        allowed: u64,
    },
    /// More parts open on one link than allowed.
    #[error("more than {allowed} parts open on one link")]
    TooManyParts {
        /// How many are allowed.
        allowed: usize,
    },
    /// DATA or PART_END of a part that is not open, does not exist or is at another offset.
    #[error("offer {offer} part {part}: {what}")]
    PartOutOfOrder {
        /// Which offer.
        offer: OfferId,
        /// Which part.
        part: u32,
        /// What is wrong.
        what: &'static str,
    },
    /// COMMIT or DATA of an offer that was not accepted.
    #[error("{found} for offer {offer}, which was not accepted")]
    NotAccepted {
        /// What came.
        found: FrameType,
        /// For which offer.
        offer: OfferId,
    },
    /// Something else than the one DATA frame behind an inline offer.
    #[error("{found} where the bytes of inline offer {offer} were expected")]
    InlineDataMissing {
        /// What came.
        found: FrameType,
        /// Which offer.
        offer: OfferId,
    },
    /// More bytes that nobody waits for than a lost link explains.
    #[error("too many bytes for offers that had ended")]
    TooMuchDiscarded,
    /// A frame of a forwarded stream that does not fit what went before.
    #[error("{found} of a forwarded stream: {what}")]
    StreamOutOfOrder {
        /// What came.
        found: FrameType,
        /// What is wrong.
        what: &'static str,
    },
    /// An answer that fits no question or no part on its way.
    #[error("{found} for offer {offer} answers nothing that was asked")]
    AnswerUnasked {
        /// What came.
        found: FrameType,
        /// For which offer.
        offer: OfferId,
    },
}
