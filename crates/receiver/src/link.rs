//! A link as the receiver uses it.

use std::io;

use async_trait::async_trait;
use sealift_wire::Header;

/// What came over a link.
#[derive(Debug)]
pub enum Incoming<'a> {
    /// A whole frame other than DATA.
    Frame {
        /// Its header.
        header: Header,
        /// Its payload.
        payload: &'a [u8],
    },
    /// A piece of a DATA frame, in whatever cut it came.
    Data {
        /// The frame's header.
        header: Header,
        /// Bytes of its payload that came before this piece.
        done: u32,
        /// The piece.
        bytes: &'a [u8],
    },
}

/// One greeted connection of a session: frames in order, both ways. Used by one task.
#[async_trait]
pub trait SessionLink: Send {
    /// Writes frames, headers and payloads, as they are.
    ///
    /// # Errors
    /// The link is lost.
    async fn write(&mut self, frames: &[u8]) -> io::Result<()>;

    /// Sees to it that all that was written is on its way.
    ///
    /// # Errors
    /// The link is lost.
    async fn flush(&mut self) -> io::Result<()>;

    /// Waits for what comes next. A call that is dropped loses nothing.
    ///
    /// # Errors
    /// The link is lost.
    async fn read(&mut self) -> io::Result<Incoming<'_>>;
}
