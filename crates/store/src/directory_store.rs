//! A directory as a store.
//!
//! `staging/` holds what is not published yet, `store/` what is. Both are on one
//! file system, so that publishing is a rename.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    io,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use async_trait::async_trait;
use parking_lot::Mutex;
use sealift_terms::{
    Disk, DiskFile,
    world::{Calls, Open, Room},
};

use crate::{Store, StoreEntry, StoreError, StoreFile, StoreName, StoreObject, blocking};

/// Stands for `/` in the flat names of staged files: no store name has it.
const STAGED_SLASH: char = '~';
/// A file that every store has: without it there is no store here, only a directory,
/// as below the mount point of a disk that is not mounted. No store name begins so.
const MARK: &str = ".sealift-store";

/// A store in a directory of the site's data directory.
#[derive(Debug)]
pub struct DirectoryStore {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    disk: Arc<dyn Disk>,
    staging: PathBuf,
    store: PathBuf,
    /// How far each staged file is synced.
    staged: Mutex<HashMap<StoreName, Arc<Synced>>>,
    /// Directories below the store whose names are durable.
    directories: Mutex<HashSet<PathBuf>>,
}

impl DirectoryStore {
    /// Takes two directories, on one file system, and makes them if they are missing.
    ///
    /// # Errors
    /// What the disk says.
    pub fn new(
        disk: Arc<dyn Disk>,
        staging: impl Into<PathBuf>,
        store: impl Into<PathBuf>,
    ) -> Result<Self, StoreError> {
        let (staging, store) = (staging.into(), store.into());
        for path in [&staging, &store] {
            let name = path.display().to_string();
            disk.create_dir_all(path)
                .map_err(|error| of_io(&name, error))?;
            if let Some(above) = path.parent() {
                disk.sync_dir(above).map_err(|error| of_io(&name, error))?;
            }
        }
        mark(&*disk, &store)?;
        Ok(Self::of(disk, staging, store))
    }

    /// Takes two directories in which a store was made before, and makes none.
    ///
    /// # Errors
    /// [`StoreError::StoreMissing`] when there is none.
    pub fn existing(
        disk: Arc<dyn Disk>,
        staging: impl Into<PathBuf>,
        store: impl Into<PathBuf>,
    ) -> Result<Self, StoreError> {
        let (staging, store) = (staging.into(), store.into());
        is_marked(&*disk, &store)?;
        Self::new(disk, staging, store)
    }

    fn of(disk: Arc<dyn Disk>, staging: PathBuf, store: PathBuf) -> Self {
        let inner = Inner {
            disk,
            staging,
            store,
            staged: Mutex::default(),
            directories: Mutex::default(),
        };
        Self {
            inner: Arc::new(inner),
        }
    }

    fn staged_file(&self, name: &StoreName, how: Open) -> Result<Arc<dyn StoreFile>, StoreError> {
        let path = self.inner.staged_path(name);
        let file = self
            .inner
            .disk
            .open(&path, how)
            .map_err(|error| of_name(name, error))?;
        let synced = self
            .inner
            .staged
            .lock()
            .entry(name.clone())
            .or_default()
            .clone();
        // What an earlier process wrote may not be durable yet.
        synced.wrote();
        Ok(Arc::new(DirectoryFile {
            name: name.clone(),
            disk: self.inner.disk.clone(),
            file,
            synced,
        }))
    }

    /// Refuses a staged file that was written to since it was synced.
    pub(crate) fn hold_synced(&self, name: &StoreName) -> Result<(), StoreError> {
        self.inner.hold_synced(name)
    }

    /// A staged file, for reading alone: it stays as synced as it is.
    pub(crate) fn read_staged(&self, name: &StoreName) -> Result<Arc<dyn DiskFile>, StoreError> {
        let opened = self
            .inner
            .disk
            .open(&self.inner.staged_path(name), Open::Read);
        opened.map_err(|error| of_name(name, error))
    }

    async fn blocking<T: Send + 'static>(
        &self,
        what: &str,
        work: impl FnOnce(&Inner) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let inner = self.inner.clone();
        let calls = inner.disk.calls();
        patiently(calls, what, move || work(&inner)).await
    }
}

#[async_trait]
impl Store for DirectoryStore {
    async fn create(&self, name: &StoreName) -> Result<Arc<dyn StoreFile>, StoreError> {
        self.staged_file(name, Open::CreateNew)
    }

    async fn reopen(&self, name: &StoreName) -> Result<Arc<dyn StoreFile>, StoreError> {
        self.staged_file(name, Open::ReadWrite)
    }

