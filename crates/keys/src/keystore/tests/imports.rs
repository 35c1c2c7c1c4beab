//! Material that people bring.

use std::time::Duration;

use super::{
    life::{in_time, note},
    *,
};
use crate::{Import, ImportedMaterial, NewKey};

/// Bytes that pass for random.
fn material(start: u8) -> ImportedMaterial {
    let bytes: Vec<u8> = (0..32).map(|n| start.wrapping_add(n * 7)).collect();
    ImportedMaterial::from_hex(format!("  {}\n", hex::encode(bytes)).as_bytes()).unwrap()
}

fn import(start: u8) -> Import {
    Import {
        expires: None,
        is_new_version: false,
        material: material(start),
    }
}

fn named(name: &str) -> NewKey {
    NewKey {
        alias: alias(name),
        ..NewKey::of(region())
    }
}

fn refused(result: Result<KeyDescription, KeyError>) -> &'static str {
    match result.unwrap_err() {
        KeyError::Imported { what, .. } => what,
        other => panic!("{other}"),
    }
}

#[tokio::test]
async fn the_same_bytes_open_in_two_places_and_have_one_fingerprint() {
    let (here, there) = (Place::new(), Place::new());
    let (here, there) = (here.create(), there.create());
    here.import(named("alias/a"), import(1)).unwrap();
    there.import(named("alias/z"), import(1)).unwrap();
    there.import(named("alias/other"), import(2)).unwrap();
    let fingerprint = |keystore: &LocalKeystore, name: &str| {
        let life = keystore.life(name).unwrap();
        life.versions[0].fingerprint.clone().unwrap()
    };
    let print = fingerprint(&here, "alias/a");
    assert_eq!(print, fingerprint(&there, "alias/z"));
    assert_ne!(print, fingerprint(&there, "alias/other"));
    assert_eq!(print.len(), 32);
    let hex = hex::encode(material(1).0.expose());
    assert!(!hex.contains(&print) && !format!("{:?}", material(1)).contains(&hex));

    let bucket = BucketName::new("b").unwrap();
    let context = EncryptionContext::bucket(&bucket, &region(), RecordId([1; 16]));
    let key = RecordKey::random(&OsRng);
    let mut wrapped = here.wrap("alias/a", &key, &context).await.unwrap();
    wrapped.cmk = there.life("alias/z").unwrap().id;
    let opened = there.unwrap(&wrapped, &context).await.unwrap();
    assert_eq!(opened.as_bytes(), key.as_bytes());
}

#[test]
fn material_without_randomness_or_time_and_for_another_key_is_refused() {
    let place = Place::new();
    let (keystore, clock) = in_time(&place);
    let zeros = ImportedMaterial::from_hex(&[b'0'; 64]).unwrap();
    let weak = Import {
        material: zeros,
        ..import(1)
    };
    assert!(refused(keystore.import(named("alias/a"), weak)).contains("random"));
    let late = Import {
        expires: Some(clock.now()),
        ..import(1)
    };
    assert!(refused(keystore.import(named("alias/a"), late)).contains("over"));
    keystore.create_key(alias("alias/made"), region()).unwrap();
    assert!(refused(keystore.import(named("alias/made"), import(1))).contains("made here"));
    keystore.import(named("alias/a"), import(1)).unwrap();
    assert!(refused(keystore.import(named("alias/a"), import(2))).contains("no version"));
    assert!(refused(keystore.rotate("alias/a")).contains("by hand"));
    for bad in ["", "00", &"g".repeat(64)] {
        assert!(ImportedMaterial::from_hex(bad.as_bytes()).is_none());
    }
    assert_eq!(keystore.list().len(), 2);
}

#[test]
fn another_version_is_imported_and_wraps_from_then_on() {
    let keystore = Place::new();
    let keystore = keystore.create();
    let new_version = |start| Import {
        is_new_version: true,
        ..import(start)
    };
    let missing = keystore.import(named("alias/a"), new_version(2));
    assert!(matches!(missing, Err(KeyError::Missing { .. })));
    keystore.import(named("alias/a"), import(1)).unwrap();
    let key = keystore.import(named("alias/a"), new_version(2)).unwrap();
    assert_eq!((key.current.as_str(), key.versions.len()), ("2", 2));
    assert!(refused(keystore.import(named("alias/a"), new_version(1))).contains("the same"));
    let life = keystore.life("alias/a").unwrap();
    assert_eq!((life.next_rotation, life.rotate_every_days), (None, None));
}

#[tokio::test]
async fn material_ends_with_its_time_and_works_again_once_it_is_brought_again() {
    let place = Place::new();
    let (keystore, clock) = in_time(&place);
    let hour = Duration::from_secs(3600);
    let until = Import {
        expires: Some(clock.now().plus(hour)),
        ..import(1)
    };
    keystore.import(named("alias/a"), until).unwrap();
    let bucket = BucketName::new("b").unwrap();
    let context = EncryptionContext::bucket(&bucket, &region(), RecordId([1; 16]));
    let key = RecordKey::random(&OsRng);
    let wrapped = keystore.wrap("alias/a", &key, &context).await.unwrap();
    assert!(keystore.forget_expired().unwrap().is_empty());
    clock.pass(hour);
    // Nobody has looked after it yet, and it is over all the same.
    let error = keystore.unwrap(&wrapped, &context).await.unwrap_err();
    assert!(
        matches!(
            error,
            KeyError::NotUsable {
                state: KeyState::PendingImport,
                ..
            }
        ),
        "{error}"
    );
    let forgotten = keystore.forget_expired().unwrap();
    assert_eq!(forgotten[0].state, KeyState::PendingImport);
    assert!(keystore.forget_expired().unwrap().is_empty());
    let copies = fs::read_dir(place.path().parent().unwrap().join("history")).unwrap();
    assert_eq!(copies.count(), 1, "older ones hold the material");
    let reopened = place.open(&place.secret).unwrap();
    assert!(reopened.life("alias/a").unwrap().versions[0].material_missing);

    let other = keystore.import(named("alias/a"), import(2));
    assert!(refused(other).contains("no version"));
    let described = NewKey {
        description: note("came again"),
        ..named("alias/a")
    };
    let back = keystore.import(described, import(1)).unwrap();
    assert_eq!(back.state, KeyState::Enabled);
    let opened = keystore.unwrap(&wrapped, &context).await.unwrap();
    assert_eq!(opened.as_bytes(), key.as_bytes());
    assert_eq!(keystore.life("alias/a").unwrap().expires, None);
}
