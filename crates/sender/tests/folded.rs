//! What becomes of versions that were sent so long ago that the journal has no row of them.
#![allow(clippy::unwrap_used, reason = "a failure is what a test reports")]

mod near;

use std::sync::Arc;

use near::{
    Near, bucket, complete, journal, peer, purging as rules,
    versioned::{Versioned, key, now},
};
use sealift_ledger::{Journal, NewChange};
use sealift_sender::Refilling;
use sealift_terms::{ChangeKind, Order, Timestamp};

async fn begun() -> (tempfile::TempDir, Versioned, Near) {
    let dir = tempfile::tempdir().unwrap();
    let source = Versioned::default();
    let of = Arc::new(source.clone());
    let near = Near::begin(journal(dir.path()), of, rules(None)).await;
    (dir, source, near)
}

/// Everything is at the peer, and was long ago: rows are folded as far as they may be.
async fn age(near: &Near) {
    near.scan().await;
    complete(&*near.journal, now()).await;
    let later = far_future();
    while near.journal.fold(later, Vec::new(), 999).await.unwrap() > 0 {}
}

/// The last change of a key: its version, and what happened.
async fn last_of(near: &Near, of: &str) -> (String, ChangeKind) {
    let bucket = near::bucket();
    let rows = near.journal.transfers_of(&bucket, &key(of), 1).await;
    let last = rows.unwrap().remove(0).change;
    (last.name.version.to_string(), last.kind)
}

#[tokio::test]
async fn a_version_that_is_the_latest_again_goes_above_what_was_sent_when_its_row_is_folded_too() {
    let (_dir, source, near) = begun().await;
    for of in ["undeleted", "undone", "removed"] {
        source.put(of, &format!("{of}-1"));
    }
    source.remove("removed", "removed-2");
    age(&near).await;
    // A marker above a version, a version above one, and one above a marker.
    source.remove("undeleted", "undeleted-2");
    source.put("undone", "undone-2");
    source.put("removed", "removed-3");
    age(&near).await;
    assert_eq!(
        last_of(&near, "undeleted").await,
        ("undeleted-2".to_owned(), ChangeKind::DeleteMarker)
    );
    let before = near.transfers().await.len();
    for of in ["undeleted-2", "undone-2", "removed-3"] {
        source.purge(of.rsplit_once('-').unwrap().0, of);
    }
    near.scan().await;
    for of in ["undeleted", "undone"] {
        let (version, kind) = last_of(&near, of).await;
        assert_eq!(kind, ChangeKind::Put);
        assert!(
            version.starts_with(&format!("{of}-1~returned-")),
            "{version}"
        );
    }
    let (version, kind) = last_of(&near, "removed").await;
    assert_eq!(kind, ChangeKind::DeleteMarker);
    assert!(version.starts_with("deleted-"), "{version}");
    // What lies below the marker is offered again, and answered from what is there.
    assert_eq!(near.transfers().await.len(), before + 4);
    // It is said once, and what is new keeps its id.
    source.put("undeleted", "undeleted-3");
    near.scan().await;
    near.scan().await;
    let (version, _) = last_of(&near, "undeleted").await;
    assert_eq!(version, "undeleted-3");
    assert_eq!(near.transfers().await.len(), before + 5);
    near.end().await;
}

/// Azure has no delete markers: what is soft-deleted is gone from its listing, and undeleted it is
/// there again as it was.
#[tokio::test]
async fn a_version_that_is_back_after_a_marker_of_ours_goes_above_that_when_its_row_is_folded_too()
{
    let (_dir, source, near) = begun().await;
    source.put_long_ago("k", "k-1");
    age(&near).await;
    source.purge("k", "k-1");
    age(&near).await;
    let (version, kind) = last_of(&near, "k").await;
    assert!(version.starts_with("deleted-") && kind == ChangeKind::DeleteMarker);
    source.put_long_ago("k", "k-1");
    age(&near).await;
    let (version, kind) = last_of(&near, "k").await;
    assert_eq!(kind, ChangeKind::Put);
    assert!(version.starts_with("k-1~returned-"), "{version}");
    // And once more; what is new keeps its id.
    source.purge("k", "k-1");
    age(&near).await;
    source.put("k", "k-2");
    near.scan().await;
    assert_eq!(last_of(&near, "k").await.0, "k-2");
    near.end().await;
}

