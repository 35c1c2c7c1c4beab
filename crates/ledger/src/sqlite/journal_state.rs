//! The journal's schema, and what its writer keeps in memory.

use std::{
    collections::{HashMap, HashSet},
    convert::Infallible,
    sync::Arc,
};

use parking_lot::Mutex;
use rusqlite::{Connection, params};
use sealift_terms::{PeerName, RuleName, Status};

use super::{
    batches::paused_count,
    columns::{Columns, change, first, int},
    database::Schema,
    writer::State,
};
use crate::{HighWater, Result};

pub(super) const SCHEMA: Schema = Schema {
    name: "journal",
    application_id: 0x534c_4a4e,
    migrations: &[V1, V2, V3, V4, V5, V6, V7, V8],
};

const V1: &str = "
CREATE TABLE meta (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    clock BLOB NOT NULL,             -- u64, big-endian
    change INTEGER NOT NULL,
    last_transfer INTEGER NOT NULL   -- numbers are never used twice
);
INSERT INTO meta VALUES (1, x'0000000000000000', 0, 0);
CREATE TABLE known (
    bucket TEXT NOT NULL, key TEXT NOT NULL,
    version TEXT NOT NULL, ord BLOB NOT NULL, deleted INTEGER NOT NULL, size INTEGER NOT NULL,
    PRIMARY KEY (bucket, key)
) WITHOUT ROWID;
CREATE TABLE transfers (
    id INTEGER PRIMARY KEY,
    rule TEXT NOT NULL, peer TEXT NOT NULL,
    bucket TEXT NOT NULL, key TEXT NOT NULL, version TEXT NOT NULL,
    ord BLOB NOT NULL,
    kind INTEGER NOT NULL,           -- 0 put, 1 delete marker, 2 tags, 3 purge
    size INTEGER NOT NULL,
    facts BLOB NOT NULL,             -- sealed
    status INTEGER NOT NULL,         -- 0 pending, 1 completed, 2 failed, 4 skipped
    reason TEXT, evidence TEXT,
    attempts INTEGER NOT NULL,
    next_try INTEGER NOT NULL, recorded_at INTEGER NOT NULL, updated_at INTEGER NOT NULL
);
-- Apart from the transfers, whose rows so keep their length when they complete.
CREATE TABLE receipts (
    transfer INTEGER PRIMARY KEY, size INTEGER NOT NULL,
    checksum BLOB NOT NULL,          -- sealed
    uid BLOB NOT NULL, record BLOB NOT NULL,
    sequence INTEGER NOT NULL, stored_at INTEGER NOT NULL,
    terms INTEGER NOT NULL, signature TEXT
);
CREATE TABLE terms (id INTEGER PRIMARY KEY, json TEXT NOT NULL UNIQUE);
CREATE UNIQUE INDEX transfers_change ON transfers
    (bucket, key, peer, version, kind, (CASE kind WHEN 2 THEN ord ELSE x'' END));
CREATE INDEX transfers_due ON transfers (peer, next_try, id) WHERE status = 0;
CREATE INDEX transfers_oldest ON transfers (rule, peer, recorded_at) WHERE status = 0;
CREATE INDEX transfers_failed ON transfers (id) WHERE status = 2;
CREATE TABLE counts (
    rule TEXT NOT NULL, peer TEXT NOT NULL, status INTEGER NOT NULL,
    objects INTEGER NOT NULL, bytes INTEGER NOT NULL, folded INTEGER NOT NULL,
    PRIMARY KEY (rule, peer, status)
) WITHOUT ROWID;
CREATE TABLE unsupported (
    bucket TEXT NOT NULL, name TEXT NOT NULL, reason TEXT NOT NULL, evidence TEXT NOT NULL
);
CREATE INDEX unsupported_bucket ON unsupported (bucket);
CREATE TABLE peers (
    peer TEXT PRIMARY KEY, site BLOB NOT NULL, epoch BLOB NOT NULL,
    sequence INTEGER NOT NULL, seen_at INTEGER NOT NULL
) WITHOUT ROWID;
";

