//! Connections between two agents: TCP or another [`Transport`], TLS 1.3 with
//! both sides known, and frames over it. What comes out of a handshake is a
//! [`Link`] and the facts of its session, or one typed refusal.
//!
//! ```text
//!   Dialer::dial(address, peer) ──▶ TCP ──▶ TLS 1.3, both sides known ──▶ Link ──▶ LinkReader, LinkWriter
//!   Listener::accept()          ◀── TCP ◀── first bytes: which protocol? ──▶ Link and its HELLO
//!                                     └───▶ Refused: source address, cause, reason code
//! ```
//!
//! There are two record layers behind one type. *Control* links (`sealift/1`) use
//! rustls's buffered connection, which can export keying material. *Data* links
//! (`sealift-data/1`) take the records over from it once the handshake is done: large
//! reads, records opened where they were read and written where they were sealed, with
//! rustls's ciphers and keys; so do links of *forwarded streams* (`sealift-forward/1`). Which one a listener takes stands in the
//! first bytes of the handshake, hence the names.
//!
//! | from outside | the answer |
//! |---|---|
//! | a source outside of the networks it is to listen to | refused before a byte is read |
//! | plaintext, TLS 1.2, no certificate, another CA, a stranger's identity | refused, and reported once with its cause |
//! | connections that never finish a handshake | 10 seconds, 128 at once, 16 from one address |
//! | a peer that reads slowly | writing waits; a fixed buffer per link, nothing queued behind it; given up after 60 seconds without a byte |
//! | a peer that does not answer our HELLO | 10 seconds |
//! | a peer that sends faster than we handle | reading waits; TCP slows it down |
//! | frames of any size the header can name | checked before their payload is awaited |
//!
//! [`Pace`] is the bandwidth limit of one peer, which those who write keep.
//!
//! What frames mean is `sealift-wire`'s, who may speak is `sealift-identity`'s.
//! Which links there should be, and what to do without them, is decided above.
#![cfg_attr(not(test), warn(clippy::indexing_slicing))]

mod buffer;
mod dialer;
mod ender;
mod entrance;
mod error;
mod handshake;
mod limit;
mod link;
mod listener;
mod questions;
mod reader;
mod records;
mod transport;
mod writer;

#[cfg(test)]
mod tests;

pub use dialer::Dialer;
pub use ender::{Fate, LinkEnder};
pub use entrance::{Entrance, Full, Place, Places};
pub use error::{Cause, Refused, TunnelError};
pub use limit::{BURST_TIME, Day, InForce, Pace, TimeOfDay, Times, Timetable};
pub use link::{Binding, Link, LinkKind, drive_here};
pub use listener::{Accepted, Listener, OnRefused};
pub use questions::{NoAnswers, Questions};
pub use reader::{Incoming, LinkReader};
pub use records::Pieces;
pub use sealift_host::TcpFacts;
pub use transport::{
    Accept, Connection, Halves, OnInterface, Socket, TcpTransport, Transport, connect, listen,
};
pub use writer::LinkWriter;
