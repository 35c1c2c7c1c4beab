//! Compaction: what lives in a pack is copied, as it is, into another, and the pack goes.
//!
//! ```text
//!  copied and synced in staging ▸ the catalog knows the new pack, empty ▸ published
//!      ▸ the catalog moves what still rests in the old one ▸ old file ▸ old row
//! ```
//!
//! A crash between any two steps leaves a pack in which nothing rests: it is what the
//! last two steps take away, at the next round. Readers that have the old file open
//! read on in it.

mod entries;

use std::time::Duration;

use sealift_ledger::{Commit, FileRow, Location, PackState, Quarantined, Relocation, VersionRow};
use sealift_seal::pack::{EntryKind, PACK_HEADER, append_entry};
use sealift_store::{StoreError, StoreFile, StoreName};
use sealift_terms::{AuditKind, AuditRecord, Boxed};

use crate::{
    Archive, ArchiveError, Result,
    archive::Core,
    limits::{PAGE_ROWS, WRITE_BYTES_MAX},
    packs::PACKS,
};
use entries::Live;

/// What a round of compaction did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Compacted {
    /// Packs whose live entries were copied.
    pub packs: u64,
    /// Entries that were copied.
    pub entries: u64,
    /// Packs that were deleted.
    pub deleted: u64,
    /// Their bytes.
    pub bytes: u64,
}

impl Archive {
    /// Compacts closed packs that are more than half dead, or in which something has
    /// been dead for longer than `dead_kept`.
    ///
    /// Only what is known to be dead goes: a pack waits while it holds something of
    /// which the catalog knows nothing or that does not open, and while damaged bytes
    /// in it did not come again, or did less than `quarantine_kept` ago.
    ///
    /// # Errors
    /// What store or catalog say. What was done until then is done.
    pub fn compact(
        &self,
        dead_kept: Duration,
        quarantine_kept: Duration,
    ) -> Boxed<'_, Result<Compacted>> {
        Box::pin(async move {
            let core = &self.core;
            let _alone = core.compacting.lock().await;
            let now = core.clock.now();
            let (before, expired) = (now.minus(dead_kept), now.minus(quarantine_kept));
            let is_due = |row: &FileRow| {
                row.objects == 0
                    || row.live_bytes.saturating_mul(2) < row.synced_bytes
                    || row.dead_since.is_some_and(|since| since <= before)
            };
            let (mut done, mut after) = (Compacted::default(), PACKS.to_owned());
            loop {
                let page = core.catalog.files(Some(&after), PAGE_ROWS).await?;
                let Some(last) = page.last() else {
                    return Ok(done);
                };
                after.clone_from(&last.file);
                for row in page.iter().filter(|row| row.closed && is_due(row)) {
                    if !row.file.starts_with(PACKS) {
                        continue;
                    }
                    let damaged = core.quarantined_in(&row.file).await?;
                    let is_over =
                        |row: &Quarantined| row.repaired_at.is_some_and(|at| at <= expired);
                    if damaged.iter().all(is_over) {
                        core.compact_pack(row, damaged, &mut done).await?;
                    }
                }
            }
        })
    }
}

impl Core {
    async fn compact_pack(
        &self,
        row: &FileRow,
        damaged: Vec<Quarantined>,
        done: &mut Compacted,
    ) -> Result<()> {
        let live = match self.live_entries(row, &damaged).await? {
            Ok(live) => live,
            Err(cause) => {
                // The scrub finds out what is damaged; a rebuild takes over what is unknown.
                tracing::warn!(pack = row.file, cause, "a pack is not compacted");
                return Ok(());
            }
        };
        if row.objects > 0 {
            done.entries += live.len() as u64;
            done.packs += 1;
            self.copy(&row.file, live).await?;
        }
        if self.drop_pack(&row.file, damaged).await? {
            done.deleted += 1;
            done.bytes += row.synced_bytes;
        }
        Ok(())
    }

    /// The damaged bytes that went with a pack.
    async fn forget_expired(&self, damaged: Vec<Quarantined>) -> Result<()> {
        if damaged.is_empty() {
            return Ok(());
        }
        let ids = damaged.iter().map(|row| row.id).collect();
        let records = damaged.iter().map(|row| self.expiry(row)).collect();
        self.catalog.forget_quarantined(ids, records).await?;
        Ok(())
    }

