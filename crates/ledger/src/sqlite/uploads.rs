//! Unfinished uploads and their parts.

use rusqlite::{Connection, Row, params};
use sealift_terms::{ObjectUid, PartIndex, PartSize, RecordId, Timestamp};

use super::{
    catalog_commit::{part_aad, require_record},
    catalog_rows::version_name,
    columns::{Columns, change, order_bytes},
    sealing::Sealing,
};
use crate::{Result, UploadPart, UploadRow};

/// The columns that [`upload`] reads.
pub(super) const UPLOAD: &str = "bucket, key, version, ord, uid, record, second_record, facts,
    part_size, file, origin, begun_at, touched_at";

pub(super) fn upload(row: &Row<'_>, sealing: &Sealing) -> Result<UploadRow> {
    let mut columns = Columns::new("uploads", row);
    let name = version_name(&mut columns)?;
    let order = columns.order()?;
    let uid = ObjectUid(columns.bytes()?);
    let record = RecordId(columns.bytes()?);
    let second_record = columns.bytes_or_none()?.map(RecordId);
    let facts = sealing.open("upload facts", &name, &columns.value::<Vec<u8>>()?)?;
    let part_size: u32 = columns.value()?;
    Ok(UploadRow {
        uid,
        record,
        second_record,
        name,
        order,
        facts,
        part_size: PartSize::new(part_size).map_err(|error| columns.bad(error.to_string()))?,
        file: columns.value()?,
        origin: columns.name()?,
        begun_at: columns.time()?,
        touched_at: columns.time()?,
    })
}

pub(super) fn begin(db: &Connection, uploads: &[(UploadRow, Vec<u8>)]) -> Result<()> {
    for (upload, facts) in uploads {
        upload
            .records()
            .iter()
            .try_for_each(|record| require_record(db, record))?;
        change(
            db,
            "INSERT INTO uploads VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)",
            params![
                upload.uid.0,
                upload.record.0,
                upload.name.bucket.as_str(),
                upload.name.key.as_str(),
                upload.name.version.as_str(),
                order_bytes(&upload.order),
                facts,
                upload.part_size.bytes(),
                upload.file,
                upload.origin.as_str(),
                upload.begun_at.as_millis(),
                upload.touched_at.as_millis(),
                upload.second_record.map(|id| id.0),
            ],
        )?;
    }
    Ok(())
}

/// Parts of uploads that are gone (finished or removed meanwhile) are left out.
pub(super) fn put_parts(
    db: &Connection,
    parts: &[(UploadPart, Vec<u8>)],
    at: Timestamp,
) -> Result<()> {
    for (part, crc) in parts {
        let sql = "UPDATE uploads SET touched_at = ?2 WHERE uid = ?1";
        if change(db, sql, params![part.uid.0, at.as_millis()])? == 0 {
            continue;
        }
        change(
            db,
            "INSERT OR REPLACE INTO parts VALUES (?1, ?2, ?3, ?4, ?5)",
            params![
                part.uid.0,
                part.index.0,
                part.commitment,
                crc,
                part.outer_commitment
            ],
        )?;
    }
    Ok(())
}

pub(super) fn part(row: &Row<'_>, uid: ObjectUid, sealing: &Sealing) -> Result<UploadPart> {
    let mut columns = Columns::new("parts", row);
    let index: u32 = columns.value()?;
    let commitment = columns.bytes()?;
    let outer_commitment = columns.bytes_or_none()?;
    let sealed: Vec<u8> = columns.value()?;
    let what = format!("part {index} of upload {uid}");
    let crc = sealing.open_bytes(&part_aad(uid, index), &what, &sealed)?;
    let crc = crc
        .try_into()
        .map_err(|_| columns.bad("a CRC that is not 8 bytes".to_owned()))?;
    Ok(UploadPart {
        uid,
        index: PartIndex(index),
        commitment,
        outer_commitment,
        crc64: u64::from_be_bytes(crc),
    })
}

pub(super) fn forget_parts(db: &Connection, uid: ObjectUid, parts: &[PartIndex]) -> Result<()> {
    for part in parts {
        let sql = "DELETE FROM parts WHERE uid = ?1 AND part = ?2";
        change(db, sql, params![uid.0, part.0])?;
    }
    Ok(())
}

pub(super) fn remove(db: &Connection, uids: &[ObjectUid]) -> Result<()> {
    for uid in uids {
        change(db, "DELETE FROM parts WHERE uid = ?1", [uid.0])?;
        change(db, "DELETE FROM uploads WHERE uid = ?1", [uid.0])?;
    }
    Ok(())
}
