//! A staged file: written here as in any directory, and told when parts of it may go.

use std::sync::Arc;

use async_trait::async_trait;

use super::{inner::Inner, sending::Sending};
use crate::{Cut, StoreError, StoreFile};

/// A staged file of a bucket.
#[derive(Debug)]
pub(super) struct StagedFile {
    pub(super) file: Arc<dyn StoreFile>,
    pub(super) sending: Arc<Sending>,
    pub(super) inner: Arc<Inner>,
}

#[async_trait]
impl StoreFile for StagedFile {
    async fn write_at(&self, bytes: &[u8], offset: u64) -> Result<(), StoreError> {
        let write = self.sending.begin_write(bytes.len(), offset);
        self.file.write_at(bytes, offset).await?;
        if let Some(write) = write {
            self.sending.wrote(write, bytes);
        }
        Ok(())
    }

    fn read_exact_at(&self, bytes: &mut [u8], offset: u64) -> Result<(), StoreError> {
        self.file.read_exact_at(bytes, offset)
    }

    async fn set_len(&self, len: u64) -> Result<(), StoreError> {
        self.sending.forget_written();
        self.file.set_len(len).await
    }

    fn len(&self) -> Result<u64, StoreError> {
        self.file.len()
    }

    fn cut(&self, cut: Cut) {
        self.sending.cut(cut);
    }

    fn settled(&self, units: &[u32]) {
        self.sending.settled(&self.inner, units);
    }

    async fn prepare(&self) -> Result<(), StoreError> {
        self.file.sync().await?;
        self.sending.send_all(&self.inner).await
    }

    async fn sync(&self) -> Result<(), StoreError> {
        self.file.sync().await
    }
}
