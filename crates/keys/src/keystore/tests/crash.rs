//! Power that goes at every step of every change.

use std::sync::atomic::AtomicUsize;

use sealift_terms::DeletionDays;

use super::{life::HandClock, *};

/// A disk that does so many more things, and then nothing at all.
#[derive(Debug)]
struct Dying {
    left: AtomicUsize,
}

impl Dying {
    fn step(&self) -> io::Result<()> {
        let count = |left: usize| left.checked_sub(1);
        match self
            .left
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, count)
        {
            Ok(_) => Ok(()),
            Err(_) => Err(io::Error::other("the power is gone")),
        }
    }
}

#[derive(Debug)]
struct DyingFile(Arc<dyn DiskFile>, Arc<Dying>);

impl DiskFile for DyingFile {
    fn read_exact_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<()> {
        self.0.read_exact_at(bytes, offset)
    }
    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        if let Err(error) = self.1.step() {
            // Torn: half of it was written.
            self.0.write_all_at(&bytes[..bytes.len() / 2], offset)?;
            return Err(error);
        }
        self.0.write_all_at(bytes, offset)
    }
    fn sync(&self) -> io::Result<()> {
        self.1.step()?;
        self.0.sync()
    }
    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }
    fn len(&self) -> io::Result<u64> {
        self.0.len()
    }
    fn has_name(&self) -> io::Result<bool> {
        self.0.has_name()
    }
}

/// The disk, and every file opened through it.
#[derive(Debug)]
struct DyingDisk(Arc<Dying>);

impl Disk for DyingDisk {
    fn open(&self, path: &Path, how: Open) -> io::Result<Arc<dyn DiskFile>> {
        self.0.step()?;
        let file = OsDisk.open(path, how)?;
        Ok(Arc::new(DyingFile(file, self.0.clone())))
    }
    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        self.0.step()?;
        OsDisk.create_dir_all(path)
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.0.step()?;
        OsDisk.rename(from, to)
    }
    fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.0.step()?;
        OsDisk.remove_file(path)
    }
    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.0.step()?;
        OsDisk.sync_dir(path)
    }
    fn read_dir(&self, path: &Path) -> io::Result<Vec<DiskEntry>> {
        self.0.step()?;
        OsDisk.read_dir(path)
    }
    fn room(&self, path: &Path) -> io::Result<Room> {
        OsDisk.room(path)
    }
}

type Change = fn(&LocalKeystore, &RootSecret) -> Result<(), KeyError>;

/// What a keystore holds, without what is another at every try.
fn shape(keystore: &LocalKeystore) -> Vec<String> {
    let lives = keystore.lives();
    let keys = lives.iter().map(|key| {
        let versions = key.versions.iter();
        let versions = versions.map(|one| (&one.id, one.destroyed.is_some()));
        let versions: Vec<_> = versions.collect();
        format!("{:?} {} {versions:?}", key.alias, key.state)
    });
    keys.collect()
}

/// Whatever the step at which the power goes: the keystore opens, under one of the two root
/// keys, is as before or as after, and what was said to be done is.
fn at_every_step(change: Change) {
    let second = RootSecret::generate(&OsRng);
    for steps in 0.. {
        let place = Place::new();
        let clock = Arc::new(HandClock::default());
        let open = |disk: Arc<dyn Disk>, secret: &RootSecret| {
            let rng = Arc::new(OsRng);
            LocalKeystore::open(disk, clock.clone(), rng, &place.path(), secret.clone())
        };
        let before = prepared(&place, &clock);
        let dying = Arc::new(Dying {
            left: AtomicUsize::new(usize::MAX),
        });
        let keystore = open(Arc::new(DyingDisk(dying.clone())), &place.secret).unwrap();
        dying.left.store(steps, Ordering::Relaxed);
        let done = change(&keystore, &second);
        let told = shape(&keystore);
        drop(keystore);
        // The next start.
        let disk: Arc<dyn Disk> = Arc::new(OsDisk);
        let found = open(disk.clone(), &place.secret).or_else(|_| open(disk, &second));
        let found = found.unwrap_or_else(|error| panic!("after {steps} steps: {error}"));
        if done.is_ok() {
            assert_eq!(shape(&found), told, "after {steps} steps");
            assert!(steps > 5, "it takes more than {steps} steps");
            return;
        }
        assert_eq!(told, before, "what failed is not in use");
        if shape(&found) == before {
            found.settle_rekey().unwrap();
            change(&found, &second).unwrap();
        }
        let after = shape(&found);
        found.create_key(alias("alias/after"), region()).unwrap();
        assert_eq!(shape(&found)[..after.len()], after);
    }
}

/// A key of two versions, and one whose time has come.
fn prepared(place: &Place, clock: &Arc<HandClock>) -> Vec<String> {
    let (disk, rng) = (Arc::new(OsDisk), Arc::new(OsRng));
    let (path, secret) = (place.path(), place.secret.clone());
    let keystore = LocalKeystore::create(disk, clock.clone(), rng, &path, secret).unwrap();
    keystore.create_key(alias("alias/a"), region()).unwrap();
    keystore.create_key(alias("alias/old"), region()).unwrap();
    keystore.rotate("alias/a").unwrap();
    let days = DeletionDays::default();
    keystore.schedule_deletion("alias/old", days).unwrap();
    clock.pass(days.duration());
    shape(&keystore)
}

#[test]
fn a_power_loss_during_a_rotation_leaves_it_done_or_undone() {
    at_every_step(|keystore, _| keystore.rotate("alias/a").map(drop));
}

#[test]
fn a_power_loss_during_a_destruction_leaves_it_done_or_undone() {
    at_every_step(|keystore, _| keystore.destroy("alias/old").map(drop));
    at_every_step(|keystore, _| keystore.retire("alias/a", "1").map(drop));
}

#[test]
fn a_power_loss_during_a_change_of_the_root_key_leaves_one_that_opens() {
    at_every_step(|keystore, second| keystore.rekey(second.clone()));
}

#[test]
fn a_power_loss_while_a_change_of_the_root_key_is_settled_is_made_good_by_the_next_start() {
    for steps in 0.. {
        let place = Place::new();
        let second = RootSecret::generate(&OsRng);
        place.create().rekey(second.clone()).unwrap();
        let dying = Arc::new(Dying {
            left: AtomicUsize::new(usize::MAX),
        });
        let open = |disk: Arc<dyn Disk>| {
            let (clock, rng) = (Arc::new(OsClock), Arc::new(OsRng));
            LocalKeystore::open(disk, clock, rng, &place.path(), second.clone())
        };
        let keystore = open(Arc::new(DyingDisk(dying.clone()))).unwrap();
        dying.left.store(steps, Ordering::Relaxed);
        let done = keystore.settle_rekey();
        drop(keystore);
        let found = open(Arc::new(OsDisk)).unwrap();
        found.settle_rekey().unwrap();
        assert!(!rekey::before(&place.path()).exists());
        let folder = place.path().with_file_name("history");
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let file = fs::read(&path).unwrap();
            let old = envelope::open(&place.secret, "f", &file);
            assert!(old.is_err(), "{} after {steps} steps", path.display());
        }
        if done.is_ok() {
            return;
        }
    }
}
