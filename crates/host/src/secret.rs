//! Files that hold secrets.

use std::{
    fs::{File, Metadata},
    io::{self, Read},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use zeroize::Zeroizing;

/// Why a secret was not read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SecretFileError {
    /// Group or others may read it.
    #[error("{} can be read by others (mode {mode:o}): allowed is 600 or 400", path.display())]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// It is no plain file, or larger than a secret of its sort can be.
    #[error("{} is not a plain file of at most {bytes_max} bytes", path.display())]
    Unsuitable {
        /// The file.
        path: PathBuf,
        /// What is allowed.
        bytes_max: usize,
    },
    /// It cannot be read.
    #[error("cannot read {}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        #[source]
        source: io::Error,
    },
}

/// Reads a secret of at most `bytes_max` bytes from a file that nobody but its
/// owner may read. Symbolic links are followed, as orchestrators mount secrets
/// behind them: what counts is the file they lead to.
///
/// # Errors
/// [`SecretFileError`] says what is wrong with the file.
pub fn read_secret_file(
    path: &Path,
    bytes_max: usize,
) -> Result<Zeroizing<Vec<u8>>, SecretFileError> {
    read(path, bytes_max, |facts| facts.mode() & 0o077 == 0)
}

/// Reads a credential that systemd passed: as [`read_secret_file`], but one that belongs
/// to root may be readable by its group. For a service that runs as a user of its own,
/// systemd lets that user in through an access control list, and what such a list
/// allows at most stands where the bits of the group are.
///
/// # Errors
/// [`SecretFileError`] says what is wrong with the file.
pub fn read_credential_file(
    path: &Path,
    bytes_max: usize,
) -> Result<Zeroizing<Vec<u8>>, SecretFileError> {
    read(path, bytes_max, |facts| {
        let forbidden = if facts.uid() == 0 { 0o037 } else { 0o077 };
        facts.mode() & forbidden == 0
    })
}

fn read(
    path: &Path,
    bytes_max: usize,
    is_private: impl FnOnce(&Metadata) -> bool,
) -> Result<Zeroizing<Vec<u8>>, SecretFileError> {
    let io = |source| SecretFileError::Io {
        path: path.to_owned(),
        source,
    };
    let file = File::open(path).map_err(io)?;
    let facts = file.metadata().map_err(io)?;
    if !is_private(&facts) {
        return Err(SecretFileError::Exposed {
            path: path.to_owned(),
            mode: facts.mode() & 0o777,
        });
    }
    // Room for one byte too many: the buffer never moves and leaves no copy behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(bytes_max + 1));
    let limit = u64::try_from(bytes_max)
        .unwrap_or(u64::MAX)
        .saturating_add(1);
    if facts.is_file() {
        file.take(limit).read_to_end(&mut bytes).map_err(io)?;
    }
    if !facts.is_file() || bytes.len() > bytes_max {
        return Err(SecretFileError::Unsuitable {
            path: path.to_owned(),
            bytes_max,
        });
    }
    Ok(bytes)
}

/// A file that changed later than this may change once more within the same tick of its file
/// system's clock: two seconds is the coarsest there is.
const STAMP_AGE_MIN: Duration = Duration::from_secs(2);

/// What is told of a file by its file system: where it is the same, so are what is in the file
/// and who may read it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SecretStamp {
    file: (u64, u64),
    size: u64,
    mode: u32,
    changed: (i64, i64),
}

/// The stamp of the file that a path leads to now. None where it says nothing: the file is not
/// there, or changed just now.
#[must_use]
pub fn secret_stamp(path: &Path) -> Option<SecretStamp> {
    stamp_at(path, SystemTime::now())
}

fn stamp_at(path: &Path, now: SystemTime) -> Option<SecretStamp> {
    let facts = std::fs::metadata(path).ok()?;
    let secs = Duration::from_secs(u64::try_from(facts.ctime()).ok()?);
    let age = now.duration_since(SystemTime::UNIX_EPOCH + secs).ok()?;
    (age > STAMP_AGE_MIN).then(|| SecretStamp {
        file: (facts.dev(), facts.ino()),
        size: facts.size(),
        mode: facts.mode(),
        changed: (facts.ctime(), facts.ctime_nsec()),
    })
}

#[cfg(test)]
mod tests {
    use std::{
        fs,
        os::unix::fs::{PermissionsExt, chown},
    };

    use super::*;

    #[test]
    fn a_secret_that_others_can_read_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("secret");
        fs::write(&path, "hush").unwrap();
        for (mode, good) in [(0o600, true), (0o400, true), (0o640, false), (0o604, false)] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            let read = read_secret_file(&path, 4);
            assert_eq!(read.is_ok(), good, "{mode:o}: {read:?}");
        }
    }

    #[test]
    fn a_file_that_changes_has_another_stamp_and_none_at_first() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("secret");
        assert_eq!(secret_stamp(&path), None);
        fs::write(&path, "hush").unwrap();
        assert_eq!(secret_stamp(&path), None, "it may change once more");
        let later = SystemTime::now() + 2 * STAMP_AGE_MIN;
        let of = |path: &Path| stamp_at(path, later).unwrap();
        let first = of(&path);
        assert_eq!(of(&path), first);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        let exposed = of(&path);
        assert_ne!(exposed, first);
        let other = dir.path().join("other");
        fs::write(&other, "hash").unwrap();
        fs::rename(&other, &path).unwrap();
        assert_ne!(of(&path), exposed);
    }

    #[test]
    fn a_credential_of_root_may_have_the_bit_of_an_access_list_and_no_other_file() {
        if !rustix::process::geteuid().is_root() {
            eprintln!("left out: only root can make a file of root's");
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("secret");
        fs::write(&path, "hush").unwrap();
        for (mode, owner, good) in [
            (0o400, 0, true),
            (0o440, 0, true),
            (0o460, 0, false),
            (0o444, 0, false),
            (0o440, 12_345, false),
            (0o400, 12_345, true),
        ] {
            chown(&path, Some(owner), None).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            let read = read_credential_file(&path, 4);
            assert_eq!(read.is_ok(), good, "{mode:o} of {owner}: {read:?}");
        }
        chown(&path, Some(0), None).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o440)).unwrap();
        assert!(read_secret_file(&path, 4).is_err());
    }

    #[test]
    fn a_directory_and_a_file_too_large_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("secret");
        fs::write(&path, "hush").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o700)).unwrap();
        for (path, bytes_max) in [(path.as_path(), 3), (dir.path(), 100)] {
            let read = read_secret_file(path, bytes_max);
            assert!(matches!(read, Err(SecretFileError::Unsuitable { .. })));
        }
    }
}
