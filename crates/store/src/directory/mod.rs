//! A directory as a source.
//!
//! Nothing below the root is reached through a symbolic link. A version id is
//! made from what the file system says of a file (times of change, inode,
//! length), so that a journal that was lost is offered the same ids again.

mod object;
mod readers;
mod removing;
mod root;
mod settling;
mod tree;
mod walk;
mod watching;

use std::{path::Path, sync::Arc};

use async_trait::async_trait;
use sealift_terms::{Clock, ObjectFacts, ObjectKey, Timestamp, VersionId};
use tokio::sync::mpsc;

use crate::{Hint, Listed, Page, Scan, Source, SourceObject, StoreError, Watch, Whole};
use object::{DirectoryObject, TooYoung};
use readers::{HeldRoot, Readers};
use root::{Root, Seen};
use settling::Settling;
use walk::Walk;

/// Directories that are watched at most; beyond, the source is scanned every ten seconds.
pub const WATCHES_MAX: usize = 1 << 20;
/// Hints that wait to be taken; one more becomes [`Hint::Rescan`].
pub const HINTS_QUEUED_MAX: usize = 4096;

/// A directory whose files are objects: the key is the path below the root.
#[derive(Debug)]
pub struct DirectorySource {
    root: Arc<Root>,
    settling: Arc<Settling>,
    readers: Readers,
    watches_max: usize,
}

impl DirectorySource {
    /// Takes a directory as source.
    ///
    /// # Errors
    /// [`StoreError::SourceUnavailable`] when it is not there.
    pub fn new(path: impl AsRef<Path>, clock: Arc<dyn Clock>) -> Result<Self, StoreError> {
        let source = Self::awaited(path, clock);
        source.root.open()?;
        Ok(source)
    }

    /// Takes a directory as source that may be away for now: until it is there,
    /// every look at it fails with [`StoreError::SourceUnavailable`].
    #[must_use]
    pub fn awaited(path: impl AsRef<Path>, clock: Arc<dyn Clock>) -> Self {
        Self {
            root: Arc::new(Root::new(path.as_ref(), clock.clone())),
            settling: Arc::new(Settling::new(clock)),
            readers: Readers::default(),
            watches_max: WATCHES_MAX,
        }
    }

    /// The same source with another bound on the directories watched.
    #[must_use]
    pub fn with_watches_max(mut self, watches_max: usize) -> Self {
        self.watches_max = watches_max;
        self
    }
}

#[async_trait]
impl Source for DirectorySource {
    fn settling(&self) -> usize {
        self.settling.len()
    }

    async fn scan(&self, prefix: &str) -> Result<Box<dyn Scan>, StoreError> {
        let (root, settling) = (self.root.clone(), self.settling.clone());
        let prefix = prefix.to_owned();
        let walk = blocking(move || Walk::begin(&root, settling, &prefix)).await?;
        Ok(Box::new(DirectoryScan(Some(walk))))
    }

    async fn look(&self, key: &ObjectKey) -> Result<Option<Listed>, StoreError> {
        let (root, settling, key) = (self.root.clone(), self.settling.clone(), key.clone());
        blocking(move || {
            let seen = root.look(&key)?;
            seen.map(|seen| seen.listed(key, &settling)).transpose()
        })
        .await
    }

    async fn open(
        &self,
        key: &ObjectKey,
        version: &VersionId,
    ) -> Result<Arc<dyn SourceObject>, StoreError> {
        Ok(Arc::new(
            DirectoryObject::open(&self.root, key, version).await?,
        ))
    }

    async fn read_whole(
        &self,
        key: &ObjectKey,
        version: &VersionId,
        size: usize,
    ) -> Result<Whole, StoreError> {
        loop {
            let (root, key, version) = (self.root.clone(), key.clone(), version.clone());
            let read = move |held: &mut HeldRoot| {
                DirectoryObject::read_whole(&root, held, &key, &version, size)
            };
            match self.readers.run(read).await? {
                Ok(bytes) => return Ok(Whole::plain(bytes)),
                // Not on one of the few threads.
                Err(TooYoung(wait)) => tokio::time::sleep(wait).await,
            }
        }
    }

    fn made(&self, version: &VersionId, _: &ObjectFacts) -> Option<Timestamp> {
        Seen::changed(version)
    }

    fn watch(&self) -> Result<Watch, StoreError> {
        let (sender, hints) = mpsc::channel::<Hint>(HINTS_QUEUED_MAX);
        watching::start(
            self.root.clone(),
            self.settling.clone(),
            self.watches_max,
            sender,
        )?;
        Ok(Watch { hints })
    }
}

/// A walk, away on a thread that may block while a page is made.
struct DirectoryScan(Option<Walk>);

#[async_trait]
impl Scan for DirectoryScan {
    async fn page(&mut self, limit: usize) -> Result<Page, StoreError> {
        // A walk that failed, or whose page was abandoned, is over.
        let Some(mut walk) = self.0.take() else {
            return Err(StoreError::SourceUnavailable {
                path: "listing".to_owned(),
                source: std::io::Error::other("the listing was broken off"),
            });
        };
        let (walk, page) = blocking(move || walk.page(limit).map(|page| (walk, page))).await?;
        self.0 = Some(walk);
        Ok(page)
    }
}

/// Runs what may block for long on a thread that may.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
) -> Result<T, StoreError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(error) => Err(StoreError::SourceUnavailable {
            path: "listing".to_owned(),
            source: std::io::Error::other(error),
        }),
    }
}
