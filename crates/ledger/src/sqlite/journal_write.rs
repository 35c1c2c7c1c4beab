//! The journal's requests, as they run on its writer.

use rusqlite::{CachedStatement, Connection, params};
use sealift_terms::{
    BucketName, Change, ChangeKind, PeerName, Receipt, RuleName, Status, Timestamp, TransferId,
    limits,
};

use super::{
    batches::{forget_transfer, hold_if_paused},
    columns::{Columns, all, change, evidence, first, int, limit, order_bytes, prepare, run},
    journal_rows::kind_code,
    journal_state::{JournalState, status_code},
    terms::LastTerms,
};
use crate::{
    LedgerError, NewChange, Result, Settlement, Skip, TransferOutcome, UnsupportedName, held_back,
};

/// A change with its facts sealed, which was done on the caller's thread.
pub(super) struct SealedChange {
    pub(super) new: NewChange,
    pub(super) facts: Vec<u8>,
}

pub(super) fn record(
    db: &Connection,
    state: &mut JournalState,
    changes: &[SealedChange],
    at: Timestamp,
) -> Result<Vec<TransferId>> {
    let mut ids = Vec::with_capacity(changes.len());
    let mut know = prepare(db, KNOW)?;
    let mut insert = prepare(db, INSERT)?;
    for sealed in changes {
        let what = &sealed.new.change;
        let ord = order_bytes(&what.order);
        state.raise(what.order.clock, what.order.change);
        learn(&mut know, what, &ord)?;
        for to in &sealed.new.destinations {
            let row = NewRow {
                what,
                ord: &ord,
                facts: &sealed.facts,
                rule: &to.rule,
                peer: &to.peer,
                skip: to.skip.as_ref(),
                held_until: sealed.new.held_until.filter(|until| *until > at),
                due: sealed.new.due(at),
                at,
            };
            ids.push(TransferId(add(db, &mut insert, state, &row)?));
        }
    }
    Ok(ids)
}

const KNOW: &str = "INSERT INTO known VALUES (?1, ?2, ?3, ?4, ?5, ?6) ON CONFLICT DO UPDATE SET
        version = excluded.version, ord = excluded.ord, deleted = excluded.deleted,
        size = excluded.size
    WHERE excluded.ord > known.ord";

fn learn(know: &mut CachedStatement<'_>, what: &Change, ord: &[u8]) -> Result<()> {
    if !what.kind.is_version() {
        return Ok(());
    }
    let values = params![
        what.name.bucket.as_str(),
        what.name.key.as_str(),
        what.name.version.as_str(),
        ord,
        what.kind == ChangeKind::DeleteMarker,
        int("size", what.facts.size)?,
    ];
    run(know, values).map(drop)
}

struct NewRow<'a> {
    what: &'a Change,
    ord: &'a [u8],
    facts: &'a [u8],
    rule: &'a RuleName,
    peer: &'a PeerName,
    skip: Option<&'a Skip>,
    held_until: Option<Timestamp>,
    due: Timestamp,
    at: Timestamp,
}

impl NewRow<'_> {
    /// Why it is not simply to be sent, and what was seen.
    fn reason(&self) -> (Option<&'static str>, Option<String>) {
        let held = self.held_until.map(held_back);
        match (self.skip, held) {
            (Some(skip), _) => (Some(skip.reason.as_str()), Some(skip.evidence.clone())),
            (None, Some((reason, evidence))) => (Some(reason.as_str()), Some(evidence)),
            (None, None) => (None, None),
        }
    }
}

const INSERT: &str = "INSERT INTO transfers VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11,
        ?12, ?13, 0, ?15, ?14, ?14, 0) ON CONFLICT DO NOTHING";

