use std::sync::atomic::AtomicBool;

use sealift_host::{OsDisk, OsRng};
use sealift_terms::{AuditUnavailable, Reason, Timestamp};

use super::*;
use crate::{LocalKeystore, RootSecret};

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
        Timestamp::from_secs(1_790_000_000).plus(*self.0.lock())
    }
    fn monotonic(&self) -> Duration {
        *self.0.lock()
    }
}

#[derive(Default)]
struct Log {
    kinds: Mutex<Vec<AuditKind>>,
    broken: AtomicBool,
}

impl Audit for Log {
    fn record(&self, record: AuditRecord) -> Result<(), AuditUnavailable> {
        if self.broken.load(Ordering::Relaxed) {
            let cause = "full".to_owned();
            return Err(AuditUnavailable { cause });
        }
        self.kinds.lock().push(record.kind);
        Ok(())
    }
}

struct Site {
    _dir: tempfile::TempDir,
    clock: Arc<HandClock>,
    log: Arc<Log>,
    keystore: Arc<LocalKeystore>,
    cmk: String,
    ring: RecordRing,
}

fn region(name: &str) -> Region {
    Region::new(name).unwrap()
}

fn bucket() -> BucketName {
    BucketName::new("photos").unwrap()
}

impl Site {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let clock = Arc::new(HandClock::default());
        let log = Arc::new(Log::default());
        let path = dir.path().join("keystore.json");
        let secret = RootSecret::generate(&OsRng);
        let keystore = LocalKeystore::create(
            Arc::new(OsDisk),
            clock.clone(),
            Arc::new(OsRng),
            &path,
            secret,
        )
        .unwrap();
        let keystore = Arc::new(keystore);
        let cmk = keystore
            .create_key(None, region("eu-west"))
            .unwrap()
            .id
            .to_string();
        let mut site = Self {
            ring: RecordRing::new(
                keystore.clone(),
                region("eu-west"),
                clock.clone(),
                Arc::new(OsRng),
                log.clone(),
            ),
            _dir: dir,
            clock,
            log,
            keystore,
            cmk,
        };
        site.restart();
        site
    }

    fn restart(&mut self) {
        self.ring = RecordRing::new(
            self.keystore.clone(),
            region("eu-west"),
            self.clock.clone(),
            Arc::new(OsRng),
            self.log.clone(),
        );
    }

    async fn current(&self) -> Result<KeyRecord, KeyError> {
        let open = self.ring.current(&bucket(), &self.cmk).await?;
        Ok(open.record().clone())
    }
}

#[tokio::test]
async fn one_record_serves_many_objects_and_a_hundredth_of_the_calls_is_made() {
    let site = Site::new();
    let first = site.current().await.unwrap();
    for _ in 0..999 {
        assert_eq!(site.current().await.unwrap().id, first.id);
    }
    let counters = site.ring.counters();
    assert_eq!((counters.calls_made, counters.calls_saved), (1, 999));
}

#[tokio::test]
async fn a_bucket_under_two_keys_has_a_record_under_each_and_both_go_on_serving() {
    let site = Site::new();
    let other = site.keystore.create_key(None, region("eu-west")).unwrap();
    let other = other.id.to_string();
    let under = async |cmk: &str| {
        let open = site.ring.current(&bucket(), cmk).await.unwrap();
        (open.record().id, open.record().cmk.to_string())
    };
    let (first, second) = (under(&site.cmk).await, under(&other).await);
    assert_eq!((&first.1, &second.1), (&site.cmk, &other));
    for _ in 0..9 {
        assert_eq!(under(&site.cmk).await, first);
        assert_eq!(under(&other).await, second);
    }
    let counters = site.ring.counters();
    assert_eq!((counters.calls_made, counters.calls_saved), (2, 18));
}

#[tokio::test]
async fn a_record_ends_after_an_hour_after_its_objects_and_at_a_restart() {
    let mut site = Site::new();
    let first = site.current().await.unwrap();
    site.clock.pass(RECORD_LIFE_MAX - Duration::from_secs(1));
    assert_eq!(site.current().await.unwrap().id, first.id);
    site.clock.pass(Duration::from_secs(1));
    let second = site.current().await.unwrap();
    assert_ne!(second.id, first.id);

    let slot = site.ring.slot(&bucket(), &site.cmk);
    slot.lock().await.as_mut().unwrap().objects = RECORD_OBJECTS_MAX - 1;
    assert_eq!(site.current().await.unwrap().id, second.id);
    let third = site.current().await.unwrap();
    assert_ne!(third.id, second.id);

    site.restart();
    assert_ne!(site.current().await.unwrap().id, third.id);
}

#[tokio::test]
async fn a_disabled_key_stops_sealing_and_opening_within_five_seconds() {
    let site = Site::new();
    let record = site.current().await.unwrap();
    site.ring.open(&record, &bucket()).await.unwrap();
    site.keystore.disable(&site.cmk).unwrap();
    site.clock.pass(KEY_STATE_RECHECKED);
    let sealing = site.current().await.unwrap_err();
    let opening = site.ring.open(&record, &bucket()).await.unwrap_err();
    for error in [sealing, opening] {
        assert_eq!(error.reason(), Reason::DstKmsKeyDisabled, "{error}");
    }
    site.keystore.enable(&site.cmk).unwrap();
    assert_eq!(site.current().await.unwrap().id, record.id);
    site.ring.open(&record, &bucket()).await.unwrap();
}

