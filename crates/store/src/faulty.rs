//! A store that fails when it is told to: a wrapper around a real one.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use parking_lot::Mutex;
use sealift_terms::world::{Calls, Room};

use crate::{Cut, Store, StoreEntry, StoreError, StoreFile, StoreName, StoreObject};

/// A call that can be made to fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Call {
    /// [`Store::create`], [`Store::reopen`] and [`Store::append`].
    Create,
    /// [`StoreFile::write_at`].
    Write,
    /// [`StoreFile::sync`].
    Sync,
    /// [`Store::publish`].
    Publish,
    /// [`Store::open`].
    Open,
    /// Reading an open file.
    Read,
}

/// Decides which calls fail.
#[derive(Debug, Default)]
pub struct Faults {
    armed: Mutex<Option<(Call, io::ErrorKind)>>,
    calls_left: AtomicI64,
    room: Mutex<Option<Room>>,
    pack_delay: Mutex<Option<Duration>>,
}

impl Faults {
    /// Lets `calls` more calls of a kind through; that kind fails from then on.
    pub fn fail(&self, call: Call, calls: u32, kind: io::ErrorKind) {
        *self.armed.lock() = Some((call, kind));
        self.calls_left.store(calls.into(), Ordering::SeqCst);
    }

    /// Lets everything through again.
    pub fn heal(&self) {
        *self.armed.lock() = None;
    }

    /// Says that the store is so full, whatever it is.
    pub fn set_room(&self, room: Option<Room>) {
        *self.room.lock() = room;
    }

    /// Says that packs cannot grow, as in a bucket, and how long a group waits for company.
    pub fn keep_packs_whole(&self, delay: Duration) {
        *self.pack_delay.lock() = Some(delay);
    }

    fn check(&self, call: Call) -> Result<(), StoreError> {
        let Some((armed, kind)) = *self.armed.lock() else {
            return Ok(());
        };
        if armed != call || self.calls_left.fetch_sub(1, Ordering::SeqCst) > 0 {
            return Ok(());
        }
        let source = io::Error::new(kind, "injected");
        Err(match kind {
            io::ErrorKind::StorageFull => StoreError::StoreFull { source },
            io::ErrorKind::PermissionDenied => StoreError::StoreDenied {
                name: format!("{call:?}"),
                source,
            },
            _ => StoreError::StoreFailed {
                name: format!("{call:?}"),
                source,
            },
        })
    }
}

/// A store around another, with [`Faults`].
#[derive(Debug, Clone)]
pub struct Faulty<S> {
    inner: S,
    faults: Arc<Faults>,
}

impl<S: Store> Faulty<S> {
    /// Wraps a store; no call fails yet.
    pub fn new(inner: S) -> Self {
        Self {
            inner,
            faults: Arc::default(),
        }
    }

    /// What decides which calls fail.
    pub fn faults(&self) -> Arc<Faults> {
        self.faults.clone()
    }

    fn file(&self, inner: Arc<dyn StoreFile>) -> Arc<dyn StoreFile> {
        Arc::new(FaultyFile {
            inner,
            faults: self.faults.clone(),
            failed: Mutex::new(None),
        })
    }
}

#[async_trait]
impl<S: Store> Store for Faulty<S> {
    async fn create(&self, name: &StoreName) -> Result<Arc<dyn StoreFile>, StoreError> {
        self.faults.check(Call::Create)?;
        Ok(self.file(self.inner.create(name).await?))
    }

    async fn reopen(&self, name: &StoreName) -> Result<Arc<dyn StoreFile>, StoreError> {
        self.faults.check(Call::Create)?;
        Ok(self.file(self.inner.reopen(name).await?))
    }

    async fn publish(&self, names: &[StoreName]) -> Result<(), StoreError> {
        self.faults.check(Call::Publish)?;
        self.inner.publish(names).await
    }

    async fn discard(&self, name: &StoreName) -> Result<(), StoreError> {
        self.inner.discard(name).await
    }

    async fn append(&self, name: &StoreName) -> Result<Arc<dyn StoreFile>, StoreError> {
        self.faults.check(Call::Create)?;
        Ok(self.file(self.inner.append(name).await?))
    }

    async fn open(&self, name: &StoreName) -> Result<Arc<dyn StoreObject>, StoreError> {
        self.faults.check(Call::Open)?;
        let inner = self.inner.open(name).await?;
        Ok(Arc::new(FaultyObject {
            inner,
            faults: self.faults.clone(),
        }))
    }

    async fn remove(&self, name: &StoreName) -> Result<(), StoreError> {
        self.inner.remove(name).await
    }

    async fn list(
        &self,
        prefix: &str,
        after: Option<&StoreName>,
        limit: usize,
    ) -> Result<Vec<StoreEntry>, StoreError> {
        self.inner.list(prefix, after, limit).await
    }

    async fn staged(&self) -> Result<Vec<StoreEntry>, StoreError> {
        self.inner.staged().await
    }

    async fn probe(&self) -> Result<(), StoreError> {
        self.inner.probe().await
    }

    async fn room(&self) -> Result<Room, StoreError> {
        let told = *self.faults.room.lock();
        match told {
            Some(room) => Ok(room),
            None => self.inner.room().await,
        }
    }

    fn pack_delay(&self) -> Option<Duration> {
        let told = *self.faults.pack_delay.lock();
        told.or_else(|| self.inner.pack_delay())
    }

    fn calls(&self) -> Calls {
        self.inner.calls()
    }
}

#[derive(Debug)]
struct FaultyFile {
    inner: Arc<dyn StoreFile>,
    faults: Arc<Faults>,
    /// The name under which a failed sync made the file useless.
    failed: Mutex<Option<StoreName>>,
}

#[async_trait]
impl StoreFile for FaultyFile {
    async fn write_at(&self, bytes: &[u8], offset: u64) -> Result<(), StoreError> {
        self.faults.check(Call::Write)?;
        self.inner.write_at(bytes, offset).await
    }

    fn read_exact_at(&self, bytes: &mut [u8], offset: u64) -> Result<(), StoreError> {
        self.faults.check(Call::Read)?;
        self.inner.read_exact_at(bytes, offset)
    }

    async fn set_len(&self, len: u64) -> Result<(), StoreError> {
        self.inner.set_len(len).await
    }

    fn cut(&self, cut: Cut) {
        self.inner.cut(cut);
    }

    fn settled(&self, units: &[u32]) {
        self.inner.settled(units);
    }

    async fn prepare(&self) -> Result<(), StoreError> {
        self.inner.prepare().await
    }

    fn len(&self) -> Result<u64, StoreError> {
        self.inner.len()
    }

    async fn sync(&self) -> Result<(), StoreError> {
        let failed = self.failed.lock().clone();
        if let Some(name) = failed {
            return Err(StoreError::Abandoned { name });
        }
        if let Err(error) = self.faults.check(Call::Sync) {
            *self.failed.lock() = Some(StoreName::new("failed-sync")?);
            return Err(error);
        }
        self.inner.sync().await
    }
}

#[derive(Debug)]
struct FaultyObject {
    inner: Arc<dyn StoreObject>,
    faults: Arc<Faults>,
}

impl StoreObject for FaultyObject {
    fn read_exact_at(&self, bytes: &mut [u8], offset: u64) -> Result<(), StoreError> {
        self.faults.check(Call::Read)?;
        self.inner.read_exact_at(bytes, offset)
    }

    fn len(&self) -> Result<u64, StoreError> {
        self.inner.len()
    }
}
