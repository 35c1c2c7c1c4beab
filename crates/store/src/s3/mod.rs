//! A bucket of an S3-compatible store as a source.
//!
//! ```text
//!   scan ─▶ GetBucketVersioning, ListObjectVersions   the latest versions, page by page
//!   look ─▶ ListObjectVersions of one                 one key
//!   read ─▶ GetObject versionId If-Match              a small object in one request,
//!           HeadObject, GetObject Range …             a large one in windows of 8 MiB that parts go on in
//!           GetObjectTagging                          unless the store told of no tags
//!   watch ◀─ webhook, queue                           hints; what they miss the next scan finds
//! ```
//!
//! The bucket has to keep versions: a version id then stands for bytes that do not change,
//! and one that was overwritten can still be read. Over our own client and signer
//! (`sealift-outside`); ARCHITECTURE.md has why.

mod client;
mod error;
mod events;
pub(crate) mod facts;
mod front;
mod object;
pub(crate) mod of_key;
mod probe;
mod probe_front;
mod probe_keys;
mod scan;
mod settings;
mod storing;
mod storing_xml;
mod told_tags;
mod uri;
pub(crate) mod version;
mod versioning;
pub(crate) mod xml;

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use async_trait::async_trait;
use sealift_terms::{Clock, ObjectKey, Rng, VersionId};
use tokio::{sync::mpsc, task::JoinSet};
use tokio_rustls::rustls::ClientConfig;

use crate::{
    HINTS_QUEUED_MAX, Hint, History, Listed, Removed, Scan, Source, SourceObject, StoreError,
    TagsTold, Watch, Whole, tagged::ask_tags,
};
use facts::Seen;
pub(crate) use object::{BucketObject, Streams, Windows};
use of_key::{Found, OfKey};
use scan::S3Scan;
pub(crate) use scan::narrower;
use told_tags::ToldTags;

pub(crate) use client::{Ask, S3Client};
pub use error::S3Error;
pub use events::queue::SQS_ACTIONS;
pub use front::{Made, Passed, S3_FRONT_ACTIONS, S3Front};
pub use probe::Probe;
pub use settings::{EventQueue, S3Settings, Webhook};
pub use storing::{GCS_STORE_ACTIONS, S3_STORE_ACTIONS};
pub(crate) use storing::{S3_CALLS, S3Place};
pub use version::is_called;

/// The actions that a source asks for: what a policy has to allow.
pub const S3_SOURCE_ACTIONS: [&str; 6] = [
    "s3:GetBucketVersioning",
    "s3:ListBucketVersions",
    "s3:GetObjectVersion",
    "s3:GetObjectVersionTagging",
    S3_LOCK_ACTIONS[0],
    S3_LOCK_ACTIONS[1],
];

/// Those of them without which objects come, and nothing of their Object Lock: S3 tells of that
/// in the headers of an object, to those alone who have these rights.
pub const S3_LOCK_ACTIONS: [&str; 2] = ["s3:GetObjectRetention", "s3:GetObjectLegalHold"];

/// Keys that are looked at side by side.
pub(crate) const LOOKS_AT_ONCE: usize = 16;

/// A bucket that keeps versions, as a source.
#[derive(Debug)]
pub struct S3Source {
    client: Arc<S3Client>,
    streams: Arc<Streams>,
    opened: AtomicU64,
    /// Whom to trust, for the queue as well.
    tls: Option<Arc<ClientConfig>>,
    clock: Arc<dyn Clock>,
    rng: Arc<dyn Rng>,
}

impl S3Source {
    /// Takes a bucket as source. Nothing is asked of it yet.
    #[must_use]
    pub fn new(
        settings: S3Settings,
        tls: Option<Arc<ClientConfig>>,
        clock: Arc<dyn Clock>,
        rng: Arc<dyn Rng>,
    ) -> Self {
        let client = S3Client::new(settings, tls.clone(), clock.clone(), rng.clone());
        Self {
            client: Arc::new(client),
            streams: Arc::default(),
            opened: AtomicU64::new(0),
            tls,
            clock,
            rng,
        }
    }

    /// The tags of a version. Where a store tells how many there are, one that it tells of none
    /// has none, as long as they may be read; otherwise it is asked.
    async fn with_tags(
        &self,
        key: &ObjectKey,
        version: &VersionId,
        mut seen: Seen,
    ) -> Result<Seen, StoreError> {
        let told = &self.client.told_tags;
        if seen.tags.is_some() {
            told.told();
        }
        let has_none = |told: &ToldTags| match seen.tags {
            Some(count) => count == 0,
            None => told.has_none(key),
        };
        if !has_none(told) {
            let _asking = match seen.tags {
                Some(_) => None,
                None => told.turn(key).await,
            };
            if !has_none(told) {
                seen.facts.tags = self.client.tags(key, version).await?;
                told.read(key);
            }
        }
        seen.facts.check().map_err(|error| unsupported(&error))?;
        Ok(seen)
    }
}

async fn look(client: &S3Client, key: &ObjectKey) -> Result<Option<Listed>, StoreError> {
    if !key.as_str().starts_with(&client.settings.prefix) {
        return Ok(None);
    }
    match found(client, key).await? {
        Some(Found::Listed(listed)) => Ok(Some(listed)),
        Some(Found::Removed(_)) | None => Ok(None),
    }
}

async fn found(client: &S3Client, key: &ObjectKey) -> Result<Option<Found>, StoreError> {
    let of_key = client.of_key(key).await?;
    let found = of_key.and_then(OfKey::found).transpose();
    found.map_err(|skipped| StoreError::SourceUnsupported {
        evidence: skipped.evidence,
    })
}