/// What the source has and the journal has not: versions and their orders, the oldest first.
async fn missing(journal: &dyn Journal, source: &Versioned, of: &str) -> Vec<NewChange> {
    let (bucket, rules) = (bucket(), rules(None));
    let refilling = Refilling {
        bucket: &bucket,
        source,
        journal,
        rules: &rules,
    };
    let found = refilling.of_key(&key(of)).await.unwrap();
    let to_far =
        |new: &NewChange| new.destinations.len() == 1 && new.destinations[0].peer == peer();
    assert!(found.iter().all(to_far), "{found:?}");
    found
}

fn names(found: &[NewChange]) -> Vec<&str> {
    let names = found.iter().map(|new| new.change.name.version.as_str());
    names.collect()
}

#[tokio::test]
async fn what_has_no_row_is_found_in_the_source_and_stands_where_it_stood() {
    let (_dir, source, near) = begun().await;
    source.put("k", "v1");
    source.remove("k", "v2");
    source.put("k", "v3");
    near.scan().await;
    complete(&*near.journal, now()).await;
    source.put("k", "v4");
    near.scan().await;
    source.put("k", "v5");
    near.scan().await;
    let before: Vec<Order> = near
        .transfers()
        .await
        .into_iter()
        .map(|row| row.change.order)
        .collect();
    let journal = near.journal.clone();
    near.end().await;
    assert!(missing(&*journal, &source, "k").await.is_empty());
    // The fourth waits on, and keeps its row; so does the last.
    let leased = journal.lease(&peer(), 9, now()).await.unwrap();
    journal.release(&[leased[0].id]);
    assert_eq!(leased[1].change.name.version.as_str(), "v5");
    near::settle(&*journal, &leased[1..], now()).await;
    while journal.fold(far_future(), Vec::new(), 9).await.unwrap() > 0 {}
    assert_eq!(near::all(&*journal).await.len(), 2);

    let found = missing(&*journal, &source, "k").await;
    assert_eq!(names(&found), ["v1", "v2", "v3"]);
    let kinds: Vec<_> = found.iter().map(|new| new.change.kind).collect();
    assert_eq!(
        kinds,
        [ChangeKind::Put, ChangeKind::DeleteMarker, ChangeKind::Put]
    );
    let orders: Vec<_> = found.iter().map(|new| &new.change.order).collect();
    assert!(orders.is_sorted_by(|a, b| a < b), "{orders:?}");
    assert!(*orders[2] < before[3], "below the fourth, which has a row");
    assert_eq!(
        found,
        missing(&*journal, &source, "k").await,
        "the same again"
    );
    // What is new is left to who gives it its order.
    source.put("k", "v6");
    assert_eq!(missing(&*journal, &source, "k").await, found);
    source.purge("k", "v5");
    source.purge("k", "v6");
    assert!(missing(&*journal, &source, "k").await.is_empty());
    source.put("k", "v5");
    journal.record(found, now()).await.unwrap();
    assert!(missing(&*journal, &source, "k").await.is_empty());
    // What is sent again changes nothing of what is known.
    let known = journal.known(&bucket(), &key("k")).await.unwrap();
    assert_eq!(known.unwrap().version.as_str(), "v5");
}

#[tokio::test]
async fn of_a_deleted_key_the_marker_has_its_row_and_the_rest_is_in_the_source() {
    let (_dir, source, near) = begun().await;
    source.put("k", "v1");
    source.remove("k", "v2");
    age(&near).await;
    let rows = near.transfers().await;
    assert_eq!(rows.len(), 1);
    assert_eq!(rows[0].change.kind, ChangeKind::DeleteMarker);
    let found = missing(&*near.journal, &source, "k").await;
    assert_eq!(names(&found), ["v1"]);
    assert!(found[0].change.order < rows[0].change.order);
    near.end().await;
}

fn far_future() -> Timestamp {
    Timestamp::from_secs(4_000_000_000)
}
