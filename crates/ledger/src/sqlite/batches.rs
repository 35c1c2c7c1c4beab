//! Batches, and what they queued.
//!
//! A row of `batched` says how a transfer stood before the batch queued it, and once that is
//! past what became of it for the batch. Its receipt stays where it is, and counts again when
//! it is completed again.

use rusqlite::{Connection, Row, params};
use sealift_terms::{BatchId, PeerName, Reason, RuleName, Status, Timestamp, VersionName, limits};

use super::{
    columns::{Columns, all, change, evidence, first, int, limit},
    journal_rows::{TRANSFER, transfer},
    journal_state::{JournalState, status_code, status_from},
    journal_write::{SealedChange, record},
    sealing::Sealing,
};
use crate::{
    Batch, BatchCounts, BatchState, Batched, LedgerError, Result,
    batches::{Mark, NEVER, cancelled, paused},
};

const TABLE: &str = "batched";

pub(super) fn state_code(state: BatchState) -> i64 {
    match state {
        BatchState::Running => 0,
        BatchState::Paused => 1,
        BatchState::Cancelled => 2,
    }
}

fn state_from(code: i64) -> Option<BatchState> {
    let all = [
        BatchState::Running,
        BatchState::Paused,
        BatchState::Cancelled,
    ];
    all.into_iter().find(|state| state_code(*state) == code)
}

fn number(batch: BatchId) -> Result<i64> {
    int("batch", batch.0)
}

pub(super) fn begin(db: &Connection, what: &str, at: Timestamp) -> Result<Option<BatchId>> {
    let count = first(db, "SELECT count(*) FROM batches", [], |row| {
        Columns::new("batches", row).uint()
    })?;
    let over = count.unwrap_or_default().saturating_add(1);
    let over = over.saturating_sub(limits::BATCHES_MAX as u64);
    if over > 0 && !forget_oldest(db)? {
        return Ok(None);
    }
    let sql = "INSERT INTO batches (what, state, begun_at, changed_at) VALUES (?1, 0, ?2, ?2)";
    change(db, sql, params![evidence(what), at.as_millis()])?;
    Ok(Some(BatchId(db.last_insert_rowid().cast_unsigned())))
}

/// Forgets the oldest batch of which nothing is to be sent any more; whether there was one.
fn forget_oldest(db: &Connection) -> Result<bool> {
    let sql = "SELECT id FROM batches WHERE NOT EXISTS (SELECT 1 FROM batched b
                   JOIN transfers t ON t.id = b.transfer
                   WHERE b.batch = batches.id AND b.mark NOT IN (2, 4) AND t.status = 0)
               ORDER BY id LIMIT 1";
    let oldest = first(db, sql, [], |row| {
        Columns::new("batches", row).value::<i64>()
    })?;
    if let Some(id) = oldest {
        change(db, "DELETE FROM batched WHERE batch = ?1", [id])?;
        change(db, "DELETE FROM batches WHERE id = ?1", [id])?;
    }
    Ok(oldest.is_some())
}

fn state_of(db: &Connection, batch: BatchId) -> Result<Option<BatchState>> {
    let sql = "SELECT state FROM batches WHERE id = ?1";
    first(db, sql, [number(batch)?], |row| {
        state(&mut Columns::new("batches", row))
    })
}

fn state(columns: &mut Columns<'_, '_>) -> Result<BatchState> {
    let code = columns.value()?;
    state_from(code).ok_or_else(|| columns.bad(format!("state {code}")))
}

pub(super) fn enlist(
    db: &Connection,
    journal: &mut JournalState,
    batch: BatchId,
    (versions, new): (&[(PeerName, VersionName)], &[SealedChange]),
    at: Timestamp,
) -> Result<Option<BatchState>> {
    let state = match state_of(db, batch)? {
        Some(state @ (BatchState::Running | BatchState::Paused)) => state,
        other => return Ok(other),
    };
    for (peer, name) in versions {
        let values = params![
            name.bucket.as_str(),
            name.key.as_str(),
            peer.as_str(),
            name.version.as_str()
        ];
        let rows = all(db, STOOD_OF_VERSION, values, stood)?;
        for row in rows {
            queue(db, journal, batch, &row, at)?;
        }
    }
    for sealed in new {
        let before = journal.last_transfer;
        for id in record(db, journal, std::slice::from_ref(sealed), at)? {
            let id = int("transfer number", id.0)?;
            if id.cast_unsigned() > before {
                let sql = "INSERT INTO batched (batch, transfer, mark) VALUES (?1, ?2, 0)";
                change(db, sql, [number(batch)?, id])?;
                change(db, "UPDATE transfers SET of_batch = 1 WHERE id = ?1", [id])?;
                hold_if_paused(db, id)?;
            } else if let Some(row) = first(db, STOOD_OF_ID, [id], stood)? {
                queue(db, journal, batch, &row, at)?;
            }
        }
    }
    Ok(Some(state))
}

