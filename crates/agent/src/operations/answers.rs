//! Rows of the databases as rows of answers.

use sealift_ledger::{RecordRow, Transfer, VersionKind, VersionRow};
use sealift_terms::{ChangeKind, Reason, SecondKey, Status};

use crate::admin::{ObjectRow, Sealing};

/// A version that rests here.
pub(super) fn replica(row: &VersionRow, latest: bool) -> ObjectRow {
    ObjectRow {
        bucket: row.name.bucket.clone(),
        key: row.name.key.clone(),
        version: row.name.version.clone(),
        kind: match row.kind {
            VersionKind::Object => ChangeKind::Put,
            VersionKind::DeleteMarker => ChangeKind::DeleteMarker,
        },
        size: row.facts.size,
        status: Status::Replica,
        reason: row.quarantined.then_some(Reason::DstObjectDamaged),
        peer: None,
        latest,
        last_modified: row.facts.last_modified,
        mode: row.facts.system.get("posix-mode").cloned(),
        stored_at: Some(row.stored_at),
        sealing: None,
        removal_held: false,
        facts: None,
    }
}

/// How it rests, with what is known of its key records.
pub(super) fn sealing(row: &VersionRow, record: &RecordRow, second: Option<RecordRow>) -> Sealing {
    Sealing {
        object_uid: row.object_uid,
        record: row.record,
        cmk: record.cmk.clone(),
        cmk_version: record.cmk_version.clone(),
        second: second.map(|second| SecondKey {
            record: second.id,
            cmk: second.cmk,
            cmk_version: second.cmk_version,
        }),
        file: row.location.file.clone(),
        offset: row.location.offset,
        length: row.location.length,
    }
}

/// A change on its way to a peer.
pub(super) fn sent(transfer: &Transfer, latest: bool) -> ObjectRow {
    let change = &transfer.change;
    ObjectRow {
        bucket: change.name.bucket.clone(),
        key: change.name.key.clone(),
        version: change.name.version.clone(),
        kind: change.kind,
        size: change.facts.size,
        status: transfer.status,
        reason: transfer.reason,
        peer: Some(transfer.peer.clone()),
        latest,
        last_modified: change.facts.last_modified,
        mode: change.facts.system.get("posix-mode").cloned(),
        stored_at: transfer.receipt.as_ref().map(|receipt| receipt.stored_at),
        sealing: None,
        removal_held: false,
        facts: None,
    }
}
