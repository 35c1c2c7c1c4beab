//! The proxy: any TCP protocol through the tunnel between two agents. Where a
//! *forward* listens, every connection becomes a stream; at the other agent the stream
//! becomes a connection to the *target* of that name, if it allows the identity.
//!
//! ```text
//!   application ──▶ Near ══ one link a stream, TLS 1.3, both sides known ══▶ Far ──▶ target
//!                    │ kept until it is there ◀─── ACK ───▶ kept until it is there │
//!                    └── link lost, or its certificates end soon: another link ────┘
//! ```
//!
//! A stream has a link to itself. It outlives the link: `sealift_wire::forward` counts,
//! this crate keeps what the other end has not got yet, and goes on over the next link
//! with a token that counts for the same identity only.
//!
//! | limit | what happens beyond it |
//! |---|---|
//! | streams, in all and of each forward and target | the connection is refused and counted |
//! | bytes kept or waiting, of each direction and in all | that direction waits |
//! | time without a link | the stream is closed with notice, audited and counted |
//! | time without bytes | the same |
//!
//! Left to others: making links (`sealift-tunnel`, and the agent that dials), what frames
//! may follow each other (`sealift-wire`), who may speak at all (`sealift-identity`).
#![cfg_attr(not(test), warn(clippy::indexing_slicing))]

mod address;
mod application;
mod attention;
mod drive;
mod ended;
mod far;
mod link;
mod memory;
mod near;
mod opening;
mod ring;
mod running;
mod state;
mod tally;
mod threads;

#[cfg(test)]
mod tests;

pub use address::{Address, AddressError, Listening};
pub use application::{Accepted, Application};
pub use ended::Ended;
pub use far::{Far, Target};
pub use link::{ForwardLink, Links, NoLink};
pub use memory::Memory;
pub use near::{Forward, Near, Ready};
pub use running::World;
pub use tally::{Side, StreamCounts};
pub use threads::Threads;
