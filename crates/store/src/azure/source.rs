//! A container as a source.
//!
//! ```text
//!   scan ─▶ List Blobs include=versions   what is there, and what lies below it
//!   look ─▶ List Blobs of one             one key
//!   read ─▶ Get Blob versionid            a small object in one request,
//!           Get Blob x-ms-range If-Match  a large one in windows of 8 MiB that parts go on in
//!           Get Blob Tags                 where the service tells of tags
//! ```
//!
//! An account that keeps versions has no delete markers: a blob that was deleted has versions
//! and no current one. One that keeps none is like a directory: what was overwritten is gone,
//! and a reading that it happened to is refused.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use async_trait::async_trait;
use hyper::Method;
use sealift_outside::Answer;
use sealift_terms::{
    Clock, ObjectKey, Rng, VersionId,
    limits::{EARLIER_LISTED_MAX, VERSIONS_OF_KEY_MAX},
};
use tokio_rustls::rustls::ClientConfig;

use super::{
    client::AzureClient,
    facts::Seen,
    settings::AzureSettings,
    xml::{self, BlobsPage},
};
use crate::{
    History, Listed, Scan, Source, SourceObject, StoreError, TagsTold, Watch, Whole,
    oldest_first::{OldestFirst, of_key},
    s3::{
        Ask, BucketObject, S3Error, Streams, Windows, facts::unsupported, of_key::Found, version,
    },
    tagged::ask_tags,
};

/// A container as a source.
#[derive(Debug)]
pub struct AzureSource {
    pub(super) client: Arc<AzureClient>,
    streams: Arc<Streams>,
    opened: AtomicU64,
}

impl AzureSource {
    /// Takes a container as source. Nothing is asked of it yet.
    #[must_use]
    pub fn new(
        settings: AzureSettings,
        tls: Option<Arc<ClientConfig>>,
        clock: Arc<dyn Clock>,
        rng: Arc<dyn Rng>,
    ) -> Self {
        Self {
            client: Arc::new(AzureClient::new(settings, tls, clock, rng)),
            streams: Arc::default(),
            opened: AtomicU64::new(0),
        }
    }
}

/// A request of one version, as far as it has an id.
fn of_version<'a>(method: Method, key: &'a ObjectKey, version: &'a VersionId) -> Ask<'a> {
    let ask = Ask::new(method, Some(key.as_str()));
    match version::own(version) {
        version::NULL => ask,
        id => ask.query("versionid", id),
    }
}

impl AzureClient {
    /// A page of what is there, with the versions below it where those are kept.
    pub(super) async fn source_page(
        &self,
        prefix: &str,
        marker: Option<&str>,
        count: usize,
    ) -> Result<BlobsPage, StoreError> {
        let include = match self.settings.keeps_versions {
            true => "versions",
            false => "",
        };
        let page = self.blobs(prefix, marker, count, include).await;
        page.map_err(|error| self.of_container(error))
    }

    pub(super) async fn properties(
        &self,
        key: &ObjectKey,
        version: &VersionId,
    ) -> Result<Seen, StoreError> {
        let ask = of_version(Method::HEAD, key, version);
        let head = self.head_of(&ask).await;
        let seen = Seen::of(&head.map_err(|error| error.of_source(key.as_str()))?)?;
        seen.hold(version)?;
        Ok(seen)
    }

    pub(super) async fn tags(
        &self,
        key: &ObjectKey,
        version: &VersionId,
    ) -> Result<BTreeMap<String, String>, StoreError> {
        let ask = of_version(Method::GET, key, version).query("comp", "tags");
        let tags = self.whole(&ask).await;
        let tags = tags.and_then(|answer| xml::tags(answer.body()));
        tags.map_err(|error| error.of_source(key.as_str()))
    }

    /// With its tags, where it has any.
    async fn with_tags(
        &self,
        key: &ObjectKey,
        version: &VersionId,
        mut seen: Seen,
    ) -> Result<Seen, StoreError> {
        if seen.tags > 0 {
            seen.facts.tags = self.tags(key, version).await?;
        }
        let checked = seen.facts.check();
        checked.map_err(|error| unsupported(&error.to_string()))?;
        Ok(seen)
    }
}

