//! The life of a key, by a clock that the tests move.

use std::time::Duration;

use sealift_terms::{DeletionDays, KeyNote, RotationDays};

use super::*;
use crate::{KeyChange, KeyLife, NewKey};

const DAY: Duration = Duration::from_secs(86_400);

/// A clock that a test moves.
#[derive(Debug, Default)]
pub(super) struct HandClock(Mutex<Duration>);

impl HandClock {
    pub(super) fn pass(&self, time: Duration) {
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

/// A keystore whose time passes when a test says so.
pub(super) fn in_time(place: &Place) -> (LocalKeystore, Arc<HandClock>) {
    let clock = Arc::new(HandClock::default());
    let (disk, rng) = (Arc::new(OsDisk), Arc::new(OsRng));
    let (path, secret) = (place.path(), place.secret.clone());
    let keystore = LocalKeystore::create(disk, clock.clone(), rng, &path, secret).unwrap();
    (keystore, clock)
}

pub(super) fn note(text: &str) -> Option<KeyNote> {
    Some(KeyNote::new(text).unwrap())
}

fn only(keystore: &LocalKeystore) -> KeyLife {
    let mut lives = keystore.lives();
    assert_eq!(lives.len(), 1);
    lives.remove(0)
}

/// Hex of everything that is secret in the keystore.
fn material(keystore: &LocalKeystore) -> Vec<String> {
    let body = keystore.body();
    let versions = body.keys.iter().flat_map(|key| &key.versions);
    let held = versions.filter_map(|version| version.material.as_ref());
    held.map(|material| material.to_hex().to_string()).collect()
}

/// Whether any file beside the keystore, or itself, opens and holds this.
fn rests_somewhere(place: &Place, hex: &str) -> bool {
    let folder = place.path().parent().unwrap().to_owned();
    let mut paths = vec![place.path()];
    paths.extend(
        fs::read_dir(folder.join("history"))
            .unwrap()
            .map(|entry| entry.unwrap().path()),
    );
    paths.iter().any(|path| {
        let file = fs::read(path).unwrap();
        let json = envelope::open(&place.secret, "f", &file).unwrap();
        String::from_utf8_lossy(&json).contains(hex)
    })
}

#[test]
fn what_is_written_about_a_key_can_be_changed_and_survives() {
    let place = Place::new();
    let (keystore, _) = in_time(&place);
    let new = NewKey {
        alias: alias("alias/a"),
        description: note("of the photos"),
        rotate_every_days: RotationDays::new(90).unwrap(),
        ..NewKey::of(region())
    };
    let id = keystore.create_new(new).unwrap().id;
    keystore.create_key(alias("alias/b"), region()).unwrap();
    let to = |name: &str| KeyChange {
        alias: alias(name),
        ..KeyChange::default()
    };
    let taken = keystore.set(id.as_str(), to("alias/b")).unwrap_err();
    assert!(matches!(taken, KeyError::AliasTaken { .. }), "{taken}");
    keystore.set("alias/a", to("alias/a")).unwrap();
    keystore.set("alias/a", to("alias/c")).unwrap();
    let life = place.open(&place.secret).unwrap().life("alias/c").unwrap();
    assert_eq!((life.id, life.description), (id, note("of the photos")));
    assert_eq!(life.rotate_every_days.map(RotationDays::days), Some(90));
    assert!(keystore.life("alias/a").is_err());
    let change = KeyChange {
        description: note("of nothing"),
        ..KeyChange::default()
    };
    keystore.set("alias/c", change).unwrap();
    let life = keystore.life("alias/c").unwrap();
    assert_eq!(life.description, note("of nothing"));
}

#[test]
fn a_key_says_when_its_next_rotation_is_due_and_the_reason_of_each_version() {
    let place = Place::new();
    let (keystore, clock) = in_time(&place);
    keystore.create_key(alias("alias/a"), region()).unwrap();
    let made = clock.now();
    let life = only(&keystore);
    assert_eq!(life.next_rotation, Some(made.plus(365 * DAY)));
    clock.pass(365 * DAY - Duration::from_secs(1));
    assert!(!only(&keystore).overdue);
    clock.pass(Duration::from_secs(1));
    assert!(only(&keystore).overdue);
    keystore
        .rotate_because("alias/a", note("it was time"))
        .unwrap();
    let life = only(&place.open(&place.secret).unwrap());
    assert_eq!(life.next_rotation, Some(clock.now().plus(365 * DAY)));
    let reasons: Vec<_> = life.versions.iter().map(|one| one.reason.clone()).collect();
    assert_eq!(reasons, [None, note("it was time")]);
    let change = KeyChange {
        rotate_every_days: RotationDays::new(90).ok(),
        ..KeyChange::default()
    };
    keystore.set("alias/a", change).unwrap();
    assert_eq!(
        only(&keystore).next_rotation,
        Some(clock.now().plus(90 * DAY))
    );
}

#[tokio::test]
async fn a_key_to_be_deleted_stops_at_once_and_comes_back_disabled() {
    let place = Place::new();
    let (keystore, clock) = in_time(&place);
    keystore.create_key(alias("alias/a"), region()).unwrap();
    let week = DeletionDays::new(7).unwrap();
    keystore.schedule_deletion("alias/a", week).unwrap();
    let life = only(&keystore);
    assert_eq!(life.state, KeyState::PendingDeletion);
    assert_eq!(life.delete_at, Some(clock.now().plus(7 * DAY)));
    assert_eq!(life.next_rotation, None);
    let bucket = BucketName::new("b").unwrap();
    let context = EncryptionContext::bucket(&bucket, &region(), RecordId([1; 16]));
    let record_key = RecordKey::random(&OsRng);
    let error = keystore.wrap("alias/a", &record_key, &context).await;
    let reason = error.unwrap_err().reason();
    assert_eq!(reason, sealift_terms::Reason::DstKmsKeyPendingDeletion);
    for refused in [
        keystore.schedule_deletion("alias/a", week),
        keystore.enable("alias/a"),
        keystore.disable("alias/a"),
        keystore.rotate("alias/a"),
        keystore.destroy("alias/a"),
    ] {
        let error = refused.unwrap_err();
        assert!(matches!(error, KeyError::StateForbids { .. }), "{error}");
    }
    keystore.cancel_deletion("alias/a").unwrap();
    let life = only(&keystore);
    assert_eq!((life.state, life.delete_at), (KeyState::Disabled, None));
    let error = keystore.cancel_deletion("alias/a").unwrap_err();
    assert!(matches!(error, KeyError::StateForbids { .. }), "{error}");
}

#[test]
fn a_destroyed_key_is_gone_from_every_copy_and_no_backup_brings_it_back() {
    let place = Place::new();
    let (keystore, clock) = in_time(&place);
    keystore.create_key(alias("alias/a"), region()).unwrap();
    let secret = material(&keystore).remove(0);
    keystore.create_key(alias("alias/b"), region()).unwrap();
    let backup = keystore.backup(&passphrase()).unwrap();
    keystore
        .schedule_deletion("alias/a", DeletionDays::default())
        .unwrap();
    clock.pass(30 * DAY - Duration::from_secs(1));
    assert!(keystore.destroy("alias/a").is_err());
    assert!(rests_somewhere(&place, &secret));
    clock.pass(Duration::from_secs(1));
    keystore.destroy("alias/a").unwrap();
    assert!(!rests_somewhere(&place, &secret));
    assert!(keystore.life("alias/a").is_err());
    let restored = keystore.take_back(&backup.bytes, &passphrase()).unwrap();
    let sums = (restored.keys_added, restored.versions_added);
    assert_eq!((sums, restored.left_out), ((0, 0), 1));
    assert_eq!(keystore.list().len(), 1);
    // The name is free.
    keystore.create_key(alias("alias/a"), region()).unwrap();
}

#[tokio::test]
async fn a_retired_version_is_gone_and_the_others_still_open() {
    let place = Place::new();
    let (keystore, clock) = in_time(&place);
    let key = keystore.create_key(alias("alias/a"), region()).unwrap().id;
    let bucket = BucketName::new("b").unwrap();
    let context = EncryptionContext::bucket(&bucket, &region(), RecordId([1; 16]));
    let mut wrapped = Vec::new();
    for _ in 0..3 {
        let record_key = RecordKey::random(&OsRng);
        wrapped.push(
            keystore
                .wrap("alias/a", &record_key, &context)
                .await
                .unwrap(),
        );
        keystore.rotate("alias/a").unwrap();
        clock.pass(sealift_terms::limits::KEY_VERSION_SETTLES);
    }
    let secrets = material(&keystore);
    let backup = keystore.backup(&passphrase()).unwrap();
    keystore.retire("alias/a", "2").unwrap();
    assert!(!rests_somewhere(&place, &secrets[1]));
    let keystore = place.open(&place.secret).unwrap();
    let ids: Vec<_> = keystore.list()[0]
        .versions
        .iter()
        .map(|v| v.id.clone())
        .collect();
    assert_eq!(ids, ["1", "3", "4"]);
    assert!(keystore.lives()[0].versions[1].destroyed.is_some());
    for (index, one) in wrapped.iter().enumerate() {
        let opened = keystore.unwrap(one, &context).await;
        assert_eq!(opened.is_ok(), index != 1, "version {}", index + 1);
    }
    let again = keystore.retire("alias/a", "2").unwrap_err();
    assert!(matches!(again, KeyError::VersionMissing { .. }), "{again}");
    let restored = keystore.take_back(&backup.bytes, &passphrase()).unwrap();
    assert_eq!((restored.versions_added, restored.left_out), (0, 1));
    assert!(keystore.without_backup().is_empty());
    // Its number is not used again.
    assert_eq!(keystore.rotate(key.as_str()).unwrap().current, "5");
}

#[test]
fn a_version_that_wraps_or_did_a_moment_ago_is_not_retired() {
    let place = Place::new();
    let (keystore, clock) = in_time(&place);
    keystore.create_key(alias("alias/a"), region()).unwrap();
    let refused = |version: &str| match keystore.retire("alias/a", version).unwrap_err() {
        KeyError::InUse { by, .. } => by,
        other => panic!("{other}"),
    };
    assert!(refused("1").contains("the one that wraps"));
    keystore.rotate("alias/a").unwrap();
    clock.pass(sealift_terms::limits::KEY_VERSION_SETTLES - Duration::from_secs(1));
    assert!(refused("1").contains("a moment ago"));
    clock.pass(Duration::from_secs(1));
    keystore.retirable("alias/a", "1").unwrap();
    assert!(refused("2").contains("the one that wraps"));
    assert!(matches!(
        keystore.retire("alias/a", "7"),
        Err(KeyError::VersionMissing { .. })
    ));
}

#[test]
fn a_keystore_that_would_be_too_large_to_open_is_not_written() {
    let place = Place::new();
    let (keystore, _) = in_time(&place);
    keystore.create_key(alias("alias/a"), region()).unwrap();
    let full = keystore.change(|body| {
        let key = body.keys[0].clone();
        let too_many = KEYSTORE_BYTES_MAX / 256;
        body.keys = std::iter::repeat_n(key, too_many).collect();
        Ok(())
    });
    assert!(matches!(full, Err(KeyError::KeystoreFull)));
    assert_eq!(place.open(&place.secret).unwrap().list().len(), 1);
    assert_eq!(keystore.list().len(), 1);
}
