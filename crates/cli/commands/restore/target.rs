//! Files beneath one directory, reached step by step: no symbolic link is followed
//! on the way, and nothing is opened by a path.

use std::{
    fs::{self, File},
    io::{self, Write},
    os::fd::OwnedFd,
    path::{Path, PathBuf},
};

use rustix::fs::{
    AtFlags, FileType, Mode, OFlags, RenameFlags, Timespec, Timestamps, UTIME_OMIT, fchmod,
    futimens, mkdirat, openat, renameat_with, statat, syncfs, unlinkat,
};
use sealift_agent::{Error, admin::ObjectRow};
use sealift_terms::Timestamp;

/// The name of a file that is not whole yet: one in each directory.
const PART_NAME: &str = ".sealift.part";
/// The longest name in a directory.
const NAME_BYTES_MAX: usize = 255;

/// Whether a key is a path that leads beneath a directory and nowhere else.
pub(super) fn is_safe(key: &str) -> bool {
    let is_name =
        |name: &str| !matches!(name, "" | "." | ".." | PART_NAME) && name.len() <= NAME_BYTES_MAX;
    key.split('/').all(is_name)
}

/// The directory that is restored into.
#[derive(Debug)]
pub(super) struct Target {
    path: PathBuf,
    dir: OwnedFd,
}

/// Where one object goes.
#[derive(Debug)]
pub(super) struct Place {
    dir: OwnedFd,
    name: String,
    path: PathBuf,
}

/// What is there already.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) is_file: bool,
    size: u64,
    modified: Timestamp,
}

/// A file being written.
#[derive(Debug)]
pub(super) struct Part<'a> {
    place: &'a Place,
    file: File,
}

impl Target {
    /// Opens the directory, made if it is missing. The user named it: a link that
    /// leads to it is followed.
    pub(super) fn open(path: &Path) -> Result<Self, Error> {
        if path.is_file() {
            let no_directory = io::ErrorKind::NotADirectory.into();
            return Err(Error::io("restore into", path)(no_directory));
        }
        fs::create_dir_all(path).map_err(Error::io("make", path))?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let opened = rustix::fs::open(path, flags, Mode::empty());
        let dir = opened.map_err(|error| Error::io("open", path)(error.into()))?;
        Ok(Self {
            path: path.to_owned(),
            dir,
        })
    }

    /// Makes and opens the directories above a key that is safe.
    pub(super) fn place(&self, key: &str) -> io::Result<Place> {
        let (above, name) = key.rsplit_once('/').unwrap_or(("", key));
        let mut dir = self.dir.try_clone()?;
        for step in above.split('/').filter(|step| !step.is_empty()) {
            match mkdirat(&dir, step, Mode::from_raw_mode(0o755)) {
                Ok(()) | Err(rustix::io::Errno::EXIST) => {}
                Err(error) => return Err(error.into()),
            }
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            dir = openat(&dir, step, flags, Mode::empty())?;
        }
        Ok(Place {
            dir,
            name: name.to_owned(),
            path: self.path.join(key),
        })
    }

    /// Makes what was restored durable.
    pub(super) fn sync(&self) -> Result<(), Error> {
        syncfs(&self.dir).map_err(|error| Error::io("sync", &self.path)(error.into()))
    }
}

impl Place {
    /// For messages.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// What is at this place.
    pub(super) fn found(&self) -> io::Result<Option<Found>> {
        let stat = match statat(&self.dir, &*self.name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => stat,
            Err(rustix::io::Errno::NOENT) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let millis = i64::try_from(stat.st_mtime_nsec / 1_000_000).unwrap_or(0);
        Ok(Some(Found {
            is_file: FileType::from_raw_mode(stat.st_mode).is_file(),
            size: u64::try_from(stat.st_size).unwrap_or(0),
            modified: Timestamp::from_millis(stat.st_mtime * 1000 + millis),
        }))
    }

    /// Begins to write beside the place. What an earlier try left goes.
    pub(super) fn begin(&self) -> io::Result<Part<'_>> {
        self.abandon();
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let file = openat(&self.dir, PART_NAME, flags, Mode::from_raw_mode(0o600))?;
        Ok(Part {
            place: self,
            file: file.into(),
        })
    }

    /// Removes what is not whole.
    pub(super) fn abandon(&self) {
        // Nothing is there, as a rule.
        let _ = unlinkat(&self.dir, PART_NAME, AtFlags::empty());
    }
}

impl Found {
    /// Whether an earlier restore put this object there.
    pub(super) fn is(&self, row: &ObjectRow) -> bool {
        self.is_file && self.size == row.size && Some(self.modified) == row.last_modified
    }
}

