//! A store in memory.

use std::{
    collections::BTreeMap,
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use async_trait::async_trait;
use parking_lot::{Mutex, RwLock};
use sealift_terms::world::Room;

use crate::{Store, StoreEntry, StoreError, StoreFile, StoreName, StoreObject};

/// Files in memory, staged and published.
#[derive(Debug, Clone, Default)]
pub struct MemoryStore {
    files: Arc<Mutex<Files>>,
}

#[derive(Debug, Default)]
struct Files {
    staged: BTreeMap<StoreName, MemoryFile>,
    published: BTreeMap<StoreName, MemoryFile>,
}

#[derive(Debug, Clone)]
struct MemoryFile {
    name: StoreName,
    bytes: Arc<RwLock<Vec<u8>>>,
    is_synced: Arc<AtomicBool>,
}

impl MemoryStore {
    /// An empty store.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }
}

#[async_trait]
impl Store for MemoryStore {
    async fn create(&self, name: &StoreName) -> Result<Arc<dyn StoreFile>, StoreError> {
        let mut files = self.files.lock();
        if files.staged.contains_key(name) {
            return Err(StoreError::FileExists { name: name.clone() });
        }
        let file = MemoryFile::new(name);
        files.staged.insert(name.clone(), file.clone());
        Ok(Arc::new(file))
    }

    async fn reopen(&self, name: &StoreName) -> Result<Arc<dyn StoreFile>, StoreError> {
        let file = self.files.lock().staged.get(name).cloned();
        Ok(Arc::new(file.ok_or_else(|| StoreError::NoSuchFile {
            name: name.clone(),
        })?))
    }

    async fn publish(&self, names: &[StoreName]) -> Result<(), StoreError> {
        let mut files = self.files.lock();
        for name in names {
            let file = files.staged.get(name);
            let file = file.ok_or_else(|| StoreError::NoSuchFile { name: name.clone() })?;
            if !file.is_synced.load(Ordering::SeqCst) {
                return Err(StoreError::NotSynced { name: name.clone() });
            }
        }
        for name in names {
            if let Some(file) = files.staged.remove(name) {
                files.published.insert(name.clone(), file);
            }
        }
        Ok(())
    }

    async fn discard(&self, name: &StoreName) -> Result<(), StoreError> {
        self.files.lock().staged.remove(name);
        Ok(())
    }

    async fn append(&self, name: &StoreName) -> Result<Arc<dyn StoreFile>, StoreError> {
        let mut files = self.files.lock();
        let file = files
            .published
            .entry(name.clone())
            .or_insert_with(|| MemoryFile::new(name));
        Ok(Arc::new(file.clone()))
    }

    async fn open(&self, name: &StoreName) -> Result<Arc<dyn StoreObject>, StoreError> {
        let file = self.files.lock().published.get(name).cloned();
        Ok(Arc::new(file.ok_or_else(|| StoreError::NoSuchFile {
            name: name.clone(),
        })?))
    }

    async fn remove(&self, name: &StoreName) -> Result<(), StoreError> {
        self.files.lock().published.remove(name);
        Ok(())
    }

    async fn list(
        &self,
        prefix: &str,
        after: Option<&StoreName>,
        limit: usize,
    ) -> Result<Vec<StoreEntry>, StoreError> {
        let files = self.files.lock();
        let wanted = files.published.iter().filter(|(name, _)| {
            name.as_str().starts_with(prefix) && after.is_none_or(|after| *name > after)
        });
        Ok(wanted.map(|(_, file)| file.entry()).take(limit).collect())
    }

    async fn staged(&self) -> Result<Vec<StoreEntry>, StoreError> {
        Ok(self
            .files
            .lock()
            .staged
            .values()
            .map(MemoryFile::entry)
            .collect())
    }

    async fn room(&self) -> Result<Room, StoreError> {
        Ok(Room {
            free_bytes: 1 << 40,
            total_bytes: 1 << 40,
        })
    }
}

impl MemoryFile {
    fn new(name: &StoreName) -> Self {
        Self {
            name: name.clone(),
            bytes: Arc::default(),
            is_synced: Arc::default(),
        }
    }

    fn entry(&self) -> StoreEntry {
        StoreEntry {
            name: self.name.clone(),
            len: self.bytes.read().len() as u64,
        }
    }

    fn read(&self, bytes: &mut [u8], offset: u64) -> Result<(), StoreError> {
        let held = self.bytes.read();
        let wanted = range(offset, bytes.len()).and_then(|(from, to)| held.get(from..to));
        let wanted = wanted.ok_or_else(|| self.failed(io::ErrorKind::UnexpectedEof.into()))?;
        bytes.copy_from_slice(wanted);
        Ok(())
    }

    fn failed(&self, source: io::Error) -> StoreError {
        StoreError::StoreFailed {
            name: self.name.to_string(),
            source,
        }
    }
}

fn range(offset: u64, len: usize) -> Option<(usize, usize)> {
    let from = usize::try_from(offset).ok()?;
    Some((from, from.checked_add(len)?))
}

#[async_trait]
impl StoreFile for MemoryFile {
    async fn write_at(&self, bytes: &[u8], offset: u64) -> Result<(), StoreError> {
        self.is_synced.store(false, Ordering::SeqCst);
        let mut held = self.bytes.write();
        let (from, to) = range(offset, bytes.len())
            .ok_or_else(|| self.failed(io::ErrorKind::FileTooLarge.into()))?;
        if held.len() < to {
            held.resize(to, 0);
        }
        if let Some(place) = held.get_mut(from..to) {
            place.copy_from_slice(bytes);
        }
        Ok(())
    }

    fn read_exact_at(&self, bytes: &mut [u8], offset: u64) -> Result<(), StoreError> {
        self.read(bytes, offset)
    }

    async fn set_len(&self, len: u64) -> Result<(), StoreError> {
        self.is_synced.store(false, Ordering::SeqCst);
        let (len, _) =
            range(len, 0).ok_or_else(|| self.failed(io::ErrorKind::FileTooLarge.into()))?;
        self.bytes.write().resize(len, 0);
        Ok(())
    }

    fn len(&self) -> Result<u64, StoreError> {
        Ok(self.bytes.read().len() as u64)
    }

    async fn sync(&self) -> Result<(), StoreError> {
        self.is_synced.store(true, Ordering::SeqCst);
        Ok(())
    }
}

impl StoreObject for MemoryFile {
    fn read_exact_at(&self, bytes: &mut [u8], offset: u64) -> Result<(), StoreError> {
        self.read(bytes, offset)
    }

    fn len(&self) -> Result<u64, StoreError> {
        Ok(self.bytes.read().len() as u64)
    }
}
