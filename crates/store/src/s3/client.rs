//! Requests to one bucket: signed, tried again where that may help, and understood.

use std::{collections::BTreeMap, fmt, sync::Arc, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use hyper::{
    Method, Request, Response,
    header::{ACCEPT_ENCODING, HeaderValue},
    http::response::Parts,
};
use sealift_outside::{
    Answer, AwsAsk, AwsCredentials, Bounds, HttpClient, Keychain, Payload, Words,
};
use sealift_terms::{
    Clock, ObjectKey, Reason, Rng, VersionId,
    limits::{
        EARLIER_LISTED_MAX, S3_ANSWER_BYTES_MAX, S3_CONNECTIONS_IDLE_MAX, S3_LISTED_AT_ONCE,
        S3_SENT_BYTES_MIN, S3_TIME_MAX, VERSIONS_OF_KEY_MAX,
    },
    percent::encode_path,
};
use tokio_rustls::rustls::ClientConfig;

use super::{
    error::S3Error,
    object::Windows,
    of_key::OfKey,
    settings::S3Settings,
    told_tags::ToldTags,
    uri::query,
    version,
    xml::{self, ListedVersion, VersionsPage},
};
use crate::{
    StoreError,
    onward::Onward,
    trying::{Tries, refusal},
};

fn service(words: Words) -> &'static str {
    match words {
        Words::Aws => "s3",
        Words::Google => "storage",
    }
}

/// What is asked.
#[derive(Debug)]
pub(crate) struct Ask<'a> {
    pub(crate) method: Method,
    /// Of which key; none for the bucket itself.
    pub(crate) key: Option<&'a str>,
    pub(crate) query: Vec<(&'a str, &'a str)>,
    pub(crate) headers: Vec<(&'a str, String)>,
    pub(crate) body: Payload,
    /// Whether bytes that are stored compressed are to come as they are.
    as_stored: bool,
}

impl<'a> Ask<'a> {
    pub(crate) fn new(method: Method, key: Option<&'a str>) -> Self {
        Self {
            method,
            key,
            query: Vec::new(),
            headers: Vec::new(),
            body: Payload::default(),
            as_stored: false,
        }
    }

    /// Google takes objects of `Content-Encoding: gzip` apart for who does not say that it can
    /// do that itself.
    pub(crate) fn with_stored_bytes(mut self) -> Self {
        self.as_stored = true;
        self
    }

    pub(crate) fn body(mut self, body: impl Into<Payload>) -> Self {
        self.body = body.into();
        self
    }

    /// How long it may take to send it and to get the head of an answer.
    pub(crate) fn time(&self) -> Duration {
        S3_TIME_MAX + Duration::from_secs(self.body.len() / S3_SENT_BYTES_MIN)
    }

    pub(crate) fn query(mut self, name: &'a str, value: &'a str) -> Self {
        self.query.push((name, value));
        self
    }

    pub(crate) fn header(mut self, name: &'a str, value: String) -> Self {
        self.headers.push((name, value));
        self
    }

    /// With the store's checksum among the headers of the answer.
    fn with_checksum(self) -> Self {
        self.header("x-amz-checksum-mode", "ENABLED".to_owned())
    }
}

/// One bucket.
pub(crate) struct S3Client {
    pub(crate) settings: S3Settings,
    http: HttpClient,
    keychain: Keychain,
    clock: Arc<dyn Clock>,
    tries: Tries,
    /// Whether no word of tags means that there are none.
    pub(super) told_tags: ToldTags,
}

impl fmt::Debug for S3Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "S3Client({}, {})",
            self.settings.endpoint, self.settings.bucket
        )
    }
}

impl S3Client {
    pub(crate) fn new(
        settings: S3Settings,
        tls: Option<Arc<ClientConfig>>,
        clock: Arc<dyn Clock>,
        rng: Arc<dyn Rng>,
    ) -> Self {
        let bounds = Bounds {
            time: S3_TIME_MAX,
            answer_bytes: S3_ANSWER_BYTES_MAX,
            idle: S3_CONNECTIONS_IDLE_MAX,
        };
        let told_clock = clock.clone();
        Self {
            http: HttpClient::new(settings.endpoint.clone(), tls, bounds),
            keychain: Keychain::new(settings.credentials.clone(), clock.clone()),
            settings,
            clock,
            tries: Tries::new(rng),
            told_tags: ToldTags::new(told_clock),
        }
    }

    /// The bucket's address, and version and suite of the last handshake.
    pub(crate) fn reached(&self) -> String {
        format!("bucket {} of {}", self.settings.bucket, self.http.reached())
    }

    /// `GetBucketVersioning`: what is asked of it here is that it is on.
    pub(crate) async fn hold_versioning(&self) -> Result<(), StoreError> {
        let ask = Ask::new(Method::GET, None).query("versioning", "");
        let answer = self.whole(&ask).await;
        let state = answer.and_then(|answer| xml::versioning(answer.body()));
        match state.map_err(|error| self.of_bucket(error))?.as_str() {
            "Enabled" => Ok(()),
            state => Err(StoreError::SourceRefused {
                reason: Reason::SrcVersioningDisabled,
                evidence: format!(
                    "versioning of bucket {} is {}",
                    self.settings.bucket,
                    if state.is_empty() { "off" } else { state }
                ),
            }),
        }
    }

