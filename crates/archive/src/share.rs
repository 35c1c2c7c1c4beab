//! What one peer may take of memory and of open files, so that it leaves others theirs.

use std::{collections::HashMap, sync::Arc};

use parking_lot::Mutex;
use sealift_terms::{Identity, limits::PEER_SHARES};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::{ArchiveError, Budget, Result, Share, archive::Core, staging::Counted};

/// The shares of the peers that sent something since the start, and the files open
/// for all of them.
#[derive(Debug)]
pub(crate) struct Shares {
    files: Arc<Semaphore>,
    files_max: usize,
    peers: Mutex<HashMap<Identity, Arc<PeerShare>>>,
}

/// One peer's share.
#[derive(Debug)]
pub(crate) struct PeerShare {
    pub(crate) memory: Share,
    files: Arc<Semaphore>,
    files_max: usize,
}

/// A file that is open for a peer, counted until dropped.
#[derive(Debug)]
pub(crate) struct OpenFile {
    _of_peer: OwnedSemaphorePermit,
    _of_all: OwnedSemaphorePermit,
}

impl From<OpenFile> for Counted {
    /// Of a file with a row, which is counted by that.
    fn from(file: OpenFile) -> Self {
        Self {
            _file: file,
            _rowless: None,
        }
    }
}

impl Shares {
    pub(crate) fn new(files_max: usize) -> Self {
        let files_max = files_max.clamp(PEER_SHARES, Semaphore::MAX_PERMITS);
        Self {
            files: Arc::new(Semaphore::new(files_max)),
            files_max,
            peers: Mutex::default(),
        }
    }

    pub(crate) fn of(&self, peer: &Identity, budget: &Budget) -> Arc<PeerShare> {
        let share = || {
            let files_max = self.files_max / PEER_SHARES;
            Arc::new(PeerShare {
                memory: budget.share(),
                files: Arc::new(Semaphore::new(files_max)),
                files_max,
            })
        };
        let mut peers = self.peers.lock();
        peers.entry(peer.clone()).or_insert_with(share).clone()
    }
}

impl PeerShare {
    fn open(&self, all: &Shares) -> Result<OpenFile> {
        let take = |from: &Arc<Semaphore>, allowed| {
            let permit = from.clone().try_acquire_owned();
            permit.map_err(|_| ArchiveError::TooManyFiles { allowed })
        };
        Ok(OpenFile {
            _of_peer: take(&self.files, self.files_max)?,
            _of_all: take(&all.files, all.files_max)?,
        })
    }
}

impl Core {
    /// Room for one more open file of a peer. Files that nobody writes to are
    /// closed first if they have to be; they are found again through their rows.
    pub(crate) fn open_file(&self, peer: &Identity) -> Result<OpenFile> {
        let share = self.shares.of(peer, &self.budget);
        share.open(&self.shares).or_else(|_| {
            self.interrupted.clear();
            self.uploads.close_idle();
            share.open(&self.shares)
        })
    }
}
