//! What is asked of a bucket of S3 that a store rests in, one request each, counted.

use std::{collections::BTreeMap, sync::Arc};

use async_trait::async_trait;
use bytes::Bytes;
use hyper::{Method, Response, http::response::Parts};
use sealift_outside::{Payload, Words};
use sealift_terms::{Clock, Reason, Rng, limits::S3_LISTED_AT_ONCE};
use tokio_rustls::rustls::ClientConfig;

use super::{
    S3Settings,
    client::{Ask, S3Client},
    error::S3Error,
    storing_xml::{self as xml, OpenUpload},
    versioning::Versioning,
    xml as answers,
};
use crate::{
    Probe, StoreEntry, StoreError, StoreName,
    bucket_store::{
        Counts, If, Outcome, Place, Seen, StoredPart, TRIED, is_content, told, try_file,
    },
    onward::Onward,
};

const HEAD: &str = "HeadObject";
const GET: &str = "GetObject";
const PUT: &str = "PutObject";
const DELETE: &str = "DeleteObject";
const LIST: &str = "ListObjectsV2";
const BEGIN: &str = "CreateMultipartUpload";
const PUT_PART: &str = "UploadPart";
const COMPLETE: &str = "CompleteMultipartUpload";
const ABORT: &str = "AbortMultipartUpload";
const LIST_PARTS: &str = "ListParts";
const LIST_UPLOADS: &str = "ListMultipartUploads";
const VERSIONING: &str = "GetBucketVersioning";

/// What is asked, as the API names it.
pub(crate) const S3_CALLS: [&str; 12] = [
    HEAD,
    GET,
    PUT,
    DELETE,
    LIST,
    BEGIN,
    PUT_PART,
    COMPLETE,
    ABORT,
    LIST_PARTS,
    LIST_UPLOADS,
    VERSIONING,
];

/// The actions that a store asks for: what a policy has to allow.
pub const S3_STORE_ACTIONS: [&str; 8] = [
    "s3:GetBucketVersioning",
    "s3:ListBucket",
    "s3:ListBucketMultipartUploads",
    "s3:GetObject",
    "s3:PutObject",
    "s3:DeleteObject",
    "s3:AbortMultipartUpload",
    "s3:ListMultipartUploadParts",
];

/// What Google's Cloud Storage calls the same, in the same order.
pub const GCS_STORE_ACTIONS: [&str; 8] = [
    "storage.buckets.get",
    "storage.objects.list",
    "storage.multipartUploads.list",
    "storage.objects.get",
    "storage.objects.create",
    "storage.objects.delete",
    "storage.multipartUploads.abort",
    "storage.multipartUploads.listParts",
];

/// One bucket, of which what begins with a prefix is the store's.
#[derive(Debug)]
pub(crate) struct S3Place {
    client: S3Client,
    counts: Arc<Counts>,
    versioning: Versioning,
}

impl S3Place {
    pub(crate) fn new(
        settings: S3Settings,
        tls: Option<Arc<ClientConfig>>,
        clock: Arc<dyn Clock>,
        rng: Arc<dyn Rng>,
        counts: Arc<Counts>,
    ) -> Self {
        let versioning = Versioning::new(settings.requires_versioning, clock.clone());
        let client = S3Client::new(settings, tls, clock, rng);
        Self {
            client,
            counts,
            versioning,
        }
    }

    fn key(&self, name: &str) -> String {
        format!("{}{name}", self.client.settings.prefix)
    }

    fn words(&self) -> Words {
        self.client.settings.words
    }

