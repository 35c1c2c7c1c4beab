//! A bucket of a service as the store that sealed files rest in: of S3 or what speaks its
//! protocol, of Google Cloud Storage, or a container of Azure Blob Storage. What each of them
//! is asked for is behind [`Place`]; the picture has S3's names for it.
//!
//! ```text
//!   create ─▶ staging/ of this machine ── settled ─▶ UploadPart …          k sealed parts each
//!                                      ── publish ─▶ CompleteMultipartUpload   If-None-Match: *
//!                                                    or PutObject for what is small
//!   append ─▶ staging/ ──────────────── sync ──────▶ PutObject              a pack is one group
//!   open   ─▶ HeadObject ── read ─▶ GetObject Range …     list ─▶ ListObjectsV2
//! ```
//!
//! Nothing is published before the bucket has taken all of it, and nothing in the bucket is
//! ever half a file. A staged file is here until then, so that a bucket that fails costs a
//! try and no byte has to be sent over the tunnel again. What is put under a condition and
//! found there already is taken for done when length and end are ours: the end of a sealed
//! file holds commitments to everything before it.

mod inner;
mod lease;
mod note;
mod object;
mod pack;
mod place;
mod probe;
mod sending;
mod staged;
pub(crate) mod told;
mod written;

use std::{
    fmt, io,
    path::Path,
    sync::{Arc, Weak},
    time::Duration,
};

use async_trait::async_trait;
use sealift_outside::Endpoint;
use sealift_terms::{
    Clock, Disk, Rng,
    limits::S3_GROUP_TIME_MAX,
    world::{Calls, Room},
};
use tokio::task::{JoinHandle, JoinSet};
use tokio_rustls::rustls::ClientConfig;

use crate::{
    AzureSettings, DirectoryStore, S3Settings, Store, StoreEntry, StoreError, StoreFile, StoreName,
    StoreObject,
    azure::{AZURE_CALLS, AzurePlace},
    s3::{S3_CALLS, S3Place},
};
use inner::{Inner, holder, keep};
use lease::Lease;
use object::{Reads, StoredFile};
use pack::{OpenPack, Pack};
use sending::Sending;
use staged::StagedFile;

pub use lease::LeaseTimes;
pub(crate) use place::{Counts, If, Outcome, Place, Seen, StoredPart, is_content};
pub(crate) use probe::{TRIED, try_file};

/// Where what is known of uploads is kept, beside the staged files.
const BESIDE_DIR: &str = "s3";

/// Where sealed files rest, and as whom that is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BucketSettings {
    /// A bucket of S3, or of what speaks its protocol.
    S3(Box<S3Settings>),
    /// A container of Azure Blob Storage.
    Azure(AzureSettings),
}

impl From<S3Settings> for BucketSettings {
    fn from(settings: S3Settings) -> Self {
        Self::S3(Box::new(settings))
    }
}

impl From<AzureSettings> for BucketSettings {
    fn from(settings: AzureSettings) -> Self {
        Self::Azure(settings)
    }
}

impl BucketSettings {
    /// The service.
    #[must_use]
    pub fn endpoint(&self) -> &Endpoint {
        match self {
            Self::S3(settings) => &settings.endpoint,
            Self::Azure(settings) => &settings.endpoint,
        }
    }

    /// A client of it, which has connections of its own.
    fn place(
        &self,
        tls: Option<Arc<ClientConfig>>,
        machine: &Machine,
        counts: &Arc<Counts>,
    ) -> Arc<dyn Place> {
        let (clock, rng) = (machine.clock.clone(), machine.rng.clone());
        let counts = counts.clone();
        match self {
            Self::S3(settings) => {
                Arc::new(S3Place::new((**settings).clone(), tls, clock, rng, counts))
            }
            Self::Azure(settings) => {
                Arc::new(AzurePlace::new(settings.clone(), tls, clock, rng, counts))
            }
        }
    }

    fn counts(&self) -> Counts {
        match self {
            Self::S3(_) => Counts::of(&S3_CALLS),
            Self::Azure(_) => Counts::of(&AZURE_CALLS),
        }
    }
}

/// A bucket as a store.
pub struct BucketStore {
    inner: Arc<Inner>,
    reads: Arc<Reads>,
    /// Renews the lease.
    renewing: JoinHandle<()>,
}

impl fmt::Debug for BucketStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.inner, f)
    }
}

