//! Takes a file away: only for one who made sure that nothing of it is lost.

use rustix::{
    fs::{AtFlags, OFlags},
    io::Errno,
};
use sealift_terms::{ObjectKey, VersionId};

use super::{
    DirectorySource, blocking,
    root::{Root, Seen},
};
use crate::StoreError;

impl DirectorySource {
    /// Removes the file of a key, if it is this version still, through no link on the way. It is
    /// gone durably when this returns.
    ///
    /// # Errors
    /// [`StoreError::SourceGone`] and [`StoreError::SourceChanged`] when it is not this version;
    /// [`StoreError::SourceDenied`], and what the disk says.
    pub async fn remove(&self, key: &ObjectKey, version: &VersionId) -> Result<(), StoreError> {
        let (root, key, version) = (self.root.clone(), key.clone(), version.clone());
        blocking(move || remove(&root, &key, &version)).await
    }
}

fn remove(root: &Root, key: &ObjectKey, version: &VersionId) -> Result<(), StoreError> {
    let refused = |errno: Errno| root.refused(key, errno);
    let top = root.open()?;
    let (folder, name) = match key.as_str().rsplit_once('/') {
        None => (top, key.as_str()),
        Some((above, name)) => {
            let above = ObjectKey::new(above)?;
            let how = OFlags::RDONLY | OFlags::DIRECTORY;
            (root.open_below(&top, &above, how)?, name)
        }
    };
    if matches!(name, "" | "." | "..") {
        return Err(StoreError::SourceGone);
    }
    let stat = rustix::fs::statat(&folder, name, AtFlags::SYMLINK_NOFOLLOW).map_err(refused)?;
    let found = Seen::new(&stat)?.version()?;
    if found != *version {
        let evidence = format!("version {version} was to go, {found} is there");
        return Err(StoreError::SourceChanged { evidence });
    }
    rustix::fs::unlinkat(&folder, name, AtFlags::empty()).map_err(refused)?;
    rustix::fs::fsync(&folder).map_err(refused)
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::symlink, sync::Arc};

    use sealift_host::OsClock;

    use super::*;
    use crate::Source;

    fn key(text: &str) -> ObjectKey {
        ObjectKey::new(text).unwrap()
    }

    #[tokio::test]
    async fn a_file_goes_if_it_is_the_version_that_was_seen_and_through_no_link() {
        let dir = tempfile::tempdir().unwrap();
        let (root, outside) = (dir.path().join("root"), dir.path().join("outside"));
        fs::create_dir_all(root.join("deep")).unwrap();
        fs::create_dir(&outside).unwrap();
        for path in ["deep/a", "b"] {
            fs::write(root.join(path), path).unwrap();
        }
        fs::write(outside.join("kept"), "kept").unwrap();
        symlink(&outside, root.join("link")).unwrap();
        symlink(outside.join("kept"), root.join("file")).unwrap();
        let source = DirectorySource::new(&root, Arc::new(OsClock)).unwrap();
        let seen = async |text: &str| source.look(&key(text)).await.unwrap().unwrap().version;
        let (a, b) = (seen("deep/a").await, seen("b").await);
        source.remove(&key("deep/a"), &a).await.unwrap();
        assert!(!root.join("deep/a").exists() && root.join("deep").exists());
        let again = source.remove(&key("deep/a"), &a).await.unwrap_err();
        assert!(matches!(again, StoreError::SourceGone), "{again}");
        // Another content is another version, which nobody has.
        fs::write(root.join("b"), "another").unwrap();
        let changed = source.remove(&key("b"), &b).await.unwrap_err();
        assert!(
            matches!(changed, StoreError::SourceChanged { .. }),
            "{changed}"
        );
        for path in ["link/kept", "file", "deep", "../outside/kept"] {
            assert!(source.remove(&key(path), &b).await.is_err(), "{path}");
        }
        assert!(root.join("b").exists() && outside.join("kept").exists());
    }
}
