//! Damaged bytes that are out of use, and when they may go.

use std::time::Duration;

use sealift_ledger::{ListQuarantined, QuarantineCount, Quarantined};
use sealift_seal::pack::ENTRY_HEAD_BYTES;
use sealift_store::{StoreError, StoreName};
use sealift_terms::{AuditKind, AuditRecord, Boxed};

use crate::{Archive, Finding, Result, archive::Core, limits::PAGE_ROWS, packs::PACKS};

/// What was deleted because its time was over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Expired {
    /// Sealings that were in quarantine.
    pub sealings: u64,
    /// Their bytes.
    pub bytes: u64,
}

impl Archive {
    /// How many versions are damaged, and damaged bytes are kept.
    ///
    /// # Errors
    /// What the catalog says.
    pub async fn quarantine_count(&self) -> Result<QuarantineCount> {
        Ok(self.core.catalog.quarantine_count().await?)
    }

    /// Versions that are damaged and did not come again yet, from number `after` on.
    ///
    /// # Errors
    /// What the catalog says.
    pub async fn damaged(&self, after: u64, limit: usize) -> Result<Vec<Quarantined>> {
        let list = ListQuarantined {
            repaired: Some(false),
            after,
            limit,
            ..ListQuarantined::default()
        };
        Ok(self.core.catalog.quarantined(&list).await?)
    }

    /// Deletes the damaged bytes of versions that came again longer than `kept` ago:
    /// a file of its own at once, an entry of a pack with the pack's compaction. What
    /// did not come again is never deleted.
    ///
    /// # Errors
    /// What store or catalog say.
    pub fn expire_quarantine(&self, kept: Duration) -> Boxed<'_, Result<Expired>> {
        Box::pin(async move {
            let core = &self.core;
            let before = core.clock.now().minus(kept);
            let mut list = ListQuarantined {
                repaired: Some(true),
                limit: PAGE_ROWS,
                ..ListQuarantined::default()
            };
            let mut expired = Expired::default();
            loop {
                let page = core.catalog.quarantined(&list).await?;
                let Some(last) = page.last() else {
                    return Ok(expired);
                };
                list.after = last.id;
                for row in page {
                    let is_over = row.repaired_at.is_some_and(|at| at <= before);
                    if is_over && !row.location.file.starts_with(PACKS) {
                        core.expire(&row).await?;
                        expired.sealings += 1;
                        expired.bytes += row.location.length;
                    }
                }
            }
        })
    }
}

impl Core {
    /// The file goes first: a row whose file is gone is seen again, a file without a
    /// row never would be.
    async fn expire(&self, row: &Quarantined) -> Result<()> {
        let file = &row.location.file;
        let name = StoreName::new(file).map_err(StoreError::from)?;
        self.store.remove(&name).await?;
        self.catalog
            .forget_quarantined(vec![row.id], vec![self.expiry(row)])
            .await?;
        self.catalog.forget_file(file).await?;
        Ok(())
    }

    /// That damaged bytes were deleted after their time.
    pub(crate) fn expiry(&self, row: &Quarantined) -> AuditRecord {
        AuditRecord::new(self.clock.now(), AuditKind::QuarantineExpired, "agent")
            .with("bucket", &row.name.bucket)
            .with("key", &row.name.key)
            .with("version", &row.name.version)
            .with("uid", row.object_uid)
            .with("file", &row.location.file)
    }

    /// What of a file is in quarantine, damaged still or repaired.
    pub(crate) async fn quarantined_in(&self, file: &str) -> Result<Vec<Quarantined>> {
        let mut list = ListQuarantined {
            file: Some(file.to_owned()),
            limit: PAGE_ROWS,
            ..ListQuarantined::default()
        };
        let mut found: Vec<Quarantined> = Vec::new();
        loop {
            let page = self.catalog.quarantined(&list).await?;
            let Some(last) = page.last() else {
                return Ok(found);
            };
            list.after = last.id;
            found.extend(page);
        }
    }
}

/// Whether a damage of a pack lies within entries that are in quarantine and whose
/// version came again: it is known, and nothing is lost by it.
pub(crate) fn covers(known: &[Quarantined], finding: &Finding) -> bool {
    let Finding::PackDamaged { offset, bytes, .. } = finding else {
        return false;
    };
    let (mut from, end) = (*offset, offset.saturating_add(*bytes));
    let mut repaired: Vec<_> = known
        .iter()
        .filter(|row| row.repaired_at.is_some())
        .map(|row| {
            let begins = row.location.offset.saturating_sub(ENTRY_HEAD_BYTES as u64);
            (
                begins,
                row.location.offset.saturating_add(row.location.length),
            )
        })
        .collect();
    repaired.sort_unstable();
    for (begins, ends) in repaired {
        if begins <= from && from < ends {
            from = ends;
        }
    }
    from >= end
}