/// What a bucket as a store needs of its machine.
#[derive(Debug, Clone)]
pub struct Machine {
    /// The disk of the staged files.
    pub disk: Arc<dyn Disk>,
    /// The clock.
    pub clock: Arc<dyn Clock>,
    /// The random generator.
    pub rng: Arc<dyn Rng>,
}

impl BucketStore {
    /// Takes a bucket as store. Nothing is asked of it before something is wanted, or
    /// [`begin`](Self::begin) is called. Needs a tokio runtime.
    ///
    /// # Errors
    /// What the disk below `data_dir` says.
    pub async fn new(
        settings: impl Into<BucketSettings>,
        tls: Option<Arc<ClientConfig>>,
        machine: Machine,
        data_dir: &Path,
        staging_dir: &Path,
        times: LeaseTimes,
    ) -> Result<Self, StoreError> {
        let settings = settings.into();
        let disk = machine.disk.clone();
        let local = DirectoryStore::new(disk, staging_dir, data_dir.join(BESIDE_DIR))?;
        let holder = holder(&local, &*machine.rng).await?;
        let counts = Arc::new(settings.counts());
        let writing = settings.place(tls.clone(), &machine, &counts);
        let reading = settings.place(tls, &machine, &counts);
        let reads = Reads::new(reading).map_err(|source| StoreError::StoreFailed {
            name: "reading".to_owned(),
            source,
        })?;
        let lease = Lease::new(writing.clone(), machine.clock, holder, times);
        let inner = Arc::new(Inner::new(writing, local, lease, counts));
        Ok(Self {
            reads: Arc::new(reads),
            renewing: tokio::spawn(keep(Arc::downgrade(&inner), times.renewed)),
            inner,
        })
    }

    /// Takes hold of the bucket, makes it a store if `may_make` and it is none, and gives up
    /// uploads that nobody knows of.
    ///
    /// # Errors
    /// [`StoreError::StoreLeased`], [`StoreError::StoreMissing`], and what the bucket says.
    pub async fn begin(&self, may_make: bool) -> Result<(), StoreError> {
        if !may_make {
            self.probe().await?;
        }
        self.inner.lease.wait().await?;
        let settled = self.inner.settle_published().await;
        settled.and(self.inner.sweep().await)
    }

    /// The epoch in which it holds the bucket; `None` while it does not.
    #[must_use]
    pub fn epoch(&self) -> Option<u64> {
        self.inner.lease.epoch()
    }
}

impl Drop for BucketStore {
    fn drop(&mut self) {
        self.renewing.abort();
    }
}

#[async_trait]
impl Store for BucketStore {
    async fn create(&self, name: &StoreName) -> Result<Arc<dyn StoreFile>, StoreError> {
        let file = self.inner.local.create(name).await?;
        Ok(self.staged_file(name, file))
    }

    async fn reopen(&self, name: &StoreName) -> Result<Arc<dyn StoreFile>, StoreError> {
        let file = self.inner.local.reopen(name).await?;
        // What was sent of it is looked at again: parts of it may be written anew.
        self.inner.files.lock().remove(name);
        Ok(self.staged_file(name, file))
    }

    async fn publish(&self, names: &[StoreName]) -> Result<(), StoreError> {
        for name in names {
            self.inner.local.hold_synced(name)?;
        }
        let mut publishing = JoinSet::new();
        for name in names {
            let (inner, name) = (self.inner.clone(), name.clone());
            publishing.spawn(async move { inner.publish(&name).await });
        }
        let mut outcome = Ok(());
        while let Some(published) = publishing.join_next().await {
            outcome = outcome.and(published.unwrap_or_else(|error| {
                Err(StoreError::StoreFailed {
                    name: "publishing".to_owned(),
                    source: io::Error::other(error),
                })
            }));
        }
        // With one that failed all are asked for once more, and need what is staged.
        outcome?;
        for name in names {
            if let Err(error) = self.inner.let_go(name).await {
                tracing::warn!(%name, %error, "the staged file of what is published was not removed");
            }
        }
        Ok(())
    }

    async fn discard(&self, name: &StoreName) -> Result<(), StoreError> {
        let known = self.inner.files.lock().remove(name);
        let sending = known.and_then(|known| known.upgrade());
        let sending = sending.unwrap_or_else(|| Arc::new(Sending::new(name)));
        sending.give_up(&self.inner).await?;
        self.inner.local.discard(name).await
    }

