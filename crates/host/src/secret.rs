//! Files that hold secrets.

use std::{
    fs::File,
    io::{self, Read},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
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
    let io = |source| SecretFileError::Io {
        path: path.to_owned(),
        source,
    };
    let file = File::open(path).map_err(io)?;
    let facts = file.metadata().map_err(io)?;
    let mode = facts.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(SecretFileError::Exposed {
            path: path.to_owned(),
            mode,
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

#[cfg(test)]
mod tests {
    use std::fs;

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