    /// Says under which condition. Google has the number of a generation where others have an
    /// entity tag, and 0 for none.
    fn on<'a>(&self, when: &If, ask: Ask<'a>) -> Ask<'a> {
        const GENERATION: &str = "x-goog-if-generation-match";
        match (self.words(), when) {
            (Words::Aws, If::Absent) => ask.header("if-none-match", "*".to_owned()),
            (Words::Aws, If::Is(etag)) => ask.header("if-match", etag.clone()),
            (Words::Google, If::Absent) => ask.header(GENERATION, "0".to_owned()),
            (Words::Google, If::Is(generation)) => ask.header(GENERATION, generation.clone()),
        }
    }

    /// Content rests in the class that is wanted.
    fn in_class<'a>(&self, name: &str, ask: Ask<'a>) -> Ask<'a> {
        let header = match self.words() {
            Words::Aws => "x-amz-storage-class",
            Words::Google => "x-goog-storage-class",
        };
        match &self.client.settings.storage_class {
            Some(class) if is_content(name) => ask.header(header, class.clone()),
            _ => ask,
        }
    }

    /// What stands for what is there, in a condition.
    fn etag(&self, head: &Parts) -> String {
        let name = match self.words() {
            Words::Aws => "etag",
            Words::Google => "x-goog-generation",
        };
        header(head, name).unwrap_or_default().to_owned()
    }

    /// Whether an upload in parts may be completed. Google takes no condition with that
    /// ("Preconditions cannot be used in XML API multipart uploads"): it is looked at first.
    /// What comes between the two is of our own making, as nobody else has the lease.
    async fn holds(&self, name: &str, when: &If) -> Result<bool, StoreError> {
        if self.words() == Words::Aws {
            return Ok(true);
        }
        let there = self.head(name).await?.map(|seen| seen.etag);
        Ok(match when {
            If::Absent => there.is_none(),
            If::Is(generation) => there.as_ref() == Some(generation),
        })
    }

    async fn whole(&self, call: &str, ask: &Ask<'_>) -> Result<Response<Bytes>, S3Error> {
        let count = || self.counts.count(call);
        self.client.whole_told(ask, count).await
    }

    async fn head_of(&self, call: &str, ask: &Ask<'_>) -> Result<Parts, S3Error> {
        Ok(self.whole(call, ask).await?.into_parts().0)
    }

    /// The state of the bucket's versioning: empty where it never had any.
    pub(super) async fn versioning(&self) -> Result<String, StoreError> {
        let ask = Ask::new(Method::GET, None).query("versioning", "");
        let answer = self.whole(VERSIONING, &ask).await;
        let state = answer.and_then(|answer| answers::versioning(answer.body()));
        state.map_err(|error| error.of_store(self.name(), Reason::DstStoreUnavailable))
    }
}

#[async_trait]
impl Place for S3Place {
    fn reached(&self) -> String {
        self.client.reached()
    }

    fn name(&self) -> &str {
        self.client.settings.bucket.as_str()
    }

    async fn head(&self, name: &str) -> Result<Option<Seen>, StoreError> {
        let key = self.key(name);
        let ask = Ask::new(Method::HEAD, Some(&key));
        let head = match self.head_of(HEAD, &ask).await {
            // Whether it is the file that is not there or its bucket, no answer to a HEAD says.
            Err(error) if error.says_little() => {
                let first = Ask::new(Method::GET, Some(&key));
                let first = first.header("range", "bytes=0-0".to_owned());
                self.head_of(GET, &first).await.and(Err(error))
            }
            head => head,
        };
        let seen = head.and_then(|head| {
            let length = header(&head, "content-length").and_then(|text| text.parse().ok());
            let what = "a file without a length";
            length.ok_or(S3Error::Shape { what }).map(|len| Seen {
                len,
                etag: self.etag(&head),
            })
        });
        told::there(name, seen)
    }

    async fn get(&self, name: &str) -> Result<Option<(Bytes, String)>, StoreError> {
        let key = self.key(name);
        let answer = self.whole(GET, &Ask::new(Method::GET, Some(&key))).await;
        let there = answer.map(|answer| {
            let (head, body) = answer.into_parts();
            (body, self.etag(&head))
        });
        told::there(name, there)
    }

    async fn range(&self, name: &StoreName, from: u64, len: u64) -> Result<Bytes, StoreError> {
        let key = self.key(name.as_str());
        let to = from.saturating_add(len).saturating_sub(1);
        let ask = Ask::new(Method::GET, Some(&key)).header("range", format!("bytes={from}-{to}"));
        let answer = self.whole(GET, &ask).await;
        told::read(name, answer.map(Response::into_body))
    }

