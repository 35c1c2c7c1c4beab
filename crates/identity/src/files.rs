//! Files of certificates and keys: what may be read, and how they are written.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt},
    path::Path,
};

use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use sealift_terms::limits;
use zeroize::Zeroizing;

use crate::error::IdentityError;

/// Mode of a file that holds a secret.
const SECRET_MODE: u32 = 0o600;
/// Mode of a file that anyone may read.
const PUBLIC_MODE: u32 = 0o644;
/// Mode of a directory that holds secrets.
const DIR_MODE: u32 = 0o700;

/// Reads a public file of bounded length.
pub(crate) fn read_public(path: &Path, bytes_max: usize) -> Result<Vec<u8>, IdentityError> {
    let file = open(path)?;
    let mut bytes = Vec::new();
    read_bounded(path, file, bytes_max, &mut bytes)?;
    Ok(bytes)
}

/// Reads a secret of bounded length that nobody but its owner may read. Symbolic
/// links are followed, as orchestrators mount secrets behind them: what counts is
/// the open file they lead to.
pub(crate) fn read_secret(
    path: &Path,
    bytes_max: usize,
) -> Result<Zeroizing<Vec<u8>>, IdentityError> {
    let file = open(path)?;
    let mode = file
        .metadata()
        .map_err(failed("read", path))?
        .permissions()
        .mode()
        & 0o777;
    if mode & 0o077 != 0 {
        let path = path.to_owned();
        return Err(IdentityError::SecretExposed { path, mode });
    }
    // Room for one byte too many: the buffer never moves and leaves no copy behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(bytes_max + 1));
    read_bounded(path, file, bytes_max, &mut bytes)?;
    Ok(bytes)
}

fn open(path: &Path) -> Result<File, IdentityError> {
    let file = File::open(path).map_err(failed("read", path))?;
    let is_file = file.metadata().map_err(failed("read", path))?.is_file();
    if is_file {
        Ok(file)
    } else {
        Err(content(path, "is not a plain file"))
    }
}

fn read_bounded(
    path: &Path,
    file: File,
    bytes_max: usize,
    bytes: &mut Vec<u8>,
) -> Result<(), IdentityError> {
    let limit = u64::try_from(bytes_max)
        .unwrap_or(u64::MAX)
        .saturating_add(1);
    file.take(limit)
        .read_to_end(bytes)
        .map_err(failed("read", path))?;
    if bytes.len() > bytes_max {
        return Err(content(path, &format!("is larger than {bytes_max} bytes")));
    }
    Ok(())
}

/// Writes a secret, mode 0600, replacing an older one in one step.
pub(crate) fn write_secret(path: &Path, bytes: &[u8]) -> Result<(), IdentityError> {
    replace(path, bytes, SECRET_MODE).map_err(failed("write", path))
}

/// Writes a public file, replacing an older one in one step.
pub(crate) fn write_public(path: &Path, bytes: &[u8]) -> Result<(), IdentityError> {
    replace(path, bytes, PUBLIC_MODE).map_err(failed("write", path))
}

fn replace(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let mut name = path.as_os_str().to_owned();
    name.push(".new");
    let new = Path::new(&name);
    match fs::remove_file(new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let written = create(new, bytes, mode).and_then(|()| fs::rename(new, path));
    if written.is_err() {
        // Half written, it is of no use to anybody. What failed is told, not this.
        let _ = fs::remove_file(new);
    }
    written?;
    let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty());
    File::open(dir.unwrap_or(Path::new(".")))?.sync_all()
}

fn create(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// Makes what was renamed in a directory durable.
pub(crate) fn sync_dir(dir: &Path) -> Result<(), IdentityError> {
    let synced = File::open(dir).and_then(|dir| dir.sync_all());
    synced.map_err(failed("write", dir))
}

/// Makes a directory and those above it, for the owner alone.
pub(crate) fn create_dir(path: &Path) -> Result<(), IdentityError> {
    let made = DirBuilder::new()
        .recursive(true)
        .mode(DIR_MODE)
        .create(path);
    made.map_err(failed("write", path))
}

/// The certificates in PEM text: at least one, at most a chain's worth.
pub(crate) fn certificates_from_pem(
    pem: &[u8],
    count_max: usize,
) -> Result<Vec<CertificateDer<'static>>, IdentityError> {
    let malformed = |what: String| IdentityError::Certificate { what };
    let mut certificates = Vec::new();
    for certificate in CertificateDer::pem_slice_iter(pem) {
        certificates.push(certificate.map_err(|error| malformed(format!("bad PEM, {error}")))?);
        if certificates.len() > count_max {
            return Err(malformed(format!("more than {count_max} certificates")));
        }
    }
    if certificates.is_empty() {
        return Err(malformed(
            "no CERTIFICATE section in the PEM text".to_owned(),
        ));
    }
    Ok(certificates)
}

/// The private key in PEM text.
pub(crate) fn private_key_from_pem(pem: &[u8]) -> Result<PrivateKeyDer<'static>, IdentityError> {
    PrivateKeyDer::from_pem_slice(pem).map_err(|_| IdentityError::PrivateKey(None))
}

pub(crate) fn read_certificates(
    path: &Path,
) -> Result<Vec<CertificateDer<'static>>, IdentityError> {
    let pem = read_public(path, limits::CERTIFICATE_FILE_BYTES_MAX)?;
    certificates_from_pem(&pem, limits::CERTIFICATE_CHAIN_MAX).map_err(|error| in_file(path, error))
}

/// Says in which file an error lies.
pub(crate) fn in_file(path: &Path, error: IdentityError) -> IdentityError {
    content(path, &error.to_string())
}

pub(crate) fn content(path: &Path, what: &str) -> IdentityError {
    IdentityError::FileContent {
        path: path.to_owned(),
        what: what.to_owned(),
    }
}

pub(crate) fn failed(act: &'static str, path: &Path) -> impl Fn(io::Error) -> IdentityError {
    let path = path.to_owned();
    move |source| IdentityError::File {
        act,
        path: path.clone(),
        source,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_that_others_can_read_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        write_secret(&path, b"hush").unwrap();
        assert_eq!(
            fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o600
        );
        for (mode, good) in [(0o600, true), (0o400, true), (0o640, false), (0o604, false)] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            let read = read_secret(&path, 4);
            assert_eq!(read.is_ok(), good, "{mode:o}");
            if let Err(error) = read {
                assert!(
                    matches!(error, IdentityError::SecretExposed { .. }),
                    "{error}"
                );
            }
        }
    }

    #[test]
    fn files_are_replaced_whole_and_read_within_bounds() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        write_public(&path, b"one").unwrap();
        write_public(&path, b"four").unwrap();
        assert_eq!(read_public(&path, 4).unwrap(), b"four");
        assert!(read_public(&path, 3).is_err());
        assert!(read_public(dir.path(), 3).is_err());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_file_that_cannot_be_written_leaves_nothing_half_written() {
        let dir = tempfile::tempdir().unwrap();
        // No file takes the place of a directory.
        let path = dir.path().join("f");
        fs::create_dir(&path).unwrap();
        assert!(write_secret(&path, b"hush").is_err());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}
