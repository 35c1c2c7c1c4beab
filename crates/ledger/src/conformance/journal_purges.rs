//! What is known of versions that peers have, and the purges of those that are gone.

use sealift_terms::{ChangeKind, Reason, Status};

use super::{
    journal_queue::completed,
    sample::{at, bucket, change, key, order, peer, put, rule},
};
use crate::{
    Journal, NewChange, PurgeSent, Requeue, SentVersion, Settlement, Transfer, TransferOutcome,
};

fn purge(of: &str, n: u64, held_until: Option<i64>) -> NewChange {
    // Its order is above that of the version.
    let mut new = change(of, n, 0, ChangeKind::Purge);
    new.change.order = order(100 + n);
    new.held_until = held_until.map(at);
    new
}

async fn complete_all(journal: &dyn Journal, now: i64) {
    let leased = journal.lease(&peer("b"), 99, at(now)).await.unwrap();
    let done = leased
        .iter()
        .map(|transfer| completed(transfer, 1, at(now)));
    journal.settle(done.collect()).await.unwrap();
}

async fn purge_of(journal: &dyn Journal, of: &str) -> Transfer {
    let rows = journal.transfers_of(&bucket(), &key(of), 9).await.unwrap();
    let mut rows = rows.into_iter();
    rows.find(|row| row.change.kind == ChangeKind::Purge)
        .unwrap()
}

async fn sent(journal: &dyn Journal) -> Vec<SentVersion> {
    // One by one: every cursor goes on where it stands.
    let (mut all, mut after) = (Vec::new(), None);
    loop {
        let page = journal
            .sent_page(&bucket(), after.as_ref(), 1)
            .await
            .unwrap();
        let Some(one) = page.into_iter().next() else {
            assert_eq!(journal.sent_page(&bucket(), None, 99).await.unwrap(), all);
            return all;
        };
        after = Some(one.clone());
        all.push(one);
    }
}

pub(super) async fn what_was_sent_comes_in_key_order_with_its_purge(journal: &dyn Journal) {
    let marker = change("b", 4, 0, ChangeKind::DeleteMarker);
    let tags = change("a", 2, 0, ChangeKind::Tags);
    let changes = vec![
        put("b", 3, 10),
        put("a", 2, 10),
        put("a", 1, 10),
        marker,
        tags,
    ];
    journal.record(changes, at(1)).await.unwrap();
    assert!(sent(journal).await.is_empty(), "nothing has a receipt yet");
    complete_all(journal, 1).await;
    journal.record(vec![put("c", 5, 10)], at(2)).await.unwrap();
    let told = |all: Vec<SentVersion>| -> Vec<_> {
        let told = all.into_iter();
        told.map(|one| {
            (
                one.key.to_string(),
                one.version.to_string(),
                one.kind,
                one.purge,
            )
        })
        .collect()
    };
    let (put, gone) = (ChangeKind::Put, ChangeKind::DeleteMarker);
    let row = |key: &str, version: &str, kind| (key.to_owned(), version.to_owned(), kind, None);
    let mut wanted = vec![
        row("a", "v1", put),
        row("a", "v2", put),
        row("b", "v3", put),
        row("b", "v4", gone),
    ];
    assert_eq!(told(sent(journal).await), wanted);
    journal
        .record(vec![purge("a", 2, Some(9))], at(3))
        .await
        .unwrap();
    wanted[1].3 = Some(PurgeSent {
        status: Status::Pending,
        updated_at: at(3),
    });
    assert_eq!(told(sent(journal).await), wanted);
    let known = journal.known(&bucket(), &key("a")).await.unwrap().unwrap();
    assert_eq!(
        known.version.as_str(),
        "v2",
        "a purge says nothing of what is latest"
    );
}

pub(super) async fn a_purge_is_held_back_and_nothing_queues_it_earlier(journal: &dyn Journal) {
    journal.record(vec![put("k", 1, 10)], at(1)).await.unwrap();
    complete_all(journal, 1).await;
    journal
        .record(vec![purge("k", 1, Some(50))], at(2))
        .await
        .unwrap();
    let held = purge_of(journal, "k").await;
    assert_eq!(
        (held.status, held.reason),
        (Status::Pending, Some(Reason::PurgeHeld))
    );
    assert!(held.evidence.unwrap().contains("purged after"));
    assert_eq!(held.next_try, at(50));
    // Nobody waits for it, and nothing is late for it.
    assert_eq!(journal.next_due(&peer("b"), at(3)).await.unwrap(), None);
    let counts = journal.counts().await.unwrap();
    let pending = counts.iter().find(|count| count.status == Status::Pending);
    assert_eq!(
        pending.map(|count| (count.objects, count.oldest)),
        Some((1, None))
    );
    let keys = Requeue::Keys {
        bucket: bucket(),
        prefix: String::new(),
        exact: false,
    };
    for which in [
        Requeue::All,
        Requeue::Peer(peer("b")),
        Requeue::Rule(rule("all")),
        keys,
    ] {
        assert_eq!(journal.requeue(which, at(3)).await.unwrap(), 0);
    }
    // A version that is sent once more is not purged for that, and its purge stays as it is.
    let name = held.change.name.clone();
    let version = Requeue::Version {
        peer: peer("b"),
        name,
    };
    assert_eq!(journal.requeue(version, at(3)).await.unwrap(), 1);
    complete_all(journal, 3).await;
    assert!(
        journal
            .lease(&peer("b"), 9, at(49))
            .await
            .unwrap()
            .is_empty()
    );
    let due = journal.lease(&peer("b"), 9, at(50)).await.unwrap();
    assert_eq!((due.len(), due[0].change.kind), (1, ChangeKind::Purge));
    // Recorded again while it is under way, it stays as it stands.
    journal
        .record(vec![purge("k", 1, Some(99))], at(51))
        .await
        .unwrap();
    assert_eq!(purge_of(journal, "k").await.next_try, at(50));
}

