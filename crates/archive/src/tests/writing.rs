//! What applications write at the site itself.

use std::collections::BTreeMap;

use sealift_ledger::{Note, VersionKind};
use sealift_terms::{
    BucketName, Checksum, Identity, ObjectFacts, ObjectKey, ObjectUid, Reason, limits,
    limits::STAGING_IDLE_MAX,
};
use sealift_wire::checksum::crc64;

use super::site::*;
use crate::ArchiveError;

fn key(text: &str) -> &'static ObjectKey {
    Box::leak(Box::new(ObjectKey::new(text).unwrap()))
}

fn photos() -> &'static BucketName {
    Box::leak(Box::new(bucket()))
}

fn facts(size: usize) -> ObjectFacts {
    ObjectFacts {
        size: size as u64,
        content_type: Some("text/plain".to_owned()),
        ..ObjectFacts::default()
    }
}

impl Running {
    pub(super) async fn write(
        &self,
        to: &str,
        bytes: &[u8],
    ) -> Result<sealift_terms::Receipt, ArchiveError> {
        let facts = facts(bytes.len());
        let writer = self
            .archive
            .begin_put("access-key:app", photos(), key(to), facts);
        let mut writer = writer.await?;
        // In cuts that fit nothing.
        for piece in bytes.chunks(70_001) {
            writer.write(piece).await?;
        }
        let upload = writer.finish().await?;
        self.archive.commit_ordered(upload, None).await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_written_here_is_the_latest_and_on_record_as_its_writer() {
    let site = Site::new();
    let running = site.open().await;
    // A minute ahead of the clock here, and higher than anything that is written now.
    let ahead = sealift_host::OsClock;
    let now = sealift_terms::Clock::now(&ahead).as_millis().unsigned_abs();
    running.store("k", "theirs", now + 50_000, b"theirs").await;
    for size in [
        0,
        1,
        1 << 20,
        (1 << 20) + 1,
        (8 << 20) - 1,
        8 << 20,
        17 << 20,
    ] {
        let bytes = plain(size as u8, size);
        let receipt = running.write("k", &bytes).await.unwrap();
        assert!(running.read("k", None).await.unwrap() == bytes, "{size}");
        assert_eq!(receipt.checksum, Some(Checksum::crc64nvme(crc64(&bytes))));
        assert_eq!(receipt.region, region());
    }
    let receipt = running
        .archive
        .put_delete_marker("access-key:app", photos(), key("k"));
    let marker = receipt.await.unwrap().name.version;
    let row = running
        .archive
        .find(photos(), key("k"), None)
        .await
        .unwrap();
    assert_eq!(
        (row.kind, row.name.version),
        (VersionKind::DeleteMarker, marker)
    );
    assert_eq!(row.order.region, region());
    assert!(site.has_detail("actor", "access-key:app").await);
    assert!(running.verify_deep().await.is_empty());
    assert_eq!(site.budget.free(), site.budget.total());
    assert!(site.files_in("staging").is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn tags_that_are_put_here_take_the_place_of_those_before() {
    let site = Site::new();
    let running = site.open().await;
    running.write("k", b"bytes").await.unwrap();
    for round in ["first", "second", "third"] {
        let row = running
            .archive
            .find(photos(), key("k"), None)
            .await
            .unwrap();
        let tags = BTreeMap::from([("round".to_owned(), round.to_owned())]);
        running
            .archive
            .put_tags("access-key:app", &row, tags.clone())
            .await
            .unwrap();
        let row = running
            .archive
            .find(photos(), key("k"), None)
            .await
            .unwrap();
        assert_eq!(row.facts.tags, tags);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_whole_is_not_there_and_leaves_nothing() {
    let site = Site::new();
    let running = site.open().await;
    let size = 9 << 20;
    let bytes = plain(1, size);
    let begin = async |size| {
        let begun = running
            .archive
            .begin_put("app", photos(), key("k"), facts(size));
        begun.await.unwrap()
    };
    let mut writer = begin(size).await;
    writer.write(&bytes[..size - 1]).await.unwrap();
    assert_eq!(site.files_in("staging").len(), 1);
    let error = writer.finish().await.unwrap_err();
    assert!(
        matches!(error, ArchiveError::PartsMissing { missing: 1 }),
        "{error}"
    );
    let mut writer = begin(3).await;
    writer.write(b"abc").await.unwrap();
    assert!(matches!(
        writer.write(b"d").await,
        Err(ArchiveError::Misuse(_))
    ));
    drop(writer);
    let wrong = Some(Checksum::crc64nvme(1));
    let mut writer = begin(3).await;
    writer.write(b"abc").await.unwrap();
    let upload = writer.finish().await.unwrap();
    let error = running
        .archive
        .commit_ordered(upload, wrong)
        .await
        .unwrap_err();
    assert_eq!(error.reason(), Reason::ChecksumMismatch);
    let found = running.archive.find(photos(), key("k"), None).await;
    assert!(matches!(found, Err(ArchiveError::NotFound { .. })));
    until_nothing_is_staged(&site).await;
    assert_eq!(site.budget.free(), site.budget.total());
}

async fn until_nothing_is_staged(site: &Site) {
    for _ in 0..500 {
        if site.files_in("staging").is_empty() {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    panic!("{:?}", site.files_in("staging"));
}

#[tokio::test(flavor = "multi_thread")]
async fn pieces_in_any_sequence_outlive_a_restart_and_become_one_object() {
    let site = Site::new();
    let bytes = plain(7, (13 << 20) + 5);
    let cuts = [0..(8 << 20), (8 << 20)..(13 << 20), (13 << 20)..bytes.len()];
    let (assembly, pieces) = {
        let running = site.open().await;
        let archive = &running.archive;
        let wishes = BTreeMap::from([("a".to_owned(), "b".to_owned())]);
        let begun = archive.begin_assembly("app", photos(), key("k"), facts(0), wishes);
        let assembly = begun.await.unwrap();
        // The second one twice: the later counts.
        for number in [3, 2, 2, 1] {
            let part = &bytes[cuts[number - 1].clone()];
            let piece = archive.begin_piece(&assembly, number as u32, part.len() as u64);
            let mut piece = piece.await.unwrap();
            piece.writer.write(part).await.unwrap();
            archive.keep_piece(piece, BTreeMap::new()).await.unwrap();
        }
        assert_eq!(site.files_in("staging").len(), 3);
        let found = archive.find(photos(), key("k"), None).await;
        assert!(found.is_err(), "visible before it is put together");
        let pieces = archive.pieces(assembly.id, 0, 10).await.unwrap();
        assert_eq!(
            pieces.iter().map(|piece| piece.number).collect::<Vec<_>>(),
            [1, 2, 3]
        );
        assert_eq!(archive.pieces(assembly.id, 2, 10).await.unwrap().len(), 1);
        running.archive.close().await;
        (assembly, pieces)
    };
    for file in site.files() {
        let rests = std::fs::read(file).unwrap();
        assert!(
            !rests.windows(64).any(|window| window == &bytes[..64]),
            "in the clear"
        );
    }
    let running = site.open().await;
    let archive = &running.archive;
    let listed = archive.assemblies(photos(), None, 10).await.unwrap();
    assert_eq!(listed, std::slice::from_ref(&assembly));
    let found = archive
        .assembly(photos(), key("k"), assembly.id)
        .await
        .unwrap();
    assert_eq!(found, Some(assembly.clone()));
    assert!(
        archive
            .needs(&site.keystore.list()[0].id, None)
            .await
            .unwrap()
            .uploads
            >= 3
    );
    let mut writer = archive
        .begin_put("app", photos(), key("k"), facts(bytes.len()))
        .await
        .unwrap();
    for piece in &pieces {
        let reader = archive.open_piece(&assembly, piece).await.unwrap();
        let mut read = Vec::new();
        reader
            .read(|run| {
                read.extend_from_slice(run);
                Ok(())
            })
            .unwrap();
        writer.write(&read).await.unwrap();
    }
    let upload = writer.finish().await.unwrap();
    archive.commit_ordered(upload, None).await.unwrap();
    archive.end_assembly(&assembly).await.unwrap();
    assert!(running.read("k", None).await.unwrap() == bytes);
    assert!(site.files_in("staging").is_empty());
    assert!(archive.pieces(assembly.id, 0, 10).await.unwrap().is_empty());
    assert_eq!(archive.unfinished(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_piece_that_nobody_ends_leaves_nothing_and_bad_ones_are_refused() {
    let site = Site::new();
    let running = site.open().await;
    let archive = &running.archive;
    let begun = archive.begin_assembly("app", photos(), key("k"), facts(0), BTreeMap::new());
    let assembly = begun.await.unwrap();
    for (number, size) in [(0, 1), (10_001, 1), (1, limits::PIECE_BYTES_MAX + 1)] {
        assert!(archive.begin_piece(&assembly, number, size).await.is_err());
    }
    let mut piece = archive.begin_piece(&assembly, 1, 100).await.unwrap();
    piece.writer.write(&[1; 99]).await.unwrap();
    assert!(archive.keep_piece(piece, BTreeMap::new()).await.is_err());
    let mut piece = archive.begin_piece(&assembly, 1, 9 << 20).await.unwrap();
    piece.writer.write(&plain(1, 8 << 20)).await.unwrap();
    drop(piece);
    until_nothing_is_staged(&site).await;
    assert!(archive.pieces(assembly.id, 0, 10).await.unwrap().is_empty());
    for _ in 0..500 {
        if archive.unfinished() == 0 {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    assert_eq!(archive.unfinished(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_assembly_without_progress_goes_in_its_time_with_its_pieces() {
    let site = Site::new();
    let clock = std::sync::Arc::new(Later(parking_lot::Mutex::default()));
    let running = site.open_at(clock.clone()).await;
    let archive = &running.archive;
    let begun = archive.begin_assembly("app", photos(), key("k"), facts(0), BTreeMap::new());
    let assembly = begun.await.unwrap();
    let put = async |number| {
        let mut piece = archive.begin_piece(&assembly, number, 3).await.unwrap();
        piece.writer.write(b"abc").await.unwrap();
        archive.keep_piece(piece, BTreeMap::new()).await.unwrap();
    };
    put(1).await;
    *clock.0.lock() = STAGING_IDLE_MAX * 2 / 3;
    put(2).await;
    *clock.0.lock() = STAGING_IDLE_MAX * 4 / 3;
    // The first piece is older than that, and still one of an object that comes.
    assert_eq!(archive.sweep().await.unwrap(), 0);
    assert_eq!(archive.pieces(assembly.id, 0, 10).await.unwrap().len(), 2);
    *clock.0.lock() = STAGING_IDLE_MAX * 2;
    assert_eq!(archive.sweep().await.unwrap(), 1);
    assert!(
        archive
            .assemblies(photos(), None, 10)
            .await
            .unwrap()
            .is_empty()
    );
    assert!(site.files_in("staging").is_empty());
    assert!(site.audit.has(sealift_terms::AuditKind::UploadExpired));
}

#[derive(Debug)]
pub(super) struct Later(pub(super) parking_lot::Mutex<std::time::Duration>);

impl sealift_terms::Clock for Later {
    fn now(&self) -> sealift_terms::Timestamp {
        sealift_host::OsClock.now().plus(*self.0.lock())
    }

    fn monotonic(&self) -> std::time::Duration {
        sealift_host::OsClock.monotonic()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn promotions_are_durable_until_they_are_taken_back_or_the_catalog_is_lost() {
    let site = Site::new();
    {
        let running = site.open().await;
        let archive = &running.archive;
        assert!(archive.promotions().await.unwrap().is_empty());
        let elsewhere = sealift_terms::BucketName::new("elsewhere").unwrap();
        let missing = archive.promote(&elsewhere, "uid 0").await.unwrap_err();
        assert_eq!(missing.reason(), Reason::DstBucketMissing);
        let promoted = archive.promote(photos(), "uid 0").await.unwrap();
        assert_eq!(promoted[photos()].by, "uid 0");
        // Once is enough.
        assert_eq!(archive.promote(photos(), "uid 1").await.unwrap(), promoted);
        archive.close().await;
    }
    let running = site.open().await;
    assert!(
        running
            .archive
            .promotions()
            .await
            .unwrap()
            .contains_key(photos())
    );
    assert!(running.archive.demote(photos()).await.unwrap().is_empty());
    assert!(running.archive.demote(photos()).await.unwrap().is_empty());
    assert_ne!(
        Identity::applications_of(&region()),
        Identity::pieces_of(&region())
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_unfinished_or_promoted_is_bounded() {
    let site = Site::new();
    let running = site.open().await;
    let archive = &running.archive;
    let many = |what: &str, count: usize| {
        let note = |n| Note::kept(format!("{what}\u{1}{n}"), Vec::new());
        (0..count).map(note).collect()
    };
    let begin = || archive.begin_assembly("app", photos(), key("k"), facts(0), BTreeMap::new());
    let catalog = &archive.core.catalog;
    let most = limits::ASSEMBLIES_MAX;
    catalog.put_notes(many("assembly", most - 1)).await.unwrap();
    let assembly = begin().await.unwrap();
    let error = begin().await.unwrap_err();
    assert!(matches!(error, ArchiveError::TooManyAssemblies { allowed } if allowed == most));
    assert_eq!(error.reason(), Reason::DstQuotaExceeded);

    let origin = Identity::pieces_of(&region());
    for n in 1..limits::PIECES_MAX as u128 {
        archive
            .core
            .uploads
            .found(&origin, ObjectUid(n.to_be_bytes()), 1);
    }
    let last = archive.begin_piece(&assembly, 1, 3).await.unwrap();
    let error = archive.begin_piece(&assembly, 2, 3).await.unwrap_err();
    assert!(
        matches!(error, ArchiveError::TooManyUploads { .. }),
        "{error}"
    );
    drop(last);

    let named = |n: usize| {
        let json = "{\"since\":\"2026-11-27T04:00:00Z\",\"by\":\"uid 0\"}";
        Note::kept(format!("promoted\u{1}bucket-{n}"), json.as_bytes().to_vec())
    };
    let all = (0..limits::PROMOTED_MAX).map(named).collect();
    catalog.put_notes(all).await.unwrap();
    let error = archive.promote(photos(), "uid 0").await.unwrap_err();
    assert!(matches!(error, ArchiveError::Misuse(_)), "{error}");
}
