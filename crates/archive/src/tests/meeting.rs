//! What is written here and what comes from another region, of the same keys.

use std::{sync::Arc, time::Duration};

use sealift_ledger::ListVersions;
use sealift_terms::{Clock, ObjectKey, Order, Reason};

use super::{site::*, writing::Later};
use crate::is_written_here;

/// The clock here, in milliseconds.
fn now() -> u64 {
    sealift_host::OsClock.now().as_millis().unsigned_abs()
}

impl Running {
    /// What was counted. A number is counted behind the answer, and before the next commit.
    async fn conflicts_settled(&self) -> u64 {
        self.write("the next commit", b"").await.unwrap();
        self.archive.conflicts_settled()
    }

    async fn latest(&self, key: &str) -> Order {
        let key = ObjectKey::new(key).unwrap();
        let row = self.archive.find(&bucket(), &key, None).await;
        row.unwrap().order
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_arrives_below_a_later_version_is_counted_where_it_is_written_as_well() {
    let site = Site::new();
    let running = site.open().await;
    let archive = &running.archive;
    let receive = async |key: &str, version: &str, clock: u64| {
        running.store(key, version, clock, version.as_bytes()).await;
        running.conflicts_settled().await
    };
    let before = now() - 1_000;
    running.write("k", b"ours").await.unwrap();
    assert_eq!(receive("k", "v0", before).await, 0, "nobody writes here");
    archive.promote(&bucket(), "uid 0").await.unwrap();
    assert_eq!(receive("k", "v1", before).await, 1);
    assert_eq!(receive("k", "v2", now() + 5_000).await, 1, "it is later");
    assert_eq!(receive("k", "v3", before).await, 1, "both are theirs");
    assert_eq!(receive("other", "v4", before).await, 1);
    // The same once more is none of two.
    let mut again = offer("k", "v1", before, 2);
    again.data_follows = true;
    running.put(again, b"v1").await.unwrap();
    assert_eq!(running.conflicts_settled().await, 1);
    running.write("k", b"ours again").await.unwrap();
    assert_eq!(receive("k", "v5", before).await, 2);
    archive.close().await;
    drop(running);
    // A promotion counts from the start on.
    let running = site.open().await;
    running.store("k", "v6", before, b"v6").await;
    assert_eq!(running.conflicts_settled().await, 1);
    running.archive.demote(&bucket()).await.unwrap();
    running.store("k", "v7", before, b"v7").await;
    assert_eq!(running.conflicts_settled().await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_is_above_what_came_and_a_fast_clock_elsewhere_dates_no_other_key() {
    let site = Site::new();
    let running = site.open().await;
    let ahead = now() + 50_000;
    running.store("theirs", "v1", ahead, b"theirs").await;
    let above = running.latest("theirs").await;
    running.write("theirs", b"ours").await.unwrap();
    assert!(running.latest("theirs").await > above);
    running.write("other", b"ours").await.unwrap();
    assert!(running.latest("other").await.clock >> 16 < ahead - 20_000);
    running.archive.close().await;
    drop(running);
    // A restart forgets nothing of it.
    let running = site.open().await;
    let above = running.latest("theirs").await;
    running.write("theirs", b"again").await.unwrap();
    assert!(running.latest("theirs").await > above);
    let list = ListVersions {
        bucket: bucket(),
        prefix: String::new(),
        all: true,
        after: None,
        limit: 10,
    };
    let rows = running.archive.list(&list).await.unwrap().rows;
    let here = region();
    let ours = rows.iter().filter(|row| is_written_here(row, &here));
    assert_eq!((ours.count(), rows.len()), (3, 4));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_here_that_was_wrong_holds_up_no_key_but_those_that_it_dated() {
    let site = Site::new();
    let clock = Arc::new(Later(Default::default()));
    let running = site.open_at(clock.clone()).await;
    *clock.0.lock() = Duration::from_secs(600);
    running.write("dated", b"in the future").await.unwrap();
    *clock.0.lock() = Duration::ZERO;
    let error = running.write("dated", b"now").await.unwrap_err();
    assert_eq!(error.reason(), Reason::ClockSkew, "{error}");
    running.write("other", b"now").await.unwrap();
    let written = running.latest("other").await.clock >> 16;
    assert!(written < now() + 60_000);
    // A step back within what is let in is not seen: the next is above the last.
    *clock.0.lock() = Duration::from_secs(30);
    running.write("one", b"1").await.unwrap();
    *clock.0.lock() = Duration::ZERO;
    running.write("two", b"2").await.unwrap();
    assert!(running.latest("two").await.clock > running.latest("one").await.clock);
}