    async fn publish(&self, names: &[StoreName]) -> Result<(), StoreError> {
        let names = names.to_vec();
        self.blocking("publish", move |inner| inner.publish(&names))
            .await
    }

    async fn discard(&self, name: &StoreName) -> Result<(), StoreError> {
        self.inner.staged.lock().remove(name);
        absent_is_fine(
            name,
            self.inner.disk.remove_file(&self.inner.staged_path(name)),
        )
    }

    async fn append(&self, name: &StoreName) -> Result<Arc<dyn StoreFile>, StoreError> {
        let wanted = name.clone();
        let file = self
            .blocking("append", move |inner| inner.append(&wanted))
            .await?;
        Ok(Arc::new(DirectoryFile {
            name: name.clone(),
            disk: self.inner.disk.clone(),
            file,
            synced: Arc::default(),
        }))
    }

    async fn open(&self, name: &StoreName) -> Result<Arc<dyn StoreObject>, StoreError> {
        let path = self.inner.store.join(name.as_str());
        let file = self
            .inner
            .disk
            .open(&path, Open::Read)
            .map_err(|error| of_name(name, error))?;
        Ok(Arc::new(DirectoryObject {
            name: name.clone(),
            file,
        }))
    }

    async fn remove(&self, name: &StoreName) -> Result<(), StoreError> {
        let wanted = name.clone();
        self.blocking("remove", move |inner| {
            let path = inner.store.join(wanted.as_str());
            absent_is_fine(&wanted, inner.disk.remove_file(&path))?;
            match inner.disk.sync_dir(path.parent().unwrap_or(&inner.store)) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
                synced => synced.map_err(|error| of_name(&wanted, error)),
            }
        })
        .await
    }

    async fn list(
        &self,
        prefix: &str,
        after: Option<&StoreName>,
        limit: usize,
    ) -> Result<Vec<StoreEntry>, StoreError> {
        let (prefix, after) = (prefix.to_owned(), after.cloned());
        self.blocking("list", move |inner| {
            let wanted = Wanted {
                prefix: &prefix,
                after: after.as_ref().map_or("", StoreName::as_str),
                limit,
            };
            let mut found = Vec::new();
            inner.list_below("", &wanted, &mut found)?;
            Ok(found)
        })
        .await
    }

    async fn staged(&self) -> Result<Vec<StoreEntry>, StoreError> {
        self.blocking("staged", Inner::list_staged).await
    }

    async fn probe(&self) -> Result<(), StoreError> {
        is_marked(&*self.inner.disk, &self.inner.store)
    }

    async fn room(&self) -> Result<Room, StoreError> {
        self.inner
            .disk
            .room(&self.inner.store)
            .map_err(|error| of_io("room", error))
    }

    fn calls(&self) -> Calls {
        self.inner.disk.calls()
    }
}

/// What a listing is to have.
struct Wanted<'a> {
    prefix: &'a str,
    after: &'a str,
    limit: usize,
}

impl Wanted<'_> {
    /// Whether a name, or anything below that of a directory, is to be listed.
    fn takes(&self, name: &str, is_dir: bool) -> bool {
        let comes_after = name > self.after || (is_dir && self.after.starts_with(name));
        let has_prefix = name.starts_with(self.prefix) || (is_dir && self.prefix.starts_with(name));
        comes_after && has_prefix
    }
}

impl Inner {
    fn staged_path(&self, name: &StoreName) -> PathBuf {
        self.staging
            .join(name.as_str().replace('/', &STAGED_SLASH.to_string()))
    }

    fn hold_synced(&self, name: &StoreName) -> Result<(), StoreError> {
        let synced = self.staged.lock().get(name).cloned();
        let synced = synced.ok_or_else(|| StoreError::NoSuchFile { name: name.clone() })?;
        synced.is_whole(name)
    }

    fn publish(&self, names: &[StoreName]) -> Result<(), StoreError> {
        for name in names {
            self.hold_synced(name)?;
        }
        let mut directories = BTreeSet::new();
        for name in names {
            let to = self.store.join(name.as_str());
            self.in_directory_of(name, || self.disk.rename(&self.staged_path(name), &to))?;
            self.staged.lock().remove(name);
            directories.insert(to.parent().unwrap_or(&self.store).to_owned());
        }
        for directory in directories {
            self.sync_dir(&directory)?;
        }
        Ok(())
    }

