//! The root of a directory source, and what is seen below it.

use std::{
    collections::BTreeMap,
    io,
    os::fd::{AsFd, OwnedFd},
    path::{Path, PathBuf},
    sync::{Arc, OnceLock},
    time::Duration,
};

use rustix::{
    fs::{CWD, FileType, Mode, OFlags, ResolveFlags, Stat},
    io::Errno,
};
use sealift_terms::{Clock, ObjectFacts, ObjectKey, Timestamp, VersionId};

use super::settling::Settling;
use crate::{Listed, StoreError};

const DIRECTORY: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::CLOEXEC)
    .union(OFlags::NOFOLLOW);

/// The directory that is the source, known by device and inode from the first time
/// it is there: another one in its place (an empty mount point, say) is not taken
/// for it.
#[derive(Debug)]
pub(super) struct Root {
    path: PathBuf,
    found: OnceLock<Found>,
    pub(super) clock: Arc<dyn Clock>,
}

#[derive(Debug)]
struct Found {
    /// Its own path. The root may be reached through a link: its owner wrote it down.
    path: PathBuf,
    device: u64,
    inode: u64,
}

impl Root {
    /// A root that need not be there yet.
    pub(super) fn new(path: &Path, clock: Arc<dyn Clock>) -> Self {
        Self {
            path: path.to_owned(),
            found: OnceLock::new(),
            clock,
        }
    }

    pub(super) fn path(&self) -> &Path {
        self.found.get().map_or(&self.path, |found| &found.path)
    }

    /// Opens the root, if it is still the one it was.
    pub(super) fn open(&self) -> Result<OwnedFd, StoreError> {
        let found = match self.found.get() {
            Some(found) => found,
            None => self.find()?,
        };
        let fail = |errno: Errno| unavailable(&found.path, errno.into());
        let root = open_directory(CWD, &found.path).map_err(fail)?;
        let stat = rustix::fs::fstat(&root).map_err(fail)?;
        if (stat.st_dev, stat.st_ino) == (found.device, found.inode) {
            return Ok(root);
        }
        let message =
            "another directory is in its place (unmounted?); restart to take it as the source";
        Err(unavailable(
            &found.path,
            io::Error::new(io::ErrorKind::NotFound, message),
        ))
    }

    fn find(&self) -> Result<&Found, StoreError> {
        let path = self.path.canonicalize();
        let path = path.map_err(|error| unavailable(&self.path, error))?;
        let stat = open_directory(CWD, &path)
            .and_then(|root| rustix::fs::fstat(&root))
            .map_err(|errno| unavailable(&path, errno.into()))?;
        // Of two threads that find it at once the first decides.
        Ok(self.found.get_or_init(|| Found {
            path,
            device: stat.st_dev,
            inode: stat.st_ino,
        }))
    }

    /// Opens a file below the root, following no link on the way.
    pub(super) fn open_beneath(&self, key: &ObjectKey, how: OFlags) -> Result<OwnedFd, StoreError> {
        self.open_below(&self.open()?, key, how)
    }

    /// As [`open_beneath`](Self::open_beneath), below a root that was opened a moment ago.
    pub(super) fn open_below(
        &self,
        root: &OwnedFd,
        key: &ObjectKey,
        how: OFlags,
    ) -> Result<OwnedFd, StoreError> {
        let plain = |segment: &str| !matches!(segment, "" | "." | "..");
        if !key.as_str().split('/').all(plain) {
            return Err(StoreError::SourceGone);
        }
        let mut how = how | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        if !how.contains(OFlags::PATH) {
            // A named pipe must not hold us up; beside O_PATH the flag is refused.
            how |= OFlags::NONBLOCK;
        }
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
        match rustix::fs::openat2(root, key.as_str(), how, Mode::empty(), resolve) {
            Err(Errno::NOSYS | Errno::PERM) => step_by_step(root, key, how),
            opened => opened,
        }
        .map_err(|errno| self.refused(key, errno))
    }

    /// Looks at one key; none when no such file is there.
    pub(super) fn look(&self, key: &ObjectKey) -> Result<Option<Seen>, StoreError> {
        let seen = self
            .open_beneath(key, OFlags::PATH)
            .and_then(|file| rustix::fs::fstat(&file).map_err(|errno| self.refused(key, errno)));
        match seen.and_then(|stat| Seen::new(&stat)) {
            Ok(seen) => Ok(Some(seen)),
            Err(StoreError::SourceGone) => Ok(None),
            Err(error) => Err(error),
        }
    }

