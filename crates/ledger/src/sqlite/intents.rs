//! Keys that somebody is about to write.

use rusqlite::{Connection, params};
use sealift_terms::{BucketName, ObjectKey, Timestamp, VersionId};

use super::columns::{Columns, all, change, first, int, limit};
use crate::{Intent, IntentCount, Result, Touched};

pub(super) fn intend(
    db: &Connection,
    bucket: &BucketName,
    keys: &[ObjectKey],
    touched: &Touched,
    at: Timestamp,
) -> Result<Vec<u64>> {
    let (tags, version) = match touched {
        Touched::Versions => (false, None),
        Touched::Tags(version) => (true, version.as_ref().map(VersionId::as_str)),
    };
    let (bucket, at) = (bucket.as_str(), at.as_millis());
    let insert = |key: &ObjectKey| -> Result<u64> {
        let sql = "INSERT INTO intents (bucket, key, at, tags, version)
                   VALUES (?1, ?2, ?3, ?4, ?5)";
        change(db, sql, params![bucket, key.as_str(), at, tags, version])?;
        Ok(db.last_insert_rowid().cast_unsigned())
    };
    keys.iter().map(insert).collect()
}

pub(super) fn intents(
    db: &Connection,
    bucket: &BucketName,
    after: u64,
    rows: usize,
) -> Result<Vec<Intent>> {
    let sql = "SELECT id, key, at, tags, version FROM intents
               WHERE bucket = ?1 AND id > ?2 ORDER BY id LIMIT ?3";
    let values = params![bucket.as_str(), int("number", after)?, limit(rows)];
    all(db, sql, values, |row| {
        let mut columns = Columns::new("intents", row);
        Ok(Intent {
            id: columns.uint()?,
            key: columns.name()?,
            at: columns.time()?,
            touched: match columns.value()? {
                false => Touched::Versions,
                true => Touched::Tags(columns.name_or_none()?),
            },
        })
    })
}

pub(super) fn count(db: &Connection, bucket: &BucketName) -> Result<IntentCount> {
    // Numbers are given in the order of time.
    let sql = "SELECT count(*), (SELECT at FROM intents WHERE bucket = ?1 ORDER BY id LIMIT 1)
               FROM intents WHERE bucket = ?1";
    let found = first(db, sql, [bucket.as_str()], |row| {
        let mut columns = Columns::new("intents", row);
        let intents = columns.uint()?;
        let oldest: Option<i64> = columns.value()?;
        Ok(IntentCount {
            intents,
            oldest: oldest.map(Timestamp::from_millis),
        })
    })?;
    Ok(found.unwrap_or_default())
}

pub(super) fn forget(db: &Connection, ids: &[u64]) -> Result<()> {
    for id in ids {
        let id = int("number", *id)?;
        change(db, "DELETE FROM intents WHERE id = ?1", [id])?;
    }
    Ok(())
}
