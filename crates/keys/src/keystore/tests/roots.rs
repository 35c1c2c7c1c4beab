//! Another root key, and what is said of a keystore that does not open.

use super::*;

fn before(place: &Place) -> PathBuf {
    rekey::before(&place.path())
}

fn copies(place: &Place) -> Vec<PathBuf> {
    let folder = place.path().parent().unwrap().join("history");
    let entries = fs::read_dir(folder).unwrap();
    entries.map(|entry| entry.unwrap().path()).collect()
}

#[test]
fn another_root_key_opens_the_keystore_and_the_one_before_says_so() {
    let place = Place::new();
    let keystore = place.create();
    keystore.create_key(alias("alias/a"), region()).unwrap();
    let second = RootSecret::generate(&OsRng);
    keystore.rekey(second.clone()).unwrap();
    // It goes on under the new one.
    keystore.create_key(alias("alias/b"), region()).unwrap();
    let error = place.open(&place.secret).unwrap_err();
    assert!(matches!(error, KeyError::RootKeyBefore { .. }), "{error}");
    let unsettled = keystore.rekey(RootSecret::generate(&OsRng)).unwrap_err();
    assert!(
        matches!(unsettled, KeyError::RekeyUnsettled { .. }),
        "{unsettled}"
    );
    let opened = place.open(&second).unwrap();
    assert_eq!(opened.list().len(), 2);
    assert!(before(&place).exists());
    assert!(opened.settle_rekey().unwrap());
    assert!(!opened.settle_rekey().unwrap());
    // Nothing is left that the root key before opens.
    assert!(!before(&place).exists());
    for path in copies(&place) {
        let file = fs::read(&path).unwrap();
        assert!(envelope::open(&place.secret, "f", &file).is_err());
        assert!(envelope::open(&second, "f", &file).is_ok());
    }
    let error = place.open(&place.secret).unwrap_err();
    assert!(matches!(error, KeyError::KeystoreNotAuthentic { .. }));
    opened.rekey(place.secret.clone()).unwrap();
    assert_eq!(place.open(&place.secret).unwrap().list().len(), 2);
}

#[test]
fn a_root_key_can_become_a_passphrase() {
    let place = Place::new();
    let keystore = place.create();
    keystore.create_key(alias("alias/a"), region()).unwrap();
    keystore.rekey(passphrase()).unwrap();
    assert_eq!(place.open(&passphrase()).unwrap().list(), keystore.list());
    let wrong = RootSecret::from_passphrase("battery staple").unwrap();
    assert!(place.open(&wrong).is_err());
}

#[test]
fn a_torn_altered_or_lost_keystore_is_refused_with_the_newest_whole_copy() {
    let place = Place::new();
    let keystore = place.create();
    keystore.create_key(alias("alias/a"), region()).unwrap();
    keystore.rotate("alias/a").unwrap();
    let whole = fs::read(place.path()).unwrap();
    let named = || match place.open(&place.secret).unwrap_err() {
        KeyError::KeystoreHasCopy { copy, .. } => copy,
        other => panic!("{other}"),
    };
    let mut altered = whole.clone();
    let middle = altered.len() / 2;
    altered[middle] = if altered[middle] == b'A' { b'B' } else { b'A' };
    for bad in [&whole[..whole.len() / 2], &altered, b""] {
        fs::write(place.path(), bad).unwrap();
        let copy = named();
        assert_eq!(fs::read(&copy).unwrap(), whole, "{}", copy.display());
    }
    fs::remove_file(place.path()).unwrap();
    let newest = named();
    // The newest one is damaged, too: the one before it is told.
    fs::write(&newest, &altered).unwrap();
    let older = named();
    assert_ne!(older, newest);
    fs::copy(older, place.path()).unwrap();
    let reopened = place.open(&place.secret).unwrap();
    assert_eq!(reopened.list()[0].current, "1");
    // A wrong root key opens no copy, and no copy is told.
    let error = place.open(&RootSecret::generate(&OsRng)).unwrap_err();
    assert!(matches!(error, KeyError::KeystoreNotAuthentic { .. }));
}

#[test]
fn copies_are_of_the_last_changes_for_the_owner_alone_and_bounded() {
    let place = Place::new();
    let keystore = place.create();
    keystore.create_key(alias("alias/a"), region()).unwrap();
    let kept = sealift_terms::limits::KEYSTORE_COPIES_MAX;
    for _ in 0..kept + 3 {
        keystore.rotate("alias/a").unwrap();
    }
    let copies = copies(&place);
    assert_eq!(copies.len(), kept);
    for path in &copies {
        let mode = fs::metadata(path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
    let now = fs::read(place.path()).unwrap();
    assert!(copies.iter().any(|path| fs::read(path).unwrap() == now));
    // An older keystore in its place does not write over the newer copies.
    let oldest = place.path().with_file_name("history/keystore.8.json");
    fs::copy(oldest, place.path()).unwrap();
    let older = place.open(&place.secret).unwrap();
    older.disable("alias/a").unwrap();
    assert!(
        copies
            .iter()
            .any(|path| fs::read(path).is_ok_and(|file| file == now))
    );
}