/// A transfer before a batch queues it.
struct Stood {
    id: i64,
    rule: RuleName,
    peer: PeerName,
    status: i64,
    size: i64,
}

const STOOD_OF_VERSION: &str = "SELECT id, rule, peer, status, size FROM transfers
    WHERE bucket = ?1 AND key = ?2 AND peer = ?3 AND version = ?4 AND kind IN (0, 1)";
const STOOD_OF_ID: &str = "SELECT id, rule, peer, status, size FROM transfers WHERE id = ?1";

fn stood(row: &Row<'_>) -> Result<Stood> {
    let mut columns = Columns::new("transfers", row);
    Ok(Stood {
        id: columns.value()?,
        rule: columns.name()?,
        peer: columns.name()?,
        status: columns.value()?,
        size: columns.value()?,
    })
}

/// Queues what is there already, and remembers how it stood.
fn queue(
    db: &Connection,
    journal: &mut JournalState,
    batch: BatchId,
    row: &Stood,
    at: Timestamp,
) -> Result<()> {
    let pending = status_code(Status::Pending);
    let batch = number(batch)?;
    if row.status == pending {
        // It stood before as the first batch that queued it remembers; without one it was due.
        let sql = "INSERT OR IGNORE INTO batched
            SELECT ?1, transfer, mark, was, reason, evidence, attempts, updated_at FROM batched
            WHERE transfer = ?2 AND mark = 0 ORDER BY batch LIMIT 1";
        change(db, sql, [batch, row.id])?;
        let sql = "INSERT OR IGNORE INTO batched (batch, transfer, mark) VALUES (?1, ?2, 1)";
        change(db, sql, [batch, row.id])?;
    } else {
        keep_outcome(db, row.id)?;
        let sql = "INSERT OR REPLACE INTO batched
            SELECT ?1, id, 0, status, reason, evidence, attempts, updated_at FROM transfers
            WHERE id = ?2";
        change(db, sql, [batch, row.id])?;
        journal.count(&row.rule, &row.peer, row.status, -1, -row.size);
        journal.count(&row.rule, &row.peer, pending, 1, row.size);
    }
    let sql = "UPDATE transfers SET of_batch = iif(status = 0, of_batch, 1), status = 0,
               next_try = ?2, updated_at = ?2, attempts = 0, reason = NULL, evidence = NULL
               WHERE id = ?1";
    change(db, sql, params![row.id, at.as_millis()])?;
    hold_if_paused(db, row.id)
}

/// Remembers for batches what became of a transfer, which is not pending and about to be queued
/// again.
pub(super) fn keep_outcome(db: &Connection, id: i64) -> Result<()> {
    let sql = "UPDATE batched SET mark = 4, was = t.status, reason = t.reason,
                   evidence = t.evidence FROM transfers t
               WHERE t.id = ?1 AND batched.transfer = t.id AND batched.mark IN (0, 1, 3)";
    change(db, sql, [id]).map(drop)
}

/// The state that matters most of the batches whose own a transfer is: one that runs has it
/// sent, and one that is paused has it wait, whatever others say.
fn wanted(db: &Connection, id: i64) -> Result<Option<i64>> {
    let sql = "SELECT min(s.state) FROM batched b JOIN batches s ON s.id = b.batch
               WHERE b.transfer = ?1 AND b.mark = 0";
    let found = first(db, sql, [id], |row| {
        Columns::new(TABLE, row).value::<Option<i64>>()
    })?;
    Ok(found.flatten())
}

/// Holds back what waits for batches that are paused alone.
pub(super) fn hold_if_paused(db: &Connection, id: i64) -> Result<()> {
    if wanted(db, id)? != Some(state_code(BatchState::Paused)) {
        return Ok(());
    }
    let sql = "SELECT max(b.batch) FROM batched b JOIN batches s ON s.id = b.batch
               WHERE b.transfer = ?1 AND b.mark = 0 AND s.state = 1";
    let batch = first(db, sql, [id], |row| Columns::new(TABLE, row).uint())?;
    let seen = paused(BatchId(batch.unwrap_or_default()));
    let sql = "UPDATE transfers SET next_try = ?2, reason = ?3, evidence = ?4
               WHERE id = ?1 AND status = 0";
    let reason = Reason::BatchPaused.as_str();
    change(db, sql, params![id, NEVER.as_millis(), reason, seen]).map(drop)
}