    fn append(&self, name: &StoreName) -> Result<Arc<dyn DiskFile>, StoreError> {
        let path = self.store.join(name.as_str());
        match self.disk.open(&path, Open::ReadWrite) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            opened => return opened.map_err(|error| of_name(name, error)),
        }
        let file = self.in_directory_of(name, || self.disk.open(&path, Open::CreateNew))?;
        self.sync_dir(path.parent().unwrap_or(&self.store))?;
        Ok(file)
    }

    /// Does what needs the directory of a name. One that was made before may have been
    /// removed since, with the store that is back now: it is made once more then.
    fn in_directory_of<T>(
        &self,
        name: &StoreName,
        work: impl Fn() -> io::Result<T>,
    ) -> Result<T, StoreError> {
        self.make_directory_of(name)?;
        let done = match work() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.directories.lock().clear();
                self.make_directory_of(name)?;
                work()
            }
            done => done,
        };
        done.map_err(|error| of_name(name, error))
    }

    /// Makes the directories that a name needs, and makes them durable, once.
    fn make_directory_of(&self, name: &StoreName) -> Result<(), StoreError> {
        let path = self.store.join(name.as_str());
        let Some(directory) = path.parent() else {
            return Ok(());
        };
        if directory == self.store || self.directories.lock().contains(directory) {
            return Ok(());
        }
        // Not below a store that was deleted or unmounted: that would look like another.
        is_marked(&*self.disk, &self.store)?;
        self.disk
            .create_dir_all(directory)
            .map_err(|error| of_name(name, error))?;
        for above in directory.ancestors().skip(1) {
            self.sync_dir(above)?;
            if above == self.store {
                break;
            }
        }
        self.directories.lock().insert(directory.to_owned());
        Ok(())
    }

    fn sync_dir(&self, path: &Path) -> Result<(), StoreError> {
        self.disk
            .sync_dir(path)
            .map_err(|error| of_io(&path.display().to_string(), error))
    }

    /// Adds what lies below `base` in the order of names, until there is enough. One
    /// directory of each level is in memory, and those of which nothing is wanted are
    /// not read.
    fn list_below(
        &self,
        base: &str,
        wanted: &Wanted<'_>,
        found: &mut Vec<StoreEntry>,
    ) -> Result<(), StoreError> {
        let entries = match self.disk.read_dir(&self.store.join(base)) {
            // It was emptied and removed meanwhile.
            Err(error) if error.kind() == io::ErrorKind::NotFound && !base.is_empty() => {
                return Ok(());
            }
            read => read.map_err(|error| of_io(base, error))?,
        };
        let mut here: Vec<(String, Option<u64>)> = Vec::new();
        for entry in entries {
            let Some(name) = entry.name.to_str() else {
                continue;
            };
            match entry.is_dir {
                true => here.push((format!("{base}{name}/"), None)),
                false => here.push((format!("{base}{name}"), Some(entry.len))),
            }
        }
        here.retain(|(name, len)| wanted.takes(name, len.is_none()));
        // A directory with its slash stands where the names beneath it do.
        here.sort_unstable();
        for (name, len) in here {
            if found.len() >= wanted.limit {
                return Ok(());
            }
            match len {
                None => self.list_below(&name, wanted, found)?,
                Some(len) => {
                    found.extend(StoreName::new(&name).map(|name| StoreEntry { name, len }))
                }
            }
        }
        Ok(())
    }

    fn list_staged(&self) -> Result<Vec<StoreEntry>, StoreError> {
        let entries = self
            .disk
            .read_dir(&self.staging)
            .map_err(|error| of_io("staging", error))?;
        let named = entries
            .into_iter()
            .filter(|entry| !entry.is_dir)
            .filter_map(|entry| {
                let name = entry.name.to_str()?.replace(STAGED_SLASH, "/");
                Some(StoreEntry {
                    name: StoreName::new(name).ok()?,
                    len: entry.len,
                })
            });
        let mut staged: Vec<_> = named.collect();
        staged.sort_unstable();
        Ok(staged)
    }
}

/// How many writes a file has seen, and how many of them are durable.
#[derive(Debug, Default)]
struct Synced {
    writes: AtomicU64,
    synced: AtomicU64,
    failed: AtomicBool,
}

impl Synced {
    fn wrote(&self) {
        self.writes.fetch_add(1, Ordering::SeqCst);
    }

    fn is_whole(&self, name: &StoreName) -> Result<(), StoreError> {
        self.is_good(name)?;
        if self.synced.load(Ordering::SeqCst) == self.writes.load(Ordering::SeqCst) {
            return Ok(());
        }
        Err(StoreError::NotSynced { name: name.clone() })
    }

    fn is_good(&self, name: &StoreName) -> Result<(), StoreError> {
        if self.failed.load(Ordering::SeqCst) {
            return Err(StoreError::Abandoned { name: name.clone() });
        }
        Ok(())
    }
}

