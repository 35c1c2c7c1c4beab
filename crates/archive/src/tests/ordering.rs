use sealift_terms::{AuditKind, Checksum, Reason};
use sealift_wire::checksum::crc64;

use super::site::*;
use crate::{ArchiveError, Begin, Offer, rebuild};

#[tokio::test(flavor = "multi_thread")]
async fn latest_is_the_highest_order_whatever_arrived_first() {
    let site = Site::new();
    let running = site.open().await;
    running.store("k", "v2", 2, b"second").await;
    running.store("k", "v3", 3, b"third").await;
    running.store("k", "v1", 1, b"first").await;
    assert_eq!(running.read("k", None).await.unwrap(), b"third");
    assert_eq!(running.read("k", Some("v1")).await.unwrap(), b"first");
    assert_eq!(running.listing().await.len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_known_version_with_the_same_checksum_gets_its_stored_receipt() {
    let site = Site::new();
    let running = site.open().await;
    for size in [50, 2 * PART + 1] {
        let bytes = plain(1, size);
        let key = format!("k{size}");
        let mut again = offer(&key, "v1", 1, size);
        again.checksum = Some(Checksum::crc64nvme(crc64(&bytes)));
        let receipt = running.put(again.clone(), &bytes).await.unwrap();
        let known = running.archive.begin(again.clone()).await.unwrap();
        assert!(matches!(known, Begin::Known(known) if *known == receipt));
        // The same, with its data under way already.
        again.data_follows = true;
        assert_eq!(running.put(again, &bytes).await.unwrap(), receipt);
    }
    assert_eq!(running.listing().await.len(), 2);
    assert_eq!(site.files_in("store/objects").len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_known_version_with_other_content_is_a_conflict_on_record() {
    let site = Site::new();
    let running = site.open().await;
    let bytes = plain(1, 100);
    running.store("k", "v1", 1, &bytes).await;
    let other = plain(2, 100);
    let mut conflicting = offer("k", "v1", 1, 100);
    conflicting.checksum = Some(Checksum::crc64nvme(crc64(&other)));
    let begin = running.archive.begin(conflicting.clone()).await.unwrap();
    assert!(matches!(begin, Begin::Conflict { .. }));
    assert!(site.audit.has(AuditKind::ObjectConflict));
    conflicting.data_follows = true;
    let error = running.put(conflicting, &other).await.unwrap_err();
    assert_eq!(error.reason(), Reason::ChecksumMismatch);
    assert_eq!(running.read("k", None).await.unwrap(), bytes);
}

#[tokio::test(flavor = "multi_thread")]
async fn refused_content_does_not_come_back_with_a_rebuild() {
    let site = Site::new();
    let running = site.open().await;
    for (i, size) in [100, 2 * PART].into_iter().enumerate() {
        let key = format!("k{size}");
        let (good, bad) = (plain(i as u8, size), plain(9, size));
        let mut racing = offer(&key, "v1", 1, size);
        racing.data_follows = true;
        let other = Offer {
            origin: session().receiver,
            ..racing.clone()
        };
        // Both are on their way before either is stored.
        let uploads = [running.upload(racing).await, running.upload(other).await];
        for (upload, bytes) in uploads.iter().zip([&good, &bad]) {
            for index in upload.missing() {
                send(upload, index, bytes).await.unwrap();
            }
        }
        let [first, second] = uploads;
        running.archive.commit(first, None).await.unwrap();
        let error = running.archive.commit(second, None).await.unwrap_err();
        assert!(matches!(error, ArchiveError::Conflict { .. }), "{error}");
    }
    assert_eq!(running.archive.unfinished(), 0);
    drop(running);
    rebuild(site.parts().0, "test", &mut drop).await.unwrap();
    let running = site.open().await;
    assert_eq!(running.read("k100", None).await.unwrap(), plain(0, 100));
    assert!(running.read(&format!("k{}", 2 * PART), None).await.unwrap() == plain(1, 2 * PART));
}
