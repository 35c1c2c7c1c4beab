//! A database that is not there although it was: an empty one in its place would
//! say that nothing was ever stored.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use sealift_ledger::{Examined, examine_catalog};

use super::open::{CATALOG_FILE, JOURNAL_FILE, STORE_DIR};
use crate::Error;

/// What is left of a site whose catalog is lost.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Remnant {
    /// Something is stored that only a catalog can say what it is.
    #[error("{} was stored under a catalog that is not there", .0.display())]
    Stored(PathBuf),
    /// The journal was made after a catalog, which holds the audit log, too.
    #[error("{} was made beside a catalog, which held the audit log and is not there", .0.display())]
    Journal(PathBuf),
}

/// Refuses to make a catalog where there was one.
pub(crate) fn refuse_new_catalog(data_dir: &Path) -> Result<(), Error> {
    let path = data_dir.join(CATALOG_FILE);
    if holds_something(&path) {
        return Ok(());
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
