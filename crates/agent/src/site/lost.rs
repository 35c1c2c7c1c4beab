//! A database that is not there although it was: an empty one in its place would
//! say that nothing was ever stored.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use sealift_ledger::{Catalog, Examined, FactsSealer, NewSite, SqliteCatalog, examine_catalog};
use sealift_store::{BucketStore, Store, StoreName};
use tokio::runtime::Handle;

use super::open::{CATALOG_FILE, JOURNAL_FILE, STORE_DIR};
use crate::Error;

/// A catalog that is being made.
const UNFINISHED_FILE: &str = "catalog.db.new";

/// What is left of a site whose catalog is lost.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Remnant {
    /// Something is stored that only a catalog can say what it is.
    #[error("{} was stored under a catalog that is not there", .0.display())]
    Stored(PathBuf),
    /// The same, in the bucket that is the store.
    #[error("{0} was stored in the bucket under a catalog that is not there")]
    InBucket(StoreName),
    /// The journal was made after a catalog, which holds the audit log, too.
    #[error("{} was made beside a catalog, which held the audit log and is not there", .0.display())]
    Journal(PathBuf),
}

/// Refuses to make a catalog where there was one.
pub(crate) fn refuse_new_catalog(
    data_dir: &Path,
    bucket: Option<&BucketStore>,
) -> Result<(), Error> {
    let path = data_dir.join(CATALOG_FILE);
    if holds_something(&path) {
        return Ok(());
    }
    if let Some(bucket) = bucket {
        let listed = Handle::current().block_on(bucket.list("", None, 1));
        let listed = listed.map_err(Error::failed("listing the store"))?;
        if let Some(file) = listed.into_iter().next() {
            let source = Remnant::InBucket(file.name);
            return Err(Error::CatalogLost { path, source });
        }
    }
    let store = data_dir.join(STORE_DIR);
    let stored = first_file(&store).map_err(Error::io("read", store))?;
    let journal = data_dir.join(JOURNAL_FILE);
    let remnant = match stored {
        Some(file) => Remnant::Stored(file),
        None if holds_something(&journal) => Remnant::Journal(journal),
        None => return Ok(()),
    };
    Err(Error::CatalogLost {
        path,
        source: remnant,
    })
}

/// Makes a catalog that says that it is not finished where there is none: one that
/// does not say so is never there, whatever ends the rebuild before it began.
pub(super) fn make_unfinished_catalog(
    data_dir: &Path,
    facts: Arc<dyn FactsSealer>,
    new: NewSite,
) -> Result<(), Error> {
    let path = data_dir.join(CATALOG_FILE);
    if holds_something(&path) {
        return Ok(());
    }
    let failed = |source| Error::Database {
        which: "catalog",
        source,
    };
    let beside = data_dir.join(UNFINISHED_FILE);
    for suffix in ["", "-wal", "-shm"] {
        let left = data_dir.join(format!("{UNFINISHED_FILE}{suffix}"));
        match fs::remove_file(&left) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(Error::io("remove", left)(error));
            }
            _ => {}
        }
    }
    let catalog = SqliteCatalog::open(&beside, facts, new).map_err(failed)?;
    let epoch = catalog.site().epoch;
    let begun = Handle::current().block_on(catalog.begin_rebuild(epoch));
    begun.map_err(failed)?;
    // Closed, so that all of it is in the one file.
    drop(catalog);
    fs::rename(&beside, &path).map_err(Error::io("rename", beside))?;
    let synced = fs::File::open(data_dir).and_then(|dir| dir.sync_all());
    synced.map_err(Error::io("sync", data_dir))
}

/// Whether the journal is not there and the catalog is old enough to have had one.
pub(crate) fn journal(data_dir: &Path) -> bool {
    let audited = examine_catalog(&data_dir.join(CATALOG_FILE));
    !holds_something(&data_dir.join(JOURNAL_FILE))
        && matches!(audited, Ok(Examined::Whole { leaves: 1.. }))
}

fn holds_something(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|facts| facts.len() > 0)
}

/// Any file below a directory.
fn first_file(dir: &Path) -> io::Result<Option<PathBuf>> {
    let entries = match fs::read_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        entries => entries?,
    };
    for entry in entries {
        let entry = entry?;
        let found = match entry.file_type()?.is_dir() {
            true => first_file(&entry.path())?,
            false => Some(entry.path()),
        };
        if found.is_some() {
            return Ok(found);
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use sealift_ledger::FactsError;
    use sealift_terms::{Epoch, SiteId};

    use super::*;

    /// Nothing is sealed here.
    #[derive(Debug)]
    struct NoFacts;

    impl FactsSealer for NoFacts {
        fn seal(&self, _: &[u8], _: &[u8]) -> Result<Vec<u8>, FactsError> {
            unreachable!("a catalog without rows")
        }

        fn open(&self, _: &[u8], _: &[u8]) -> Result<Vec<u8>, FactsError> {
            unreachable!("a catalog without rows")
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_catalog_that_is_to_be_rebuilt_is_there_unfinished_or_not_at_all() {
        let dir = tempfile::tempdir().unwrap();
        let facts = || Arc::new(NoFacts);
        let new = NewSite {
            site: SiteId([1; 16]),
            epoch: Epoch([2; 16]),
        };
        // What an earlier try left behind is not gone on with.
        fs::write(dir.path().join(UNFINISHED_FILE), "half a catalog").unwrap();
        let (path, with) = (dir.path().to_owned(), facts());
        let making = move || make_unfinished_catalog(&path, with, new);
        tokio::task::spawn_blocking(making).await.unwrap().unwrap();
        let names: Vec<_> = fs::read_dir(dir.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        assert_eq!(names, [CATALOG_FILE]);
        let catalog = SqliteCatalog::open(&dir.path().join(CATALOG_FILE), facts(), new).unwrap();
        assert!(catalog.is_rebuilding());
    }
}
