//! Forwarded streams: bytes of any TCP protocol, over one link at a time, that
//! outlive the link. Each end counts the bytes of both directions; what the other end
//! has not got yet can be sent again, so that a lost link is followed by another and
//! neither application notices.
//!
//! ```text
//!   application ─▶ took ─▶ [acked … sent … taken] ─▶ DATA, END ═══▶ [received] ─▶ delivered ─▶ application
//!                            kept to be sent again    ◀═══ ACK: received, and how much more may come
//! ```
//!
//! Bytes are counted here and kept elsewhere. An END counts as one position more, so
//! that it is acknowledged, and said again, as a byte is.

mod frames;
mod pulse;
mod stream;

pub use frames::{
    Open, Position, Token, close, closed, opened, read_open, read_opened, refuse, refused,
};
pub use pulse::{Beat, Pulse};
pub use stream::{Say, Stream};
