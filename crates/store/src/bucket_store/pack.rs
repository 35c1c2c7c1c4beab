//! A pack: written here, put into the bucket with each sync, whole or not at all.

use std::sync::{
    Arc, Weak,
    atomic::{AtomicBool, Ordering},
};

use async_trait::async_trait;
use parking_lot::Mutex;
use sealift_outside::Payload;

use super::{
    Inner,
    place::{If, Outcome},
    sending::Local,
};
use crate::{Store, StoreError, StoreFile, StoreName, StoreObject, blocking};

/// A pack that is being written.
#[derive(Debug)]
pub(super) struct Pack {
    name: StoreName,
    file: Arc<dyn StoreFile>,
    of: Weak<Inner>,
    /// What of it is in the bucket.
    etag: Mutex<Option<String>>,
    /// A sync failed: what the bucket holds is unknown.
    failed: AtomicBool,
    /// Held by the sync that is under way.
    syncing: tokio::sync::Mutex<()>,
}

impl Pack {
    pub(super) fn new(
        name: &StoreName,
        file: Arc<dyn StoreFile>,
        of: &Arc<Inner>,
        etag: Option<String>,
    ) -> Self {
        Self {
            name: name.clone(),
            file,
            of: Arc::downgrade(of),
            etag: Mutex::new(etag),
            failed: AtomicBool::new(false),
            syncing: tokio::sync::Mutex::default(),
        }
    }

    async fn put(&self) -> Result<(), StoreError> {
        let abandoned = || StoreError::Abandoned {
            name: self.name.clone(),
        };
        let _one_at_a_time = self.syncing.lock().await;
        let of = self.of.upgrade().ok_or_else(abandoned)?;
        if self.failed.load(Ordering::SeqCst) {
            return Err(abandoned());
        }
        // Whatever happens from here on but the good end.
        self.failed.store(true, Ordering::SeqCst);
        of.lease.hold().await?;
        let file = Arc::new(Local(of.local.read_staged(&self.name)?));
        let payload = Payload::pieces(file, 0, self.file.len()?);
        let hashing = payload.clone();
        let sum = blocking(of.calls(), move || hashing.sha256()).await;
        let sum = sum.map_err(|error| of.failed(&self.name, error))?;
        let sum = sum.map_err(|error| of.failed(&self.name, error))?;
        let payload = payload.hashed(&sum);
        let before = self.etag.lock().clone();
        let when = before.map_or(If::Absent, If::Is);
        let _permit = of.permit().await;
        let mut outcome = of.place.put(self.name.as_str(), payload, &when).await?;
        if outcome == Outcome::Conflict
            && let Some(etag) = of.is_same(&self.name).await?
        {
            // It was taken, and the answer was lost.
            outcome = Outcome::Done(etag);
        }
        match outcome {
            Outcome::Done(etag) => *self.etag.lock() = Some(etag),
            Outcome::Conflict | Outcome::NoUpload => {
                return Err(StoreError::FileExists {
                    name: self.name.clone(),
                });
            }
        }
        self.failed.store(false, Ordering::SeqCst);
        Ok(())
    }
}

impl Drop for Pack {
    /// What is in the bucket is read there.
    fn drop(&mut self) {
        if let Some(of) = self.of.upgrade()
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            let name = self.name.clone();
            runtime.spawn(async move {
                if of
                    .packs
                    .lock()
                    .get(&name)
                    .is_some_and(|pack| pack.strong_count() > 0)
                {
                    return;
                }
                of.packs.lock().remove(&name);
                if let Err(error) = of.local.discard(&name).await {
                    tracing::warn!(%name, %error, "a pack's staged file was not removed");
                }
            });
        }
    }
}

#[async_trait]
impl StoreFile for Pack {
    async fn write_at(&self, bytes: &[u8], offset: u64) -> Result<(), StoreError> {
        self.file.write_at(bytes, offset).await
    }

    fn read_exact_at(&self, bytes: &mut [u8], offset: u64) -> Result<(), StoreError> {
        self.file.read_exact_at(bytes, offset)
    }

    async fn set_len(&self, len: u64) -> Result<(), StoreError> {
        self.file.set_len(len).await
    }

    fn len(&self) -> Result<u64, StoreError> {
        self.file.len()
    }

    async fn sync(&self) -> Result<(), StoreError> {
        self.put().await
    }
}

/// A pack that is read while it is written.
#[derive(Debug)]
pub(super) struct OpenPack(pub(super) Arc<Pack>);

impl StoreObject for OpenPack {
    fn read_exact_at(&self, bytes: &mut [u8], offset: u64) -> Result<(), StoreError> {
        self.0.file.read_exact_at(bytes, offset)
    }

    fn len(&self) -> Result<u64, StoreError> {
        self.0.file.len()
    }
}