fn add(
    db: &Connection,
    insert: &mut CachedStatement<'_>,
    state: &mut JournalState,
    row: &NewRow<'_>,
) -> Result<u64> {
    let id = state.next_transfer();
    let status = status_code(match row.skip {
        None => Status::Pending,
        Some(_) => Status::Skipped,
    });
    let (name, size) = (&row.what.name, int("size", row.what.facts.size)?);
    let (reason, seen) = row.reason();
    let inserted = run(
        insert,
        params![
            int("transfer number", id)?,
            row.rule.as_str(),
            row.peer.as_str(),
            name.bucket.as_str(),
            name.key.as_str(),
            name.version.as_str(),
            row.ord,
            kind_code(row.what.kind),
            size,
            row.facts,
            status,
            reason,
            seen.as_deref().map(evidence),
            row.at.as_millis(),
            row.due.as_millis(),
        ],
    )?;
    if inserted == 0 {
        let there = existing(db, row)?;
        if row.what.kind == ChangeKind::Purge && row.skip.is_none() {
            revive(db, state, there, row)?;
        }
        return Ok(there);
    }
    state.take_transfer();
    state.count(row.rule, row.peer, status, 1, size);
    Ok(id)
}

fn existing(db: &Connection, row: &NewRow<'_>) -> Result<u64> {
    let name = &row.what.name;
    let found = first(
        db,
        "SELECT id FROM transfers WHERE bucket = ?1 AND key = ?2 AND peer = ?3 AND version = ?4
             AND kind = ?5 AND (kind <> 2 OR ord = ?6)",
        params![
            name.bucket.as_str(),
            name.key.as_str(),
            row.peer.as_str(),
            name.version.as_str(),
            kind_code(row.what.kind),
            row.ord,
        ],
        |row| Columns::new("transfers", row).uint(),
    )?;
    found.ok_or_else(|| LedgerError::BadRow {
        table: "transfers",
        finding: format!("{name} is there and cannot be found"),
    })
}

/// Queues a purge again that was given up or left out.
fn revive(db: &Connection, state: &mut JournalState, id: u64, row: &NewRow<'_>) -> Result<()> {
    let [failed, skipped] = [Status::Failed, Status::Skipped].map(status_code);
    let number = int("transfer number", id)?;
    let sql = "SELECT rule, status, size FROM transfers WHERE id = ?1 AND status IN (?2, ?3)";
    let was = first(db, sql, [number, failed, skipped], |row| {
        let mut columns = Columns::new("transfers", row);
        let rule: RuleName = columns.name()?;
        Ok((rule, columns.value::<i64>()?, columns.value::<i64>()?))
    })?;
    let Some((rule, status, size)) = was else {
        return Ok(());
    };
    let (reason, seen) = row.reason();
    change(
        db,
        "UPDATE transfers SET status = 0, rule = ?2, ord = ?3, reason = ?4, evidence = ?5,
             next_try = ?6, updated_at = ?7, attempts = 0 WHERE id = ?1",
        params![
            number,
            row.rule.as_str(),
            row.ord,
            reason,
            seen.as_deref().map(evidence),
            row.due.as_millis(),
            row.at.as_millis(),
        ],
    )?;
    state.count(&rule, row.peer, status, -1, -size);
    state.count(row.rule, row.peer, status_code(Status::Pending), 1, size);
    Ok(())
}

/// A settlement with the checksum of its receipt sealed.
pub(super) struct SealedSettlement {
    pub(super) settlement: Settlement,
    pub(super) checksum: Option<Vec<u8>>,
}

/// What a settlement must know of its row.
struct Settled {
    rule: RuleName,
    peer: PeerName,
    status: i64,
    size: i64,
    of_receipt: bool,
}

