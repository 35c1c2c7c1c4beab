//! Damaged bytes that are out of use, and what the scrub remembers.

use rusqlite::{Connection, Row, params};
use sealift_terms::{ObjectUid, Timestamp, VersionName};

use super::{
    catalog_commit::name_params,
    catalog_rows::{location, version_name},
    columns::{Columns, all, change, evidence, first, int, limit},
};
use crate::{DamagedVersion, ListQuarantined, QuarantineCount, Quarantined, Result};

/// Puts the sealings that were found damaged out of use.
pub(super) fn put(db: &Connection, found: &[DamagedVersion], at: Timestamp) -> Result<u64> {
    let mut put = 0;
    for damage in found {
        let [bucket, key, version] = name_params(&damage.name);
        put += change(
            db,
            "INSERT INTO quarantine
                 (bucket, key, version, uid, file, offset, length, found_at, cause)
             SELECT bucket, key, version, uid, file, offset, length, ?5, ?6 FROM versions
             WHERE bucket = ?1 AND key = ?2 AND version = ?3 AND uid = ?4
             ON CONFLICT DO NOTHING",
            params![
                bucket,
                key,
                version,
                damage.object_uid.0,
                at.as_millis(),
                evidence(&damage.cause)
            ],
        )? as u64;
    }
    Ok(put)
}

/// The version came again; within the commit that brings it.
pub(super) fn repaired(db: &Connection, name: &VersionName, at: i64) -> Result<()> {
    let [bucket, key, version] = name_params(name);
    change(
        db,
        "UPDATE quarantine SET repaired_at = ?4
         WHERE bucket = ?1 AND key = ?2 AND version = ?3 AND repaired_at IS NULL",
        params![bucket, key, version, at],
    )
    .map(drop)
}

pub(super) fn list(db: &Connection, list: &ListQuarantined) -> Result<Vec<Quarantined>> {
    let sql = "SELECT id, bucket, key, version, uid, file, offset, length, found_at, cause,
             repaired_at FROM quarantine
         WHERE id > ?1 AND (?2 IS NULL OR (repaired_at IS NOT NULL) = ?2)
             AND (?3 IS NULL OR file = ?3) ORDER BY id LIMIT ?4";
    let values = params![
        int("number", list.after)?,
        list.repaired,
        list.file,
        limit(list.limit)
    ];
    all(db, sql, values, row)
}

fn row(row: &Row<'_>) -> Result<Quarantined> {
    let mut columns = Columns::new("quarantine", row);
    Ok(Quarantined {
        id: columns.uint()?,
        name: version_name(&mut columns)?,
        object_uid: ObjectUid(columns.bytes()?),
        location: location(&mut columns)?,
        found_at: columns.time()?,
        cause: columns.value()?,
        repaired_at: columns.value::<Option<i64>>()?.map(Timestamp::from_millis),
    })
}

pub(super) fn count(db: &Connection) -> Result<QuarantineCount> {
    let sql = "SELECT count(*) FILTER (WHERE repaired_at IS NULL), count(repaired_at)
               FROM quarantine";
    let counted = first(db, sql, [], |row| {
        let mut columns = Columns::new("quarantine", row);
        Ok(QuarantineCount {
            damaged: columns.uint()?,
            repaired: columns.uint()?,
        })
    })?;
    Ok(counted.unwrap_or_default())
}

/// Forgets what was repaired.
pub(super) fn forget(db: &Connection, ids: &[u64]) -> Result<u64> {
    let mut gone = 0;
    for id in ids {
        let sql = "DELETE FROM quarantine WHERE id = ?1 AND repaired_at IS NOT NULL";
        gone += change(db, sql, [int("number", *id)?])? as u64;
    }
    Ok(gone)
}

/// Forgets a file in which nothing rests any more.
pub(super) fn forget_file(db: &Connection, file: &str) -> Result<bool> {
    let sql = "DELETE FROM files WHERE file = ?1 AND objects = 0 AND closed = 1
               AND NOT EXISTS (SELECT 1 FROM quarantine q WHERE q.file = ?1)";
    Ok(change(db, sql, [file])? > 0)
}

pub(super) fn scrub_state(db: &Connection) -> Result<Option<String>> {
    first(db, "SELECT state FROM scrub", [], |row| {
        Columns::new("scrub", row).value()
    })
}

pub(super) fn put_scrub_state(db: &Connection, state: &str) -> Result<()> {
    let sql = "INSERT INTO scrub VALUES (1, ?1) ON CONFLICT DO UPDATE SET state = excluded.state";
    change(db, sql, [state]).map(drop)
}
