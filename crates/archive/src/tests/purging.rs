//! Versions that go for good, and what retains them.

use std::{collections::BTreeSet, io, sync::Arc, time::Duration};

use parking_lot::Mutex;
use sealift_ledger::{LedgerError, VersionRow};
use sealift_store::Call;
use sealift_terms::{
    AuditKind, ChangeKind, Clock, ObjectFacts, Reason, Receipt, Retention, Timestamp,
    limits::HOLDS_MAX,
};

use super::{failing::refuse_versions, site::*};
use crate::{
    ArchiveError, ExpiredVersions, HeldVersions, HoldSort, Offer, Retentions, SentOn, rebuild,
};

const DAY: Duration = Duration::from_secs(86_400);
const SIZE: usize = 2 * PART + 1;

/// A purge as a peer offers it.
fn purge(key: &str, version: &str, clock: u64) -> Offer {
    let mut purge = offer(key, version, clock, 0);
    purge.change.kind = ChangeKind::Purge;
    purge.change.facts = ObjectFacts::default();
    purge
}

impl Running {
    async fn offer_purge(&self, offer: Offer) -> Result<Receipt, ArchiveError> {
        let upload = self.upload(offer).await;
        self.archive.commit(upload, None).await
    }

    async fn row(&self, key: &str, version: &str) -> VersionRow {
        let rows = self.listing().await;
        let mut rows = rows.into_iter();
        rows.find(|row| row.name == name(key, version)).unwrap()
    }

    async fn versions(&self) -> Vec<String> {
        let rows = self.listing().await;
        let named = rows
            .iter()
            .map(|row| format!("{} {}", row.name.key, row.name.version));
        named.collect()
    }

    fn keep(&self, min: Option<Duration>, expire_noncurrent: Option<Duration>) {
        let retention = Retention {
            min,
            expire_noncurrent,
        };
        self.archive
            .set_retentions(Retentions::from([(bucket(), retention)]));
    }
}

fn later(clock: &HandClock, by: Duration) {
    let mut now = clock.0.lock();
    *now = now.plus(by);
}

fn hand_clock() -> Arc<HandClock> {
    Arc::new(HandClock(Mutex::new(Timestamp::from_secs(1_800_000_000))))
}

fn on(key: &str, is_prefix: bool, version: Option<&str>) -> HeldVersions {
    HeldVersions {
        bucket: bucket(),
        key: key.to_owned(),
        is_prefix,
        version: version.map(|version| name(key, version).version),
    }
}

fn why(purged: Result<Receipt, ArchiveError>) -> String {
    match purged.unwrap_err() {
        error @ ArchiveError::Retained { .. } => {
            assert_eq!(error.reason(), Reason::DstRetained);
            error.to_string()
        }
        other => panic!("{other}"),
    }
}

/// Lets the catalog refuse every mark and every row of a file, or of marks alone, or take
/// them again.
fn refuse(site: &Site, tables: &[&str]) {
    let db = rusqlite::Connection::open(site.dir.path().join("catalog.db")).unwrap();
    db.busy_timeout(Duration::from_secs(10)).unwrap();
    for table in ["marks", "files"] {
        db.execute_batch(&format!("DROP TRIGGER IF EXISTS refusing_{table}"))
            .unwrap();
    }
    for table in tables {
        db.execute_batch(&format!(
            "CREATE TRIGGER refusing_{table} BEFORE INSERT ON {table}
             BEGIN SELECT RAISE(ABORT, 'refused'); END"
        ))
        .unwrap();
    }
}

