use std::fs;

use sealift_terms::{AuditKind, ChangeKind, Reason};

use super::site::*;
use crate::{Depth, Finding, rebuild};

async fn findings(running: &Running, depth: Depth) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut sink = |finding| findings.push(finding);
    running.archive.verify(depth, &mut sink).await.unwrap();
    findings
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flipped_bit_is_found_and_never_served() {
    let site = Site::new();
    let running = site.open().await;
    let (small, large) = (plain(1, 3000), plain(2, 3 * PART));
    running.store("small", "v1", 1, &small).await;
    running.store("large", "v1", 1, &large).await;
    running.archive.close().await;
    for (folder, key) in [("store/packs", "small"), ("store/objects", "large")] {
        let path = &site.files_in(folder)[0];
        let whole = fs::read(path).unwrap();
        let step = whole.len() / 23;
        for at in (40..whole.len()).step_by(step.max(1)) {
            let mut altered = whole.clone();
            altered[at] ^= 0x10;
            fs::write(path, altered).unwrap();
            let expected = if key == "small" { &small } else { &large };
            if let Ok(bytes) = running.read(key, None).await {
                // Outside of what is read, as between entries: then it is right.
                assert!(bytes == *expected, "{key} byte {at}");
            }
            let found = findings(&running, Depth::Deep).await;
            assert!(!found.is_empty(), "{key} byte {at}");
        }
        fs::write(path, whole).unwrap();
        assert!(findings(&running, Depth::Deep).await.is_empty());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn missing_files_orphans_and_lost_records_are_found() {
    let site = Site::new();
    let running = site.open().await;
    running.store("large", "v1", 1, &plain(2, 3 * PART)).await;
    assert!(findings(&running, Depth::Shallow).await.is_empty());
    let object = &site.files_in("store/objects")[0];
    fs::rename(object, site.dir.path().join("store/packs-aside")).unwrap();
    let orphan = object.with_file_name("0000.slf");
    fs::write(&orphan, b"x").unwrap();
    fs::remove_file(&site.files_in("store/records")[0]).unwrap();
    let found = findings(&running, Depth::Shallow).await;
    assert_eq!(found.len(), 3, "{found:?}");
    assert!(matches!(
        &found[0],
        Finding::Orphan { .. } | Finding::FileMissing { .. }
    ));
    assert!(matches!(&found[2], Finding::RecordDiffers { .. }));
    let error = running.read("large", None).await.unwrap_err();
    assert_eq!(error.reason(), Reason::DstStoreUnavailable);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_swapped_object_is_refused_before_any_key_is_used() {
    let site = Site::new();
    let running = site.open().await;
    running.store("a", "v1", 1, &plain(1, 3 * PART)).await;
    running.store("b", "v1", 1, &plain(2, 3 * PART)).await;
    let files = site.files_in("store/objects");
    fs::copy(&files[0], &files[1]).unwrap();
    drop(running);
    let running = site.open().await;
    let results = [running.read("a", None).await, running.read("b", None).await];
    let refused: Vec<_> = results.into_iter().filter_map(Result::err).collect();
    assert_eq!(refused.len(), 1);
    assert_eq!(refused[0].reason(), Reason::DstObjectDamaged);
    // One for the one that is whole.
    assert_eq!(running.archive.key_calls().calls_made, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rebuilt_catalog_equals_the_original() {
    let site = Site::new();
    let running = site.open().await;
    running.store("k", "v1", 1, b"first").await;
    running.store("k", "v2", 2, &plain(1, 3 * PART)).await;
    running.store("other", "v1", 1, &plain(2, 100)).await;
    let mut tags = offer("k", "v1", 3, 0);
    tags.change.kind = ChangeKind::Tags;
    tags.change.facts.tags.insert("a".into(), "b".into());
    let mut marker = offer("other", "d1", 9, 0);
    marker.change.kind = ChangeKind::DeleteMarker;
    for mark in [tags, marker] {
        let upload = running.upload(mark).await;
        running.archive.commit(upload, None).await.unwrap();
    }
    // A second record, as after any restart.
    drop(running);
    let running = site.open().await;
    running.store("late", "v1", 1, b"late").await;
    let before = running.listing().await;
    let site_before = running.archive.site();
    running.archive.close().await;
    drop(running);
    site.lose_catalog();

    let (parts, _) = site.parts();
    let report = rebuild(parts, "test", &mut drop).await.unwrap();
    assert_eq!(report.findings, 0, "{report:?}");
    assert_eq!((report.versions, report.marks, report.records), (5, 1, 2));
    assert!(!site.audit.has(AuditKind::ObjectDamaged));
    let running = site.open().await;
    let after = running.listing().await;
    assert_eq!(after.len(), before.len());
    for (old, new) in before.iter().zip(&after) {
        assert_eq!(
            (&old.name, &old.order, old.kind),
            (&new.name, &new.order, new.kind)
        );
        assert_eq!((&old.facts, &old.checksum), (&new.facts, &new.checksum));
        assert_eq!((old.object_uid, old.record), (new.object_uid, new.record));
        assert_eq!(old.location, new.location);
    }
    assert_ne!(running.archive.site().epoch, site_before.epoch);
    assert!(findings(&running, Depth::Deep).await.is_empty());
    assert_eq!(running.read("late", None).await.unwrap(), b"late");
}
