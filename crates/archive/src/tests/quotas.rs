use sealift_terms::{Checksum, Quota, Reason};
use sealift_wire::checksum::crc64;

use super::site::*;
use crate::{ArchiveError, Begin, Quotas};

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