    /// Copies entries as they are into a new pack, and moves them in the catalog.
    async fn copy(&self, old: &str, live: Vec<Live>) -> Result<()> {
        let name = self.beside(old)?;
        let file = self.store.create(&name).await?;
        let written = self.write_copies(&name, &*file, live).await;
        let (moves, length) = match written {
            Ok(written) => written,
            Err(error) => {
                self.store.discard(&name).await?;
                return Err(error);
            }
        };
        let pack = PackState {
            file: name.to_string(),
            synced_bytes: length,
            closed: true,
        };
        let now = self.clock.now();
        let known = Commit {
            at: now,
            packs: vec![pack.clone()],
            ..Commit::default()
        };
        self.catalog.commit(known).await?;
        self.store.publish(std::slice::from_ref(&name)).await?;
        let record = AuditRecord::new(now, AuditKind::PackCompacted, "agent")
            .with("from", old)
            .with("to", &name)
            .with("entries", moves.len());
        self.catalog
            .relocate(moves, pack, vec![record], now)
            .await?;
        Ok(())
    }

    async fn write_copies(
        &self,
        name: &StoreName,
        file: &dyn StoreFile,
        live: Vec<Live>,
    ) -> Result<(Vec<Relocation>, u64)> {
        let (mut out, mut written, mut moves) = (PACK_HEADER.to_vec(), 0, Vec::new());
        for Live { kind, from, whose } in live {
            let length = usize::try_from(from.length).unwrap_or(usize::MAX);
            let _lease = self.budget.take(length).await;
            let body = self.body(&from, length).await?;
            let place = append_entry(&mut out, kind, |out| {
                out.extend_from_slice(&body);
                Ok(())
            })?;
            if let Some((object, object_uid)) = whose {
                let to = Location {
                    file: name.to_string(),
                    offset: written + place.start as u64,
                    length: from.length,
                };
                moves.push(Relocation {
                    name: object,
                    object_uid,
                    from,
                    to,
                });
            }
            if out.len() >= WRITE_BYTES_MAX {
                written += write_out(file, &mut out, written).await?;
            }
        }
        written += write_out(file, &mut out, written).await?;
        file.sync().await?;
        Ok((moves, written))
    }

    async fn body(&self, from: &Location, length: usize) -> Result<Vec<u8>> {
        let name = StoreName::new(&from.file).map_err(StoreError::from)?;
        let stored = self.store.open(&name).await?;
        let mut body = vec![0; length.min(sealift_terms::limits::PACK_ENTRY_BYTES_MAX as usize)];
        stored.read_exact_at(&mut body, from.offset)?;
        Ok(body)
    }

    /// A name that sorts where the old pack's does: the last pack stays the last.
    fn beside(&self, old: &str) -> Result<StoreName> {
        let time = old.strip_prefix(PACKS).and_then(|name| name.get(..12));
        let time = time.ok_or(ArchiveError::Misuse("not the name of a pack"))?;
        let mut random = [0; 4];
        self.rng.fill(&mut random);
        let random = u32::from_be_bytes(random);
        let name = StoreName::new(format!("{PACKS}{time}-{random:08x}.slp"));
        Ok(name.map_err(StoreError::from)?)
    }

    /// Deletes a pack in which nothing rests: the file first, so that one without a
    /// row is never left.
    async fn drop_pack(&self, file: &str, damaged: Vec<Quarantined>) -> Result<bool> {
        let page = self
            .catalog
            .files(file.get(..file.len().saturating_sub(1)), 1)
            .await?;
        let is_empty = page
            .first()
            .is_some_and(|row| row.file == file && row.objects == 0 && row.closed);
        if !is_empty {
            return Ok(false);
        }
        let name = StoreName::new(file).map_err(StoreError::from)?;
        self.store.remove(&name).await?;
        self.forget_expired(damaged).await?;
        Ok(self.catalog.forget_file(file).await?)
    }

    /// Copies one version whose entry is damaged and whose bytes are good.
    pub(crate) async fn rescue(&self, row: &VersionRow) -> Result<()> {
        let _alone = self.compacting.lock().await;
        let kind = match row.kind {
            sealift_ledger::VersionKind::Object => EntryKind::Object,
            sealift_ledger::VersionKind::DeleteMarker => EntryKind::Mark,
        };
        let live = Live {
            kind,
            from: row.location.clone(),
            whose: Some((row.name.clone(), row.object_uid)),
        };
        self.copy(&row.location.file, vec![live]).await
    }
}

async fn write_out(file: &dyn StoreFile, out: &mut Vec<u8>, at: u64) -> Result<u64> {
    let mut written = 0;
    for piece in out.chunks(WRITE_BYTES_MAX) {
        file.write_at(piece, at + written).await?;
        written += piece.len() as u64;
    }
    out.clear();
    Ok(written)
}
