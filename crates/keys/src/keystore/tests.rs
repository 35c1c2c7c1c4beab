use std::{
    fs, io,
    os::unix::fs::PermissionsExt,
    sync::atomic::{AtomicBool, Ordering},
};

use parking_lot::Mutex;
use sealift_host::{OsClock, OsDisk, OsRng};
use sealift_terms::{
    BucketName, DiskFile, KeyAlias, KeyId, RecordId, Region,
    world::{DiskEntry, Open, Room},
};

use super::*;
use crate::{
    KeyState,
    conformance::{self, KeyOperator},
};

mod crash;
mod imports;
mod life;
mod regions;
mod roots;

struct Place {
    dir: tempfile::TempDir,
    secret: RootSecret,
}

impl Place {
    fn new() -> Self {
        Self {
            dir: tempfile::tempdir().unwrap(),
            secret: RootSecret::generate(&OsRng),
        }
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join(KEYSTORE_FILE)
    }

    fn create(&self) -> LocalKeystore {
        let (disk, clock, rng) = (Arc::new(OsDisk), Arc::new(OsClock), Arc::new(OsRng));
        LocalKeystore::create(disk, clock, rng, &self.path(), self.secret.clone()).unwrap()
    }

    fn open(&self, secret: &RootSecret) -> Result<LocalKeystore, KeyError> {
        let (disk, clock, rng) = (Arc::new(OsDisk), Arc::new(OsClock), Arc::new(OsRng));
        LocalKeystore::open(disk, clock, rng, &self.path(), secret.clone())
    }
}

fn region() -> Region {
    Region::new("eu-west").unwrap()
}

fn alias(name: &str) -> Option<KeyAlias> {
    Some(KeyAlias::new(name).unwrap())
}

#[async_trait]
impl KeyOperator for LocalKeystore {
    async fn create(&self, region: &Region) -> Result<KeyId, KeyError> {
        Ok(self.create_key(None, region.clone())?.id)
    }
    async fn rotate(&self, key: &str) -> Result<(), KeyError> {
        LocalKeystore::rotate(self, key).map(drop)
    }
    async fn enable(&self, key: &str) -> Result<(), KeyError> {
        LocalKeystore::enable(self, key).map(drop)
    }
    async fn disable(&self, key: &str) -> Result<(), KeyError> {
        LocalKeystore::disable(self, key).map(drop)
    }
}

#[tokio::test]
async fn the_local_keystore_is_a_key_provider() {
    let place = Place::new();
    let keystore = place.create();
    conformance::key_provider(&keystore, &keystore).await;
}

#[test]
fn the_record_vector_opens() {
    let context = EncryptionContext::bucket(
        &BucketName::new("b").unwrap(),
        &region(),
        "972b60a0a581a1be34f0e2afc06bc632"
            .parse::<RecordId>()
            .unwrap(),
    );
    let aad = concat!(
        "0003000e7365616c6966743a6275636b6574000162000e7365616c6966743a7265636f7264002039373262363061",
        "30613538316131626533346630653261666330366263363332000e7365616c6966743a726567696f6e00076575",
        "2d77657374"
    );
    assert_eq!(hex::encode(context.aad()), aad);
    let kek = "b794385f2d1ef7ab4d9273d1906381b44f2f6f2588a3efb96a49188331984753";
    let base64 = "eDd7UldXtJRCf4kBT5fXmSjzk40U61HisA9S6XcsmoR0/4DyT1YUQMdDovIGmHMhAjFFCTHwwGjc55y3KqB9m49sA+iqlkSv";
    let bytes = base64::Engine::decode(&base64::engine::general_purpose::STANDARD, base64).unwrap();
    let kek = Xaes256Gcm::new(Material::from_hex(kek.as_bytes()).unwrap().expose());
    let record_key = "959fdefa5dbd9498e2d2b113df78f2993e6400cae4eb4b1c49854a747cead90a";
    assert_eq!(
        hex::encode(&*kek.open(&context.aad(), &bytes).unwrap()),
        record_key
    );
}