impl Part<'_> {
    pub(super) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all(bytes)
    }

    /// Gives it permissions, time, and its own name. Without `force` nothing that
    /// appeared there meanwhile is replaced.
    pub(super) fn finish(self, row: &ObjectRow, force: bool) -> io::Result<()> {
        let mode = row
            .mode
            .as_deref()
            .and_then(|mode| u32::from_str_radix(mode, 8).ok());
        // Never a file that runs as another user.
        let mode = mode.unwrap_or(0o644) & 0o777;
        fchmod(&self.file, Mode::from_raw_mode(mode))?;
        if let Some(modified) = row.last_modified {
            futimens(&self.file, &times(modified))?;
        }
        let flags = match force {
            true => RenameFlags::empty(),
            false => RenameFlags::NOREPLACE,
        };
        let Place { dir, name, .. } = self.place;
        Ok(renameat_with(dir, PART_NAME, dir, &**name, flags)?)
    }
}

fn times(modified: Timestamp) -> Timestamps {
    let millis = modified.as_millis();
    let omitted = Timespec {
        tv_sec: 0,
        tv_nsec: UTIME_OMIT,
    };
    Timestamps {
        last_access: omitted,
        last_modification: Timespec {
            tv_sec: millis.div_euclid(1000),
            tv_nsec: millis.rem_euclid(1000) * 1_000_000,
        },
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use sealift_terms::{BucketName, ChangeKind, ObjectKey, Status, VersionId};

    use super::*;

    fn row(key: &str, size: u64) -> ObjectRow {
        ObjectRow {
            bucket: BucketName::new("b").unwrap(),
            key: ObjectKey::new(key).unwrap(),
            version: VersionId::new("v").unwrap(),
            kind: ChangeKind::Put,
            size,
            status: Status::Replica,
            reason: None,
            peer: None,
            latest: true,
            last_modified: Some(Timestamp::from_millis(1_500_000_000_123)),
            mode: Some("4750".to_owned()),
            stored_at: None,
            sealing: None,
            removal_held: false,
            facts: None,
        }
    }

    #[test]
    fn only_paths_that_stay_beneath_are_safe() {
        for good in ["a", "a/b", ".a", "...", "ä/ b"] {
            assert!(is_safe(good), "{good}");
        }
        let long = "x".repeat(256);
        for bad in [
            "/a",
            "a/",
            "a//b",
            "..",
            "../x",
            "a/../b",
            ".",
            "a/.",
            ".sealift.part",
            &long,
        ] {
            assert!(!is_safe(bad), "{bad}");
        }
    }

    #[test]
    fn a_file_appears_whole_with_permissions_and_time_and_is_known_again() {
        let dir = tempfile::tempdir().unwrap();
        let target = Target::open(&dir.path().join("new")).unwrap();
        let place = target.place("a/b/c").unwrap();
        assert!(place.found().unwrap().is_none());
        let mut part = place.begin().unwrap();
        part.write(b"text").unwrap();
        assert!(place.found().unwrap().is_none());
        part.finish(&row("a/b/c", 4), false).unwrap();
        let path = dir.path().join("new/a/b/c");
        assert_eq!(fs::read(&path).unwrap(), b"text");
        assert_eq!(
            fs::metadata(&path).unwrap().permissions().mode() & 0o7777,
            0o750
        );
        let found = place.found().unwrap().unwrap();
        assert!(found.is(&row("a/b/c", 4)) && !found.is(&row("a/b/c", 5)));
        // What appeared meanwhile stays, unless it is to be replaced.
        let part = place.begin().unwrap();
        assert!(part.finish(&row("a/b/c", 0), false).is_err());
        let part = place.begin().unwrap();
        part.finish(&row("a/b/c", 0), true).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"");
    }

    #[test]
    fn no_symbolic_link_is_followed() {
        let dir = tempfile::tempdir().unwrap();
        let (outside, inside) = (dir.path().join("outside"), dir.path().join("inside"));
        fs::create_dir(&outside).unwrap();
        let target = Target::open(&inside).unwrap();
        symlink(&outside, inside.join("link")).unwrap();
        assert!(target.place("link/f").is_err());
        symlink(outside.join("f"), inside.join("file")).unwrap();
        let place = target.place("file").unwrap();
        assert!(!place.found().unwrap().unwrap().is_file);
        symlink(outside.join("f"), inside.join(PART_NAME)).unwrap();
        place.begin().unwrap().write(b"x").unwrap();
        assert!(fs::read_dir(&outside).unwrap().next().is_none());
    }
}
