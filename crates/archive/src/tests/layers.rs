//! Two layers, through everything that an archive does.

use std::{collections::BTreeMap, fs};

use sealift_seal::{Expected, HEADER_BYTES, Inspected, Keys};
use sealift_terms::{AuditKind, KeyId, PartIndex, Reason, RecordId};

use super::{
    compacting::{assert_all_there, half_dead},
    resuming::{PARTS, SIZE, interrupted},
    scrubbing::{flip, row, scrub},
    site::*,
};
use crate::{Archive, ArchiveError, Buckets, Finding, Rewrap, WrappedBy, rebuild};

/// The id of the CMK behind an alias.
fn cmk(site: &Site, alias: &str) -> KeyId {
    let named = |key: &sealift_keys::KeyDescription| {
        let of = key.alias.as_ref();
        of.is_some_and(|of| of.as_str() == alias)
    };
    site.keystore.list().into_iter().find(named).unwrap().id
}

/// The sealed bytes of a version.
async fn sealed(site: &Site, running: &Running, key: &str) -> Vec<u8> {
    let location = row(running, key).await.location;
    let path = site.dir.path().join("store").join(&location.file);
    let (from, len) = (location.offset as usize, location.length as usize);
    fs::read(path).unwrap()[from..from + len].to_vec()
}

