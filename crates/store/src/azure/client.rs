//! Requests to one container: signed, tried again where that may help, and understood.

use std::{fmt, sync::Arc};

use bytes::Bytes;
use hyper::{Method, Response, http::response::Parts};
use sealift_outside::{Answer, AzureAsk, Bounds, HttpClient};
use sealift_terms::{
    Clock, Rng,
    limits::{S3_ANSWER_BYTES_MAX, S3_CONNECTIONS_IDLE_MAX, S3_TIME_MAX},
};
use tokio_rustls::rustls::ClientConfig;

use super::{
    settings::AzureSettings,
    xml::{self, BlobsPage},
};
use crate::{
    StoreError,
    s3::{Ask, S3Error},
    trying::{Tries, refusal},
};

/// One container.
pub(super) struct AzureClient {
    pub(super) settings: AzureSettings,
    http: HttpClient,
    clock: Arc<dyn Clock>,
    rng: Arc<dyn Rng>,
    pub(super) tries: Tries,
}

impl fmt::Debug for AzureClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let AzureSettings {
            endpoint,
            container,
            ..
        } = &self.settings;
        write!(f, "AzureClient({endpoint}, {container})")
    }
}

impl AzureClient {
    pub(super) fn new(
        settings: AzureSettings,
        tls: Option<Arc<ClientConfig>>,
        clock: Arc<dyn Clock>,
        rng: Arc<dyn Rng>,
    ) -> Self {
        let bounds = Bounds {
            time: S3_TIME_MAX,
            answer_bytes: S3_ANSWER_BYTES_MAX,
            idle: S3_CONNECTIONS_IDLE_MAX,
        };
        Self {
            http: HttpClient::new(settings.endpoint.clone(), tls, bounds),
            settings,
            clock,
            tries: Tries::new(rng.clone()),
            rng,
        }
    }

    /// The container's address, and version and suite of the last handshake.
    pub(super) fn reached(&self) -> String {
        let AzureSettings {
            account, container, ..
        } = &self.settings;
        let reached = self.http.reached();
        format!("container {container} of account {account} at {reached}")
    }

    /// Random hexadecimal digits.
    pub(super) fn drawn(&self) -> String {
        let mut random = [0; 8];
        self.rng.fill(&mut random);
        random.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// `List Blobs`: so many at most, behind a marker; with `include` what of each is told.
    pub(super) async fn blobs(
        &self,
        prefix: &str,
        marker: Option<&str>,
        count: usize,
        include: &str,
    ) -> Result<BlobsPage, S3Error> {
        let count = count.to_string();
        let mut ask = Ask::new(Method::GET, None)
            .query("restype", "container")
            .query("comp", "list")
            .query("maxresults", &count);
        if !include.is_empty() {
            ask = ask.query("include", include);
        }
        if !prefix.is_empty() {
            ask = ask.query("prefix", prefix);
        }
        if let Some(marker) = marker {
            ask = ask.query("marker", marker);
        }
        xml::blobs(self.whole(&ask).await?.body())
    }

    /// An error that is about the container.
    pub(super) fn of_container(&self, error: S3Error) -> StoreError {
        error.of_place(self.settings.container.as_str())
    }

    pub(super) async fn whole(&self, ask: &Ask<'_>) -> Result<Response<Bytes>, S3Error> {
        self.whole_told(ask, || {}).await
    }

    /// As [`Self::whole`]; each request is told of.
    pub(super) async fn whole_told(
        &self,
        ask: &Ask<'_>,
        tell: impl Fn() + Sync,
    ) -> Result<Response<Bytes>, S3Error> {
        let told = || {
            tell();
            self.once(ask)
        };
        self.tries.whole(told).await
    }

    pub(super) async fn head_of(&self, ask: &Ask<'_>) -> Result<Parts, S3Error> {
        Ok(self.whole(ask).await?.into_parts().0)
    }

    /// The head of an answer, and its body as it comes.
    pub(super) async fn begin(&self, ask: &Ask<'_>) -> Result<Answer, S3Error> {
        self.tries.of(|| self.once(ask)).await
    }

    pub(super) async fn once(&self, ask: &Ask<'_>) -> Result<Answer, S3Error> {
        let AzureSettings {
            account,
            credentials,
            ..
        } = &self.settings;
        let asked = AzureAsk {
            method: ask.method.clone(),
            path: &self.settings.path(ask.key),
            query: ask.query.clone(),
            headers: ask.headers.iter().cloned().collect(),
            body: ask.body.clone(),
        };
        let request = asked.signed(account, credentials, self.clock.now())?;
        let answer = self.http.begin_within(request, ask.time()).await?;
        if answer.head.status.is_success() {
            return Ok(answer);
        }
        // Its code stands in a header as well, which an answer to HEAD has, too.
        let told = answer.head.headers.get("x-ms-error-code").cloned();
        let told = told.as_ref().and_then(|code| code.to_str().ok());
        let error = refusal(answer, &ask.method, self.clock.now()).await;
        Err(error.with_code(told))
    }
}
