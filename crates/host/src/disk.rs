//! The operating system's file system.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io,
    os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt},
    path::Path,
    sync::Arc,
};

use rustix::fs::OFlags;
use sealift_terms::world::{Disk, DiskEntry, DiskFile, Open, Room};

/// Mode of every file that is made.
const FILE_MODE: u32 = 0o600;
/// Mode of every directory that is made.
const DIR_MODE: u32 = 0o700;

/// The operating system's file system.
#[derive(Debug, Clone, Copy, Default)]
pub struct OsDisk;

#[derive(Debug)]
struct OsFile(File);

impl DiskFile for OsFile {
    fn read_exact_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<()> {
        self.0.read_exact_at(bytes, offset)
    }

    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.0.write_all_at(bytes, offset)
    }

    fn sync(&self) -> io::Result<()> {
        // fdatasync: the length is made durable with the data, times are not needed.
        self.0.sync_data()
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    fn has_name(&self) -> io::Result<bool> {
        Ok(self.0.metadata()?.nlink() > 0)
    }
}

impl Disk for OsDisk {
    fn open(&self, path: &Path, how: Open) -> io::Result<Arc<dyn DiskFile>> {
        let mut options = OpenOptions::new();
        options
            .read(true)
            .write(how != Open::Read)
            .create_new(how == Open::CreateNew)
            .mode(FILE_MODE)
            .custom_flags(OFlags::NOFOLLOW.bits().cast_signed());
        Ok(Arc::new(OsFile(options.open(path)?)))
    }

    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        if path.is_dir() {
            return Ok(());
        }
        let above = path.parent().filter(|above| !above.as_os_str().is_empty());
        if let Some(above) = above {
            self.create_dir_all(above)?;
        }
        match DirBuilder::new().mode(DIR_MODE).create(path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => Ok(()),
            Err(error) => Err(error),
            Ok(()) => self.sync_dir(above.unwrap_or(Path::new("."))),
        }
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        File::open(path)?.sync_all()
    }

    fn read_dir(&self, path: &Path) -> io::Result<Vec<DiskEntry>> {
        let mut entries = Vec::new();
        for entry in fs::read_dir(path)? {
            let entry = entry?;
            let facts = match entry.metadata() {
                Ok(facts) => facts,
                // Removed since the directory was read.
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(error),
            };
            entries.push(DiskEntry {
                name: entry.file_name(),
                is_dir: facts.is_dir(),
                len: facts.len(),
            });
        }
        Ok(entries)
    }

    fn room(&self, path: &Path) -> io::Result<Room> {
        let facts = rustix::fs::statvfs(path)?;
        Ok(Room {
            free_bytes: facts.f_bavail.saturating_mul(facts.f_frsize),
            total_bytes: facts.f_blocks.saturating_mul(facts.f_frsize),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use sealift_terms::world::{read_file, replace_file};

    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn what_is_made_is_for_the_owner_alone() {
        let dir = tempfile::tempdir().unwrap();
        let deep = dir.path().join("a/b");
        OsDisk.create_dir_all(&deep).unwrap();
        OsDisk.create_dir_all(&deep).unwrap();
        let path = deep.join("f");
        OsDisk.open(&path, Open::CreateNew).unwrap();
        assert_eq!((mode(&deep), mode(&path)), (DIR_MODE, FILE_MODE));
        assert!(OsDisk.open(&path, Open::CreateNew).is_err());
    }

    #[test]
    fn a_symbolic_link_is_not_followed() {
        let dir = tempfile::tempdir().unwrap();
        let (target, link) = (dir.path().join("target"), dir.path().join("link"));
        fs::write(&target, "x").unwrap();
        std::os::unix::fs::symlink(&target, &link).unwrap();
        for how in [Open::Read, Open::ReadWrite, Open::CreateNew] {
            assert!(OsDisk.open(&link, how).is_err(), "{how:?}");
        }
    }

    #[test]
    fn positional_bytes_come_back_and_a_short_file_is_an_early_end() {
        let dir = tempfile::tempdir().unwrap();
        let file = OsDisk.open(&dir.path().join("f"), Open::CreateNew).unwrap();
        file.write_all_at(b"world", 5).unwrap();
        file.write_all_at(b"hello", 0).unwrap();
        file.sync().unwrap();
        let mut bytes = [0; 10];
        file.read_exact_at(&mut bytes, 0).unwrap();
        assert_eq!(&bytes, b"helloworld");
        let error = file.read_exact_at(&mut bytes, 1).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
        file.set_len(3).unwrap();
        assert_eq!(file.len().unwrap(), 3);
        assert!(!file.is_empty().unwrap());
    }

    #[test]
    fn replacing_a_file_leaves_only_the_new_one_and_reading_is_bounded() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        replace_file(&OsDisk, &path, b"one").unwrap();
        replace_file(&OsDisk, &path, b"two").unwrap();
        assert_eq!(read_file(&OsDisk, &path, 3).unwrap(), b"two");
        assert!(read_file(&OsDisk, &path, 2).is_err());
        assert_eq!(OsDisk.read_dir(dir.path()).unwrap().len(), 1);
        assert!(OsDisk.room(dir.path()).unwrap().total_bytes > 0);
    }
}
