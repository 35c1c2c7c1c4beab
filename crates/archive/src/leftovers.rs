//! Files that were published and that the catalog did not take: nobody was told of them,
//! and no row leads to them.

use parking_lot::Mutex;
use sealift_store::StoreName;
use sealift_terms::VersionName;

use crate::{Result, archive::Core};

/// More are left to `verify`, which lists them.
const LEFTOVERS_MAX: usize = 1024;

/// What is left behind, with the sequence of the catalog then.
#[derive(Debug, Default)]
pub(crate) struct Leftovers(Mutex<Vec<(StoreName, VersionName, u64)>>);

impl Core {
    /// Remembers files whose commit failed.
    pub(crate) fn leave(&self, files: impl Iterator<Item = (StoreName, VersionName)>) {
        let sequence = self.catalog.site().sequence;
        let mut left = self.leftovers.0.lock();
        let room = LEFTOVERS_MAX.saturating_sub(left.len());
        left.extend(files.take(room).map(|(file, name)| (file, name, sequence)));
    }

    /// Removes those of which it is certain that they were not committed: a later commit
    /// is durable, and no version rests in them.
    pub(crate) async fn remove_leftovers(&self) -> Result<()> {
        let sequence = self.catalog.site().sequence;
        let certain: Vec<_> = {
            let mut left = self.leftovers.0.lock();
            let (certain, later) = left.drain(..).partition(|(_, _, then)| *then < sequence);
            *left = later;
            certain
        };
        for (file, name, _) in certain {
            let row = self.catalog.known(&name).await?;
            if row.is_none_or(|row| row.location.file != file.as_str()) {
                self.store.remove(&file).await?;
            }
        }
        Ok(())
    }
}