pub(super) fn settle(
    db: &Connection,
    state: &mut JournalState,
    settlements: &[SealedSettlement],
) -> Result<()> {
    let mut completing = Completing {
        db,
        update: prepare(db, COMPLETE)?,
        insert: prepare(db, RECEIPT)?,
        terms: LastTerms::default(),
    };
    for sealed in settlements {
        let id = sealed.settlement.id;
        let row = find_settled(db, &sealed.settlement)?;
        state.end_lease(id.0);
        if row.status == status_code(Status::Completed) {
            continue;
        }
        let to = write_outcome(db, sealed, &mut completing)?;
        if state.pauses && to == status_code(Status::Pending) {
            hold_if_paused(db, int("transfer number", id.0)?)?;
        }
        state.count(&row.rule, &row.peer, row.status, -1, -row.size);
        state.count(&row.rule, &row.peer, to, 1, row.size);
    }
    Ok(())
}

fn find_settled(db: &Connection, settlement: &Settlement) -> Result<Settled> {
    let name = match &settlement.outcome {
        TransferOutcome::Completed(receipt) => Some(&receipt.name),
        _ => None,
    };
    let found = first(
        db,
        "SELECT rule, peer, status, size, bucket = ?2 AND key = ?3 AND version = ?4
         FROM transfers WHERE id = ?1",
        params![
            int("transfer number", settlement.id.0)?,
            name.map(|name| name.bucket.as_str()),
            name.map(|name| name.key.as_str()),
            name.map(|name| name.version.as_str()),
        ],
        |row| {
            let mut columns = Columns::new("transfers", row);
            Ok(Settled {
                rule: columns.name()?,
                peer: columns.name()?,
                status: columns.value()?,
                size: columns.value()?,
                of_receipt: columns.value::<Option<bool>>()?.unwrap_or(true),
            })
        },
    )?;
    found
        .filter(|row| row.of_receipt)
        .ok_or_else(|| LedgerError::NoSuchTransfer {
            id: settlement.id,
            name: name.cloned(),
        })
}

/// Writes the outcome; returns the code of the new status.
fn write_outcome(
    db: &Connection,
    sealed: &SealedSettlement,
    completing: &mut Completing<'_>,
) -> Result<i64> {
    let id = int("transfer number", sealed.settlement.id.0)?;
    let at = sealed.settlement.at.as_millis();
    let (status, reason, seen, next_try, attempts) = match &sealed.settlement.outcome {
        TransferOutcome::Completed(receipt) => {
            completing.complete(id, at, receipt, sealed.checksum.as_deref())?;
            return Ok(status_code(Status::Completed));
        }
        TransferOutcome::Deferred {
            reason,
            evidence,
            next_try,
        } => (Status::Pending, reason, evidence, next_try.as_millis(), 1),
        TransferOutcome::Failed { reason, evidence } => (Status::Failed, reason, evidence, at, 1),
        TransferOutcome::Skipped { reason, evidence } => (Status::Skipped, reason, evidence, at, 0),
    };
    change(
        db,
        "UPDATE transfers SET status = ?2, reason = ?3, evidence = ?4, next_try = ?5,
             attempts = attempts + ?6, updated_at = ?7 WHERE id = ?1",
        params![
            id,
            status_code(status),
            reason.as_str(),
            evidence(seen),
            next_try,
            attempts,
            at
        ],
    )?;
    Ok(status_code(status))
}

const COMPLETE: &str = "UPDATE transfers SET status = 1, reason = NULL, evidence = NULL,
    updated_at = ?2 WHERE id = ?1";
const RECEIPT: &str = "INSERT OR REPLACE INTO receipts VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)";

/// What completes the transfers of one request.
struct Completing<'a> {
    db: &'a Connection,
    update: CachedStatement<'a>,
    insert: CachedStatement<'a>,
    terms: LastTerms,
}

impl Completing<'_> {
    fn complete(
        &mut self,
        id: i64,
        at: i64,
        receipt: &Receipt,
        checksum: Option<&[u8]>,
    ) -> Result<()> {
        run(&mut self.update, [id, at])?;
        let values = params![
            id,
            int("size", receipt.size)?,
            checksum,
            receipt.object_uid.0,
            receipt.record.0,
            int("sequence", receipt.sequence)?,
            receipt.stored_at.as_millis(),
            self.terms.number(self.db, receipt)?,
            receipt.signature,
        ];
        run(&mut self.insert, values).map(drop)
    }
}

