//! Requests to one container: signed, tried again where that may help, and understood.

use std::{fmt, sync::Arc, time::Duration};

use bytes::Bytes;
use hyper::{Method, Response, header::CONTENT_LENGTH, http::response::Parts};
use sealift_outside::{Answer, AzureAsk, Bounds, HttpClient};
use sealift_terms::{
    Clock, Rng,
    limits::{
        S3_ANSWER_BYTES_MAX, S3_CONNECTIONS_IDLE_MAX, S3_RETRY_AFTER_MAX, S3_TIME_MAX, S3_TRIES_MAX,
    },
    pause,
};
use tokio_rustls::rustls::ClientConfig;

use super::{
    settings::AzureSettings,
    xml::{self, BlobsPage},
};
use crate::{
    StoreError,
    s3::{Ask, S3Error},
};

/// The first wait between two tries.
const RETRY_AFTER_MIN: Duration = Duration::from_millis(100);

/// One container.
pub(super) struct AzureClient {
    pub(super) settings: AzureSettings,
    http: HttpClient,
    clock: Arc<dyn Clock>,
    rng: Arc<dyn Rng>,
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
        // A container that does not answer is no object that is gone.
        match error.of_source(self.settings.container.as_str()) {
            StoreError::SourceGone => StoreError::SourceUnavailable {
                path: self.settings.container.to_string(),
                source: std::io::ErrorKind::NotFound.into(),
            },
            error => error,
        }
    }

    /// The whole answer; one that was lost in the middle is asked for again.
    pub(super) async fn whole(&self, ask: &Ask<'_>) -> Result<Response<Bytes>, S3Error> {
        let mut tries = 0;
        loop {
            tries += 1;
            match self.begin(ask).await?.whole().await {
                Ok(answer) => return Ok(answer),
                Err(_) if tries < S3_TRIES_MAX => self.pause(tries).await,
                Err(error) => return Err(error.into()),
            }
        }
    }

    pub(super) async fn head_of(&self, ask: &Ask<'_>) -> Result<Parts, S3Error> {
        Ok(self.whole(ask).await?.into_parts().0)
    }

    /// Asks until there is an answer that is no passing failure, at most so many times.
    pub(super) async fn begin(&self, ask: &Ask<'_>) -> Result<Answer, S3Error> {
        let mut tries = 0;
        loop {
            tries += 1;
            match self.once(ask).await {
                Err(error) if error.is_passing() && tries < S3_TRIES_MAX => self.pause(tries).await,
                outcome => return outcome,
            }
        }
    }

    /// Waits twice as long after each try, of which a random half is taken off.
    pub(super) async fn pause(&self, tries: u32) {
        let pauses = RETRY_AFTER_MIN..=S3_RETRY_AFTER_MAX;
        tokio::time::sleep(pause::after(tries.saturating_sub(1), pauses, &*self.rng)).await;
    }

    async fn once(&self, ask: &Ask<'_>) -> Result<Answer, S3Error> {
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
        let head = answer.head.clone();
        let length = head.headers.get(CONTENT_LENGTH);
        let has_body = ask.method != Method::HEAD && length.is_none_or(|length| length != "0");
        let body = match has_body {
            true => answer.whole().await?.into_body(),
            false => Bytes::new(),
        };
        // Its code stands in a header as well, which an answer to HEAD has, too.
        let told = head.headers.get("x-ms-error-code");
        let told = told.and_then(|code| code.to_str().ok());
        Err(S3Error::of(&head, &body).with_code(told))
    }
}
