//! Transfers that are queued again. Receipts stay: they say what was there before.

use rusqlite::{Connection, params};
use sealift_terms::{PeerName, Reason, RuleName, Status, Timestamp, VersionName};

use super::{
    batches::disown,
    columns::{Columns, above_prefix, all, change, int},
    journal_state::{JournalState, status_code},
};
use crate::{Requeue, Result};

pub(super) fn requeue(
    db: &Connection,
    state: &mut JournalState,
    which: &Requeue,
    now: Timestamp,
) -> Result<u64> {
    // ?2, ?3 and ?4 are compared only where the condition names them.
    let (condition, a, b, c) = match which {
        Requeue::All => ("{status} IN (0, 2)", None, None, None),
        Requeue::Failed(peer) => (
            "{status} = 2 AND (?2 IS NULL OR peer = ?2)",
            peer.as_ref().and_then(text),
            None,
            None,
        ),
        Requeue::Rule(rule) => ("{status} IN (0, 2) AND rule = ?2", text(rule), None, None),
        Requeue::Peer(peer) => ("{status} IN (0, 2) AND peer = ?2", text(peer), None, None),
        Requeue::Keys {
            bucket,
            prefix,
            exact: true,
        } => (
            "{status} IN (0, 2) AND bucket = ?2 AND key = ?3",
            text(bucket),
            text(prefix),
            None,
        ),
        Requeue::Keys { bucket, prefix, .. } => (
            "{status} IN (0, 2) AND bucket = ?2 AND key >= ?3 AND (?4 IS NULL OR key < ?4)",
            text(bucket),
            text(prefix),
            above_prefix(prefix),
        ),
        Requeue::Damaged { peer, name } => {
            return requeue_version(db, state, (peer, name), true, now);
        }
        Requeue::Version { peer, name } => {
            return requeue_version(db, state, (peer, name), false, now);
        }
        Requeue::LeftOut(id) => (
            "{status} = 4 AND id = CAST(?2 AS INTEGER)",
            Some(int("transfer number", id.0)?.to_string()),
            None,
            None,
        ),
        Requeue::CompletedAfter { peer, sequence } => (
            "{status} = 1 AND peer = ?2 AND id IN (SELECT transfer FROM receipts
                 WHERE sequence > CAST(?3 AS INTEGER))",
            text(peer),
            Some(int("sequence", *sequence)?.to_string()),
            None,
        ),
    };
    disown(db, state, condition, (&a, &b, &c), now)?;
    // What is held back comes no earlier.
    let condition = condition.replace("{status}", "status");
    let condition = format!(
        "{condition} AND (status <> 0 OR coalesce(reason, '') NOT IN ('PurgeHeld', 'BatchPaused'))"
    );
    count_as_pending(db, state, &condition, (&a, &b, &c))?;
    let sql = format!(
        "UPDATE transfers SET of_batch = iif(status = 0, of_batch, 0),
             status = 0, next_try = ?1, updated_at = ?1, attempts = 0,
             reason = iif(status = 4, NULL, reason), evidence = iif(status = 4, NULL, evidence)
         WHERE {condition} AND ?2 IS ?2 AND ?3 IS ?3
             AND ?4 IS ?4"
    );
    let queued = change(db, &sql, params![now.as_millis(), a, b, c])?;
    Ok(queued as u64)
}

/// The version's content and delete marker; tags and purges stay where they are. Of what the peer found
/// damaged only what it had, or was given up.
fn requeue_version(
    db: &Connection,
    state: &mut JournalState,
    (peer, name): (&PeerName, &VersionName),
    is_damaged: bool,
    now: Timestamp,
) -> Result<u64> {
    let sql = "SELECT id, rule, status, size FROM transfers
         WHERE bucket = ?1 AND key = ?2 AND peer = ?3 AND version = ?4 AND kind IN (0, 1)";
    let [bucket, key, version] = [
        name.bucket.as_str(),
        name.key.as_str(),
        name.version.as_str(),
    ];
    let find = || {
        let values = params![bucket, key, peer.as_str(), version];
        all(db, sql, values, |row| {
            let mut columns = Columns::new("transfers", row);
            let (id, rule): (i64, RuleName) = (columns.value()?, columns.name()?);
            Ok((id, rule, columns.value::<i64>()?, columns.value::<i64>()?))
        })
    };
    for (id, ..) in find()? {
        let condition = match is_damaged {
            true => "b.transfer = CAST(?2 AS INTEGER) AND {status} IN (1, 2)",
            false => "b.transfer = CAST(?2 AS INTEGER)",
        };
        let id = Some(id.to_string());
        disown(db, state, condition, (&id, &None, &None), now)?;
    }
    let mut rows = find()?;
    if is_damaged {
        let had = [Status::Completed, Status::Failed].map(status_code);
        rows.retain(|(_, _, status, _)| had.contains(status));
    }
    let pending = status_code(Status::Pending);
    let (reason, evidence) = is_damaged
        .then_some((
            Reason::DstObjectDamaged.as_str(),
            "the peer has found its copy damaged",
        ))
        .unzip();
    for (id, rule, status, size) in &rows {
        let sql = "UPDATE transfers SET status = ?2, next_try = ?3, updated_at = ?3, attempts = 0,
                   reason = ?4, evidence = ?5, of_batch = 0 WHERE id = ?1";
        change(
            db,
            sql,
            params![id, pending, now.as_millis(), reason, evidence],
        )?;
        state.count(rule, peer, *status, -1, -size);
        state.count(rule, peer, pending, 1, *size);
    }
    Ok(rows.len() as u64)
}

fn text(name: &impl AsRef<str>) -> Option<String> {
    Some(name.as_ref().to_owned())
}

fn count_as_pending(
    db: &Connection,
    state: &mut JournalState,
    condition: &str,
    (a, b, c): (&Option<String>, &Option<String>, &Option<String>),
) -> Result<()> {
    let sql = format!(
        "SELECT rule, peer, status, count(*), sum(size) FROM transfers
         WHERE {condition} AND ?1 IS ?1 AND ?2 IS ?2 AND ?3 IS ?3 AND ?4 IS ?4
         GROUP BY rule, peer, status"
    );
    let nothing = None::<i64>;
    let moved = all(db, &sql, params![nothing, a, b, c], |row| {
        let mut columns = Columns::new("transfers", row);
        let (rule, peer) = (columns.name()?, columns.name()?);
        let status: i64 = columns.value()?;
        Ok((rule, peer, status, columns.value()?, columns.value()?))
    })?;
    for (rule, peer, status, objects, bytes) in moved {
        let (objects, bytes): (i64, i64) = (objects, bytes);
        state.count(&rule, &peer, status, -objects, -bytes);
        state.count(&rule, &peer, status_code(Status::Pending), objects, bytes);
    }
    Ok(())
}
