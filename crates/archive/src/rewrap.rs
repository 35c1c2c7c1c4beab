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

use std::collections::HashSet;

use sealift_keys::{KeyDescription, KeyError, KeyName, KeyRecord, OpenRecord, ProviderKind};
use sealift_ledger::RecordRow;
use sealift_terms::{Boxed, BucketName, KeyId, RecordId};

use crate::{Archive, Result, archive::Core, limits::PAGE_ROWS, records};

/// Records that are made durable together.
const GROUP_MAX: usize = 64;

/// Calls to key services for each record: to open it, to wrap it, and to open what came of
/// that.
pub const CALLS_OF_A_REWRAP: u64 = 3;

/// Why a record of two layers is left as it is.
const ONE_LAYER: &str = "the other layer of what is sealed under it would be under the same \
                         key: wrap each layer's records for itself, with --from, under another key";

/// Which records are wrapped anew, and under what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rewrap {
    /// Only those of this bucket.
    pub bucket: Option<BucketName>,
    /// Only those under this key.
    pub from: Option<WrappedBy>,
    /// The key, by id or alias: its newest version wraps.
    pub to: String,
    /// Only say what would be done.
    pub dry_run: bool,
}

/// A key, or one version of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WrappedBy {
    /// Whose key it is.
    pub provider: ProviderKind,
    /// Its id there.
    pub cmk: KeyId,
    /// Its version; every one without it.
    pub version: Option<String>,
}

impl WrappedBy {
    fn wraps(&self, record: &KeyRecord) -> bool {
        let version = self.version.as_ref();
        record.provider == self.provider
            && record.cmk == self.cmk
            && version.is_none_or(|version| record.cmk_version == *version)
    }
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
    pub key: KeyDescription,
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
    pub fn rewrap<'a>(
        &'a self,
        wanted: &'a Rewrap,
        sink: &'a mut (dyn FnMut(RewrapFinding) + Send),
    ) -> Boxed<'a, Result<Rewrapped>> {
        Box::pin(async move {
            let target = self.rewrap_target(&wanted.to).await?;
            let mut done = Rewrapped {
                key: target,
                records: 0,
                current: 0,
                failed: 0,
            };
            let (mut after, mut taken) = (None, HashSet::new());
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
                        .rewrap_group(group, wanted, (&mut done, &mut taken), sink)
                        .await?;
                }
            }
        })
    }
}

impl Rewrap {
    fn selects(&self, row: &RecordRow) -> bool {
        let bucket = self.bucket.as_ref();
        bucket.is_none_or(|bucket| row.bucket == *bucket)
    }
}

impl Core {
    async fn rewrap_group(
        &self,
        group: &[&RecordRow],
        wanted: &Rewrap,
        (done, taken): (&mut Rewrapped, &mut HashSet<RecordId>),
        sink: &mut (dyn FnMut(RewrapFinding) + Send),
    ) -> Result<()> {
        let (mut wrapped, to) = (Vec::new(), done.key.clone());
        let name = KeyName::new(to.provider, to.id.as_str()).to_string();
        let to = WrappedBy {
            provider: to.provider,
            cmk: to.id,
            version: Some(to.current),
        };
        for row in group {
            let record = KeyRecord::from_json(row.json.as_bytes());
            let by = |by: &WrappedBy| record.as_ref().is_ok_and(|record| by.wraps(record));
            if wanted.from.as_ref().is_some_and(|from| !by(from)) {
                continue;
            }
            if by(&to) {
                done.current += 1;
                continue;
            }
            if let Ok(record) = &record
                && self.would_be_one_layer(record, &to, taken).await?
            {
                done.failed += 1;
                sink(RewrapFinding {
                    record: row.id,
                    bucket: row.bucket.clone(),
                    cause: ONE_LAYER.to_owned(),
                });
                continue;
            }
            taken.insert(row.id);
            if wanted.dry_run {
                done.records += 1;
                continue;
            }
            let rewrapped = match record {
                Ok(record) => self.ring.rewrap(&record, &row.bucket, &name).await,
                Err(error) => Err(error),
            };
            match rewrapped {
                Ok(open) => wrapped.push(open),
                Err(error) => {
                    // The new key is at fault, not this record: nothing else would do better.
                    self.ring.check(&name).await?;
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

    /// Whether both layers of something would be under one key then.
    async fn would_be_one_layer(
        &self,
        record: &KeyRecord,
        to: &WrappedBy,
        taken: &HashSet<RecordId>,
    ) -> Result<bool> {
        let by_key = |record: &KeyRecord| record.provider == to.provider && record.cmk == to.cmk;
        if by_key(record) {
            return Ok(false);
        }
        for other in self.catalog.beside(record.id).await? {
            let row = self.catalog.record(other).await?;
            let other_is = row.and_then(|row| KeyRecord::from_json(row.json.as_bytes()).ok());
            if taken.contains(&other) || other_is.is_some_and(|other| by_key(&other)) {
                return Ok(true);
            }
        }
        Ok(false)
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
