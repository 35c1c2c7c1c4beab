//! One file of a directory source, open for reading.

use std::{io::IoSliceMut, os::fd::OwnedFd, sync::Arc, time::Duration};

use async_trait::async_trait;
use rustix::{
    fs::{FsWord, OFlags},
    io::{Errno, ReadWriteFlags},
};
use sealift_terms::{ObjectFacts, ObjectKey, VersionId};
use tokio::runtime::{Handle, RuntimeFlavor};

use super::{
    blocking,
    readers::HeldRoot,
    root::{Root, Seen},
};
use crate::{SourceObject, StoreError};

/// What statfs says of a tmpfs (linux/magic.h).
const TMPFS_MAGIC: FsWord = 0x0102_1994;

#[derive(Debug, Clone)]
pub(super) struct DirectoryObject {
    root: Arc<Root>,
    key: ObjectKey,
    file: Arc<OwnedFd>,
    opened: Seen,
    facts: ObjectFacts,
}

/// The file was changed a moment ago: not to be read before this time has passed.
#[derive(Debug)]
pub(super) struct TooYoung(pub(super) Duration);

impl DirectoryObject {
    /// Opens a version. Reading never begins so soon after a change that the
    /// next one could carry the same stamps: [`SourceObject::finish`], the watch
    /// and every later scan would take both for one version.
    pub(super) async fn open(
        root: &Arc<Root>,
        key: &ObjectKey,
        version: &VersionId,
    ) -> Result<Self, StoreError> {
        loop {
            let (root, key, version) = (root.clone(), key.clone(), version.clone());
            match blocking(move || Self::open_now(&root, &key, &version)).await? {
                Ok(object) => return Ok(object),
                Err(TooYoung(wait)) => tokio::time::sleep(wait).await,
            }
        }
    }

    fn open_now(
        root: &Arc<Root>,
        key: &ObjectKey,
        version: &VersionId,
    ) -> Result<Result<Self, TooYoung>, StoreError> {
        Self::take_up(root, root.open_beneath(key, OFlags::RDONLY)?, key, version)
    }

    fn take_up(
        root: &Arc<Root>,
        file: OwnedFd,
        key: &ObjectKey,
        version: &VersionId,
    ) -> Result<Result<Self, TooYoung>, StoreError> {
        let stat = rustix::fs::fstat(&file).map_err(|errno| root.refused(key, errno))?;
        let opened = Seen::new(&stat)?;
        let found = opened.version()?;
        if found != *version {
            let evidence = format!("version {version} was wanted, {found} is there");
            return Err(StoreError::SourceChanged { evidence });
        }
        if let Some(wait) = opened.too_young(root.clock.now()) {
            return Ok(Err(TooYoung(wait)));
        }
        Ok(Ok(Self {
            root: root.clone(),
            key: key.clone(),
            file: Arc::new(file),
            opened,
            facts: opened.facts(),
        }))
    }

    /// Opens, reads and finishes in one go, on a thread that may block and holds the root
    /// while it has more to read.
    pub(super) fn read_whole(
        root: &Arc<Root>,
        held: &mut HeldRoot,
        key: &ObjectKey,
        version: &VersionId,
        size: usize,
    ) -> Result<Result<Vec<u8>, TooYoung>, StoreError> {
        let file = held.open_beneath(root, key, OFlags::RDONLY)?;
        let object = match Self::take_up(root, file, key, version)? {
            Ok(object) => object,
            Err(young) => return Ok(Err(young)),
        };
        let mut bytes = vec![0; size];
        object.read_now(&mut bytes, 0)?;
        object.finish_now()?;
        Ok(Ok(bytes))
    }

    /// Reads what is in memory: all of a tmpfs, of other file systems what the page cache
    /// has, as far as they can tell. Says how many bytes that were, and waits for nothing.
    fn read_ready(&self, bytes: &mut [u8], offset: u64) -> usize {
        let in_memory = || rustix::fs::fstatfs(&self.file).is_ok_and(|fs| fs.f_type == TMPFS_MAGIC);
        let mut done = 0;
        while let Some(rest) = bytes.get_mut(done..).filter(|rest| !rest.is_empty()) {
            let at = offset + done as u64;
            let pieces = &mut [IoSliceMut::new(rest)];
            let mut read = rustix::io::preadv2(&self.file, pieces, at, ReadWriteFlags::NOWAIT);
            if read == Err(Errno::OPNOTSUPP) && in_memory() {
                read = rustix::io::pread(&self.file, rest, at);
            }
            match read {
                // Its end, or what has to be waited for: not found out here.
                Ok(0) | Err(_) => break,
                Ok(count) => done += count,
            }
        }
        done
    }

    fn read_now(&self, bytes: &mut [u8], offset: u64) -> Result<(), StoreError> {
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

    fn finish_now(&self) -> Result<(), StoreError> {
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

#[async_trait]
impl SourceObject for DirectoryObject {
    fn facts(&self) -> &ObjectFacts {
        &self.facts
    }

    async fn read_exact_at(&self, bytes: &mut [u8], offset: u64) -> Result<(), StoreError> {
        let ready = self.read_ready(bytes, offset);
        let offset = offset + ready as u64;
        let Some(bytes) = bytes.get_mut(ready..).filter(|bytes| !bytes.is_empty()) else {
            return Ok(());
        };
        // The bytes are the caller's and cannot go to another thread: this one becomes one
        // that may block, and another takes its place among the workers.
        match Handle::current().runtime_flavor() {
            RuntimeFlavor::CurrentThread => self.read_now(bytes, offset),
            _ => tokio::task::block_in_place(|| self.read_now(bytes, offset)),
        }
    }

    async fn finish(&self) -> Result<(), StoreError> {
        let object = self.clone();
        blocking(move || object.finish_now()).await
    }
}
