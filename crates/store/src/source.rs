//! The source: where the bytes that are to be sent come from.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::Arc,
};

use async_trait::async_trait;
use sealift_terms::{Checksum, ObjectFacts, ObjectKey, Reason, Timestamp, VersionId};
use tokio::sync::{mpsc, watch};

use crate::{OrderedSource, StoreError};

/// One object as a source lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// Its key.
    pub key: ObjectKey,
    /// The version that is there now.
    pub version: VersionId,
    /// What the source says of it.
    pub facts: ObjectFacts,
    /// Whether it is at rest. One that is still being written is left alone: the
    /// source hints at it once it has settled.
    pub settled: bool,
    /// What lies below it, where the source keeps versions.
    pub history: History,
}

/// What the versions of a key are below its latest one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct History {
    /// The newest first.
    pub earlier: Vec<Earlier>,
    /// Whether there are more, which [`Source::history`] tells.
    pub more: bool,
}

/// A version below the latest one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Earlier {
    /// The version.
    pub version: VersionId,
    /// What the source says of it; nothing of a delete marker.
    pub facts: Option<ObjectFacts>,
    /// When it was made, where the source tells.
    pub modified: Option<Timestamp>,
}

/// A key whose latest version is a delete marker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Removed {
    /// The key.
    pub key: ObjectKey,
    /// The delete marker.
    pub version: VersionId,
    /// When it was made, where the source tells.
    pub modified: Option<Timestamp>,
    /// What lies below it.
    pub history: History,
}

/// Something in a source that is not sent, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Skipped {
    /// Its name, bytes that are not UTF-8 escaped.
    pub name: String,
    /// Why it is not sent.
    pub reason: Reason,
    /// What was found.
    pub evidence: String,
    /// Keys that begin so could not be listed: nothing is known of them, least
    /// of all that they are gone.
    pub hides: Option<String>,
}

/// Part of a listing: what later parts tell lies behind all that this one has, so that neither has
/// to be held until the other is there.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Page {
    /// The objects, by the bytes of their keys.
    pub objects: Vec<Listed>,
    /// Keys between them that were removed, where the source keeps delete markers.
    pub removed: Vec<Removed>,
    /// What was left out between them.
    pub skipped: Vec<Skipped>,
    /// Whether the listing ends with this page.
    pub last: bool,
}

/// A small version, read as a whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Whole {
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// What the source says of it, where a listing does not tell all of that.
    pub facts: Option<Box<ObjectFacts>>,
    /// What the source says its checksum is.
    pub checksum: Option<Checksum>,
}

impl Whole {
    /// Of a source that says nothing more than its listing.
    #[must_use]
    pub fn plain(bytes: Vec<u8>) -> Self {
        Self {
            bytes,
            facts: None,
            checksum: None,
        }
    }
}

/// The tags of a version, or why they are not told.
pub type TagsTold = Result<BTreeMap<String, String>, StoreError>;

/// A source of objects: a directory, a bucket.
#[async_trait]
pub trait Source: Send + Sync + fmt::Debug {
    /// Begins a listing of the keys that start with `prefix` (all, if it is empty).
    ///
    /// # Errors
    /// [`StoreError::SourceUnavailable`] when the source is not there: never an
    /// empty listing.
    async fn scan(&self, prefix: &str) -> Result<Box<dyn Scan>, StoreError>;

    /// Looks at one key; none when there is no such object.
    ///
    /// # Errors
    /// As [`Source::scan`]; [`StoreError::SourceUnsupported`] for what is there but no object.
    async fn look(&self, key: &ObjectKey) -> Result<Option<Listed>, StoreError>;

    /// Looks at several keys, each as [`Source::look`] does, in their order.
    async fn look_at_all(&self, keys: &[ObjectKey]) -> Vec<Result<Option<Listed>, StoreError>> {
        let mut looked = Vec::with_capacity(keys.len());
        for key in keys {
            looked.push(self.look(key).await);
        }
        looked
    }

    /// Opens one version for reading.
    ///
    /// # Errors
    /// [`StoreError::SourceGone`] or [`StoreError::SourceChanged`] when that
    /// version is not there any more, [`StoreError::SourceRefused`], and as [`Source::scan`].
    async fn open(
        &self,
        key: &ObjectKey,
        version: &VersionId,
    ) -> Result<Arc<dyn SourceObject>, StoreError>;

    /// Reads one version as a whole: for small objects, of which there are many. `size`
    /// is what was listed.
    ///
    /// # Errors
    /// As [`Source::open`], [`SourceObject::read_exact_at`] and [`SourceObject::finish`].
    async fn read_whole(
        &self,
        key: &ObjectKey,
        version: &VersionId,
        size: usize,
    ) -> Result<Whole, StoreError> {
        let object = self.open(key, version).await?;
        let mut bytes = vec![0; size];
        object.read_exact_at(&mut bytes, 0).await?;
        object.finish().await?;
        Ok(Whole {
            bytes,
            facts: Some(Box::new(object.facts().clone())),
            checksum: object.checksum(),
        })
    }

    /// A key whose latest version is a delete marker, where the source keeps such.
    ///
    /// # Errors
    /// As [`Source::scan`].
    async fn removed(&self, key: &ObjectKey) -> Result<Option<Removed>, StoreError> {
        let _ = key;
        Ok(None)
    }

