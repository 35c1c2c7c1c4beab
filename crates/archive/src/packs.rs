//! The pack that small objects and marks are appended to.

use std::sync::Arc;

use sealift_ledger::{Location, PackState};
use sealift_seal::pack::{EntryKind, PACK_HEADER, append_entry};
use sealift_store::{Store, StoreError, StoreFile, StoreName};
use sealift_terms::{Clock, Rng, limits::PACK_BYTES_MAX};

use crate::{Result, limits::WRITE_BYTES_MAX};

/// Where the store keeps packs. Their names grow with time, so that the last
/// one is known without a catalog.
pub(crate) const PACKS: &str = "packs/";

/// A pack that is being written. What has not been written yet is in `pending`.
#[derive(Debug)]
pub(crate) struct Pack {
    pub(crate) name: StoreName,
    pub(crate) file: Arc<dyn StoreFile>,
    written: u64,
    pending: Vec<u8>,
    /// Bytes that the catalog knows to be durable.
    pub(crate) synced: u64,
    /// Whether the catalog knows of it at all.
    pub(crate) has_row: bool,
}

impl Pack {
    /// Begins a new pack.
    pub(crate) async fn begin(store: &dyn Store, clock: &dyn Clock, rng: &dyn Rng) -> Result<Self> {
        let mut random = [0; 4];
        rng.fill(&mut random);
        let (millis, random) = (clock.now().as_millis().max(0), u32::from_be_bytes(random));
        let name = StoreName::new(format!("{PACKS}{millis:012x}-{random:08x}.slp"))
            .map_err(StoreError::from)?;
        let file = store.append_new(&name).await?;
        // What is not written to of it takes no memory, and it need not move as it grows.
        let mut pending = Vec::with_capacity(WRITE_BYTES_MAX);
        pending.extend_from_slice(&PACK_HEADER);
        Ok(Self {
            name,
            file,
            written: 0,
            pending,
            synced: 0,
            has_row: false,
        })
    }

    /// Goes on with a pack that was cut back to `len`.
    pub(crate) fn go_on(name: StoreName, file: Arc<dyn StoreFile>, len: u64) -> Self {
        Self {
            name,
            file,
            written: len,
            pending: Vec::new(),
            synced: len,
            has_row: true,
        }
    }

    /// Its length with what is pending.
    pub(crate) fn len(&self) -> u64 {
        self.written + self.pending.len() as u64
    }

    pub(crate) fn is_full(&self) -> bool {
        self.len() >= PACK_BYTES_MAX
    }

    /// Appends an entry and says where its body will be.
    pub(crate) async fn append(&mut self, kind: EntryKind, body: &[u8]) -> Result<Location> {
        let range = append_entry(&mut self.pending, kind, |out| {
            out.extend_from_slice(body);
            Ok(())
        })?;
        let location = Location {
            file: self.name.to_string(),
            offset: self.written + range.start as u64,
            length: body.len() as u64,
        };
        if self.pending.len() >= WRITE_BYTES_MAX {
            self.write().await?;
        }
        Ok(location)
    }

    /// Writes what is pending.
    pub(crate) async fn write(&mut self) -> Result<()> {
        for piece in self.pending.chunks(WRITE_BYTES_MAX) {
            self.file.write_at(piece, self.written).await?;
            self.written += piece.len() as u64;
        }
        self.pending.clear();
        Ok(())
    }

    /// What the catalog is to know of it, once it is synced.
    pub(crate) fn state(&self, closed: bool) -> PackState {
        PackState {
            file: self.name.to_string(),
            synced_bytes: self.written,
            closed,
        }
    }

    /// What the catalog is to know of it before anything of it is durable.
    pub(crate) fn begun(&self) -> PackState {
        PackState {
            file: self.name.to_string(),
            synced_bytes: 0,
            closed: false,
        }
    }

    /// What the catalog is to know of it when a write or sync failed: nothing
    /// more will be appended, and what came after the last good sync is not there.
    pub(crate) fn abandoned(&self) -> PackState {
        PackState {
            file: self.name.to_string(),
            synced_bytes: self.synced,
            closed: true,
        }
    }
}
