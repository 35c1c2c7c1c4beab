//! What one peer may take, and that others have theirs whatever it takes.

use std::time::Duration;

use sealift_terms::{Identity, ObjectUid, PartIndex, PartSize, Reason, limits};

use super::site::*;
use crate::{Begin, Upload, staging::Registry};

const MIB: usize = 1 << 20;

fn another() -> Identity {
    "spiffe://t/region/r/agent/another".parse().unwrap()
}

impl Running {
    /// Begins a large object of one part, for a peer.
    async fn large(&self, key: &str, origin: &Identity) -> Result<Box<Upload>, Reason> {
        let mut large = offer(key, "v1", 1, 2 * MIB);
        large.part_size = PartSize::new(4 << 20).unwrap();
        large.origin = origin.clone();
        match self.archive.begin(large).await {
            Ok(Begin::Upload(upload)) => Ok(upload),
            Ok(other) => panic!("{other:?}"),
            Err(error) => Err(error.reason()),
        }
    }
}

fn uid(number: usize) -> ObjectUid {
    ObjectUid((number as u128).to_be_bytes())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_begins_files_and_sends_nothing_is_stopped_and_others_are_not() {
    let site = Site::new();
    let running = site.open().await;
    let registry = &running.archive.core.uploads;
    let most = limits::UNFINISHED_UPLOADS_PER_PEER_MAX;
    for number in 1..most {
        registry.admit(&origin(), uid(number), 1).unwrap();
    }
    let last = running.large("last", &origin()).await.unwrap();
    let one_more = running.large("one more", &origin()).await;
    assert_eq!(one_more.unwrap_err(), Reason::DstQuotaExceeded);
    running.large("other", &another()).await.unwrap();
    drop(last);
    running.large("one more", &origin()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn open_files_are_bounded_for_each_peer_and_in_all() {
    let mut site = Site::new();
    site.files_max = 4 * limits::PEER_SHARES;
    let running = site.open().await;
    let mut held = Vec::new();
    for number in 0..4 {
        let key = format!("k{number}");
        held.push(running.large(&key, &origin()).await.unwrap());
    }
    let refused = running.large("k5", &origin()).await;
    assert_eq!(refused.unwrap_err(), Reason::DstQuotaExceeded);
    for peer in 1..limits::PEER_SHARES {
        let peer = format!("spiffe://t/region/r/agent/p{peer}");
        let peer: Identity = peer.parse().unwrap();
        for number in 0..4 {
            let key = format!("{}-{number}", peer.name());
            held.push(running.large(&key, &peer).await.unwrap());
        }
    }
    let refused = running.large("all", &another()).await;
    assert_eq!(refused.unwrap_err(), Reason::DstQuotaExceeded);
    held.pop();
    running.large("all", &another()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn files_that_nobody_writes_to_give_way() {
    let mut site = Site::new();
    site.files_max = 2 * limits::PEER_SHARES;
    let running = site.open().await;
    let bytes = plain(1, 3 * PART);
    for number in 0..6 {
        let upload = once_others_give_way(&running, &format!("k{number}"), bytes.len()).await;
        send(&upload, PartIndex(0), &bytes).await.unwrap();
    }
    // Closed meanwhile, and found again.
    let upload = once_others_give_way(&running, "k0", bytes.len()).await;
    assert_eq!(upload.kept(), [PartIndex(0)]);
}

/// Begins an upload, as soon as a part of those before is no more on its way into the
/// ledger.
async fn once_others_give_way(running: &Running, key: &str, size: usize) -> Box<Upload> {
    let begin = async {
        loop {
            match running.archive.begin(offer(key, "v1", 1, size)).await {
                Ok(Begin::Upload(upload)) => return upload,
                Ok(other) => panic!("{other:?}"),
                Err(error) => assert_eq!(error.reason(), Reason::DstQuotaExceeded),
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let begun = tokio::time::timeout(Duration::from_secs(10), begin).await;
    begun.expect("they do not give way")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_opens_parts_and_sends_nothing_does_not_hold_up_another() {
    let site = Site::new();
    let running = site.open().await;
    let upload = |key: &'static str, origin: Identity| {
        let mut large = offer(key, "v1", 1, 64 * MIB);
        large.part_size = PartSize::new(2 << 20).unwrap();
        large.origin = origin;
        running.upload(large)
    };
    let greedy = upload("greedy", origin()).await;
    let mut parts = Vec::new();
    loop {
        let index = PartIndex(parts.len() as u32);
        let part = greedy.part(index, 2 << 20);
        match tokio::time::timeout(Duration::from_millis(300), part).await {
            Ok(part) => parts.push(part.unwrap()),
            Err(_waits) => break,
        }
        assert!(parts.len() < 32, "there is no end");
    }
    assert!(site.budget.free() >= site.budget.total() / 2);
    let other = upload("other", another()).await;
    let part = other.part(PartIndex(0), 2 << 20);
    let part = tokio::time::timeout(Duration::from_secs(5), part).await;
    assert!(part.is_ok(), "held up by another peer");
}

#[test]
fn an_upload_that_ends_twice_is_counted_down_once() {
    let registry = Registry::default();
    let whose = |number: usize| (origin(), name("k", &format!("v{number}")));
    registry.admit(&origin(), uid(1), 1).unwrap();
    registry.admit(&origin(), uid(2), 1).unwrap();
    // A commit that failed, and the clearing up behind it.
    registry.close(&whose(1), uid(1));
    assert_eq!(registry.count(), 2);
    registry.ended(&whose(1), uid(1));
    registry.ended(&whose(1), uid(1));
    assert_eq!(registry.count(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn asking_whether_a_bucket_can_be_sealed_in_uses_up_no_record() {
    let site = Site::new();
    let running = site.open().await;
    running.store("before", "v1", 1, b"x").await;
    let calls = running.archive.key_calls();
    for _ in 0..100 {
        running.archive.try_bucket(&bucket()).await.unwrap();
    }
    assert_eq!(running.archive.key_calls(), calls, "an object was counted");
}