pub(super) async fn a_purge_that_was_left_out_or_given_up_is_queued_again(journal: &dyn Journal) {
    journal.record(vec![put("k", 1, 10)], at(1)).await.unwrap();
    complete_all(journal, 1).await;
    let counted = async |status| {
        let counts = journal.counts().await.unwrap();
        let of = counts.iter().filter(|count| count.status == status);
        of.map(|count| count.objects).sum::<u64>()
    };
    for (turn, failed) in [(1, false), (2, true)] {
        let recorded = journal
            .record(vec![purge("k", 1, None)], at(turn * 10))
            .await
            .unwrap();
        let leased = journal.lease(&peer("b"), 9, at(turn * 10)).await.unwrap();
        assert_eq!(leased[0].id, recorded[0]);
        let (reason, evidence) = (Reason::DstRetained, "held".to_owned());
        let outcome = match failed {
            true => TransferOutcome::Failed { reason, evidence },
            false => TransferOutcome::Skipped { reason, evidence },
        };
        let settlement = Settlement {
            id: leased[0].id,
            at: at(turn * 10 + 1),
            outcome,
        };
        journal.settle(vec![settlement]).await.unwrap();
        assert_eq!(counted(Status::Pending).await, 0);
    }
    journal
        .record(vec![purge("k", 1, Some(90))], at(40))
        .await
        .unwrap();
    let again = purge_of(journal, "k").await;
    assert_eq!(
        (again.status, again.attempts, again.next_try),
        (Status::Pending, 0, at(90))
    );
    assert_eq!(again.reason, Some(Reason::PurgeHeld));
    assert_eq!(counted(Status::Pending).await, 1);
    assert_eq!(
        counted(Status::Failed).await + counted(Status::Skipped).await,
        0
    );
    let due = journal.lease(&peer("b"), 9, at(90)).await.unwrap();
    journal
        .settle(vec![completed(&due[0], 2, at(91))])
        .await
        .unwrap();
    // What is done is done.
    journal
        .record(vec![purge("k", 1, None)], at(95))
        .await
        .unwrap();
    assert_eq!(purge_of(journal, "k").await.status, Status::Completed);
}

pub(super) async fn what_a_purge_is_found_by_does_not_fold(journal: &dyn Journal) {
    let changes = (1..=3).map(|n| put("k", n, 10)).collect();
    journal.record(changes, at(1)).await.unwrap();
    complete_all(journal, 1).await;
    let keep = || vec![rule("all")];
    let rows = async || -> Vec<_> {
        let rows = journal.transfers_of(&bucket(), &key("k"), 9).await.unwrap();
        let rows = rows
            .into_iter()
            .map(|row| (row.change.name.version.to_string(), row.change.kind));
        let mut rows: Vec<_> = rows.collect();
        rows.sort();
        rows
    };
    assert_eq!(journal.fold(at(99), keep(), 9).await.unwrap(), 0);
    journal
        .record(vec![purge("k", 3, None)], at(2))
        .await
        .unwrap();
    complete_all(journal, 2).await;
    // The version that was purged goes, then its purge; a purge is no later version.
    let mut folded = 0;
    for _ in 0..3 {
        folded += journal.fold(at(99), keep(), 9).await.unwrap();
    }
    let of = |version: &str, kind| (version.to_owned(), kind);
    let (content, gone) = (ChangeKind::Put, ChangeKind::Purge);
    let all = [
        of("v1", content),
        of("v2", content),
        of("v3", content),
        of("v3", gone),
    ];
    assert_eq!(rows().await, all);
    assert_eq!(folded, 0, "it is the newest of its key");
    journal.record(vec![put("k", 7, 10)], at(3)).await.unwrap();
    complete_all(journal, 3).await;
    for _ in 0..3 {
        folded += journal.fold(at(99), keep(), 9).await.unwrap();
    }
    assert_eq!(folded, 1);
    assert!(!rows().await.contains(&of("v3", content)));
    assert_eq!(
        journal.fold(at(99), Vec::new(), 9).await.unwrap(),
        2,
        "v1 and v2 of no such rule"
    );
}
