//! What is asked of the bucket that a store rests in, one request each, counted.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use bytes::Bytes;
use hyper::{Method, Response, http::response::Parts};
use sealift_outside::Payload;
use sealift_terms::{
    Clock, Reason, Rng,
    limits::{S3_LISTED_AT_ONCE, S3_TRIES_MAX},
};
use tokio_rustls::rustls::ClientConfig;

use super::{
    super::{
        S3Settings,
        client::{Ask, S3Client},
        error::S3Error,
        xml as answers,
    },
    xml::{self, OpenUpload, StoredPart},
};
use crate::{StoreEntry, StoreError, StoreName};

/// What is asked, as the API names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Call {
    Head,
    Get,
    Put,
    Delete,
    List,
    BeginUpload,
    PutPart,
    Complete,
    Abort,
    ListParts,
    ListUploads,
    Versioning,
}

const CALLS: [(Call, &str); 12] = [
    (Call::Head, "HeadObject"),
    (Call::Get, "GetObject"),
    (Call::Put, "PutObject"),
    (Call::Delete, "DeleteObject"),
    (Call::List, "ListObjectsV2"),
    (Call::BeginUpload, "CreateMultipartUpload"),
    (Call::PutPart, "UploadPart"),
    (Call::Complete, "CompleteMultipartUpload"),
    (Call::Abort, "AbortMultipartUpload"),
    (Call::ListParts, "ListParts"),
    (Call::ListUploads, "ListMultipartUploads"),
    (Call::Versioning, "GetBucketVersioning"),
];

/// Requests made, by what was asked.
#[derive(Debug, Default)]
pub(super) struct Counts([AtomicU64; CALLS.len()]);

impl Counts {
    fn count(&self, call: Call) {
        let counters = CALLS.iter().zip(&self.0);
        for ((counted, _), counter) in counters {
            if *counted == call {
                counter.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    pub(super) fn all(&self) -> Vec<(&'static str, u64)> {
        let counters = CALLS.iter().zip(&self.0);
        counters
            .map(|((_, name), counter)| (*name, counter.load(Ordering::Relaxed)))
            .collect()
    }
}

/// When something may be put in the place of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum If {
    /// Nothing is there.
    Absent,
    /// What has this entity tag is there.
    Is(String),
}

/// What became of something that was put under a condition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It is there, under this entity tag.
    Done(String),
    /// The condition does not hold.
    Conflict,
    /// There is no such upload, or not with these parts.
    NoUpload,
}

/// What is there of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) len: u64,
    pub(super) etag: String,
}

/// One bucket, of which what begins with a prefix is the store's.
#[derive(Debug)]
pub(super) struct Bucket {
    client: S3Client,
    counts: Arc<Counts>,
}

impl Bucket {
    pub(super) fn new(
        settings: S3Settings,
        tls: Option<Arc<ClientConfig>>,
        clock: Arc<dyn Clock>,
        rng: Arc<dyn Rng>,
        counts: Arc<Counts>,
    ) -> Self {
        let client = S3Client::new(settings, tls, clock, rng);
        Self { client, counts }
    }

    /// Where it is, for messages.
    pub(super) fn reached(&self) -> String {
        self.client.reached()
    }

    pub(super) fn name(&self) -> &str {
        self.client.settings.bucket.as_str()
    }

    fn key(&self, name: &str) -> String {
        format!("{}{name}", self.client.settings.prefix)
    }

    async fn whole(&self, call: Call, ask: &Ask<'_>) -> Result<Response<Bytes>, S3Error> {
        let mut tries = 0;
        loop {
            tries += 1;
            self.counts.count(call);
            match self.client.begin(ask).await?.whole().await {
                Ok(answer) => return Ok(answer),
                // Lost in the middle of its body.
                Err(_) if tries < S3_TRIES_MAX => self.client.pause(tries).await,
                Err(error) => return Err(error.into()),
            }
        }
    }

