//! One file of a directory source, open for reading.

use std::{os::fd::OwnedFd, sync::Arc};

use async_trait::async_trait;
use rustix::{fs::OFlags, io::Errno};
use sealift_terms::{ObjectFacts, ObjectKey, VersionId};

use super::root::{Root, Seen};
use crate::{SourceObject, StoreError};

#[derive(Debug)]
pub(super) struct DirectoryObject {
    root: Arc<Root>,
    key: ObjectKey,
    file: OwnedFd,
    opened: Seen,
    facts: ObjectFacts,
}

impl DirectoryObject {
    /// Opens a version. Reading never begins so soon after a change that the
    /// next one could carry the same stamps: [`SourceObject::finish`], the watch
    /// and every later scan would take both for one version.
    pub(super) async fn open(
        root: &Arc<Root>,
        key: &ObjectKey,
        version: &VersionId,
    ) -> Result<Self, StoreError> {
        let file = root.open_beneath(key, OFlags::RDONLY)?;
        let look = || rustix::fs::fstat(&file).map_err(|errno| root.refused(key, errno));
        let mut opened = Seen::new(&look()?)?;
        let (grain, age) = (opened.stamp_grain(), opened.age(root.clock.now()));
        if age < grain {
            tokio::time::sleep(grain - age).await;
            opened = Seen::new(&look()?)?;
        }
        let found = opened.version()?;
        if found != *version {
            let evidence = format!("version {version} was wanted, {found} is there");
            return Err(StoreError::SourceChanged { evidence });
        }
        let facts = opened.facts();
        Ok(Self {
            root: root.clone(),
            key: key.clone(),
            file,
            opened,
            facts,
        })
    }
}

#[async_trait]
impl SourceObject for DirectoryObject {
    fn facts(&self) -> &ObjectFacts {
        &self.facts
    }

    async fn read_exact_at(&self, bytes: &mut [u8], offset: u64) -> Result<(), StoreError> {
        let (mut rest, mut offset) = (bytes, offset);
        while !rest.is_empty() {
            match rustix::io::pread(&self.file, &mut *rest, offset) {
                Ok(0) => {
                    let evidence = format!(
                        "it ends at byte {offset}, {} were expected",
                        self.facts.size
                    );
                    return Err(StoreError::SourceChanged { evidence });
                }
                Ok(read) => {
                    offset += read as u64;
                    rest = rest.get_mut(read..).unwrap_or_default();
                }
                Err(Errno::INTR) => {}
                Err(errno) => return Err(self.root.refused(&self.key, errno)),
            }
        }
        Ok(())
    }

    async fn finish(&self) -> Result<(), StoreError> {
        let stat =
            rustix::fs::fstat(&self.file).map_err(|errno| self.root.refused(&self.key, errno))?;
        let now = Seen::new(&stat)?;
        if now == self.opened {
            return Ok(());
        }
        let evidence = format!(
            "version {} was being read, {} is there",
            self.opened.version()?,
            now.version()?
        );
        Err(StoreError::SourceChanged { evidence })
    }
}