/// Lets what nobody holds back any more go.
fn let_go(db: &Connection, id: i64, now: Timestamp) -> Result<()> {
    let sql = "UPDATE transfers SET next_try = ?2, reason = NULL, evidence = NULL
               WHERE id = ?1 AND status = 0 AND reason = 'BatchPaused'";
    change(db, sql, params![id, now.as_millis()]).map(drop)
}

/// Says what becomes of a batch. What it queued follows by [`align`].
pub(super) fn set(
    db: &Connection,
    journal: &mut JournalState,
    batch: BatchId,
    to: BatchState,
    at: Timestamp,
) -> Result<bool> {
    let sql = "UPDATE batches SET state = ?2, changed_at = ?3 WHERE id = ?1 AND state < 2";
    let values = params![number(batch)?, state_code(to), at.as_millis()];
    let is_set = change(db, sql, values)? > 0;
    journal.pauses = paused_count(db)? > 0;
    Ok(is_set)
}

pub(super) fn paused_count(db: &Connection) -> Result<u64> {
    let sql = "SELECT count(*) FROM batches WHERE state = 1";
    let found = first(db, sql, [], |row| Columns::new("batches", row).uint())?;
    Ok(found.unwrap_or_default())
}

/// Batches of which something may not stand as they say: those that are cancelled, and, after
/// a stop in the middle, those that are paused or run while something is held back.
pub(super) fn to_align(db: &Connection, stopped: bool) -> Result<Vec<BatchId>> {
    let sql = "SELECT id FROM batches WHERE (state = 2 OR (?1 AND (state = 1 OR EXISTS
                   (SELECT 1 FROM transfers WHERE status = 0 AND next_try = ?2))))
               AND EXISTS (SELECT 1 FROM batched WHERE batch = id AND mark = 0)";
    all(db, sql, params![stopped, NEVER.as_millis()], |row| {
        Columns::new("batches", row).uint().map(BatchId)
    })
}

/// What a batch queued, as it is looked at to bring it in line.
struct Own {
    batch: BatchId,
    id: i64,
    before: Option<Before>,
    status: i64,
    size: i64,
    rule: RuleName,
    peer: PeerName,
}

/// How it stood.
#[derive(Clone)]
struct Before {
    status: i64,
    reason: Option<String>,
    evidence: Option<String>,
    attempts: i64,
    updated_at: i64,
}

/// The columns that [`own`] reads, of `batched b` and `transfers t`.
const OWN: &str = "b.batch, b.transfer, b.was, b.reason, b.evidence, b.attempts, b.updated_at,
    t.status, t.size, t.rule, t.peer";

fn own(row: &Row<'_>) -> Result<Own> {
    let mut columns = Columns::new(TABLE, row);
    let batch = BatchId(columns.uint()?);
    let id = columns.value()?;
    let was: Option<i64> = columns.value()?;
    let (reason, evidence) = (columns.value()?, columns.value()?);
    let (attempts, updated_at): (Option<i64>, Option<i64>) = (columns.value()?, columns.value()?);
    Ok(Own {
        batch,
        id,
        before: was.map(|status| Before {
            status,
            reason,
            evidence,
            attempts: attempts.unwrap_or_default(),
            updated_at: updated_at.unwrap_or_default(),
        }),
        status: columns.value()?,
        size: columns.value()?,
        rule: columns.name()?,
        peer: columns.name()?,
    })
}

/// Brings up to `rows` of what a batch queued in line with it, behind `after`; where to go on.
pub(super) fn align(
    db: &Connection,
    journal: &mut JournalState,
    (batch, after, rows): (BatchId, i64, usize),
    now: Timestamp,
) -> Result<Option<i64>> {
    let Some(state) = state_of(db, batch)? else {
        return Ok(None);
    };
    let sql = format!(
        "SELECT {OWN} FROM batched b JOIN transfers t ON t.id = b.transfer
         WHERE b.batch = ?1 AND b.mark = 0 AND b.transfer > ?2 ORDER BY b.transfer LIMIT ?3"
    );
    let found = all(db, &sql, params![number(batch)?, after, limit(rows)], own)?;
    for row in &found {
        match state {
            BatchState::Cancelled => take_back(db, journal, row, now)?,
            BatchState::Running | BatchState::Paused if row.status != 0 => {}
            _ if wanted(db, row.id)? == Some(0) => let_go(db, row.id, now)?,
            // What is leased, too: it has its outcome, or waits once it is released.
            _ => hold_if_paused(db, row.id)?,
        }
    }
    Ok(found.last().map(|row| row.id))
}

