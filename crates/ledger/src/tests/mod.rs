//! What the SQLite implementations do beyond the traits.

mod conformance;
mod files;
mod limits;
mod recovery;
mod speed;
mod tamper;

use std::path::Path;

use sealift_terms::{Epoch, SiteId};

use crate::{NewSite, SqliteCatalog, SqliteJournal, conformance::sample::TestSealer};

fn journal_at(path: &Path) -> SqliteJournal {
    SqliteJournal::open(path, TestSealer::shared()).unwrap()
}

fn catalog_at(path: &Path) -> SqliteCatalog {
    SqliteCatalog::open(path, TestSealer::shared(), new_site()).unwrap()
}

fn new_site() -> NewSite {
    NewSite {
        site: SiteId([3; 16]),
        epoch: Epoch([4; 16]),
    }
}
