//! A source whose versions have their order already: an archive, of what came from elsewhere.

use async_trait::async_trait;
use sealift_terms::{Change, Epoch, ObjectKey, Order, VersionId, VersionName};
use tokio::sync::mpsc;

use crate::StoreError;

/// A version as it came, and where it stands among the commits of its source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ordered {
    /// The version, with its own order and the tags it has now.
    pub change: Change,
    /// The order of its tags, when they were changed after it was stored.
    pub tags_order: Option<Order>,
    /// The sequence of its commit.
    pub sequence: u64,
}

/// Where a listing of all versions goes on: behind this one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct After {
    /// Its key.
    pub key: ObjectKey,
    /// Its order.
    pub order: Order,
    /// Its version id.
    pub version: VersionId,
}

/// How far a source has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CommittedTo {
    /// The life that the sequence is of.
    pub epoch: Epoch,
    /// The highest sequence of a durable commit.
    pub sequence: u64,
}

/// Something that was committed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Committed {
    /// The versions that came, or whose tags changed: some of the commit's.
    pub names: Vec<VersionName>,
    /// The commit's sequence, with the last of its versions.
    pub sequence: Option<u64>,
}

/// A source that gives every version with its order, and says at once what it commits.
#[async_trait]
pub trait OrderedSource: Send + Sync {
    /// How far it has come.
    fn committed_to(&self) -> CommittedTo;

    /// All versions, delete markers too, by key.
    ///
    /// # Errors
    /// When it cannot be read: never an empty page.
    async fn versions(
        &self,
        after: Option<&After>,
        limit: usize,
    ) -> Result<Vec<Ordered>, StoreError>;

    /// Those of these versions that are there.
    ///
    /// # Errors
    /// As [`versions`](Self::versions).
    async fn of_names(&self, names: Vec<VersionName>) -> Result<Vec<Ordered>, StoreError>;

    /// The purges of those of these versions that were purged. A version that is not there for
    /// another reason has none: what is missing was not deleted for that.
    ///
    /// # Errors
    /// As [`versions`](Self::versions).
    async fn purges(&self, names: Vec<VersionName>) -> Result<Vec<Change>, StoreError>;

    /// What is committed from now on. The queue is bounded: one that is full is closed, and
    /// what is missed then is found by a listing.
    fn follow(&self) -> mpsc::Receiver<Committed>;
}
