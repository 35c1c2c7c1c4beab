//! How an object moves from one agent to another: the frames they exchange and
//! the two state machines that decide what may be said next. Protocol logic
//! only: no socket, no clock, no randomness, and no byte of an object is ever
//! owned or copied here.
//!
//! ```text
//!  offers, parts sent ──▶ SendSession ──▶ frames ═════▶ ReceiveSession ──▶ Offered, PartEnd, Commit
//!  Accepted, Stored,  ◀──      │      ◀═══════ frames ──      │       ◀── accept, stored, receipt
//!  Completed, Refused          │ next(link): what this link carries now    refuse, credit
//! ```
//!
//! A *session* moves objects one way, over a control link and up to
//! [`limits::CONNECTIONS_PER_PEER_MAX`](sealift_terms::limits::CONNECTIONS_PER_PEER_MAX)
//! data links. The driver of a session owns the links: it says when one is there
//! ([`SendSession::linked`]) and when one is lost, hands in the frames that come
//! from it, and writes what the session gives it. A frame is a [`Header`] of 24
//! bytes and a payload; `docs/protocol.md` has every byte.
//!
//! | the far side | is held to |
//! |---|---|
//! | frames | known types, no stray flags or fields, a length limit per type, bounded CBOR |
//! | order | an offer before its parts, a part from its first byte to its last, in order |
//! | credit | bytes of parts begun and not stored, per offer; bytes of small objects, per link |
//! | amount | offers without an answer, parts open on a link, bytes nobody waits for |
//!
//! A *forwarded stream* ([`forward`]) is something else: bytes of any TCP protocol, both
//! ways, over one link at a time.
//!
//! Left to others: connections and TLS (`sealift-tunnel`), reading and sealing
//! objects (`sealift-sender`, `sealift-receiver`), who may do what (`sealift-identity`).
#![cfg_attr(not(test), warn(clippy::indexing_slicing))]

pub mod body;
mod cbor;
pub mod checksum;
pub mod error;
pub mod forward;
pub mod header;
pub mod hello;
mod links;
mod packed;
mod parts;
mod receipts;
pub mod receiving;
pub mod sending;

pub use body::{Accept, Close, Evidence, Offer, Refusal};
pub use error::{FrameFault, Misbehaviour, WireError};
pub use header::{FRAME_HEADER_BYTES, FrameType, Header, OfferId};
pub use hello::{
    Agreed, Cuts, Hello, KEY_EXCHANGE, Limits, PROTOCOL_MAX, PROTOCOL_MIN, Remembered, Role,
    TAKES_PURGES,
};
pub use links::{Carries, LinkEvent, LinkId};
pub use packed::{DECOMPRESSES_ZSTD, Packer, Unpacker, announced};
pub use parts::{Parts, Run};
pub use receiving::{Place, ReceiveEvent, ReceiveSession};
pub use sending::{HowToOffer, SendEvent, SendSession, Work};