#[async_trait]
impl Windows for AzureClient {
    async fn window(
        &self,
        key: &ObjectKey,
        version: &VersionId,
        etag: Option<&str>,
        (from, to): (u64, u64),
    ) -> Result<Answer, S3Error> {
        let mut ask = of_version(Method::GET, key, version).header(
            "x-ms-range",
            format!("bytes={from}-{}", to.saturating_sub(1)),
        );
        if let Some(etag) = etag {
            ask = ask.header("if-match", etag.to_owned());
        }
        self.begin(&ask).await
    }

    async fn wait(&self, tries: u32) {
        self.tries.pause(tries, None).await;
    }

    async fn is_still(&self, key: &ObjectKey, version: &VersionId) -> Result<(), StoreError> {
        match self.settings.keeps_versions {
            true => Ok(()),
            false => self.properties(key, version).await.map(drop),
        }
    }
}

#[async_trait]
impl Source for AzureSource {
    async fn scan(&self, prefix: &str) -> Result<Box<dyn Scan>, StoreError> {
        // That it is not there is told at once, and not as an empty listing.
        let asked = self.client.source_page(prefix, None, 1);
        asked.await?;
        Ok(Box::new(OldestFirst::new(self.client.clone(), prefix)))
    }

    async fn look(&self, key: &ObjectKey) -> Result<Option<Listed>, StoreError> {
        if !key.as_str().starts_with(&self.client.settings.prefix) {
            return Ok(None);
        }
        let of_key = of_key(&*self.client, key.as_str(), EARLIER_LISTED_MAX).await?;
        match of_key.found() {
            Some(Ok(Found::Listed(listed))) => Ok(Some(listed)),
            Some(Err(skipped)) => Err(unsupported(&skipped.evidence)),
            Some(Ok(Found::Removed(_))) | None => Ok(None),
        }
    }

    async fn open(
        &self,
        key: &ObjectKey,
        version: &VersionId,
    ) -> Result<Arc<dyn SourceObject>, StoreError> {
        let seen = self.client.properties(key, version).await?;
        let seen = self.client.with_tags(key, version, seen).await?;
        let number = self.opened.fetch_add(1, Ordering::Relaxed);
        let (client, streams) = (self.client.clone(), self.streams.clone());
        let found = (seen.facts, None);
        let object = BucketObject::new(client, streams, number, (key, version), found);
        Ok(Arc::new(object))
    }

    async fn read_whole(
        &self,
        key: &ObjectKey,
        version: &VersionId,
        size: usize,
    ) -> Result<Whole, StoreError> {
        let (client, ask) = (&*self.client, of_version(Method::GET, key, version));
        let read = client.tries.small(key.as_str(), size, || client.once(&ask));
        let (head, bytes) = read.await?;
        let seen = Seen::of(&head)?;
        seen.hold(version)?;
        let seen = self.client.with_tags(key, version, seen).await?;
        Ok(Whole {
            bytes,
            checksum: None,
            facts: Some(Box::new(seen.facts)),
        })
    }

    async fn history(&self, key: &ObjectKey) -> Result<History, StoreError> {
        let of_key = of_key(&*self.client, key.as_str(), VERSIONS_OF_KEY_MAX).await?;
        let history = of_key.history();
        history.map_err(|error| unsupported(&error.to_string()))
    }

    async fn tags_of_all(&self, versions: &[(ObjectKey, VersionId)]) -> Vec<TagsTold> {
        let place = self.client.settings.container.as_str();
        ask_tags(versions, place, |(key, version)| {
            let client = self.client.clone();
            async move { client.tags(&key, &version).await }
        })
        .await
    }

    fn keeps_versions(&self) -> bool {
        self.client.settings.keeps_versions
    }

    fn watch(&self) -> Result<Watch, StoreError> {
        Ok(Watch::of_scans())
    }
}
