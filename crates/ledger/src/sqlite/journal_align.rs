//! What batches queued is brought in line with them: held back, let go, put back.

use std::sync::atomic::{AtomicU8, Ordering};

use rusqlite::Connection;
use sealift_terms::{BatchId, Timestamp};

use super::{batches, journal::SqliteJournal};
use crate::Result;

/// What of batches may not stand as they say.
pub(super) struct Loose(AtomicU8);

/// Nothing.
const NONE: u8 = 0;
/// What was leased when its batch was cancelled.
const LEASED: u8 = 1;
/// Anything: the last process was stopped, perhaps in the middle.
const STOPPED: u8 = 2;
/// Rows of a batch that are brought in line in one step.
const ALIGNED_AT_ONCE: usize = 1000;

impl Loose {
    pub(super) fn load(db: &Connection) -> Result<Self> {
        let loose = match batches::to_align(db, true)?.is_empty() {
            true => NONE,
            false => STOPPED,
        };
        Ok(Self(AtomicU8::new(loose)))
    }

    /// A batch is about to change, and may be left in the middle.
    pub(super) fn stopped(&self) {
        self.0.store(STOPPED, Ordering::Relaxed);
    }
}

impl SqliteJournal {
    /// Brings what a batch queued in line with it, in steps that hold up nobody for long.
    pub(super) async fn align(&self, batch: BatchId, now: Timestamp) -> Result<()> {
        let mut after = 0;
        let step = move |after| {
            self.writer.call(move |db, state| {
                batches::align(db, state, (batch, after, ALIGNED_AT_ONCE), now)
            })
        };
        while let Some(last) = step(after).await? {
            after = last;
        }
        Ok(())
    }

    /// Finishes what a stop left in the middle, and what was leased when its batch was
    /// cancelled and is not any more.
    pub(super) async fn align_loose(&self, now: Timestamp) -> Result<()> {
        let loose = self.loose.0.load(Ordering::Relaxed);
        if loose == NONE {
            return Ok(());
        }
        for batch in self.to_align(loose == STOPPED).await? {
            self.align(batch, now).await?;
        }
        let left = match self.to_align(false).await?.is_empty() {
            true => NONE,
            false => LEASED,
        };
        // Unless a batch was changed meanwhile.
        let (done, not) = (Ordering::Relaxed, Ordering::Relaxed);
        let _ = self.loose.0.compare_exchange(loose, left, done, not);
        Ok(())
    }

    async fn to_align(&self, stopped: bool) -> Result<Vec<BatchId>> {
        self.readers
            .page(move |db| batches::to_align(db, stopped))
            .await
    }
}
