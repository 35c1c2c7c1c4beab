//! Copies of the keystore beside it: one of each of the last changes, so that a file that
//! is torn or altered later is no loss.

use std::{
    io::ErrorKind,
    path::{Path, PathBuf},
};

use sealift_terms::{
    Disk,
    limits::{KEYSTORE_BYTES_MAX, KEYSTORE_COPIES_MAX},
    world::{read_file, replace_file},
};

use super::{io, parse};
use crate::{KeyError, RootSecret};

/// Where the copies are, beside the keystore.
const FOLDER: &str = "history";

/// The copies of one keystore, ascending by the number of the change.
pub(super) struct Copies {
    folder: PathBuf,
    numbers: Vec<u64>,
}

impl Copies {
    /// Looks for the copies of the keystore at `path`.
    pub(super) fn of(disk: &dyn Disk, path: &Path) -> Result<Self, KeyError> {
        let folder = path.parent().unwrap_or(Path::new(".")).join(FOLDER);
        let mut numbers: Vec<u64> = match disk.read_dir(&folder) {
            Ok(entries) => {
                let names = entries.iter().filter_map(|entry| entry.name.to_str());
                names.filter_map(number_of).collect()
            }
            Err(error) if error.kind() == ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(io(&folder, error)),
        };
        numbers.sort_unstable();
        Ok(Self { folder, numbers })
    }

    /// The number of the next change.
    pub(super) fn next_number(&self, after: u64) -> u64 {
        let newest = self.numbers.last().copied().unwrap_or(0);
        newest.max(after).saturating_add(1)
    }

    /// Adds a copy, and removes those that are too many or older than `from`.
    pub(super) fn add(
        mut self,
        disk: &dyn Disk,
        number: u64,
        from: u64,
        file: &[u8],
    ) -> Result<(), KeyError> {
        let at = |path: &Path| {
            let path = path.to_owned();
            move |source| io(&path, source)
        };
        disk.create_dir_all(&self.folder)
            .map_err(at(&self.folder))?;
        let path = self.path(number);
        replace_file(disk, &path, file).map_err(at(&path))?;
        self.numbers.push(number);
        let too_many = self.numbers.len().saturating_sub(KEYSTORE_COPIES_MAX);
        let (dead, kept) = self.numbers.split_at(too_many);
        let dead = dead.iter().chain(kept.iter().filter(|one| **one < from));
        let dead: Vec<_> = dead.map(|number| self.path(*number)).collect();
        for path in &dead {
            disk.remove_file(path).map_err(at(path))?;
        }
        match dead.is_empty() {
            true => Ok(()),
            // What was destroyed must not come back with a power loss.
            false => disk.sync_dir(&self.folder).map_err(at(&self.folder)),
        }
    }

    /// The newest copy that opens.
    pub(super) fn newest_whole(&self, disk: &dyn Disk, secret: &RootSecret) -> Option<PathBuf> {
        let newest_first = self.numbers.iter().rev();
        let mut paths = newest_first.map(|number| self.path(*number));
        paths.find(|path| {
            let file = read_file(disk, path, KEYSTORE_BYTES_MAX);
            file.is_ok_and(|file| parse(secret, "", &file).is_ok())
        })
    }

    fn path(&self, number: u64) -> PathBuf {
        self.folder.join(format!("keystore.{number}.json"))
    }
}

fn number_of(name: &str) -> Option<u64> {
    let number = name.strip_prefix("keystore.")?.strip_suffix(".json")?;
    number.parse().ok()
}