    async fn head_of(&self, call: Call, ask: &Ask<'_>) -> Result<Parts, S3Error> {
        Ok(self.whole(call, ask).await?.into_parts().0)
    }

    /// What is there of a file; `None` for nothing.
    pub(super) async fn head(&self, name: &str) -> Result<Option<Seen>, StoreError> {
        let key = self.key(name);
        let ask = Ask::new(Method::HEAD, Some(&key));
        match self.head_of(Call::Head, &ask).await {
            Ok(head) => Ok(Some(Seen {
                len: header(&head, "content-length")
                    .and_then(|text| text.parse().ok())
                    .ok_or(S3Error::Shape {
                        what: "a file without a length",
                    })
                    .map_err(|error| error.of_store(name, Reason::DstStoreUnavailable))?,
                etag: etag(&head),
            })),
            Err(error) if error.is_missing() => Ok(None),
            Err(error) => Err(error.of_store(name, Reason::DstStoreUnavailable)),
        }
    }

    /// A small file as it stands, with its entity tag.
    pub(super) async fn get(&self, name: &str) -> Result<Option<(Bytes, String)>, StoreError> {
        let key = self.key(name);
        let ask = Ask::new(Method::GET, Some(&key));
        match self.whole(Call::Get, &ask).await {
            Ok(answer) => {
                let (head, body) = answer.into_parts();
                Ok(Some((body, etag(&head))))
            }
            Err(error) if error.is_missing() => Ok(None),
            Err(error) => Err(error.of_store(name, Reason::DstStoreUnavailable)),
        }
    }

    /// Bytes of a file.
    pub(super) async fn range(
        &self,
        name: &StoreName,
        from: u64,
        len: u64,
    ) -> Result<Bytes, StoreError> {
        let key = self.key(name.as_str());
        let ask = Ask::new(Method::GET, Some(&key)).header(
            "range",
            format!(
                "bytes={from}-{}",
                from.saturating_add(len).saturating_sub(1)
            ),
        );
        match self.whole(Call::Get, &ask).await {
            Ok(answer) => Ok(answer.into_body()),
            Err(error) if error.is_missing() => Err(StoreError::NoSuchFile { name: name.clone() }),
            Err(error) => Err(error.of_store(name.as_str(), Reason::DstStoreUnavailable)),
        }
    }

    pub(super) async fn put(
        &self,
        name: &str,
        body: impl Into<Payload>,
        when: &If,
    ) -> Result<Outcome, StoreError> {
        let key = self.key(name);
        let ask = Ask::new(Method::PUT, Some(&key))
            .header("content-type", SEALED.to_owned())
            .body(body);
        match self.head_of(Call::Put, &when.on(ask)).await {
            Ok(head) => Ok(Outcome::Done(etag(&head))),
            Err(error) if error.is_conflict() => Ok(Outcome::Conflict),
            // What is to be replaced is gone meanwhile.
            Err(error) if error.is_missing() && *when != If::Absent => Ok(Outcome::Conflict),
            Err(error) => Err(error.of_store(name, Reason::DstPutDenied)),
        }
    }

    /// Removes a file; one that is not there is no error.
    pub(super) async fn delete(&self, name: &str) -> Result<(), StoreError> {
        let key = self.key(name);
        let ask = Ask::new(Method::DELETE, Some(&key));
        match self.whole(Call::Delete, &ask).await {
            Ok(_) => Ok(()),
            Err(error) if error.is_missing() => Ok(()),
            Err(error) => Err(error.of_store(name, Reason::DstDeleteDenied)),
        }
    }

