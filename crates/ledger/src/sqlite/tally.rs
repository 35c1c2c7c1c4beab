//! Sums that a commit changes: per store file, key record, bucket and sender.

use std::collections::HashMap;

use rusqlite::{Connection, params};
use sealift_terms::{BucketName, Identity, RecordId, RecordIds};

use super::columns::{change, int};
use crate::{LedgerError, Location, Result, VersionKind};

#[derive(Debug, Clone, Copy, Default)]
struct InFile {
    objects: i64,
    live: i64,
    end: u64,
    /// Something in it died, whatever else came to it.
    died: bool,
}

#[derive(Debug, Clone, Copy, Default)]
struct UnderRecord {
    objects: i64,
    bytes: i64,
}

#[derive(Debug, Clone, Copy, Default)]
struct InBucket {
    objects: i64,
    bytes: i64,
    delete_markers: i64,
}

#[derive(Debug, Clone, Copy, Default)]
struct Brought {
    objects: i64,
    bytes: i64,
}

/// Collects the changes of one request; [`write`](Self::write) applies them.
#[derive(Debug, Default)]
pub(super) struct Tally {
    files: HashMap<String, InFile>,
    records: HashMap<RecordId, UnderRecord>,
    buckets: HashMap<BucketName, InBucket>,
    senders: HashMap<Identity, Brought>,
}

impl Tally {
    /// One sealed object more (`sign` 1) or less (-1). It counts for the key record of
    /// each of its layers.
    pub(super) fn sealed(&mut self, location: &Location, records: RecordIds, sign: i64) {
        if !self.files.contains_key(&location.file) {
            self.files.insert(location.file.clone(), InFile::default());
        }
        if let Some(file) = self.files.get_mut(&location.file) {
            file.objects += sign;
            file.died |= sign < 0;
            file.live += sign * i64::try_from(location.length).unwrap_or(i64::MAX);
            file.end = file
                .end
                .max(location.offset.saturating_add(location.length));
        }
        for record in records.iter() {
            self.records.entry(record).or_default().objects += sign;
        }
    }

    /// One sealed object moved as it is.
    pub(super) fn moved(&mut self, from: &Location, to: &Location, records: RecordIds) {
        self.sealed(from, records, -1);
        self.sealed(to, records, 1);
    }

    /// One version more or less, sealed under `records`.
    pub(super) fn version(
        &mut self,
        bucket: &BucketName,
        records: RecordIds,
        kind: VersionKind,
        size: u64,
        sign: i64,
    ) {
        let sums = self.buckets.entry(bucket.clone()).or_default();
        match kind {
            VersionKind::Object => {
                let bytes = sign * i64::try_from(size).unwrap_or(i64::MAX);
                sums.objects += sign;
                sums.bytes += bytes;
                for record in records.iter() {
                    self.records.entry(record).or_default().bytes += bytes;
                }
            }
            VersionKind::DeleteMarker => sums.delete_markers += sign,
        }
    }

    /// One version with content more or less of those that `sender` brought; nobody knows who
    /// brought what a rebuild found.
    pub(super) fn brought(&mut self, sender: Option<&Identity>, size: u64, sign: i64) {
        if let Some(sender) = sender {
            let sums = self.senders.entry(sender.clone()).or_default();
            sums.objects += sign;
            sums.bytes += sign * i64::try_from(size).unwrap_or(i64::MAX);
        }
    }

    /// Writes the sums. A record that is not in the catalog is an error.
    pub(super) fn write(self, db: &Connection, at: i64) -> Result<()> {
        for (record, under) in self.records {
            let sql = "UPDATE records SET objects = objects + ?2, bytes = bytes + ?3 WHERE id = ?1";
            if change(db, sql, params![record.0, under.objects, under.bytes])? == 0 {
                return Err(LedgerError::NoSuchRecord(record));
            }
        }
        for (name, file) in self.files {
            // A file of its own is synced and closed; a pack's state follows with the packs.
            change(
                db,
                "INSERT INTO files VALUES (?1, ?2, ?3, ?4, 1, NULL) ON CONFLICT DO UPDATE SET
                     objects = objects + excluded.objects, live = live + excluded.live,
                     synced = max(synced, excluded.synced),
                     dead_since = iif(?6, coalesce(dead_since, ?5), dead_since)",
                params![
                    name,
                    int("length", file.end)?,
                    file.objects,
                    file.live,
                    at,
                    file.died
                ],
            )?;
        }
        for (bucket, sums) in self.buckets {
            change(
                db,
                "INSERT INTO buckets VALUES (?1, ?2, ?3, ?4) ON CONFLICT DO UPDATE SET
                     objects = objects + excluded.objects, bytes = bytes + excluded.bytes,
                     delete_markers = delete_markers + excluded.delete_markers",
                params![
                    bucket.as_str(),
                    sums.objects,
                    sums.bytes,
                    sums.delete_markers
                ],
            )?;
        }
        for (sender, sums) in self.senders {
            change(
                db,
                "INSERT INTO senders VALUES (?1, ?2, ?3) ON CONFLICT DO UPDATE SET
                     objects = objects + excluded.objects, bytes = bytes + excluded.bytes",
                params![sender.as_str(), sums.objects, sums.bytes],
            )?;
        }
        Ok(())
    }
}
