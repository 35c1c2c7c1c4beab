//! Leases, outcomes, queueing again, folding.

use std::{collections::HashSet, sync::Arc};

use sealift_terms::{ChangeKind, Reason, Status, Timestamp, TransferId};

use super::sample::{at, bucket, change, key, name, peer, put, receipt, rule};
use crate::{
    Enlist, Journal, LedgerError, ListTransfers, NewChange, Requeue, Settlement, Skip, Transfer,
    TransferOutcome,
};

pub(super) fn completed(transfer: &Transfer, sequence: u64, when: Timestamp) -> Settlement {
    let receipt = receipt(&transfer.change.name, sequence);
    settlement(
        transfer.id,
        when,
        TransferOutcome::Completed(Box::new(receipt)),
    )
}

pub(super) fn settlement(id: TransferId, at: Timestamp, outcome: TransferOutcome) -> Settlement {
    Settlement { id, at, outcome }
}

pub(super) fn failed() -> TransferOutcome {
    TransferOutcome::Failed {
        reason: Reason::SrcObjectGone,
        evidence: "ENOENT".to_owned(),
    }
}

pub(super) fn deferred(next_try: Timestamp) -> TransferOutcome {
    TransferOutcome::Deferred {
        reason: Reason::PeerUnreachable,
        evidence: "connection refused".to_owned(),
        next_try,
    }
}

async fn record(journal: &dyn Journal, count: u64) -> Vec<TransferId> {
    let changes = (1..=count).map(|n| put(&format!("k{n}"), n, 10)).collect();
    journal.record(changes, at(1)).await.unwrap()
}

/// Objects of a status by the counts, after comparing them with a listing.
pub(super) async fn counted(journal: &dyn Journal, status: Status) -> u64 {
    let list = ListTransfers {
        status: Some(status),
        limit: 1000,
        ..ListTransfers::default()
    };
    let rows = journal.transfers(&list).await.unwrap();
    let counts = journal.counts().await.unwrap();
    let of_status = counts.iter().filter(|count| count.status == status);
    let (objects, bytes) = of_status.fold((0, 0), |(objects, bytes), count| {
        (objects + count.objects, bytes + count.bytes)
    });
    assert_eq!(objects, rows.len() as u64, "counts are what is there");
    let listed: u64 = rows.iter().map(|row| row.change.facts.size).sum();
    assert_eq!(bytes, listed);
    objects
}

pub(super) async fn a_lease_is_exclusive(journal: Arc<dyn Journal>) {
    let ids = record(&*journal, 200).await;
    let tasks = (0..8).map(|_| {
        let journal = Arc::clone(&journal);
        tokio::spawn(async move {
            let mut leased = Vec::new();
            loop {
                let some = journal.lease(&peer("b"), 7, at(1)).await.unwrap();
                if some.is_empty() {
                    return leased;
                }
                leased.extend(some.into_iter().map(|transfer| transfer.id));
            }
        })
    });
    let mut leased = Vec::new();
    for task in tasks.collect::<Vec<_>>() {
        leased.extend(task.await.unwrap());
    }
    assert_eq!(leased.len(), ids.len(), "none twice");
    assert_eq!(leased.iter().collect::<HashSet<_>>().len(), ids.len());
    journal.release(&ids[..3]);
    let again = journal.lease(&peer("b"), 10, at(1)).await.unwrap();
    assert_eq!(again.len(), 3);
}

pub(super) async fn what_is_not_due_is_not_leased(journal: &dyn Journal) {
    record(journal, 2).await;
    let leased = journal.lease(&peer("b"), 1, at(1)).await.unwrap();
    assert_eq!(leased.len(), 1);
    assert!(
        journal
            .lease(&peer("c"), 9, at(1))
            .await
            .unwrap()
            .is_empty()
    );
    let later = settlement(leased[0].id, at(2), deferred(at(60)));
    journal.settle(vec![later]).await.unwrap();
    let next_due = journal.next_due(&peer("b"), at(2)).await.unwrap();
    assert_eq!(next_due, Some(at(60)));
    let other = journal.lease(&peer("b"), 9, at(59)).await.unwrap();
    assert_eq!(other.len(), 1);
    assert_ne!(other[0].id, leased[0].id);
    let due = journal.lease(&peer("b"), 9, at(60)).await.unwrap();
    assert_eq!(due[0].id, leased[0].id);
    assert_eq!(due[0].attempts, 1);
    assert_eq!(due[0].reason, Some(Reason::PeerUnreachable));
}

