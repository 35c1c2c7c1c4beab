//! Merging: where a pack cannot grow, each durable group is a pack of its own, and many small
//! ones come to be. They are copied into one, as entries that live are when a pack is compacted.
//!
//! A pack is asked for whole, so that what it costs does not depend on how much is in it: opened,
//! read (up to two mebibytes at once), deleted. What a merge makes is at least twice its largest
//! pack, so that no byte is copied again and again while packs grow.

use std::fmt;

use sealift_ledger::FileRow;
use sealift_store::{StoreError, StoreName, StoreObject, blocking};
use sealift_terms::{
    AuditKind, AuditRecord, Boxed,
    limits::{MERGED_BYTES_MAX, MERGED_PACKS_MAX, MERGED_PACKS_MIN, PACK_ENTRY_BYTES_MAX},
};

use super::{Compacted, copying::Copying};
use crate::{
    Archive, ArchiveError, Result, archive::Core, limits::PAGE_ROWS, packs::PACKS,
    read::StoredObject,
};

/// As many of this size are what one merge takes: a larger one would rarely find enough others.
const SMALL_BYTES_MAX: u64 = MERGED_BYTES_MAX / MERGED_PACKS_MIN as u64;

impl Archive {
    /// Merges small closed packs, where the store's packs cannot grow. Each is looked at once,
    /// and between two merges others that change packs have their turn.
    ///
    /// # Errors
    /// What store or catalog say. What was done until then is done.
    pub fn merge_packs(&self) -> Boxed<'_, Result<Compacted>> {
        Box::pin(async move {
            let core = &self.core;
            let mut done = Compacted::default();
            if core.store.pack_delay().is_none() {
                return Ok(done);
            }
            let (mut gathered, mut after) = (Vec::new(), PACKS.to_owned());
            loop {
                let page = core.catalog.files(Some(&after), PAGE_ROWS).await?;
                let Some(last) = page.last() else { break };
                after.clone_from(&last.file);
                gathered.extend(page.into_iter().filter(is_small));
                while gathered.len() >= MERGED_PACKS_MAX {
                    let rest = gathered.split_off(MERGED_PACKS_MAX);
                    core.merge(std::mem::replace(&mut gathered, rest), &mut done)
                        .await?;
                }
            }
            core.merge(gathered, &mut done).await?;
            Ok(done)
        })
    }
}

/// What may be merged: compaction takes what nothing rests in.
fn is_small(row: &FileRow) -> bool {
    row.file.starts_with(PACKS)
        && row.closed
        && row.objects > 0
        && row.synced_bytes <= SMALL_BYTES_MAX
}

/// What becomes one pack each, of packs that may.
fn runs(rows: Vec<FileRow>) -> Vec<Vec<FileRow>> {
    let (mut runs, mut run, mut bytes) = (Vec::new(), Vec::new(), 0);
    for row in rows {
        if bytes + row.synced_bytes > MERGED_BYTES_MAX {
            runs.push(std::mem::take(&mut run));
            bytes = 0;
        }
        bytes += row.synced_bytes;
        run.push(row);
    }
    runs.push(run);
    let settled = runs.into_iter().map(settled);
    settled
        .filter(|run| run.len() >= MERGED_PACKS_MIN)
        .collect()
}

/// Without those that would make up more than half of it alone.
fn settled(mut run: Vec<FileRow>) -> Vec<FileRow> {
    let mut bytes: u64 = run.iter().map(|row| row.synced_bytes).sum();
    loop {
        let sizes = run.iter().map(|row| row.synced_bytes);
        match sizes.enumerate().max_by_key(|(_, size)| *size) {
            Some((largest, size)) if size * 2 > bytes => {
                run.remove(largest);
                bytes -= size;
            }
            _ => return run,
        }
    }
}

/// A pack in memory.
struct Held {
    name: StoreName,
    bytes: Vec<u8>,
}

impl fmt::Debug for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Held({})", self.name)
    }
}

impl StoreObject for Held {
    fn read_exact_at(&self, bytes: &mut [u8], offset: u64) -> std::result::Result<(), StoreError> {
        let from = usize::try_from(offset).unwrap_or(usize::MAX);
        let there = self
            .bytes
            .get(from..)
            .and_then(|rest| rest.get(..bytes.len()));
        match there {
            Some(there) => bytes.copy_from_slice(there),
            None => {
                return Err(StoreError::StoreFailed {
                    name: self.name.to_string(),
                    source: std::io::ErrorKind::UnexpectedEof.into(),
                });
            }
        }
        Ok(())
    }

    fn len(&self) -> std::result::Result<u64, StoreError> {
        Ok(self.bytes.len() as u64)
    }
}

impl Core {
    async fn merge(&self, rows: Vec<FileRow>, done: &mut Compacted) -> Result<()> {
        for run in runs(rows) {
            let _alone = self.compacting.lock().await;
            self.merge_run(&run, done).await?;
        }
        Ok(())
    }