    pub(super) fn refused(&self, key: &ObjectKey, errno: Errno) -> StoreError {
        let path = self.path().join(key.as_str());
        match errno {
            Errno::NOENT | Errno::NOTDIR => StoreError::SourceGone,
            Errno::LOOP | Errno::XDEV => StoreError::SourceUnsupported {
                evidence: "a symbolic link".to_owned(),
            },
            Errno::ACCESS | Errno::PERM => StoreError::SourceDenied {
                path: path.display().to_string(),
                source: errno.into(),
            },
            errno => unavailable(&path, errno.into()),
        }
    }
}

/// Opens a directory, not through a link in the last place.
pub(super) fn open_directory(above: impl AsFd, path: &Path) -> rustix::io::Result<OwnedFd> {
    rustix::fs::openat(above, path, DIRECTORY, Mode::empty())
}

/// What `openat2` does, where there is none.
fn step_by_step(root: &OwnedFd, key: &ObjectKey, how: OFlags) -> rustix::io::Result<OwnedFd> {
    let mut above = rustix::io::fcntl_dupfd_cloexec(root, 0)?;
    let (directories, file) = key.as_str().rsplit_once('/').unwrap_or(("", key.as_str()));
    for segment in directories.split('/').filter(|segment| !segment.is_empty()) {
        above = open_directory(&above, Path::new(segment))?;
    }
    rustix::fs::openat(&above, file, how, Mode::empty())
}

pub(super) fn unavailable(path: &Path, source: io::Error) -> StoreError {
    StoreError::SourceUnavailable {
        path: path.display().to_string(),
        source,
    }
}

/// What the file system says of one plain file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Seen {
    modified_ns: i64,
    changed_ns: i64,
    inode: u64,
    size: u64,
    mode: u32,
}

impl Seen {
    /// Takes a plain file; anything else is no object.
    pub(super) fn new(stat: &Stat) -> Result<Self, StoreError> {
        let kind = FileType::from_raw_mode(stat.st_mode);
        if kind != FileType::RegularFile {
            return Err(StoreError::SourceUnsupported {
                evidence: describe(kind).to_owned(),
            });
        }
        let nanos = |secs: i64, nanos: u64| {
            secs.saturating_mul(1_000_000_000)
                .saturating_add(i64::try_from(nanos).unwrap_or_default())
        };
        #[allow(
            clippy::useless_conversion,
            reason = "the field is 32 bits wide on some machines"
        )]
        let seen = Self {
            modified_ns: nanos(stat.st_mtime, stat.st_mtime_nsec.into()),
            changed_ns: nanos(stat.st_ctime, stat.st_ctime_nsec.into()),
            inode: stat.st_ino,
            size: u64::try_from(stat.st_size).unwrap_or_default(),
            mode: stat.st_mode,
        };
        Ok(seen)
    }

    /// The version id: times of modification and change, inode, length.
    pub(super) fn version(&self) -> Result<VersionId, StoreError> {
        let Self {
            modified_ns,
            changed_ns,
            inode,
            size,
            ..
        } = self;
        Ok(VersionId::new(format!(
            "{modified_ns:016x}-{changed_ns:016x}-{inode:016x}-{size:016x}"
        ))?)
    }

    /// When the file was last written, linked or given other attributes, by its version id.
    /// When it was modified is what somebody said, and may be anything.
    pub(super) fn changed(version: &VersionId) -> Option<Timestamp> {
        let mut parts = version.as_str().split('-');
        let parts: [_; 5] = std::array::from_fn(|_| parts.next());
        let [Some(_), Some(changed), Some(_), Some(_), None] = parts else {
            return None;
        };
        let changed_ns = u64::from_str_radix(changed, 16).ok()?.cast_signed();
        Some(Timestamp::from_millis(changed_ns.div_euclid(1_000_000)))
    }

    pub(super) fn facts(&self) -> ObjectFacts {
        let mode = format!("{:04o}", self.mode & 0o7777);
        ObjectFacts {
            size: self.size,
            system: BTreeMap::from([("posix-mode".to_owned(), mode)]),
            last_modified: Some(Timestamp::from_millis(
                self.modified_ns.div_euclid(1_000_000),
            )),
            ..ObjectFacts::default()
        }
    }

    /// Time since the file was last written, linked or given other attributes.
    pub(super) fn age(&self, now: Timestamp) -> Duration {
        now.since(Timestamp::from_millis(
            self.changed_ns.div_euclid(1_000_000),
        ))
    }

    /// How long two changes in a row may carry the same time of change: longer
    /// than a tick of the kernel's clock, or 2 s where only whole seconds are kept.
    pub(super) fn stamp_grain(&self) -> Duration {
        if self.changed_ns % 1_000_000_000 == 0 {
            Duration::from_secs(2)
        } else {
            Duration::from_millis(20)
        }
    }

    /// How long to wait before it is read, so that no other change has its stamps.
    pub(super) fn too_young(&self, now: Timestamp) -> Option<Duration> {
        let left = self.stamp_grain().checked_sub(self.age(now))?;
        (!left.is_zero()).then_some(left)
    }

    pub(super) fn listed(&self, key: ObjectKey, settling: &Settling) -> Result<Listed, StoreError> {
        let settled = settling.is_settled(&key, self);
        Ok(Listed {
            version: self.version()?,
            facts: self.facts(),
            settled,
            history: crate::History::default(),
            key,
        })
    }
}

