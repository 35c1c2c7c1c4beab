//! Compaction: what lives in a pack is copied, as it is, into another, and the pack goes.
//!
//! ```text
//!  copied and synced in staging ▸ the catalog knows the new pack, empty ▸ published
//!      ▸ the catalog moves what still rests in the old one ▸ old file ▸ old row
//! ```
//!
//! A crash between any two steps leaves a pack in which nothing rests: it is what the
//! last two steps take away, at the next round. Readers that have the old file open
//! read on in it. Where packs cannot grow, small ones are merged in the same way: [`merge`].

mod copying;
mod entries;
mod merge;

use std::time::Duration;

use sealift_ledger::{FileRow, Quarantined, VersionRow};
use sealift_seal::pack::EntryKind;
use sealift_store::{StoreError, StoreName};
use sealift_terms::{AuditKind, AuditRecord, Boxed};

use crate::{
    Archive, ArchiveError, Result, archive::Core, limits::PAGE_ROWS, packs::PACKS,
    read::StoredObject,
};
use copying::Copying;
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
        let name = StoreName::new(old).map_err(StoreError::from)?;
        let stored = StoredObject(self.store.open(&name).await?);
        let mut copying = Copying::begin(self, old).await?;
        if let Err(error) = copying.add(&stored, live).await {
            copying.give_up().await?;
            return Err(error);
        }
        let record = AuditRecord::new(self.clock.now(), AuditKind::PackCompacted, "agent");
        copying.end(record.with("from", old)).await
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
            record: None,
        };
        self.copy(&row.location.file, vec![live]).await
    }
}