fn unsupported(error: &dyn std::error::Error) -> StoreError {
    StoreError::SourceUnsupported {
        evidence: error.to_string(),
    }
}

#[async_trait]
impl Source for S3Source {
    async fn scan(&self, prefix: &str) -> Result<Box<dyn Scan>, StoreError> {
        self.client.hold_versioning().await?;
        Ok(Box::new(S3Scan::new(self.client.clone(), prefix)))
    }

    async fn look(&self, key: &ObjectKey) -> Result<Option<Listed>, StoreError> {
        look(&self.client, key).await
    }

    /// A store is far away: several are asked for at once.
    async fn look_at_all(&self, keys: &[ObjectKey]) -> Vec<Result<Option<Listed>, StoreError>> {
        // Hints come whatever the bucket keeps, and the next scan may be long away.
        if let Err(error) = self.client.hold_versioning().await {
            let (reason, evidence) = (error.reason(), error.to_string());
            let refused = |_| {
                let evidence = evidence.clone();
                Err(StoreError::SourceRefused { reason, evidence })
            };
            return keys.iter().map(refused).collect();
        }
        let mut looked: Vec<_> = keys.iter().map(|_| None).collect();
        for (place, keys) in keys.chunks(LOOKS_AT_ONCE).enumerate() {
            let mut looks = JoinSet::new();
            for (number, key) in keys.iter().cloned().enumerate() {
                let client = self.client.clone();
                let number = place * LOOKS_AT_ONCE + number;
                looks.spawn(async move { (number, look(&client, &key).await) });
            }
            while let Some(done) = looks.join_next().await {
                if let Ok((number, done)) = done
                    && let Some(looked) = looked.get_mut(number)
                {
                    *looked = Some(done);
                }
            }
        }
        let lost = || StoreError::SourceUnavailable {
            path: self.client.settings.bucket.to_string(),
            source: std::io::Error::other("a look at it was broken off"),
        };
        let looked = looked.into_iter();
        looked
            .map(|one| one.unwrap_or_else(|| Err(lost())))
            .collect()
    }

    async fn open(
        &self,
        key: &ObjectKey,
        version: &VersionId,
    ) -> Result<Arc<dyn SourceObject>, StoreError> {
        let seen = Seen::of(&self.client.head(key, version).await?)?;
        seen.hold(version)?;
        self.client.settings.hold_key(&seen.facts)?;
        let seen = self.with_tags(key, version, seen).await?;
        let number = self.opened.fetch_add(1, Ordering::Relaxed);
        let (client, streams) = (self.client.clone(), self.streams.clone());
        let found = (seen.facts.clone(), seen.checksum());
        let object = BucketObject::new(client, streams, number, (key, version), found);
        Ok(Arc::new(object))
    }

    async fn read_whole(
        &self,
        key: &ObjectKey,
        version: &VersionId,
        size: usize,
    ) -> Result<Whole, StoreError> {
        let (head, bytes) = self.client.read_whole(key, version, size).await?;
        let seen = Seen::of(&head)?;
        seen.hold(version)?;
        self.client.settings.hold_key(&seen.facts)?;
        let seen = self.with_tags(key, version, seen).await?;
        Ok(Whole {
            bytes,
            checksum: seen.checksum(),
            facts: Some(Box::new(seen.facts)),
        })
    }

    async fn removed(&self, key: &ObjectKey) -> Result<Option<Removed>, StoreError> {
        match found(&self.client, key).await {
            Ok(Some(Found::Removed(removed))) => Ok(Some(removed)),
            // What cannot be a version id is told by one of ours.
            Ok(_) | Err(StoreError::SourceUnsupported { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn history(&self, key: &ObjectKey) -> Result<History, StoreError> {
        let of_key = self.client.all_of_key(key).await?;
        of_key.history().map_err(|error| unsupported(&error))
    }

    async fn tags_of_all(&self, versions: &[(ObjectKey, VersionId)]) -> Vec<TagsTold> {
        let place = self.client.settings.bucket.as_str();
        ask_tags(versions, place, |(key, version)| {
            let client = self.client.clone();
            async move { client.tags(&key, &version).await }
        })
        .await
    }

    async fn versions_of(
        &self,
        key: &ObjectKey,
    ) -> Result<Option<BTreeSet<VersionId>>, StoreError> {
        if !key.as_str().starts_with(&self.client.settings.prefix) {
            return Ok(None);
        }
        self.client.hold_versioning().await?;
        let of_key = self.client.all_of_key(key).await?;
        let versions = of_key.versions().map_err(|error| unsupported(&error))?;
        Ok(versions)
    }

    fn keeps_versions(&self) -> bool {
        true
    }

    fn watch(&self) -> Result<Watch, StoreError> {
        let settings = &self.client.settings;
        if settings.webhook.is_none() && settings.queue.is_none() {
            return Ok(Watch::of_scans());
        }
        let (sender, hints) = mpsc::channel::<Hint>(HINTS_QUEUED_MAX);
        if let Some(webhook) = &settings.webhook {
            tokio::spawn(events::webhook::listen(
                webhook.clone(),
                events::Wanted::of(settings),
                sender.clone(),
            ));
        }
        if let Some(queue) = &settings.queue {
            let queue = events::queue::Queue::new(queue, settings, self.tls.clone(), &self.clock);
            let wanted = events::Wanted::of(settings);
            tokio::spawn(queue.take(wanted, self.rng.clone(), sender.clone()));
        }
        tokio::spawn(async move { sender.closed().await });
        Ok(Watch { hints })
    }
}

#[cfg(test)]
pub(crate) mod tests;
