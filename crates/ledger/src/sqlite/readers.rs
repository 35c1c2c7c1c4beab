//! Reading connections, lent one at a time.

use std::{path::PathBuf, sync::Arc};

use parking_lot::Mutex;
use rusqlite::Connection;

use super::database::open_reader;
use crate::{LedgerError, Result};

/// Idle connections kept; more are opened when needed and closed afterwards.
const IDLE_MAX: usize = 8;

/// A pool of reading connections to one database.
#[derive(Debug)]
pub(super) struct Readers {
    path: PathBuf,
    idle: Mutex<Vec<Connection>>,
}

impl Readers {
    pub(super) fn new(path: PathBuf) -> Arc<Self> {
        Arc::new(Self {
            path,
            idle: Mutex::new(Vec::new()),
        })
    }

    pub(super) fn path(&self) -> &PathBuf {
        &self.path
    }

    /// Reads on this thread: for one row, which takes microseconds.
    pub(super) fn point<T>(&self, read: impl FnOnce(&Connection) -> Result<T>) -> Result<T> {
        let idle = self.idle.lock().pop();
        let db = match idle {
            Some(db) => db,
            None => open_reader(&self.path)?,
        };
        let found = read(&db);
        let mut idle = self.idle.lock();
        if idle.len() < IDLE_MAX {
            idle.push(db);
        }
        found
    }

    /// Reads on a thread for blocking work: for pages and sums.
    pub(super) async fn page<T: Send + 'static>(
        self: &Arc<Self>,
        read: impl FnOnce(&Connection) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let readers = Arc::clone(self);
        tokio::task::spawn_blocking(move || readers.point(read))
            .await
            .map_err(|_| LedgerError::Closed)?
    }
}