    async fn append(&self, name: &StoreName) -> Result<Arc<dyn StoreFile>, StoreError> {
        let open = self.inner.packs.lock().get(name).and_then(Weak::upgrade);
        if let Some(open) = open {
            return Ok(open);
        }
        // Left by an earlier process: what the bucket has is the pack.
        self.inner.local.discard(name).await?;
        let file = self.inner.local.create(name).await?;
        let etag = match self.inner.place.head(name.as_str()).await? {
            None => None,
            Some(seen) => {
                self.fetch(name, seen.len, &*file).await?;
                Some(seen.etag)
            }
        };
        Ok(self.pack(name, file, etag))
    }

    async fn append_new(&self, name: &StoreName) -> Result<Arc<dyn StoreFile>, StoreError> {
        let file = self.inner.local.create(name).await?;
        Ok(self.pack(name, file, None))
    }

    async fn open(&self, name: &StoreName) -> Result<Arc<dyn StoreObject>, StoreError> {
        let open = self.inner.packs.lock().get(name).and_then(Weak::upgrade);
        if let Some(open) = open {
            return Ok(Arc::new(OpenPack(open)));
        }
        match self.inner.place.head(name.as_str()).await? {
            Some(seen) => Ok(Arc::new(StoredFile::new(
                name,
                seen.len,
                self.reads.clone(),
            ))),
            None => Err(StoreError::NoSuchFile { name: name.clone() }),
        }
    }

    async fn remove(&self, name: &StoreName) -> Result<(), StoreError> {
        self.inner.lease.hold().await?;
        self.inner.place.delete(name.as_str()).await
    }

    async fn list(
        &self,
        prefix: &str,
        after: Option<&StoreName>,
        limit: usize,
    ) -> Result<Vec<StoreEntry>, StoreError> {
        self.inner.place.list(prefix, after, limit).await
    }

    async fn staged(&self) -> Result<Vec<StoreEntry>, StoreError> {
        let mut staged = self.inner.local.staged().await?;
        let packs = self.inner.packs.lock();
        staged.retain(|entry| !packs.contains_key(&entry.name));
        Ok(staged)
    }

    async fn probe(&self) -> Result<(), StoreError> {
        match self.inner.lease.is_there().await? {
            true => Ok(()),
            false => Err(StoreError::StoreMissing {
                path: format!("{} of {}", lease::LEASE, self.inner.place.reached()),
            }),
        }
    }

    /// That of the disk below the staged files: a bucket has no end that it would tell.
    async fn room(&self) -> Result<Room, StoreError> {
        // Asked before anything is taken in.
        self.inner.place.hold_versions().await?;
        self.inner.local.room().await
    }

    fn pack_delay(&self) -> Option<Duration> {
        Some(S3_GROUP_TIME_MAX)
    }

    fn requests(&self) -> Vec<(&'static str, u64)> {
        self.inner.counts.all()
    }

    fn calls(&self) -> Calls {
        self.inner.calls()
    }
}

impl BucketStore {
    fn staged_file(&self, name: &StoreName, file: Arc<dyn StoreFile>) -> Arc<dyn StoreFile> {
        Arc::new(StagedFile {
            file,
            sending: self.inner.sending_of(name),
            inner: self.inner.clone(),
        })
    }

    fn pack(
        &self,
        name: &StoreName,
        file: Arc<dyn StoreFile>,
        etag: Option<String>,
    ) -> Arc<dyn StoreFile> {
        let pack = Arc::new(Pack::new(name, file, &self.inner, etag));
        let known = Arc::downgrade(&pack);
        self.inner.packs.lock().insert(name.clone(), known);
        pack
    }

    /// Copies what the bucket has of a pack.
    async fn fetch(
        &self,
        name: &StoreName,
        len: u64,
        to: &dyn StoreFile,
    ) -> Result<(), StoreError> {
        const PIECE: u64 = 1 << 20;
        let mut at = 0;
        while at < len {
            let wanted = PIECE.min(len - at);
            let piece = self.inner.place.range(name, at, wanted).await?;
            if piece.len() as u64 != wanted {
                return Err(self.inner.failed(name, "it ends earlier than it says"));
            }
            to.write_at(&piece, at).await?;
            at += wanted;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
