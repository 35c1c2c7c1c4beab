use sealift_terms::{Checksum, Identity, PeerQuota, Quota, Reason};
use sealift_wire::checksum::crc64;

use super::site::*;
use crate::{ArchiveError, Begin, PeerQuotas, Quotas};

fn limit(running: &Running, bytes: Option<u64>, objects: Option<u64>) {
    let quota = Quota { bytes, objects };
    let quotas = Quotas::from([(bucket(), quota)]);
    running.archive.set_quotas(quotas);
}

async fn refusal(running: &Running, key: &str, size: usize) -> ArchiveError {
    let begun = running.archive.begin(offer(key, "v1", 1, size)).await;
    let error = begun.unwrap_err();
    assert_eq!(error.reason(), Reason::DstQuotaExceeded, "{error}");
    error
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_takes_no_more_than_its_quota_until_that_is_raised() {
    let site = Site::new();
    let running = site.open().await;
    limit(&running, Some(3 * PART as u64), None);
    let large = plain(1, 2 * PART + 1);
    running.store("large", "v1", 1, &large).await;
    let told = refusal(&running, "second", PART).await.to_string();
    assert!(told.contains("photos") && told.contains("196608"), "{told}");
    running.store("small", "v1", 1, b"fits").await;
    // What is here already is offered and found, whatever the quota.
    limit(&running, Some(1), None);
    let mut again = offer("large", "v1", 1, large.len());
    again.checksum = Some(Checksum::crc64nvme(crc64(&large)));
    let known = running.archive.begin(again).await.unwrap();
    assert!(matches!(known, Begin::Known(_)));
    limit(&running, None, Some(3));
    running.store("third", "v1", 1, b"").await;
    refusal(&running, "fourth", 0).await;
    running.archive.set_quotas(Quotas::new());
    running.store("fourth", "v1", 1, &plain(2, 3 * PART)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_on_its_way_in_counts_until_it_is_given_up() {
    let site = Site::new();
    let running = site.open().await;
    limit(&running, None, Some(1));
    let upload = running.upload(offer("first", "v1", 1, 2 * PART)).await;
    refusal(&running, "second", 1).await;
    running.archive.cancel(upload).await.unwrap();
    // It is counted until the catalog was asked again.
    tokio::time::sleep(crate::limits::QUOTA_READ).await;
    running.store("second", "v1", 1, b"x").await;
    // A restart knows what is there.
    drop(running);
    let running = site.open().await;
    limit(&running, None, Some(1));
    refusal(&running, "third", 1).await;
}

fn limit_peer(running: &Running, peer: Identity, quota: PeerQuota) {
    let quotas = PeerQuotas::from([(peer, quota)]);
    running.archive.set_peer_quotas(&quotas);
}

fn held(bytes: Option<u64>, objects: Option<u64>) -> PeerQuota {
    PeerQuota {
        held: Quota { bytes, objects },
        unfinished_bytes: None,
        rate: None,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_brings_no_more_than_its_quota_whoever_else_does_and_after_a_restart() {
    let site = Site::new();
    let running = site.open().await;
    limit_peer(&running, origin(), held(Some(PART as u64), None));
    running.store("one", "v1", 1, &plain(1, PART)).await;
    let told = refusal(&running, "two", 1).await.to_string();
    assert!(told.contains(origin().as_str()), "{told}");
    assert!(told.contains("65537 bytes, its quota is 65536"), "{told}");
    let counted = running.archive.senders().await.unwrap();
    assert_eq!(counted.len(), 1);
    assert_eq!((counted[0].objects, counted[0].bytes), (1, PART as u64));
    // An empty one takes no bytes. What others bring is not this peer's.
    running.store("empty", "v1", 1, b"").await;
    let other: Identity = "spiffe://example.org/region/a/agent/other".parse().unwrap();
    let mut of_other = offer("other", "v1", 1, PART);
    of_other.origin = other.clone();
    drop(running.archive.begin(of_other).await.unwrap());
    drop(running);

    let running = site.open().await;
    limit_peer(&running, origin(), held(None, Some(3)));
    running.store("third", "v1", 1, b"x").await;
    refusal(&running, "fourth", 1).await;
    // The quota of another is not this one's.
    limit_peer(&running, other, held(None, Some(1)));
    running.store("fourth", "v1", 1, b"x").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn unfinished_bytes_of_a_peer_are_held_until_they_are_finished_or_given_up() {
    let site = Site::new();
    let running = site.open().await;
    let quota = PeerQuota {
        held: Quota::default(),
        unfinished_bytes: Some(5 * PART as u64),
        rate: None,
    };
    limit_peer(&running, origin(), quota);
    let first = running.upload(offer("first", "v1", 1, 3 * PART)).await;
    assert_eq!(
        running.archive.unfinished_of_peers()[&origin()],
        3 * PART as u64
    );
    // To the byte.
    let second = running.upload(offer("second", "v1", 1, 2 * PART)).await;
    let told = refusal(&running, "third", PART + 1).await.to_string();
    assert!(told.contains("bytes unfinished"), "{told}");
    // Small objects rest in packs: nothing of them is unfinished for long.
    running.store("small", "v1", 1, b"x").await;
    // Its own is gone on with, and not counted twice.
    drop(second);
    let second = running.upload(offer("second", "v1", 1, 2 * PART)).await;
    drop((first, second));
    drop(running);

    // A restart knows them.
    let running = site.open().await;
    limit_peer(&running, origin(), quota);
    refusal(&running, "third", PART + 1).await;
    let first = running.upload(offer("first", "v1", 1, 3 * PART)).await;
    running.archive.cancel(first).await.unwrap();
    running.store("third", "v1", 1, &plain(1, 3 * PART)).await;
    assert_eq!(
        running.archive.unfinished_of_peers()[&origin()],
        2 * PART as u64
    );
}