/// What a thing that is no plain file is called.
pub(super) fn describe(kind: FileType) -> &'static str {
    match kind {
        FileType::Symlink => "a symbolic link",
        FileType::Directory => "a directory",
        FileType::Fifo => "a named pipe",
        FileType::Socket => "a socket",
        FileType::CharacterDevice | FileType::BlockDevice => "a device",
        _ => "not a plain file",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_not_read_before_another_change_would_have_other_stamps() {
        let seen = |changed_ns| Seen {
            modified_ns: 0,
            changed_ns,
            inode: 1,
            size: 1,
            mode: 0o100_644,
        };
        let after = |ms: i64| Timestamp::from_millis(5000 + ms);
        // Whole seconds: the file system may keep no others.
        let coarse = seen(5_000_000_000);
        let wait = |ms| coarse.too_young(after(ms)).map(|wait| wait.as_millis());
        assert_eq!((wait(0), wait(1500)), (Some(2000), Some(500)));
        assert_eq!((wait(2000), wait(9000)), (None, None));
        let fine = seen(5_000_000_001);
        let wait = |ms| fine.too_young(after(ms)).map(|wait| wait.as_millis());
        assert_eq!((wait(0), wait(15), wait(20)), (Some(20), Some(5), None));
    }

    #[test]
    fn a_version_id_tells_when_its_file_was_last_changed_whatever_its_times_were_set_to() {
        let seen = Seen {
            modified_ns: -1,
            changed_ns: 5_000_999_999,
            inode: 1,
            size: 1,
            mode: 0o100_644,
        };
        let version = seen.version().unwrap();
        assert_eq!(Seen::changed(&version), Some(Timestamp::from_millis(5000)));
        for other in ["v1", "1-x-2-3", "deleted-00000000000000000"] {
            assert_eq!(Seen::changed(&VersionId::new(other).unwrap()), None);
        }
    }

    #[test]
    fn without_openat2_a_file_is_reached_step_by_step_and_through_no_link() {
        let temp = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(temp.path().join("a/b")).unwrap();
        std::fs::write(temp.path().join("a/b/file"), b"x").unwrap();
        std::os::unix::fs::symlink("a", temp.path().join("link")).unwrap();
        std::os::unix::fs::symlink("a/b/file", temp.path().join("last")).unwrap();
        let open = |key: &str| {
            let root = open_directory(CWD, temp.path()).unwrap();
            let how = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
            step_by_step(&root, &ObjectKey::new(key).unwrap(), how).map(drop)
        };
        assert_eq!(open("a/b/file"), Ok(()));
        assert_eq!(open("a/b/none"), Err(Errno::NOENT));
        assert!(open("link/b/file").is_err());
        assert_eq!(open("last"), Err(Errno::LOOP));
    }
}