#[tokio::test]
async fn a_rotated_key_wraps_a_new_record_and_old_ones_still_open() {
    let site = Site::new();
    let old = site.current().await.unwrap();
    site.keystore.rotate(&site.cmk).unwrap();
    site.clock.pass(KEY_STATE_RECHECKED);
    let new = site.current().await.unwrap();
    assert_eq!(
        (old.cmk_version.as_str(), new.cmk_version.as_str()),
        ("1", "2")
    );
    site.ring.open(&old, &bucket()).await.unwrap();
}

#[tokio::test]
async fn a_key_is_unwrapped_again_after_five_minutes() {
    let site = Site::new();
    let record = site.current().await.unwrap();
    site.clock
        .pass(RECORD_KEY_CACHED_MAX - Duration::from_secs(1));
    site.ring.open(&record, &bucket()).await.unwrap();
    assert_eq!(site.ring.counters().calls_made, 1);
    site.clock.pass(Duration::from_secs(1));
    site.ring.open(&record, &bucket()).await.unwrap();
    site.current().await.unwrap();
    assert_eq!(site.ring.counters().calls_made, 3);

    site.clock.pass(RECORD_KEY_CACHED_MAX);
    site.ring.expire();
    assert!(site.ring.open.lock().is_empty());
}

#[tokio::test]
async fn a_key_of_another_region_is_refused() {
    let site = Site::new();
    let foreign = site.keystore.create_key(None, region("us-east")).unwrap();
    let error = site
        .ring
        .current(&bucket(), foreign.id.as_str())
        .await
        .unwrap_err();
    assert_eq!(error.reason(), Reason::DstKmsKeyWrongRegion);
}

#[tokio::test]
async fn a_record_does_not_open_for_another_bucket() {
    let site = Site::new();
    let mut record = site.current().await.unwrap();
    let other = BucketName::new("other").unwrap();
    record.bucket = other.clone();
    let error = site.ring.open(&record, &other).await.unwrap_err();
    assert_eq!(error.reason(), Reason::EncryptionContextMismatch);
    let record = site.current().await.unwrap();
    let error = site.ring.open_anew(&record, &other).await.unwrap_err();
    // Whoever looks for the cause sees both.
    let text = error.to_string();
    let contexts = [
        "expected here, sealift:bucket=other",
        "wrapped for sealift:bucket=photos",
    ];
    assert!(
        contexts.iter().all(|context| text.contains(context)),
        "{text}"
    );
}

#[tokio::test]
async fn at_a_hundred_thousand_objects_more_than_99_percent_of_the_calls_are_saved() {
    let site = Site::new();
    for _ in 0..100_000 {
        site.current().await.unwrap();
    }
    let RingCounters {
        calls_made,
        calls_saved,
    } = site.ring.counters();
    assert_eq!(calls_made + calls_saved, 100_000);
    assert!(calls_saved * 100 > 99 * 100_000, "{calls_made} were made");
}

#[tokio::test]
async fn no_key_is_used_off_the_record() {
    let site = Site::new();
    let object = ObjectUid([1; 16]);
    let one = site
        .ring
        .for_object(&bucket(), &site.cmk, object)
        .await
        .unwrap();
    site.ring.open_anew(one.record(), &bucket()).await.unwrap();
    let kinds = [AuditKind::KeyWrapped, AuditKind::KeyUnwrapped];
    assert_eq!(*site.log.kinds.lock(), kinds);
    site.log.broken.store(true, Ordering::Relaxed);
    let error = site.current().await.unwrap_err();
    assert_eq!(error.reason(), Reason::AuditUnavailable);
}

#[tokio::test]
async fn open_records_are_bounded() {
    let site = Site::new();
    let open = site.ring.current(&bucket(), &site.cmk).await.unwrap();
    for i in 0..OPEN_RECORDS_MAX + 10 {
        let id = RecordId((i as u128).to_be_bytes());
        let time = Duration::from_secs(i as u64);
        let held = Held {
            open: open.clone(),
            unwrapped_at: time,
            checked_at: time,
            round: 0,
        };
        site.ring.hold((id, bucket()), held);
    }
    assert_eq!(site.ring.open.lock().len(), OPEN_RECORDS_MAX);
}

#[tokio::test]
async fn a_change_made_here_takes_effect_at_once() {
    let site = Site::new();
    let first = site.current().await.unwrap();
    site.keystore.rotate(&site.cmk).unwrap();
    site.ring.recheck();
    let second = site.current().await.unwrap();
    assert_eq!(second.cmk_version, "2");
    site.ring.open(&first, &bucket()).await.unwrap();
    site.keystore.disable(&site.cmk).unwrap();
    site.ring.recheck();
    assert!(site.current().await.is_err());
    assert!(site.ring.open(&first, &bucket()).await.is_err());
    site.keystore.enable(&site.cmk).unwrap();
    assert!(site.current().await.is_ok());
    assert!(site.ring.open(&first, &bucket()).await.is_ok());
}
