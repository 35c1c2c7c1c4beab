use std::fs;

use sealift_terms::{
    AuditKind, ChangeKind, Checksum, PartIndex, PartSize, Reason, Timestamp, limits,
};
use sealift_wire::checksum::crc64;

use super::site::*;
use crate::{ArchiveError, Begin, Depth};

#[tokio::test(flavor = "multi_thread")]
async fn every_size_comes_back_as_it_was_sent() {
    let site = Site::new();
    let running = site.open().await;
    let sizes = [
        0,
        1,
        16_383,
        16_384,
        PART - 1,
        PART,
        PART + 1,
        3 * PART,
        5 * PART + 17,
    ];
    for (i, size) in sizes.into_iter().enumerate() {
        let bytes = plain(i as u8, size);
        let key = format!("k{size}");
        let receipt = running
            .put(offer(&key, "v1", 1, size), &bytes)
            .await
            .unwrap();
        assert_eq!((receipt.size, &receipt.region), (size as u64, &region()));
        assert_eq!(receipt.checksum, Some(Checksum::crc64nvme(crc64(&bytes))));
        assert_eq!(receipt.cmk_version, "1");
        assert!(running.read(&key, None).await.unwrap() == bytes, "{size}");
    }
    let mut findings = Vec::new();
    let mut sink = |finding| findings.push(finding);
    let summary = running
        .archive
        .verify(Depth::Deep, &mut sink)
        .await
        .unwrap();
    assert!(findings.is_empty(), "{findings:?}");
    assert_eq!(summary.versions, sizes.len() as u64);
    // One record for all: the provider was called once.
    assert_eq!(running.archive.key_calls().calls_made, 1);
    assert_eq!(site.budget.free(), site.budget.total());
    assert!(site.files_in("staging").is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_object_of_one_part_is_a_file_and_leaves_no_row() {
    let site = Site::new();
    let running = site.open().await;
    let size = (limits::PACKED_OBJECT_BYTES_MAX + 1) as usize;
    let bytes = plain(1, size);
    let mut large = offer("k", "v1", 1, size);
    large.part_size = PartSize::DEFAULT;
    let abandoned = running.upload(large.clone()).await;
    assert_eq!(abandoned.parts(), 1);
    drop(abandoned);
    running.put(large, &bytes).await.unwrap();
    // What was abandoned is removed beside, by a task of its own.
    let gone = async {
        while running.archive.unfinished() != 0 {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    };
    let gone = tokio::time::timeout(std::time::Duration::from_secs(10), gone);
    gone.await.expect("an abandoned upload stays");
    assert!(running.read("k", None).await.unwrap() == bytes);
}

#[tokio::test(flavor = "multi_thread")]
async fn ranges_are_read_across_parts() {
    let site = Site::new();
    let running = site.open().await;
    let bytes = plain(3, 3 * PART + 100);
    running.store("k", "v1", 1, &bytes).await;
    let key = "k".parse().unwrap();
    let reader = running
        .archive
        .open_object("test", &bucket(), &key, None)
        .await
        .unwrap();
    let wanted = PART as u64 - 10..2 * PART as u64 + 10;
    let mut range = reader.range(wanted.clone()).unwrap();
    let mut read = Vec::new();
    while let Some(run) = range.next_run().unwrap() {
        read.extend_from_slice(run);
    }
    assert!(read == bytes[wanted.start as usize..wanted.end as usize]);
    assert!(site.audit.has(AuditKind::ObjectOpened));
}

#[tokio::test(flavor = "multi_thread")]
async fn no_24_bytes_of_plaintext_are_under_the_data_directory() {
    let site = Site::new();
    let running = site.open().await;
    let (small, large) = (plain(1, 5000), plain(2, 3 * PART + 5));
    running.store("small", "v1", 1, &small).await;
    running.store("large", "v1", 1, &large).await;
    let unfinished = plain(3, 2 * PART);
    let upload = running.upload(offer("unfinished", "v1", 1, 2 * PART)).await;
    send(&upload, PartIndex(0), &unfinished).await.unwrap();
    running.archive.close().await;
    let mut known = std::collections::HashSet::new();
    for source in [&small, &large, &unfinished] {
        known.extend(source.windows(24));
    }
    let secret: &[u8] = b"a secret of the user's own";
    let files = site.files();
    assert!(files.len() > 4);
    for path in files {
        let bytes = fs::read(&path).unwrap();
        let found = bytes.windows(24).any(|window| known.contains(window));
        assert!(!found, "plaintext in {}", path.display());
        let found = bytes.windows(secret.len()).any(|window| window == secret);
        assert!(!found, "metadata in {}", path.display());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_visible_before_its_commit() {
    let site = Site::new();
    let running = site.open().await;
    for size in [100, 2 * PART] {
        let bytes = plain(1, size);
        let upload = running
            .upload(offer("k", &format!("v{size}"), 1, size))
            .await;
        for index in upload.missing() {
            send(&upload, index, &bytes).await.unwrap();
        }
        assert!(running.listing().await.is_empty());
        drop(upload);
    }
    let again = site.open().await;
    assert!(again.listing().await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn offers_that_cannot_be_stored_are_refused_with_their_reason() {
    let site = Site::new();
    let running = site.open().await;
    let refused = async |change: &dyn Fn(&mut crate::Offer)| {
        let mut bad = offer("k", "v1", 1, 10);
        change(&mut bad);
        running.archive.begin(bad).await.unwrap_err().reason()
    };
    let reason = refused(&|o| o.change.name.bucket = "other".parse().unwrap()).await;
    assert_eq!(reason, Reason::DstBucketMissing);
    let reason = refused(&|o| o.change.facts.size = limits::OBJECT_BYTES_MAX + 1).await;
    assert_eq!(reason, Reason::DstObjectTooLarge);
    let ahead = limits::CLOCK_SKEW_MAX.as_millis() as u64 + 5000;
    let now = sealift_host::OsClock;
    let now = sealift_terms::Clock::now(&now).as_millis() as u64;
    let reason = refused(&|o| o.change.order.clock = (now + ahead) << 16).await;
    assert_eq!(reason, Reason::ClockSkew);
    site.keystore.disable(CMK).unwrap();
    assert_eq!(refused(&|_| ()).await, Reason::DstKmsKeyDisabled);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_has_a_bounded_number_of_unfinished_uploads() {
    let site = Site::new();
    let running = site.open().await;
    for i in 0..limits::UNFINISHED_UPLOADS_PER_PEER_MAX {
        let uid = sealift_terms::ObjectUid((i as u128).to_be_bytes());
        running
            .archive
            .core
            .uploads
            .admit(&origin(), uid, 1)
            .unwrap();
        assert_eq!(running.archive.unfinished(), i + 1);
    }
    let error = running.archive.begin(offer("k", "v1", 1, 2 * PART)).await;
    assert_eq!(error.unwrap_err().reason(), Reason::DstQuotaExceeded);
    running.store("small", "v1", 1, b"has no row").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_arrives_wrong_is_refused_and_can_be_sent_again() {
    let site = Site::new();
    let running = site.open().await;
    for size in [100, 2 * PART] {
        let (bytes, key) = (plain(1, size), format!("k{size}"));
        let upload = running.upload(offer(&key, "v1", 1, size)).await;
        let first = part_of(&upload, PartIndex(0), &bytes);
        let mut writer = upload.part(PartIndex(0), first.len() as u32).await.unwrap();
        writer.write(first).await.unwrap();
        let error = writer.finish(crc64(first) ^ 1).await.unwrap_err();
        assert_eq!(error.reason(), Reason::ChecksumMismatch);
        assert_eq!(upload.missing().len(), upload.parts() as usize);
        for index in upload.missing() {
            send(&upload, index, &bytes).await.unwrap();
        }
        let wrong = Checksum::crc64nvme(crc64(&bytes) ^ 1);
        let error = running
            .archive
            .commit(upload, Some(wrong))
            .await
            .unwrap_err();
        assert_eq!(error.reason(), Reason::ChecksumMismatch);
        running.store(&key, "v1", 1, &bytes).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn parts_that_the_object_has_not_are_refused() {
    let site = Site::new();
    let running = site.open().await;
    let upload = running.upload(offer("k", "v1", 1, PART + 5)).await;
    for (index, len) in [(0, 5), (1, PART as u32), (1, 4), (2, 0)] {
        let error = upload.part(PartIndex(index), len).await.unwrap_err();
        assert!(matches!(error, ArchiveError::Misuse(_)), "{index} {len}");
    }
    let error = running.archive.commit(upload, None).await.unwrap_err();
    assert!(matches!(error, ArchiveError::PartsMissing { missing: 2 }));
}

#[tokio::test(flavor = "multi_thread")]
async fn many_objects_share_packs_and_commits() {
    let site = Site::new();
    let running = std::sync::Arc::new(site.open().await);
    let mut tasks = tokio::task::JoinSet::new();
    for i in 0..200u32 {
        let running = running.clone();
        tasks.spawn(async move {
            let bytes = plain(i as u8, 4096);
            let mut small = offer(&format!("k{i:03}"), "v1", 1, 4096);
            small.data_follows = true;
            running.put(small, &bytes).await.unwrap()
        });
    }
    let receipts = tasks.join_all().await;
    assert_eq!(receipts.len(), 200);
    assert_eq!(running.listing().await.len(), 200);
    assert!(site.files_in("store/packs").len() == 1);
    let sequences: std::collections::HashSet<_> =
        receipts.iter().map(|receipt| receipt.sequence).collect();
    assert!(
        sequences.len() < 200,
        "every object had a commit of its own"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn idle_uploads_are_deleted_and_reported_after_seven_days() {
    let site = Site::new();
    let start = Timestamp::from_secs(1_790_000_000);
    let clock = std::sync::Arc::new(HandClock(parking_lot::Mutex::new(start)));
    let running = site.open_at(clock.clone()).await;
    let upload = running.upload(offer("k", "v1", 1, 2 * PART)).await;
    drop(upload);
    assert_eq!(running.archive.sweep().await.unwrap(), 0);
    *clock.0.lock() = start.plus(limits::STAGING_IDLE_MAX);
    assert_eq!(running.archive.sweep().await.unwrap(), 1);
    assert_eq!(running.archive.unfinished(), 0);
    assert!(site.files_in("staging").is_empty());
    assert!(site.audit.has(AuditKind::UploadExpired));
}

#[tokio::test(flavor = "multi_thread")]
async fn tags_and_delete_markers_need_no_parts() {
    let site = Site::new();
    let running = site.open().await;
    running.store("k", "v1", 1, b"content").await;
    let mut tags = offer("k", "v1", 2, 0);
    tags.change.kind = ChangeKind::Tags;
    tags.change
        .facts
        .tags
        .insert("colour".into(), "blue".into());
    let upload = running.upload(tags).await;
    assert_eq!(upload.parts(), 0);
    running.archive.commit(upload, None).await.unwrap();
    let row = &running.listing().await[0];
    assert_eq!(
        row.facts.tags.get("colour").map(String::as_str),
        Some("blue")
    );

    let mut marker = offer("k", "d1", 3, 0);
    marker.change.kind = ChangeKind::DeleteMarker;
    let upload = running.upload(marker.clone()).await;
    let receipt = running.archive.commit(upload, None).await.unwrap();
    assert_eq!(receipt.checksum, None);
    let error = running.read("k", None).await.unwrap_err();
    assert!(matches!(error, ArchiveError::DeleteMarker(_)));
    assert_eq!(running.read("k", Some("v1")).await.unwrap(), b"content");
    let again = running.archive.begin(marker).await.unwrap();
    assert!(matches!(again, Begin::Known(known) if *known == receipt));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pack_is_closed_at_64_mib_and_another_one_begun() {
    let site = Site::new();
    let running = site.open().await;
    let size = limits::PACKED_OBJECT_BYTES_MAX as usize;
    let bytes = plain(1, size);
    for n in 0..66 {
        let mut small = offer(&format!("k{n}"), "v1", 1, size);
        small.part_size = PartSize::DEFAULT;
        running.put(small, &bytes).await.unwrap();
    }
    let lens: Vec<u64> = site
        .files_in("store/packs")
        .iter()
        .map(|path| std::fs::metadata(path).unwrap().len())
        .collect();
    assert_eq!(lens.len(), 2, "{lens:?}");
    let longest = limits::PACK_BYTES_MAX + limits::PACKED_OBJECT_BYTES_MAX * 2;
    assert!(lens.iter().all(|len| *len < longest), "{lens:?}");
    let running_parts = site.parts().0;
    assert_eq!(running_parts.catalog.open_packs().await.unwrap().len(), 1);
}
