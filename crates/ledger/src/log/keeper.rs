//! What is kept in memory and in its log: changed in one order, by one at a time.

use std::{path::Path, sync::Arc};

use parking_lot::Mutex;
use sealift_terms::Disk;
use serde::{Serialize, de::DeserializeOwned};

use super::file::LogFile;
use crate::{LedgerError, Result};

/// A state that changes by commands only, so that the same commands make the same
/// state again.
pub(super) trait Kept: Send + 'static {
    /// What changes it.
    type Command: Serialize + DeserializeOwned + Send + 'static;
    /// What a change has to say.
    type Answer: Send + 'static;

    /// Refuses what cannot be done, before it is written down; may add to what will be.
    fn check(&mut self, command: &mut Self::Command) -> Result<()>;

    /// Does what was written down.
    fn apply(&mut self, command: Self::Command) -> Self::Answer;

    /// It was refused, or could not be written down.
    fn not_done(&mut self, command: Self::Command, error: &LedgerError) {
        let _ = (command, error);
    }
}

/// A [`Kept`] state with its log.
pub(super) struct Keeper<K: Kept>(Arc<Inner<K>>);

struct Inner<K> {
    state: Mutex<K>,
    file: tokio::sync::Mutex<LogFile>,
}

impl<K: Kept> Clone for Keeper<K> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<K: Kept> Keeper<K> {
    /// Opens the log at `path`, or makes one that begins with `first`, and applies
    /// it to a state that is new.
    pub(super) fn open(
        disk: Arc<dyn Disk>,
        path: &Path,
        mut state: K,
        first: Option<K::Command>,
    ) -> Result<Self> {
        let first = first.map(|first| serde_json::to_vec(&first)).transpose();
        let (file, records) = LogFile::open(disk, path, first.map_err(unreadable)?)?;
        for record in records {
            let command = serde_json::from_slice(&record).map_err(unreadable)?;
            state.apply(command);
        }
        let inner = Inner {
            state: Mutex::new(state),
            file: tokio::sync::Mutex::new(file),
        };
        Ok(Self(Arc::new(inner)))
    }

    /// Whether nobody else can ask anything of it any more.
    pub(super) fn is_abandoned(&self) -> bool {
        Arc::strong_count(&self.0) == 1
    }

    /// Looks at, or changes, what needs no log.
    pub(super) fn with<T>(&self, look: impl FnOnce(&mut K) -> T) -> T {
        look(&mut self.0.state.lock())
    }

    /// Writes a command down and does it. What it changes is seen once it is durable.
    pub(super) async fn call(&self, command: K::Command) -> Result<K::Answer> {
        let inner = self.0.clone();
        // In a task of its own: a caller that goes away half-way would leave the
        // file ahead of the memory.
        let task = tokio::spawn(async move { inner.write_and_do(command).await });
        task.await.map_err(|_| LedgerError::Closed)?
    }
}

impl<K: Kept> Inner<K> {
    async fn write_and_do(&self, mut command: K::Command) -> Result<K::Answer> {
        let mut file = self.file.lock().await;
        let checked = self.state.lock().check(&mut command);
        let written = match checked {
            Ok(()) => match serde_json::to_vec(&command) {
                Ok(record) => file.append(&record).await,
                Err(error) => Err(unreadable(error)),
            },
            Err(error) => Err(error),
        };
        let mut state = self.state.lock();
        match written {
            Ok(()) => Ok(state.apply(command)),
            Err(error) => {
                state.not_done(command, &error);
                Err(error)
            }
        }
    }
}

fn unreadable(error: serde_json::Error) -> LedgerError {
    LedgerError::BadRow {
        table: "log",
        finding: error.to_string(),
    }
}
