use std::{sync::Arc, time::Duration};

use parking_lot::Mutex;
use sealift_terms::{
    PartIndex, PartSize, Reason, Timestamp,
    limits::{INTERRUPTED_KEPT_MAX, PACKED_OBJECT_BYTES_MAX},
};
use sealift_wire::checksum::crc64;

use super::site::*;
use crate::{ArchiveError, Offer, Upload};

const PARTS: usize = 6;
const SIZE: usize = (PARTS - 1) * PART + 99;
/// In the middle of a chunk.
const CUT: usize = 40_007;
const FIRST: PartIndex = PartIndex(0);

/// What holds for one layer holds for two.
const LAYERS: [fn() -> Site; 2] = [Site::new, Site::in_two_layers];

/// An offer of one that goes on in any cut.
fn any_cut(size: usize, part_size: PartSize) -> Offer {
    Offer {
        part_size,
        any_cut: true,
        ..offer("k", "v1", 1, size)
    }
}

/// Writes the beginning of the first part, and leaves it.
async fn begin(upload: &Upload, bytes: &[u8], until: usize) {
    let part = part_of(upload, FIRST, bytes);
    let mut writer = upload.part(FIRST, part.len() as u32).await.unwrap();
    for piece in part[..until].chunks(10_007) {
        writer.write(piece).await.unwrap();
    }
    writer.leave().await;
}

