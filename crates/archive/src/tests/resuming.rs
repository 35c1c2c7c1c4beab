use std::{fs, io, time::Duration};

use sealift_store::Call;
use sealift_terms::{PartIndex, Reason};
use sealift_wire::checksum::crc64;

use super::site::*;
use crate::{ArchiveError, Upload};

pub(super) const PARTS: usize = 6;
pub(super) const SIZE: usize = (PARTS - 1) * PART + 99;

/// Waits until the ledger has so many parts of the upload.
async fn recorded(running: &Running, upload: &Upload, count: usize) {
    let catalog = &running.archive.core.catalog;
    for _ in 0..500 {
        let parts = catalog.parts(upload.state.uid, PartIndex(0), 100).await;
        if parts.unwrap().len() == count {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("the parts were not recorded");
}

/// Sends parts 0 to 3 and dies.
pub(super) async fn interrupted(site: &Site, bytes: &[u8]) {
    let running = site.open().await;
    let upload = running.upload(offer("k", "v1", 1, SIZE)).await;
    for index in 0..4 {
        send(&upload, PartIndex(index), bytes).await.unwrap();
    }
    recorded(&running, &upload, 4).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn finished_parts_survive_a_restart_and_are_not_asked_again() {
    let site = Site::new();
    let bytes = plain(1, SIZE);
    interrupted(&site, &bytes).await;
    let running = site.open().await;
    assert_eq!(running.archive.unfinished(), 1);
    let upload = running.upload(offer("k", "v1", 1, SIZE)).await;
    assert_eq!(upload.missing(), [PartIndex(4), PartIndex(5)]);
    drop(upload);
    running
        .put(offer("k", "v1", 1, SIZE), &bytes)
        .await
        .unwrap();
    assert!(running.read("k", None).await.unwrap() == bytes);
    assert_eq!(running.archive.unfinished(), 0);
    assert!(site.files_in("staging").is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kept_part_that_was_damaged_is_asked_again() {
    let site = Site::new();
    let bytes = plain(1, SIZE);
    interrupted(&site, &bytes).await;
    let path = &site.files_in("staging")[0];
    let mut staged = fs::read(path).unwrap();
    // In the middle of part 1.
    staged[96 + PART + PART / 2] ^= 1;
    fs::write(path, staged).unwrap();
    let running = site.open().await;
    let upload = running.upload(offer("k", "v1", 1, SIZE)).await;
    assert_eq!(upload.missing(), [1, 4, 5].map(PartIndex));
    for index in upload.missing() {
        send(&upload, index, &bytes).await.unwrap();
    }
    running.archive.commit(upload, None).await.unwrap();
    assert!(running.read("k", None).await.unwrap() == bytes);
}

#[tokio::test(flavor = "multi_thread")]
async fn another_size_or_cut_of_the_version_begins_anew() {
    let site = Site::new();
    let bytes = plain(1, SIZE);
    interrupted(&site, &bytes).await;
    let running = site.open().await;
    let longer = plain(2, SIZE + 1);
    running.store("k", "v1", 1, &longer).await;
    assert!(running.read("k", None).await.unwrap() == longer);
    assert_eq!(running.archive.unfinished(), 0);
    assert!(site.files_in("staging").is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_session_goes_on_within_the_same_process() {
    let site = Site::new();
    let running = site.open().await;
    let bytes = plain(1, SIZE);
    let upload = running.upload(offer("k", "v1", 1, SIZE)).await;
    send(&upload, PartIndex(2), &bytes).await.unwrap();
    drop(upload);
    let upload = running.upload(offer("k", "v1", 1, SIZE)).await;
    assert_eq!(upload.kept(), [PartIndex(2)]);
    running.archive.cancel(upload).await.unwrap();
    assert_eq!(running.archive.unfinished(), 0);
    assert!(site.files_in("staging").is_empty());
    let upload = running.upload(offer("k", "v1", 1, SIZE)).await;
    assert!(upload.kept().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_older_writer_of_a_part_is_fenced_off() {
    let site = Site::new();
    let running = site.open().await;
    let bytes = plain(1, SIZE);
    let upload = running.upload(offer("k", "v1", 1, SIZE)).await;
    let part = part_of(&upload, PartIndex(0), &bytes);
    let mut old = upload.part(PartIndex(0), PART as u32).await.unwrap();
    old.write(&part[..100]).await.unwrap();
    let mut new = upload.part(PartIndex(0), PART as u32).await.unwrap();
    new.write(part).await.unwrap();
    old.write(&part[100..]).await.unwrap();
    let error = old.finish(crc64(part)).await.unwrap_err();
    assert!(matches!(error, ArchiveError::Fenced { part: 0 }));
    new.finish(crc64(part)).await.unwrap();

    // A part that is here is compared, never written again.
    let mut late = upload.part(PartIndex(0), PART as u32).await.unwrap();
    late.write(part).await.unwrap();
    late.finish(crc64(part)).await.unwrap();
    let other = plain(9, PART);
    let mut late = upload.part(PartIndex(0), PART as u32).await.unwrap();
    late.write(&other).await.unwrap();
    let error = late.finish(crc64(&other)).await.unwrap_err();
    assert_eq!(error.reason(), Reason::ChecksumMismatch);
    for index in upload.missing() {
        send(&upload, index, &bytes).await.unwrap();
    }
    running.archive.commit(upload, None).await.unwrap();
    assert!(running.read("k", None).await.unwrap() == bytes);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pack_is_cut_back_to_what_was_acknowledged() {
    let site = Site::new();
    site.open().await.store("a", "v1", 1, b"one").await;
    let pack = &site.files_in("store/packs")[0];
    let len = fs::metadata(pack).unwrap().len();
    let mut bytes = fs::read(pack).unwrap();
    bytes.extend_from_slice(b"SLPE torn by a crash");
    fs::write(pack, bytes).unwrap();
    let running = site.open().await;
    assert_eq!(fs::metadata(pack).unwrap().len(), len);
    running.store("b", "v1", 1, b"two").await;
    assert_eq!(site.files_in("store/packs").len(), 1);
    assert_eq!(running.read("a", None).await.unwrap(), b"one");
    assert_eq!(running.read("b", None).await.unwrap(), b"two");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_published_before_the_crash_is_not_sent_again() {
    let site = Site::new();
    let bytes = plain(1, SIZE);
    let running = site.open().await;
    let upload = running.upload(offer("k", "v1", 1, SIZE)).await;
    for index in upload.missing() {
        send(&upload, index, &bytes).await.unwrap();
    }
    // What a commit does up to its catalog transaction.
    let staged = upload.state.body.staged().unwrap();
    let sequence = running.archive.core.catalog.reserve_sequence();
    let file = upload.complete_file(staged, sequence, None).await;
    file.unwrap();
    staged.file.sync().await.unwrap();
    let store = &running.archive.core.store;
    store
        .publish(std::slice::from_ref(&staged.name))
        .await
        .unwrap();
    drop(upload);
    drop(running);

    let running = site.open().await;
    assert_eq!(running.archive.unfinished(), 0);
    assert!(running.read("k", None).await.unwrap() == bytes);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_ends_with_its_footer_after_a_commit_that_was_cut_short() {
    let site = Site::new();
    let bytes = plain(1, SIZE);
    interrupted(&site, &bytes).await;
    // A longer META, written just before the crash.
    let staged = site.files_in("staging").pop().unwrap();
    let file = fs::OpenOptions::new().write(true).open(staged).unwrap();
    file.set_len(2 * SIZE as u64).unwrap();
    let running = site.open().await;
    running.store("k", "v1", 1, &bytes).await;
    let place = running.listing().await.remove(0).location;
    let path = site.dir.path().join("store").join(&place.file);
    assert_eq!(fs::metadata(path).unwrap().len(), place.length);
    assert!(running.read("k", None).await.unwrap() == bytes);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_header_that_a_failed_sync_may_have_lost_is_written_again() {
    let site = Site::new();
    let bytes = plain(1, SIZE);
    interrupted(&site, &bytes).await;
    let running = site.open().await;
    running.faults.fail(Call::Write, 0, io::ErrorKind::Other);
    let error = running.archive.begin(offer("k", "v1", 1, SIZE)).await;
    assert!(
        matches!(error, Err(ArchiveError::Store(_))),
        "going on writes: {error:?}"
    );
    running.faults.heal();
    running.store("k", "v1", 1, &bytes).await;
    assert!(running.read("k", None).await.unwrap() == bytes);
}
