//! Batches: held back, let go, taken back; what is owed without them stays.

use sealift_terms::{BatchId, Reason, Status, Timestamp, TransferId, limits::BATCHES_MAX};

use super::{
    journal_queue::{completed, counted, deferred, failed, settlement},
    sample::{at, bucket, key, peer, put},
};
use crate::{BatchStanding, BatchState, Enlist, Journal, Requeue, Transfer, TransferOutcome};

fn skipped() -> TransferOutcome {
    TransferOutcome::Skipped {
        reason: Reason::SkippedFiltered,
        evidence: "by a rule".to_owned(),
    }
}

async fn of(journal: &dyn Journal, name: &str) -> Transfer {
    let rows = journal.transfers_of(&bucket(), &key(name), 9).await;
    rows.unwrap().remove(0)
}

/// Four versions: one done with receipt 5, one given up, one left out, one that waits.
async fn four(journal: &dyn Journal) -> [Transfer; 4] {
    let names = ["done", "given-up", "left-out", "waits"];
    let changes = (1..).zip(names).map(|(n, name)| put(name, n, 10)).collect();
    journal.record(changes, at(1)).await.unwrap();
    let leased = journal.lease(&peer("b"), 3, at(1)).await.unwrap();
    let settlements = vec![
        completed(&leased[0], 5, at(2)),
        settlement(leased[1].id, at(2), failed()),
        settlement(leased[2].id, at(2), skipped()),
    ];
    journal.settle(settlements).await.unwrap();
    [
        of(journal, names[0]).await,
        of(journal, names[1]).await,
        of(journal, names[2]).await,
        of(journal, names[3]).await,
    ]
}

async fn begin(journal: &dyn Journal) -> BatchId {
    let begun = journal.begin_batch("photos/", at(3)).await.unwrap();
    begun.expect("room for a batch")
}

async fn enlist<'a>(
    journal: &dyn Journal,
    batch: BatchId,
    rows: impl IntoIterator<Item = &'a Transfer>,
) {
    let versions = rows.into_iter();
    let versions = versions.map(|row| (row.peer.clone(), row.change.name.clone()));
    let what = Enlist {
        versions: versions.collect(),
        new: Vec::new(),
    };
    let state = journal.enlist(batch, what, at(3)).await.unwrap();
    assert!(state.is_some_and(|state| state != BatchState::Cancelled));
}

async fn leased(journal: &dyn Journal, now: Timestamp) -> Vec<TransferId> {
    let rows = journal.lease(&peer("b"), 99, now).await.unwrap();
    rows.into_iter().map(|row| row.id).collect()
}

async fn standing(journal: &dyn Journal, batch: BatchId, id: TransferId) -> BatchStanding {
    let one = journal.batched_one(batch, id).await.unwrap();
    one.expect("it is in the batch").standing
}