/// Objects that rest under each CMK.
async fn dependencies(running: &Running) -> BTreeMap<KeyId, u64> {
    let uses = running.archive.core.catalog.key_use().await.unwrap();
    uses.into_iter().map(|of| (of.cmk, of.objects)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_of_two_keys_is_sealed_in_two_layers_and_everything_says_so() {
    let site = Site::in_two_layers();
    let running = site.open().await;
    let (inner, outer) = (cmk(&site, CMK), cmk(&site, OUTER_CMK));
    let sizes = [0, 1, 16_384, PART - 1, PART, 3 * PART, 5 * PART + 17];
    for (i, size) in sizes.into_iter().enumerate() {
        let (bytes, key) = (plain(i as u8, size), format!("k{size}"));
        let receipt = running.put(offer(&key, "v1", 1, size), &bytes).await;
        let receipt = receipt.unwrap();
        let second = receipt.second.clone().unwrap();
        assert_eq!((&receipt.cmk, &second.cmk), (&inner, &outer));
        let known = row(&running, &key).await;
        assert_eq!(known.second_record, Some(second.record));
        assert_ne!(known.record, second.record);
        assert_eq!(known.receipt, Some(receipt));
        let bytes_at_rest = sealed(&site, &running, &key).await;
        assert_eq!(bytes_at_rest[9], 2, "the suite in the header");
        assert!(running.read(&key, None).await.unwrap() == bytes, "{size}");
    }
    assert!(running.verify_deep().await.is_empty());
    assert!(scrub(&running).await.is_empty());
    // One record for each key, however many objects there are.
    assert_eq!(running.archive.key_calls().calls_made, 2);
    assert_eq!(site.files_in("store/records").len(), 2);
    let count = sizes.len() as u64;
    let both = BTreeMap::from([(inner, count), (outer.clone(), count)]);
    assert_eq!(dependencies(&running).await, both);
    assert!(site.has_leaf("object.stored").await);
    assert!(site.has_detail("second_cmk", outer.as_str()).await);
    assert_eq!(site.budget.free(), site.budget.total());
}

#[tokio::test(flavor = "multi_thread")]
async fn ranges_of_two_layers_are_read_across_parts() {
    let site = Site::in_two_layers();
    let running = site.open().await;
    let bytes = plain(3, 3 * PART + 100);
    running.store("k", "v1", 1, &bytes).await;
    let key = "k".parse().unwrap();
    let photos = bucket();
    let opened = running.archive.open_object("test", &photos, &key, None);
    let reader = opened.await.unwrap();
    for (from, to) in [(0, 1), (16_383, 16_385), (PART - 10, 2 * PART + 10)] {
        let mut range = reader.range(from as u64..to as u64).unwrap();
        let mut read = Vec::new();
        while let Some(run) = range.next_run().unwrap() {
            read.extend_from_slice(run);
        }
        assert!(read == bytes[from..to], "{from}..{to}");
    }
    assert!(site.audit.has(AuditKind::ObjectOpened));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_keys_of_each_layer_alone_open_nothing_that_rests() {
    let site = Site::in_two_layers();
    let running = site.open().await;
    running.store("k", "v1", 1, b"content").await;
    let known = row(&running, "k").await;
    let bytes = sealed(&site, &running, "k").await;
    let core = &running.archive.core;
    let open = async |id: RecordId| core.open_record(id, &bucket()).await.unwrap();
    let inner = open(known.record).await;
    let outer = open(known.second_record.unwrap()).await;
    let opens = |keys: Keys<'_>| {
        let unlisted = Expected::unlisted();
        let inspected = Inspected::new(bytes.as_slice(), bytes.len() as u64, &unlisted);
        inspected.unwrap().open(keys).is_ok()
    };
    assert!(opens(Keys::two(inner.key(), outer.key())));
    for one in [inner.key(), outer.key()] {
        assert!(!opens(Keys::one(one)));
        assert!(!opens(Keys::two(one, one)));
    }
    assert!(!opens(Keys::two(outer.key(), inner.key())));
}

#[tokio::test(flavor = "multi_thread")]
async fn two_keys_that_are_one_are_refused_before_anything_is_written() {
    let mut site = Site::new();
    // Another name of the same key: only whoever asks the keystore can tell.
    site.keys.second = Some(cmk(&site, CMK).to_string());
    let running = site.open().await;
    for tried in [
        running
            .archive
            .begin(offer("k", "v1", 1, 10))
            .await
            .map(drop),
        running
            .archive
            .begin(offer("k", "v1", 1, SIZE))
            .await
            .map(drop),
        running.archive.try_bucket(&bucket()).await,
        running
            .archive
            .try_canary("test", &bucket(), b"x")
            .await
            .map(drop),
    ] {
        let error = tried.unwrap_err();
        assert!(matches!(error, ArchiveError::SameKey { .. }), "{error}");
        assert_eq!(error.reason(), Reason::DstKmsKeysSame);
    }
    assert!(site.files_in("store/records").is_empty());
    assert!(site.files_in("staging").is_empty());
    assert_eq!(running.archive.unfinished(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disabled_second_key_stops_writing_and_reading_in_the_middle_of_a_transfer() {
    let site = Site::in_two_layers();
    let running = site.open().await;
    running.store("k", "v1", 1, b"content").await;
    let bytes = plain(1, SIZE);
    let upload = running.upload(offer("big", "v1", 1, SIZE)).await;
    send(&upload, PartIndex(0), &bytes).await.unwrap();
    site.keystore.disable(OUTER_CMK).unwrap();
    running.archive.ring().recheck();
    let stopped = [
        send(&upload, PartIndex(1), &bytes).await,
        running
            .archive
            .begin(offer("new", "v1", 1, 10))
            .await
            .map(drop),
        running.read("k", None).await.map(drop),
    ];
    for stopped in stopped {
        assert_eq!(stopped.unwrap_err().reason(), Reason::DstKmsKeyDisabled);
    }
    // A key that cannot be used now is no damage.
    assert!(scrub(&running).await.is_empty());
    site.keystore.enable(OUTER_CMK).unwrap();
    running.archive.ring().recheck();
    assert_eq!(running.read("k", None).await.unwrap(), b"content");
    for index in upload.missing() {
        send(&upload, index, &bytes).await.unwrap();
    }
    running.archive.commit(upload, None).await.unwrap();
    assert!(running.read("big", None).await.unwrap() == bytes);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_in_two_layers_goes_on_after_a_restart() {
    let site = Site::in_two_layers();
    let bytes = plain(1, SIZE);
    interrupted(&site, &bytes).await;
    // A bit of part 1: its outer tag tells.
    let path = &site.files_in("staging")[0];
    let mut staged = fs::read(path).unwrap();
    staged[HEADER_BYTES + PART + PART / 2] ^= 1;
    fs::write(path, staged).unwrap();
    let running = site.open().await;
    assert_eq!(running.archive.unfinished(), 1);
    let upload = running.upload(offer("k", "v1", 1, SIZE)).await;
    assert_eq!(upload.missing(), [1, 4, 5].map(PartIndex));
    drop(upload);
    running.store("k", "v1", 1, &bytes).await;
    assert!(running.read("k", None).await.unwrap() == bytes);
    assert!(running.verify_deep().await.is_empty());
    assert!(site.files_in("staging").is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_begun_in_another_number_of_layers_begins_anew() {
    let mut site = Site::in_two_layers();
    let bytes = plain(1, SIZE);
    let second = site.keys.second.clone();
    for (before, after) in [(None, second.clone()), (second, None)] {
        site.keys.second = before;
        interrupted(&site, &bytes).await;
        site.keys.second.clone_from(&after);
        let running = site.open().await;
        let upload = running.upload(offer("k", "v1", 1, SIZE)).await;
        assert_eq!(upload.missing().len(), PARTS, "{after:?}");
        running.archive.cancel(upload).await.unwrap();
    }
    // The same within one process: a reload came in between.
    let running = site.open().await;
    let upload = running.upload(offer("k", "v1", 1, SIZE)).await;
    send(&upload, PartIndex(0), &bytes).await.unwrap();
    drop(upload);
    site.keys.second = Some(OUTER_CMK.to_owned());
    let both = Buckets::from([(bucket(), site.keys.clone())]);
    running.archive.set_buckets(both);
    let upload = running.upload(offer("k", "v1", 1, SIZE)).await;
    assert!(upload.kept().is_empty());
    drop(upload);
    running.store("k", "v1", 1, &bytes).await;
    assert!(row(&running, "k").await.second_record.is_some());
    assert!(running.read("k", None).await.unwrap() == bytes);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_rests_in_one_layer_still_opens_beside_what_rests_in_two() {
    let mut site = Site::new();
    let one = site.open().await;
    one.store("one", "v1", 1, b"in one layer").await;
    one.archive.close().await;
    drop(one);
    let alias = Some(OUTER_CMK.parse().unwrap());
    site.keystore.create_key(alias, region()).unwrap();
    site.keys.second = Some(OUTER_CMK.to_owned());
    let running = site.open().await;
    running.store("two", "v1", 2, b"in two layers").await;
    assert_eq!(running.read("one", None).await.unwrap(), b"in one layer");
    assert_eq!(running.read("two", None).await.unwrap(), b"in two layers");
    assert_eq!(row(&running, "one").await.second_record, None);
    assert!(running.verify_deep().await.is_empty());
    // Without the outer key the one layer still opens, and the two do not.
    site.keystore.disable(OUTER_CMK).unwrap();
    running.archive.ring().recheck();
    assert_eq!(running.read("one", None).await.unwrap(), b"in one layer");
    assert!(running.read("two", None).await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scrub_finds_damage_in_either_layer_and_repairs_either_record() {
    let site = Site::in_two_layers();
    let running = site.open().await;
    let bytes = plain(2, 3 * PART);
    running.store("large", "v1", 1, &bytes).await;
    running.store("small", "v1", 2, b"small").await;
    // Salt and commitment of the outer layer, then of the inner one, then a chunk.
    for (order, at) in [(10, 5), (11, 61), (12, 112 + 400)] {
        let key = format!("k{at}");
        running.store(&key, "v1", order, &plain(9, 3000)).await;
        flip(&site, &running, &key, HEADER_BYTES as i64 + at).await;
        let found = scrub(&running).await;
        assert!(
            matches!(found.as_slice(), [Finding::ObjectDamaged { .. }]),
            "{at}: {found:?}"
        );
    }
    for file in site.files_in("store/records") {
        let whole = fs::read(&file).unwrap();
        fs::write(&file, &whole[..40]).unwrap();
        let found = scrub(&running).await;
        assert!(
            matches!(found.as_slice(), [Finding::RecordDiffers { .. }]),
            "{found:?}"
        );
        assert!(fs::read(&file).unwrap() == whole);
    }
    assert!(running.read("large", None).await.unwrap() == bytes);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rebuild_from_store_and_keys_finds_both_layers_again() {
    let site = Site::in_two_layers();
    let running = site.open().await;
    running.store("large", "v1", 1, &plain(1, 3 * PART)).await;
    running.store("small", "v1", 2, &plain(2, 100)).await;
    let before = running.listing().await;
    let counted = dependencies(&running).await;
    running.archive.close().await;
    drop(running);
    site.lose_catalog();
    let report = rebuild(site.parts().0, "test", &mut drop).await.unwrap();
    assert_eq!(
        (report.versions, report.records, report.findings),
        (2, 2, 0)
    );
    let running = site.open().await;
    for (old, new) in before.iter().zip(&running.listing().await) {
        assert_eq!((&old.name, old.records()), (&new.name, new.records()));
    }
    assert_eq!(dependencies(&running).await, counted);
    assert!(running.verify_deep().await.is_empty());
    let outer = before[0].second_record.unwrap();
    running.archive.close().await;
    drop(running);

    // Without the outer layer's record nothing under it is taken over, and that is told.
    site.lose_catalog();
    let lost = format!("{outer}.json");
    let records = site.files_in("store/records").into_iter();
    let mut lost = records.filter(|path| path.ends_with(&lost));
    fs::remove_file(lost.next().unwrap()).unwrap();
    let report = rebuild(site.parts().0, "test", &mut drop).await.unwrap();
    assert_eq!((report.versions, report.findings), (0, 2), "{report:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rebuild_without_the_second_key_ends_before_objects_are_left_out() {
    let site = Site::in_two_layers();
    let running = site.open().await;
    running.store("k", "v1", 1, b"content").await;
    running.archive.close().await;
    drop(running);
    site.keystore.disable(OUTER_CMK).unwrap();
    let error = rebuild(site.parts().0, "test", &mut drop).await;
    assert!(matches!(error, Err(ArchiveError::Key(_))), "{error:?}");
    let refused = Archive::open(site.parts().0).await.map(drop);
    assert!(matches!(refused, Err(ArchiveError::CatalogUnfinished)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pack_of_two_layers_is_compacted_as_it_is() {
    let site = Site::in_two_layers();
    let kept = half_dead(&site, 4).await;
    let running = site.open().await;
    let counted = dependencies(&running).await;
    let long = std::time::Duration::from_secs(3600);
    let done = running.archive.compact(long, long).await.unwrap();
    assert_eq!((done.packs, done.entries, done.deleted), (1, 6, 1));
    assert_all_there(&site, &running, &kept).await;
    assert_eq!(dependencies(&running).await, counted);
    let both = dependencies(&running).await.into_values();
    assert_eq!(both.collect::<Vec<_>>(), [6, 6], "marks are counted, too");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_in_one_layer_put_in_the_place_of_one_in_two_is_refused() {
    let site = Site::in_two_layers();
    let running = site.open().await;
    running.store("k", "v1", 1, b"content").await;
    let location = row(&running, "k").await.location;
    let path = site.dir.path().join("store").join(&location.file);
    let mut bytes = fs::read(&path).unwrap();
    let at = location.offset as usize;
    bytes[at + 9] = 1;
    bytes[at + 48..at + 64].fill(0);
    fs::write(&path, bytes).unwrap();
    site.audit.0.lock().clear();
    let error = running.read("k", None).await.unwrap_err();
    assert_eq!(error.reason(), Reason::DstObjectDamaged, "{error}");
    let unwrapped = site.audit.has(AuditKind::KeyUnwrapped);
    assert!(!unwrapped, "refused by the catalog's word, before any key");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_canary_takes_both_layers() {
    let site = Site::in_two_layers();
    let running = site.open().await;
    let bytes = plain(7, 1000);
    let photos = bucket();
    let opened = running.archive.try_canary("tester", &photos, &bytes).await;
    assert_eq!(opened.unwrap(), bytes);
    site.keystore.disable(OUTER_CMK).unwrap();
    running.archive.ring().recheck();
    let tried = running.archive.try_canary("tester", &photos, b"x").await;
    assert!(matches!(tried, Err(ArchiveError::Key(_))), "{tried:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rewrap_never_puts_both_layers_under_one_key() {
    let site = Site::in_two_layers();
    for alias in ["alias/third", "alias/fourth"] {
        let alias = Some(alias.parse().unwrap());
        site.keystore.create_key(alias, region()).unwrap();
    }
    let running = site.open().await;
    running.store("small", "v1", 1, b"content").await;
    running.store("large", "v1", 2, &plain(1, SIZE)).await;
    let rewrap = async |from: Option<&str>, to: &str, dry_run| {
        let from = from.map(|alias| WrappedBy {
            provider: sealift_keys::ProviderKind::Local,
            cmk: cmk(&site, alias),
            version: None,
        });
        let wanted = Rewrap {
            bucket: None,
            from,
            to: to.to_owned(),
            dry_run,
        };
        let mut causes = Vec::new();
        let mut sink = |finding: crate::RewrapFinding| causes.push(finding.cause);
        let done = running.archive.rewrap(&wanted, &mut sink).await.unwrap();
        assert!(causes.iter().all(|cause| cause.contains("same key")));
        assert_eq!(causes.len() as u64, done.failed);
        (done.records, done.current, done.failed)
    };
    // Onto the other layer's key, and both onto a third: one of the two stays.
    assert_eq!(rewrap(None, OUTER_CMK, false).await, (0, 1, 1));
    assert_eq!(rewrap(None, "alias/third", true).await, (1, 0, 1));
    assert_eq!(rewrap(Some(CMK), "alias/third", false).await, (1, 0, 0));
    let from = Some(OUTER_CMK);
    assert_eq!(rewrap(from, "alias/third", false).await, (0, 0, 1));
    assert_eq!(rewrap(from, "alias/fourth", false).await, (1, 0, 0));
    let apart = dependencies(&running).await;
    let third = apart[&cmk(&site, "alias/third")];
    assert_eq!((third, apart[&cmk(&site, "alias/fourth")]), (2, 2));
    assert!(running.verify_deep().await.is_empty());
    assert!(scrub(&running).await.is_empty());
    // A new version of its own key is no other key.
    site.keystore.rotate("alias/third").unwrap();
    assert_eq!(rewrap(None, "alias/third", false).await, (1, 0, 1));
    assert_eq!(running.read("small", None).await.unwrap(), b"content");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_is_resealed_in_the_layers_that_its_bucket_has_now() {
    let mut site = Site::in_two_layers();
    let second = site.keys.second.take();
    let bytes = plain(1, SIZE);
    let running = site.open().await;
    running.store("large", "v1", 1, &bytes).await;
    running.store("small", "v1", 2, b"content").await;
    for (second, layers) in [(second.clone(), 2), (None, 1), (second, 2)] {
        site.keys.second = second;
        let keys = Buckets::from([(bucket(), site.keys.clone())]);
        running.archive.set_buckets(keys);
        for key in ["large", "small"] {
            running
                .archive
                .reseal("ops", &name(key, "v1"))
                .await
                .unwrap();
            let known = row(&running, key).await;
            assert_eq!(known.records().iter().count(), layers, "{key}");
        }
        assert!(running.read("large", None).await.unwrap() == bytes);
        assert_eq!(running.read("small", None).await.unwrap(), b"content");
        assert!(running.verify_deep().await.is_empty());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_bucket_keys_each_object_has_a_record_of_its_own_in_each_layer() {
    let mut site = Site::in_two_layers();
    site.keys.record_per_object = true;
    let running = site.open().await;
    running.store("small", "v1", 1, b"content").await;
    running.store("large", "v1", 2, &plain(1, SIZE)).await;
    assert_eq!(running.archive.key_calls().calls_made, 4);
    assert_eq!(site.files_in("store/records").len(), 4);
    assert_eq!(running.read("small", None).await.unwrap(), b"content");
    running.archive.close().await;
    drop(running);
    site.lose_catalog();
    let report = rebuild(site.parts().0, "test", &mut drop).await.unwrap();
    assert_eq!(
        (report.versions, report.records, report.findings),
        (2, 4, 0)
    );
    let running = site.open().await;
    assert!(running.read("large", None).await.unwrap() == plain(1, SIZE));
    let same = site.keys.cmk.clone();
    site.keys.second = Some(cmk(&site, &same).to_string());
    let keys = Buckets::from([(bucket(), site.keys.clone())]);
    running.archive.set_buckets(keys);
    let refused = running.archive.begin(offer("k", "v1", 3, 10)).await;
    assert!(matches!(refused, Err(ArchiveError::SameKey { .. })));
    assert_eq!(site.files_in("store/records").len(), 4);
}
