//! Records wrapped anew, versions sealed anew, and records of single objects.

use std::fs;

use sealift_keys::{KeyRecord, ProviderKind, RecordKind};
use sealift_ledger::RecordRow;
use sealift_terms::{AuditKind, ChangeKind, KeyAlias, PartIndex, Reason};

use super::site::*;
use crate::{ArchiveError, BucketKey, Buckets, Rewrap, Rewrapped, WrappedBy, rebuild};

const OTHER: &str = "alias/other";

fn other_key(site: &Site) {
    let alias: KeyAlias = OTHER.parse().unwrap();
    site.keystore.create_key(Some(alias), region()).unwrap();
}

/// Three starts, each with an object under a record of its own: `k0` to `k2`.
async fn with_three_records() -> Site {
    let site = Site::new();
    for n in 0..3 {
        let running = site.open().await;
        let key = format!("k{n}");
        running.store(&key, "v1", n + 1, &plain(n as u8, 100)).await;
        running.archive.close().await;
    }
    site
}

fn to(key: &str) -> Rewrap {
    Rewrap {
        bucket: None,
        from: None,
        to: key.to_owned(),
        dry_run: false,
    }
}

async fn rewrap(running: &Running, wanted: &Rewrap) -> (Rewrapped, usize) {
    let mut findings = 0;
    let mut sink = |_| findings += 1;
    let done = running.archive.rewrap(wanted, &mut sink).await.unwrap();
    (done, findings)
}

async fn records(running: &Running) -> Vec<RecordRow> {
    let catalog = &running.archive.core.catalog;
    catalog.records(None, 1000).await.unwrap()
}

