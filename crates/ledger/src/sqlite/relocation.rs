//! Marks by themselves, and sealed bytes that move as they are.

use rusqlite::{Connection, Row, params};
use sealift_terms::{ObjectUid, RecordId, RecordIds, Timestamp, VersionName};

use super::{
    catalog_commit::{name_params, put_packs},
    catalog_rows::{location, version_name},
    columns::{Columns, all, first, int, limit},
    sealing::Sealing,
    tally::Tally,
};
use crate::{MarkKind, MarkRow, PackState, Relocation, Result};

const MARK: &str = "SELECT bucket, key, version, ord, kind, tags, uid, record, second_record,
    file, offset, length FROM marks";

pub(super) fn marks(
    db: &Connection,
    sealing: &Sealing,
    after: Option<&MarkRow>,
    rows: usize,
) -> Result<Vec<MarkRow>> {
    let Some(after) = after else {
        let sql = format!("{MARK} ORDER BY bucket, key, version, kind LIMIT ?1");
        return all(db, &sql, [limit(rows)], |row| mark(row, sealing));
    };
    let sql = format!(
        "{MARK} WHERE (bucket, key, version, kind) > (?1, ?2, ?3, ?4)
         ORDER BY bucket, key, version, kind LIMIT ?5"
    );
    let [bucket, key, version] = name_params(&after.name);
    let kind = i64::from(after.kind.sort());
    let values = params![bucket, key, version, kind, limit(rows)];
    all(db, &sql, values, |row| mark(row, sealing))
}

pub(super) fn marks_of(
    db: &Connection,
    sealing: &Sealing,
    name: &VersionName,
) -> Result<Vec<MarkRow>> {
    let sql = format!("{MARK} WHERE bucket = ?1 AND key = ?2 AND version = ?3 ORDER BY kind");
    all(db, &sql, name_params(name), |row| mark(row, sealing))
}

fn mark(row: &Row<'_>, sealing: &Sealing) -> Result<MarkRow> {
    let mut columns = Columns::new("marks", row);
    let name = version_name(&mut columns)?;
    let order = columns.order()?;
    let (kind, tags): (i64, Option<Vec<u8>>) = (columns.value()?, columns.value()?);
    let kind = match (kind, tags) {
        (0, Some(sealed)) => MarkKind::Tags(sealing.open("tags", &name, &sealed)?),
        (1, None) => MarkKind::Purge,
        (2, Some(sealed)) => MarkKind::Hold(sealing.open("hold", &name, &sealed)?),
        (other, _) => return Err(columns.bad(format!("kind {other}"))),
    };
    Ok(MarkRow {
        name,
        order,
        kind,
        object_uid: ObjectUid(columns.bytes()?),
        record: RecordId(columns.bytes()?),
        second_record: columns.bytes_or_none()?.map(RecordId),
        location: location(&mut columns)?,
    })
}

/// Moves what still rests where it was copied from.
pub(super) fn relocate(
    db: &Connection,
    moves: &[Relocation],
    pack: PackState,
    at: Timestamp,
) -> Result<u64> {
    let (mut moved, mut tally) = (0, Tally::default());
    for one in moves {
        for table in ["versions", "marks"] {
            if let Some(records) = relocate_in(db, table, one)? {
                tally.moved(&one.from, &one.to, records);
                moved += 1;
            }
        }
    }
    tally.write(db, at.as_millis())?;
    put_packs(db, &[pack])?;
    Ok(moved)
}

fn relocate_in(db: &Connection, table: &str, one: &Relocation) -> Result<Option<RecordIds>> {
    let sql = format!(
        "UPDATE {table} SET file = ?5, offset = ?6
         WHERE bucket = ?1 AND key = ?2 AND version = ?3 AND uid = ?4
             AND file = ?7 AND offset = ?8 AND length = ?9
         RETURNING record, second_record"
    );
    let [bucket, key, version] = name_params(&one.name);
    let values = params![
        bucket,
        key,
        version,
        one.object_uid.0,
        one.to.file,
        int("offset", one.to.offset)?,
        one.from.file,
        int("offset", one.from.offset)?,
        int("length", one.from.length)?,
    ];
    first(db, &sql, values, |row| {
        let mut columns = Columns::new("versions", row);
        Ok(RecordIds {
            first: RecordId(columns.bytes()?),
            second: columns.bytes_or_none()?.map(RecordId),
        })
    })
}
