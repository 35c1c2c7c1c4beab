//! HELLO: who speaks, in which session, and within which limits.

use minicbor::{Decode, Encode};
use sealift_terms::{
    CHUNK_BYTES, Epoch, PartSize, Region, SessionId, SiteId, SiteName, Timestamp, limits,
};

use crate::{
    cbor,
    error::{Misbehaviour, WireError},
    header::{FrameType, Header},
};

/// The lowest protocol version spoken here.
pub const PROTOCOL_MIN: u16 = 1;
/// The highest protocol version spoken here.
pub const PROTOCOL_MAX: u16 = 1;

/// What the author of a HELLO does in the session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Encode, Decode)]
#[cbor(index_only)]
pub enum Role {
    /// It has objects to send.
    #[n(0)]
    Send,
    /// It takes objects.
    #[n(1)]
    Receive,
}

impl Role {
    /// The role of the other end.
    #[must_use]
    pub fn other(self) -> Self {
        match self {
            Self::Send => Self::Receive,
            Self::Receive => Self::Send,
        }
    }
}

/// What the author of a HELLO lets the other end do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Limits {
    /// Bytes of inline objects without a receipt or refusal, per link.
    #[n(0)]
    pub inline_bytes_max: u64,
    /// Offers without an answer, per link.
    #[n(1)]
    pub offers_max: u32,
    /// Parts begun and not stored, per link.
    #[n(2)]
    pub parts_max: u32,
    /// Offers asked about before their bytes were sent, and not over, in the session.
    #[n(3)]
    pub open_offers_max: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            inline_bytes_max: limits::INLINE_BYTES_OUTSTANDING_MAX,
            offers_max: u32::try_from(limits::OFFERS_OUTSTANDING_MAX).unwrap_or(u32::MAX),
            parts_max: u32::try_from(limits::PARTS_IN_FLIGHT_PER_CONNECTION).unwrap_or(u32::MAX),
            open_offers_max: u32::try_from(limits::OPEN_OFFERS_PER_SESSION_MAX).unwrap_or(u32::MAX),
        }
    }
}

impl Limits {
    /// What both ends allow: field by field the smaller.
    #[must_use]
    pub fn smaller(self, other: Self) -> Self {
        Self {
            inline_bytes_max: self.inline_bytes_max.min(other.inline_bytes_max),
            offers_max: self.offers_max.min(other.offers_max),
            parts_max: self.parts_max.min(other.parts_max),
            open_offers_max: self.open_offers_max.min(other.open_offers_max),
        }
    }
}

/// The first frame of every link, in both directions. The dialer speaks first;
/// the acceptor's HELLO repeats session and link and names the other role.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Hello {
    /// The lowest protocol version its author speaks.
    #[n(0)]
    pub protocol_min: u16,
    /// The highest.
    #[n(1)]
    pub protocol_max: u16,
    /// The session, drawn by the dialer.
    #[n(2)]
    #[cbor(with = "cbor::text")]
    pub session: SessionId,
    /// The link within the session: 0 is the control link.
    #[n(3)]
    pub link: u32,
    /// What its author does in the session.
    #[n(4)]
    pub role: Role,
    /// Its author's site.
    #[n(5)]
    #[cbor(with = "cbor::text")]
    pub site: SiteId,
    /// That site's name.
    #[n(6)]
    #[cbor(with = "cbor::text")]
    pub site_name: SiteName,
    /// The region it is in.
    #[n(7)]
    #[cbor(with = "cbor::text")]
    pub region: Region,
    /// The site's epoch: a new one says that its catalog was rebuilt or restored.
    #[n(8)]
    #[cbor(with = "cbor::text")]
    pub epoch: Epoch,
    /// The site's last commit sequence: a lower one than before says the same.
    #[n(9)]
    pub commit_sequence: u64,
    /// What its clock shows.
    #[n(10)]
    #[cbor(with = "cbor::millis")]
    pub clock: Timestamp,
    /// Its software, for people: at most 64 bytes are kept.
    #[n(11)]
    pub software: String,
    /// What it lets the other end do.
    #[n(12)]
    pub limits: Limits,
    /// What its author lets the other end do, in a number of its own: when it is another
    /// one than before, what was refused is worth another try.
    #[n(13)]
    pub policy: Option<u64>,
    /// On a control link, of one that sends: what it remembers of the other end, so that
    /// one that came back from an older copy of its data is told.
    #[n(14)]
    pub remembered: Option<Remembered>,
    /// Of one that receives: the compressions it takes, a bit each
    /// ([`DECOMPRESSES_ZSTD`](crate::DECOMPRESSES_ZSTD)).
    #[n(15)]
    pub decompresses: Option<u8>,
    /// Of one that receives: how objects may be cut for it, and that an upload goes on in
    /// the cut that it began with, whatever is offered later. Of one that sends: that it
    /// goes on in the cut which an ACCEPT names. Neither does so without.
    #[n(16)]
    pub cuts: Option<Cuts>,
    /// On a control link: how its author exchanges keys of several regions with the other
    /// end, as a number ([`KEY_EXCHANGE`]). It is asked for none without, as of an older one.
    #[n(17)]
    pub key_exchange: Option<u8>,
    /// Of one that receives: what it takes beyond puts, delete markers and tags, a bit each
    /// ([`TAKES_PURGES`]). It is offered nothing else without, as of an older one.
    #[n(18)]
    pub takes: Option<u8>,
}

