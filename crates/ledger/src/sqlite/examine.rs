//! Looking at a database from outside: whoever has it open goes on.

use std::path::Path;

use super::{
    catalog_state,
    columns::first,
    database::{CHECKED_AT_OPEN_BYTES_MAX, Schema, check_integrity, open_unknown, recognise},
    journal_state,
};
use crate::Result;

/// What is at the place of a database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Examined {
    /// Nothing, or a file in which nothing was ever written.
    Nothing,
    /// It can be read, and what was looked at of it is whole.
    Whole {
        /// Rows of its audit log; a journal has none.
        leaves: u64,
    },
}

/// Looks at the catalog at `path`.
///
/// # Errors
/// As [`SqliteCatalog::open`](super::SqliteCatalog::open) would fail.
pub fn examine_catalog(path: &Path) -> Result<Examined> {
    examine(path, &catalog_state::SCHEMA)
}

/// Looks at the journal at `path`.
///
/// # Errors
/// As [`SqliteJournal::open`](super::SqliteJournal::open) would fail.
pub fn examine_journal(path: &Path) -> Result<Examined> {
    examine(path, &journal_state::SCHEMA)
}

fn examine(path: &Path, schema: &Schema) -> Result<Examined> {
    if std::fs::metadata(path).is_ok_and(|facts| facts.len() == 0) || !path.exists() {
        return Ok(Examined::Nothing);
    }
    let db = open_unknown(path)?;
    if recognise(&db, path, schema)? == 0 {
        return Ok(Examined::Nothing);
    }
    check_integrity(&db, path, CHECKED_AT_OPEN_BYTES_MAX)?;
    let leaves = match schema.name {
        "catalog" => first(&db, "SELECT leaves FROM site", [], |row| {
            super::columns::Columns::new("site", row).uint()
        })?,
        _ => None,
    };
    Ok(Examined::Whole {
        leaves: leaves.unwrap_or(0),
    })
}
