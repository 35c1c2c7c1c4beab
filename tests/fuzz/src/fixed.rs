//! A world in which nothing is left to chance, so that a finding comes again.

use std::{
    io,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering},
    },
    time::Duration,
};

use sealift_terms::{
    Clock, Disk, DiskFile, Rng, Timestamp,
    world::{DiskEntry, Open, Room},
};

/// A generator that counts.
#[derive(Debug, Default)]
pub struct CountingRng(AtomicU8);

impl Rng for CountingRng {
    fn fill(&self, bytes: &mut [u8]) {
        bytes.fill_with(|| self.0.fetch_add(1, Ordering::Relaxed));
    }
}

/// A clock that stands still.
#[derive(Debug)]
pub struct StoppedClock;

impl Clock for StoppedClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_secs(1_790_000_000)
    }

    fn monotonic(&self) -> Duration {
        Duration::ZERO
    }
}

/// A disk with one file, whatever it is called, that cannot be written.
#[derive(Debug)]
pub struct OneFile(pub Vec<u8>);

#[derive(Debug)]
struct Bytes(Vec<u8>);

fn unwritable<T>() -> io::Result<T> {
    Err(io::ErrorKind::ReadOnlyFilesystem.into())
}

impl Disk for OneFile {
    fn open(&self, _: &Path, how: Open) -> io::Result<Arc<dyn DiskFile>> {
        match how {
            Open::Read => Ok(Arc::new(Bytes(self.0.clone()))),
            Open::ReadWrite | Open::CreateNew => unwritable(),
        }
    }

    fn create_dir_all(&self, _: &Path) -> io::Result<()> {
        unwritable()
    }

    fn rename(&self, _: &Path, _: &Path) -> io::Result<()> {
        unwritable()
    }

    fn remove_file(&self, _: &Path) -> io::Result<()> {
        unwritable()
    }

    fn sync_dir(&self, _: &Path) -> io::Result<()> {
        unwritable()
    }

    fn read_dir(&self, _: &Path) -> io::Result<Vec<DiskEntry>> {
        unwritable()
    }

    fn room(&self, _: &Path) -> io::Result<Room> {
        unwritable()
    }
}

impl DiskFile for Bytes {
    fn read_exact_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<()> {
        let from = usize::try_from(offset)
            .ok()
            .and_then(|start| self.0.get(start..)?.get(..bytes.len()))
            .ok_or(io::ErrorKind::UnexpectedEof)?;
        bytes.copy_from_slice(from);
        Ok(())
    }

    fn write_all_at(&self, _: &[u8], _: u64) -> io::Result<()> {
        unwritable()
    }

    fn sync(&self) -> io::Result<()> {
        unwritable()
    }

    fn set_len(&self, _: u64) -> io::Result<()> {
        unwritable()
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.0.len() as u64)
    }
}
