//! Packs of which it is not certain that the catalog took what was written last: they are cut
//! back to what it did take before anything else is written, so that a rebuild finds no purge
//! and no hold in them that nobody was told of.
//!
//! ```text
//!  a commit fails, or a sync ─▶ another commit of the pack's row: that one is certain now
//!      ─▶ the row says how far ─▶ cut back, or removed ─▶ closed
//! ```
//!
//! A crash between any two steps leaves an open row, and the next start does the same.

use std::collections::BTreeMap;

use parking_lot::Mutex;
use sealift_ledger::{Commit, FileRow, PackState};
use sealift_store::{StoreError, StoreName};

use crate::{Result, archive::Core, packs::Pack};

/// More are left to the next start. One failure puts the packs of one group here.
const DOUBTS_MAX: usize = 1024;

/// A pack that a group was written to.
#[derive(Debug, Clone)]
pub(crate) struct Written {
    /// What the catalog is to know of it.
    pub(crate) state: PackState,
    /// Bytes that it knew before.
    was: u64,
    is_given_up: bool,
}

impl Written {
    pub(crate) fn synced(pack: &Pack, closed: bool) -> Self {
        Self {
            state: pack.state(closed),
            was: pack.synced,
            is_given_up: false,
        }
    }

    pub(crate) fn given_up(pack: &Pack) -> Self {
        Self {
            state: pack.abandoned(),
            was: pack.synced,
            is_given_up: true,
        }
    }

    pub(crate) fn is_given_up(&self) -> bool {
        self.is_given_up
    }
}

/// Packs in doubt, with the bytes that the catalog knew before.
#[derive(Debug, Default)]
pub(crate) struct Doubts(Mutex<BTreeMap<String, u64>>);

impl Core {
    pub(crate) fn doubt<'a>(&self, written: impl Iterator<Item = &'a Written>) {
        let mut doubts = self.doubts.0.lock();
        for Written { state, was, .. } in written {
            if doubts.len() < DOUBTS_MAX {
                doubts.insert(state.file.clone(), *was);
            }
        }
    }

    /// Settles all of them. A store that cannot be written to now is no error: they stay.
    pub(crate) async fn settle_doubts(&self) -> Result<()> {
        let doubts = self.doubts.0.lock().clone();
        for (file, was) in doubts {
            let name = StoreName::new(&file).map_err(StoreError::from)?;
            let state = |synced_bytes, closed| PackState {
                file: file.clone(),
                synced_bytes,
                closed,
            };
            self.catalog
                .commit(self.pack_state(state(was, false)))
                .await?;
            let taken = self.file_row(&file).await?;
            let taken = taken.map_or(was, |row| row.synced_bytes);
            if let Err(error) = self.cut_to(&name, taken).await {
                tracing::warn!(pack = file, %error, "what the catalog did not take is there still");
                continue;
            }
            self.catalog
                .commit(self.pack_state(state(taken, true)))
                .await?;
            if taken == 0 {
                self.catalog.forget_file(&file).await?;
            }
            self.doubts.0.lock().remove(&file);
        }
        Ok(())
    }

    /// As [`settle_doubts`](Self::settle_doubts), where nobody waits for it.
    pub(crate) async fn settle_when_idle(&self) {
        if let Err(error) = self.settle_doubts().await {
            tracing::warn!(%error, "packs are in doubt");
        }
    }

    /// Cuts a pack back; one of which nothing was taken goes.
    pub(crate) async fn cut_to(&self, name: &StoreName, bytes: u64) -> Result<()> {
        if bytes == 0 {
            return Ok(self.store.remove(name).await?);
        }
        match self.store.open(name).await {
            Ok(file) if file.len()? <= bytes => Ok(()),
            Ok(_longer) => {
                let file = self.store.append(name).await?;
                file.set_len(bytes).await?;
                Ok(file.sync().await?)
            }
            Err(StoreError::NoSuchFile { .. }) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// A commit of a pack's row alone.
    pub(crate) fn pack_state(&self, state: PackState) -> Commit {
        Commit {
            at: self.clock.now(),
            packs: vec![state],
            ..Commit::default()
        }
    }

    async fn file_row(&self, file: &str) -> Result<Option<FileRow>> {
        let before = file.get(..file.len().saturating_sub(1));
        let page = self.catalog.files(before, 1).await?;
        Ok(page.into_iter().find(|row| row.file == file))
    }
}