#[derive(Debug)]
struct DirectoryFile {
    name: StoreName,
    disk: Arc<dyn Disk>,
    file: Arc<dyn DiskFile>,
    synced: Arc<Synced>,
}

#[async_trait]
impl StoreFile for DirectoryFile {
    async fn write_at(&self, bytes: &[u8], offset: u64) -> Result<(), StoreError> {
        self.synced.wrote();
        self.file
            .write_all_at(bytes, offset)
            .map_err(|error| of_name(&self.name, error))
    }

    fn read_exact_at(&self, bytes: &mut [u8], offset: u64) -> Result<(), StoreError> {
        self.file
            .read_exact_at(bytes, offset)
            .map_err(|error| of_name(&self.name, error))
    }

    async fn set_len(&self, len: u64) -> Result<(), StoreError> {
        self.synced.wrote();
        self.file
            .set_len(len)
            .map_err(|error| of_name(&self.name, error))
    }

    fn len(&self) -> Result<u64, StoreError> {
        self.file.len().map_err(|error| of_name(&self.name, error))
    }

    async fn sync(&self) -> Result<(), StoreError> {
        self.synced.is_good(&self.name)?;
        let (name, file, synced) = (self.name.clone(), self.file.clone(), self.synced.clone());
        patiently(self.disk.calls(), name.clone().as_str(), move || {
            let writes = synced.writes.load(Ordering::SeqCst);
            if let Err(error) = file.sync() {
                synced.failed.store(true, Ordering::SeqCst);
                return Err(of_name(&name, error));
            }
            if !file.has_name().map_err(|error| of_name(&name, error))? {
                synced.failed.store(true, Ordering::SeqCst);
                return Err(StoreError::Deleted { name });
            }
            synced.synced.fetch_max(writes, Ordering::SeqCst);
            Ok(())
        })
        .await
    }
}

#[derive(Debug)]
struct DirectoryObject {
    name: StoreName,
    file: Arc<dyn DiskFile>,
}

impl StoreObject for DirectoryObject {
    fn read_exact_at(&self, bytes: &mut [u8], offset: u64) -> Result<(), StoreError> {
        self.file
            .read_exact_at(bytes, offset)
            .map_err(|error| of_name(&self.name, error))
    }

    fn len(&self) -> Result<u64, StoreError> {
        self.file.len().map_err(|error| of_name(&self.name, error))
    }
}

/// Makes a directory a store, durably, unless it is one.
fn mark(disk: &dyn Disk, store: &Path) -> Result<(), StoreError> {
    let path = store.join(MARK);
    let failed = |error| of_io(&path.display().to_string(), error);
    match disk.open(&path, Open::CreateNew) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(failed(error)),
        Ok(file) => {
            file.sync().map_err(failed)?;
            disk.sync_dir(store).map_err(failed)
        }
    }
}

fn is_marked(disk: &dyn Disk, store: &Path) -> Result<(), StoreError> {
    let path = store.join(MARK);
    let name = path.display().to_string();
    match disk.open(&path, Open::Read) {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            Err(StoreError::StoreMissing { path: name })
        }
        Err(error) => Err(of_io(&name, error)),
    }
}

async fn patiently<T: Send + 'static>(
    calls: Calls,
    what: &str,
    work: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
) -> Result<T, StoreError> {
    match blocking(calls, work).await {
        Ok(done) => done,
        Err(error) => Err(of_io(what, io::Error::other(error))),
    }
}

fn absent_is_fine(name: &StoreName, removed: io::Result<()>) -> Result<(), StoreError> {
    match removed {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed.map_err(|error| of_name(name, error)),
    }
}

fn of_name(name: &StoreName, error: io::Error) -> StoreError {
    match error.kind() {
        io::ErrorKind::NotFound => StoreError::NoSuchFile { name: name.clone() },
        io::ErrorKind::AlreadyExists => StoreError::FileExists { name: name.clone() },
        _ => of_io(name.as_str(), error),
    }
}

fn of_io(name: &str, source: io::Error) -> StoreError {
    use io::ErrorKind::{PermissionDenied, QuotaExceeded, ReadOnlyFilesystem, StorageFull};
    match source.kind() {
        StorageFull | QuotaExceeded => StoreError::StoreFull { source },
        PermissionDenied | ReadOnlyFilesystem => StoreError::StoreDenied {
            name: name.to_owned(),
            source,
        },
        _ => StoreError::StoreFailed {
            name: name.to_owned(),
            source,
        },
    }
}
