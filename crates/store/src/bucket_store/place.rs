//! What a service has to do for sealed files to rest in one of its buckets.

use std::{
    collections::BTreeMap,
    fmt,
    sync::atomic::{AtomicU64, Ordering},
};

use async_trait::async_trait;
use bytes::Bytes;
use sealift_outside::Payload;

use crate::{Probe, StoreEntry, StoreError, StoreName};

/// When something may be put in the place of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum If {
    /// Nothing is there.
    Absent,
    /// What has this entity tag is there.
    Is(String),
}

/// What became of something that was put under a condition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It is there, under this entity tag.
    Done(String),
    /// The condition does not hold.
    Conflict,
    /// There is no such upload, or not with these parts.
    NoUpload,
}

/// What is there of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) len: u64,
    pub(crate) etag: String,
}

/// A part that is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct StoredPart {
    pub(crate) etag: String,
    pub(crate) len: u64,
}

/// Whether a file is content, which rests in the class that is wanted. What is looked after here
/// (the lease, key records) is small and written anew, and stays in the usual one.
pub(crate) fn is_content(name: &str) -> bool {
    ["objects/", "packs/"].iter().any(|of| name.starts_with(of))
}

/// One bucket, of which what begins with a prefix is the store's: names are without it.
#[async_trait]
pub(crate) trait Place: Send + Sync + fmt::Debug {
    /// Where it is, for messages.
    fn reached(&self) -> String;

    fn name(&self) -> &str;

    /// What is there of a file; `None` for nothing.
    async fn head(&self, name: &str) -> Result<Option<Seen>, StoreError>;

    /// A small file as it stands, with its entity tag.
    async fn get(&self, name: &str) -> Result<Option<(Bytes, String)>, StoreError>;

    /// Bytes of a file.
    async fn range(&self, name: &StoreName, from: u64, len: u64) -> Result<Bytes, StoreError>;

    async fn put(&self, name: &str, body: Payload, when: &If) -> Result<Outcome, StoreError>;

    /// Removes a file; one that is not there is no error.
    async fn delete(&self, name: &str) -> Result<(), StoreError>;

    /// Files by the bytes of their names. What has no name that a file of a store may have
    /// is somebody else's, or the lease.
    async fn list(
        &self,
        prefix: &str,
        after: Option<&StoreName>,
        limit: usize,
    ) -> Result<Vec<StoreEntry>, StoreError>;

    /// Begins an upload in parts; its id.
    async fn begin_upload(&self, name: &str) -> Result<String, StoreError>;

    /// Puts a part, numbered from 1 on, whose sum is `sum` (SHA-256, in hex).
    async fn put_part(
        &self,
        upload: (&str, &str),
        number: u32,
        body: Payload,
        sum: &str,
    ) -> Result<Outcome, StoreError>;

    /// The parts that are there of an upload; `None` when there is none of this id.
    async fn parts(
        &self,
        name: &str,
        id: &str,
    ) -> Result<Option<BTreeMap<u32, StoredPart>>, StoreError>;

    /// Makes a file of an upload's parts, by their numbers and entity tags.
    async fn complete(
        &self,
        name: &str,
        id: &str,
        parts: &[(u32, String)],
        when: &If,
    ) -> Result<Outcome, StoreError>;

    /// Gives up an upload; one that is not there is no error.
    async fn abort(&self, name: &str, id: &str) -> Result<(), StoreError>;

    /// Uploads below `prefix` that were begun and not ended and would stay, with the names
    /// of their files.
    async fn uploads(&self, prefix: &str) -> Result<Vec<(String, String)>, StoreError>;

    /// Refuses a bucket that keeps no versions where it was told to. Asked before anything is
    /// taken in.
    async fn hold_versions(&self) -> Result<(), StoreError> {
        Ok(())
    }

    /// Tries each right that a store needs once.
    async fn try_all(&self, probes: &mut Vec<Probe>);
}

/// Requests made, by what was asked, as the service's API names it.
#[derive(Debug)]
pub(crate) struct Counts(Vec<(&'static str, AtomicU64)>);

impl Counts {
    pub(crate) fn of(names: &[&'static str]) -> Self {
        Self(
            names
                .iter()
                .map(|name| (*name, AtomicU64::new(0)))
                .collect(),
        )
    }

    pub(crate) fn count(&self, name: &str) {
        let counter = self.0.iter().find(|(counted, _)| *counted == name);
        if let Some((_, counter)) = counter {
            counter.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(super) fn all(&self) -> Vec<(&'static str, u64)> {
        let counters = self.0.iter();
        counters
            .map(|(name, counter)| (*name, counter.load(Ordering::Relaxed)))
            .collect()
    }
}
