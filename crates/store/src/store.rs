//! The store: where sealed bytes rest.

use std::{fmt, sync::Arc, time::Duration};

use async_trait::async_trait;
use sealift_terms::world::{Calls, Room};

use crate::{StoreError, StoreName};

/// One file of a store.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct StoreEntry {
    /// Its name.
    pub name: StoreName,
    /// Its length in bytes.
    pub len: u64,
}

/// How a staged file is cut into units, so that a store that sends it elsewhere can begin
/// before it is whole: unit `i` is `[head + i·unit, head + (i + 1)·unit)`, the last one goes
/// to the end of the file, and what is before the first goes with that.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cut {
    /// Bytes before the first unit.
    pub head: u64,
    /// Bytes of a unit.
    pub unit: u64,
    /// Units in all.
    pub count: u32,
}

/// A store of sealed files under opaque names.
///
/// A file is *staged* from [`create`](Store::create) until [`publish`](Store::publish): it
/// survives a restart but is found by [`staged`](Store::staged) and
/// [`reopen`](Store::reopen) only. A pack is opened with [`append`](Store::append) and is
/// published from the start; who writes it remembers how much of it is synced.
#[async_trait]
pub trait Store: Send + Sync + fmt::Debug {
    /// Creates a staged file.
    ///
    /// # Errors
    /// [`StoreError::FileExists`] when one of this name is staged already.
    async fn create(&self, name: &StoreName) -> Result<Arc<dyn StoreFile>, StoreError>;

    /// Opens a staged file again, after a restart.
    ///
    /// # Errors
    /// [`StoreError::NoSuchFile`].
    async fn reopen(&self, name: &StoreName) -> Result<Arc<dyn StoreFile>, StoreError>;

    /// Publishes staged files and makes their names durable: one sync of each
    /// directory for all of them. Each must have been synced after its last write.
    ///
    /// # Errors
    /// [`StoreError::NotSynced`] before anything was moved; otherwise what the
    /// disk says, and then some of them may have been published.
    async fn publish(&self, names: &[StoreName]) -> Result<(), StoreError>;

    /// Removes a staged file; one that is not there is no error.
    ///
    /// # Errors
    /// What the disk says.
    async fn discard(&self, name: &StoreName) -> Result<(), StoreError>;

    /// Opens a published file to be written where it is, and creates it (its
    /// name durable) when it is missing.
    ///
    /// # Errors
    /// What the disk says.
    async fn append(&self, name: &StoreName) -> Result<Arc<dyn StoreFile>, StoreError>;

    /// As [`append`](Self::append), of a file that is known not to be there.
    ///
    /// # Errors
    /// What the disk says; of one that is there after all, here or with the first sync.
    async fn append_new(&self, name: &StoreName) -> Result<Arc<dyn StoreFile>, StoreError> {
        self.append(name).await
    }

    /// Opens a published file for reading.
    ///
    /// # Errors
    /// [`StoreError::NoSuchFile`].
    async fn open(&self, name: &StoreName) -> Result<Arc<dyn StoreObject>, StoreError>;

    /// Removes a published file, durably; one that is not there is no error.
    ///
    /// # Errors
    /// What the disk says.
    async fn remove(&self, name: &StoreName) -> Result<(), StoreError>;

    /// The published files whose names begin with `prefix` and come after
    /// `after`, at most `limit`, by the bytes of their names.
    ///
    /// # Errors
    /// What the disk says.
    async fn list(
        &self,
        prefix: &str,
        after: Option<&StoreName>,
        limit: usize,
    ) -> Result<Vec<StoreEntry>, StoreError>;

    /// The staged files, by the bytes of their names.
    ///
    /// # Errors
    /// What the disk says.
    async fn staged(&self) -> Result<Vec<StoreEntry>, StoreError>;

    /// Whether the store itself is there: a file that is missing then is missing, and
    /// not the whole store unmounted.
    ///
    /// # Errors
    /// [`StoreError::StoreMissing`], or what the disk says.
    async fn probe(&self) -> Result<(), StoreError> {
        self.room().await.map(drop)
    }

    /// How full the store is.
    ///
    /// # Errors
    /// What the disk says.
    async fn room(&self) -> Result<Room, StoreError>;

    /// Whether a published file that was synced cannot grow any more but by being written
    /// anew: then a pack is one group, gathered for so long.
    fn pack_delay(&self) -> Option<Duration> {
        None
    }

    /// Requests that were made of a service, by what was asked; none where there is none.
    fn requests(&self) -> Vec<(&'static str, u64)> {
        Vec::new()
    }

    /// How reading that may take long is to be made; see [`blocking`](crate::blocking()).
    fn calls(&self) -> Calls {
        Calls::OnThread
    }
}

/// A file of a store, open for writing. Positional: several tasks may write
/// different ranges at once.
#[async_trait]
pub trait StoreFile: Send + Sync + fmt::Debug {
    /// Writes all of `bytes` at `offset`. At most 1 MiB a call, so that it may be made inline.
    ///
    /// # Errors
    /// [`StoreError::StoreFull`] and what the disk says.
    async fn write_at(&self, bytes: &[u8], offset: u64) -> Result<(), StoreError>;

    /// Fills `bytes` from `offset`.
    ///
    /// # Errors
    /// What the disk says; a file that ends earlier is [`StoreError::StoreFailed`].
    fn read_exact_at(&self, bytes: &mut [u8], offset: u64) -> Result<(), StoreError>;

    /// Cuts or extends the file.
    ///
    /// # Errors
    /// What the disk says.
    async fn set_len(&self, len: u64) -> Result<(), StoreError>;

    /// The length in bytes.
    ///
    /// # Errors
    /// What the disk says.
    fn len(&self) -> Result<u64, StoreError>;

    /// Whether it is empty.
    ///
    /// # Errors
    /// What the disk says.
    fn is_empty(&self) -> Result<bool, StoreError> {
        Ok(self.len()? == 0)
    }

    /// Says how it is cut. Once, before anything is [settled](Self::settled).
    fn cut(&self, cut: Cut) {
        let _of_use_elsewhere = cut;
    }

    /// These units are synced and will not change: what has to go elsewhere may go now.
    fn settled(&self, units: &[u32]) {
        let _of_use_elsewhere = units;
    }

    /// Does ahead what of publishing may take long. The file is whole and written to no more.
    ///
    /// # Errors
    /// What the store says; the file is as it was, and this may be asked again.
    async fn prepare(&self) -> Result<(), StoreError> {
        Ok(())
    }

    /// Makes the content durable. After an error the file is to be abandoned:
    /// every later sync and publish of it is refused.
    ///
    /// # Errors
    /// What the disk says, [`StoreError::Abandoned`] from then on.
    async fn sync(&self) -> Result<(), StoreError>;
}

/// A published file, open for reading. Blocking: long readings belong on a
/// thread that may block.
pub trait StoreObject: Send + Sync + fmt::Debug {
    /// Fills `bytes` from `offset`.
    ///
    /// # Errors
    /// What the disk says; a file that ends earlier is [`StoreError::StoreFailed`].
    fn read_exact_at(&self, bytes: &mut [u8], offset: u64) -> Result<(), StoreError>;

    /// The length in bytes.
    ///
    /// # Errors
    /// What the disk says.
    fn len(&self) -> Result<u64, StoreError>;

    /// Whether it is empty.
    ///
    /// # Errors
    /// What the disk says.
    fn is_empty(&self) -> Result<bool, StoreError> {
        Ok(self.len()? == 0)
    }
}
