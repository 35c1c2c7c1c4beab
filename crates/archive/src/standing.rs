//! How a bucket and an upload stand, for those who ask before anything is sent.

use std::collections::BTreeMap;

use sealift_ledger::Standing;
use sealift_terms::{AuditRecord, BucketName, Epoch, PartIndex, Region, VersionName};

use crate::{Archive, ArchiveError, Result, Upload, limits::PAGE_ROWS};

/// The tags that a version has here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TagsHere {
    /// It is here, with these.
    Tags(BTreeMap<String, String>),
    /// It is not here.
    Lacking,
    /// It was purged here, and does not come back.
    Purged,
}

impl Archive {
    /// The region of the site.
    #[must_use]
    pub fn region(&self) -> &Region {
        &self.core.region
    }

    /// Whether there is such a bucket here.
    #[must_use]
    pub fn has_bucket(&self, bucket: &BucketName) -> bool {
        self.core.key_of(bucket).is_ok()
    }

    /// The buckets here.
    #[must_use]
    pub fn buckets(&self) -> Vec<BucketName> {
        self.core.bucket_names()
    }

    /// Whether a version is here, or was and was purged.
    ///
    /// # Errors
    /// What the catalog says.
    pub async fn knows(&self, name: &VersionName) -> Result<bool> {
        let catalog = &self.core.catalog;
        Ok(catalog.known(name).await?.is_some() || catalog.purged(name).await?)
    }

    /// The tags of each of these versions, in their order.
    ///
    /// # Errors
    /// What the catalog says.
    pub async fn tags_of(&self, names: Vec<VersionName>) -> Result<Vec<TagsHere>> {
        let standing = self.core.catalog.standing(names).await?.into_iter();
        let told = standing.map(|standing| match standing {
            Standing::Known(row) => TagsHere::Tags(row.facts.tags),
            Standing::Unknown => TagsHere::Lacking,
            Standing::Purged => TagsHere::Purged,
        });
        Ok(told.collect())
    }

    /// Begins a new epoch, which `record` puts on record.
    ///
    /// # Errors
    /// What catalog or audit log say. The epoch stays then.
    pub async fn renew_epoch(&self, record: AuditRecord) -> Result<Epoch> {
        let core = &self.core;
        let epoch = Epoch::random(&*core.rng);
        core.audit.record(record.with("epoch", epoch))?;
        core.catalog.renew_epoch(epoch).await?;
        Ok(epoch)
    }

    /// Whether an object could be sealed in `bucket` now: its key is of this
    /// region and usable, its record durable, and there is room.
    ///
    /// # Errors
    /// [`ArchiveError`] says what is in the way.
    pub async fn try_bucket(&self, bucket: &BucketName) -> Result<()> {
        drop(self.core.claim(0).await?);
        self.core.look_ahead(bucket).await
    }
}

impl Upload {
    /// Bytes of plaintext of the object.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.state.size
    }

    /// The parts that are here already with the CRC-64/NVME of each, ascending.
    ///
    /// # Errors
    /// What the catalog says.
    pub async fn kept_parts(&self) -> Result<Vec<(PartIndex, u64)>> {
        let mut kept: Vec<(PartIndex, u64)> = {
            let parts = self.state.parts.lock();
            let done = |(index, slot): (&u32, &crate::upload::Slot)| {
                slot.done.map(|done| (PartIndex(*index), done.crc64))
            };
            parts.slots.iter().filter_map(done).collect()
        };
        let mut from = PartIndex(0);
        loop {
            let page = self
                .state
                .core
                .catalog
                .parts(self.state.uid, from, PAGE_ROWS)
                .await?;
            let Some(last) = page.last() else { break };
            from = PartIndex(last.index.0.checked_add(1).ok_or(ArchiveError::Abandoned)?);
            let recorded = page.iter().filter(|part| self.has(part.index));
            kept.extend(recorded.map(|part| (part.index, part.crc64)));
        }
        kept.sort_unstable();
        kept.dedup();
        Ok(kept)
    }
}