    async fn put(&self, name: &str, body: Payload, when: &If) -> Result<Outcome, StoreError> {
        let key = self.key(name);
        let ask = Ask::new(Method::PUT, Some(&key))
            .header("content-type", SEALED.to_owned())
            .body(body);
        let ask = self.in_class(name, self.on(when, ask));
        let answer = self.head_of(PUT, &ask).await;
        told::put(name, when, answer.map(|head| self.etag(&head)))
    }

    async fn delete(&self, name: &str) -> Result<(), StoreError> {
        let key = self.key(name);
        let ask = Ask::new(Method::DELETE, Some(&key));
        told::removed(name, self.whole(DELETE, &ask).await)
    }

    async fn list(
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
            let answer = self.whole(LIST, &ask).await;
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
            if !has_more {
                break;
            }
            // What it leaves out would be as if it were not there.
            match last.filter(|last| after.as_ref().is_none_or(|after| last > after)) {
                Some(last) => after = Some(last),
                None => {
                    let what = "there is more of it, and it does not get on";
                    return Err(of_bucket(S3Error::Shape { what }));
                }
            }
        }
        found.truncate(limit);
        Ok(found)
    }

    async fn begin_upload(&self, name: &str) -> Result<String, StoreError> {
        let key = self.key(name);
        let ask = Ask::new(Method::POST, Some(&key))
            .query("uploads", "")
            .header("content-type", SEALED.to_owned());
        let answer = self.whole(BEGIN, &self.in_class(name, ask)).await;
        let id = answer.and_then(|answer| xml::upload_id(answer.body()));
        id.map_err(|error| error.of_store(name, Reason::DstPutDenied))
    }

    async fn put_part(
        &self,
        (name, id): (&str, &str),
        number: u32,
        body: Payload,
        sum: &str,
    ) -> Result<Outcome, StoreError> {
        let (key, number) = (self.key(name), number.to_string());
        let ask = Ask::new(Method::PUT, Some(&key))
            .query("partNumber", &number)
            .query("uploadId", id)
            .body(body.hashed(sum));
        match self.head_of(PUT_PART, &ask).await {
            Ok(head) => Ok(Outcome::Done(
                header(&head, "etag").unwrap_or_default().to_owned(),
            )),
            Err(error) if error.is_no_upload() => Ok(Outcome::NoUpload),
            Err(error) => Err(error.of_store(name, Reason::DstPutDenied)),
        }
    }

    async fn parts(
        &self,
        name: &str,
        id: &str,
    ) -> Result<Option<BTreeMap<u32, StoredPart>>, StoreError> {
        let key = self.key(name);
        let (mut all, mut onward) = (BTreeMap::new(), Onward::<String>::default());
        loop {
            let mut ask = Ask::new(Method::GET, Some(&key)).query("uploadId", id);
            if let Some(after) = onward.last() {
                ask = ask.query("part-number-marker", after);
            }
            let answer = self.whole(LIST_PARTS, &ask).await;
            let of_store = |error: S3Error| error.of_store(name, Reason::DstStoreUnavailable);
            match answer.and_then(|answer| xml::parts(answer.body())) {
                Ok((parts, next)) => {
                    let is_empty = parts.is_empty();
                    all.extend(parts);
                    let Some(next) = next else {
                        return Ok(Some(all));
                    };
                    let taken = onward.take(&next.to_string(), is_empty);
                    taken.map_err(|what| of_store(S3Error::Shape { what }))?;
                }
                Err(error) if error.is_no_upload() => return Ok(None),
                Err(error) => return Err(of_store(error)),
            }
        }
    }

    async fn complete(
        &self,
        name: &str,
        id: &str,
        parts: &[(u32, String)],
        when: &If,
    ) -> Result<Outcome, StoreError> {
        let key = self.key(name);
        if !self.holds(name, when).await? {
            return Ok(Outcome::Conflict);
        }
        let mut ask = Ask::new(Method::POST, Some(&key))
            .query("uploadId", id)
            .header("content-type", "application/xml".to_owned())
            .body(xml::completion(parts));
        if self.words() == Words::Aws {
            ask = self.on(when, ask);
        }
        let answered = match self.whole(COMPLETE, &ask).await {
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
            Err(S3Error::Answered { code, .. })
                if matches!(
                    code.as_str(),
                    "NoSuchUpload" | "InvalidPart" | "InvalidPartOrder" | "EntityTooSmall"
                ) =>
            {
                Ok(Outcome::NoUpload)
            }
            answered => told::put(name, when, answered.map(|()| String::new())),
        }
    }

    async fn abort(&self, name: &str, id: &str) -> Result<(), StoreError> {
        let key = self.key(name);
        let ask = Ask::new(Method::DELETE, Some(&key)).query("uploadId", id);
        match self.whole(ABORT, &ask).await {
            Ok(_) => Ok(()),
            Err(error) if error.is_no_upload() || error.is_missing() => Ok(()),
            Err(error) => Err(error.of_store(name, Reason::DstPutDenied)),
        }
    }

    async fn uploads(&self, prefix: &str) -> Result<Vec<(String, String)>, StoreError> {
        let (prefix, own) = (self.key(prefix), self.client.settings.prefix.len());
        let mut all = Vec::new();
        let mut onward: Onward<OpenUpload> = Onward::default();
        loop {
            let mut ask = Ask::new(Method::GET, None)
                .query("uploads", "")
                .query("prefix", &prefix);
            if let Some(OpenUpload { key, id }) = onward.last() {
                ask = ask.query("key-marker", key).query("upload-id-marker", id);
            }
            let answer = self.whole(LIST_UPLOADS, &ask).await;
            let page = answer.and_then(|answer| xml::uploads(answer.body()));
            let of_bucket =
                |error: S3Error| error.of_store(self.name(), Reason::DstStoreUnavailable);
            let (page, next) = page.map_err(of_bucket)?;
            let is_empty = page.is_empty();
            let named = |OpenUpload { key, id }| Some((key.get(own..)?.to_owned(), id));
            all.extend(page.into_iter().filter_map(named));
            let Some(next) = next else {
                return Ok(all);
            };
            let taken = onward.take(&next, is_empty);
            taken.map_err(|what| of_bucket(S3Error::Shape { what }))?;
        }
    }

    async fn hold_versions(&self) -> Result<(), StoreError> {
        self.versioning.hold(self).await
    }

    async fn try_all(&self, probes: &mut Vec<Probe>) {
        let [
            of_bucket,
            list,
            list_uploads,
            read,
            write,
            delete,
            abort,
            list_parts,
        ] = match self.words() {
            Words::Aws => S3_STORE_ACTIONS,
            Words::Google => GCS_STORE_ACTIONS,
        };
        let mut tried = |action, outcome| probes.push(Probe { action, outcome });
        let versioning = self.versioning().await;
        let told = versioning.and_then(|state| self.versioning.told(self, &state));
        tried(of_bucket, told);
        let listed = self.list("", None, 1).await;
        tried(list, listed.map(|_| "it can be listed".to_owned()));
        let uploads = self.uploads("").await;
        let told = |uploads: Vec<_>| format!("{} uploads are open", uploads.len());
        tried(list_uploads, uploads.map(told));
        try_file(self, [write, read, delete], &mut tried).await;
        try_upload(self, [list_parts, abort], &mut tried).await;
    }
}

async fn try_upload(
    place: &S3Place,
    [list_parts, abort]: [&'static str; 2],
    tried: &mut impl FnMut(&'static str, Result<String, StoreError>),
) {
    // That it may not be begun was told: it takes what putting takes.
    let Ok(id) = place.begin_upload(TRIED).await else {
        return;
    };
    let parts = place.parts(TRIED, &id).await;
    tried(list_parts, parts.map(|_| "parts can be listed".to_owned()));
    let aborted = place.abort(TRIED, &id).await;
    tried(
        abort,
        aborted.map(|()| "uploads can be given up".to_owned()),
    );
}

const SEALED: &str = "application/octet-stream";

fn header<'a>(head: &'a Parts, name: &str) -> Option<&'a str> {
    head.headers.get(name)?.to_str().ok()
}