#[test]
fn keys_survive_a_restart_and_the_file_is_for_the_owner_alone() {
    let place = Place::new();
    let made = place.create();
    let key = made.create_key(alias("alias/photos"), region()).unwrap();
    made.rotate("alias/photos").unwrap();
    made.disable(key.id.as_str()).unwrap();
    let read = place.open(&place.secret).unwrap();
    assert_eq!(read.list(), made.list());
    assert_eq!(read.list()[0].current, "2");
    assert_eq!(read.list()[0].state, KeyState::Disabled);
    let sealed = made.facts_key().seal(b"a", b"b");
    assert_eq!(*read.facts_key().open(b"a", &sealed).unwrap(), b"b");
    let mode = fs::metadata(place.path()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn an_existing_keystore_is_never_overwritten() {
    let place = Place::new();
    place.create();
    let (disk, clock, rng) = (Arc::new(OsDisk), Arc::new(OsClock), Arc::new(OsRng));
    let again = LocalKeystore::create(disk, clock, rng, &place.path(), place.secret.clone());
    assert!(matches!(again, Err(KeyError::KeystoreExists { .. })));
}

#[test]
fn another_root_key_and_an_altered_file_are_refused() {
    let place = Place::new();
    place.create().create_key(None, region()).unwrap();
    let other = RootSecret::generate(&OsRng);
    let error = place.open(&other).unwrap_err();
    assert!(matches!(error, KeyError::KeystoreNotAuthentic { .. }));
    let mut file = fs::read(place.path()).unwrap();
    let middle = file.len() / 2;
    file[middle] = if file[middle] == b'A' { b'B' } else { b'A' };
    fs::write(place.path(), file).unwrap();
    assert!(place.open(&place.secret).is_err());
}

#[test]
fn no_material_is_in_the_file_or_in_debug_output() {
    let place = Place::new();
    let keystore = place.create();
    keystore.create_key(alias("alias/a"), region()).unwrap();
    let body = keystore.body();
    let material = body.keys[0].versions[0].material.clone();
    let hex = material.unwrap().to_hex();
    let file = fs::read_to_string(place.path()).unwrap();
    assert!(!file.contains(hex.as_str()) && !file.contains("alias/a"));
    assert!(!format!("{keystore:?}").contains(hex.as_str()));
}

#[test]
fn an_alias_names_one_key() {
    let place = Place::new();
    let keystore = place.create();
    keystore.create_key(alias("alias/a"), region()).unwrap();
    let error = keystore.create_key(alias("alias/a"), region()).unwrap_err();
    assert!(matches!(error, KeyError::AliasTaken { .. }));
}

#[tokio::test]
async fn a_backup_restores_every_version_and_is_remembered() {
    let place = Place::new();
    let keystore = place.create();
    let key = keystore.create_key(alias("alias/a"), region()).unwrap();
    let context =
        EncryptionContext::bucket(&BucketName::new("b").unwrap(), &region(), RecordId([1; 16]));
    let record_key = RecordKey::random(&OsRng);
    let wrapped = keystore
        .wrap("alias/a", &record_key, &context)
        .await
        .unwrap();
    keystore.rotate("alias/a").unwrap();
    assert_eq!(keystore.without_backup().len(), 2);

    let passphrase = RootSecret::from_passphrase("correct horse").unwrap();
    let backup = keystore.backup(&passphrase).unwrap();
    let held = LocalKeystore::verify_backup(&backup.bytes, &passphrase).unwrap();
    assert_eq!(held, backup.versions);
    keystore.mark_backed_up(&held).unwrap();
    assert!(keystore.without_backup().is_empty());
    keystore.rotate("alias/a").unwrap();
    assert_eq!(keystore.without_backup(), [(key.id, "3".to_owned())]);

    let elsewhere = Place::new();
    let (disk, clock, rng) = (Arc::new(OsDisk), Arc::new(OsClock), Arc::new(OsRng));
    let (path, secret) = (elsewhere.path(), elsewhere.secret.clone());
    let restored =
        LocalKeystore::restore(disk, clock, rng, &path, secret, &backup.bytes, &passphrase)
            .unwrap();
    let opened = restored.unwrap(&wrapped, &context).await.unwrap();
    assert_eq!(opened.as_bytes(), record_key.as_bytes());
    assert!(restored.without_backup().is_empty());
}

fn passphrase() -> RootSecret {
    RootSecret::from_passphrase("correct horse").unwrap()
}

#[test]
fn a_keystore_takes_back_what_it_lost_and_keeps_what_it_has() {
    let place = Place::new();
    let keystore = place.create();
    let first = keystore.create_key(alias("alias/a"), region()).unwrap();
    let older = fs::read(place.path()).unwrap();
    keystore.rotate("alias/a").unwrap();
    keystore.create_key(alias("alias/b"), region()).unwrap();
    let backup = keystore.backup(&passphrase()).unwrap();

    fs::write(place.path(), older).unwrap();
    let keystore = place.open(&place.secret).unwrap();
    keystore.disable("alias/a").unwrap();
    let restored = keystore.take_back(&backup.bytes, &passphrase()).unwrap();
    assert_eq!((restored.keys_added, restored.versions_added), (1, 2));
    assert_eq!(restored.versions, backup.versions);
    assert!(keystore.without_backup().is_empty());
    let keys = keystore.list();
    assert_eq!(
        (keys.len(), &keys[0].id, keys[0].current.as_str()),
        (2, &first.id, "2")
    );
    assert_eq!(
        keys[0].state,
        KeyState::Disabled,
        "an older backup does not enable it"
    );
    let again = keystore.take_back(&backup.bytes, &passphrase()).unwrap();
    assert_eq!((again.keys_added, again.versions_added), (0, 0));
}

#[test]
fn a_backup_that_does_not_belong_here_changes_nothing() {
    let place = Place::new();
    let keystore = place.create();
    keystore.create_key(alias("alias/a"), region()).unwrap();
    let older = fs::read(place.path()).unwrap();
    keystore.rotate("alias/a").unwrap();
    let backup = keystore.backup(&passphrase()).unwrap();
    fs::write(place.path(), older).unwrap();
    let keystore = place.open(&place.secret).unwrap();
    keystore.rotate("alias/a").unwrap();
    let before = keystore.list();
    let error = keystore
        .take_back(&backup.bytes, &passphrase())
        .unwrap_err();
    assert!(matches!(error, KeyError::BackupDiffers { .. }), "{error}");

    let other = Place::new().create().backup(&passphrase()).unwrap();
    let error = keystore.take_back(&other.bytes, &passphrase()).unwrap_err();
    assert!(matches!(error, KeyError::BackupForeign { .. }), "{error}");

    let wrong = RootSecret::from_passphrase("battery staple").unwrap();
    let error = keystore.take_back(&backup.bytes, &wrong).unwrap_err();
    assert!(
        matches!(error, KeyError::KeystoreNotAuthentic { .. }),
        "{error}"
    );
    assert_eq!(keystore.list(), before);
}

/// A disk on which a rename lasts only once its directory is synced, which may fail.
#[derive(Debug, Default)]
struct Forgetful {
    fails: AtomicBool,
    /// What was there before a rename that does not last yet.
    before: Mutex<Option<(PathBuf, Vec<u8>)>>,
}

impl Forgetful {
    fn lose_power(&self) {
        if let Some((path, bytes)) = self.before.lock().take() {
            fs::write(path, bytes).unwrap();
        }
    }
}

impl Disk for Forgetful {
    fn open(&self, path: &Path, how: Open) -> io::Result<Arc<dyn DiskFile>> {
        OsDisk.open(path, how)
    }
    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        OsDisk.create_dir_all(path)
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        if let Ok(bytes) = fs::read(to) {
            self.before.lock().get_or_insert((to.to_owned(), bytes));
        }
        OsDisk.rename(from, to)
    }
    fn remove_file(&self, path: &Path) -> io::Result<()> {
        OsDisk.remove_file(path)
    }
    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        // The copies are not what this is about.
        if self.fails.load(Ordering::Relaxed) && !path.ends_with("history") {
            return Err(io::Error::other("the disk does not answer"));
        }
        *self.before.lock() = None;
        OsDisk.sync_dir(path)
    }
    fn read_dir(&self, path: &Path) -> io::Result<Vec<DiskEntry>> {
        OsDisk.read_dir(path)
    }
    fn room(&self, path: &Path) -> io::Result<Room> {
        OsDisk.room(path)
    }
}

#[test]
fn a_version_that_a_process_finds_is_still_there_after_a_power_loss() {
    let (place, disk) = (Place::new(), Arc::new(Forgetful::default()));
    let open = || {
        let (clock, rng) = (Arc::new(OsClock), Arc::new(OsRng));
        LocalKeystore::open(
            disk.clone(),
            clock,
            rng,
            &place.path(),
            place.secret.clone(),
        )
    };
    place
        .create()
        .create_key(alias("alias/a"), region())
        .unwrap();
    let keystore = open().unwrap();
    let first = keystore.list();
    disk.fails.store(true, Ordering::Relaxed);
    keystore.rotate("alias/a").unwrap_err();
    assert_eq!(keystore.list(), first, "what failed is not in use");
    // The process ends. The new file is seen by the next one, which must not build on it.
    assert!(open().is_err());
    disk.fails.store(false, Ordering::Relaxed);
    let found = open().unwrap().list();
    assert_ne!(found, first);
    disk.lose_power();
    assert_eq!(open().unwrap().list(), found);
}
