//! The journal's rows as types.

use std::collections::HashSet;

use rusqlite::{Connection, Row, params};
use sealift_terms::{
    BucketName, Change, ChangeKind, ObjectKey, ObjectUid, PeerName, Receipt, RecordId, Status,
    Timestamp, TransferId, VersionName,
};

use super::{
    columns::{Columns, all, first, int},
    journal_state::{status_code, status_from},
    sealing::Sealing,
    terms::StoredTerms,
};
use crate::{
    Count, KnownKey, LedgerError, PurgeSent, Result, SentVersion, Transfer, TransferStanding,
};

/// The columns and table that [`transfer`] reads.
///
/// The receipt is read by a query of its own: an outer join with a bound
/// condition makes SQLite prepare the statement again at every execution.
pub(super) const TRANSFER: &str = "SELECT id, rule, peer, bucket, key, version, ord, kind, facts,
    status, reason, evidence, attempts, next_try, recorded_at, updated_at,
    status = 4 AND EXISTS (SELECT 1 FROM receipts WHERE transfer = id), of_batch FROM transfers";

/// The columns that [`standing`] reads.
pub(super) const STANDING: &str = "peer, version, kind, status, reason";

const RECEIPT: &str = "SELECT size, checksum, uid, record, sequence, stored_at, signature,
    (SELECT json FROM terms WHERE terms.id = receipts.terms) FROM receipts WHERE transfer = ?1";

/// The columns that [`known_key`] reads.
pub(super) const KNOWN: &str = "key, version, ord, deleted, size";

pub(super) fn kind_code(kind: ChangeKind) -> i64 {
    match kind {
        ChangeKind::Put => 0,
        ChangeKind::DeleteMarker => 1,
        ChangeKind::Tags => 2,
        ChangeKind::Purge => 3,
    }
}

fn kind_from(code: i64) -> Option<ChangeKind> {
    [
        ChangeKind::Put,
        ChangeKind::DeleteMarker,
        ChangeKind::Tags,
        ChangeKind::Purge,
    ]
    .into_iter()
    .find(|kind| kind_code(*kind) == code)
}

pub(super) fn transfer(db: &Connection, row: &Row<'_>, sealing: &Sealing) -> Result<Transfer> {
    let mut columns = Columns::new("transfers", row);
    let id = TransferId(columns.uint()?);
    let (rule, peer) = (columns.name()?, columns.name()?);
    let name = VersionName {
        bucket: columns.name()?,
        key: columns.name()?,
        version: columns.name()?,
    };
    let order = columns.order()?;
    let kind = columns.value()?;
    let kind = kind_from(kind).ok_or_else(|| columns.bad(format!("kind {kind}")))?;
    let facts = columns.blob(|facts| sealing.open("transfer facts", &name, facts))?;
    let status = columns.value()?;
    let status = status_from(status).ok_or_else(|| columns.bad(format!("status {status}")))?;
    let (reason, evidence) = (columns.name_or_none()?, columns.value()?);
    let attempts = columns.value()?;
    let (next_try, recorded_at, updated_at) = (columns.time()?, columns.time()?, columns.time()?);
    let (was_there, of_batch) = (columns.value()?, columns.value()?);
    let receipt = match status {
        Status::Completed => receipt(db, sealing, id, &name)?,
        _ => None,
    };
    let change = Change {
        name,
        order,
        kind,
        facts,
    };
    Ok(Transfer {
        id,
        rule,
        peer,
        change,
        status,
        reason,
        evidence,
        attempts,
        next_try,
        recorded_at,
        updated_at,
        receipt,
        was_there,
        of_batch,
    })
}

pub(super) fn standing(row: &Row<'_>) -> Result<TransferStanding> {
    let mut columns = Columns::new("transfers", row);
    let (peer, version) = (columns.name()?, columns.name()?);
    let kind = columns.value()?;
    let kind = kind_from(kind).ok_or_else(|| columns.bad(format!("kind {kind}")))?;
    let status = columns.value()?;
    let status = status_from(status).ok_or_else(|| columns.bad(format!("status {status}")))?;
    Ok(TransferStanding {
        peer,
        version,
        kind,
        status,
        reason: columns.name_or_none()?,
    })
}

