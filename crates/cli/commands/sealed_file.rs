//! Backups as files: for their owner alone, and believed only when they were
//! opened where they rest.

use std::{
    ffi::OsString,
    fs::{self, File, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use sealift_agent::Error;

/// Writes a file, mode 0600, reads it back and lets `verify` open it; only then it
/// takes its name, and the place of an older one.
pub(super) fn write_verified<T>(
    path: &Path,
    bytes: &[u8],
    verify: impl FnOnce(&[u8]) -> Result<T, Error>,
) -> Result<T, Error> {
    let new = beside(path);
    let outcome = write(&new, bytes)
        .map_err(Error::io("write", &new))
        .and_then(|()| read(&new, bytes.len()))
        .and_then(|read| verify(&read))
        .and_then(|verified| {
            publish(&new, path).map_err(Error::io("write", path))?;
            Ok(verified)
        });
    if outcome.is_err() {
        // An older backup of this name stays; the new one is none.
        let _ = fs::remove_file(&new);
    }
    outcome
}

/// Reads a file of so many bytes at most.
pub(super) fn read(path: &Path, bytes_max: usize) -> Result<Vec<u8>, Error> {
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(Error::io("read", path))?;
    file.take(bytes_max as u64 + 1)
        .read_to_end(&mut bytes)
        .map_err(Error::io("read", path))?;
    if bytes.len() > bytes_max {
        return Err(Error::Request {
            what: "backup",
            found: format!("{} is larger", path.display()),
            allowed: format!("{bytes_max} bytes"),
        });
    }
    Ok(bytes)
}

fn beside(path: &Path) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(".new");
    name.into()
}

fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

fn publish(new: &Path, path: &Path) -> io::Result<()> {
    fs::rename(new, path)?;
    let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty());
    File::open(dir.unwrap_or(Path::new(".")))?.sync_all()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn what_does_not_verify_takes_no_name_and_no_place() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("backup");
        let verified = write_verified(&path, b"one", |bytes| Ok(bytes.len())).unwrap();
        assert_eq!(verified, 3);
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let refused = write_verified(&path, b"two", |_| Err::<(), _>(Error::Cancelled));
        assert!(refused.is_err());
        assert_eq!(read(&path, 3).unwrap(), b"one");
        assert!(read(&path, 2).is_err());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}
