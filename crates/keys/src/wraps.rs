//! How often each version of a CMK wrapped, where that has a limit.

use std::{
    collections::BTreeMap,
    fmt,
    path::{Path, PathBuf},
    sync::Arc,
};

use parking_lot::Mutex;
use sealift_terms::{
    Disk,
    limits::{WRAP_COUNTS_BYTES_MAX, WRAPS_PER_VERSION_MAX},
    world::{read_file, replace_file},
};
use serde::{Deserialize, Serialize};

use crate::KeyError;

/// The counts' path within a data directory.
pub const WRAPS_FILE: &str = "keys/wraps.json";
/// So many are counted before they are made, so that the file is not written for each. A
/// process that ends in between has counted some that were never made, and none too few.
const COUNTED_AT_ONCE: u64 = 1024;

#[derive(Debug, Default, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Counts {
    /// By provider and key, then by version.
    wraps: BTreeMap<String, BTreeMap<String, u64>>,
}

/// By key and version.
type Left = BTreeMap<(String, String), u64>;

/// Counts wraps under random 96-bit nonces, of which one key stands 2^32 (NIST SP
/// 800-38D, section 8.3); half of that are allowed.
///
/// The count is this site's own: a key that others wrap with as well has to be
/// rotated by what they all do together.
pub struct WrapCounter {
    disk: Arc<dyn Disk>,
    path: PathBuf,
    /// What the file says, and how many of each are left before it has to say more.
    state: Mutex<(Counts, Left)>,
}

impl fmt::Debug for WrapCounter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "WrapCounter({})", self.path.display())
    }
}

impl WrapCounter {
    /// Takes up the counts at `path`; a file that is not there is made at the first wrap.
    ///
    /// # Errors
    /// [`KeyError::KeystoreIo`] or [`KeyError::KeystoreFormat`] for a file that cannot be
    /// read: to begin anew at zero would be to forget.
    pub fn open(disk: Arc<dyn Disk>, path: &Path) -> Result<Self, KeyError> {
        let counts = match read_file(&*disk, path, WRAP_COUNTS_BYTES_MAX) {
            Ok(bytes) => serde_json::from_slice(&bytes).map_err(|_| KeyError::KeystoreFormat {
                subject: path.display().to_string(),
                what: "it holds no counts of wraps",
            })?,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Counts::default(),
            Err(source) => return Err(io(path, source)),
        };
        Ok(Self {
            disk,
            path: path.to_owned(),
            state: Mutex::new((counts, BTreeMap::new())),
        })
    }

    /// Counts one more wrap of a version, durably, before it is made.
    ///
    /// # Errors
    /// [`KeyError::WornOut`] for one too many, or what the disk says.
    pub fn count(&self, key: &str, version: &str) -> Result<(), KeyError> {
        let mut state = self.state.lock();
        let (counts, left) = &mut *state;
        let of = (key.to_owned(), version.to_owned());
        if let Some(left) = left.get_mut(&of).filter(|left| **left > 0) {
            *left -= 1;
            return Ok(());
        }
        let mut next = counts.clone();
        let versions = next.wraps.entry(key.to_owned()).or_default();
        let count = versions.entry(version.to_owned()).or_default();
        if *count >= WRAPS_PER_VERSION_MAX {
            return Err(KeyError::WornOut {
                key: key.to_owned(),
                version: version.to_owned(),
                wraps: *count,
            });
        }
        let counted = COUNTED_AT_ONCE.min(WRAPS_PER_VERSION_MAX - *count);
        *count += counted;
        let json = serde_json::to_vec(&next).map_err(|_| KeyError::KeystoreFormat {
            subject: self.path.display().to_string(),
            what: "the counts cannot be written as JSON",
        })?;
        if let Some(folder) = self.path.parent() {
            self.disk
                .create_dir_all(folder)
                .map_err(|source| io(folder, source))?;
        }
        replace_file(&*self.disk, &self.path, &json).map_err(|source| io(&self.path, source))?;
        *counts = next;
        left.insert(of, counted - 1);
        Ok(())
    }
}

fn io(path: &Path, source: std::io::Error) -> KeyError {
    KeyError::KeystoreIo {
        path: path.to_owned(),
        source,
    }
}

#[cfg(test)]
mod tests {
    use sealift_host::OsDisk;

    use super::*;

    #[test]
    fn wraps_are_counted_across_restarts_up_to_the_limit_and_not_one_more() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(WRAPS_FILE);
        let open = || WrapCounter::open(Arc::new(OsDisk), &path).unwrap();
        open().count("transit/photos", "1").unwrap();
        let said = std::fs::read_to_string(&path).unwrap();
        assert!(
            said.contains("1024"),
            "counted before they are made: {said}"
        );
        let near = said.replace("1024", &(WRAPS_PER_VERSION_MAX - 2).to_string());
        std::fs::write(&path, near).unwrap();
        let counter = open();
        counter.count("transit/photos", "1").unwrap();
        counter.count("transit/photos", "1").unwrap();
        for counter in [counter, open()] {
            let over = counter.count("transit/photos", "1").unwrap_err();
            assert!(matches!(over, KeyError::WornOut { .. }), "{over}");
            counter.count("transit/photos", "2").unwrap();
        }
    }

    #[test]
    fn counts_that_cannot_be_read_are_not_begun_anew() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("wraps.json");
        std::fs::write(&path, "{\"wraps\":").unwrap();
        assert!(WrapCounter::open(Arc::new(OsDisk), &path).is_err());
    }
}
