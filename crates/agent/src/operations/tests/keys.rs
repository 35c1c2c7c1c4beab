//! What becomes of keys by themselves, by a clock that the tests move, and what is kept
//! because something needs it.

use std::{collections::BTreeSet, time::Duration};

use parking_lot::Mutex;
use sealift_keys::{KeyLife, KeyState};
use sealift_terms::{Clock, DeletionDays, Timestamp, limits::KEY_VERSION_SETTLES};

use super::*;
use crate::admin::Keys;

const DAY: Duration = Duration::from_secs(86_400);
const PHOTOS: &str = "alias/photos";
const SPARE: &str = "alias/spare";

/// A clock that a test moves.
#[derive(Debug, Default)]
struct HandClock(Mutex<Duration>);

impl HandClock {
    fn pass(&self, time: Duration) {
        *self.0.lock() += time;
    }
}

impl Clock for HandClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_secs(1_900_000_000).plus(*self.0.lock())
    }
    fn monotonic(&self) -> Duration {
        *self.0.lock()
    }
}

async fn site_in_time(stage: &Stage) -> (Arc<Site>, Arc<HandClock>) {
    let clock = Arc::new(HandClock::default());
    let world = World {
        clock: clock.clone(),
        ..World::real()
    };
    let lock = DataDirLock::acquire(&stage.config.site.data_dir).unwrap();
    let site = Site::open(stage.config.clone(), world, lock).await.unwrap();
    // The stage's key was made by another clock.
    site.keystore.rotate(PHOTOS).unwrap();
    (site, clock)
}

fn life(site: &Site, key: &str) -> KeyLife {
    site.keystore.life(key).unwrap()
}

/// Records of this kind in the audit log, as text.
async fn leaves(site: &Site, kind: &str) -> Vec<String> {
    site.audit_durable().await.unwrap();
    let leaves = site.audit.leaves(0, 10_000).await.unwrap();
    let kind = format!("\"kind\":\"{kind}\"");
    let texts = leaves.into_iter().map(|leaf| leaf.json);
    texts.filter(|json| json.contains(&kind)).collect()
}

