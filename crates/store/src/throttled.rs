//! A store that takes its time: a wrapper around a real one.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use sealift_terms::world::{Calls, Room};

use crate::{Cut, Store, StoreEntry, StoreError, StoreFile, StoreName, StoreObject};

/// A store around another; writing and syncing take longer.
#[derive(Debug, Clone)]
pub struct Throttled<S> {
    inner: S,
    write: Duration,
    sync: Duration,
}

impl<S: Store> Throttled<S> {
    /// Adds a time to each write, and another to each sync and publish.
    pub fn new(inner: S, write: Duration, sync: Duration) -> Self {
        Self { inner, write, sync }
    }

    fn file(&self, inner: Arc<dyn StoreFile>) -> Arc<dyn StoreFile> {
        Arc::new(ThrottledFile {
            inner,
            write: self.write,
            sync: self.sync,
        })
    }
}

#[async_trait]
impl<S: Store> Store for Throttled<S> {
    async fn create(&self, name: &StoreName) -> Result<Arc<dyn StoreFile>, StoreError> {
        Ok(self.file(self.inner.create(name).await?))
    }

    async fn reopen(&self, name: &StoreName) -> Result<Arc<dyn StoreFile>, StoreError> {
        Ok(self.file(self.inner.reopen(name).await?))
    }

    async fn publish(&self, names: &[StoreName]) -> Result<(), StoreError> {
        tokio::time::sleep(self.sync).await;
        self.inner.publish(names).await
    }

    async fn discard(&self, name: &StoreName) -> Result<(), StoreError> {
        self.inner.discard(name).await
    }

    async fn append(&self, name: &StoreName) -> Result<Arc<dyn StoreFile>, StoreError> {
        Ok(self.file(self.inner.append(name).await?))
    }

    async fn open(&self, name: &StoreName) -> Result<Arc<dyn StoreObject>, StoreError> {
        self.inner.open(name).await
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

    async fn room(&self) -> Result<Room, StoreError> {
        self.inner.room().await
    }

    fn pack_delay(&self) -> Option<Duration> {
        self.inner.pack_delay()
    }

    fn calls(&self) -> Calls {
        self.inner.calls()
    }
}

#[derive(Debug)]
struct ThrottledFile {
    inner: Arc<dyn StoreFile>,
    write: Duration,
    sync: Duration,
}

#[async_trait]
impl StoreFile for ThrottledFile {
    async fn write_at(&self, bytes: &[u8], offset: u64) -> Result<(), StoreError> {
        tokio::time::sleep(self.write).await;
        self.inner.write_at(bytes, offset).await
    }

    fn read_exact_at(&self, bytes: &mut [u8], offset: u64) -> Result<(), StoreError> {
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
        tokio::time::sleep(self.sync).await;
        self.inner.sync().await
    }
}
