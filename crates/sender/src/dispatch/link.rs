//! A link as the sender uses it.

use std::io;

use async_trait::async_trait;
use sealift_wire::{Carries, Header, LinkId};

/// One greeted connection of a session: frames in order, both ways.
///
/// Used by one task. While it waits to write it must go on taking what comes in,
/// within bounds, so that two ends that both write never wait for each other.
#[async_trait]
pub trait SessionLink: Send {
    /// Writes frames, headers and payloads, as they are.
    ///
    /// # Errors
    /// The link is lost.
    async fn write(&mut self, frames: &[u8]) -> io::Result<()>;

    /// Writes one DATA frame.
    ///
    /// # Errors
    /// The link is lost.
    async fn write_data(&mut self, header: &Header, payload: &[u8]) -> io::Result<()>;

    /// Sees to it that all that was written is on its way.
    ///
    /// # Errors
    /// The link is lost.
    async fn flush(&mut self) -> io::Result<()>;

    /// Waits for a frame and gives its header, its payload in `payload`. A call
    /// that is dropped loses nothing.
    ///
    /// # Errors
    /// The link is lost.
    async fn read(&mut self, payload: &mut Vec<u8>) -> io::Result<Header>;
}

/// A link that joins a session.
pub struct Joining {
    /// Its number.
    pub id: LinkId,
    /// What is to be sent over it.
    pub carries: Carries,
    /// The link.
    pub link: Box<dyn SessionLink>,
}

impl std::fmt::Debug for Joining {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Joining")
            .field("id", &self.id)
            .field("carries", &self.carries)
            .finish_non_exhaustive()
    }
}