    /// `ListObjectVersions`: so many at most, behind a key and version.
    pub(super) async fn versions(
        &self,
        prefix: &str,
        after: Option<&(String, Option<String>)>,
        count: usize,
    ) -> Result<VersionsPage, StoreError> {
        let at_once = count.to_string();
        let mut ask = Ask::new(Method::GET, None)
            .query("versions", "")
            .query("encoding-type", "url")
            .query("max-keys", &at_once);
        if !prefix.is_empty() {
            ask = ask.query("prefix", prefix);
        }
        if let Some((key, version)) = after {
            ask = ask.query("key-marker", key);
            if let Some(version) = version {
                ask = ask.query("version-id-marker", version);
            }
        }
        let answer = self.whole(&ask).await;
        let page = answer.and_then(|answer| xml::versions(answer.body()));
        page.map_err(|error| self.of_bucket(error))
    }

    /// What is there of a key, the newest first: the first of all that begins so. It takes no
    /// other right than a listing does, and a key that is not there cannot be taken for one
    /// that is denied.
    pub(super) async fn of_key(&self, key: &ObjectKey) -> Result<Option<OfKey>, StoreError> {
        let page = self
            .versions(key.as_str(), None, EARLIER_LISTED_MAX + 2)
            .await?;
        let is_cut = page.next.is_some_and(|(next, _)| next == key.as_str());
        let mut of_key = OfKey::default();
        let found = page.versions.into_iter();
        found
            .filter(|one| one.key == key.as_str())
            .for_each(|one| of_key.add(one));
        of_key.more |= is_cut;
        Ok(of_key.latest().is_some().then_some(of_key))
    }

    /// All versions of a key, as many as are sent; the newest first.
    pub(super) async fn all_of_key(&self, key: &ObjectKey) -> Result<OfKey, StoreError> {
        let mut of_key = OfKey::up_to(VERSIONS_OF_KEY_MAX);
        let mut onward = Onward::default();
        loop {
            let page = self.versions(key.as_str(), onward.last(), S3_LISTED_AT_ONCE);
            let page = page.await?;
            let is_empty = page.versions.is_empty();
            let own = |one: &ListedVersion| one.key == key.as_str();
            page.versions
                .into_iter()
                .filter(own)
                .for_each(|one| of_key.add(one));
            let next = page.next.filter(|(next, _)| next == key.as_str());
            let Some(next) = next.filter(|_| !of_key.more) else {
                return Ok(of_key);
            };
            let taken = onward.take(&next, is_empty);
            taken.map_err(|what| self.of_bucket(S3Error::Shape { what }))?;
        }
    }

    /// `HeadObject` of a version.
    pub(super) async fn head(
        &self,
        key: &ObjectKey,
        version: &VersionId,
    ) -> Result<Parts, StoreError> {
        let id = version::own(version);
        let of = |method| Ask::new(method, Some(key.as_str())).query("versionId", id);
        let whole = of(Method::HEAD).with_checksum();
        self.head_or_why(key, whole, of(Method::GET)).await
    }

    /// What HEAD answers. Where that does not say why not, GET of the first byte does.
    pub(crate) async fn head_or_why(
        &self,
        key: &ObjectKey,
        head: Ask<'_>,
        get: Ask<'_>,
    ) -> Result<Parts, StoreError> {
        let answer = match self.begin(&head).await {
            Err(error) if error.says_little() => {
                let first = get.header("range", "bytes=0-0".to_owned());
                self.begin(&first).await.and(Err(error))
            }
            answer => answer,
        };
        let answer = answer.map_err(|error| error.of_source(key.as_str()))?;
        Ok(answer.head)
    }

    /// `GetObjectTagging`.
    pub(super) async fn tags(
        &self,
        key: &ObjectKey,
        version: &VersionId,
    ) -> Result<BTreeMap<String, String>, StoreError> {
        let ask = Ask::new(Method::GET, Some(key.as_str()))
            .query("tagging", "")
            .query("versionId", version::own(version));
        let tags = match self.whole(&ask).await {
            Ok(answer) => xml::tags(answer.body()),
            Err(S3Error::Answered { code, .. }) if code == "NoSuchTagSet" => {
                return Ok(BTreeMap::new());
            }
            Err(error) => Err(error),
        };
        tags.map_err(|error| error.of_source(key.as_str()))
    }

    /// Whether something may be asked: that there is nothing of it, or that the store has no such
    /// call, is an answer as well.
    pub(super) async fn may(&self, ask: &Ask<'_>) -> Result<String, StoreError> {
        match self.whole(ask).await {
            Ok(_) => Ok("it may be asked".to_owned()),
            Err(error) if error.is_of_the_matter() => Ok(format!("it may be asked: {error}")),
            Err(error) => Err(self.of_bucket(error)),
        }
    }

