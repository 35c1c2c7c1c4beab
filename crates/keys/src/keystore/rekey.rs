//! Another root key for the same keystore.

use std::{
    io::ErrorKind,
    path::{Path, PathBuf},
};

use sealift_terms::{
    limits::KEYSTORE_BYTES_MAX,
    world::{read_file, replace_file},
};

use super::{LocalKeystore, io, parse};
use crate::{KeyError, RootSecret};

impl LocalKeystore {
    /// Seals the keystore under another root key, in one step. The file under the one
    /// before stays beside it until [`settle_rekey`](Self::settle_rekey).
    ///
    /// # Errors
    /// [`KeyError::RekeyUnsettled`] when that was not done since the last time; what the
    /// disk says. The old root key is still the one then.
    pub fn rekey(&self, secret: RootSecret) -> Result<(), KeyError> {
        let disk = &*self.world.disk;
        let before = before(&self.path);
        let at = |path: &Path| {
            let path = path.to_owned();
            move |source| io(&path, source)
        };
        self.change_under(Some(secret), |body| {
            match read_file(disk, &before, KEYSTORE_BYTES_MAX) {
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                // Left by a try that failed: the root key is still the one of then.
                Ok(file) if parse(&self.secret.read(), "", &file).is_ok() => {}
                Ok(_) => {
                    let path = before.clone();
                    return Err(KeyError::RekeyUnsettled { path });
                }
                Err(error) => return Err(io(&before, error)),
            }
            let file = read_file(disk, &self.path, KEYSTORE_BYTES_MAX);
            let file = file.map_err(at(&self.path))?;
            replace_file(disk, &before, &file).map_err(at(&before))?;
            body.rekeyed_at = body.sequence;
            Ok(())
        })
    }

    /// Removes what is still sealed under the root key before this one. Whoever calls it
    /// has opened the keystore with the root key that is configured.
    ///
    /// # Errors
    /// What the disk says.
    pub fn settle_rekey(&self) -> Result<bool, KeyError> {
        let before = before(&self.path);
        match read_file(&*self.world.disk, &before, KEYSTORE_BYTES_MAX) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(false),
            _ => {}
        }
        // The copies first: as long as the file is there, this is done again.
        self.change(|body| {
            body.copies_from = body.copies_from.max(body.rekeyed_at);
            Ok(())
        })?;
        let removed = self.world.disk.remove_file(&before);
        removed.map_err(|source| io(&before, source))?;
        let folder = before.parent().unwrap_or(Path::new("."));
        let synced = self.world.disk.sync_dir(folder);
        synced.map_err(|source| io(folder, source))?;
        Ok(true)
    }
}

/// Where the file under the root key before is kept.
pub(super) fn before(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".old-root-key");
    name.into()
}

/// Whether `secret` is the root key before the one that the keystore is sealed under now.
pub(super) fn is_before(disk: &dyn sealift_terms::Disk, path: &Path, secret: &RootSecret) -> bool {
    let file = read_file(disk, &before(path), KEYSTORE_BYTES_MAX);
    file.is_ok_and(|file| parse(secret, "", &file).is_ok())
}
