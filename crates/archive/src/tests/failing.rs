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

/// Lets the catalog refuse every version, or take them again.
pub(super) fn refuse_versions(site: &Site, refuse: bool) {
    let db = rusqlite::Connection::open(site.dir.path().join("catalog.db")).unwrap();
    db.busy_timeout(std::time::Duration::from_secs(10)).unwrap();
    let sql = match refuse {
        true => {
            "CREATE TRIGGER refusing BEFORE INSERT ON versions
             BEGIN SELECT RAISE(ABORT, 'refused'); END"
        }
        false => "DROP TRIGGER refusing",
    };
    db.execute_batch(sql).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_catalog_did_not_take_leaves_nothing_behind_for_good() {
    let site = Site::new();
    let running = site.open().await;
    running.store("warm", "v1", 1, b"up").await;
    let large = plain(1, SIZE);
    // One part in a file of its own has no row; several parts have one.
    let mut one_part = offer("one", "v1", 1, (1 << 20) + 9);
    one_part.part_size = sealift_terms::PartSize::DEFAULT;
    let whole = plain(2, (1 << 20) + 9);
    refuse_versions(&site, true);
    let failed = [
        running.put(one_part.clone(), &whole).await,
        running.put(offer("k", "v1", 1, SIZE), &large).await,
    ];
    refuse_versions(&site, false);
    for failed in failed {
        assert_eq!(failed.unwrap_err().reason(), Reason::AuditUnavailable);
    }
    assert_eq!(running.archive.unfinished(), 1, "its row is still there");
    assert_eq!(site.files_in("store/objects").len(), 2);
    // Nothing is certain before another commit is durable.
    running.archive.sweep().await.unwrap();
    assert_eq!(site.files_in("store/objects").len(), 2);
    running.put(one_part, &whole).await.unwrap();
    running
        .put(offer("k", "v1", 1, SIZE), &large)
        .await
        .unwrap();
    assert_eq!(running.archive.unfinished(), 0);
    running.archive.sweep().await.unwrap();
    assert_eq!(site.files_in("store/objects").len(), 2);
    assert!(running.read("one", None).await.unwrap() == whole);
    assert!(running.read("k", None).await.unwrap() == large);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_published_object_that_cannot_be_taken_over_at_the_start_is_removed_with_its_row() {
    let site = Site::new();
    let running = site.open().await;
    running.store("warm", "v1", 1, b"up").await;
    refuse_versions(&site, true);
    let failed = running
        .put(offer("k", "v1", 1, SIZE), &plain(1, SIZE))
        .await;
    assert!(failed.is_err());
    running.archive.close().await;
    drop(running);
    // The catalog still refuses it at the next start.
    let running = site.open().await;
    refuse_versions(&site, false);
    assert!(site.files_in("store/objects").is_empty());
    assert_eq!(running.archive.unfinished(), 0);
    running.store("k", "v1", 1, &plain(1, SIZE)).await;
    assert_eq!(site.files_in("store/objects").len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_slow_store_makes_the_records_of_two_buckets_durable_side_by_side() {
    let site = Site::new();
    let (parts, _) = site.parts();
    let wait = std::time::Duration::from_millis(500);
    let store = sealift_store::Throttled::new(
        sealift_store::MemoryStore::new(),
        std::time::Duration::ZERO,
        wait,
    );
    let mut records = Vec::new();
    for name in ["one", "two"] {
        let bucket = sealift_terms::BucketName::new(name).unwrap();
        records.push(parts.ring.current(&bucket, CMK).await.unwrap());
    }
    let durable = crate::records::DurableRecords::default();
    let ensure = |open: &sealift_keys::OpenRecord| {
        let record = open.record().clone();
        let (durable, store, catalog) = (&durable, &store, &*parts.catalog);
        async move { durable.ensure(store, catalog, &record).await.unwrap() }
    };
    let begun = tokio::time::Instant::now();
    // Each is synced and published; the same one twice is written once.
    tokio::join!(
        ensure(&records[0]),
        ensure(&records[1]),
        ensure(&records[0])
    );
    let taken = begun.elapsed();
    assert!(taken >= 2 * wait && taken < 3 * wait, "{taken:?}");
    assert_eq!(parts.catalog.records(None, 9).await.unwrap().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_refuses_and_a_key_that_is_missing_have_their_own_reasons() {
    let site = Site::new();
    let running = site.open().await;
    running
        .faults
        .fail(Call::Create, 0, io::ErrorKind::PermissionDenied);
    let refused = running
        .put(offer("k", "v1", 1, SIZE), &plain(1, SIZE))
        .await;
    assert_eq!(refused.unwrap_err().reason(), Reason::DstPutDenied);
    running.faults.heal();
    let none = crate::Buckets::from([(bucket(), crate::BucketKey::shared("alias/none"))]);
    running.archive.set_buckets(none);
    let refused = running.archive.begin(offer("k", "v1", 1, SIZE)).await;
    assert_eq!(refused.unwrap_err().reason(), Reason::DstKmsKeyMissing);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pack_given_up_before_its_first_sync_is_no_damage() {
    let site = Site::new();
    let running = site.open().await;
    running.store("large", "v1", 1, &plain(1, SIZE)).await;
    running.faults.fail(Call::Sync, 0, io::ErrorKind::Other);
    let failed = running.put(offer("k", "v1", 1, 10), b"0123456789").await;
    assert!(failed.is_err());
    running.faults.heal();
    running.store("k", "v1", 1, b"0123456789").await;
    let findings = running.verify_deep().await;
    assert!(findings.is_empty(), "{findings:?}");
}
