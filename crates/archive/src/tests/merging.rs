//! Small packs of a store in which packs cannot grow become one.

use std::{fs, io, path::PathBuf, time::Duration};

use sealift_store::Call;
use sealift_terms::{ChangeKind, limits::MERGED_PACKS_MIN};

use super::{
    compacting::assert_all_there,
    scrubbing::{flip, row, scrub},
    site::*,
};
use crate::{Compacted, rebuild};

const COUNT: u64 = 20;

async fn open(site: &Site) -> Running {
    let running = site.open().await;
    running.faults.keep_packs_whole(Duration::from_millis(1));
    running
}

/// Objects, a delete marker and tags, each in a pack of its own.
async fn many(running: &Running) -> Vec<(String, Vec<u8>)> {
    let mut kept = Vec::new();
    for n in 0..COUNT {
        let (key, bytes) = (format!("k{n}"), plain(n as u8, 900));
        running.store(&key, "v1", n + 1, &bytes).await;
        kept.push((key, bytes));
    }
    let mut tags = offer("k0", "v1", 100, 0);
    tags.change.kind = ChangeKind::Tags;
    tags.change.facts.tags.insert("n".into(), "m".into());
    let mut marker = offer("gone", "d1", 90, 0);
    marker.change.kind = ChangeKind::DeleteMarker;
    for mark in [tags, marker] {
        let upload = running.upload(mark).await;
        running.archive.commit(upload, None).await.unwrap();
    }
    kept
}

fn packs(site: &Site) -> Vec<PathBuf> {
    site.files_in("store/packs")
}

#[tokio::test(flavor = "multi_thread")]
async fn many_small_packs_become_one_and_a_rebuild_finds_the_same_in_it() {
    let site = Site::new();
    let running = open(&site).await;
    let kept = many(&running).await;
    let before = running.listing().await;
    let old = packs(&site);
    assert_eq!(old.len() as u64, COUNT + 2, "a pack for each");
    let bytes = old.iter().map(|path| fs::metadata(path).unwrap().len());
    let bytes: u64 = bytes.sum();
    let done = running.archive.merge_packs().await.unwrap();
    assert_eq!(
        (done.packs, done.deleted, done.bytes),
        (COUNT + 2, COUNT + 2, bytes)
    );
    let new = packs(&site);
    assert_eq!(new.len(), 1);
    assert!(fs::metadata(&new[0]).unwrap().len() < bytes);
    assert!(site.has_leaf("pack.compacted").await);
    assert_all_there(&site, &running, &kept).await;
    let again = running.archive.merge_packs().await.unwrap();
    assert_eq!(again, Compacted::default());
    running.archive.close().await;
    drop(running);
    site.lose_catalog();
    let mut sink = |finding| panic!("{finding}");
    rebuild(site.parts().0, "test", &mut sink).await.unwrap();
    let running = open(&site).await;
    for (old, new) in before.iter().zip(&running.listing().await) {
        assert_eq!(
            (&old.name, &old.facts, old.sequence),
            (&new.name, &new.facts, new.sequence)
        );
    }
    assert_all_there(&site, &running, &kept).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_merge_cut_off_anywhere_loses_nothing_and_is_taken_up_again() {
    for (call, calls) in [
        (Call::Create, 0),
        (Call::Open, 0),
        (Call::Open, 7),
        (Call::Read, 3),
        (Call::Write, 0),
        (Call::Sync, 0),
        (Call::Publish, 0),
    ] {
        let site = Site::new();
        let running = open(&site).await;
        let kept = many(&running).await;
        running.faults.fail(call, calls, io::ErrorKind::Other);
        let error = running.archive.merge_packs().await;
        assert!(error.is_err(), "{call:?}");
        // The process ends here: what it would have tidied up is not.
        drop(running);
        let running = open(&site).await;
        assert_all_there(&site, &running, &kept).await;
        let done = running.archive.merge_packs().await.unwrap();
        assert_eq!(done.packs, COUNT + 2, "{call:?}");
        let kept_for = Duration::from_secs(3600);
        running.archive.compact(kept_for, kept_for).await.unwrap();
        assert_eq!(packs(&site).len(), 1, "{call:?}");
        assert_all_there(&site, &running, &kept).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn damaged_packs_and_few_stay_and_so_do_packs_that_can_grow() {
    let site = Site::new();
    let running = open(&site).await;
    many(&running).await;
    let damaged = row(&running, "k5").await.location.file;
    flip(&site, &running, "k5", 100).await;
    let merged = running.archive.merge_packs().await.unwrap();
    assert_eq!(merged.packs, COUNT + 1, "all but the damaged one");
    assert_eq!(packs(&site).len(), 2);
    assert_eq!(scrub(&running).await.len(), 1);
    assert!(site.dir.path().join("store").join(damaged).exists());

    let site = Site::new();
    let running = open(&site).await;
    for n in 1..MERGED_PACKS_MIN as u64 {
        running
            .store(&format!("k{n}"), "v1", n, &plain(1, 900))
            .await;
    }
    let merged = running.archive.merge_packs().await.unwrap();
    assert_eq!(merged, Compacted::default(), "they are too few");

    let site = Site::new();
    let running = site.open().await;
    many(&running).await;
    let merged = running.archive.merge_packs().await.unwrap();
    assert_eq!(merged, Compacted::default(), "one pack has them all");
}