/// What was refused is tried again once the peer allows something else.
const V2: &str = "ALTER TABLE peers ADD COLUMN policy INTEGER;";

/// What was there before the first scan is told from what came later. Older journals did
/// not tell.
const V3: &str = "
CREATE TABLE scanned (bucket TEXT PRIMARY KEY) WITHOUT ROWID;
INSERT INTO scanned SELECT DISTINCT bucket FROM known;
";

/// Buckets of the site's own archive are sources as well.
const V4: &str = "
CREATE TABLE followed (
    bucket TEXT PRIMARY KEY, epoch BLOB NOT NULL, sequence INTEGER NOT NULL,
    rules INTEGER NOT NULL
) WITHOUT ROWID;
";

/// What applications write through the endpoint is remembered before it goes out. A number is
/// never given twice.
const V5: &str = "
CREATE TABLE intents (
    id INTEGER PRIMARY KEY AUTOINCREMENT, bucket TEXT NOT NULL, key TEXT NOT NULL,
    at INTEGER NOT NULL
);
CREATE INDEX intents_bucket ON intents (bucket, id);
";

/// What somebody queued, and how it stood before, so that it can be taken back.
const V6: &str = "
CREATE TABLE batches (
    id INTEGER PRIMARY KEY AUTOINCREMENT, what TEXT NOT NULL,
    state INTEGER NOT NULL,          -- 0 running, 1 paused, 2 cancelled
    begun_at INTEGER NOT NULL, changed_at INTEGER NOT NULL
);
CREATE TABLE batched (
    batch INTEGER NOT NULL, transfer INTEGER NOT NULL,
    mark INTEGER NOT NULL,           -- 0 its own, 1 owed without it, 2 taken back, 3 over,
                                     -- 4 over, and the next three are what became of it
    was INTEGER,                     -- its status before; none where it was not there
    reason TEXT, evidence TEXT, attempts INTEGER, updated_at INTEGER,
    PRIMARY KEY (batch, transfer)
) WITHOUT ROWID;
CREATE INDEX batched_transfer ON batched (transfer);
CREATE INDEX batched_own ON batched (batch, transfer) WHERE mark = 0;
";

/// Whether a write may change the tags of a version, and of which, if one is named. Older
/// journals did not tell: both are looked at.
const V7: &str = "
ALTER TABLE intents ADD COLUMN tags INTEGER NOT NULL DEFAULT 1;
ALTER TABLE intents ADD COLUMN version TEXT;
";

/// What batches alone want sent is neither lag nor a missed RPO.
const V8: &str = "
ALTER TABLE transfers ADD COLUMN of_batch INTEGER NOT NULL DEFAULT 0;
UPDATE transfers SET of_batch = 1 WHERE status = 0 AND EXISTS
    (SELECT 1 FROM batched WHERE transfer = transfers.id AND mark = 0);
DROP INDEX transfers_oldest;
CREATE INDEX transfers_oldest ON transfers (rule, peer, of_batch, recorded_at) WHERE status = 0;
";

/// A status as it is stored.
pub(super) fn status_code(status: Status) -> i64 {
    match status {
        Status::Pending => 0,
        Status::Completed => 1,
        Status::Failed => 2,
        Status::Replica => 3,
        Status::Skipped => 4,
    }
}

pub(super) fn status_from(code: i64) -> Option<Status> {
    Status::ALL
        .into_iter()
        .find(|status| status_code(*status) == code)
}

#[derive(Debug, Clone, Copy, Default)]
struct Delta {
    objects: i64,
    bytes: i64,
    folded: i64,
}

/// What the journal's writer keeps between transactions.
#[derive(Debug, Clone)]
pub(super) struct JournalState {
    pub(super) high_water: HighWater,
    pub(super) last_transfer: u64,
    /// Whether a batch is paused.
    pub(super) pauses: bool,
    meta_changed: bool,
    deltas: HashMap<(RuleName, PeerName, i64), Delta>,
    /// Leases that end with this transaction.
    ended: Vec<u64>,
    leases: Arc<Mutex<HashSet<u64>>>,
}

