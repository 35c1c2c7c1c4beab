//! The outside world as parameters: disk, clock and randomness.
//!
//! Whatever writes a site's data directory goes through [`Disk`], so that a
//! simulation can tear its writes; whatever asks the time or draws a number goes
//! through [`Clock`] and [`Rng`], so that a test can hold them.

use std::{
    ffi::OsString,
    fmt, io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use crate::Timestamp;

/// Tells the time.
pub trait Clock: Send + Sync + fmt::Debug {
    /// The wall clock. May jump.
    fn now(&self) -> Timestamp;

    /// Time since an arbitrary start. Never goes back.
    fn monotonic(&self) -> Duration;
}

/// Draws random bytes from a generator fit for keys.
pub trait Rng: Send + Sync + fmt::Debug {
    /// Fills `bytes`. A generator that cannot deliver ends the process: nothing
    /// may be sealed without it.
    fn fill(&self, bytes: &mut [u8]);
}

/// How a file is to be opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Open {
    /// An existing file, for reading.
    Read,
    /// An existing file, for reading and writing.
    ReadWrite,
    /// A new file, for reading and writing, mode 0600; an existing one is an error.
    CreateNew,
}

/// An open file. Positional, so that many can use it at once.
pub trait DiskFile: Send + Sync + fmt::Debug {
    /// Fills `bytes` from `offset`; a shorter file is [`io::ErrorKind::UnexpectedEof`].
    ///
    /// # Errors
    /// What the operating system says.
    fn read_exact_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<()>;

    /// Writes all of `bytes` at `offset`.
    ///
    /// # Errors
    /// What the operating system says.
    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;

    /// Makes the file's content and length durable. After an error the file is
    /// to be abandoned: a second call would not say the truth.
    ///
    /// # Errors
    /// What the operating system says.
    fn sync(&self) -> io::Result<()>;

    /// Cuts or extends the file.
    ///
    /// # Errors
    /// What the operating system says.
    fn set_len(&self, len: u64) -> io::Result<()>;

    /// The length in bytes.
    ///
    /// # Errors
    /// What the operating system says.
    fn len(&self) -> io::Result<u64>;

    /// Whether it is empty.
    ///
    /// # Errors
    /// What the operating system says.
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }

    /// Whether it still has a name: what is written to a file that was deleted is
    /// nowhere once it is closed.
    ///
    /// # Errors
    /// What the operating system says.
    fn has_name(&self) -> io::Result<bool> {
        Ok(true)
    }
}

/// How calls that may take long are to be made, such as a sync or a listing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Calls {
    /// On a thread that may block.
    OnThread,
    /// Where they are needed, between these two waits: the disk is simulated, and
    /// so is the time that it takes.
    Here {
        /// Until the call has its effect.
        before: Duration,
        /// From then on until it returns.
        after: Duration,
    },
}

/// An entry of a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DiskEntry {
    /// Its name.
    pub name: OsString,
    /// Whether it is a directory.
    pub is_dir: bool,
    /// Its length in bytes, for a file.
    pub len: u64,
}

/// The disk that holds a site's data directory.
pub trait Disk: Send + Sync + fmt::Debug {
    /// Opens a file; never follows a symbolic link in the last place.
    ///
    /// # Errors
    /// What the operating system says.
    fn open(&self, path: &Path, how: Open) -> io::Result<Arc<dyn DiskFile>>;

    /// Makes a directory and those above it, mode 0700.
    ///
    /// # Errors
    /// What the operating system says.
    fn create_dir_all(&self, path: &Path) -> io::Result<()>;

    /// Moves a file over another, atomically.
    ///
    /// # Errors
    /// What the operating system says.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Removes a file.
    ///
    /// # Errors
    /// What the operating system says.
    fn remove_file(&self, path: &Path) -> io::Result<()>;

    /// Makes a directory's entries durable.
    ///
    /// # Errors
    /// What the operating system says.
    fn sync_dir(&self, path: &Path) -> io::Result<()>;

    /// The entries of a directory, in no order.
    ///
    /// # Errors
    /// What the operating system says.
    fn read_dir(&self, path: &Path) -> io::Result<Vec<DiskEntry>>;

    /// Bytes that can still be written below `path`, and bytes in all.
    ///
    /// # Errors
    /// What the operating system says.
    fn room(&self, path: &Path) -> io::Result<Room>;

    /// How the next call that may take long is to be made.
    fn calls(&self) -> Calls {
        Calls::OnThread
    }
}

/// How full a disk is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Room {
    /// Bytes that can still be written.
    pub free_bytes: u64,
    /// Bytes in all.
    pub total_bytes: u64,
}

/// Reads a whole file of at most `bytes_max` bytes.
///
/// # Errors
/// What the disk says; [`io::ErrorKind::FileTooLarge`] above the limit.
pub fn read_file(disk: &dyn Disk, path: &Path, bytes_max: usize) -> io::Result<Vec<u8>> {
    let file = disk.open(path, Open::Read)?;
    let len = usize::try_from(file.len()?).unwrap_or(usize::MAX);
    if len > bytes_max {
        let message = format!(
            "{} has {len} bytes, allowed are {bytes_max}",
            path.display()
        );
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, message));
    }
    let mut bytes = vec![0; len];
    file.read_exact_at(&mut bytes, 0)?;
    Ok(bytes)
}

/// Replaces a file in one step: a temporary file beside it, synced, renamed over
/// it, the directory synced.
///
/// # Errors
/// What the disk says; the old content is then still there.
pub fn replace_file(disk: &dyn Disk, path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut name = path.as_os_str().to_owned();
    name.push(".new");
    let new = PathBuf::from(name);
    match disk.remove_file(&new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let file = disk.open(&new, Open::CreateNew)?;
    file.write_all_at(bytes, 0)?;
    file.sync()?;
    disk.rename(&new, path)?;
    disk.sync_dir(path.parent().unwrap_or(Path::new(".")))
}