pub(super) async fn a_cancelled_batch_leaves_everything_as_it_stood(journal: &dyn Journal) {
    let before = four(journal).await;
    let batch = begin(journal).await;
    enlist(journal, batch, &before).await;
    let new = Enlist {
        versions: Vec::new(),
        new: vec![put("new", 9, 7)],
    };
    journal.enlist(batch, new, at(3)).await.unwrap();
    assert_eq!(counted(journal, Status::Pending).await, 5);
    for row in &before {
        let queued = of(journal, row.change.name.key.as_str()).await;
        assert_eq!((queued.reason, queued.receipt), (None, None));
    }
    let told = journal.batch(batch).await.unwrap().unwrap();
    assert_eq!((told.what.as_str(), told.begun_at), ("photos/", at(3)));
    let (queued, owed) = (told.counts.queued, told.counts.owed);
    assert_eq!((queued.versions, queued.bytes), (4, 37));
    assert_eq!((owed.versions, told.is_over()), (1, false));

    let cancel = |when| journal.set_batch(batch, BatchState::Cancelled, when);
    assert!(cancel(at(4)).await.unwrap());
    for row in &before[..3] {
        let now = of(journal, row.change.name.key.as_str()).await;
        assert_eq!((now.status, now.reason), (row.status, row.reason));
        assert_eq!((&now.evidence, &now.receipt), (&row.evidence, &row.receipt));
        assert_eq!(
            (now.attempts, now.updated_at),
            (row.attempts, row.updated_at)
        );
        let stands = standing(journal, batch, row.id).await;
        assert_eq!(stands, BatchStanding::TakenBack);
    }
    let new = of(journal, "new").await;
    assert_eq!(
        (new.status, new.reason),
        (Status::Skipped, Some(Reason::BatchCancelled))
    );
    assert_eq!(leased(journal, at(4)).await, [before[3].id], "it is owed");
    for (status, count) in [
        (Status::Completed, 1),
        (Status::Failed, 1),
        (Status::Skipped, 2),
        (Status::Pending, 1),
    ] {
        assert_eq!(counted(journal, status).await, count, "{status}");
    }
    assert!(!cancel(at(5)).await.unwrap(), "once");
    for to in [BatchState::Running, BatchState::Paused] {
        assert!(!journal.set_batch(batch, to, at(5)).await.unwrap());
    }
    let late = Enlist {
        versions: vec![(peer("b"), before[0].change.name.clone())],
        new: vec![put("late", 10, 1)],
    };
    let state = journal.enlist(batch, late, at(5)).await.unwrap();
    assert_eq!(state, Some(BatchState::Cancelled));
    assert_eq!(counted(journal, Status::Completed).await, 1);
    let page = journal.batched(batch, None, 2).await.unwrap();
    let rest = journal.batched(batch, Some(page[1].transfer.id), 9).await;
    assert_eq!((page.len(), rest.unwrap().len()), (2, 3));
    let nobody = BatchId(99);
    let none = journal.enlist(nobody, Enlist::default(), at(5)).await;
    assert_eq!((none.unwrap(), cancel(at(6)).await.unwrap()), (None, false));
    assert!(journal.batch(nobody).await.unwrap().is_none());
}

pub(super) async fn what_is_on_its_way_has_its_outcome_or_is_put_back(journal: &dyn Journal) {
    let rows = four(journal).await;
    let batch = begin(journal).await;
    enlist(journal, batch, &rows[..3]).await;
    let way = leased(journal, at(3)).await;
    assert_eq!(way.len(), 4);
    let cancelled = journal.set_batch(batch, BatchState::Cancelled, at(4)).await;
    assert!(cancelled.unwrap());
    assert_eq!(counted(journal, Status::Pending).await, 4, "all are leased");
    // One arrives, one is deferred, one is released.
    let [done, given_up, left_out, waits] = &rows;
    let unreachable = settlement(given_up.id, at(5), deferred(at(9)));
    let settlements = vec![completed(done, 8, at(5)), unreachable];
    journal.settle(settlements).await.unwrap();
    let receipt = of(journal, "done").await.receipt.unwrap();
    assert_eq!(receipt.sequence, 8);
    let now = of(journal, "given-up").await;
    assert_eq!(
        (now.status, now.reason, now.attempts),
        (Status::Failed, given_up.reason, given_up.attempts)
    );
    journal.release(&[left_out.id, waits.id]);
    assert_eq!(leased(journal, at(6)).await, [waits.id]);
    let now = of(journal, "left-out").await;
    assert_eq!((now.status, now.reason), (Status::Skipped, left_out.reason));
    for (row, stands) in [
        (done, BatchStanding::Completed),
        (given_up, BatchStanding::TakenBack),
        (left_out, BatchStanding::TakenBack),
    ] {
        assert_eq!(standing(journal, batch, row.id).await, stands);
    }
    let counts = journal.batch(batch).await.unwrap().unwrap().counts;
    assert_eq!(
        (counts.completed.versions, counts.taken_back.versions),
        (1, 2)
    );
}

