//! What the versions of customer-managed keys still have to open.

use std::path::Path;

use rusqlite::Connection;
use sealift_terms::RecordId;

use super::{
    columns::{Columns, all, first},
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
        true => {
            let db = open_reader(path)?;
            // An older catalog is looked at before it is opened to write, which migrates it.
            let sql = "SELECT 1 FROM pragma_table_info('records') WHERE name = 'bytes'";
            match first(&db, sql, [], |_| Ok(()))? {
                Some(()) => key_use(&db),
                None => summed(&db, "0"),
            }
        }
        false => Ok(Vec::new()),
    }
}

pub(super) fn key_use(db: &Connection) -> Result<Vec<KeyUse>> {
    summed(db, "sum(bytes)")
}

fn summed(db: &Connection, bytes: &str) -> Result<Vec<KeyUse>> {
    // Two providers may have keys of one name.
    let sql = format!(
        "SELECT CASE json_valid(json) WHEN 1 THEN coalesce(json_extract(json, '$.provider'), '')
         ELSE '' END AS provider, cmk, cmk_version, count(*), sum(objects), {bytes} FROM records
         GROUP BY cmk, cmk_version, provider ORDER BY cmk, cmk_version, provider"
    );
    all(db, &sql, [], |row| {
        let mut columns = Columns::new("records", row);
        Ok(KeyUse {
            provider: columns.value()?,
            cmk: columns.name()?,
            cmk_version: columns.value()?,
            records: columns.uint()?,
            objects: columns.uint()?,
            bytes: columns.uint()?,
        })
    })
}

/// The records of the other layer of what is sealed under one. Each half is one of the
/// partial indexes, which have nothing of what is sealed in one layer.
pub(super) fn beside(db: &Connection, record: RecordId) -> Result<Vec<RecordId>> {
    let half = |table: &str, this: &str, other: &str| {
        format!(
            "SELECT DISTINCT {other} FROM {table}
             WHERE {this} = ?1 AND second_record IS NOT NULL"
        )
    };
    let halves = ["versions", "marks", "uploads"].map(|table| {
        let inner = half(table, "record", "second_record");
        let outer = half(table, "second_record", "record");
        format!("{inner} UNION {outer}")
    });
    all(db, &halves.join(" UNION "), [record.0], |row| {
        Columns::new("versions", row).bytes().map(RecordId)
    })
}
