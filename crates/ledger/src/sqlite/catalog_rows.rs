//! The catalog's versions as types.

use std::collections::BTreeMap;

use rusqlite::{Connection, Row};
use sealift_terms::{
    BucketName, Checksum, ObjectFacts, ObjectUid, RecordId, Timestamp, VersionName,
};
use serde::{Deserialize, Serialize};

use super::{
    columns::{Columns, first},
    sealing::Sealing,
    terms::StoredTerms,
};
use crate::{FileRow, ListedVersion, Location, RecordRow, Result, VersionKind, VersionRow};

/// The columns and tables that [`version`] reads.
///
/// Scalar queries, not outer joins: those make SQLite prepare the statement again
/// at every execution when a condition is bound.
pub(super) const VERSION: &str = "SELECT v.bucket, v.key, v.version, v.ord, v.kind, v.facts, v.uid,
        v.record, v.second_record, v.file, v.offset, v.length, v.sequence, v.stored_at,
        (SELECT ord FROM marks m WHERE m.bucket = v.bucket AND m.key = v.key
            AND m.version = v.version AND m.kind = 0),
        (SELECT tags FROM marks m WHERE m.bucket = v.bucket AND m.key = v.key
            AND m.version = v.version AND m.kind = 0),
        (SELECT json FROM terms t WHERE t.id = v.terms),
        EXISTS (SELECT 1 FROM quarantine q WHERE q.bucket = v.bucket AND q.key = v.key
            AND q.version = v.version AND q.repaired_at IS NULL)
    FROM versions v";

/// The columns that [`listed_version`] reads.
pub(super) const LISTED: &str = "SELECT v.key, v.version, v.ord, v.kind, v.facts FROM versions v";

/// What of a version is sealed in its row.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct SealedFacts {
    pub(super) facts: ObjectFacts,
    pub(super) checksum: Option<Checksum>,
}

/// What a listing tells of that: everything else is passed over.
#[derive(Debug, Deserialize)]
struct ListedFacts {
    facts: Listed,
    checksum: Option<Checksum>,
}

#[derive(Debug, Deserialize)]
struct Listed {
    size: u64,
    last_modified: Option<Timestamp>,
}

pub(super) fn kind_code(kind: VersionKind) -> i64 {
    match kind {
        VersionKind::Object => 0,
        VersionKind::DeleteMarker => 1,
    }
}

pub(super) fn version(row: &Row<'_>, sealing: &Sealing) -> Result<VersionRow> {
    let mut columns = Columns::new("versions", row);
    let name = version_name(&mut columns)?;
    let order = columns.order()?;
    let kind = kind(&mut columns)?;
    let sealed: Vec<u8> = columns.value()?;
    let SealedFacts { facts, checksum } = sealing.open("version facts", &name, &sealed)?;
    let mut version = VersionRow {
        name,
        order,
        kind,
        facts,
        tags_order: None,
        checksum,
        object_uid: ObjectUid(columns.bytes()?),
        record: RecordId(columns.bytes()?),
        second_record: columns.bytes_or_none()?.map(RecordId),
        location: location(&mut columns)?,
        sequence: columns.uint()?,
        stored_at: columns.time()?,
        receipt: None,
        quarantined: false,
    };
    add_tags(&mut columns, sealing, &mut version)?;
    add_receipt(&mut columns, &mut version)?;
    version.quarantined = columns.value()?;
    Ok(version)
}

/// A row of a listing of `bucket`.
pub(super) fn listed_version(
    row: &Row<'_>,
    bucket: &BucketName,
    sealing: &Sealing,
) -> Result<ListedVersion> {
    let mut columns = Columns::new("versions", row);
    let name = VersionName {
        bucket: bucket.clone(),
        key: columns.name()?,
        version: columns.name()?,
    };
    let order = columns.order()?;
    let kind = kind(&mut columns)?;
    let ListedFacts { facts, checksum } =
        columns.blob(|sealed| sealing.open("version facts", &name, sealed))?;
    Ok(ListedVersion {
        key: name.key,
        version: name.version,
        order,
        kind,
        size: facts.size,
        last_modified: facts.last_modified,
        checksum,
    })
}

fn kind(columns: &mut Columns<'_, '_>) -> Result<VersionKind> {
    match columns.value()? {
        0 => Ok(VersionKind::Object),
        1 => Ok(VersionKind::DeleteMarker),
        other => Err(columns.bad(format!("kind {other}"))),
    }
}

pub(super) fn version_name(columns: &mut Columns<'_, '_>) -> Result<VersionName> {
    Ok(VersionName {
        bucket: columns.name()?,
        key: columns.name()?,
        version: columns.name()?,
    })
}

pub(super) fn location(columns: &mut Columns<'_, '_>) -> Result<Location> {
    Ok(Location {
        file: columns.value()?,
        offset: columns.uint()?,
        length: columns.uint()?,
    })
}

fn add_tags(
    columns: &mut Columns<'_, '_>,
    sealing: &Sealing,
    version: &mut VersionRow,
) -> Result<()> {
    // A blob that is null has no order to read.
    let ord: Option<Vec<u8>> = columns.value()?;
    let sealed: Option<Vec<u8>> = columns.value()?;
    if let (Some(ord), Some(sealed)) = (ord, sealed) {
        let tags: BTreeMap<String, String> = sealing.open("tags", &version.name, &sealed)?;
        version.facts.tags = tags;
        let bad = || columns.bad("no order of tags".to_owned());
        version.tags_order = Some(super::columns::order_from(&ord).ok_or_else(bad)?);
    }
    Ok(())
}

fn add_receipt(columns: &mut Columns<'_, '_>, version: &mut VersionRow) -> Result<()> {
    if let Some(json) = columns.value::<Option<String>>()? {
        let (terms, site) = StoredTerms::read(&json)?.split();
        version.receipt = Some(version.receipt_on(&terms, site));
    }
    Ok(())
}

/// The row of one version.
pub(super) fn known(
    db: &Connection,
    sealing: &Sealing,
    name: &VersionName,
) -> Result<Option<VersionRow>> {
    let sql = format!("{VERSION} WHERE v.bucket = ?1 AND v.key = ?2 AND v.version = ?3");
    let values = [
        name.bucket.as_str(),
        name.key.as_str(),
        name.version.as_str(),
    ];
    first(db, &sql, values, |row| version(row, sealing))
}

/// The columns that [`record`] reads.
pub(super) const RECORD: &str = "id, bucket, cmk, cmk_version, json";

pub(super) fn record(row: &Row<'_>) -> Result<RecordRow> {
    let mut columns = Columns::new("records", row);
    Ok(RecordRow {
        id: RecordId(columns.bytes()?),
        bucket: columns.name()?,
        cmk: columns.name()?,
        cmk_version: columns.value()?,
        json: columns.value()?,
    })
}

/// The columns that [`file()`] reads.
pub(super) const FILE: &str = "file, synced, objects, live, closed, dead_since";

pub(super) fn file(row: &Row<'_>) -> Result<FileRow> {
    let mut columns = Columns::new("files", row);
    Ok(FileRow {
        file: columns.value()?,
        synced_bytes: columns.uint()?,
        objects: columns.uint()?,
        live_bytes: columns.uint()?,
        closed: columns.value()?,
        dead_since: columns.value::<Option<i64>>()?.map(Timestamp::from_millis),
    })
}
