//! What all files of a bucket share, and the steps that make one of them the bucket's.

use std::{
    collections::HashMap,
    fmt, io,
    sync::{Arc, Weak},
    time::Duration,
};

use parking_lot::Mutex;
use sealift_terms::{
    Reason, Rng,
    limits::{S3_SENDING_MAX, S3_TAIL_BYTES},
    world::Calls,
};
use tokio::sync::{RwLock, Semaphore, SemaphorePermit};

use super::{
    bucket::{Bucket, Counts, If, Outcome},
    lease::Lease,
    note::Note,
    pack::Pack,
    probe::TRIED,
    sending::Sending,
    versioning::Versioning,
};
use crate::{DirectoryStore, Store, StoreError, StoreName};

/// Who this is among those who may write the bucket.
const HOLDER: &str = "holder";
/// Tries to publish one file, of which each knows better than the last what is there.
const TRIES_MAX: u32 = 4;
/// How often uploads that nobody knows are looked for.
const SWEPT: Duration = Duration::from_secs(3600);

pub(super) struct Inner {
    pub(super) bucket: Arc<Bucket>,
    /// Staged files, and notes beside them.
    pub(super) local: DirectoryStore,
    pub(super) lease: Lease,
    pub(super) versioning: Versioning,
    pub(super) counts: Arc<Counts>,
    pub(super) sending: Semaphore,
    /// Staged files that are on their way.
    pub(super) files: Mutex<HashMap<StoreName, Weak<Sending>>>,
    pub(super) packs: Mutex<HashMap<StoreName, Weak<Pack>>>,
    /// Held for reading while an upload is begun, so that a sweep does not take it for
    /// one that nobody knows.
    pub(super) beginning: RwLock<()>,
}

impl fmt::Debug for Inner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "S3Store({:?}, {:?})", self.bucket, self.local)
    }
}

impl Inner {
    pub(super) fn new(
        bucket: Arc<Bucket>,
        local: DirectoryStore,
        lease: Lease,
        versioning: Versioning,
        counts: Arc<Counts>,
    ) -> Self {
        Self {
            bucket,
            local,
            lease,
            versioning,
            counts,
            sending: Semaphore::new(S3_SENDING_MAX),
            files: Mutex::default(),
            packs: Mutex::default(),
            beginning: RwLock::default(),
        }
    }

    pub(super) fn calls(&self) -> Calls {
        self.local.calls()
    }

