//! Key records wrapped anew: under another key, or under the newest version of their own.
//! No object is touched, and each can be read all the while.
//!
//! ```text
//!  unwrapped ▸ wrapped under the new key ▸ unwrapped again and compared
//!      ▸ the store's copy, durable ▸ the catalog's copy ▸ what is held of the old one is let go
//! ```
//!
//! A crash between any two steps leaves a record that opens, under the old key or the new:
//! the next round goes on with those that the catalog still has under the old.

use sealift_keys::{KeyDescription, KeyError, KeyRecord, OpenRecord};
use sealift_ledger::RecordRow;
use sealift_terms::{BucketName, KeyId, RecordId};

use crate::{Archive, Result, archive::Core, limits::PAGE_ROWS, records};

/// Records that are made durable together.
const GROUP_MAX: usize = 64;

/// Which records are wrapped anew, and under what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rewrap {
    /// Only those of this bucket.
    pub bucket: Option<BucketName>,
    /// Only those under this key, and of its versions only under this one.
    pub from: Option<(KeyId, Option<String>)>,
    /// The key, by id or alias: its newest version wraps.
    pub to: String,
    /// Only say what would be done.
    pub dry_run: bool,
}

/// What became of one record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RewrapFinding {
    /// The record.
    pub record: RecordId,
    /// The bucket that it serves.
    pub bucket: BucketName,
    /// Why it is as it was.
    pub cause: String,
}

/// What a round of re-wrapping did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rewrapped {
    /// The key that wraps now.
    pub cmk: KeyId,
    /// Its version.
    pub cmk_version: String,
    /// Records that were wrapped anew, or would be.
    pub records: u64,
    /// Those that were under that version already.
    pub current: u64,
    /// Those that are as they were, each with a [`RewrapFinding`].
    pub failed: u64,
}

impl Archive {
    /// The key that records would be wrapped under, as `to` of a [`Rewrap`] names it: of
    /// this region, and usable.
    ///
    /// # Errors
    /// [`KeyError`].
    pub async fn rewrap_target(&self, to: &str) -> Result<KeyDescription> {
        Ok(self.core.ring.check(to).await?)
    }

    /// Wraps key records anew. One that does not open is told to `sink` and left as it is.
    ///
    /// # Errors
    /// What store or catalog say, and a new key that cannot be used. What was done until
    /// then is done: the same again goes on with the rest.
    pub async fn rewrap(
        &self,
        wanted: &Rewrap,
        sink: &mut (dyn FnMut(RewrapFinding) + Send),
    ) -> Result<Rewrapped> {
        let target = self.rewrap_target(&wanted.to).await?;
        let mut done = Rewrapped {
            cmk: target.id,
            cmk_version: target.current,
            records: 0,
            current: 0,
            failed: 0,
        };
        let mut after = None;
        loop {
            // The scrub mends records from their copies: neither sees the other half-way.
            let _alone = self.core.changing_records.lock().await;
            let page = self.core.catalog.records(after, PAGE_ROWS).await?;
            let Some(last) = page.last() else {
                return Ok(done);
            };
            after = Some(last.id);
            let selected: Vec<_> = page.iter().filter(|row| wanted.selects(row)).collect();
            for group in selected.chunks(GROUP_MAX) {
                self.core
                    .rewrap_group(group, wanted.dry_run, &mut done, sink)
                    .await?;
            }
        }
    }
}

impl Rewrap {
    fn selects(&self, row: &RecordRow) -> bool {
        let bucket = self.bucket.as_ref();
        let from = self.from.as_ref();
        bucket.is_none_or(|bucket| row.bucket == *bucket)
            && from.is_none_or(|(key, version)| {
                let version = version.as_ref();
                row.cmk == *key && version.is_none_or(|version| row.cmk_version == *version)
            })
    }
}

impl Core {
    async fn rewrap_group(
        &self,
        group: &[&RecordRow],
        dry_run: bool,
        done: &mut Rewrapped,
        sink: &mut (dyn FnMut(RewrapFinding) + Send),
    ) -> Result<()> {
        let mut wrapped = Vec::new();
        for row in group {
            if row.cmk == done.cmk && row.cmk_version == done.cmk_version {
                done.current += 1;
                continue;
            }
            if dry_run {
                done.records += 1;
                continue;
            }
            match self.rewrap_one(row, &done.cmk).await {
                Ok(open) => wrapped.push(open),
                Err(error) => {
                    // The new key is at fault, not this record: nothing else would do better.
                    self.ring.check(done.cmk.as_str()).await?;
                    if matches!(error, KeyError::Audit(_)) {
                        return Err(error.into());
                    }
                    done.failed += 1;
                    sink(RewrapFinding {
                        record: row.id,
                        bucket: row.bucket.clone(),
                        cause: crate::in_words(&error),
                    });
                }
            }
        }
        self.replace(wrapped, done).await
    }

    async fn rewrap_one(
        &self,
        row: &RecordRow,
        cmk: &KeyId,
    ) -> std::result::Result<OpenRecord, KeyError> {
        let record = KeyRecord::from_json(row.json.as_bytes())?;
        self.ring.rewrap(&record, &row.bucket, cmk.as_str()).await
    }

    /// Puts records in place of what there is of them: in the store first, so that a
    /// rebuild finds at least what the catalog says.
    async fn replace(&self, wrapped: Vec<OpenRecord>, done: &mut Rewrapped) -> Result<()> {
        if wrapped.is_empty() {
            return Ok(());
        }
        let new: Vec<_> = wrapped.iter().map(OpenRecord::record).collect();
        records::write_files(&*self.store, &new).await?;
        let rows = new.iter().map(|record| records::row(record)).collect();
        self.catalog.put_records(rows).await?;
        done.records += wrapped.len() as u64;
        for open in wrapped {
            let bucket = open.record().bucket.clone();
            self.ring.replaced(open, &bucket).await;
        }
        Ok(())
    }
}