pub(super) async fn a_paused_batch_waits_until_it_goes_on(journal: &dyn Journal) {
    let rows = four(journal).await;
    let [done, given_up, left_out, waits] = &rows;
    let batch = begin(journal).await;
    enlist(journal, batch, [done, given_up, waits]).await;
    // One of it is on its way.
    let first = journal.lease(&peer("b"), 1, at(3)).await.unwrap();
    assert_eq!(first[0].id, done.id);
    let set = |to, when| journal.set_batch(batch, to, when);
    assert!(set(BatchState::Paused, at(4)).await.unwrap());
    assert_eq!(journal.paused_batches().await.unwrap(), 1);
    enlist(journal, batch, [left_out]).await;
    let held = of(journal, "left-out").await;
    assert_eq!(
        (held.status, held.reason),
        (Status::Pending, Some(Reason::BatchPaused))
    );
    let unreachable = settlement(done.id, at(5), deferred(at(6)));
    journal.settle(vec![unreachable]).await.unwrap();
    assert_eq!(leased(journal, at(1000)).await, [waits.id], "it is owed");
    let due = journal.next_due(&peer("b"), at(5)).await.unwrap();
    assert_eq!(due, None, "nothing looks for it");
    let counts = journal.counts().await.unwrap();
    let waiting = counts.iter().find(|count| count.status == Status::Pending);
    assert_eq!(waiting.unwrap().oldest, Some(waits.recorded_at));
    // Nor does a command make it due that queues what waits.
    let of_left_out = Requeue::Keys {
        bucket: bucket(),
        prefix: "left-out".to_owned(),
        exact: true,
    };
    journal.requeue(of_left_out, at(6)).await.unwrap();
    assert!(leased(journal, at(1000)).await.is_empty());

    assert!(set(BatchState::Running, at(7)).await.unwrap());
    assert_eq!(journal.paused_batches().await.unwrap(), 0);
    let mut on = leased(journal, at(7)).await;
    on.sort_unstable();
    assert_eq!(on, [done.id, given_up.id, left_out.id]);
    assert_eq!(of(journal, "done").await.reason, None);
    // A batch that is paused is cancelled as one that runs.
    journal.release(&on);
    assert!(set(BatchState::Paused, at(8)).await.unwrap());
    assert!(set(BatchState::Cancelled, at(9)).await.unwrap());
    assert_eq!(of(journal, "done").await.receipt, done.receipt);
    assert!(leased(journal, at(1000)).await.is_empty());
}

pub(super) async fn what_became_owed_since_is_not_taken_back(journal: &dyn Journal) {
    let names = ["lost", "damaged", "given-up", "changed", "kept"];
    let changes = (1..).zip(names).map(|(n, name)| put(name, n, 10)).collect();
    journal.record(changes, at(1)).await.unwrap();
    let rows = journal.lease(&peer("b"), 9, at(1)).await.unwrap();
    let [lost, damaged, given_up, changed, kept] = &rows[..] else {
        panic!("five rows");
    };
    let settlements = vec![
        completed(lost, 7, at(2)),
        completed(damaged, 2, at(2)),
        settlement(given_up.id, at(2), failed()),
        completed(changed, 3, at(2)),
        completed(kept, 4, at(2)),
    ];
    journal.settle(settlements).await.unwrap();
    let batch = begin(journal).await;
    enlist(journal, batch, &rows).await;
    let set = |to, when| journal.set_batch(batch, to, when);
    set(BatchState::Paused, at(4)).await.unwrap();
    assert!(leased(journal, at(1000)).await.is_empty());

    let name = |row: &Transfer| row.change.name.clone();
    for which in [
        Requeue::CompletedAfter {
            peer: peer("b"),
            sequence: 5,
        },
        Requeue::Damaged {
            peer: peer("b"),
            name: name(damaged),
        },
        Requeue::Failed(None),
        Requeue::Version {
            peer: peer("b"),
            name: name(changed),
        },
    ] {
        let queued = journal.requeue(which.clone(), at(5)).await.unwrap();
        assert_eq!(queued, 1, "{which:?}");
    }
    set(BatchState::Cancelled, at(6)).await.unwrap();
    let owed: Vec<_> = rows[..4].iter().map(|row| row.id).collect();
    let mut due = leased(journal, at(6)).await;
    due.sort_unstable();
    assert_eq!(due, owed, "the peer lacks them");
    assert_eq!(
        of(journal, "damaged").await.reason,
        Some(Reason::DstObjectDamaged)
    );
    let kept = of(journal, "kept").await;
    assert_eq!(kept.receipt.unwrap().sequence, 4, "the peer has it still");
    assert_eq!(counted(journal, Status::Pending).await, 4);
    // What they had stands for nothing: they are done by another receipt.
    let done = rows[..4].iter().map(|row| completed(row, 9, at(7)));
    journal.settle(done.collect()).await.unwrap();
    assert_eq!(of(journal, "lost").await.receipt.unwrap().sequence, 9);
}