    /// Files by the bytes of their names. What has no name that a file of a store may have
    /// is somebody else's, or the lease.
    pub(super) async fn list(
        &self,
        prefix: &str,
        after: Option<&StoreName>,
        limit: usize,
    ) -> Result<Vec<StoreEntry>, StoreError> {
        let mut found = Vec::new();
        let (prefix, own) = (self.key(prefix), self.client.settings.prefix.len());
        let mut after = after.map(|name| self.key(name.as_str()));
        while found.len() < limit {
            let at_once = (limit - found.len())
                .clamp(2, S3_LISTED_AT_ONCE)
                .to_string();
            let mut ask = Ask::new(Method::GET, None)
                .query("list-type", "2")
                .query("encoding-type", "url")
                .query("max-keys", &at_once)
                .query("prefix", &prefix);
            if let Some(after) = &after {
                ask = ask.query("start-after", after);
            }
            let answer = self.whole(Call::List, &ask).await;
            let page = answer.and_then(|answer| xml::keys(answer.body()));
            let of_bucket =
                |error: S3Error| error.of_store(self.name(), Reason::DstStoreUnavailable);
            let (keys, has_more) = page.map_err(of_bucket)?;
            let last = keys.last().map(|listed| listed.key.clone());
            let named = keys.into_iter().filter_map(|listed| {
                let name = StoreName::new(listed.key.get(own..)?).ok()?;
                Some(StoreEntry {
                    name,
                    len: listed.len,
                })
            });
            found.extend(named);
            match last {
                Some(last) if has_more => after = Some(last),
                _ => break,
            }
        }
        found.truncate(limit);
        Ok(found)
    }

    pub(super) async fn begin_upload(&self, name: &str) -> Result<String, StoreError> {
        let key = self.key(name);
        let ask = Ask::new(Method::POST, Some(&key))
            .query("uploads", "")
            .header("content-type", SEALED.to_owned());
        let answer = self.whole(Call::BeginUpload, &ask).await;
        let id = answer.and_then(|answer| xml::upload_id(answer.body()));
        id.map_err(|error| error.of_store(name, Reason::DstPutDenied))
    }

    /// Puts a part.
    pub(super) async fn put_part(
        &self,
        name: &str,
        id: &str,
        number: u32,
        body: Payload,
    ) -> Result<Outcome, StoreError> {
        let (key, number) = (self.key(name), number.to_string());
        let ask = Ask::new(Method::PUT, Some(&key))
            .query("partNumber", &number)
            .query("uploadId", id)
            .body(body);
        match self.head_of(Call::PutPart, &ask).await {
            Ok(head) => Ok(Outcome::Done(etag(&head))),
            Err(error) if error.is_no_upload() => Ok(Outcome::NoUpload),
            Err(error) => Err(error.of_store(name, Reason::DstPutDenied)),
        }
    }

    /// The parts that are there of an upload; `None` when there is none of this id.
    pub(super) async fn parts(
        &self,
        name: &str,
        id: &str,
    ) -> Result<Option<BTreeMap<u32, StoredPart>>, StoreError> {
        let key = self.key(name);
        let (mut all, mut after) = (BTreeMap::new(), String::new());
        loop {
            let mut ask = Ask::new(Method::GET, Some(&key)).query("uploadId", id);
            if !after.is_empty() {
                ask = ask.query("part-number-marker", &after);
            }
            let answer = self.whole(Call::ListParts, &ask).await;
            match answer.and_then(|answer| xml::parts(answer.body())) {
                Ok((parts, next)) => {
                    all.extend(parts);
                    match next.map(|next| next.to_string()) {
                        // A store that does not get on is not asked for ever.
                        Some(next) if next != after => after = next,
                        _ => return Ok(Some(all)),
                    }
                }
                Err(error) if error.is_no_upload() => return Ok(None),
                Err(error) => return Err(error.of_store(name, Reason::DstStoreUnavailable)),
            }
        }
    }