pub(super) async fn what_goes_ahead_is_leased_before_what_waits(journal: &dyn Journal) {
    journal
        .record(vec![put("a", 1, 1), put("b", 2, 1)], at(1))
        .await
        .unwrap();
    let mut ahead = put("c", 3, 1);
    ahead.ahead = true;
    let id = journal.record(vec![ahead], at(2)).await.unwrap()[0];
    let leased = journal.lease(&peer("b"), 1, at(2)).await.unwrap();
    assert_eq!((leased.len(), leased[0].id), (1, id));
    assert_eq!(leased[0].recorded_at, at(2));
    // Once it was tried it waits as others do.
    let later = settlement(id, at(3), deferred(at(60)));
    journal.settle(vec![later]).await.unwrap();
    let leased = journal.lease(&peer("b"), 9, at(60)).await.unwrap();
    let keys: Vec<_> = leased
        .iter()
        .map(|one| one.change.name.key.as_str())
        .collect();
    assert_eq!(keys, ["a", "b", "c"]);
}

pub(super) async fn a_batch_is_settled_whole_or_not_at_all(journal: &dyn Journal) {
    record(journal, 2).await;
    let leased = journal.lease(&peer("b"), 2, at(1)).await.unwrap();
    let mut batch = vec![
        completed(&leased[0], 1, at(2)),
        completed(&leased[0], 1, at(2)),
    ];
    batch[1].id = leased[1].id;
    let error = journal.settle(batch).await.unwrap_err();
    assert!(
        matches!(error, LedgerError::NoSuchTransfer { .. }),
        "{error}"
    );
    assert_eq!(counted(journal, Status::Pending).await, 2);
    let missing = settlement(TransferId(999), at(2), failed());
    let batch = vec![completed(&leased[0], 1, at(2)), missing];
    assert!(journal.settle(batch).await.is_err());
    assert_eq!(counted(journal, Status::Completed).await, 0);
}

pub(super) async fn outcomes_change_status_and_counts(journal: &dyn Journal) {
    record(journal, 4).await;
    let leased = journal.lease(&peer("b"), 4, at(1)).await.unwrap();
    let skipped = TransferOutcome::Skipped {
        reason: Reason::SrcObjectChanged,
        evidence: "a newer version".to_owned(),
    };
    let batch = vec![
        completed(&leased[0], 11, at(2)),
        settlement(leased[1].id, at(2), failed()),
        settlement(leased[2].id, at(2), skipped),
        settlement(leased[3].id, at(2), deferred(at(3))),
    ];
    journal.settle(batch).await.unwrap();
    for status in [
        Status::Completed,
        Status::Failed,
        Status::Skipped,
        Status::Pending,
    ] {
        assert_eq!(counted(journal, status).await, 1, "{status}");
    }
    let done = journal.transfer(leased[0].id).await.unwrap().unwrap();
    assert_eq!(done.receipt, Some(receipt(&done.change.name, 11)));
    assert_eq!(done.updated_at, at(2));
    let gone = journal.transfer(leased[1].id).await.unwrap().unwrap();
    assert_eq!(gone.evidence.as_deref(), Some("ENOENT"));
    let counts = journal.counts().await.unwrap();
    let pending = counts.iter().find(|count| count.status == Status::Pending);
    assert_eq!(pending.unwrap().oldest, Some(at(1)));
}

pub(super) async fn completed_stays_completed(journal: &dyn Journal) {
    record(journal, 1).await;
    let leased = journal.lease(&peer("b"), 1, at(1)).await.unwrap();
    let done = completed(&leased[0], 1, at(2));
    journal.settle(vec![done.clone(), done]).await.unwrap();
    let late = settlement(leased[0].id, at(3), failed());
    journal.settle(vec![late]).await.unwrap();
    assert_eq!(counted(journal, Status::Completed).await, 1);
    assert_eq!(counted(journal, Status::Failed).await, 0);
}

