use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use sealift_host::OsDisk;
use sealift_terms::{Audit, AuditKind, AuditRecord, Status};

use super::{catalog_at, journal_at};
use crate::{
    AuditLog, BatchState, Catalog, Commit, Enlist, Journal, Settlement, Transfer, TransferOutcome,
    conformance::sample::{at, bucket, key, name, peer, put, receipt, record, version},
    log::LogJournal,
};

/// What a crash leaves: the files as they lie there, while the writer is still at work.
fn crash_image(path: &Path, to: &Path) -> PathBuf {
    let image = to.join("image.db");
    for suffix in ["", "-wal"] {
        let side = |path: &Path| PathBuf::from(format!("{}{suffix}", path.display()));
        std::fs::copy(side(path), side(&image)).unwrap();
    }
    image
}

#[tokio::test]
async fn the_journal_after_a_crash_has_what_was_answered_and_no_leases() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("journal.db");
    let journal = journal_at(&path);
    let changes = vec![put("a", 1, 10), put("b", 2, 10)];
    journal.record(changes, at(1)).await.unwrap();
    let leased = journal.lease(&peer("b"), 9, at(1)).await.unwrap();
    let outcome = TransferOutcome::Completed(Box::new(receipt(&leased[0].change.name, 5)));
    let settlement = Settlement {
        id: leased[0].id,
        at: at(2),
        outcome,
    };
    journal.settle(vec![settlement]).await.unwrap();

    let crashed = journal_at(&crash_image(&path, dir.path()));
    let done = crashed.transfer(leased[0].id).await.unwrap().unwrap();
    assert_eq!(done.status, Status::Completed);
    let again = crashed.lease(&peer("b"), 9, at(1)).await.unwrap();
    assert_eq!(again.len(), 1, "the other one is free again");
    assert_eq!(again[0].id, leased[1].id);
    assert_eq!(crashed.high_water().await.unwrap().change, 2);
    let next = crashed.record(vec![put("c", 3, 1)], at(3)).await.unwrap();
    assert!(next[0] > leased[1].id, "numbers are never used twice");
}

#[tokio::test]
async fn a_cancel_that_a_crash_cut_short_is_finished() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("journal.db");
    let journal = journal_at(&path);
    let changes = vec![put("done", 1, 10), put("new", 2, 10), put("own", 3, 10)];
    journal.record(changes, at(1)).await.unwrap();
    let [done, new, own] = &journal.lease(&peer("b"), 9, at(1)).await.unwrap()[..] else {
        panic!("three rows");
    };
    let settled = |transfer: &Transfer| Settlement {
        id: transfer.id,
        at: at(2),
        outcome: TransferOutcome::Completed(Box::new(receipt(&transfer.change.name, 5))),
    };
    let settlements = vec![settled(done), settled(new)];
    journal.settle(settlements).await.unwrap();
    journal.release(&[own.id]);
    let batches = [
        journal.begin_batch("one", at(3)).await.unwrap().unwrap(),
        journal.begin_batch("two", at(3)).await.unwrap().unwrap(),
    ];
    for (batch, row) in batches.into_iter().zip([done, new]) {
        let versions = vec![(row.peer.clone(), row.change.name.clone())];
        let what = Enlist {
            versions,
            new: Vec::new(),
        };
        journal.enlist(batch, what, at(3)).await.unwrap();
    }
    // One is on its way when its batch is cancelled; of the other nothing but its state is written.
    assert_eq!(journal.lease(&peer("b"), 9, at(3)).await.unwrap().len(), 3);
    let cancelled = BatchState::Cancelled;
    journal
        .set_batch(batches[0], cancelled, at(4))
        .await
        .unwrap();
    let image = crash_image(&path, dir.path());
    let db = rusqlite::Connection::open(&image).unwrap();
    let sql = "UPDATE batches SET state = 2 WHERE id = ?1";
    db.execute(sql, [batches[1].0.cast_signed()]).unwrap();
    drop(db);

    let crashed = journal_at(&image);
    let due = crashed.lease(&peer("b"), 9, at(5)).await.unwrap();
    let due: Vec<_> = due.into_iter().map(|row| row.id).collect();
    assert_eq!(due, [own.id], "what the source owes");
    for row in [done, new] {
        let stands = crashed.transfer(row.id).await.unwrap().unwrap();
        assert_eq!(stands.status, Status::Completed);
        assert_eq!(stands.receipt.unwrap().sequence, 5);
    }
}

#[tokio::test]
async fn the_catalog_after_a_crash_has_what_was_answered_with_its_leaves() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("catalog.db");
    let catalog = catalog_at(&path);
    let commit = Commit {
        at: at(1),
        records: vec![record()],
        versions: vec![version("k", 1)],
        audit: vec![AuditRecord::new(at(1), AuditKind::ObjectStored, "agent")],
        ..Commit::default()
    };
    let done = catalog.commit(commit).await.unwrap();

    let crashed = catalog_at(&crash_image(&path, dir.path()));
    assert_eq!(crashed.site(), catalog.site());
    assert_eq!(
        crashed.known(&name("k", "v1")).await.unwrap(),
        catalog.known(&name("k", "v1")).await.unwrap()
    );
    assert_eq!(crashed.audit().head().await.unwrap().size, 1);
    assert_eq!(crashed.audit().verify().await.unwrap().flaws, []);
    assert!(crashed.reserve_sequence() > done.sequence);
}

#[tokio::test]
async fn dropping_without_close_writes_what_waits() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("catalog.db");
    let catalog = catalog_at(&path);
    let log = catalog.audit();
    for n in 0..1000 {
        let record = AuditRecord::new(at(n), AuditKind::SessionOpened, "agent");
        log.record(record).unwrap();
    }
    drop((catalog, log));
    let reopened = catalog_at(&path);
    assert_eq!(reopened.audit().head().await.unwrap().size, 1000);

    let path = dir.path().join("journal.db");
    let journal = journal_at(&path);
    journal.record(vec![put("k", 1, 1)], at(1)).await.unwrap();
    drop(journal);
    let reopened = journal_at(&path);
    let known = reopened.known(&bucket(), &key("k")).await.unwrap();
    assert!(known.is_some());
}

#[tokio::test]
async fn a_log_is_cut_back_to_its_last_whole_record() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("journal.log");
    let open = || LogJournal::open(Arc::new(OsDisk), &path).unwrap();
    let journal = open();
    journal.record(vec![put("a", 1, 1)], at(1)).await.unwrap();
    journal.record(vec![put("b", 2, 1)], at(1)).await.unwrap();
    drop(journal);
    let whole = std::fs::read(&path).unwrap();
    for cut in [1, 40, 100] {
        let mut torn = whole.clone();
        torn.truncate(whole.len() - cut);
        torn.extend([0; 7]);
        std::fs::write(&path, torn).unwrap();
        let journal = open();
        let known = journal.known_page(&bucket(), None, 9).await.unwrap();
        assert_eq!(known.len(), 1, "{cut} bytes less");
        journal.record(vec![put("c", 3, 1)], at(1)).await.unwrap();
        drop(journal);
        let known = open().known_page(&bucket(), None, 9).await.unwrap();
        assert_eq!(known.len(), 2);
    }
}
