//! The catalog's schema, and what its writer keeps in memory.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU64, Ordering},
};

use parking_lot::Mutex;
use rusqlite::{Connection, params};
use sealift_terms::{AuditRecord, Epoch, SiteId};

use super::{
    columns::{Columns, change, first, int, prepare, run},
    database::Schema,
    writer::State,
};
use crate::{LedgerError, Result, SiteRow, audit::LeafBody, merkle};

pub(super) const SCHEMA: Schema = Schema {
    name: "catalog",
    application_id: 0x534c_4354,
    migrations: &[V1, V2, V3, V4, V5, V6, SENDERS],
};

const V1: &str = "
CREATE TABLE site (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    site BLOB NOT NULL, epoch BLOB NOT NULL, sequence INTEGER NOT NULL,
    leaves INTEGER NOT NULL, frontier BLOB NOT NULL     -- of the audit log
);
CREATE TABLE records (
    id BLOB PRIMARY KEY, bucket TEXT NOT NULL, cmk TEXT NOT NULL, cmk_version TEXT NOT NULL,
    json TEXT NOT NULL, objects INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE versions (
    id INTEGER PRIMARY KEY,
    bucket TEXT NOT NULL, key TEXT NOT NULL, version TEXT NOT NULL, ord BLOB NOT NULL,
    kind INTEGER NOT NULL,                -- 0 object, 1 delete marker
    size INTEGER NOT NULL,
    facts BLOB NOT NULL,                  -- sealed, with the checksum
    uid BLOB NOT NULL, record BLOB NOT NULL,
    file TEXT NOT NULL, offset INTEGER NOT NULL, length INTEGER NOT NULL,
    sequence INTEGER NOT NULL, stored_at INTEGER NOT NULL,
    terms INTEGER                         -- what the receipt says beyond this row
);
CREATE UNIQUE INDEX versions_name ON versions (bucket, key, version);
CREATE INDEX versions_latest ON versions (bucket, key, ord, version);
CREATE TABLE terms (id INTEGER PRIMARY KEY, json TEXT NOT NULL UNIQUE);
CREATE TABLE marks (
    bucket TEXT NOT NULL, key TEXT NOT NULL, version TEXT NOT NULL,
    kind INTEGER NOT NULL,                -- 0 tags, 1 purge, 2 hold
    ord BLOB NOT NULL, sequence INTEGER NOT NULL,
    tags BLOB,                            -- or what a hold says, sealed
    uid BLOB NOT NULL, record BLOB NOT NULL,
    file TEXT NOT NULL, offset INTEGER NOT NULL, length INTEGER NOT NULL,
    PRIMARY KEY (bucket, key, version, kind)
) WITHOUT ROWID;
CREATE TABLE files (
    file TEXT PRIMARY KEY, synced INTEGER NOT NULL, objects INTEGER NOT NULL,
    live INTEGER NOT NULL, closed INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX files_open ON files (file) WHERE closed = 0;
CREATE TABLE buckets (
    bucket TEXT PRIMARY KEY, objects INTEGER NOT NULL, bytes INTEGER NOT NULL,
    delete_markers INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE uploads (
    uid BLOB PRIMARY KEY, record BLOB NOT NULL,
    bucket TEXT NOT NULL, key TEXT NOT NULL, version TEXT NOT NULL, ord BLOB NOT NULL,
    facts BLOB NOT NULL,                  -- sealed
    part_size INTEGER NOT NULL, file TEXT NOT NULL, origin TEXT NOT NULL,
    begun_at INTEGER NOT NULL, touched_at INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX uploads_name ON uploads (bucket, key, version);
CREATE TABLE parts (
    uid BLOB NOT NULL, part INTEGER NOT NULL, commitment BLOB NOT NULL,
    crc BLOB NOT NULL,                    -- sealed
    PRIMARY KEY (uid, part)
) WITHOUT ROWID;
CREATE TABLE audit (leaf INTEGER PRIMARY KEY, json TEXT NOT NULL, hash BLOB NOT NULL);
";

/// A rebuild that was cut off must not pass for a whole catalog.
const V2: &str = "ALTER TABLE site ADD COLUMN rebuilding INTEGER NOT NULL DEFAULT 0;";

/// Damaged bytes, and how far the scrub has come.
const V3: &str = "
CREATE TABLE quarantine (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    bucket TEXT NOT NULL, key TEXT NOT NULL, version TEXT NOT NULL,
    uid BLOB NOT NULL,
    file TEXT NOT NULL, offset INTEGER NOT NULL, length INTEGER NOT NULL,
    found_at INTEGER NOT NULL, cause TEXT NOT NULL,
    repaired_at INTEGER                   -- none while the version is damaged
);
CREATE UNIQUE INDEX quarantine_damaged ON quarantine (bucket, key, version)
    WHERE repaired_at IS NULL;
CREATE INDEX quarantine_file ON quarantine (file);
ALTER TABLE files ADD COLUMN dead_since INTEGER;
CREATE TABLE scrub (one INTEGER PRIMARY KEY CHECK (one = 1), state TEXT NOT NULL);
";

/// Sealing in two layers: the outer one's key record and commitment, none in one layer.
const V4: &str = "
ALTER TABLE versions ADD COLUMN second_record BLOB;
ALTER TABLE marks ADD COLUMN second_record BLOB;
ALTER TABLE uploads ADD COLUMN second_record BLOB;
ALTER TABLE parts ADD COLUMN outer_commitment BLOB;
CREATE INDEX versions_inner ON versions (record, second_record) WHERE second_record IS NOT NULL;
CREATE INDEX versions_outer ON versions (second_record, record) WHERE second_record IS NOT NULL;
CREATE INDEX marks_inner ON marks (record, second_record) WHERE second_record IS NOT NULL;
CREATE INDEX marks_outer ON marks (second_record, record) WHERE second_record IS NOT NULL;
";

/// How many bytes rest under each key record.
const V5: &str = "
ALTER TABLE records ADD COLUMN bytes INTEGER NOT NULL DEFAULT 0;
UPDATE records SET bytes = sums.bytes
    FROM (SELECT record, sum(size) AS bytes FROM (
        SELECT record, size FROM versions WHERE kind = 0 UNION ALL
        SELECT second_record, size FROM versions WHERE kind = 0 AND second_record IS NOT NULL
    ) GROUP BY record) AS sums
    WHERE sums.record = records.id;
";

/// What others keep beside all of it.
const V6: &str = "
CREATE TABLE notes (
    name TEXT PRIMARY KEY,
    bytes BLOB NOT NULL                   -- sealed
) WITHOUT ROWID;
";

/// How much rests here of what each peer sent.
const SENDERS: &str = "
CREATE TABLE senders (
    sender TEXT PRIMARY KEY, objects INTEGER NOT NULL, bytes INTEGER NOT NULL
) WITHOUT ROWID;
INSERT INTO senders
    SELECT json_extract(terms.json, '$.session.sender') AS sender, count(*), sum(size)
    FROM versions JOIN terms ON terms.id = versions.terms
    WHERE kind = 0 GROUP BY sender HAVING sender IS NOT NULL;
";

/// What the catalog's writer keeps between transactions.
#[derive(Debug, Clone)]
pub(super) struct CatalogState {
    pub(super) site: SiteRow,
    frontier: merkle::Frontier,
    rebuilding: bool,
    site_changed: bool,
    /// The site as it is durable.
    published: Arc<Mutex<SiteRow>>,
    /// The last sequence given out.
    reserved: Arc<AtomicU64>,
    /// Whether it is rebuilding, as it is durable.
    shown_rebuilding: Arc<AtomicBool>,
}

impl CatalogState {
    /// Reads the site, or makes it when the database is new.
    pub(super) fn load(db: &Connection, new: SiteRow) -> Result<Self> {
        let nothing = merkle::Frontier::default().to_bytes();
        let values = params![new.site.0, new.epoch.0, nothing];
        change(
            db,
            "INSERT INTO site (one, site, epoch, sequence, leaves, frontier)
             VALUES (1, ?1, ?2, 0, 0, ?3) ON CONFLICT DO NOTHING",
            values,
        )?;
        let (site, frontier) = read_site(db)?;
        let rebuilding = read_rebuilding(db)?;
        Ok(Self {
            site,
            frontier,
            rebuilding,
            site_changed: false,
            published: Arc::new(Mutex::new(site)),
            reserved: Arc::new(AtomicU64::new(site.sequence)),
            shown_rebuilding: Arc::new(AtomicBool::new(rebuilding)),
        })
    }

    pub(super) fn published(&self) -> Arc<Mutex<SiteRow>> {
        Arc::clone(&self.published)
    }

    pub(super) fn reserved(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.reserved)
    }

    pub(super) fn is_rebuilding(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.shown_rebuilding)
    }

    pub(super) fn set_rebuilding(&mut self, rebuilding: bool) {
        self.rebuilding = rebuilding;
        self.site_changed = true;
    }

    /// The sequence of a commit whose METAs say at most `highest`.
    pub(super) fn take_sequence(&mut self, highest: u64) -> u64 {
        self.raise_sequence(highest.max(self.site.sequence + 1))
    }

    pub(super) fn raise_sequence(&mut self, sequence: u64) -> u64 {
        self.site.sequence = self.site.sequence.max(sequence);
        self.site_changed = true;
        // Reserved even if this commit fails: a gap harms nothing.
        self.reserved
            .fetch_max(self.site.sequence, Ordering::Relaxed);
        self.site.sequence
    }

    pub(super) fn set_epoch(&mut self, epoch: Epoch) {
        self.site.epoch = epoch;
        self.site_changed = true;
    }

    /// Appends leaves to the audit log.
    pub(super) fn append(
        &mut self,
        db: &Connection,
        records: impl IntoIterator<Item = AuditRecord>,
    ) -> Result<()> {
        let mut insert = prepare(db, "INSERT INTO audit VALUES (?1, ?2, ?3)")?;
        for record in records {
            let index = self.frontier.size();
            let body = LeafBody::new(index, record);
            let json = serde_json::to_string(&body).map_err(|error| LedgerError::BadRow {
                table: "audit",
                finding: error.to_string(),
            })?;
            let hash = merkle::leaf_hash(json.as_bytes());
            let values = params![int("leaf", index)?, json, hash];
            run(&mut insert, values)?;
            self.frontier.push(hash);
            self.site_changed = true;
        }
        Ok(())
    }
}

/// The site's row and the edge of its audit log.
pub(super) fn read_site(db: &Connection) -> Result<(SiteRow, merkle::Frontier)> {
    let found = first(
        db,
        "SELECT site, epoch, sequence, leaves, frontier FROM site",
        [],
        |row| {
            let mut columns = Columns::new("site", row);
            let site = SiteRow {
                site: SiteId(columns.bytes()?),
                epoch: Epoch(columns.bytes()?),
                sequence: columns.uint()?,
            };
            let (leaves, edge) = (columns.uint()?, columns.value::<Vec<u8>>()?);
            let frontier = merkle::Frontier::from_bytes(leaves, &edge);
            let bad = || columns.bad("the edge of the audit log does not fit its size".to_owned());
            Ok((site, frontier.ok_or_else(bad)?))
        },
    )?;
    found.ok_or_else(|| LedgerError::BadRow {
        table: "site",
        finding: "no row".to_owned(),
    })
}

fn read_rebuilding(db: &Connection) -> Result<bool> {
    let found = first(db, "SELECT rebuilding FROM site", [], |row| {
        Columns::new("site", row).value::<bool>()
    })?;
    Ok(found.unwrap_or_default())
}

impl State for CatalogState {
    type Note = AuditRecord;

    fn write_notes(&mut self, db: &Connection, notes: &[AuditRecord]) -> Result<()> {
        self.append(db, notes.iter().cloned())
    }

    fn before_commit(&mut self, db: &Connection) -> Result<()> {
        if !std::mem::take(&mut self.site_changed) {
            return Ok(());
        }
        let values = params![
            self.site.epoch.0,
            int("sequence", self.site.sequence)?,
            int("leaf", self.frontier.size())?,
            self.frontier.to_bytes(),
            self.rebuilding,
        ];
        let sql = "UPDATE site SET epoch = ?1, sequence = ?2, leaves = ?3, frontier = ?4,
                       rebuilding = ?5";
        change(db, sql, values).map(drop)
    }

    fn after_commit(&mut self) {
        *self.published.lock() = self.site;
        self.shown_rebuilding
            .store(self.rebuilding, Ordering::Release);
    }
}