/// Rows that can be folded; found on a reading connection.
pub(super) fn foldable(
    db: &Connection,
    before: Timestamp,
    keep: &[RuleName],
    rows: usize,
) -> Result<Vec<u64>> {
    // The names of rules have no quotes in them.
    let keep: Vec<_> = keep.iter().map(|rule| format!("'{rule}'")).collect();
    let of_key = "bucket = t.bucket AND key = t.key AND peer = t.peer";
    let has_purge = format!(
        "EXISTS (SELECT 1 FROM transfers WHERE {of_key} AND version = t.version
             AND kind = 3 AND status = 1)"
    );
    let was_there = "EXISTS (SELECT 1 FROM receipts WHERE transfer = t.id)";
    let sql = format!(
        "SELECT t.id FROM transfers t
         LEFT JOIN known k ON k.bucket = t.bucket AND k.key = t.key
         WHERE t.status IN (1, 4) AND t.updated_at < ?1 AND (
             EXISTS (SELECT 1 FROM transfers WHERE {of_key} AND status = 1 AND ord > t.ord
                 AND (kind < 2 OR (kind = 2 AND t.kind = 2 AND version = t.version)))
             OR (coalesce(k.deleted, 0) = 1 AND ((t.status = 4 AND NOT {was_there})
                 OR t.kind = 3 OR {has_purge})))
             AND (t.kind = 2 OR t.status = 4 OR t.rule NOT IN ({})
                 OR (t.kind < 2 AND {has_purge})
                 OR (t.kind = 3 AND NOT EXISTS (SELECT 1 FROM transfers
                     WHERE {of_key} AND version = t.version AND kind < 2)))
         ORDER BY t.id LIMIT ?2",
        keep.join(", ")
    );
    all(db, &sql, params![before.as_millis(), limit(rows)], |row| {
        Columns::new("transfers", row).uint()
    })
}

pub(super) fn fold(
    db: &Connection,
    state: &mut JournalState,
    ids: &[u64],
    before: Timestamp,
) -> Result<u64> {
    let mut gone = 0;
    for id in ids {
        let row = first(
            db,
            "DELETE FROM transfers WHERE id = ?1 AND status IN (1, 4) AND updated_at < ?2
             RETURNING rule, peer, status, size",
            params![int("transfer number", *id)?, before.as_millis()],
            |row| {
                let mut columns = Columns::new("transfers", row);
                let (rule, peer) = (columns.name()?, columns.name()?);
                Ok((rule, peer, columns.value::<i64>()?, columns.value::<i64>()?))
            },
        )?;
        if let Some((rule, peer, status, size)) = row {
            state.count(&rule, &peer, status, -1, -size);
            state.count_folded(&rule, &peer, status);
            let sql = "DELETE FROM receipts WHERE transfer = ?1";
            let id = int("transfer number", *id)?;
            change(db, sql, [id])?;
            forget_transfer(db, id)?;
            gone += 1;
        }
    }
    Ok(gone)
}

pub(super) fn replace_unsupported(
    db: &Connection,
    bucket: &BucketName,
    names: &[UnsupportedName],
) -> Result<()> {
    change(
        db,
        "DELETE FROM unsupported WHERE bucket = ?1",
        [bucket.as_str()],
    )?;
    for name in names.iter().take(limits::UNSUPPORTED_NAMES_MAX) {
        change(
            db,
            "INSERT INTO unsupported VALUES (?1, ?2, ?3, ?4)",
            params![
                bucket.as_str(),
                evidence(&name.name),
                name.reason.as_str(),
                evidence(&name.evidence)
            ],
        )?;
    }
    Ok(())
}