pub(super) async fn requeue_takes_what_it_names(journal: &dyn Journal) {
    let changes = ["a", "a/b", "b", "ä"].iter().zip(1..);
    let changes = changes.map(|(key, n)| put(key, n, 10)).collect();
    journal.record(changes, at(1)).await.unwrap();
    let keys = |prefix: &str, exact| Requeue::Keys {
        bucket: bucket(),
        prefix: prefix.to_owned(),
        exact,
    };
    let cases = [
        (Requeue::All, 4),
        (Requeue::Rule(rule("all")), 4),
        (Requeue::Rule(rule("none")), 0),
        (Requeue::Peer(peer("b")), 4),
        (Requeue::Peer(peer("c")), 0),
        (keys("", false), 4),
        (keys("a", false), 2),
        (keys("a", true), 1),
        (keys("ä", false), 1),
    ];
    for (which, expected) in cases {
        let leased = journal.lease(&peer("b"), 9, at(10)).await.unwrap();
        assert_eq!(leased.len(), 4);
        let fail = leased
            .iter()
            .map(|transfer| settlement(transfer.id, at(2), failed()));
        journal.settle(fail.collect()).await.unwrap();
        let queued = journal.requeue(which.clone(), at(10)).await.unwrap();
        assert_eq!(queued, expected, "{which:?}");
        assert_eq!(counted(journal, Status::Pending).await, expected);
        assert_eq!(counted(journal, Status::Failed).await, 4 - expected);
        journal.requeue(Requeue::All, at(10)).await.unwrap();
    }
}

pub(super) async fn a_peer_that_rolled_back_gets_the_later_ones_again(journal: &dyn Journal) {
    record(journal, 5).await;
    let leased = journal.lease(&peer("b"), 5, at(1)).await.unwrap();
    let done = leased.iter().zip(1..);
    let done = done.map(|(transfer, sequence)| completed(transfer, sequence, at(2)));
    journal.settle(done.collect()).await.unwrap();
    let after = |sequence| Requeue::CompletedAfter {
        peer: peer("b"),
        sequence,
    };
    let last = async || journal.last_received(&peer("b")).await.unwrap();
    let named = |n: usize| leased.get(n).map(|transfer| transfer.change.name.clone());
    assert_eq!(last().await, named(4));
    assert_eq!(journal.last_received(&peer("c")).await.unwrap(), None);
    assert_eq!(journal.requeue(after(3), at(4)).await.unwrap(), 2);
    assert_eq!(
        last().await,
        named(2),
        "what is queued again counts no more"
    );
    assert_eq!(counted(journal, Status::Completed).await, 3);
    let again = journal.lease(&peer("b"), 9, at(4)).await.unwrap();
    assert_eq!(
        again.iter().map(|t| t.id).collect::<Vec<_>>(),
        leased[3..].iter().map(|t| t.id).collect::<Vec<_>>()
    );
    assert_eq!(again[0].receipt, None);
    assert_eq!(journal.requeue(after(0), at(5)).await.unwrap(), 3);
}

pub(super) async fn a_version_that_the_peer_found_damaged_is_sent_there_again(
    journal: &dyn Journal,
) {
    record(journal, 2).await;
    let leased = journal.lease(&peer("b"), 2, at(1)).await.unwrap();
    let done = leased.iter().zip(1..);
    let done = done.map(|(transfer, sequence)| completed(transfer, sequence, at(2)));
    journal.settle(done.collect()).await.unwrap();
    let damaged = |to: &str, name: &sealift_terms::VersionName| Requeue::Damaged {
        peer: peer(to),
        name: name.clone(),
    };
    let name = &leased[1].change.name;
    for (which, queued) in [
        (damaged("c", name), 0),
        (damaged("b", name), 1),
        (damaged("b", name), 0),
    ] {
        assert_eq!(journal.requeue(which, at(4)).await.unwrap(), queued);
    }
    assert_eq!(counted(journal, Status::Completed).await, 1);
    assert_eq!(counted(journal, Status::Pending).await, 1);
    let again = journal.lease(&peer("b"), 9, at(4)).await.unwrap();
    assert_eq!(again.len(), 1);
    assert_eq!(
        (again[0].id, again[0].receipt.clone()),
        (leased[1].id, None)
    );
    assert_eq!(again[0].reason, Some(Reason::DstObjectDamaged));
    let done = completed(&again[0], 9, at(5));
    journal.settle(vec![done]).await.unwrap();
    assert_eq!(counted(journal, Status::Completed).await, 2);
}