fn take_back(db: &Connection, journal: &mut JournalState, row: &Own, now: Timestamp) -> Result<()> {
    let batch = number(row.batch)?;
    let mark = |mark: Mark| {
        let sql = "UPDATE batched SET mark = ?3 WHERE batch = ?1 AND transfer = ?2";
        change(db, sql, [batch, row.id, mark.code()]).map(drop)
    };
    if row.status != status_code(Status::Pending) {
        return keep_outcome(db, row.id);
    }
    let sql = "SELECT 1 FROM batched WHERE transfer = ?1 AND mark = 0 AND batch <> ?2 LIMIT 1";
    let of_another = first(db, sql, [row.id, batch], |row| {
        Columns::new(TABLE, row).value::<i64>()
    })?;
    if of_another.is_some() {
        mark(Mark::TakenBack)?;
        return hold_if_paused(db, row.id);
    }
    // Nobody leases it while it is put back. What is leased has its outcome first.
    if !journal.lease_and_end(row.id.cast_unsigned()) {
        return Ok(());
    }
    mark(Mark::TakenBack)?;
    put_back(db, journal, row, now)
}

/// Puts a transfer back as it stood.
fn put_back(db: &Connection, journal: &mut JournalState, row: &Own, now: Timestamp) -> Result<()> {
    let of_nothing = || Before {
        status: status_code(Status::Skipped),
        reason: Some(Reason::BatchCancelled.as_str().to_owned()),
        evidence: Some(cancelled(row.batch)),
        attempts: 0,
        updated_at: now.as_millis(),
    };
    let before = row.before.clone().unwrap_or_else(of_nothing);
    let sql = "UPDATE transfers SET status = ?2, reason = ?3, evidence = ?4, attempts = ?5,
               updated_at = ?6, next_try = ?6, of_batch = 0 WHERE id = ?1";
    let values = params![
        row.id,
        before.status,
        before.reason,
        before.evidence,
        before.attempts,
        before.updated_at
    ];
    change(db, sql, values)?;
    journal.count(&row.rule, &row.peer, row.status, -1, -row.size);
    journal.count(&row.rule, &row.peer, before.status, 1, row.size);
    Ok(())
}

/// Remembers for batches what became of each transfer that is about to be queued again.
/// `condition` is of a transfer whose status is `{status}`; `values` are its `?2` to `?4`.
fn keep_outcomes(
    db: &Connection,
    condition: &str,
    (a, b, c): (&Option<String>, &Option<String>, &Option<String>),
) -> Result<()> {
    let condition = condition.replace("{status}", "t.status");
    let sql = format!(
        "SELECT DISTINCT b.transfer FROM batched b JOIN transfers t ON t.id = b.transfer
         WHERE b.mark IN (0, 1, 3) AND t.status <> 0 AND {condition}
             AND ?1 IS ?1 AND ?2 IS ?2 AND ?3 IS ?3 AND ?4 IS ?4 LIMIT {OWED_AT_ONCE}"
    );
    loop {
        let ids = all(db, &sql, params![None::<i64>, a, b, c], |row| {
            Columns::new(TABLE, row).value::<i64>()
        })?;
        if ids.is_empty() {
            return Ok(());
        }
        for id in ids {
            keep_outcome(db, id)?;
        }
    }
}

/// Rows that are looked at at once.
const OWED_AT_ONCE: usize = 1000;

/// What is queued again whatever becomes of the batches that queued it first stands as before
/// them, for whoever queues it, and is not theirs any more. `condition` is of a transfer whose
/// status is `{status}`; `values` are its `?2` to `?4`.
pub(super) fn disown(
    db: &Connection,
    journal: &mut JournalState,
    condition: &str,
    (a, b, c): (&Option<String>, &Option<String>, &Option<String>),
    now: Timestamp,
) -> Result<()> {
    keep_outcomes(db, condition, (a, b, c))?;
    let stood = "(CASE t.status WHEN 0 THEN b.was ELSE t.status END)";
    let condition = condition.replace("{status}", stood);
    let sql = format!(
        "SELECT {OWN} FROM batched b JOIN transfers t ON t.id = b.transfer
         WHERE b.mark = 0 AND {condition} AND ?1 IS ?1 AND ?2 IS ?2 AND ?3 IS ?3 AND ?4 IS ?4
         LIMIT {OWED_AT_ONCE}"
    );
    loop {
        let owed = all(db, &sql, params![None::<i64>, a, b, c], own)?;
        if owed.is_empty() {
            return Ok(());
        }
        for row in owed {
            let sql = "UPDATE batched SET mark = 1 WHERE transfer = ?1 AND mark = 0";
            // The rows of other batches say the same.
            if change(db, sql, [row.id])? > 0 && row.status == status_code(Status::Pending) {
                put_back(db, journal, &row, now)?;
            }
        }
    }
}