fn bytes_of(site: &Site) -> Vec<(std::path::PathBuf, Vec<u8>)> {
    let mut files = site.files_in("store/packs");
    files.extend(site.files_in("store/objects"));
    files.sort();
    files
        .into_iter()
        .map(|path| (path.clone(), fs::read(path).unwrap()))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rewrap_moves_records_to_another_key_and_touches_no_object() {
    let site = Site::new();
    let (small, large) = (plain(1, 3000), plain(2, 3 * PART));
    {
        let running = site.open().await;
        running.store("small", "v1", 1, &small).await;
        running.archive.close().await;
    }
    // A second start begins a second record.
    let running = site.open().await;
    running.store("large", "v1", 2, &large).await;
    other_key(&site);
    let before = bytes_of(&site);
    let dry = Rewrap {
        dry_run: true,
        ..to(OTHER)
    };
    let (done, _) = rewrap(&running, &dry).await;
    assert_eq!((done.records, done.current, done.failed), (2, 0, 0));
    assert!(
        records(&running)
            .await
            .iter()
            .all(|row| row.cmk != done.key.id)
    );

    let (done, findings) = rewrap(&running, &to(OTHER)).await;
    assert_eq!((done.records, done.current, findings), (2, 0, 0));
    assert_eq!(bytes_of(&site), before, "objects are as they were");
    assert!(
        records(&running)
            .await
            .iter()
            .all(|row| row.cmk == done.key.id)
    );
    assert!(site.audit.has(AuditKind::KeyRewrapped));
    // Nothing depends on the old key: not what was held of it, either.
    site.keystore.disable(CMK).unwrap();
    running.archive.ring().recheck();
    assert_eq!(running.read("small", None).await.unwrap(), small);
    assert_eq!(running.read("large", None).await.unwrap(), large);
    assert_eq!(running.verify_deep().await, []);
    let (again, _) = rewrap(&running, &to(OTHER)).await;
    assert_eq!((again.records, again.current), (0, 2));

    running.archive.close().await;
    drop(running);
    site.lose_catalog();
    let (parts, _faults) = site.parts();
    let mut sink = |finding| panic!("{finding}");
    let rebuilt = rebuild(parts, "test", &mut sink).await.unwrap();
    assert_eq!(
        rebuilt.versions, 2,
        "the store's copies are wrapped anew, too"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_rotation_a_rewrap_takes_the_records_of_the_old_version_alone() {
    let site = Site::new();
    let running = site.open().await;
    running.store("old", "v1", 1, &plain(1, 100)).await;
    site.keystore.rotate(CMK).unwrap();
    running.archive.ring().recheck();
    running.store("new", "v1", 2, &plain(2, 100)).await;
    let used = records(&running).await;
    let cmk = used[0].cmk.clone();
    assert_eq!(used.len(), 2);
    let version = |version: &str| WrappedBy {
        provider: ProviderKind::Local,
        cmk: cmk.clone(),
        version: Some(version.to_owned()),
    };
    let nowhere = Rewrap {
        from: Some(version("7")),
        ..to(CMK)
    };
    assert_eq!(rewrap(&running, &nowhere).await.0.records, 0);
    let old = Rewrap {
        from: Some(version("1")),
        ..to(CMK)
    };
    let (done, _) = rewrap(&running, &old).await;
    assert_eq!((done.records, done.current), (1, 0));
    assert!(
        records(&running)
            .await
            .iter()
            .all(|row| row.cmk_version == "2")
    );
    assert_eq!(running.read("old", None).await.unwrap(), plain(1, 100));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rewrap_that_was_cut_off_goes_on_and_the_scrub_agrees_meanwhile() {
    let site = with_three_records().await;
    other_key(&site);
    let running = site.open().await;
    // As after a crash in between: the store has the new one, the catalog the old.
    let first = &records(&running).await[0];
    let record = KeyRecord::from_json(first.json.as_bytes()).unwrap();
    let ring = running.archive.ring();
    let open = ring.rewrap(&record, &bucket(), OTHER).await.unwrap();
    let store = &running.archive.core.store;
    crate::records::write_file(&**store, open.record())
        .await
        .unwrap();
    for n in 0..3 {
        let bytes = running.read(&format!("k{n}"), None).await.unwrap();
        assert_eq!(bytes, plain(n, 100));
    }
    let (done, _) = rewrap(&running, &to(OTHER)).await;
    assert_eq!((done.records, done.failed), (3, 0));
    assert_eq!(running.verify_deep().await, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_does_not_open_is_told_and_the_others_go_on() {
    let site = with_three_records().await;
    other_key(&site);
    let running = site.open().await;
    let mut bad = records(&running).await[1].clone();
    let mut record = KeyRecord::from_json(bad.json.as_bytes()).unwrap();
    record.wrapped[30] ^= 1;
    bad.json = record.to_json();
    let catalog = &running.archive.core.catalog;
    catalog.put_records(vec![bad]).await.unwrap();
    let (done, findings) = rewrap(&running, &to(OTHER)).await;
    assert_eq!((done.records, done.failed, findings), (2, 1, 1));

    site.keystore.disable(OTHER).unwrap();
    let mut sink = |_| ();
    let refused = running.archive.rewrap(&to(OTHER), &mut sink).await;
    let error = refused.unwrap_err();
    assert_eq!(error.reason(), Reason::DstKmsKeyDisabled, "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_under_way_goes_on_under_its_record_wrapped_anew() {
    let site = Site::new();
    let running = site.open().await;
    let bytes = plain(4, 3 * PART);
    let offer = offer("k", "v1", 1, bytes.len());
    let upload = running.upload(offer.clone()).await;
    send(&upload, PartIndex(0), &bytes).await.unwrap();
    other_key(&site);
    rewrap(&running, &to(OTHER)).await;
    site.keystore.disable(CMK).unwrap();
    running.archive.ring().recheck();
    for index in upload.missing() {
        send(&upload, index, &bytes).await.unwrap();
    }
    running.archive.commit(upload, None).await.unwrap();
    assert_eq!(running.read("k", None).await.unwrap(), bytes);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_sealed_anew_has_another_data_key_and_is_the_same_otherwise() {
    let site = Site::new();
    let running = site.open().await;
    let (small, large) = (plain(1, 3000), plain(2, 3 * PART + 5));
    running.store("small", "v1", 1, &small).await;
    running.store("large", "v1", 2, &large).await;
    let mut gone = offer("gone", "v1", 3, 0);
    gone.change.kind = ChangeKind::DeleteMarker;
    running.put(gone, b"").await.unwrap();
    let mut tags = offer("small", "v1", 9, 0);
    tags.change.kind = ChangeKind::Tags;
    tags.change.facts.tags.insert("team".into(), "red".into());
    running.put(tags, b"").await.unwrap();
    let before = running.listing().await;
    other_key(&site);
    let other = Buckets::from([(bucket(), BucketKey::shared(OTHER))]);
    running.archive.set_buckets(other);

    for row in &before {
        let done = running.archive.reseal("ops", &row.name).await.unwrap();
        assert_eq!((done.before, done.size), (row.object_uid, row.facts.size));
        assert!(done.object_uid != row.object_uid && done.record != row.record);
    }
    let after = running.listing().await;
    for (old, new) in before.iter().zip(&after) {
        assert_eq!(
            (&old.name, &old.order, old.kind),
            (&new.name, &new.order, new.kind)
        );
        assert_eq!((&old.facts, &old.checksum), (&new.facts, &new.checksum));
        assert!(new.sequence > old.sequence);
    }
    assert!(site.has_leaf("object.resealed").await);
    // The old key opens nothing that counts any more.
    site.keystore.disable(CMK).unwrap();
    running.archive.ring().recheck();
    assert_eq!(running.read("small", None).await.unwrap(), small);
    assert_eq!(running.read("large", None).await.unwrap(), large);
    assert_eq!(running.verify_deep().await, []);
    assert_eq!(
        site.files_in("store/objects").len(),
        1,
        "the old file is gone"
    );
    running.archive.close().await;
    drop(running);

    site.keystore.enable(CMK).unwrap();
    site.lose_catalog();
    let (parts, _faults) = site.parts();
    let mut sink = |finding| panic!("{finding}");
    rebuild(parts, "test", &mut sink).await.unwrap();
    let running = site.open().await;
    let rebuilt = running.listing().await;
    let uids = |rows: &[sealift_ledger::VersionRow]| -> Vec<_> {
        rows.iter().map(|row| row.object_uid).collect()
    };
    assert_eq!(
        uids(&rebuilt),
        uids(&after),
        "of two sealings the newer counts"
    );
    // Of what a rebuild found no receipt is known, and it is sealed anew all the same.
    let name = &rebuilt[0].name;
    running.archive.reseal("ops", name).await.unwrap();
    assert_eq!(running.verify_deep().await, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_that_is_not_there_or_damaged_is_not_sealed_anew() {
    let site = Site::new();
    let running = site.open().await;
    let refused = running.archive.reseal("ops", &name("none", "v1")).await;
    assert!(matches!(refused, Err(ArchiveError::NotFound { .. })));
    running.store("large", "v1", 1, &plain(2, 3 * PART)).await;
    let path = &site.files_in("store/objects")[0];
    let mut altered = fs::read(path).unwrap();
    let middle = altered.len() / 2;
    altered[middle] ^= 1;
    fs::write(path, &altered).unwrap();
    let refused = running.archive.reseal("ops", &name("large", "v1")).await;
    assert_eq!(refused.unwrap_err().reason(), Reason::DstObjectDamaged);
    assert_eq!(fs::read(path).unwrap(), altered, "what there is stays");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_bucket_keys_each_object_has_a_record_of_its_own() {
    let site = Site::new();
    let (mut parts, _faults) = site.parts();
    let own = BucketKey {
        record_per_object: true,
        ..BucketKey::shared(CMK)
    };
    parts.buckets = Buckets::from([(bucket(), own)]);
    let archive = crate::Archive::open(parts).await.unwrap();
    let running = Running {
        archive: std::sync::Arc::new(archive),
        faults: _faults,
    };
    let (small, large) = (plain(1, 3000), plain(2, 3 * PART));
    running.store("a", "v1", 1, &small).await;
    running.store("b", "v1", 2, &small).await;
    running.store("c", "v1", 3, &large).await;
    let counters = running.archive.key_calls();
    assert_eq!((counters.calls_made, counters.calls_saved), (3, 0));
    let rows = records(&running).await;
    let kinds = rows
        .iter()
        .map(|row| KeyRecord::from_json(row.json.as_bytes()).unwrap());
    assert!(
        kinds
            .clone()
            .all(|record| record.kind == RecordKind::Object)
    );
    let mut objects: Vec<_> = kinds.filter_map(|record| record.object).collect();
    let mut listed: Vec<_> = running
        .listing()
        .await
        .iter()
        .map(|row| row.object_uid)
        .collect();
    objects.sort_unstable();
    listed.sort_unstable();
    assert_eq!(objects, listed, "each names its object");
    assert_eq!(site.files_in("store/records").len(), 3);
    assert_eq!(running.read("b", None).await.unwrap(), small);
    assert_eq!(running.verify_deep().await, []);

    other_key(&site);
    let (done, _) = rewrap(&running, &to(OTHER)).await;
    assert_eq!((done.records, done.failed), (3, 0));
    running.archive.close().await;
    drop(running);
    site.lose_catalog();
    let (parts, _faults) = site.parts();
    let mut sink = |finding| panic!("{finding}");
    assert_eq!(rebuild(parts, "test", &mut sink).await.unwrap().versions, 3);
    let running = site.open().await;
    assert_eq!(running.read("c", None).await.unwrap(), large);
}
