//! One site put together: what runs, and what a command opens when nothing runs.

use std::sync::Arc;

use async_trait::async_trait;
use sealift_host::DataDirLock;

use crate::{
    CheckLine, Error, World,
    admin::{OpenSite, Operations},
    config::{Config, Override},
};

/// Opens the data directory of a stopped agent.
#[derive(Debug, Clone, Copy, Default)]
pub struct Offline;

#[async_trait]
impl OpenSite for Offline {
    async fn open(
        &self,
        _config: &Config,
        _lock: DataDirLock,
    ) -> Result<Arc<dyn Operations>, Error> {
        Err(Error::TryAgain {
            what: "the agent is not running".to_owned(),
            reason: None,
        })
    }
}

/// Runs the agent until it is told to stop.
///
/// # Errors
/// What keeps it from starting, or made it stop.
pub async fn up(_config: Config, _flags: Vec<Override>) -> Result<(), Error> {
    Err(Error::TryAgain {
        what: "the agent cannot run yet".to_owned(),
        reason: None,
    })
}

/// The checks that need the peers: a real handshake with each that can be dialled.
pub async fn check_peers(config: &Config, _world: &World) -> Vec<CheckLine> {
    let skipped = |peer: &crate::config::Peer| {
        CheckLine::skip(format!("peer {}", peer.name), "the agent is not running")
    };
    config.peers.iter().map(skipped).collect()
}