pub(super) fn forget_transfer(db: &Connection, id: i64) -> Result<()> {
    change(db, "DELETE FROM batched WHERE transfer = ?1", [id]).map(drop)
}

const BATCH: &str = "SELECT id, what, state, begun_at, changed_at FROM batches";

fn batch(db: &Connection, row: &Row<'_>) -> Result<Batch> {
    let mut columns = Columns::new("batches", row);
    let id = BatchId(columns.uint()?);
    Ok(Batch {
        id,
        what: columns.value()?,
        state: state(&mut columns)?,
        begun_at: columns.time()?,
        changed_at: columns.time()?,
        counts: counts(db, id)?,
    })
}

fn counts(db: &Connection, batch: BatchId) -> Result<BatchCounts> {
    let mut counts = BatchCounts::default();
    let sql = format!(
        "SELECT {STANDING}, count(*), sum(t.size) FROM batched b
         JOIN transfers t ON t.id = b.transfer WHERE b.batch = ?1 GROUP BY 1, 2, 3"
    );
    let sums = all(db, &sql, [number(batch)?], |row| {
        let mut columns = Columns::new(TABLE, row);
        let (mark, status, reason) = standing(&mut columns)?;
        let standing = mark.standing(status, reason);
        Ok((standing, columns.uint()?, columns.uint()?))
    })?;
    for (standing, versions, bytes) in sums {
        counts.add(standing, versions, bytes);
    }
    Ok(counts)
}

/// The columns that [`standing`] reads, of `batched b` and `transfers t`.
const STANDING: &str =
    "b.mark, iif(b.mark = 4, b.was, t.status), iif(b.mark = 4, b.reason, t.reason)";

fn standing(columns: &mut Columns<'_, '_>) -> Result<(Mark, Status, Option<Reason>)> {
    let (mark, status): (i64, i64) = (columns.value()?, columns.value()?);
    let found = Mark::ALL.into_iter().find(|known| known.code() == mark);
    let mark = found.ok_or_else(|| columns.bad(format!("mark {mark}")))?;
    let status = status_from(status).ok_or_else(|| columns.bad(format!("status {status}")))?;
    Ok((mark, status, columns.name_or_none()?))
}

pub(super) fn one(db: &Connection, id: BatchId) -> Result<Option<Batch>> {
    let sql = format!("{BATCH} WHERE id = ?1");
    first(db, &sql, [number(id)?], |row| batch(db, row))
}

pub(super) fn every(db: &Connection) -> Result<Vec<Batch>> {
    let sql = format!("{BATCH} ORDER BY id DESC");
    all(db, &sql, [], |row| batch(db, row))
}

/// Transfers that a batch queued: those behind `after`, or one.
pub(super) fn page(
    db: &Connection,
    sealing: &Sealing,
    of: BatchId,
    (after, until, rows): (i64, i64, i64),
) -> Result<Vec<Batched>> {
    let sql = format!(
        "SELECT {STANDING}, b.transfer, b.evidence FROM batched b
         JOIN transfers t ON t.id = b.transfer
         WHERE b.batch = ?1 AND b.transfer > ?2 AND b.transfer <= ?3
         ORDER BY b.transfer LIMIT ?4"
    );
    let values = params![number(of)?, after, until, rows];
    let marks = all(db, &sql, values, |row| {
        let mut columns = Columns::new(TABLE, row);
        let (mark, status, reason) = standing(&mut columns)?;
        let id: i64 = columns.value()?;
        let outcome = (status, reason, columns.value()?);
        let outcome = (mark == Mark::Past).then_some(outcome);
        Ok((mark.standing(status, reason), id, outcome))
    })?;
    let sql = format!("{TRANSFER} WHERE id = ?1");
    let each = marks.into_iter().map(|(standing, id, outcome)| {
        let found = first(db, &sql, [id], |row| transfer(db, row, sealing))?;
        let mut transfer = found.ok_or_else(|| LedgerError::BadRow {
            table: TABLE,
            finding: format!("transfer {id} is not there"),
        })?;
        if let Some((status, reason, evidence)) = outcome {
            (transfer.status, transfer.reason, transfer.evidence) = (status, reason, evidence);
        }
        Ok(Batched { transfer, standing })
    });
    each.collect()
}