    /// All versions of a key below its latest one, the newest first, where the source keeps
    /// such: as many as [`VERSIONS_OF_KEY_MAX`](sealift_terms::limits::VERSIONS_OF_KEY_MAX).
    ///
    /// # Errors
    /// As [`Source::scan`].
    async fn history(&self, key: &ObjectKey) -> Result<History, StoreError> {
        let _ = key;
        Ok(History::default())
    }

    /// The tags that versions have now, each in its place: of a source that keeps none, none.
    ///
    /// # Errors
    /// Of each: [`StoreError::SourceGone`] when it is not there any more, and as [`Source::scan`].
    async fn tags_of_all(&self, versions: &[(ObjectKey, VersionId)]) -> Vec<TagsTold> {
        versions.iter().map(|_| Ok(BTreeMap::new())).collect()
    }

    /// Every version of a key, delete markers too, asked for anew; none where the source cannot
    /// say so for certain: it keeps no versions, or there are more than it looks at.
    ///
    /// # Errors
    /// As [`Source::scan`]: a source that is not there never has no versions.
    async fn versions_of(
        &self,
        key: &ObjectKey,
    ) -> Result<Option<BTreeSet<VersionId>>, StoreError> {
        let _ = key;
        Ok(None)
    }

    /// When a version that is listed came to be, where the source tells: none does so before.
    fn made(&self, version: &VersionId, facts: &ObjectFacts) -> Option<Timestamp> {
        let _ = version;
        facts.last_modified
    }

    /// Whether a version can still be read when another took its place.
    fn keeps_versions(&self) -> bool {
        false
    }

    /// The same source by its orders, where what it holds has them already: version ids are
    /// then sent as they are, and changes are followed instead of watched.
    fn ordered(&self) -> Option<&dyn OrderedSource> {
        None
    }

    /// Begins to watch for changes. Hints only save time: what they miss, the next scan finds.
    ///
    /// # Errors
    /// As [`Source::scan`].
    fn watch(&self) -> Result<Watch, StoreError>;

    /// Objects that are still being written: each is hinted at once it has settled.
    fn settling(&self) -> usize {
        0
    }
}

/// A listing under way.
#[async_trait]
pub trait Scan: Send {
    /// The next objects, at most `limit` of them, in byte order of their keys.
    ///
    /// # Errors
    /// As [`Source::scan`]; the listing is then over and says nothing of what it did not reach.
    async fn page(&mut self, limit: usize) -> Result<Page, StoreError>;
}

/// One version, opened for reading.
#[async_trait]
pub trait SourceObject: Send + Sync + fmt::Debug {
    /// What the source says of it, seen when it was opened.
    fn facts(&self) -> &ObjectFacts;

    /// What the source says its checksum is.
    fn checksum(&self) -> Option<Checksum> {
        None
    }

    /// Fills `bytes` from `offset`.
    ///
    /// # Errors
    /// [`StoreError::SourceChanged`] when the object has become shorter.
    async fn read_exact_at(&self, bytes: &mut [u8], offset: u64) -> Result<(), StoreError>;

    /// Says that all that was read belongs to the version that was opened. To be
    /// asked after the last byte was read and before anyone is told it is whole.
    ///
    /// # Errors
    /// [`StoreError::SourceChanged`] when it was written to meanwhile.
    async fn finish(&self) -> Result<(), StoreError>;
}

/// What a watch says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Hint {
    /// Look at this key: it was written and has settled, or it was removed.
    Changed(ObjectKey),
    /// The tags of a version changed, of the latest one where none is named. No scan finds that.
    Tagged(ObjectKey, Option<VersionId>),
    /// Scan what begins with this prefix.
    Beneath(String),
    /// Something was missed: scan everything.
    Rescan,
    /// Watching does not work here: scan every ten seconds. Says why.
    Poll(String),
    /// Say when all that the hints before this one led to is durable.
    Recorded(Recorded),
}

/// Whoever gave hints keeps what told of them until it is told; it is not, where this is dropped.
#[derive(Debug, Clone)]
pub struct Recorded(Arc<watch::Sender<bool>>);

impl Recorded {
    /// One, and the end that is told.
    #[must_use]
    pub fn new() -> (Self, RecordedAt) {
        let (told, end) = watch::channel(false);
        (Self(Arc::new(told)), RecordedAt(end))
    }

    /// Tells it.
    pub fn tell(&self) {
        self.0.send_replace(true);
    }
}

impl PartialEq for Recorded {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for Recorded {}

/// The end of a [`Recorded`] that is told.
#[derive(Debug)]
pub struct RecordedAt(watch::Receiver<bool>);

impl RecordedAt {
    /// Waits until it is told, or is not going to be: says which.
    pub async fn is_told(mut self) -> bool {
        self.0.wait_for(|told| *told).await.is_ok()
    }
}

/// The receiving end of a watch; dropping it ends the watch.
#[derive(Debug)]
pub struct Watch {
    /// The hints. The queue is bounded: one that is full leads to a [`Hint::Rescan`].
    pub hints: mpsc::Receiver<Hint>,
}

impl Watch {
    /// Of a source that is found by scans alone, as often as the configuration says: nothing
    /// has to stand before the first one, and nothing asks for another.
    pub(crate) fn of_scans() -> Self {
        let (sender, hints) = mpsc::channel(1);
        let _first_scan = sender.try_send(Hint::Rescan);
        tokio::spawn(async move { sender.closed().await });
        Self { hints }
    }
}