fn receipt(
    db: &Connection,
    sealing: &Sealing,
    id: TransferId,
    name: &VersionName,
) -> Result<Option<Receipt>> {
    let id = int("transfer number", id.0)?;
    first(db, RECEIPT, [id], |row| {
        let mut columns = Columns::new("receipts", row);
        let size = columns.uint()?;
        let checksum: Vec<u8> = columns.value()?;
        let checksum = sealing.open("receipt checksum", name, &checksum)?;
        let object_uid = ObjectUid(columns.bytes()?);
        let record = RecordId(columns.bytes()?);
        let (sequence, stored_at) = (columns.uint()?, columns.time()?);
        let signature = columns.value()?;
        let terms = StoredTerms::read(&columns.value::<String>()?)?;
        Ok(Receipt {
            name: name.clone(),
            size,
            checksum,
            object_uid,
            record,
            cmk: terms.cmk,
            cmk_version: terms.cmk_version,
            second: terms.second,
            region: terms.region,
            site: terms.site,
            epoch: terms.epoch,
            sequence,
            stored_at,
            session: terms.session,
            signature,
        })
    })
}

pub(super) fn known_key(row: &Row<'_>) -> Result<KnownKey> {
    let mut columns = Columns::new("known", row);
    Ok(KnownKey {
        key: columns.name()?,
        version: columns.name()?,
        order: columns.order()?,
        deleted: columns.value()?,
        size: columns.uint()?,
    })
}

/// Keys are never empty, so all of them come after the empty string.
pub(super) fn after_key(after: Option<&ObjectKey>) -> String {
    after.map_or_else(String::new, |key| key.as_str().to_owned())
}

pub(super) fn counts(db: &Connection) -> Result<Vec<Count>> {
    let mut counts = all(
        db,
        "SELECT rule, peer, status, objects, bytes, folded FROM counts
         WHERE objects > 0 OR folded > 0 ORDER BY rule, peer, status",
        [],
        |row| {
            let mut columns = Columns::new("counts", row);
            let (rule, peer) = (columns.name()?, columns.name()?);
            let status = columns.value()?;
            Ok(Count {
                rule,
                peer,
                status: status_from(status)
                    .ok_or_else(|| columns.bad(format!("status {status}")))?,
                objects: columns.uint()?,
                bytes: columns.uint()?,
                folded_objects: columns.uint()?,
                oldest: None,
                is_expected: false,
            })
        },
    )?;
    for count in &mut counts {
        if count.status == Status::Pending {
            count.oldest = oldest_owed(db, count)?;
            count.is_expected = count.oldest.is_some() || is_sent_for_batches(db, count)?;
        }
    }
    Ok(counts)
}

fn oldest_owed(db: &Connection, count: &Count) -> Result<Option<sealift_terms::Timestamp>> {
    debug_assert_eq!(status_code(count.status), 0);
    let found = all(
        db,
        "SELECT min(recorded_at) FROM transfers WHERE status = 0 AND rule = ?1 AND peer = ?2
             AND of_batch = 0 AND coalesce(reason, '') <> 'PurgeHeld'",
        params![count.rule.as_str(), count.peer.as_str()],
        |row| Columns::new("transfers", row).value::<Option<i64>>(),
    )?;
    let oldest = found.into_iter().flatten().next();
    Ok(oldest.map(sealift_terms::Timestamp::from_millis))
}

/// Whether anything waits that batches alone want sent, and that is not held back.
fn is_sent_for_batches(db: &Connection, count: &Count) -> Result<bool> {
    let found = first(
        db,
        "SELECT 1 FROM transfers WHERE status = 0 AND rule = ?1 AND peer = ?2
             AND of_batch = 1 AND coalesce(reason, '') <> 'BatchPaused' LIMIT 1",
        params![count.rule.as_str(), count.peer.as_str()],
        |row| Columns::new("transfers", row).value::<i64>(),
    )?;
    Ok(found.is_some())
}