    /// A part or file may be sent while this is held.
    pub(super) async fn permit(&self) -> Option<SemaphorePermit<'_>> {
        // It is never closed.
        self.sending.acquire().await.ok()
    }

    pub(super) fn failed(
        &self,
        name: &StoreName,
        error: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> StoreError {
        self.failed_as(name.as_str(), error)
    }

    pub(super) fn failed_as(
        &self,
        name: &str,
        error: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> StoreError {
        StoreError::StoreRefused {
            reason: Reason::DstStoreUnavailable,
            name: name.to_owned(),
            source: io::Error::other(error),
        }
    }

    pub(super) fn staged_len(&self, name: &StoreName) -> Result<u64, StoreError> {
        let len = self.local.read_staged(name)?.len();
        len.map_err(|source| StoreError::StoreFailed {
            name: name.to_string(),
            source,
        })
    }

    /// What is known of a staged file here.
    pub(super) fn sending_of(&self, name: &StoreName) -> Arc<Sending> {
        let mut files = self.files.lock();
        if let Some(known) = files.get(name).and_then(Weak::upgrade) {
            return known;
        }
        let sending = Arc::new(Sending::new(name));
        files.retain(|_, sending| sending.strong_count() > 0);
        files.insert(name.clone(), Arc::downgrade(&sending));
        sending
    }

    /// Whether what is in the bucket under this name is the staged file; its entity tag then.
    pub(super) async fn is_same(&self, name: &StoreName) -> Result<Option<String>, StoreError> {
        let Some(seen) = self.bucket.head(name.as_str()).await? else {
            return Ok(None);
        };
        let len = self.staged_len(name)?;
        if seen.len != len {
            return Ok(None);
        }
        let tail = len.min(S3_TAIL_BYTES);
        let mut own = vec![0; usize::try_from(tail).unwrap_or(0)];
        let file = self.local.read_staged(name)?;
        let read = file.read_exact_at(&mut own, len - tail);
        read.map_err(|source| StoreError::StoreFailed {
            name: name.to_string(),
            source,
        })?;
        if tail == 0 {
            return Ok(Some(seen.etag));
        }
        let there = self.bucket.range(name, len - tail, tail).await?;
        Ok((there == own).then_some(seen.etag))
    }

    /// Puts one staged file into the bucket, under a condition each time.
    pub(super) async fn publish(self: &Arc<Self>, name: &StoreName) -> Result<(), StoreError> {
        let sending = self.sending_of(name);
        let mut when = If::Absent;
        for _ in 0..TRIES_MAX {
            self.lease.hold().await?;
            let outcome = sending.put(self, &when).await?;
            if let Outcome::Done(_) = outcome {
                return Ok(());
            }
            if self.is_same(name).await?.is_some() {
                return Ok(());
            }
            if outcome == Outcome::NoUpload {
                sending.forget(self).await?;
            }
            // Of an earlier try that nobody was told of, or a key record that is written anew.
            when = match self.bucket.head(name.as_str()).await? {
                Some(seen) => If::Is(seen.etag),
                None => If::Absent,
            };
        }
        Err(self.failed(name, "the bucket does not come to rest"))
    }

    /// Forgets a staged file, whether it was published or not.
    pub(super) async fn let_go(&self, name: &StoreName) -> Result<(), StoreError> {
        let sending = self
            .files
            .lock()
            .remove(name)
            .and_then(|known| known.upgrade());
        let sending = sending.unwrap_or_else(|| Arc::new(Sending::new(name)));
        sending.forget(self).await?;
        self.local.discard(name).await
    }

    /// A crash between publishing and the end of it: what the bucket has need not be staged.
    pub(super) async fn settle_published(&self) -> Result<(), StoreError> {
        for entry in self.local.staged().await? {
            if self.is_same(&entry.name).await?.is_some() {
                self.let_go(&entry.name).await?;
            }
        }
        Ok(())
    }

    /// Gives up uploads below our prefix that no staged file is sent by. What is not called
    /// as sealed files are is somebody else's.
    pub(super) async fn sweep(&self) -> Result<(), StoreError> {
        let _none_begins_meanwhile = self.beginning.write().await;
        for (name, id) in self.bucket.uploads("").await? {
            if is_called_as_ours(&name) && !self.is_known(&name, &id).await? {
                tracing::info!(name, "an upload that nobody knows of is given up");
                self.lease.hold().await?;
                self.bucket.abort(&name, &id).await?;
            }
        }
        Ok(())
    }

    async fn is_known(&self, name: &str, id: &str) -> Result<bool, StoreError> {
        let Ok(name) = StoreName::new(name) else {
            return Ok(false);
        };
        let noted = Note::read(&self.local, &name).await?;
        let is_noted = noted.is_some_and(|(noted, _)| noted.id == id);
        Ok(is_noted && self.local.read_staged(&name).is_ok())
    }
}

/// Sealed files and packs, and what a check tries with.
fn is_called_as_ours(name: &str) -> bool {
    name.ends_with(".slf") || name.ends_with(".slp") || name == TRIED
}

/// Renews the lease while the store is there, and sweeps now and then.
pub(super) async fn keep(inner: Weak<Inner>, every: Duration) {
    let mut since = Duration::ZERO;
    loop {
        tokio::time::sleep(every).await;
        let Some(inner) = inner.upgrade() else { return };
        if inner.lease.epoch().is_none() {
            continue;
        }
        if let Err(error) = inner.lease.renew().await {
            tracing::error!(%error, cause = ?std::error::Error::source(&error), "the bucket's lease was not renewed");
            continue;
        }
        since += every;
        if since >= SWEPT {
            since = Duration::ZERO;
            if let Err(error) = inner.sweep().await {
                tracing::warn!(%error, "uploads that nobody knows were not looked for");
            }
        }
    }
}

/// Who this is: drawn once for a disk.
pub(super) async fn holder(local: &DirectoryStore, rng: &dyn Rng) -> Result<String, StoreError> {
    let name = StoreName::new(HOLDER)?;
    let file = local.append(&name).await?;
    let mut text = [0; 32];
    if file.len()? < text.len() as u64 {
        let mut random = [0; 16];
        rng.fill(&mut random);
        let drawn: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
        file.write_at(drawn.as_bytes(), 0).await?;
        file.sync().await?;
    }
    file.read_exact_at(&mut text, 0)?;
    Ok(String::from_utf8_lossy(&text).into_owned())
}