/// The site's configuration without its bucket.
fn without_bucket(site: &Site) {
    let mut config = Config::clone(&site.current());
    config.buckets.clear();
    site.take_up(config);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_gets_a_version_by_itself_when_its_time_has_come_and_a_disabled_one_does_not() {
    let stage = Stage::new();
    let (site, clock) = site_in_time(&stage).await;
    let region = site.config.site.region.clone();
    let spare = SPARE.parse().ok();
    site.keystore.create_key(spare, region).unwrap();
    site.keystore.disable(SPARE).unwrap();
    put(&site, "before", 1, Some(b"content")).await;
    clock.pass(365 * DAY - Duration::from_secs(1));
    site.rotate_due().await.unwrap();
    assert_eq!(life(&site, PHOTOS).current, "2");
    clock.pass(Duration::from_secs(1));
    let report = SiteOperations::stopped(site.clone())
        .status()
        .await
        .unwrap();
    let words: Vec<_> = report.alarms.iter().map(|a| a.alarm.as_str()).collect();
    assert_eq!(words, ["key_rotation_overdue"]);
    for _ in 0..2 {
        site.rotate_due().await.unwrap();
        let photos = life(&site, PHOTOS);
        assert_eq!((photos.current.as_str(), photos.overdue), ("3", false));
        assert_eq!(photos.versions[2].reason, "on schedule".parse().ok());
    }
    let spare = life(&site, SPARE);
    assert!(spare.overdue && spare.versions.len() == 1);
    let rotated = leaves(&site, "key.rotated").await;
    assert_eq!(rotated.len(), 1, "{rotated:?}");
    assert!(rotated[0].contains("on schedule") && rotated[0].contains("\"actor\":\"agent\""));
    // The next object is sealed under it, the older one opens.
    let receipt = put(&site, "after", 2, Some(b"content")).await;
    assert_eq!(receipt.cmk_version, "3");
    let asked = Asked::stopped(&site);
    assert_eq!(asked.get("before", None, None).await.0, b"content");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_destroyed_when_its_day_has_come_and_nothing_needs_it() {
    let stage = Stage::new();
    let (site, clock) = site_in_time(&stage).await;
    let region = site.config.site.region.clone();
    site.keystore
        .create_key(SPARE.parse().ok(), region)
        .unwrap();
    put(&site, "one", 1, Some(b"content")).await;
    let week = DeletionDays::new(7).unwrap();
    for key in [PHOTOS, SPARE] {
        site.keystore.schedule_deletion(key, week).unwrap();
    }
    let mut told = BTreeSet::new();
    clock.pass(7 * DAY - Duration::from_secs(1));
    site.destroy_due(&mut told).await.unwrap();
    assert_eq!(site.keystore.list().len(), 2);
    clock.pass(Duration::from_secs(1));
    for _ in 0..2 {
        site.destroy_due(&mut told).await.unwrap();
        let left: Vec<_> = site.keystore.lives();
        assert_eq!(
            left.len(),
            1,
            "{:?}",
            leaves(&site, "key.destruction_refused").await
        );
        assert_eq!(left[0].state, KeyState::PendingDeletion);
    }
    let destroyed = leaves(&site, "key.destroyed").await;
    assert!(destroyed.len() == 1 && destroyed[0].contains(SPARE));
    let refused = leaves(&site, "key.destruction_refused").await;
    assert_eq!(refused.len(), 1, "it is told once: {refused:?}");
    assert!(refused[0].contains("bucket photos is sealed under it"));

    without_bucket(&site);
    site.destroy_due(&mut BTreeSet::new()).await.unwrap();
    let refused = leaves(&site, "key.destruction_refused").await;
    assert!(refused[1].contains("1 objects, 1 key records in the catalog, 1 copies"));
    let report = SiteOperations::stopped(site.clone())
        .status()
        .await
        .unwrap();
    assert_eq!(report.alarms[0].alarm, "key_deletion_held");
    // Kept, it opens what rests under it.
    site.keystore.cancel_deletion(PHOTOS).unwrap();
    site.keystore.enable(PHOTOS).unwrap();
    site.ring.recheck();
    let asked = Asked::stopped(&site);
    assert_eq!(asked.get("one", None, None).await.0, b"content");
}

#[tokio::test(flavor = "multi_thread")]
async fn imported_material_is_forgotten_when_its_time_is_over_on_record() {
    let stage = Stage::new();
    let (site, clock) = site_in_time(&stage).await;
    let asked = Asked::stopped(&site);
    let material = "9f3b5c1de07a4826b1d0c4f7938e6a52fe11209c7d4be85306af3d92c8175be4";
    let import = Request::Keys(Keys::Import {
        key: SPARE.parse().unwrap(),
        material: sealift_keys::ImportedMaterial::from_hex(material.as_bytes()).unwrap(),
        expires: Some(clock.now().plus(DAY)),
        new_version: false,
        description: None,
    });
    let (rows, end) = asked.rows::<KeyLife>(import).await;
    end.unwrap();
    assert_eq!(rows[0].state, KeyState::Enabled);
    site.forget_expired().await.unwrap();
    assert_eq!(life(&site, SPARE).state, KeyState::Enabled);
    clock.pass(DAY);
    site.forget_expired().await.unwrap();
    site.forget_expired().await.unwrap();
    assert!(life(&site, SPARE).versions[0].material_missing);
    let expired = leaves(&site, "key.material_expired").await;
    assert_eq!(expired.len(), 1, "{expired:?}");
    assert!(!leaves(&site, "key.imported").await[0].contains(material));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_is_retired_once_a_scan_finds_nothing_that_names_it() {
    let stage = Stage::new();
    let (site, clock) = site_in_time(&stage).await;
    let asked = Asked::stopped(&site);
    let retire = |version: &str| {
        Request::Keys(Keys::Retire {
            key: PHOTOS.to_owned(),
            version: version.to_owned(),
        })
    };
    // Nothing was sealed under version 1; version 2 has an object, and version 3 wraps.
    put(&site, "one", 1, Some(b"content")).await;
    site.keystore.rotate(PHOTOS).unwrap();
    clock.pass(KEY_VERSION_SETTLES);
    let (_, end) = asked.rows::<KeyLife>(retire("2")).await;
    let error = end.unwrap_err();
    assert_eq!(error.exit(), Exit::Refused);
    let told = error.in_one_line();
    assert!(told.contains("1 objects, 1 key records"), "{told}");
    let refused = leaves(&site, "key.destruction_refused").await;
    assert_eq!(refused.len(), 1);
    let (rows, end) = asked.rows::<KeyLife>(retire("1")).await;
    end.unwrap();
    assert!(rows[0].versions[0].destroyed.is_some());
    assert_eq!(leaves(&site, "key.version_retired").await.len(), 1);
    assert_eq!(asked.get("one", None, None).await.0, b"content");

    // The catalog forgets its record: the store's copy still says that it is needed.
    let row = site.catalog.records(None, 9).await.unwrap().remove(0);
    let elsewhere = sealift_ledger::RecordRow {
        cmk_version: "3".to_owned(),
        ..row
    };
    site.catalog.put_records(vec![elsewhere]).await.unwrap();
    let (_, end) = asked.rows::<KeyLife>(retire("2")).await;
    let told = end.unwrap_err().in_one_line();
    assert!(
        told.contains("1 copies of key records in the store"),
        "{told}"
    );
    assert!(life(&site, PHOTOS).versions[1].destroyed.is_none());
}