pub(super) async fn a_version_is_queued_again_whatever_became_of_it(journal: &dyn Journal) {
    record(journal, 4).await;
    let leased = journal.lease(&peer("b"), 3, at(1)).await.unwrap();
    let skipped = TransferOutcome::Skipped {
        reason: Reason::SkippedFiltered,
        evidence: "by a rule".to_owned(),
    };
    let settled = |transfer: &Transfer, outcome| settlement(transfer.id, at(2), outcome);
    let settlements = vec![
        completed(&leased[0], 1, at(2)),
        settled(&leased[1], skipped),
        settled(&leased[2], failed()),
    ];
    journal.settle(settlements).await.unwrap();
    let version = |to: &str, transfer: &Transfer| Requeue::Version {
        peer: peer(to),
        name: transfer.change.name.clone(),
    };
    for transfer in &leased {
        for (to, queued) in [("c", 0), ("b", 1)] {
            let which = version(to, transfer);
            assert_eq!(journal.requeue(which, at(3)).await.unwrap(), queued);
        }
    }
    for status in [Status::Completed, Status::Skipped, Status::Failed] {
        assert_eq!(counted(journal, status).await, 0);
    }
    assert_eq!(counted(journal, Status::Pending).await, 4);
    let again = journal.lease(&peer("b"), 9, at(3)).await.unwrap();
    assert_eq!(again.len(), 4);
    for transfer in &again {
        assert_eq!((transfer.reason, &transfer.receipt), (None, &None));
    }
    // What waits already waits no longer, and is counted once.
    let waiting = version("b", &again[0]);
    assert_eq!(journal.requeue(waiting, at(4)).await.unwrap(), 1);
    assert_eq!(counted(journal, Status::Pending).await, 4);
}

pub(super) async fn what_was_left_out_is_queued_by_itself(journal: &dyn Journal) {
    let mut tags = change("k", 2, 0, ChangeKind::Tags);
    tags.change.name = name("k", "v1");
    let ids = journal
        .record(vec![put("k", 1, 10), tags], at(1))
        .await
        .unwrap();
    let left_out = ids.iter().map(|id| {
        let outcome = TransferOutcome::Skipped {
            reason: Reason::SkippedFiltered,
            evidence: "by a rule".to_owned(),
        };
        settlement(*id, at(2), outcome)
    });
    journal.settle(left_out.collect()).await.unwrap();
    for queued in [1, 0] {
        let which = Requeue::LeftOut(ids[1]);
        assert_eq!(journal.requeue(which, at(3)).await.unwrap(), queued);
    }
    let due = journal.lease(&peer("b"), 9, at(3)).await.unwrap();
    assert_eq!(due.iter().map(|row| row.id).collect::<Vec<_>>(), ids[1..]);
    assert_eq!((due[0].reason, &due[0].evidence), (None, &None));
    assert_eq!(counted(journal, Status::Skipped).await, 1);
    assert_eq!(counted(journal, Status::Pending).await, 1);
}

