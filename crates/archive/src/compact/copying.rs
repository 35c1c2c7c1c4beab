//! A pack that entries of other packs are copied into, as they are.

use std::{collections::BTreeSet, sync::Arc};

use sealift_ledger::{Commit, Location, PackState, Relocation};
use sealift_seal::pack::{PACK_HEADER, append_entry};
use sealift_store::{StoreFile, StoreName};
use sealift_terms::{AuditRecord, RecordId, limits::PACK_ENTRY_BYTES_MAX};

use super::entries::Live;
use crate::{Result, archive::Core, limits::WRITE_BYTES_MAX, read::StoredObject};

/// Copies on their way into a pack that nobody knows yet.
pub(super) struct Copying<'a> {
    core: &'a Core,
    name: StoreName,
    file: Arc<dyn StoreFile>,
    out: Vec<u8>,
    written: u64,
    moves: Vec<Relocation>,
    /// Key records that are in it: one copy of each is enough.
    records: BTreeSet<RecordId>,
}

impl<'a> Copying<'a> {
    /// Begins a pack whose name sorts where that of `old` does.
    pub(super) async fn begin(core: &'a Core, old: &str) -> Result<Self> {
        let name = core.beside(old)?;
        let file = core.store.create(&name).await?;
        Ok(Self {
            core,
            name,
            file,
            out: PACK_HEADER.to_vec(),
            written: 0,
            moves: Vec::new(),
            records: BTreeSet::new(),
        })
    }

    /// Copies these entries of a pack. After an error it has to be given up.
    pub(super) async fn add(&mut self, stored: &StoredObject, live: Vec<Live>) -> Result<()> {
        for one in live {
            let length = usize::try_from(one.from.length).unwrap_or(usize::MAX);
            let length = length.min(PACK_ENTRY_BYTES_MAX as usize);
            let _lease = self.core.budget.take(length).await;
            self.entry(stored, one, length).await?;
        }
        Ok(())
    }

    /// Copies one entry, for whose bytes there is room.
    pub(super) async fn entry(
        &mut self,
        stored: &StoredObject,
        one: Live,
        length: usize,
    ) -> Result<()> {
        if one.record.is_some_and(|id| !self.records.insert(id)) {
            return Ok(());
        }
        let mut body = vec![0; length];
        stored.0.read_exact_at(&mut body, one.from.offset)?;
        let place = append_entry(&mut self.out, one.kind, |out| {
            out.extend_from_slice(&body);
            Ok(())
        })?;
        if let Some((name, object_uid)) = one.whose {
            let to = Location {
                file: self.name.to_string(),
                offset: self.written + place.start as u64,
                length: one.from.length,
            };
            self.moves.push(Relocation {
                name,
                object_uid,
                from: one.from,
                to,
            });
        }
        if self.out.len() >= WRITE_BYTES_MAX {
            self.write_out().await?;
        }
        Ok(())
    }

    /// Deletes what was copied.
    pub(super) async fn give_up(self) -> Result<()> {
        Ok(self.core.store.discard(&self.name).await?)
    }

    /// Publishes the pack, and moves what rests in it in the catalog.
    pub(super) async fn end(mut self, record: AuditRecord) -> Result<()> {
        if let Err(error) = self.sync().await {
            self.give_up().await?;
            return Err(error);
        }
        let (core, name) = (self.core, self.name);
        let pack = PackState {
            file: name.to_string(),
            synced_bytes: self.written,
            closed: true,
        };
        let now = core.clock.now();
        let known = Commit {
            at: now,
            packs: vec![pack.clone()],
            ..Commit::default()
        };
        core.catalog.commit(known).await?;
        core.store.publish(std::slice::from_ref(&name)).await?;
        let record = record.with("to", &name).with("entries", self.moves.len());
        core.catalog
            .relocate(self.moves, pack, vec![record], now)
            .await?;
        Ok(())
    }

    async fn sync(&mut self) -> Result<()> {
        self.write_out().await?;
        Ok(self.file.sync().await?)
    }

    async fn write_out(&mut self) -> Result<()> {
        for piece in self.out.chunks(WRITE_BYTES_MAX) {
            self.file.write_at(piece, self.written).await?;
            self.written += piece.len() as u64;
        }
        self.out.clear();
        Ok(())
    }
}
