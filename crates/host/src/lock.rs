//! The lock of a data directory: one writing process at a time.

use std::{
    fs::{File, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use rustix::fs::{FlockOperation, OFlags};

/// The name of the lock file in a data directory.
pub const LOCK_FILE: &str = "LOCK";

/// Why the lock was not taken.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LockError {
    /// Another process has it: come back later, or speak to that process.
    #[error("{} is in use by another process{}", dir.display(), pid.map(|p| format!(" ({p})")).unwrap_or_default())]
    Held {
        /// The data directory.
        dir: PathBuf,
        /// The process that wrote its id into the lock file last.
        pid: Option<u32>,
    },
    /// The lock file cannot be opened or locked.
    #[error("cannot lock {}", path.display())]
    Io {
        /// The lock file.
        path: PathBuf,
        /// What the operating system said.
        #[source]
        source: io::Error,
    },
}

/// The lock on a data directory, held until dropped. The kernel gives it up when
/// the process dies, so that none is ever left behind.
#[derive(Debug)]
pub struct DataDirLock {
    // Closing the file gives the lock up.
    _file: File,
}

impl DataDirLock {
    /// Takes the lock on `dir`, which must exist, without waiting.
    ///
    /// # Errors
    /// [`LockError::Held`] when another process, or another lock of this one, has it.
    pub fn acquire(dir: &Path) -> Result<Self, LockError> {
        let path = dir.join(LOCK_FILE);
        let io = |source| LockError::Io {
            path: path.clone(),
            source,
        };
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .custom_flags(OFlags::NOFOLLOW.bits().cast_signed())
            .open(&path)
            .map_err(io)?;
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => {
                return Err(LockError::Held {
                    dir: dir.to_owned(),
                    pid: read_pid(&mut file),
                });
            }
            Err(error) => return Err(io(error.into())),
        }
        // For the message of whoever comes second; the lock itself is the kernel's.
        file.set_len(0).map_err(io)?;
        writeln!(file, "{}", std::process::id()).map_err(io)?;
        Ok(Self { _file: file })
    }
}

fn read_pid(file: &mut File) -> Option<u32> {
    let mut text = String::new();
    file.take(16).read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_lock_is_refused_until_the_first_is_gone() {
        let dir = tempfile::tempdir().unwrap();
        let first = DataDirLock::acquire(dir.path()).unwrap();
        let error = DataDirLock::acquire(dir.path()).unwrap_err();
        let me = Some(std::process::id());
        assert!(matches!(error, LockError::Held { pid, .. } if pid == me));
        drop(first);
        DataDirLock::acquire(dir.path()).unwrap();
    }

    #[test]
    fn a_missing_directory_is_an_error_of_its_own() {
        let error = DataDirLock::acquire(Path::new("/nonexistent/sealift")).unwrap_err();
        assert!(matches!(error, LockError::Io { .. }));
    }
}