pub(super) async fn what_was_there_before_it_was_left_out_is_known_to_be_there(
    journal: &dyn Journal,
) {
    let keys = ["again", "batch", "damaged", "never", "rolled", "told"];
    let mut changes: Vec<_> = keys
        .iter()
        .zip(1..)
        .map(|(key, n)| put(key, n, 10))
        .collect();
    changes.push(change("told", 9, 0, ChangeKind::DeleteMarker));
    journal.record(changes, at(1)).await.unwrap();
    let rows = journal.lease(&peer("b"), 9, at(1)).await.unwrap();
    let (never, sent): (Vec<_>, Vec<_>) = rows
        .iter()
        .partition(|row| row.change.name.key == key("never"));
    let is_rolled = |row: &&Transfer| row.change.name.key == key("rolled");
    let sequence = |row| 1 + 7 * u64::from(is_rolled(&row));
    let done = sent.iter().map(|row| completed(row, sequence(row), at(2)));
    journal.settle(done.collect()).await.unwrap();
    // Everything by which something is queued again that was there.
    let name = |of: &str| {
        let row = sent.iter().find(|row| row.change.name.key == key(of));
        row.unwrap().change.name.clone()
    };
    let version = |name| Requeue::Version {
        peer: peer("b"),
        name,
    };
    let damaged = Requeue::Damaged {
        peer: peer("b"),
        name: name("damaged"),
    };
    let rolled = Requeue::CompletedAfter {
        peer: peer("b"),
        sequence: 5,
    };
    let marker = sent.last().unwrap().change.name.clone();
    for which in [
        version(name("again")),
        damaged,
        rolled,
        version(name("told")),
    ] {
        assert_eq!(journal.requeue(which, at(3)).await.unwrap(), 1);
    }
    assert_eq!(journal.requeue(version(marker), at(3)).await.unwrap(), 1);
    let batch = journal
        .begin_batch("photos/", at(3))
        .await
        .unwrap()
        .unwrap();
    let what = Enlist {
        versions: vec![(peer("b"), name("batch"))],
        new: Vec::new(),
    };
    journal.enlist(batch, what, at(3)).await.unwrap();
    let left_out = rows.iter().map(|row| {
        let outcome = TransferOutcome::Skipped {
            reason: Reason::SkippedFiltered,
            evidence: "by a rule".to_owned(),
        };
        settlement(row.id, at(4), outcome)
    });
    journal.settle(left_out.collect()).await.unwrap();
    assert_eq!(counted(journal, Status::Skipped).await, 7);
    for row in &rows {
        let now = journal.transfer(row.id).await.unwrap().unwrap();
        assert_eq!(now.receipt, None);
        let was_there = row.id != never[0].id;
        assert_eq!(now.goes(), was_there, "{}", now.change.name);
    }
    let gone = keys.iter().zip(11..).map(|(key, n)| {
        let mut marker = change(key, n, 0, ChangeKind::DeleteMarker);
        marker.destinations.clear();
        marker
    });
    journal.record(gone.collect(), at(5)).await.unwrap();
    let there = ["again", "batch", "damaged", "rolled"].map(key);
    for _ in 0..2 {
        let page = journal.unremoved_page(&bucket(), &peer("b"), None, 9).await;
        let page = page.unwrap().into_iter().map(|known| known.key);
        assert_eq!(page.collect::<Vec<_>>(), there);
        // What is there is to be removed after any time.
        while journal.fold(at(6), Vec::new(), 1).await.unwrap() > 0 {}
    }
    // Once it is, nothing of it is of use.
    let markers = there.iter().zip(21..);
    let markers = markers.map(|(key, n)| change(key.as_str(), n, 0, ChangeKind::DeleteMarker));
    journal.record(markers.collect(), at(6)).await.unwrap();
    let leased = journal.lease(&peer("b"), 9, at(6)).await.unwrap();
    let done = leased.iter().map(|row| completed(row, 9, at(6)));
    journal.settle(done.collect()).await.unwrap();
    while journal.fold(at(7), Vec::new(), 1).await.unwrap() > 0 {}
    assert_eq!(
        counted(journal, Status::Skipped).await,
        2,
        "of what was told before"
    );
    let page = journal.unremoved_page(&bucket(), &peer("b"), None, 9).await;
    assert_eq!(page.unwrap(), []);
}

pub(super) async fn old_rows_fold_into_one_per_key(journal: &dyn Journal) {
    let changes = vec![
        put("live", 1, 10),
        put("live", 2, 10),
        put("live", 3, 10),
        put("dead", 4, 10),
        change("dead", 5, 0, ChangeKind::DeleteMarker),
        put("waiting", 6, 10),
        put("waiting", 7, 10),
    ];
    journal.record(changes, at(1)).await.unwrap();
    let leased = journal.lease(&peer("b"), 6, at(1)).await.unwrap();
    let done = leased.iter().map(|transfer| completed(transfer, 1, at(2)));
    journal.settle(done.collect()).await.unwrap();
    assert_eq!(
        journal.fold(at(2), Vec::new(), 100).await.unwrap(),
        0,
        "too young"
    );
    assert_eq!(
        journal.fold(at(3), Vec::new(), 1).await.unwrap(),
        1,
        "in small steps"
    );
    assert_eq!(journal.fold(at(3), Vec::new(), 100).await.unwrap(), 2);
    assert_eq!(journal.fold(at(3), Vec::new(), 100).await.unwrap(), 0);
    let of = |name| async move {
        let rows = journal.transfers_of(&bucket(), &key(name), 9).await;
        let rows = rows.unwrap().into_iter();
        rows.map(|row| row.change.order.change).collect::<Vec<_>>()
    };
    assert_eq!(of("live").await, [3]);
    assert_eq!(of("dead").await, [5], "its delete marker");
    assert_eq!(of("waiting").await, [7, 6], "what waits folds nothing");
    assert_eq!(counted(journal, Status::Completed).await, 3);
    let counts = journal.counts().await.unwrap();
    let folded: u64 = counts.iter().map(|count| count.folded_objects).sum();
    assert_eq!(folded, 3);
}