    /// `GetObject` of a version of `size` bytes, which are few.
    pub(super) async fn read_whole(
        &self,
        key: &ObjectKey,
        version: &VersionId,
        size: usize,
    ) -> Result<(Parts, Vec<u8>), StoreError> {
        let ask = Ask::new(Method::GET, Some(key.as_str()))
            .query("versionId", version::own(version))
            .with_checksum();
        self.small(key, &ask, size).await
    }

    /// What is answered with so many bytes, which are few, and with no other number.
    pub(crate) async fn small(
        &self,
        key: &ObjectKey,
        ask: &Ask<'_>,
        size: usize,
    ) -> Result<(Parts, Vec<u8>), StoreError> {
        let read = self.tries.small(key.as_str(), size, || self.once(ask));
        read.await
    }

    /// An error that is about the bucket.
    pub(crate) fn of_bucket(&self, error: S3Error) -> StoreError {
        error.of_place(self.settings.bucket.as_str())
    }

    pub(crate) async fn whole(&self, ask: &Ask<'_>) -> Result<Response<Bytes>, S3Error> {
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

    /// The head of an answer, and its body as it comes.
    pub(crate) async fn begin(&self, ask: &Ask<'_>) -> Result<Answer, S3Error> {
        self.tries.of(|| self.once(ask)).await
    }

    /// Waits between two tries.
    pub(crate) async fn pause(&self, tries: u32) {
        self.tries.pause(tries, None).await;
    }

    /// Credentials may be what is wrong: others are looked for before they are used again.
    pub(super) fn doubt(&self) {
        self.keychain.doubt();
    }

    /// Asks once, and takes an answer of any status.
    pub(super) async fn begin_any(&self, ask: &Ask<'_>) -> Result<Answer, S3Error> {
        let credentials = self.keychain.credentials().await?;
        let request = self.request(ask, &credentials)?;
        Ok(self.http.begin_within(request, ask.time()).await?)
    }

    /// As [`Self::begin_any`], of what must not be asked twice; `more` time than sending takes.
    pub(super) async fn begin_once(
        &self,
        ask: &Ask<'_>,
        more: Duration,
    ) -> Result<Answer, S3Error> {
        let credentials = self.keychain.credentials().await?;
        let request = self.request(ask, &credentials)?;
        let time = ask.time() - S3_TIME_MAX + more;
        Ok(self.http.begin_once(request, time).await?)
    }

    async fn once(&self, ask: &Ask<'_>) -> Result<Answer, S3Error> {
        let answer = self.begin_any(ask).await?;
        if answer.head.status.is_success() {
            return Ok(answer);
        }
        let error = refusal(answer, &ask.method, self.clock.now()).await;
        if error.is_denied() {
            self.keychain.doubt();
        }
        Err(error)
    }

    fn request(
        &self,
        ask: &Ask<'_>,
        credentials: &AwsCredentials,
    ) -> Result<Request<Payload>, S3Error> {
        let (key, words) = (ask.key.unwrap_or_default(), self.settings.words);
        let path = match self.settings.path_style {
            true if ask.key.is_none() => format!("/{}", self.settings.bucket),
            true => format!("/{}/{}", self.settings.bucket, encode_path(key)),
            false => format!("/{}", encode_path(key)),
        };
        let mut headers = BTreeMap::from([(words.hash_header(), String::new())]);
        let more = ask.headers.iter();
        headers.extend(more.map(|(name, value)| (*name, value.clone())));
        if self.settings.requester_pays {
            headers.insert("x-amz-request-payer", "requester".to_owned());
        }
        let as_stored = ask.as_stored;
        let ask = AwsAsk {
            method: ask.method.clone(),
            path: &path,
            query: &query(&ask.query),
            headers,
            body: ask.body.clone(),
            region: self.settings.region.as_str(),
            service: service(words),
            words,
        };
        let mut request = ask.signed(self.http.endpoint(), credentials, self.clock.now())?;
        if as_stored {
            // Not signed: what stands before Google's service may write it anew.
            let gzip = HeaderValue::from_static("gzip");
            request.headers_mut().insert(ACCEPT_ENCODING, gzip);
        }
        Ok(request)
    }
}

#[async_trait]
impl Windows for S3Client {
    /// `GetObject` of a range.
    async fn window(
        &self,
        key: &ObjectKey,
        version: &VersionId,
        etag: Option<&str>,
        (from, to): (u64, u64),
    ) -> Result<Answer, S3Error> {
        let mut ask = Ask::new(Method::GET, Some(key.as_str()))
            .query("versionId", version::own(version))
            .header("range", format!("bytes={from}-{}", to.saturating_sub(1)));
        if let Some(etag) = etag {
            ask = ask.header("if-match", etag.to_owned());
        }
        self.begin(&ask).await
    }

    async fn wait(&self, tries: u32) {
        self.pause(tries).await;
    }
}