pub(super) async fn what_two_batches_queued_is_sent_for_the_one_that_is_left(
    journal: &dyn Journal,
) {
    let rows = four(journal).await;
    let (one, two) = (begin(journal).await, begin(journal).await);
    enlist(journal, one, &rows[..2]).await;
    enlist(journal, two, &rows[..2]).await;
    let set = |batch, to| journal.set_batch(batch, to, at(4));
    // One that runs has it sent, whatever the other says.
    set(one, BatchState::Paused).await.unwrap();
    assert_eq!(leased(journal, at(4)).await.len(), 3);
    journal.release(&[rows[0].id, rows[1].id]);
    set(two, BatchState::Paused).await.unwrap();
    assert!(leased(journal, at(4)).await.is_empty());
    set(one, BatchState::Cancelled).await.unwrap();
    assert_eq!(
        standing(journal, one, rows[0].id).await,
        BatchStanding::TakenBack
    );
    assert!(
        leased(journal, at(4)).await.is_empty(),
        "the other is paused"
    );
    set(two, BatchState::Running).await.unwrap();
    let due = leased(journal, at(4)).await;
    assert_eq!(due.len(), 2);
    journal.release(&due);
    // What the first remembers is what the second puts back.
    set(two, BatchState::Cancelled).await.unwrap();
    assert_eq!(of(journal, "done").await.receipt, rows[0].receipt);
    assert_eq!(of(journal, "given-up").await.status, Status::Failed);
    // A batch that is done does not undo what a later one queues.
    let (first, second) = (begin(journal).await, begin(journal).await);
    enlist(journal, first, &rows[..1]).await;
    journal.lease(&peer("b"), 1, at(5)).await.unwrap();
    let done = completed(&rows[0], 11, at(5));
    journal.settle(vec![done]).await.unwrap();
    enlist(journal, second, &rows[..1]).await;
    set(first, BatchState::Cancelled).await.unwrap();
    assert_eq!(of(journal, "done").await.status, Status::Pending);
    set(second, BatchState::Cancelled).await.unwrap();
    assert_eq!(of(journal, "done").await.receipt.unwrap().sequence, 11);
}

pub(super) async fn what_a_batch_came_to_stays_whatever_is_queued_again(journal: &dyn Journal) {
    let rows = four(journal).await;
    let [done, given_up, left_out, waits] = &rows;
    let batch = begin(journal).await;
    enlist(journal, batch, &rows).await;
    journal.lease(&peer("b"), 9, at(4)).await.unwrap();
    let settlements = vec![
        completed(done, 6, at(4)),
        settlement(given_up.id, at(4), failed()),
        completed(left_out, 7, at(4)),
        completed(waits, 8, at(4)),
    ];
    journal.settle(settlements).await.unwrap();
    let told = || async { journal.batch(batch).await.unwrap().unwrap() };
    let before = told().await;
    assert!(before.is_over());
    // Another batch, a command, and a peer that lost what it had, each queue some of it.
    let next = begin(journal).await;
    enlist(journal, next, [done, waits]).await;
    let lost = Requeue::CompletedAfter {
        peer: peer("b"),
        sequence: 6,
    };
    for (which, queued) in [(Requeue::Failed(None), 1), (lost, 2)] {
        assert_eq!(journal.requeue(which, at(5)).await.unwrap(), queued);
    }
    assert_eq!(counted(journal, Status::Pending).await, 4);
    assert_eq!(told().await, before, "it is over");
    let one = journal.batched_one(batch, given_up.id).await.unwrap();
    let one = one.unwrap();
    assert_eq!(one.standing, BatchStanding::Failed);
    assert_eq!(one.transfer.status, Status::Failed);
    assert!(one.transfer.reason.is_some(), "why it failed then");
    // Nor does it matter to it what becomes of that.
    journal.lease(&peer("b"), 9, at(6)).await.unwrap();
    let each = rows.iter().map(|row| settlement(row.id, at(6), skipped()));
    journal.settle(each.collect()).await.unwrap();
    assert_eq!(told().await, before);
}

pub(super) async fn what_rules_leave_out_of_a_batch_has_not_failed(journal: &dyn Journal) {
    let rows = four(journal).await;
    let batch = begin(journal).await;
    enlist(journal, batch, &rows).await;
    let unreadable = TransferOutcome::Skipped {
        reason: Reason::SkippedUnreadable,
        evidence: String::new(),
    };
    let settlements = vec![
        settlement(rows[0].id, at(4), skipped()),
        settlement(rows[1].id, at(4), failed()),
        settlement(rows[2].id, at(4), unreadable),
    ];
    journal.settle(settlements).await.unwrap();
    let stands = standing(journal, batch, rows[0].id).await;
    assert_eq!(stands, BatchStanding::LeftOut);
    let counts = || async { journal.batch(batch).await.unwrap().unwrap().counts };
    let told = counts().await;
    assert_eq!((told.left_out.versions, told.failed.versions), (1, 2));
    // Nor has it once another batch queued it.
    let next = begin(journal).await;
    enlist(journal, next, &rows[..1]).await;
    assert_eq!(counts().await, told);
}

