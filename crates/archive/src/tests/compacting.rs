use std::{fs, io, time::Duration};

use sealift_ledger::FileRow;
use sealift_store::Call;
use sealift_terms::ChangeKind;

use super::{
    scrubbing::{flip, row, scrub},
    site::*,
};
use crate::{Compacted, rebuild};

const KEPT: Duration = Duration::from_secs(3600);
const NOW: Duration = Duration::ZERO;

async fn packs(running: &Running) -> Vec<FileRow> {
    let files = running.archive.core.catalog.files(None, 99).await.unwrap();
    files
        .into_iter()
        .filter(|row| row.file.starts_with("packs/"))
        .collect()
}

/// A closed pack with `live` entries that live and as many again that are dead: their
/// tags were replaced.
pub(super) async fn half_dead(site: &Site, live: u64) -> Vec<(String, Vec<u8>)> {
    let running = site.open().await;
    let mut kept = Vec::new();
    for n in 0..live {
        let (key, bytes) = (format!("k{n}"), plain(n as u8, 900));
        running.store(&key, "v1", n + 1, &bytes).await;
        kept.push((key, bytes));
    }
    for order in 0..live * 6 {
        let mut tags = offer("k0", "v1", 100 + order, 0);
        tags.change.kind = ChangeKind::Tags;
        tags.change.facts.tags.insert("n".into(), order.to_string());
        let upload = running.upload(tags).await;
        running.archive.commit(upload, None).await.unwrap();
    }
    let mut marker = offer("gone", "d1", 90, 0);
    marker.change.kind = ChangeKind::DeleteMarker;
    let upload = running.upload(marker).await;
    running.archive.commit(upload, None).await.unwrap();
    running.archive.close().await;
    kept
}

