//! What becomes of versions that were sent so long ago that the journal has no row of them.
#![allow(clippy::unwrap_used, reason = "a failure is what a test reports")]

mod near;

use std::sync::Arc;

use near::{
    Near, complete, journal, purging as rules,
    versioned::{Versioned, key, now},
};
use sealift_terms::{ChangeKind, Timestamp};

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

fn far_future() -> Timestamp {
    Timestamp::from_secs(4_000_000_000)
}