/// What is found by the store and the keys alone.
async fn rebuilt(site: &Site) -> Running {
    site.lose_catalog();
    rebuild(site.parts().0, "test", &mut drop).await.unwrap();
    site.open().await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_purged_is_gone_stays_gone_and_is_on_record() {
    let site = Site::new();
    let running = site.open().await;
    let large = plain(1, SIZE);
    running.store("k", "v1", 1, &large).await;
    running.store("k", "v2", 2, b"small").await;
    running.store("other", "v1", 3, b"other").await;
    let receipt = running.offer_purge(purge("k", "v2", 4)).await.unwrap();
    assert_eq!((receipt.name, receipt.size), (name("k", "v2"), 0));
    // The one below is the latest now.
    assert!(running.read("k", None).await.unwrap() == large);
    assert!(running.read("k", Some("v2")).await.is_err());
    let back = running.put(offer("k", "v2", 2, 5), b"small").await;
    assert!(matches!(back, Err(ArchiveError::Purged(_))), "{back:?}");
    running.offer_purge(purge("k", "v1", 5)).await.unwrap();
    assert_eq!(running.versions().await, ["other v1"]);
    assert!(site.has_leaf("object.purged").await);
    // A second try, after a lost receipt, is answered; and so is one of what never came.
    running.offer_purge(purge("k", "v1", 5)).await.unwrap();
    running.offer_purge(purge("k", "v9", 6)).await.unwrap();
    assert!(site.has_detail("size", "none: it was not here").await);
    let late = running.put(offer("k", "v9", 6, 4), b"late").await;
    assert!(matches!(late, Err(ArchiveError::Purged(_))), "{late:?}");
    // Its bytes go when somebody looks after that, whether or not there was a stop between.
    assert_eq!(site.files_in("store/objects").len(), 1);
    running.archive.close().await;
    drop(running);
    let running = site.open().await;
    assert_eq!(running.archive.remove_emptied().await.unwrap(), 1);
    assert!(site.files_in("store/objects").is_empty());
    assert_eq!(running.archive.remove_emptied().await.unwrap(), 0);
    running.archive.compact(Duration::ZERO, DAY).await.unwrap();
    assert!(running.verify_deep().await.is_empty());
    running.archive.close().await;
    drop(running);
    // Nor does the store alone bring anything back.
    site.lose_catalog();
    rebuild(site.parts().0, "test", &mut drop).await.unwrap();
    let running = site.open().await;
    assert_eq!(running.versions().await, ["other v1"]);
    let back = running.put(offer("k", "v2", 2, 5), b"small").await;
    assert!(matches!(back, Err(ArchiveError::Purged(_))), "{back:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rebuild_between_a_purge_and_the_end_of_its_bytes_raises_no_dead() {
    let site = Site::new();
    let running = site.open().await;
    running.store("k", "v1", 1, &plain(1, SIZE)).await;
    running.offer_purge(purge("k", "v1", 2)).await.unwrap();
    running.archive.close().await;
    drop(running);
    site.lose_catalog();
    rebuild(site.parts().0, "test", &mut drop).await.unwrap();
    let running = site.open().await;
    assert!(running.versions().await.is_empty());
    running.archive.remove_emptied().await.unwrap();
    assert!(site.files_in("store/objects").is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_published_before_a_crash_goes_where_its_version_was_purged_meanwhile() {
    let site = Site::new();
    let running = site.open().await;
    running.store("warm", "v1", 1, b"up").await;
    // The file is published, and the catalog does not take its version.
    refuse_versions(&site, true);
    let bytes = plain(1, SIZE);
    let put = running.put(offer("k", "v1", 1, SIZE), &bytes);
    assert!(put.await.is_err());
    refuse_versions(&site, false);
    assert_eq!(site.files_in("store/objects").len(), 1);
    running.offer_purge(purge("k", "v1", 5)).await.unwrap();
    drop(running);
    let running = site.open().await;
    assert_eq!(running.archive.unfinished(), 0);
    assert!(site.files_in("store/objects").is_empty());
    assert!(running.read("k", None).await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_purge_that_was_cut_off_before_its_end_did_not_happen() {
    let site = Site::new();
    let running = site.open().await;
    running.store("k", "v1", 1, b"content").await;
    // The mark's bytes are on their way: not durable, so nothing of it is.
    running.faults.fail(Call::Sync, 0, io::ErrorKind::Other);
    assert!(running.offer_purge(purge("k", "v1", 2)).await.is_err());
    running.faults.heal();
    assert_eq!(running.read("k", None).await.unwrap(), b"content");
    assert!(!site.has_leaf("object.purged").await);
    // They are durable, and the catalog's transaction is not: the pack is cut back, or
    // what is in it counts for nothing.
    let refuse = |sql: &str| {
        let db = rusqlite::Connection::open(site.dir.path().join("catalog.db")).unwrap();
        db.busy_timeout(Duration::from_secs(10)).unwrap();
        db.execute_batch(sql).unwrap();
    };
    refuse(
        "CREATE TRIGGER refusing BEFORE DELETE ON versions
         BEGIN SELECT RAISE(ABORT, 'refused'); END",
    );
    assert!(running.offer_purge(purge("k", "v1", 2)).await.is_err());
    drop(running);
    refuse("DROP TRIGGER refusing");
    let running = site.open().await;
    assert_eq!(running.read("k", None).await.unwrap(), b"content");
    assert!(!site.has_leaf("object.purged").await);
    running.offer_purge(purge("k", "v1", 2)).await.unwrap();
    assert!(running.versions().await.is_empty() && site.has_leaf("object.purged").await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_keeps_every_version_for_as_long_as_it_says_whoever_asks() {
    let (site, clock) = (Site::new(), hand_clock());
    let running = site.open_at(clock.clone()).await;
    running.keep(Some(DAY), None);
    running.store("k", "v1", 1, b"one").await;
    running.store("k", "v2", 2, b"two").await;
    let mut marker = offer("k", "d1", 3, 0);
    marker.change.kind = ChangeKind::DeleteMarker;
    let upload = running.upload(marker).await;
    running.archive.commit(upload, None).await.unwrap();
    let until =
        |told: String| assert!(told.contains("min_retention_days keeps it until"), "{told}");
    until(why(running.offer_purge(purge("k", "v1", 4)).await));
    let row = running.row("k", "v1").await;
    until(why(running.archive.purge("access-key:app", &row).await));
    assert!(site.audit.has(AuditKind::PurgeRefused));
    // A marker keeps nothing that anybody could want back.
    running.offer_purge(purge("k", "d1", 5)).await.unwrap();
    later(&clock, DAY);
    running.offer_purge(purge("k", "v1", 6)).await.unwrap();
    running
        .archive
        .purge("access-key:app", &running.row("k", "v2").await)
        .await
        .unwrap();
    assert!(running.versions().await.is_empty());
}

/// Versions of k that are still to be sent.
#[derive(Default)]
struct Awaiting(Mutex<BTreeSet<&'static str>>);

#[async_trait::async_trait]
impl SentOn for Awaiting {
    async fn awaits(&self, row: &VersionRow) -> Result<bool, LedgerError> {
        Ok(self.0.lock().contains(row.name.version.as_str()))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_still_to_be_sent_on_does_not_expire() {
    let (site, clock) = (Site::new(), hand_clock());
    let running = site.open_at(clock.clone()).await;
    running.keep(None, Some(DAY));
    for (version, at) in [("v1", 1), ("v2", 2), ("v3", 3)] {
        running.store("k", version, at, version.as_bytes()).await;
    }
    later(&clock, 2 * DAY);
    let awaiting = Awaiting(Mutex::new(BTreeSet::from(["v1"])));
    let expire = async || running.archive.expire_noncurrent(&awaiting).await.unwrap();
    let done = |purged, awaited| ExpiredVersions {
        purged,
        retained: 0,
        awaited,
    };
    assert_eq!(expire().await, done(1, 1));
    assert_eq!(running.versions().await, ["k v3", "k v1"]);
    awaiting.0.lock().clear();
    assert_eq!(expire().await, done(1, 0));
    assert_eq!(running.versions().await, ["k v3"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn versions_expire_once_another_was_above_them_for_long_enough_and_the_latest_never() {
    let (site, clock) = (Site::new(), hand_clock());
    let running = site.open_at(clock.clone()).await;
    running.keep(None, Some(2 * DAY));
    let later = |by| later(&clock, by);
    for (version, at) in [("v1", 1), ("v2", 2), ("v3", 3)] {
        running.store("k", version, at, version.as_bytes()).await;
        later(DAY);
    }
    running.store("alone", "v1", 1, b"alone").await;
    let awaiting = Awaiting::default();
    let expire = async || running.archive.expire_noncurrent(&awaiting).await.unwrap();
    let done = |purged, retained| ExpiredVersions {
        purged,
        retained,
        awaited: 0,
    };
    // v1 is below v2 for two days now, v2 below v3 for one.
    running
        .archive
        .set_hold(on("k", false, Some("v1")), "a case", "uid:0")
        .await
        .unwrap();
    assert_eq!(expire().await, done(0, 1));
    running
        .archive
        .lift_hold(on("k", false, Some("v1")), false, "over", "uid:0")
        .await
        .unwrap();
    assert_eq!(expire().await, done(1, 0));
    assert_eq!(running.versions().await, ["alone v1", "k v3", "k v2"]);
    later(100 * DAY);
    running.keep(Some(1000 * DAY), Some(2 * DAY));
    assert_eq!(expire().await, done(0, 1));
    running.keep(None, Some(2 * DAY));
    assert_eq!(expire().await, done(1, 0));
    assert_eq!(expire().await, done(0, 0));
    assert_eq!(running.versions().await, ["alone v1", "k v3"]);
    assert!(site.has_detail("change", "purge").await);
    // What became the latest between the look and the purge stays as well.
    running.store("k", "v4", 4, b"four").await;
    let row = running.row("k", "v4").await;
    let upload = running.archive.purge_of("agent", &row, true).await.unwrap();
    let late = upload.commit(None).await;
    assert!(
        matches!(late, Err(ArchiveError::StillLatest(_))),
        "{late:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_legal_hold_is_on_what_it_names_until_it_is_lifted_and_survives_a_rebuild() {
    let site = Site::new();
    let running = site.open().await;
    for (key, version) in [("case/1", "v1"), ("case/1", "v2"), ("free", "v1")] {
        running.store(key, version, 1, version.as_bytes()).await;
    }
    let archive = &running.archive;
    archive
        .set_hold(on("case/", true, None), "case 17", "uid:7")
        .await
        .unwrap();
    archive
        .set_hold(on("free", false, Some("v1")), "case 18", "uid:7")
        .await
        .unwrap();
    let told = why(running.offer_purge(purge("case/1", "v1", 9)).await);
    assert!(
        told.contains("uid:7 put a legal hold on it") && told.contains("case 17"),
        "{told}"
    );
    // One that comes later is under it as well.
    running.store("case/2", "v1", 2, b"late").await;
    why(running.offer_purge(purge("case/2", "v1", 9)).await);
    why(running.offer_purge(purge("free", "v1", 9)).await);
    assert!(site.has_leaf("hold.set").await);
    running.archive.close().await;
    drop(running);
    rebuild(site.parts().0, "test", &mut drop).await.unwrap();
    let running = site.open().await;
    let archive = &running.archive;
    assert_eq!(archive.holds(None).await.unwrap().len(), 2);
    why(running.offer_purge(purge("case/1", "v1", 9)).await);
    // Named otherwise, it is another one.
    let lift = async |on| archive.lift_hold(on, false, "over", "uid:7").await.unwrap();
    assert!(!lift(on("case/1", false, None)).await);
    assert!(lift(on("case/", true, None)).await);
    assert!(site.has_leaf("hold.lifted").await);
    running.offer_purge(purge("case/1", "v1", 9)).await.unwrap();
    why(running.offer_purge(purge("free", "v1", 9)).await);
    assert!(lift(on("free", false, Some("v1"))).await);
    running.offer_purge(purge("free", "v1", 9)).await.unwrap();
    assert!(archive.holds(Some(&bucket())).await.unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_object_lock_of_the_source_said_is_held() {
    let (site, clock) = (Site::new(), hand_clock());
    let running = site.open_at(clock.clone()).await;
    let put = async |version: &str, facts: &[(&str, &str)]| {
        let mut put = offer("k", version, 1, 4);
        let facts = facts
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        put.change.facts.system.extend(facts);
        running.put(put, b"lock").await.unwrap();
    };
    let until = clock.now().plus(DAY).to_string();
    put(
        "until",
        &[
            ("object-lock-mode", "GOVERNANCE"),
            ("object-lock-retain-until-date", &until),
        ],
    )
    .await;
    put("unread", &[("object-lock-retain-until-date", "some day")]).await;
    put("held", &[("object-lock-legal-hold", "ON")]).await;
    put("off", &[("object-lock-legal-hold", "OFF")]).await;
    let told = why(running.offer_purge(purge("k", "until", 9)).await);
    assert!(
        told.contains(&until) && told.contains("GOVERNANCE"),
        "{told}"
    );
    why(running.offer_purge(purge("k", "unread", 9)).await);
    let told = why(running.offer_purge(purge("k", "held", 9)).await);
    assert!(told.contains("--of-source"), "{told}");
    running.offer_purge(purge("k", "off", 9)).await.unwrap();
    later(&clock, DAY);
    running.offer_purge(purge("k", "until", 9)).await.unwrap();
    let lifted = running
        .archive
        .lift_hold(on("k", false, Some("held")), true, "over", "uid:0")
        .await;
    assert!(lifted.unwrap());
    let holds = running.archive.holds(None).await.unwrap();
    assert_eq!(holds[0].sort, HoldSort::SourceLifted);
    running.offer_purge(purge("k", "held", 9)).await.unwrap();
    assert_eq!(running.versions().await, ["k unread"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn there_are_so_many_holds_at_most_and_one_that_cannot_be_read_keeps_everything() {
    let site = Site::new();
    let running = site.open().await;
    running.store("k", "v1", 1, b"content").await;
    let catalog = &running.archive.core.catalog;
    let hold = running
        .archive
        .set_hold(on("0", false, None), "many", "uid:0")
        .await
        .unwrap();
    let json = serde_json::to_vec(&hold).unwrap();
    let kept = sealift_ledger::NOTES_KEPT;
    let note = |n| sealift_ledger::Note::kept(format!("{kept}other\u{1}{n}"), json.clone());
    catalog
        .put_notes((1..HOLDS_MAX).map(note).collect())
        .await
        .unwrap();
    let full = running
        .archive
        .set_hold(on("1", false, None), "more", "uid:0")
        .await;
    assert!(matches!(full, Err(ArchiveError::TooManyHolds)), "{full:?}");
    // The same again is no more.
    running
        .archive
        .set_hold(on("0", false, None), "again", "uid:0")
        .await
        .unwrap();
    let broken = format!("{kept}{}\u{1}x", bucket());
    let note = sealift_ledger::Note::kept(broken, b"no hold".to_vec());
    catalog.put_notes(vec![note]).await.unwrap();
    let refused = running.offer_purge(purge("k", "v1", 9)).await;
    assert!(
        matches!(refused, Err(ArchiveError::HoldUnreadable)),
        "{refused:?}"
    );
    assert_eq!(running.read("k", None).await.unwrap(), b"content");
}

#[tokio::test(flavor = "multi_thread")]
async fn purges_of_one_key_that_come_together_all_count() {
    let site = Site::new();
    let running = Arc::new(site.open().await);
    for n in 1..=20_u64 {
        running.store("k", &format!("v{n}"), n, b"content").await;
    }
    let purging = (1..=20_u64).map(|n| {
        let running = running.clone();
        tokio::spawn(async move {
            running
                .offer_purge(purge("k", &format!("v{n}"), 100 + n))
                .await
        })
    });
    let purging: Vec<_> = purging.collect();
    for purged in purging {
        purged.await.unwrap().unwrap();
    }
    assert!(running.versions().await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_purge_that_the_catalog_refused_is_found_by_no_rebuild() {
    // With other objects in its pack, and as the first of one.
    for is_alone in [false, true] {
        let site = Site::new();
        let running = site.open().await;
        running.store("k", "v1", 1, b"content").await;
        running.store("k", "v2", 2, b"newer").await;
        if is_alone {
            running.archive.close().await;
            drop(running);
        }
        let running = site.open().await;
        refuse(&site, &["marks"]);
        let refused = running.offer_purge(purge("k", "v1", 3)).await;
        assert!(
            matches!(refused, Err(ArchiveError::Group(_))),
            "{refused:?}"
        );
        refuse(&site, &[]);
        // Life goes on in another pack.
        running.store("k", "v3", 4, b"newest").await;
        running.archive.close().await;
        drop(running);
        let running = rebuilt(&site).await;
        assert_eq!(running.versions().await, ["k v3", "k v2", "k v1"]);
        assert_eq!(running.read("k", Some("v1")).await.unwrap(), b"content");
        running.offer_purge(purge("k", "v1", 5)).await.unwrap();
        running.archive.close().await;
        drop(running);
        let running = rebuilt(&site).await;
        assert_eq!(running.versions().await, ["k v3", "k v2"]);
        assert!(running.verify_deep().await.is_empty());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn while_the_catalog_takes_nothing_nothing_is_written_behind_what_is_in_doubt() {
    let site = Site::new();
    let running = site.open().await;
    running.store("k", "v1", 1, b"content").await;
    running.store("k", "v2", 2, b"newer").await;
    let packs = || site.files_in("store/packs");
    let length = || {
        packs()
            .iter()
            .map(|p| p.metadata().unwrap().len())
            .sum::<u64>()
    };
    let before = length();
    refuse(&site, &["marks", "files"]);
    for clock in 3..6 {
        assert!(running.offer_purge(purge("k", "v1", clock)).await.is_err());
    }
    // What was in doubt is not added to.
    assert!(packs().len() <= 2, "{:?}", packs());
    refuse(&site, &[]);
    running.store("k", "v3", 6, b"newest").await;
    assert_eq!(running.read("k", Some("v1")).await.unwrap(), b"content");
    assert!(length() > before);
    // A kill: nothing is closed in order.
    drop(running);
    let running = site.open().await;
    running.archive.close().await;
    drop(running);
    let running = rebuilt(&site).await;
    assert_eq!(running.versions().await, ["k v3", "k v2", "k v1"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_purge_in_a_pack_whose_sync_failed_is_found_by_no_rebuild() {
    let site = Site::new();
    let running = site.open().await;
    running.store("k", "v1", 1, b"content").await;
    running.store("k", "v2", 2, b"newer").await;
    running.faults.fail(Call::Sync, 0, io::ErrorKind::Other);
    assert!(running.offer_purge(purge("k", "v1", 3)).await.is_err());
    running.faults.heal();
    // The bytes may be durable although the sync failed: they are taken back.
    running.store("k", "v3", 4, b"newest").await;
    running.archive.close().await;
    drop(running);
    let running = rebuilt(&site).await;
    assert_eq!(running.versions().await, ["k v3", "k v2", "k v1"]);
    assert!(running.verify_deep().await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pack_begun_for_a_purge_that_a_crash_cut_off_is_removed_at_the_next_start() {
    let site = Site::new();
    let running = site.open().await;
    running.store("k", "v1", 1, b"content").await;
    let catalog = running.archive.core.catalog.clone();
    let name = sealift_store::StoreName::new("packs/ffffffffffff-00000001.slp").unwrap();
    let file = running.archive.core.store.append_new(&name).await.unwrap();
    file.write_at(b"what a crash left", 0).await.unwrap();
    file.sync().await.unwrap();
    let commit = sealift_ledger::Commit {
        packs: vec![sealift_ledger::PackState {
            file: name.to_string(),
            synced_bytes: 0,
            closed: false,
        }],
        ..Default::default()
    };
    catalog.commit(commit).await.unwrap();
    drop((running, catalog));
    let running = site.open().await;
    let left = site.files_in("store/packs");
    assert!(
        !left
            .iter()
            .any(|path| path.ends_with("ffffffffffff-00000001.slp"))
    );
    assert!(!site.audit.has(AuditKind::ObjectDamaged));
    assert!(running.verify_deep().await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn legal_holds_survive_the_loss_of_the_catalog_as_they_were_last() {
    let site = Site::new();
    let running = site.open().await;
    for key in ["case/1", "free", "lifted", "other"] {
        running.store(key, "v1", 1, key.as_bytes()).await;
    }
    let mut of_source = offer("source", "v1", 1, 4);
    let locked = ("object-lock-legal-hold".to_owned(), "ON".to_owned());
    of_source.change.facts.system.extend([locked]);
    running.put(of_source, b"lock").await.unwrap();
    let archive = &running.archive;
    let set = async |on, why| archive.set_hold(on, why, "uid:7").await.unwrap();
    let lift = async |on, of_source| archive.lift_hold(on, of_source, "over", "uid:7").await;
    set(on("case/", true, None), "case 16").await;
    set(on("case/", true, None), "case 17").await;
    set(on("free", false, Some("v1")), "case 18").await;
    set(on("lifted", false, None), "case 19").await;
    assert!(lift(on("lifted", false, None), false).await.unwrap());
    assert!(lift(on("source", false, Some("v1")), true).await.unwrap());
    let before = archive.holds(None).await.unwrap();
    assert_eq!(before.len(), 3);
    running.archive.close().await;
    drop(running);
    let running = rebuilt(&site).await;
    assert_eq!(running.archive.holds(None).await.unwrap(), before);
    let told = why(running.offer_purge(purge("case/1", "v1", 9)).await);
    assert!(told.contains("uid:7") && told.contains("case 17"), "{told}");
    why(running.offer_purge(purge("free", "v1", 9)).await);
    for key in ["lifted", "source", "other"] {
        running.offer_purge(purge(key, "v1", 9)).await.unwrap();
    }
    // Compaction takes them along, and what was lifted stays so.
    running.archive.close().await;
    drop(running);
    let running = site.open().await;
    running.archive.compact(Duration::ZERO, DAY).await.unwrap();
    assert!(running.verify_deep().await.is_empty());
    running.archive.close().await;
    drop(running);
    let running = rebuilt(&site).await;
    assert_eq!(running.archive.holds(None).await.unwrap(), before);
    assert!(running.verify_deep().await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn holds_from_before_there_were_marks_get_theirs_at_the_next_start() {
    let site = Site::new();
    let running = site.open().await;
    running.store("k", "v1", 1, b"content").await;
    let on = on("k", false, None);
    let hold = crate::Hold {
        on: on.clone(),
        sort: HoldSort::Set,
        reason: "case 17".to_owned(),
        since: Timestamp::from_secs(1_800_000_000),
        by: "uid:7".to_owned(),
    };
    let note =
        sealift_ledger::Note::kept(on.note(HoldSort::Set), serde_json::to_vec(&hold).unwrap());
    let catalog = &running.archive.core.catalog;
    catalog.put_notes(vec![note]).await.unwrap();
    running.archive.close().await;
    drop(running);
    // A key that cannot be used now keeps nobody from starting.
    site.keystore.disable(CMK).unwrap();
    let running = site.open().await;
    let there = running.archive.holds(None).await.unwrap();
    assert_eq!(there, std::slice::from_ref(&hold));
    running.archive.close().await;
    drop(running);
    site.keystore.enable(CMK).unwrap();
    let running = site.open().await;
    running.archive.close().await;
    drop(running);
    let running = rebuilt(&site).await;
    assert_eq!(running.archive.holds(None).await.unwrap(), [hold]);
    why(running.offer_purge(purge("k", "v1", 9)).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hold_that_the_catalog_refused_is_found_by_no_rebuild_and_neither_is_a_lift() {
    let site = Site::new();
    let running = site.open().await;
    running.store("k", "v1", 1, b"content").await;
    running.store("other", "v1", 1, b"content").await;
    let archive = &running.archive;
    archive
        .set_hold(on("k", false, None), "case 17", "uid:7")
        .await
        .unwrap();
    refuse(&site, &["marks"]);
    let lift = archive.lift_hold(on("k", false, None), false, "over", "uid:7");
    assert!(lift.await.is_err());
    let set = archive.set_hold(on("other", false, None), "case 18", "uid:7");
    assert!(set.await.is_err());
    refuse(&site, &[]);
    assert_eq!(archive.holds(None).await.unwrap().len(), 1);
    running.archive.close().await;
    drop(running);
    let running = rebuilt(&site).await;
    let holds = running.archive.holds(None).await.unwrap();
    assert_eq!((holds.len(), holds[0].on.key.as_str()), (1, "k"));
}