    async fn merge_run(&self, run: &[FileRow], done: &mut Compacted) -> Result<()> {
        let Some(first) = run.first() else {
            return Ok(());
        };
        let mut copying = Copying::begin(self, &first.file).await?;
        let copied = match self.copy_all(run, &mut copying, done).await {
            Ok(copied) if copied.len() > 1 => copied,
            outcome => {
                copying.give_up().await?;
                return outcome.map(drop);
            }
        };
        let record = AuditRecord::new(self.clock.now(), AuditKind::PackCompacted, "agent")
            .with("from", &first.file)
            .with("packs", copied.len());
        copying.end(record).await?;
        done.packs += copied.len() as u64;
        for row in copied {
            if self.drop_pack(&row.file, Vec::new()).await? {
                done.deleted += 1;
                done.bytes += row.synced_bytes;
            }
        }
        Ok(())
    }

    /// Copies what lives in these packs; those of which everything was copied.
    async fn copy_all<'r>(
        &self,
        run: &'r [FileRow],
        copying: &mut Copying<'_>,
        done: &mut Compacted,
    ) -> Result<Vec<&'r FileRow>> {
        let mut copied = Vec::new();
        for row in run {
            if !self.quarantined_in(&row.file).await?.is_empty() {
                continue;
            }
            let room = row.synced_bytes + u64::from(PACK_ENTRY_BYTES_MAX);
            let _lease = self.budget.take(room as usize).await;
            let stored = match self.hold(row).await {
                Err(ArchiveError::Store(error @ StoreError::NoSuchFile { .. })) => {
                    tracing::warn!(pack = row.file, %error, "a pack is not merged");
                    continue;
                }
                held => StoredObject(std::sync::Arc::new(held?)),
            };
            match self.live_entries_in(&stored, row, &[]).await? {
                Err(cause) => tracing::warn!(pack = row.file, cause, "a pack is not merged"),
                Ok(live) => {
                    done.entries += live.len() as u64;
                    for one in live {
                        let length = one.from.length.min(PACK_ENTRY_BYTES_MAX.into()) as usize;
                        copying.entry(&stored, one, length).await?;
                    }
                    copied.push(row);
                }
            }
        }
        Ok(copied)
    }

    async fn hold(&self, row: &FileRow) -> Result<Held> {
        let name = StoreName::new(&row.file).map_err(StoreError::from)?;
        let stored = StoredObject(self.store.open(&name).await?);
        let length = row.synced_bytes.min(SMALL_BYTES_MAX) as usize;
        let reading = blocking(self.store.calls(), move || -> Result<_> {
            let mut bytes = vec![0; length];
            stored.0.read_exact_at(&mut bytes, 0)?;
            Ok(Held { name, bytes })
        });
        reading.await.map_err(|_| ArchiveError::Closed)?
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMALL: u64 = 10_000;

    fn packs(sizes: &[u64]) -> Vec<FileRow> {
        let row = |(n, size): (usize, &u64)| FileRow {
            file: format!("{PACKS}{n:012x}-00000000.slp"),
            synced_bytes: *size,
            objects: 1,
            live_bytes: *size,
            closed: true,
            dead_since: None,
        };
        sizes.iter().enumerate().map(row).collect()
    }

    fn merged(sizes: &[u64]) -> Vec<Vec<u64>> {
        let sizes_of = |run: Vec<FileRow>| run.iter().map(|row| row.synced_bytes).collect();
        runs(packs(sizes)).into_iter().map(sizes_of).collect()
    }

    #[test]
    fn many_small_packs_become_one_and_few_stay() {
        assert!(merged(&[]).is_empty());
        assert!(merged(&[SMALL; MERGED_PACKS_MIN - 1]).is_empty());
        let many = [SMALL; MERGED_PACKS_MIN];
        assert_eq!(merged(&many), [many]);
    }

    #[test]
    fn none_grows_beyond_the_largest_merge() {
        let sizes = vec![SMALL_BYTES_MAX / 2; 10 * MERGED_PACKS_MIN];
        let runs = merged(&sizes);
        assert_eq!(runs.iter().map(Vec::len).sum::<usize>(), sizes.len());
        for run in runs {
            assert!(run.iter().sum::<u64>() <= MERGED_BYTES_MAX);
        }
    }

    #[test]
    fn what_would_be_copied_again_and_again_waits() {
        let mut sizes = vec![SMALL; 20];
        sizes.insert(5, SMALL_BYTES_MAX);
        assert_eq!(merged(&sizes), [vec![SMALL; 20]], "without the large one");
        // A byte is in a pack at least twice as large after each merge.
        let mut rounds = 0;
        let mut sizes = vec![SMALL; 4096];
        loop {
            let runs = merged(&sizes);
            if runs.is_empty() {
                break;
            }
            rounds += 1;
            sizes = runs.iter().map(|run| run.iter().sum()).collect();
            sizes.retain(|size| *size <= SMALL_BYTES_MAX);
        }
        assert!((1..5).contains(&rounds), "{rounds}");
    }
}
