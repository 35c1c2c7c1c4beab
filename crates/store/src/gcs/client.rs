//! Requests to one bucket, over the client that S3's words are said by as well.

use std::sync::Arc;

use async_trait::async_trait;
use hyper::{Method, http::response::Parts};
use sealift_outside::Answer;
use sealift_terms::{Clock, ObjectKey, Rng, VersionId};
use tokio_rustls::rustls::ClientConfig;

use super::{
    facts,
    xml::{self, Marker},
};
use crate::{
    StoreError,
    oldest_first::Names,
    s3::{Ask, S3Client, S3Error, S3Settings, Windows, xml::ListedVersion},
};

/// One bucket.
#[derive(Debug)]
pub(super) struct GcsClient(S3Client);

impl GcsClient {
    pub(super) fn new(
        settings: S3Settings,
        tls: Option<Arc<ClientConfig>>,
        clock: Arc<dyn Clock>,
        rng: Arc<dyn Rng>,
    ) -> Self {
        Self(S3Client::new(settings, tls, clock, rng))
    }

    pub(super) fn settings(&self) -> &S3Settings {
        &self.0.settings
    }

    /// The bucket's address, and version and suite of the last handshake.
    pub(super) fn reached(&self) -> String {
        self.0.reached()
    }

    /// Refuses a bucket that does not keep generations.
    pub(super) async fn hold_versioning(&self) -> Result<(), StoreError> {
        self.0.hold_versioning().await
    }

    pub(super) async fn head(
        &self,
        key: &ObjectKey,
        version: &VersionId,
    ) -> Result<Parts, StoreError> {
        let of = |method| of_generation(method, key, version);
        self.0
            .head_or_why(key, of(Method::HEAD), of(Method::GET))
            .await
    }

    /// All bytes of a small generation.
    pub(super) async fn small(
        &self,
        key: &ObjectKey,
        version: &VersionId,
        size: usize,
    ) -> Result<(Parts, Vec<u8>), StoreError> {
        let ask = of_generation(Method::GET, key, version);
        self.0.small(key, &ask, size).await
    }
}

/// A request of one generation. No condition goes with it: Google holds those against the live
/// generation, and what was overwritten is to be read as well. Its bytes never change.
fn of_generation<'a>(method: Method, key: &'a ObjectKey, version: &'a VersionId) -> Ask<'a> {
    Ask::new(method, Some(key.as_str()))
        .query("generation", version.as_str())
        .with_stored_bytes()
}

#[async_trait]
impl Names for GcsClient {
    type Marker = Marker;

    fn prefix(&self) -> &str {
        &self.0.settings.prefix
    }

    async fn versions(
        &self,
        prefix: &str,
        after: Option<&Marker>,
        count: usize,
    ) -> Result<(Vec<ListedVersion>, Option<Marker>), StoreError> {
        let count = count.to_string();
        let mut ask = Ask::new(Method::GET, None)
            .query("versions", "")
            .query("encoding-type", "url")
            .query("max-keys", &count);
        if !prefix.is_empty() {
            ask = ask.query("prefix", prefix);
        }
        if let Some(Marker { name, generation }) = after {
            ask = ask.query("marker", name);
            ask = ask.query("generation-marker", generation);
        }
        let answer = self.0.whole(&ask).await;
        let page = answer.and_then(|answer| xml::generations(answer.body()));
        let page = page.map_err(|error| self.0.of_bucket(error))?;
        let turns_round = match (&page.next, after) {
            (Some(next), Some(after)) => !next.is_behind(after),
            _ => false,
        };
        match turns_round {
            true => Err(self.shape("its next page begins where an earlier one did")),
            false => Ok((page.versions, page.next)),
        }
    }

    fn shape(&self, what: &'static str) -> StoreError {
        self.0.of_bucket(S3Error::Shape { what })
    }

    fn out_of_order(&self) -> &'static str {
        "its names are not in the order of their bytes"
    }
}

#[async_trait]
impl Windows for GcsClient {
    async fn window(
        &self,
        key: &ObjectKey,
        version: &VersionId,
        _etag: Option<&str>,
        (from, to): (u64, u64),
    ) -> Result<Answer, S3Error> {
        let range = format!("bytes={from}-{}", to.saturating_sub(1));
        let ask = of_generation(Method::GET, key, version).header("range", range);
        let answer = self.0.begin(&ask).await?;
        let what = "another generation than was asked for";
        match facts::is_of(&answer.head.headers, version) {
            true => Ok(answer),
            false => Err(S3Error::Shape { what }),
        }
    }

    async fn wait(&self, tries: u32) {
        self.0.pause(tries).await;
    }
}
