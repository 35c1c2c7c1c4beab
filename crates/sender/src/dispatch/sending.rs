//! One transfer on its way: what is sent, and what it holds while it is sent.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use parking_lot::Mutex;
use sealift_ledger::Transfer;
use sealift_store::{SourceObject, StoreError};
use sealift_terms::Checksum;
use sealift_wire::checksum::Crc64;
use tokio::sync::OwnedSemaphorePermit;

use crate::press::Taste;

/// Read at once to learn a checksum.
const READ_BYTES: u64 = 1 << 20;

/// Where the bytes are read from.
#[derive(Debug)]
pub(super) enum Content {
    /// There are none: a delete marker, tags.
    Nothing,
    /// In memory, read once, found unchanged behind the reading.
    Small(Vec<u8>),
    /// In the source.
    Large(Arc<dyn SourceObject>),
    /// Nowhere any more: all that can be done is to ask whether the peer has it.
    Gone(Gone),
}

/// How a version is found to be lost to its source.
#[derive(Debug, Clone)]
pub(super) enum Gone {
    /// The object is not there.
    Removed,
    /// Another version is there.
    Replaced(String),
}

impl Gone {
    /// Of what a source says, if it is this.
    pub(super) fn of(error: &StoreError) -> Option<Self> {
        match error {
            StoreError::SourceGone => Some(Self::Removed),
            StoreError::SourceChanged { evidence } => Some(Self::Replaced(evidence.clone())),
            _ => None,
        }
    }

    fn error(&self) -> StoreError {
        match self.clone() {
            Self::Removed => StoreError::SourceGone,
            Self::Replaced(evidence) => StoreError::SourceChanged { evidence },
        }
    }
}

#[derive(Debug)]
pub(super) struct Sending {
    pub(super) transfer: Transfer,
    pub(super) content: Content,
    /// The checksum of what was sent, once it is known.
    pub(super) checksum: Mutex<Option<Checksum>>,
    /// Whether its bytes are worth compressing, as far as they were tried.
    pub(super) taste: Mutex<Taste>,
    /// Bytes that the peer has stored.
    pub(super) stored: AtomicU64,
    /// Memory or open files that it takes up; given back when it is over.
    pub(super) _permit: Option<OwnedSemaphorePermit>,
}

impl Sending {
    /// The whole of a small object.
    pub(super) fn whole(&self) -> Option<&[u8]> {
        match &self.content {
            Content::Small(bytes) => Some(bytes),
            Content::Nothing | Content::Large(_) | Content::Gone(_) => None,
        }
    }

    /// Fills `buffer` with the bytes from `from` on.
    pub(super) async fn read(&self, from: u64, buffer: &mut [u8]) -> Result<(), StoreError> {
        let bytes = match &self.content {
            Content::Large(object) => return object.read_exact_at(buffer, from).await,
            Content::Small(bytes) => bytes.as_slice(),
            Content::Nothing => &[],
            Content::Gone(gone) => return Err(gone.error()),
        };
        let from = usize::try_from(from).unwrap_or(usize::MAX);
        let range = bytes.get(from..from.saturating_add(buffer.len()));
        let evidence = || "a range beyond its end was asked for".to_owned();
        buffer.copy_from_slice(range.ok_or_else(|| StoreError::SourceChanged {
            evidence: evidence(),
        })?);
        Ok(())
    }

    /// Whether it has bytes of which nothing is known yet.
    pub(super) fn is_unread(&self) -> bool {
        matches!(self.content, Content::Large(_)) && self.checksum.lock().is_none()
    }

    /// Reads all of it for its checksum.
    pub(super) async fn read_through(&self) -> Result<(), StoreError> {
        let size = self.transfer.change.facts.size;
        let (mut crc, mut from, mut buffer) = (Crc64::new(), 0, Vec::new());
        while from < size {
            let count = (size - from).min(READ_BYTES);
            buffer.resize(usize::try_from(count).unwrap_or_default(), 0);
            self.read(from, &mut buffer).await?;
            crc.update(&buffer);
            from += count;
        }
        self.finish().await?;
        *self.checksum.lock() = Some(Checksum::crc64nvme(crc.value()));
        Ok(())
    }

    /// Says that the source did not change while it was read.
    pub(super) async fn finish(&self) -> Result<(), StoreError> {
        match &self.content {
            Content::Large(object) => object.finish().await,
            Content::Small(_) | Content::Nothing => Ok(()),
            Content::Gone(gone) => Err(gone.error()),
        }
    }

    pub(super) fn stored(&self, bytes: u32) {
        self.stored.fetch_add(bytes.into(), Ordering::Relaxed);
    }
}