/// In a HELLO's `takes`: its author takes purges, from those whom it grants them.
pub const TAKES_PURGES: u8 = 1;

/// The way in which keys of several regions are exchanged.
pub const KEY_EXCHANGE: u8 = 1;

/// The part sizes that one end takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Cuts {
    /// Bytes of the smallest part.
    #[n(0)]
    pub part_bytes_min: u32,
    /// Bytes of the largest part.
    #[n(1)]
    pub part_bytes_max: u32,
}

impl Default for Cuts {
    fn default() -> Self {
        Self {
            part_bytes_min: PartSize::MIN.bytes(),
            part_bytes_max: PartSize::MAX.bytes(),
        }
    }
}

impl Cuts {
    /// The part size that is nearest to the one wanted; nothing when none is allowed.
    #[must_use]
    pub fn nearest(self, wanted: PartSize) -> Option<PartSize> {
        let bytes = wanted.bytes().max(self.part_bytes_min);
        let bytes = bytes.min(self.part_bytes_max) / CHUNK_BYTES * CHUNK_BYTES;
        PartSize::new(bytes).ok()
    }
}

/// How far a sender has seen its peer come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Remembered {
    /// The peer's epoch then.
    #[n(0)]
    #[cbor(with = "cbor::text")]
    pub epoch: Epoch,
    /// Its last commit sequence then.
    #[n(1)]
    pub commit_sequence: u64,
}

/// What two HELLOs agree on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Agreed {
    /// The protocol version to speak.
    pub protocol: u16,
    /// What both let each other do.
    pub limits: Limits,
}

const SOFTWARE_BYTES_MAX: usize = 64;

impl Hello {
    /// Appends the frame to `out`.
    pub fn append_to(&self, out: &mut Vec<u8>) {
        cbor::append(out, Header::of(FrameType::Hello, 0, 0), self);
    }

    /// Reads the first frame of a link.
    ///
    /// # Errors
    /// [`WireError`]: it is another frame, or cannot be read. The peer's fault.
    pub fn read(header: &Header, payload: &[u8]) -> Result<Self, WireError> {
        if header.frame != FrameType::Hello {
            return Err(Misbehaviour::HelloMisplaced {
                found: header.frame,
            }
            .into());
        }
        let mut hello: Self = cbor::read(header.frame, payload)?;
        hello.software = hello
            .software
            .chars()
            .filter(|c| c.is_ascii_graphic())
            .collect();
        hello.software.truncate(SOFTWARE_BYTES_MAX);
        Ok(hello)
    }

    /// The highest version and the smallest limits of both.
    ///
    /// # Errors
    /// [`WireError::PeerIncompatible`] when no version is spoken by both.
    pub fn agree(&self, theirs: &Self) -> Result<Agreed, WireError> {
        let protocol = self.protocol_max.min(theirs.protocol_max);
        if protocol < self.protocol_min.max(theirs.protocol_min) {
            return Err(WireError::PeerIncompatible {
                ours_min: self.protocol_min,
                ours_max: self.protocol_max,
                theirs_min: theirs.protocol_min,
                theirs_max: theirs.protocol_max,
            });
        }
        Ok(Agreed {
            protocol,
            limits: self.limits.smaller(theirs.limits),
        })
    }

    /// Checks the answer to this HELLO: same session and link, the other role.
    ///
    /// # Errors
    /// [`WireError`], naming what differs.
    pub fn check_answer(&self, answer: &Self) -> Result<Agreed, WireError> {
        let agreed = self.agree(answer)?;
        let same = [
            ("session", self.session == answer.session),
            ("link", self.link == answer.link),
            ("role", self.role == answer.role.other()),
        ];
        match same.iter().find(|(_, same)| !same) {
            Some((what, _)) => Err(Misbehaviour::HelloMismatch { what }.into()),
            None => Ok(agreed),
        }
    }

    /// Checks that the HELLO of a further link belongs to the session that
    /// `first` began: same site, epoch and role.
    ///
    /// # Errors
    /// [`WireError`], naming what differs.
    pub fn check_joins(&self, first: &Self) -> Result<(), WireError> {
        let same = [
            ("session", self.session == first.session),
            ("role", self.role == first.role),
            ("site", self.site == first.site),
            ("region", self.region == first.region),
            ("epoch", self.epoch == first.epoch),
        ];
        match same.iter().find(|(_, same)| !same) {
            Some((what, _)) => Err(Misbehaviour::HelloMismatch { what }.into()),
            None => Ok(()),
        }
    }
}
