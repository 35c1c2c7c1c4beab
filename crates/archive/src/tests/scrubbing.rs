use std::fs;

use sealift_ledger::VersionRow;
use sealift_terms::{AuditKind, ChangeKind, Reason};

use super::site::*;
use crate::{Begin, Finding, Scrubber};

/// A whole pass; what it found.
pub(super) async fn scrub(running: &Running) -> Vec<Finding> {
    let mut scrubber = running.archive.scrubber().await.unwrap();
    if !scrubber.state().is_under_way() {
        scrubber.begin();
    }
    finish(&mut scrubber).await
}

async fn finish(scrubber: &mut Scrubber) -> Vec<Finding> {
    let mut found = Vec::new();
    while scrubber.state().is_under_way() {
        let mut sink = |finding: &Finding| found.push(finding.clone());
        scrubber.step(&mut sink).await.unwrap();
    }
    found
}

pub(super) async fn row(running: &Running, key: &str) -> VersionRow {
    let key = sealift_terms::ObjectKey::new(key).unwrap();
    running.archive.find(&bucket(), &key, None).await.unwrap()
}

/// Flips a bit `at` bytes behind the beginning of a version's sealed bytes.
pub(super) async fn flip(site: &Site, running: &Running, key: &str, at: i64) {
    let location = row(running, key).await.location;
    let path = site.dir.path().join("store").join(&location.file);
    let mut bytes = fs::read(&path).unwrap();
    let at = usize::try_from(location.offset as i64 + at).unwrap();
    bytes[at] ^= 0x10;
    fs::write(path, bytes).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_version_is_not_served_until_it_came_again_and_its_bytes_are_kept() {
    let site = Site::new();
    let running = site.open().await;
    let (small, large) = (plain(1, 3000), plain(2, 3 * PART));
    running.store("small", "v1", 1, &small).await;
    running.store("large", "v1", 2, &large).await;
    running.store("sound", "v1", 3, b"sound").await;
    assert!(scrub(&running).await.is_empty());
    for (key, order, bytes) in [("small", 1, &small), ("large", 2, &large)] {
        let before = row(&running, key).await;
        flip(&site, &running, key, before.location.length as i64 / 2).await;
        let found = scrub(&running).await;
        assert!(
            matches!(found.as_slice(), [Finding::ObjectDamaged { name, .. }] if *name == before.name),
            "{found:?}"
        );
        assert!(site.has_leaf("object.damaged").await);
        let error = running.read(key, None).await.unwrap_err();
        assert_eq!(error.reason(), Reason::DstObjectDamaged);
        assert_eq!(running.read("sound", None).await.unwrap(), b"sound");
        assert!(scrub(&running).await.is_empty(), "it is told once");

        // Other content under its name is refused as ever; the same is taken.
        let other = plain(9, bytes.len());
        let refused = running
            .put(offer(key, "v1", order, other.len()), &other)
            .await;
        assert_eq!(refused.unwrap_err().reason(), Reason::ChecksumMismatch);
        let begun = running
            .archive
            .begin(offer(key, "v1", order, bytes.len()))
            .await;
        assert!(matches!(begun.unwrap(), Begin::Upload(_)));
        running
            .put(offer(key, "v1", order, bytes.len()), bytes)
            .await
            .unwrap();
        assert!(running.read(key, None).await.unwrap() == *bytes);
        let after = row(&running, key).await;
        assert_ne!(after.object_uid, before.object_uid);
        let path = site.dir.path().join("store").join(&before.location.file);
        assert!(path.exists(), "the damaged bytes are gone");
        assert!(scrub(&running).await.is_empty());
        let begun = running
            .archive
            .begin(offer(key, "v1", order, bytes.len()))
            .await;
        assert!(matches!(begun.unwrap(), Begin::Known(_)));
    }
    assert!(site.has_leaf("object.repaired").await);
    let count = running.archive.quarantine_count().await.unwrap();
    assert_eq!((count.damaged, count.repaired), (0, 2));
    let found = running.verify_deep().await;
    assert!(
        found.is_empty(),
        "what is in quarantine is known: {found:?}"
    );
    assert_eq!(running.listing().await.len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_quarantine_ends_after_its_time_and_not_for_what_did_not_come_again() {
    let site = Site::new();
    let running = site.open().await;
    let (one, two) = (plain(1, 3 * PART), plain(2, 3 * PART));
    running.store("one", "v1", 1, &one).await;
    running.store("two", "v1", 2, &two).await;
    let files = site.files_in("store/objects").len();
    for key in ["one", "two"] {
        flip(&site, &running, key, 500).await;
    }
    assert_eq!(scrub(&running).await.len(), 2);
    running
        .put(offer("one", "v1", 1, one.len()), &one)
        .await
        .unwrap();
    let hour = std::time::Duration::from_secs(3600);
    let kept = running.archive.expire_quarantine(hour).await.unwrap();
    assert_eq!(kept.sealings, 0);
    assert_eq!(site.files_in("store/objects").len(), files + 1);
    let gone = running.archive.expire_quarantine(Default::default()).await;
    assert_eq!(gone.unwrap().sealings, 1);
    assert_eq!(site.files_in("store/objects").len(), files);
    let count = running.archive.quarantine_count().await.unwrap();
    assert_eq!((count.damaged, count.repaired), (1, 0));
    let damaged = running.archive.damaged(0, 9).await.unwrap();
    assert_eq!(damaged[0].name, name("two", "v1"));
    assert!(running.read("one", None).await.unwrap() == one);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scrub_goes_on_after_a_restart_where_it_was() {
    let site = Site::new();
    let running = site.open().await;
    let large = plain(7, 20 << 20);
    for n in 0..5 {
        running.store(&format!("k{n}"), "v1", n + 1, b"small").await;
    }
    running.store("large", "v1", 9, &large).await;
    running.store("z", "v1", 10, b"behind").await;
    let mut scrubber = running.archive.scrubber().await.unwrap();
    scrubber.begin();
    let mut sink = |finding: &Finding| panic!("{finding}");
    // The records, what is before the large object with its first slice.
    let mut steps = 0;
    while scrubber.state().scrubbed.bytes < 8 << 20 {
        scrubber.step(&mut sink).await.unwrap();
        steps += 1;
    }
    scrubber.save().await.unwrap();
    let before = scrubber.state().clone();
    assert!(
        before.is_under_way() && before.scrubbed.versions == 5,
        "{before:?} after {steps}"
    );
    drop((scrubber, running));
    let running = site.open().await;
    let mut scrubber = running.archive.scrubber().await.unwrap();
    assert_eq!(*scrubber.state(), before);
    let read_before = scrubber.state().scrubbed.bytes;
    assert!(finish(&mut scrubber).await.is_empty());
    let state = scrubber.state();
    assert_eq!(state.scrubbed.versions, 7);
    let rest = state.scrubbed.bytes - read_before;
    assert!(rest < 17 << 20, "{rest} bytes were read after the restart");
    assert!(state.finished.is_some());
    assert!(site.audit.has(AuditKind::ScrubFinished));
}

#[tokio::test(flavor = "multi_thread")]
async fn damage_behind_the_place_where_a_scrub_went_on_is_found() {
    let site = Site::new();
    let running = site.open().await;
    let large = plain(7, 20 << 20);
    running.store("large", "v1", 9, &large).await;
    let mut scrubber = running.archive.scrubber().await.unwrap();
    scrubber.begin();
    let mut sink = |finding: &Finding| panic!("{finding}");
    while scrubber.state().scrubbed.bytes < 8 << 20 {
        scrubber.step(&mut sink).await.unwrap();
    }
    flip(&site, &running, "large", 19 << 20).await;
    let found = finish(&mut scrubber).await;
    assert!(
        matches!(found.as_slice(), [Finding::ObjectDamaged { .. }]),
        "{found:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_entry_that_is_damaged_around_good_bytes_is_copied() {
    let site = Site::new();
    let running = site.open().await;
    running.store("k", "v1", 1, b"content").await;
    running.store("other", "v1", 2, b"other").await;
    let before = row(&running, "k").await;
    // In the length of the entry, which only a rebuild reads.
    flip(&site, &running, "k", -7).await;
    let found = scrub(&running).await;
    assert!(
        matches!(found.as_slice(), [Finding::PackDamaged { .. }]),
        "{found:?}"
    );
    let after = row(&running, "k").await;
    assert_ne!(after.location.file, before.location.file);
    assert_eq!(after.object_uid, before.object_uid);
    assert_eq!(running.read("k", None).await.unwrap(), b"content");
    assert!(scrub(&running).await.is_empty());
    assert_eq!(running.archive.quarantine_count().await.unwrap().damaged, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_copies_of_a_record_the_one_that_opens_is_written_over_the_other() {
    let site = Site::new();
    let running = site.open().await;
    running.store("k", "v1", 1, b"content").await;
    let file = site.files_in("store/records").remove(0);
    let whole = fs::read(&file).unwrap();
    let damages: [(&str, Option<Vec<u8>>); 3] = [
        ("lost", None),
        ("cut", Some(whole[..40].to_vec())),
        ("another's", Some(b"{}\n00000000\n".to_vec())),
    ];
    for (what, damage) in damages {
        match damage {
            None => fs::remove_file(&file).unwrap(),
            Some(bytes) => fs::write(&file, bytes).unwrap(),
        }
        let found = scrub(&running).await;
        assert!(
            matches!(found.as_slice(), [Finding::RecordDiffers { .. }]),
            "{what}: {found:?}"
        );
        assert!(fs::read(&file).unwrap() == whole, "{what}");
        assert!(scrub(&running).await.is_empty(), "{what}");
    }
    assert!(site.audit.has(AuditKind::RecordRepaired));
    // The catalog's copy is the damaged one, and nothing of it is held in memory.
    let catalog = running.archive.core.catalog.clone();
    let mut rows = catalog.records(None, 9).await.unwrap();
    for row in &mut rows {
        row.json = row.json.replace("\"wrapped\":\"", "\"wrapped\":\"AAAA");
    }
    catalog.put_records(rows).await.unwrap();
    running.archive.close().await;
    drop((catalog, running));
    let running = site.open().await;
    assert!(running.read("k", None).await.is_err());
    let found = scrub(&running).await;
    assert!(
        found
            .iter()
            .any(|f| matches!(f, Finding::RecordDiffers { .. })),
        "{found:?}"
    );
    assert_eq!(running.read("k", None).await.unwrap(), b"content");
    assert_eq!(running.archive.quarantine_count().await.unwrap().damaged, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn damaged_tags_are_sealed_anew() {
    let site = Site::new();
    let running = site.open().await;
    running.store("k", "v1", 1, b"content").await;
    let mut tags = offer("k", "v1", 5, 0);
    tags.change.kind = ChangeKind::Tags;
    tags.change.facts.tags.insert("team".into(), "blue".into());
    let upload = running.upload(tags).await;
    running.archive.commit(upload, None).await.unwrap();
    let pack = site.files_in("store/packs").remove(0);
    let mut bytes = fs::read(&pack).unwrap();
    let last = bytes.len() - 60;
    bytes[last] ^= 1;
    fs::write(&pack, bytes).unwrap();
    let found = scrub(&running).await;
    assert!(
        matches!(found.as_slice(), [Finding::ObjectDamaged { cause, .. }] if cause.contains("sealed anew")),
        "{found:?}"
    );
    assert!(scrub(&running).await.is_empty());
    let tags = row(&running, "k").await.facts.tags;
    assert_eq!(tags["team"], "blue");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_is_not_there_is_no_damage() {
    let site = Site::new();
    let running = site.open().await;
    running.store("k", "v1", 1, &plain(1, 3 * PART)).await;
    let store = site.dir.path().join("store");
    let aside = site.dir.path().join("aside");
    fs::rename(&store, &aside).unwrap();
    fs::create_dir(&store).unwrap();
    let mut scrubber = running.archive.scrubber().await.unwrap();
    scrubber.begin();
    let mut sink = |finding: &Finding| panic!("{finding}");
    let error = loop {
        if let Err(error) = scrubber.step(&mut sink).await {
            break error;
        }
        assert!(scrubber.state().is_under_way());
    };
    assert_eq!(error.reason(), Reason::DstStoreUnavailable);
    assert!(error.to_string().contains("mounted"), "{error}");
    // Nothing is written into what only looks like the store.
    let error = running
        .put(offer("new", "v1", 2, 2 * PART), &plain(3, 2 * PART))
        .await;
    assert_eq!(error.unwrap_err().reason(), Reason::DstStoreUnavailable);
    assert_eq!(fs::read_dir(&store).unwrap().count(), 0);
    fs::remove_dir(&store).unwrap();
    fs::rename(&aside, &store).unwrap();
    // The page that could not be looked at is looked at again.
    let records = site.files_in("store/records");
    fs::remove_file(&records[0]).unwrap();
    let found = finish(&mut scrubber).await;
    assert!(
        matches!(found.as_slice(), [Finding::RecordDiffers { .. }]),
        "{found:?}"
    );
    assert_eq!(site.files_in("store/records"), records);
    assert_eq!(running.archive.quarantine_count().await.unwrap().damaged, 0);
}