/// In the order of the index of changes.
pub(super) fn sent_page(
    db: &Connection,
    bucket: &BucketName,
    after: Option<&SentVersion>,
    rows: i64,
) -> Result<Vec<SentVersion>> {
    let sql = "SELECT t.key, t.peer, t.version, t.kind, p.status, p.updated_at FROM transfers t
         LEFT JOIN transfers p ON p.bucket = t.bucket AND p.key = t.key AND p.peer = t.peer
             AND p.version = t.version AND p.kind = 3
         WHERE t.bucket = ?1 AND (t.key, t.peer, t.version, t.kind) > (?2, ?3, ?4, ?5)
             AND t.status = 1 AND t.kind < 2
         ORDER BY t.key, t.peer, t.version, t.kind LIMIT ?6";
    let text = |of: fn(&SentVersion) -> &str| after.map(of).unwrap_or_default();
    let values = params![
        bucket.as_str(),
        text(|sent| sent.key.as_str()),
        text(|sent| sent.peer.as_str()),
        text(|sent| sent.version.as_str()),
        after.map_or(-1, |sent| kind_code(sent.kind)),
        rows
    ];
    all(db, sql, values, |row| {
        let mut columns = Columns::new("transfers", row);
        let (key, peer, version) = (columns.name()?, columns.name()?, columns.name()?);
        let kind = columns.value()?;
        let kind = kind_from(kind).ok_or_else(|| columns.bad(format!("kind {kind}")))?;
        let (status, at) = (
            columns.value::<Option<i64>>()?,
            columns.value::<Option<i64>>()?,
        );
        let purge = status.zip(at).and_then(|(status, at)| {
            Some(PurgeSent {
                status: status_from(status)?,
                updated_at: Timestamp::from_millis(at),
            })
        });
        Ok(SentVersion {
            key,
            peer,
            version,
            kind,
            purge,
        })
    })
}

/// Up to `rows` transfers to `peer` that are due `now` and not leased.
pub(super) fn due(
    db: &Connection,
    sealing: &Sealing,
    (peer, rows, now): (&PeerName, usize, Timestamp),
    leases: &HashSet<u64>,
) -> Result<Vec<Transfer>> {
    let sql = format!(
        "{TRANSFER} WHERE status = 0 AND peer = ?1 AND next_try <= ?2 ORDER BY next_try, id"
    );
    let mut statement = db
        .prepare_cached(&sql)
        .map_err(LedgerError::at("prepare"))?;
    let mut found = statement
        .query(params![peer.as_str(), now.as_millis()])
        .map_err(LedgerError::at("query"))?;
    let mut due = Vec::new();
    while due.len() < rows {
        let Some(row) = found.next().map_err(LedgerError::at("read rows"))? else {
            break;
        };
        // The first column is the number; the others are not read in vain.
        if !leases.contains(&Columns::new("transfers", row).uint()?) {
            due.push(transfer(db, row, sealing)?);
        }
    }
    Ok(due)
}

pub(super) fn known_page(
    db: &Connection,
    bucket: &BucketName,
    after: &str,
    rows: i64,
) -> Result<Vec<KnownKey>> {
    let sql =
        format!("SELECT {KNOWN} FROM known WHERE bucket = ?1 AND key > ?2 ORDER BY key LIMIT ?3");
    all(db, &sql, params![bucket.as_str(), after, rows], known_key)
}

/// Known keys that live, of which a peer has no transfer of the latest version.
pub(super) fn unsent_page(
    db: &Connection,
    place: (&BucketName, &PeerName),
    after: &str,
    rows: i64,
) -> Result<Vec<KnownKey>> {
    let which = "deleted = 0 AND NOT EXISTS (SELECT 1 FROM transfers t WHERE t.bucket = k.bucket
                     AND t.key = k.key AND t.peer = ?3 AND t.version = k.version)";
    known_of_peer(db, which, place, after, rows)
}

/// Known keys that were removed, of which the last thing that a peer was sent, or is to be, is
/// a version.
pub(super) fn unremoved_page(
    db: &Connection,
    place: (&BucketName, &PeerName),
    after: &str,
    rows: i64,
) -> Result<Vec<KnownKey>> {
    let which = "deleted = 1 AND (SELECT kind FROM transfers t WHERE t.bucket = k.bucket
                     AND t.key = k.key AND t.peer = ?3 AND t.kind < 2 AND (t.status <> 4
                         OR EXISTS (SELECT 1 FROM receipts WHERE transfer = t.id))
                     ORDER BY t.ord DESC LIMIT 1) = 0";
    known_of_peer(db, which, place, after, rows)
}

fn known_of_peer(
    db: &Connection,
    which: &str,
    (bucket, peer): (&BucketName, &PeerName),
    after: &str,
    rows: i64,
) -> Result<Vec<KnownKey>> {
    let sql = format!(
        "SELECT {KNOWN} FROM known k WHERE bucket = ?1 AND key > ?2 AND {which}
         ORDER BY key LIMIT ?4"
    );
    let values = params![bucket.as_str(), after, peer.as_str(), rows];
    all(db, &sql, values, known_key)
}