    /// Makes a file of an upload's parts.
    pub(super) async fn complete(
        &self,
        name: &str,
        id: &str,
        parts: String,
        when: &If,
    ) -> Result<Outcome, StoreError> {
        let key = self.key(name);
        let ask = Ask::new(Method::POST, Some(&key))
            .query("uploadId", id)
            .header("content-type", "application/xml".to_owned())
            .body(parts);
        let answered = match self.whole(Call::Complete, &when.on(ask)).await {
            Ok(answer) if xml::is_completed(answer.body()) => Ok(()),
            // It began with 200 before it knew how it would end.
            Ok(answer) => {
                let (mut head, body) = answer.into_parts();
                head.status = hyper::StatusCode::INTERNAL_SERVER_ERROR;
                Err(S3Error::of(&head, &body))
            }
            Err(error) => Err(error),
        };
        match answered {
            Ok(()) => Ok(Outcome::Done(String::new())),
            Err(S3Error::Answered { code, .. })
                if matches!(
                    code.as_str(),
                    "NoSuchUpload" | "InvalidPart" | "InvalidPartOrder" | "EntityTooSmall"
                ) =>
            {
                Ok(Outcome::NoUpload)
            }
            Err(error) if error.is_conflict() => Ok(Outcome::Conflict),
            Err(error) if error.is_missing() && *when != If::Absent => Ok(Outcome::Conflict),
            Err(error) => Err(error.of_store(name, Reason::DstPutDenied)),
        }
    }

    /// Gives up an upload; one that is not there is no error.
    pub(super) async fn abort(&self, name: &str, id: &str) -> Result<(), StoreError> {
        let key = self.key(name);
        let ask = Ask::new(Method::DELETE, Some(&key)).query("uploadId", id);
        match self.whole(Call::Abort, &ask).await {
            Ok(_) => Ok(()),
            Err(error) if error.is_no_upload() || error.is_missing() => Ok(()),
            Err(error) => Err(error.of_store(name, Reason::DstPutDenied)),
        }
    }

    /// Uploads below `prefix` that were begun and not ended, with the names of their files.
    pub(super) async fn uploads(&self, prefix: &str) -> Result<Vec<(String, String)>, StoreError> {
        let (prefix, own) = (self.key(prefix), self.client.settings.prefix.len());
        let mut all = Vec::new();
        let mut after: Option<OpenUpload> = None;
        loop {
            let mut ask = Ask::new(Method::GET, None)
                .query("uploads", "")
                .query("prefix", &prefix);
            if let Some(OpenUpload { key, id }) = &after {
                ask = ask.query("key-marker", key).query("upload-id-marker", id);
            }
            let answer = self.whole(Call::ListUploads, &ask).await;
            let page = answer.and_then(|answer| xml::uploads(answer.body()));
            let of_bucket =
                |error: S3Error| error.of_store(self.name(), Reason::DstStoreUnavailable);
            let (page, next) = page.map_err(of_bucket)?;
            let named = |OpenUpload { key, id }| Some((key.get(own..)?.to_owned(), id));
            all.extend(page.into_iter().filter_map(named));
            match next {
                Some(next) if after.as_ref() != Some(&next) => after = Some(next),
                _ => return Ok(all),
            }
        }
    }

    /// The state of the bucket's versioning: empty where it never had any.
    pub(super) async fn versioning(&self) -> Result<String, StoreError> {
        let ask = Ask::new(Method::GET, None).query("versioning", "");
        let answer = self.whole(Call::Versioning, &ask).await;
        let state = answer.and_then(|answer| answers::versioning(answer.body()));
        state.map_err(|error| error.of_store(self.name(), Reason::DstStoreUnavailable))
    }
}

const SEALED: &str = "application/octet-stream";

impl If {
    fn on<'a>(&self, ask: Ask<'a>) -> Ask<'a> {
        match self {
            Self::Absent => ask.header("if-none-match", "*".to_owned()),
            Self::Is(etag) => ask.header("if-match", etag.clone()),
        }
    }
}

fn header<'a>(head: &'a Parts, name: &str) -> Option<&'a str> {
    head.headers.get(name)?.to_str().ok()
}

fn etag(head: &Parts) -> String {
    header(head, "etag").unwrap_or_default().to_owned()
}
