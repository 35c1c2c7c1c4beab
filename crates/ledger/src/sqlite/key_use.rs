//! What the versions of customer-managed keys still have to open.

use std::path::Path;

use rusqlite::Connection;

use super::{
    columns::{Columns, all},
    database::open_reader,
};
use crate::{KeyUse, Result};

/// Reads from the catalog at `path`, whoever has it open, what every key version
/// still has to open. Nothing when there is no catalog yet.
///
/// # Errors
/// [`LedgerError`](crate::LedgerError) when it cannot be read.
pub fn key_use_in(path: &Path) -> Result<Vec<KeyUse>> {
    match path.exists() {
        true => key_use(&open_reader(path)?),
        false => Ok(Vec::new()),
    }
}

pub(super) fn key_use(db: &Connection) -> Result<Vec<KeyUse>> {
    let sql = "SELECT cmk, cmk_version, count(*), sum(objects) FROM records
               GROUP BY cmk, cmk_version ORDER BY cmk, cmk_version";
    all(db, sql, [], |row| {
        let mut columns = Columns::new("records", row);
        Ok(KeyUse {
            cmk: columns.name()?,
            cmk_version: columns.value()?,
            records: columns.uint()?,
            objects: columns.uint()?,
        })
    })
}
