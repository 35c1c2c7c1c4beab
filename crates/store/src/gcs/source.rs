//! The bucket as a [`Source`].

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use async_trait::async_trait;
use sealift_terms::{
    Clock, ObjectKey, Rng, VersionId,
    limits::{EARLIER_LISTED_MAX, VERSIONS_OF_KEY_MAX},
};
use tokio_rustls::rustls::ClientConfig;

use super::{
    checking::{self, Checked},
    client::GcsClient,
    facts::Seen,
};
use crate::{
    History, Listed, Removed, Scan, Source, SourceObject, StoreError, Watch, Whole,
    oldest_first::{OldestFirst, of_key},
    s3::{BucketObject, S3Settings, Streams, facts::unsupported, of_key::Found},
};

/// A bucket that keeps generations, as a source.
#[derive(Debug)]
pub struct GcsSource {
    pub(super) client: Arc<GcsClient>,
    streams: Arc<Streams>,
    opened: AtomicU64,
}

impl GcsSource {
    /// Takes a bucket as source. Nothing is asked of it yet.
    #[must_use]
    pub fn new(
        settings: S3Settings,
        tls: Option<Arc<ClientConfig>>,
        clock: Arc<dyn Clock>,
        rng: Arc<dyn Rng>,
    ) -> Self {
        Self {
            client: Arc::new(GcsClient::new(settings, tls, clock, rng)),
            streams: Arc::default(),
            opened: AtomicU64::new(0),
        }
    }

    async fn found(&self, key: &ObjectKey) -> Result<Option<Found>, StoreError> {
        if !key.as_str().starts_with(&self.client.settings().prefix) {
            return Ok(None);
        }
        let of_key = of_key(&*self.client, key.as_str(), EARLIER_LISTED_MAX).await?;
        let found = of_key.found().transpose();
        found.map_err(|skipped| unsupported(&skipped.evidence))
    }
}

#[async_trait]
impl Source for GcsSource {
    async fn scan(&self, prefix: &str) -> Result<Box<dyn Scan>, StoreError> {
        self.client.hold_versioning().await?;
        Ok(Box::new(OldestFirst::new(self.client.clone(), prefix)))
    }

    async fn look(&self, key: &ObjectKey) -> Result<Option<Listed>, StoreError> {
        match self.found(key).await? {
            Some(Found::Listed(listed)) => Ok(Some(listed)),
            Some(Found::Removed(_)) | None => Ok(None),
        }
    }

    async fn open(
        &self,
        key: &ObjectKey,
        version: &VersionId,
    ) -> Result<Arc<dyn SourceObject>, StoreError> {
        let seen = Seen::of(&self.client.head(key, version).await?, version)?;
        seen.hold_key(self.client.settings())?;
        let number = self.opened.fetch_add(1, Ordering::Relaxed);
        let (client, streams) = (self.client.clone(), self.streams.clone());
        let found = (seen.facts, None);
        let object = BucketObject::new(client, streams, number, (key, version), found);
        Ok(Checked::new(object, seen.crc32c))
    }

    async fn read_whole(
        &self,
        key: &ObjectKey,
        version: &VersionId,
        size: usize,
    ) -> Result<Whole, StoreError> {
        let (head, bytes) = self.client.small(key, version, size).await?;
        let seen = Seen::of(&head, version)?;
        seen.hold_key(self.client.settings())?;
        checking::hold(seen.crc32c, crc32c::crc32c(&bytes))?;
        Ok(Whole {
            bytes,
            checksum: None,
            facts: Some(Box::new(seen.facts)),
        })
    }

    async fn removed(&self, key: &ObjectKey) -> Result<Option<Removed>, StoreError> {
        match self.found(key).await? {
            Some(Found::Removed(removed)) => Ok(Some(removed)),
            Some(Found::Listed(_)) | None => Ok(None),
        }
    }

    async fn history(&self, key: &ObjectKey) -> Result<History, StoreError> {
        let of_key = of_key(&*self.client, key.as_str(), VERSIONS_OF_KEY_MAX).await?;
        let history = of_key.history();
        history.map_err(|error| unsupported(&error.to_string()))
    }

    fn keeps_versions(&self) -> bool {
        true
    }

    fn watch(&self) -> Result<Watch, StoreError> {
        Ok(Watch::of_scans())
    }
}