/// Goes on with it to its end.
async fn go_on(upload: &Upload, bytes: &[u8], from: usize) -> Result<(), ArchiveError> {
    let part = part_of(upload, FIRST, bytes);
    let length = part.len() as u32;
    let mut writer = upload.part_from(FIRST, length, from as u32).await?;
    for piece in part[from..].chunks(9_001) {
        writer.write(piece).await?;
    }
    writer.finish(crc64(part)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_part_goes_on_behind_what_came_whether_it_rests_in_a_pack_or_a_file() {
    let packed = PACKED_OBJECT_BYTES_MAX as usize / 4;
    for (size, part_size, until) in [
        (SIZE, PartSize::MIN, CUT),
        (packed, PartSize::DEFAULT, 3 * CUT),
        // A file without a row, of which some was written already.
        (3 << 20, PartSize::DEFAULT, (2 << 20) + CUT),
    ] {
        for site in LAYERS {
            goes_on_behind(&site(), any_cut(size, part_size), until).await;
        }
    }
}

/// Breaks the first part of an object off at `until`, and a little later again.
async fn goes_on_behind(site: &Site, what: Offer, until: usize) {
    let running = site.open().await;
    let size = what.change.facts.size as usize;
    let bytes = plain(1, size);
    let upload = running.upload(what.clone()).await;
    begin(&upload, &bytes, until).await;
    // The session is gone, and twice more.
    drop(upload);
    let upload = running.upload(what.clone()).await;
    assert_eq!(upload.interrupt_all().await, [(FIRST, until as u32)]);
    let length = part_of(&upload, FIRST, &bytes).len() as u32;
    let mut writer = upload.part_from(FIRST, length, until as u32).await.unwrap();
    writer.write(&bytes[until..until + 5]).await.unwrap();
    writer.leave().await;
    drop(upload);
    let upload = running.upload(what).await;
    assert_eq!(upload.interrupt(FIRST).await, Some(until as u32 + 5));
    go_on(&upload, &bytes, until + 5).await.unwrap();
    for index in upload.missing() {
        send(&upload, index, &bytes).await.unwrap();
    }
    let receipt = running.archive.commit(upload, None).await.unwrap();
    assert_eq!(receipt.second.is_some(), site.keys.second.is_some());
    assert!(running.read("k", None).await.unwrap() == bytes, "{size}");
    assert_eq!(running.verify_deep().await, []);
    running.archive.let_go_of_interrupted();
    assert!(site.files_in("staging").is_empty());
    assert_eq!(site.budget.free(), site.budget.total());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_writer_that_is_still_there_is_out_before_another_goes_on() {
    let site = Site::new();
    let running = site.open().await;
    let bytes = plain(1, SIZE);
    let upload = running.upload(offer("k", "v1", 1, SIZE)).await;
    let part = part_of(&upload, FIRST, &bytes);
    let mut old = upload.part(FIRST, PART as u32).await.unwrap();
    old.write(&part[..CUT]).await.unwrap();
    // Another session of the same sender, while the old one is not noticed to be dead.
    let again = running.upload(offer("k", "v1", 1, SIZE)).await;
    assert_eq!(again.interrupt_all().await, [(FIRST, CUT as u32)]);
    let fenced = |error| matches!(error, ArchiveError::Fenced { part: 0 });
    assert!(fenced(old.write(&part[CUT..]).await.unwrap_err()));
    go_on(&again, &bytes, CUT).await.unwrap();
    assert!(fenced(old.finish(crc64(part)).await.unwrap_err()));
    for index in again.missing() {
        send(&again, index, &bytes).await.unwrap();
    }
    running.archive.commit(again, None).await.unwrap();
    assert!(running.read("k", None).await.unwrap() == bytes);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_hears_late_of_a_lost_link_takes_nothing_from_the_next_one() {
    let site = Site::new();
    let running = site.open().await;
    let bytes = plain(1, SIZE);
    let old = running.upload(offer("k", "v1", 1, SIZE)).await;
    begin(&old, &bytes, CUT).await;
    let new = running.upload(offer("k", "v1", 1, SIZE)).await;
    assert_eq!(new.interrupt_all().await, [(FIRST, CUT as u32)]);
    let part = part_of(&new, FIRST, &bytes);
    let length = PART as u32;
    let mut writer = new.part_from(FIRST, length, CUT as u32).await.unwrap();
    writer.write(&part[CUT..CUT + 9]).await.unwrap();
    assert_eq!(
        old.interrupt(FIRST).await,
        None,
        "it is not the old one's any more"
    );
    writer.write(&part[CUT + 9..]).await.unwrap();
    writer.finish(crc64(part)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_leaves_late_takes_nothing_from_the_one_that_went_on() {
    let site = Site::new();
    let running = site.open().await;
    let bytes = plain(1, SIZE);
    let upload = running.upload(offer("k", "v1", 1, SIZE)).await;
    let part = part_of(&upload, FIRST, &bytes);
    let mut old = upload.part(FIRST, PART as u32).await.unwrap();
    old.write(&part[..CUT]).await.unwrap();
    let mut anew = upload.part(FIRST, PART as u32).await.unwrap();
    anew.write(&part[..7]).await.unwrap();
    old.leave().await;
    anew.write(&part[7..]).await.unwrap();
    anew.finish(crc64(part)).await.unwrap();
    assert_eq!(upload.interrupt(FIRST).await, None, "it is whole");
}

/// A link that ends leaves its part, and its session asks for it at the same moment.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_part_that_is_left_while_it_is_asked_for_is_kept_and_said_to_be() {
    let site = Site::new();
    let running = site.open().await;
    let bytes = plain(1, SIZE);
    let upload = Arc::new(running.upload(offer("k", "v1", 1, SIZE)).await);
    begin(&upload, &bytes, CUT).await;
    for _ in 0..5000 {
        let writer = upload.part_from(FIRST, PART as u32, CUT as u32);
        let left = tokio::spawn(writer.await.unwrap().leave());
        let asked = tokio::spawn({
            let upload = upload.clone();
            async move { upload.interrupt(FIRST).await }
        });
        left.await.unwrap();
        assert_eq!(asked.await.unwrap(), Some(CUT as u32));
    }
    go_on(&upload, &bytes, CUT).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_that_changed_meanwhile_is_found_out_and_the_part_begins_anew() {
    let site = Site::new();
    let running = site.open().await;
    let (bytes, other) = (plain(1, SIZE), plain(2, SIZE));
    let upload = running.upload(offer("k", "v1", 1, SIZE)).await;
    begin(&upload, &bytes, CUT).await;
    let error = go_on(&upload, &other, CUT).await.unwrap_err();
    assert_eq!(error.reason(), Reason::ChecksumMismatch);
    assert_eq!(
        upload.interrupt(FIRST).await,
        None,
        "what failed is not kept"
    );
    for index in upload.missing() {
        send(&upload, index, &bytes).await.unwrap();
    }
    running.archive.commit(upload, None).await.unwrap();
    assert!(running.read("k", None).await.unwrap() == bytes);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_part_that_begins_anew_has_another_salt_and_what_was_kept_is_gone() {
    let site = Site::new();
    let running = site.open().await;
    let bytes = plain(1, SIZE);
    let upload = running.upload(offer("k", "v1", 1, SIZE)).await;
    begin(&upload, &bytes, CUT).await;
    let wrong_place = upload.part_from(FIRST, PART as u32, CUT as u32 - 1).await;
    assert!(matches!(
        wrong_place,
        Err(ArchiveError::NotKept { part: 0 })
    ));
    send(&upload, FIRST, &bytes).await.unwrap();
    let gone = upload.part_from(FIRST, PART as u32, CUT as u32).await;
    assert!(matches!(gone, Err(ArchiveError::NotKept { part: 0 })));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_kept_is_let_go_of_when_its_time_is_over() {
    let site = Site::new();
    let clock = Arc::new(HandClock(Mutex::new(Timestamp::from_secs(1_800_000_000))));
    let running = site.open_at(clock.clone()).await;
    let bytes = plain(1, 2 << 20);
    let what = || any_cut(bytes.len(), PartSize::DEFAULT);
    let upload = running.upload(what()).await;
    begin(&upload, &bytes, CUT).await;
    drop(upload);
    let almost = INTERRUPTED_KEPT_MAX - Duration::from_secs(1);
    let later = |time| {
        let now = *clock.0.lock();
        *clock.0.lock() = now.plus(time);
        running.archive.let_go_of_interrupted();
    };
    later(almost);
    assert!(site.budget.free() < site.budget.total());
    assert_eq!(running.archive.unfinished(), 1);
    later(Duration::from_secs(1));
    assert_eq!(site.budget.free(), site.budget.total());
    assert_eq!(running.archive.unfinished(), 0, "nobody finds it any more");
    let upload = running.upload(what()).await;
    assert_eq!(upload.interrupt_all().await, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn interrupted_parts_leave_a_peer_most_of_its_share_and_the_oldest_go_first() {
    let site = Site::new();
    let running = site.open().await;
    let size = 40 * PART;
    let bytes = plain(1, size);
    let upload = running.upload(offer("k", "v1", 1, size)).await;
    for index in (0..40).map(PartIndex) {
        let part = part_of(&upload, index, &bytes);
        let mut writer = upload.part(index, part.len() as u32).await.unwrap();
        writer.write(&part[..PART / 2]).await.unwrap();
        writer.leave().await;
    }
    let share = site.budget.total() / sealift_terms::limits::PEER_SHARES;
    let taken = site.budget.total() - site.budget.free();
    assert!(taken > 0 && taken <= share / 4, "{taken} of {share}");
    let kept: Vec<u32> = upload
        .interrupt_all()
        .await
        .iter()
        .map(|(index, _)| index.0)
        .collect();
    let newest: Vec<u32> = (40 - kept.len() as u32..40).collect();
    assert_eq!(kept, newest);
    assert!(!kept.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_of_either_layer_that_was_disabled_stops_the_rest_of_an_interrupted_part() {
    for (site, key) in [
        (Site::new(), CMK),
        (Site::in_two_layers(), CMK),
        (Site::in_two_layers(), OUTER_CMK),
    ] {
        let running = site.open().await;
        let size = PACKED_OBJECT_BYTES_MAX as usize / 4;
        let bytes = plain(1, size);
        let upload = running.upload(any_cut(size, PartSize::DEFAULT)).await;
        begin(&upload, &bytes, CUT).await;
        site.keystore.disable(key).unwrap();
        running.archive.ring().recheck();
        let error = go_on(&upload, &bytes, CUT).await.unwrap_err();
        assert_eq!(error.reason(), Reason::DstKmsKeyDisabled, "{key}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_goes_on_in_its_own_cut_if_its_sender_does_and_begins_anew_if_not() {
    for (restarts, site) in [false, true]
        .into_iter()
        .flat_map(|it| LAYERS.map(|site| (it, site)))
    {
        let site = site();
        let bytes = plain(1, SIZE);
        let mut running = site.open().await;
        let upload = running.upload(any_cut(SIZE, PartSize::MIN)).await;
        send(&upload, PartIndex(2), &bytes).await.unwrap();
        if restarts {
            let catalog = &running.archive.core.catalog;
            while catalog
                .parts(upload.state.uid, FIRST, 9)
                .await
                .unwrap()
                .is_empty()
            {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            drop(upload);
            drop(running);
            running = site.open().await;
        } else {
            drop(upload);
        }
        // Offered as one part now, or in larger ones.
        for part_size in [PartSize::DEFAULT, PartSize::new(128 << 10).unwrap()] {
            let upload = running.upload(any_cut(SIZE, part_size)).await;
            assert_eq!(upload.part_size(), PartSize::MIN);
            assert_eq!(upload.kept(), [PartIndex(2)]);
        }
        let other = Offer {
            any_cut: false,
            ..any_cut(SIZE, PartSize::new(128 << 10).unwrap())
        };
        let upload = running.upload(other).await;
        assert_eq!(upload.part_size().bytes(), 128 << 10);
        assert!(upload.kept().is_empty());
        for index in upload.missing() {
            send(&upload, index, &bytes).await.unwrap();
        }
        running.archive.commit(upload, None).await.unwrap();
        assert!(running.read("k", None).await.unwrap() == bytes);
        assert_eq!(running.archive.unfinished(), 0);
    }
}
