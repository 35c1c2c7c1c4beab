//! Those who carry the TCP connections of others over mutual TLS 1.3, and what is moved
//! and timed through each.

mod haproxy;
mod load;
mod ours;
mod stunnel;

use std::{io, path::Path, time::Duration};

use crate::{contenders::Tools, hosts::Server};

pub use haproxy::Haproxy;
pub use load::{Echo, Sink, moved, round_trips};
pub use ours::Sealift;
pub use stunnel::Stunnel;

/// What one of them is given.
pub struct Opening<'a> {
    pub tools: &'a Tools,
    /// An empty folder of its own.
    pub place: &'a Path,
    /// Where the service listens on loopback.
    pub service: u16,
}

/// One that stands: whoever connects to `port` on loopback reaches the service.
pub struct Tunnel {
    pub port: u16,
    pub servers: Vec<Server>,
}

impl Tunnel {
    /// Processor time of all its processes so far.
    pub fn busy(&self) -> Duration {
        self.servers.iter().map(Server::busy).sum()
    }
}

pub trait Carrier {
    /// How it is called in the table.
    fn name(&self) -> &'static str;
    /// Starts both its ends and waits until they stand.
    ///
    /// # Errors
    /// They do not.
    fn open(&self, opening: &Opening<'_>) -> io::Result<Tunnel>;
}

/// Nothing between: what the load itself can do.
pub struct Nothing;

impl Carrier for Nothing {
    fn name(&self) -> &'static str {
        "TCP, nothing between"
    }

    fn open(&self, opening: &Opening<'_>) -> io::Result<Tunnel> {
        Ok(Tunnel {
            port: opening.service,
            servers: Vec::new(),
        })
    }
}
