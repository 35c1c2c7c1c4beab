//! The 24 bytes before every payload.

use std::fmt;

use sealift_terms::{
    PartIndex,
    limits::{CONTROL_BODY_BYTES_MAX, FRAME_BYTES_MAX},
};

use crate::error::{FrameFault, WireError};

/// Bytes of a frame header.
pub const FRAME_HEADER_BYTES: usize = 24;

/// The only flag: on OFFER, the object's bytes follow at once in one DATA frame
/// on the same link (none follows an object of no bytes).
pub const FLAG_INLINE: u8 = 1;

/// One offer of one object within a session, counted from 1 by the sending side.
/// An object that is offered anew after a refusal gets a new one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OfferId(pub u64);

impl fmt::Display for OfferId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// Declares the frame types: number, word, longest payload, fields of the header in use.
macro_rules! frames {
    ($($(#[$doc:meta])* $name:ident = $number:literal, $word:literal, $longest:expr, $uses:expr;)+) => {
        /// What a frame is.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u8)]
        pub enum FrameType { $($(#[$doc])* $name = $number,)+ }

        impl FrameType {
            /// Every type.
            pub const ALL: &'static [Self] = &[$(Self::$name,)+];

            /// The word used in documents and messages.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $word,)+ }
            }

            /// The longest payload, in bytes.
            #[must_use]
            pub const fn payload_bytes_max(self) -> u32 {
                match self { $(Self::$name => $longest,)+ }
            }

            const fn uses(self) -> Uses {
                match self { $(Self::$name => $uses,)+ }
            }

            fn from_byte(byte: u8) -> Option<Self> {
                match byte { $($number => Some(Self::$name),)+ _ => None }
            }
        }
    };
}

/// Which fields of the header a type uses; the others must be zero.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Uses {
    Nothing,
    Number,
    Part,
    Offset,
}

const SMALL: u32 = 4 * 1024;
#[allow(clippy::cast_possible_truncation, reason = "256 KiB")]
const QUESTION_BYTES_MAX: u32 = CONTROL_BODY_BYTES_MAX as u32;

frames! {
    /// Who speaks; the first frame of every link in both directions.
    Hello = 1, "HELLO", SMALL, Uses::Nothing;
    /// An object is to be had.
    Offer = 2, "OFFER", 64 * 1024, Uses::Part;
    /// It is wanted: what is there already, and how much may be under way.
    Accept = 3, "ACCEPT", FRAME_BYTES_MAX, Uses::Part;
    /// Bytes of a part, as they are.
    Data = 4, "DATA", FRAME_BYTES_MAX, Uses::Offset;
    /// All bytes of a part were sent.
    PartEnd = 5, "PART_END", SMALL, Uses::Part;
    /// A part is stored and need not be sent again.
    PartStored = 6, "PART_STORED", SMALL, Uses::Part;
    /// All parts were sent; this is the checksum of the whole.
    Commit = 7, "COMMIT", SMALL, Uses::Part;
    /// Objects that are durable.
    Receipts = 8, "RECEIPTS", FRAME_BYTES_MAX, Uses::Nothing;
    /// An offer is not taken, or no longer.
    Refuse = 9, "REFUSE", SMALL, Uses::Number;
    /// An offer is withdrawn.
    Cancel = 10, "CANCEL", SMALL, Uses::Number;
    /// How much of an offer may be under way from now on.
    Credit = 11, "CREDIT", SMALL, Uses::Number;
    /// Are you there?
    Ping = 12, "PING", 0, Uses::Number;
    /// I am.
    Pong = 13, "PONG", 0, Uses::Number;
    /// Begin nothing new on this link.
    Drain = 14, "DRAIN", 0, Uses::Nothing;
    /// The last frame of a link.
    Close = 15, "CLOSE", SMALL, Uses::Nothing;
    /// A question of one agent to the other, outside of any offer.
    Ask = 16, "ASK", QUESTION_BYTES_MAX, Uses::Number;
    /// Its answer.
    Answer = 17, "ANSWER", QUESTION_BYTES_MAX, Uses::Number;
    /// Bytes of a part, compressed; only to those who said that they take them.
    Packed = 18, "PACKED", FRAME_BYTES_MAX, Uses::Offset;
    /// A forwarded stream begins on this link, or goes on.
    Open = 19, "OPEN", SMALL, Uses::Nothing;
    /// It does.
    Opened = 20, "OPENED", SMALL, Uses::Nothing;
    /// How far a forwarded stream has come, and how much more may follow.
    Ack = 21, "ACK", 0, Uses::Offset;
    /// A direction of a forwarded stream has ended.
    End = 22, "END", 0, Uses::Number;
}

impl fmt::Display for FrameType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// A frame's header. Big-endian on the wire:
///
/// ```text
///  0  1  2   4        8                16       20       24
///  ┌──┬──┬───┬────────┬────────────────┬────────┬────────┐
///  │ty│fl│ 0 │ length │ number         │ part   │ offset │  payload …
///  └──┴──┴───┴────────┴────────────────┴────────┴────────┘
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// What the frame is.
    pub frame: FrameType,
    /// Whether [`FLAG_INLINE`] is set; on OFFER only.
    pub inline: bool,
    /// Bytes of payload.
    pub length: u32,
    /// The offer; of PING, PONG, ASK and ANSWER the number of the question; in a
    /// forwarded stream a position.
    pub number: u64,
    /// The part, counted from 0; of OFFER, ACCEPT and COMMIT the round:
    /// how often the offer was made without its bytes.
    pub part: PartIndex,
    /// Where in the part the payload belongs, in bytes.
    pub offset: u32,
}

impl Header {
    /// The header of a frame that names no part.
    #[must_use]
    pub fn of(frame: FrameType, number: u64, length: u32) -> Self {
        Self {
            frame,
            inline: false,
            length,
            number,
            part: PartIndex(0),
            offset: 0,
        }
    }

    /// The header of a DATA frame of `length` bytes.
    #[must_use]
    pub fn data(offer: OfferId, part: PartIndex, offset: u32, length: u32) -> Self {
        Self {
            part,
            offset,
            ..Self::of(FrameType::Data, offer.0, length)
        }
    }

    /// The offer it names.
    #[must_use]
    pub fn offer(&self) -> OfferId {
        OfferId(self.number)
    }

    /// Its 24 bytes.
    #[must_use]
    pub fn encode(&self) -> [u8; FRAME_HEADER_BYTES] {
        let [a, b, c, d] = self.length.to_be_bytes();
        let mut bytes = [0; FRAME_HEADER_BYTES];
        let fields = [
            self.frame as u8,
            u8::from(self.inline) * FLAG_INLINE,
            0,
            0,
            a,
            b,
            c,
            d,
        ]
        .into_iter()
        .chain(self.number.to_be_bytes())
        .chain(self.part.0.to_be_bytes())
        .chain(self.offset.to_be_bytes());
        bytes
            .iter_mut()
            .zip(fields)
            .for_each(|(to, from)| *to = from);
        bytes
    }

    /// Reads and checks the first 24 bytes of `bytes`.
    ///
    /// # Errors
    /// [`WireError::InvalidFrame`]: the peer's fault.
    pub fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        let short = || WireError::InvalidFrame {
            frame: "unknown",
            fault: FrameFault::ShortHeader { found: bytes.len() },
        };
        let header = bytes
            .first_chunk::<FRAME_HEADER_BYTES>()
            .ok_or_else(short)?;
        let [ty, flags, ..] = header;
        let word = |at: usize| -> u32 {
            let bytes = header
                .get(at..)
                .and_then(|rest| rest.first_chunk())
                .copied();
            u32::from_be_bytes(bytes.unwrap_or_default())
        };
        let unknown = || WireError::InvalidFrame {
            frame: "unknown",
            fault: FrameFault::UnknownType { found: *ty },
        };
        let frame = FrameType::from_byte(*ty).ok_or_else(unknown)?;
        let decoded = Self {
            frame,
            inline: *flags == FLAG_INLINE,
            length: word(4),
            number: u64::from(word(8)) << 32 | u64::from(word(12)),
            part: PartIndex(word(16)),
            offset: word(20),
        };
        let bare = *flags == 0 || (decoded.inline && frame == FrameType::Offer);
        decoded
            .check(bare, word(0) & 0xffff == 0)
            .map_err(|fault| WireError::bad(frame, fault))?;
        Ok(decoded)
    }

    fn check(&self, flags_known: bool, gap_is_zero: bool) -> Result<(), FrameFault> {
        let uses = self.frame.uses();
        let zeros = [
            ("an unknown flag", flags_known),
            ("the gap behind the flags", gap_is_zero),
            ("the number", uses >= Uses::Number || self.number == 0),
            ("the part", uses >= Uses::Part || self.part.0 == 0),
            ("the offset", uses >= Uses::Offset || self.offset == 0),
        ];
        if let Some((field, _)) = zeros.iter().find(|(_, holds)| !holds) {
            return Err(FrameFault::NotZero { field });
        }
        let allowed = self.frame.payload_bytes_max();
        if self.length > allowed {
            return Err(FrameFault::TooLong {
                found: self.length,
                allowed,
            });
        }
        if self.frame == FrameType::Data && self.length == 0 {
            return Err(FrameFault::Inconsistent {
                what: "a DATA frame has at least one byte",
            });
        }
        Ok(())
    }
}
