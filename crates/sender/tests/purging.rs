//! What was permanently deleted at a source that keeps versions.
#![allow(clippy::unwrap_used, reason = "a failure is what a test reports")]

mod near;

use std::{sync::Arc, time::Duration};

use near::{
    Near, complete, journal, peer, purging as rules, until,
    versioned::{Versioned, id, now},
};
use sealift_ledger::{Journal, Settlement, Transfer, TransferOutcome};
use sealift_terms::{ChangeKind, Reason, Status, Timestamp, limits};

const HOLD: Duration = Duration::from_secs(3600);

fn far_future() -> Timestamp {
    Timestamp::from_secs(4_000_000_000)
}

async fn transfers(journal: &dyn Journal, kind: ChangeKind) -> Vec<Transfer> {
    let list = sealift_ledger::ListTransfers {
        limit: 999,
        ..Default::default()
    };
    let all = journal.transfers(&list).await.unwrap();
    all.into_iter()
        .filter(|row| row.change.kind == kind)
        .collect()
}

async fn purges(journal: &dyn Journal) -> Vec<String> {
    let rows = transfers(journal, ChangeKind::Purge).await;
    let named = rows
        .iter()
        .map(|row| format!("{} {}", row.change.name.key, row.change.name.version));
    let mut named: Vec<_> = named.collect();
    named.sort();
    named
}

async fn filled(
    keys: usize,
    version_deletes: Option<Duration>,
) -> (tempfile::TempDir, Versioned, Near) {
    let dir = tempfile::tempdir().unwrap();
    let source = Versioned::default();
    for n in 0..keys {
        source.put(&format!("k{n:02}"), &format!("old{n}"));
        source.put(&format!("k{n:02}"), &format!("new{n}"));
    }
    let near = Near::begin(
        journal(dir.path()),
        Arc::new(source.clone()),
        rules(version_deletes),
    )
    .await;
    near.scan().await;
    complete(&*near.journal, now()).await;
    (dir, source, near)
}

#[tokio::test]
async fn what_is_gone_is_purged_later_and_only_where_a_rule_says_so() {
    let (_dir, source, near) = filled(5, None).await;
    source.purge("k00", "old0");
    near.scan().await;
    assert!(purges(&*near.journal).await.is_empty(), "no rule sends it");
    near.rules.send_replace(rules(Some(HOLD)));
    near.scan().await;
    until("the purge is recorded", async || {
        !purges(&*near.journal).await.is_empty()
    })
    .await;
    assert_eq!(purges(&*near.journal).await, ["k00 old0"]);
    let rows = transfers(&*near.journal, ChangeKind::Purge).await;
    assert_eq!(
        (rows[0].status, rows[0].reason),
        (Status::Pending, Some(Reason::PurgeHeld))
    );
    assert!(rows[0].next_try >= now().plus(HOLD - Duration::from_secs(60)));
    // It is recorded once.
    near.scan().await;
    assert_eq!(purges(&*near.journal).await.len(), 1);
    // The latest one is gone: the one below comes again at once, and the purge waits.
    source.purge("k01", "new1");
    near.scan().await;
    assert_eq!(purges(&*near.journal).await, ["k00 old0", "k01 new1"]);
    let puts = transfers(&*near.journal, ChangeKind::Put).await;
    let last = &puts.last().unwrap().change.name;
    assert!(
        last.version.as_str().starts_with("old1~returned-"),
        "{last}"
    );
    complete(&*near.journal, now()).await;
    // All of a key is gone: with it what came again.
    source.purge("k01", "old1");
    near.scan().await;
    let gone = purges(&*near.journal).await;
    assert_eq!(gone.len(), 4, "{gone:?}");
    assert!(gone.iter().any(|one| one.starts_with("k01 old1~returned-")));
    let markers = transfers(&*near.journal, ChangeKind::DeleteMarker).await;
    assert_eq!(markers.len(), 1, "a key without a version is removed");
    complete(&*near.journal, far_future()).await;
    near.scan().await;
    assert_eq!(
        purges(&*near.journal).await.len(),
        4,
        "a marker of ours stays"
    );
    // A marker of the source goes as versions do.
    source.remove("k02", "gone2");
    near.scan().await;
    complete(&*near.journal, now()).await;
    source.purge("k02", "gone2");
    near.scan().await;
    assert!(
        purges(&*near.journal)
            .await
            .contains(&"k02 gone2".to_owned())
    );
    near.end().await;
}

#[tokio::test]
async fn what_one_listing_lacks_and_the_source_has_is_not_purged() {
    let (_dir, source, near) = filled(5, Some(HOLD)).await;
    source.hidden.lock().insert(id("old0"));
    near.scan().await;
    near.scan().await;
    assert!(purges(&*near.journal).await.is_empty());
    near.end().await;
}

#[tokio::test]
async fn much_that_is_gone_at_once_waits_for_somebody_to_say_that_it_is_meant() {
    let keys = 24;
    let (_dir, source, near) = filled(keys, Some(HOLD)).await;
    let much = keys * 2 / limits::PURGES_PART_UNSUSPECTED as usize + 1;
    assert!(much as u64 > limits::PURGES_UNSUSPECTED_MAX);
    for n in 0..much {
        source.purge(&format!("k{n:02}"), &format!("old{n}"));
    }
    near.scan().await;
    let held = near.handle.status().purges_held.unwrap();
    assert_eq!((held.vanished, held.of), (much as u64, keys as u64 * 2));
    assert!(purges(&*near.journal).await.is_empty());
    assert_eq!(near.handle.accept_deletes(), Some(held));
    until("they are recorded", async || {
        purges(&*near.journal).await.len() == much
    })
    .await;
    near.scan().await;
    assert_eq!(
        near.handle.status().purges_held,
        None,
        "what waits is accepted"
    );
    // One more is too much again: those that wait count.
    source.purge("k23", "old23");
    near.scan().await;
    assert!(near.handle.status().purges_held.is_some());
    assert_eq!(purges(&*near.journal).await.len(), much);
    near.end().await;
}

#[tokio::test]
async fn a_purge_that_was_refused_is_asked_for_again_after_a_while_and_one_left_out_at_once() {
    let (_dir, source, near) = filled(5, Some(Duration::from_millis(1))).await;
    source.purge("k00", "old0");
    near.scan().await;
    let settle = async |reason: Reason, at: Timestamp| {
        let leased = near.journal.lease(&peer(), 9, far_future()).await.unwrap();
        assert_eq!(leased.len(), 1);
        let evidence = "a hold".to_owned();
        let outcome = match reason.status() {
            Status::Failed => TransferOutcome::Failed { reason, evidence },
            _ => TransferOutcome::Skipped { reason, evidence },
        };
        let id = leased[0].id;
        near.journal
            .settle(vec![Settlement { id, at, outcome }])
            .await
            .unwrap();
    };
    let status = async || transfers(&*near.journal, ChangeKind::Purge).await[0].status;
    settle(Reason::DstRetained, now()).await;
    near.scan().await;
    assert_eq!(status().await, Status::Failed);
    // As if an hour had gone by.
    near.journal
        .requeue(sealift_ledger::Requeue::All, now())
        .await
        .unwrap();
    settle(Reason::DstRetained, now().minus(limits::PURGE_ASKED_AGAIN)).await;
    near.scan().await;
    assert_eq!(status().await, Status::Pending);
    settle(Reason::SkippedPurge, now()).await;
    near.scan().await;
    assert_eq!(status().await, Status::Pending, "it is gone after all");
    near.end().await;
}
