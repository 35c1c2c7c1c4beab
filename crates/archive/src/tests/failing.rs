use std::io;

use sealift_store::Call;
use sealift_terms::{PartIndex, Reason};

use super::site::*;

const SIZE: usize = 2 * PART + 1;

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_sync_abandons_the_file_and_its_parts_are_asked_again() {
    let site = Site::new();
    let running = site.open().await;
    for size in [100, SIZE] {
        let (bytes, key) = (plain(1, size), format!("k{size}"));
        running
            .store("before", &format!("v{size}"), 1, b"kept")
            .await;
        let upload = running.upload(offer(&key, "v1", 1, size)).await;
        for index in upload.missing() {
            send(&upload, index, &bytes).await.unwrap();
        }
        running.faults.fail(Call::Sync, 0, io::ErrorKind::Other);
        let error = running.archive.commit(upload, None).await.unwrap_err();
        assert_eq!(error.reason(), Reason::DstStoreUnavailable, "{error}");
        running.faults.heal();
        assert_eq!(
            running.listing().await.len(),
            1 + usize::from(size == SIZE) * 2
        );
        let upload = running.upload(offer(&key, "v1", 1, size)).await;
        assert!(upload.kept().is_empty());
        drop(upload);
        running
            .put(offer(&key, "v1", 1, size), &bytes)
            .await
            .unwrap();
        assert!(running.read(&key, None).await.unwrap() == bytes);
        assert_eq!(running.read("before", None).await.unwrap(), b"kept");
    }
    assert!(site.files_in("staging").is_empty());
    assert_eq!(site.budget.free(), site.budget.total());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_store_is_its_own_reason_and_recovers() {
    let site = Site::new();
    let running = site.open().await;
    running.store("warm", "v1", 1, b"up").await;
    let bytes = plain(1, SIZE);
    let upload = running.upload(offer("k", "v1", 1, SIZE)).await;
    running
        .faults
        .fail(Call::Write, 0, io::ErrorKind::StorageFull);
    let error = send(&upload, PartIndex(0), &bytes).await.unwrap_err();
    assert_eq!(error.reason(), Reason::DstStoreFull);
    let small = running.put(offer("s", "v1", 1, 10), &bytes[..10]).await;
    assert_eq!(small.unwrap_err().reason(), Reason::DstStoreFull);
    running.faults.heal();
    for index in upload.missing() {
        send(&upload, index, &bytes).await.unwrap();
    }
    running.archive.commit(upload, None).await.unwrap();
    running.store("s", "v1", 1, &bytes[..10]).await;
    assert!(running.read("k", None).await.unwrap() == bytes);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_publish_leaves_nothing_visible() {
    let site = Site::new();
    let running = site.open().await;
    running.store("warm", "v1", 1, b"up").await;
    let bytes = plain(1, SIZE);
    running.faults.fail(Call::Publish, 0, io::ErrorKind::Other);
    let error = running.put(offer("k", "v1", 1, SIZE), &bytes).await;
    assert_eq!(error.unwrap_err().reason(), Reason::DstStoreUnavailable);
    running.faults.heal();
    assert_eq!(running.listing().await.len(), 1);
    running.store("k", "v1", 1, &bytes).await;
    assert!(running.read("k", None).await.unwrap() == bytes);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disabled_key_stops_reading_too() {
    let site = Site::new();
    site.open().await.store("k", "v1", 1, b"content").await;
    site.keystore.disable(CMK).unwrap();
    let running = site.open().await;
    let error = running.read("k", None).await.unwrap_err();
    assert_eq!(error.reason(), Reason::DstKmsKeyDisabled);
    site.keystore.enable(CMK).unwrap();
    assert_eq!(running.read("k", None).await.unwrap(), b"content");
}