pub(super) async fn what_a_batch_alone_wants_is_not_late(journal: &dyn Journal) {
    let rows = four(journal).await;
    let [done, given_up, _, waits] = &rows;
    let leased = journal.lease(&peer("b"), 1, at(2)).await.unwrap();
    assert!(leased[0].is_owed(), "it waited before any batch");
    let settled = journal.settle(vec![completed(waits, 6, at(2))]).await;
    settled.unwrap();
    let pending = || async {
        let counts = journal.counts().await.unwrap();
        let mut waiting = counts.into_iter();
        let waiting = waiting.find(|count| count.status == Status::Pending);
        waiting.map(|count| (count.oldest, count.is_expected))
    };
    assert_eq!(pending().await, None);
    let batch = begin(journal).await;
    enlist(journal, batch, [done, given_up]).await;
    let new = Enlist {
        versions: Vec::new(),
        new: vec![put("new", 9, 7)],
    };
    journal.enlist(batch, new, at(3)).await.unwrap();
    assert_eq!(
        pending().await,
        Some((None, true)),
        "it is sent all the same"
    );
    let due = journal.lease(&peer("b"), 9, at(3)).await.unwrap();
    assert!(due.len() == 3 && due.iter().all(|row| !row.is_owed()));
    let deferred = due
        .iter()
        .map(|row| settlement(row.id, at(4), deferred(at(5))));
    journal.settle(deferred.collect()).await.unwrap();
    assert_eq!(pending().await, Some((None, true)), "nor once it was tried");
    let pause = |to| journal.set_batch(batch, to, at(6));
    pause(BatchState::Paused).await.unwrap();
    assert_eq!(pending().await, Some((None, false)), "nobody expects it");
    pause(BatchState::Running).await.unwrap();
    // What the peer is found to have lost is owed by the rules.
    let lost = Requeue::Damaged {
        peer: peer("b"),
        name: done.change.name.clone(),
    };
    assert_eq!(journal.requeue(lost, at(7)).await.unwrap(), 1);
    assert_eq!(pending().await, Some((Some(done.recorded_at), true)));
    let due = journal.lease(&peer("b"), 9, at(7)).await.unwrap();
    let owed: Vec<_> = due.iter().filter(|row| row.is_owed()).collect();
    assert_eq!((due.len(), owed.len(), owed[0].id), (3, 1, done.id));
    let settled = due.iter().map(|row| completed(row, 20 + row.id.0, at(8)));
    journal.settle(settled.collect()).await.unwrap();
    // What was a batch's once is queued again as anything else, too.
    let lost = Requeue::CompletedAfter {
        peer: peer("b"),
        sequence: 19,
    };
    assert_eq!(journal.requeue(lost, at(9)).await.unwrap(), 3);
    let due = journal.lease(&peer("b"), 9, at(9)).await.unwrap();
    assert!(due.iter().all(Transfer::is_owed));
}

pub(super) async fn so_many_batches_are_remembered(journal: &dyn Journal) {
    let [done, ..] = four(journal).await;
    let first = begin(journal).await;
    enlist(journal, first, [&done]).await;
    for _ in 1..BATCHES_MAX {
        begin(journal).await;
    }
    let last = begin(journal).await;
    let ids: Vec<_> = journal.batches().await.unwrap();
    let ids: Vec<_> = ids.into_iter().map(|batch| batch.id).collect();
    assert_eq!((ids.len(), ids[0]), (BATCHES_MAX, last));
    assert!(ids.contains(&first), "something of it is to be sent");
    assert!(
        !ids.contains(&BatchId(first.0 + 1)),
        "the oldest that is over"
    );
    for id in ids {
        let new = Enlist {
            versions: Vec::new(),
            new: vec![put(&format!("of-{id}"), 100 + id.0, 1)],
        };
        journal.enlist(id, new, at(3)).await.unwrap();
    }
    let full = journal.begin_batch("one more", at(4)).await.unwrap();
    assert_eq!(full, None);
}