pub(super) async fn assert_all_there(site: &Site, running: &Running, kept: &[(String, Vec<u8>)]) {
    for (key, bytes) in kept {
        assert!(running.read(key, None).await.unwrap() == *bytes, "{key}");
    }
    assert_eq!(running.listing().await.len(), kept.len() + 1);
    let found = running.verify_deep().await;
    assert!(found.is_empty(), "{found:?}");
    assert!(site.files_in("staging").is_empty());
    assert_eq!(site.budget.free(), site.budget.total());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pack_more_than_half_dead_is_copied_and_deleted_and_a_rebuild_finds_the_same() {
    let site = Site::new();
    let kept = half_dead(&site, 4).await;
    let running = site.open().await;
    let before = running.listing().await;
    let old = site.files_in("store/packs");
    let bytes = fs::metadata(&old[0]).unwrap().len();
    let done = running.archive.compact(KEPT, KEPT).await.unwrap();
    assert_eq!(
        done,
        Compacted {
            packs: 1,
            // Four objects, the delete marker, the tags that hold.
            entries: 6,
            deleted: 1,
            bytes
        }
    );
    let new = site.files_in("store/packs");
    assert_eq!(new.len(), 1);
    assert_ne!(new, old);
    assert!(fs::metadata(&new[0]).unwrap().len() < bytes / 2);
    assert!(site.has_leaf("pack.compacted").await);
    assert_all_there(&site, &running, &kept).await;
    let again = running.archive.compact(NOW, NOW).await.unwrap();
    assert_eq!(again, Compacted::default(), "nothing in it is dead");
    running.archive.close().await;
    drop(running);
    site.lose_catalog();
    let (parts, _) = site.parts();
    let mut sink = |finding| panic!("{finding}");
    rebuild(parts, "test", &mut sink).await.unwrap();
    let running = site.open().await;
    let after = running.listing().await;
    for (old, new) in before.iter().zip(&after) {
        assert_eq!(
            (&old.name, &old.facts, old.sequence),
            (&new.name, &new.facts, new.sequence)
        );
    }
    assert_all_there(&site, &running, &kept).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pack_less_than_half_dead_waits_until_its_dead_bytes_are_old() {
    let site = Site::new();
    let running = site.open().await;
    for n in 0..9 {
        running
            .store(&format!("k{n}"), "v1", n + 1, &plain(n as u8, 5000))
            .await;
    }
    for order in [100, 101] {
        let mut tags = offer("k0", "v1", order, 0);
        tags.change.kind = ChangeKind::Tags;
        tags.change.facts.tags.insert("n".into(), order.to_string());
        let upload = running.upload(tags).await;
        running.archive.commit(upload, None).await.unwrap();
    }
    let done = running.archive.compact(NOW, NOW).await.unwrap();
    assert_eq!(done, Compacted::default(), "it is open still");
    running.archive.close().await;
    drop(running);
    let running = site.open().await;
    running.archive.close().await;
    drop(running);
    let running = site.open().await;
    assert_eq!(
        running.archive.compact(KEPT, KEPT).await.unwrap(),
        Compacted::default()
    );
    let done = running.archive.compact(NOW, NOW).await.unwrap();
    assert_eq!(
        (done.packs, done.deleted),
        (1, 1),
        "{:?}",
        packs(&running).await
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn compaction_cut_off_anywhere_loses_nothing_and_is_taken_up_again() {
    for (call, calls) in [
        (Call::Create, 0),
        (Call::Write, 0),
        (Call::Sync, 0),
        (Call::Publish, 0),
    ] {
        let site = Site::new();
        let kept = half_dead(&site, 3).await;
        let running = site.open().await;
        running.faults.fail(call, calls, io::ErrorKind::Other);
        let error = running.archive.compact(KEPT, KEPT).await;
        assert!(error.is_err(), "{call:?}");
        // The process ends here: what it would have tidied up is not.
        drop(running);
        let running = site.open().await;
        assert_all_there(&site, &running, &kept).await;
        let done = running.archive.compact(KEPT, KEPT).await.unwrap();
        assert_eq!(done.packs, 1, "{call:?}");
        assert_all_there(&site, &running, &kept).await;
        assert_eq!(site.files_in("store/packs").len(), 1, "{call:?}");
        assert_eq!(packs(&running).await.len(), 1, "{call:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pack_that_is_published_and_empty_after_a_crash_goes_at_the_next_round() {
    let site = Site::new();
    let kept = half_dead(&site, 3).await;
    let running = site.open().await;
    // As after a crash between publishing the copies and moving the catalog to them.
    let old = site.files_in("store/packs").remove(0);
    let stem = old.file_name().unwrap().to_str().unwrap()[..13].to_owned();
    let leftover = format!("packs/{stem}ffffffff.slp");
    fs::copy(&old, site.dir.path().join("store").join(&leftover)).unwrap();
    let commit = sealift_ledger::Commit {
        packs: vec![sealift_ledger::PackState {
            file: leftover.clone(),
            synced_bytes: fs::metadata(&old).unwrap().len(),
            closed: true,
        }],
        ..Default::default()
    };
    running.archive.core.catalog.commit(commit).await.unwrap();
    let done = running.archive.compact(KEPT, KEPT).await.unwrap();
    assert_eq!((done.packs, done.deleted), (1, 2));
    assert!(!site.dir.path().join("store").join(&leftover).exists());
    assert_all_there(&site, &running, &kept).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_of_a_pack_reads_on_while_it_is_compacted() {
    let site = Site::new();
    let kept = half_dead(&site, 4).await;
    let running = site.open().await;
    let (key, bytes) = &kept[1];
    let key = sealift_terms::ObjectKey::new(key).unwrap();
    let reader = running
        .archive
        .open_object("test", &bucket(), &key, None)
        .await
        .unwrap();
    running.archive.compact(KEPT, KEPT).await.unwrap();
    let mut read = Vec::new();
    reader
        .read_range(0..reader.size(), |run| {
            read.extend_from_slice(run);
            Ok(())
        })
        .unwrap();
    assert!(read == *bytes);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_catalog_does_not_know_is_never_compacted_away() {
    let site = Site::new();
    let kept = half_dead(&site, 3).await;
    // All copies of the key records are lost, and the catalog with them.
    let records = site.dir.path().join("store/records");
    let aside = site.dir.path().join("aside");
    fs::rename(&records, &aside).unwrap();
    site.lose_catalog();
    let mut findings = 0;
    let mut count = |_| findings += 1;
    let parts = site.parts().0;
    let report = rebuild(parts, "test", &mut count).await.unwrap();
    assert_eq!((report.versions, report.marks), (0, 0));
    assert!(findings > 0);
    let before = site.files_in("store/packs");
    let running = site.open().await;
    let done = running.archive.compact(NOW, NOW).await.unwrap();
    assert_eq!(done, Compacted::default());
    running.archive.close().await;
    drop(running);
    assert_eq!(site.files_in("store/packs"), before);
    // They are found again.
    fs::rename(&aside, &records).unwrap();
    let mut drop_all = |finding| panic!("{finding}");
    let parts = site.parts().0;
    rebuild(parts, "test", &mut drop_all).await.unwrap();
    let running = site.open().await;
    assert_all_there(&site, &running, &kept).await;
    assert_eq!(running.archive.compact(KEPT, KEPT).await.unwrap().packs, 1);
    assert_all_there(&site, &running, &kept).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn damaged_bytes_go_with_their_pack_once_they_came_again_and_their_time_is_over() {
    let site = Site::new();
    let kept = half_dead(&site, 3).await;
    let running = site.open().await;
    let (key, bytes) = &kept[1];
    let before = row(&running, key).await;
    flip(&site, &running, key, 100).await;
    let found = scrub(&running).await;
    assert_eq!(found.len(), 1, "{found:?}");
    let old = running.archive.compact(NOW, NOW).await.unwrap();
    assert_eq!(old, Compacted::default(), "it did not come again yet");
    running
        .put(offer(key, "v1", 2, bytes.len()), bytes)
        .await
        .unwrap();
    let old = running.archive.compact(NOW, KEPT).await.unwrap();
    assert_eq!(old, Compacted::default(), "its time is not over");
    let done = running.archive.compact(NOW, NOW).await.unwrap();
    assert_eq!((done.packs, done.deleted), (1, 1));
    assert!(
        !site
            .dir
            .path()
            .join("store")
            .join(&before.location.file)
            .exists()
    );
    let count = running.archive.quarantine_count().await.unwrap();
    assert_eq!((count.damaged, count.repaired), (0, 0));
    assert!(site.has_leaf("quarantine.expired").await);
    assert_all_there(&site, &running, &kept).await;
}
