//! The deny list: identities that are let in under no certificate, whoever vouches for
//! them. It is this site's own and needs no authority.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use parking_lot::Mutex;
use sealift_terms::{
    Disk, Identity,
    limits::{DENIED_MAX, DENY_LIST_BYTES_MAX},
    world::{read_file, replace_file},
};

use crate::{Error, admin::DeniedRow};

/// The deny list in a data directory.
const DENIED_FILE: &str = "denied.json";

/// The deny list, as it is on the disk.
#[derive(Debug)]
pub(crate) struct Denied {
    disk: Arc<dyn Disk>,
    path: PathBuf,
    rows: Mutex<BTreeMap<Identity, DeniedRow>>,
}

impl Denied {
    /// Reads the list. One that cannot be read is an error: whoever is on it must not get in.
    ///
    /// # Errors
    /// What the disk says, and a file that is not a deny list.
    pub(super) fn open(disk: Arc<dyn Disk>, data_dir: &Path) -> Result<Self, Error> {
        let path = data_dir.join(DENIED_FILE);
        let rows: Vec<DeniedRow> = match read_file(&*disk, &path, DENY_LIST_BYTES_MAX) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(Error::io("read", path)(error)),
            Ok(bytes) => serde_json::from_slice(&bytes).map_err(|error| {
                let error = io::Error::new(io::ErrorKind::InvalidData, error);
                Error::io("read the deny list", &path)(error)
            })?,
        };
        let by_identity = rows.into_iter().map(|row| (row.identity.clone(), row));
        Ok(Self {
            disk,
            path,
            rows: Mutex::new(by_identity.collect()),
        })
    }

    /// Who is on it.
    pub(crate) fn identities(&self) -> BTreeSet<Identity> {
        self.rows.lock().keys().cloned().collect()
    }

    /// Whether somebody is on it.
    pub(crate) fn has(&self, identity: &Identity) -> bool {
        self.rows.lock().contains_key(identity)
    }

    /// Who is on it, since when and why.
    pub(crate) fn rows(&self) -> Vec<DeniedRow> {
        self.rows.lock().values().cloned().collect()
    }

    /// Puts an identity on the list. Whether it was not there.
    ///
    /// # Errors
    /// What the disk says, and [`Error::Request`] when the list is full: it stays as it was.
    pub(crate) fn deny(&self, row: DeniedRow) -> Result<bool, Error> {
        self.change(|rows| {
            if rows.contains_key(&row.identity) {
                return Ok(false);
            }
            if rows.len() >= DENIED_MAX {
                return Err(Error::Request {
                    what: "deny list",
                    found: format!("{DENIED_MAX} identities on it"),
                    allowed: "one more when another is taken off".to_owned(),
                });
            }
            rows.insert(row.identity.clone(), row);
            Ok(true)
        })
    }

    /// Takes an identity off the list. Whether it was there.
    ///
    /// # Errors
    /// What the disk says: the list stays as it was.
    pub(crate) fn lift(&self, identity: &Identity) -> Result<bool, Error> {
        self.change(|rows| Ok(rows.remove(identity).is_some()))
    }

    fn change(
        &self,
        change: impl FnOnce(&mut BTreeMap<Identity, DeniedRow>) -> Result<bool, Error>,
    ) -> Result<bool, Error> {
        let mut held = self.rows.lock();
        let mut rows = held.clone();
        if !change(&mut rows)? {
            return Ok(false);
        }
        let list: Vec<&DeniedRow> = rows.values().collect();
        let text = serde_json::to_vec_pretty(&list).map_err(Error::failed("writing"))?;
        let written = replace_file(&*self.disk, &self.path, &text);
        written.map_err(Error::io("write", &self.path))?;
        *held = rows;
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use sealift_host::OsDisk;
    use sealift_terms::Timestamp;

    use super::*;

    fn row(name: &str) -> DeniedRow {
        DeniedRow {
            identity: format!("spiffe://example.org/region/r/agent/{name}")
                .parse()
                .unwrap(),
            since: Timestamp::from_secs(7),
            by: "uid:0".to_owned(),
            reason: Some("stolen".to_owned()),
        }
    }

    #[test]
    fn the_list_is_what_was_written_and_one_that_cannot_be_read_lets_nothing_open() {
        let dir = tempfile::tempdir().unwrap();
        let open = || Denied::open(Arc::new(OsDisk), dir.path());
        let denied = open().unwrap();
        assert!(denied.deny(row("a")).unwrap());
        assert!(denied.deny(row("b")).unwrap());
        assert!(!denied.deny(row("a")).unwrap(), "it is there");
        assert!(denied.lift(&row("b").identity).unwrap());
        assert!(!denied.lift(&row("b").identity).unwrap());
        assert_eq!(open().unwrap().rows(), [row("a")]);
        let longest: Vec<_> = (0..DENIED_MAX).map(|n| row(&format!("n{n}"))).collect();
        let text = serde_json::to_vec_pretty(&longest).unwrap();
        std::fs::write(dir.path().join(DENIED_FILE), text).unwrap();
        let denied = open().unwrap();
        let one_more = denied.deny(row("one-more"));
        assert!(matches!(one_more, Err(Error::Request { .. })));
        assert_eq!(denied.rows().len(), DENIED_MAX);
        std::fs::write(dir.path().join(DENIED_FILE), "[]x").unwrap();
        assert!(open().is_err());
    }
}