pub(super) async fn of_deleted_keys_stays_what_a_peer_that_lost_all_is_sent(journal: &dyn Journal) {
    let skip = |mut new: NewChange| {
        new.destinations[0].skip = Some(Skip {
            reason: Reason::SkippedFiltered,
            evidence: "by a rule".to_owned(),
        });
        new
    };
    let marker = |key: &str, n| change(key, n, 0, ChangeKind::DeleteMarker);
    let changes = vec![
        put("kept", 1, 10),
        skip(marker("kept", 2)),
        skip(put("left-out", 3, 10)),
        skip(marker("left-out", 4)),
        put("purged", 5, 10),
        marker("purged", 6),
        change("purged", 5, 10, ChangeKind::Purge),
        change("purged", 6, 0, ChangeKind::Purge),
        put("waits", 7, 10),
        marker("waits", 8),
    ];
    journal.record(changes, at(1)).await.unwrap();
    let leased = journal.lease(&peer("b"), 6, at(1)).await.unwrap();
    let done = leased.iter().map(|transfer| completed(transfer, 1, at(2)));
    journal.settle(done.collect()).await.unwrap();
    while journal.fold(at(3), Vec::new(), 1).await.unwrap() > 0 {}
    let of = |name| async move {
        let rows = journal.transfers_of(&bucket(), &key(name), 9).await;
        let rows = rows.unwrap().into_iter();
        rows.map(|row| row.change.order.change).collect::<Vec<_>>()
    };
    assert_eq!(of("kept").await, [1], "it is there still, and has to be");
    assert_eq!(of("left-out").await, [0_u64; 0]);
    assert_eq!(of("purged").await, [0_u64; 0]);
    assert_eq!(of("waits").await, [8, 7], "its marker is not there yet");
}

pub(super) async fn tags_fold_no_version_and_older_tags_of_their_own(journal: &dyn Journal) {
    let tags = |n: u64, of: u64| {
        let mut tags = change("k", n, 0, ChangeKind::Tags);
        tags.change.name = name("k", &format!("v{of}"));
        tags
    };
    let changes = vec![put("k", 1, 10), put("k", 2, 10)];
    let all = [changes, vec![tags(3, 2), tags(4, 1), tags(5, 2)]].concat();
    journal.record(all, at(1)).await.unwrap();
    let leased = journal.lease(&peer("b"), 9, at(1)).await.unwrap();
    let done = leased.iter().map(|transfer| completed(transfer, 1, at(2)));
    journal.settle(done.collect()).await.unwrap();
    for _ in 0..2 {
        journal.fold(at(3), Vec::new(), 100).await.unwrap();
    }
    let rows = journal.transfers_of(&bucket(), &key("k"), 9).await.unwrap();
    let rows: Vec<_> = rows.iter().map(|row| row.change.order.change).collect();
    assert_eq!(
        rows,
        [5, 4, 2],
        "the latest version, and the last tags of each"
    );
    // Once another version is done, nothing of the earlier ones is to be sent again.
    journal.record(vec![put("k", 6, 10)], at(3)).await.unwrap();
    let leased = journal.lease(&peer("b"), 9, at(3)).await.unwrap();
    let done = leased.iter().map(|transfer| completed(transfer, 2, at(3)));
    journal.settle(done.collect()).await.unwrap();
    assert_eq!(journal.fold(at(4), Vec::new(), 100).await.unwrap(), 3);
}