impl JournalState {
    pub(super) fn load(db: &Connection, leases: Arc<Mutex<HashSet<u64>>>) -> Result<Self> {
        let (high_water, last_transfer) = read_meta(db)?;
        Ok(Self {
            high_water,
            last_transfer,
            pauses: paused_count(db)? > 0,
            meta_changed: false,
            deltas: HashMap::new(),
            ended: Vec::new(),
            leases,
        })
    }

    /// The number of the next transfer, if it comes to be.
    pub(super) fn next_transfer(&self) -> u64 {
        self.last_transfer + 1
    }

    pub(super) fn take_transfer(&mut self) {
        self.last_transfer += 1;
        self.meta_changed = true;
    }

    pub(super) fn raise(&mut self, clock: u64, change: u64) {
        let high = &mut self.high_water;
        high.clock = high.clock.max(clock);
        high.change = high.change.max(change);
        self.meta_changed = true;
    }

    pub(super) fn count(
        &mut self,
        rule: &RuleName,
        peer: &PeerName,
        status: i64,
        objects: i64,
        bytes: i64,
    ) {
        let delta = self
            .deltas
            .entry((rule.clone(), peer.clone(), status))
            .or_default();
        delta.objects += objects;
        delta.bytes += bytes;
    }

    pub(super) fn count_folded(&mut self, rule: &RuleName, peer: &PeerName, status: i64) {
        self.deltas
            .entry((rule.clone(), peer.clone(), status))
            .or_default()
            .folded += 1;
    }

    pub(super) fn end_lease(&mut self, id: u64) {
        self.ended.push(id);
    }

    /// Takes a lease that ends with this transaction; whether nobody has it.
    pub(super) fn lease_and_end(&mut self, id: u64) -> bool {
        let is_free = self.leases.lock().insert(id);
        if is_free {
            self.ended.push(id);
        }
        is_free
    }
}

pub(super) fn read_meta(db: &Connection) -> Result<(HighWater, u64)> {
    let found = first(
        db,
        "SELECT clock, change, last_transfer FROM meta",
        [],
        |row| {
            let mut columns = Columns::new("meta", row);
            let clock = u64::from_be_bytes(columns.bytes()?);
            let change = columns.uint()?;
            Ok((HighWater { clock, change }, columns.uint()?))
        },
    )?;
    Ok(found.unwrap_or_default())
}

impl State for JournalState {
    type Note = Infallible;

    fn write_notes(&mut self, _: &Connection, _: &[Infallible]) -> Result<()> {
        Ok(())
    }

    fn before_commit(&mut self, db: &Connection) -> Result<()> {
        for ((rule, peer, status), delta) in self.deltas.drain() {
            change(
                db,
                "INSERT INTO counts VALUES (?1, ?2, ?3, ?4, ?5, ?6)
                 ON CONFLICT DO UPDATE SET objects = objects + excluded.objects,
                     bytes = bytes + excluded.bytes, folded = folded + excluded.folded",
                params![
                    rule.as_str(),
                    peer.as_str(),
                    status,
                    delta.objects,
                    delta.bytes,
                    delta.folded
                ],
            )?;
        }
        if std::mem::take(&mut self.meta_changed) {
            change(
                db,
                "UPDATE meta SET clock = ?1, change = ?2, last_transfer = ?3",
                params![
                    self.high_water.clock.to_be_bytes(),
                    int("change number", self.high_water.change)?,
                    int("transfer number", self.last_transfer)?,
                ],
            )?;
        }
        Ok(())
    }

    fn after_commit(&mut self) {
        if !self.ended.is_empty() {
            let mut leases = self.leases.lock();
            for id in self.ended.drain(..) {
                leases.remove(&id);
            }
        }
    }
}
