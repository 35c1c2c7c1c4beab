//! A bucket that keeps versions, in memory, as far as sealift asks one: listings of versions
//! in pages, reads of a version and of ranges of it, tags; and a queue that its events go to.
//! What a store writes, too: under conditions, in parts, and taken away.

mod answers;
mod bucket;
mod chunked;
mod google;
mod light;
mod queue;
mod uploads;
mod writing;

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use bytes::Bytes;
use http_body_util::Full;
use hyper::{Method, Response, http::request::Parts};
use parking_lot::Mutex;

use crate::{
    OWNER, Trouble,
    server::{Server, Service, scripted},
    signature::{self, Scope},
};
use answers::error;
pub(crate) use answers::{Query, decoded};
use bucket::{Bucket, KmsTrouble};
use light::{Content, EntityTags};
use queue::Queue;
use uploads::Uploads;

const S3: Scope = Scope {
    is_google: false,
    service: "s3",
    needed: ["host", "x-amz-date", "x-amz-content-sha256"],
};
/// The XML API of Google, which is nearly the same in other words.
const GCS: Scope = Scope {
    is_google: true,
    service: "storage",
    needed: ["host", "x-goog-date", "x-goog-content-sha256"],
};
const SQS: Scope = Scope {
    is_google: false,
    service: "sqs",
    needed: signature::JSON,
};

/// Headers that tell how an object is locked, and who is told.
const OF_LOCK: [(&str, &str); 3] = [
    ("x-amz-object-lock-mode", "s3:GetObjectRetention"),
    (
        "x-amz-object-lock-retain-until-date",
        "s3:GetObjectRetention",
    ),
    ("x-amz-object-lock-legal-hold", "s3:GetObjectLegalHold"),
];

/// An object to be put.
#[derive(Debug, Clone, Default)]
pub struct Put {
    /// Its bytes.
    pub bytes: Bytes,
    /// Headers of its answers: `content-type`, `x-amz-meta-…` and the like.
    pub headers: Vec<(String, String)>,
    /// Its tags.
    pub tags: BTreeMap<String, String>,
    /// The id of the KMS key that it is encrypted under.
    pub kms_key: Option<String>,
}

struct Bucketful {
    name: String,
    is_google: bool,
    /// The hash that a request tells of its body is believed.
    is_light: bool,
    principals: BTreeMap<String, String>,
    bucket: Mutex<Bucket>,
    uploads: Mutex<Uploads>,
    /// Actions that fail so many times more, and whether what was asked is done then.
    failing: Mutex<BTreeMap<String, (u32, bool)>>,
    queue: Mutex<Queue>,
    /// Actions that nobody may do.
    denied: Mutex<BTreeSet<String>>,
    /// Whoever does not say that it pays gets nothing.
    requester_pays: AtomicBool,
    /// What actions are answered with, whatever is asked.
    scripted: Mutex<BTreeMap<String, Answered>>,
    kms: Mutex<KmsTrouble>,
    asked: Mutex<Vec<String>>,
}

/// A store with one bucket.
pub struct FakeS3 {
    server: Server,
    of: Arc<Bucketful>,
    is_tls: bool,
}

impl FakeS3 {
    /// Starts one; over TLS when there is a file to write its root to.
    #[must_use]
    pub fn start(bucket: &str, roots: Option<&Path>) -> Self {
        Self::speaking(bucket, roots, (false, EntityTags::Hashed))
    }

    /// One in the clear that costs little, for measuring who asks it: it believes the hash that
    /// a request tells of its body, and counts its entity tags.
    #[must_use]
    pub fn start_light(bucket: &str) -> Self {
        Self::speaking(bucket, None, (false, EntityTags::Counted))
    }

    /// The same as Google's Cloud Storage says it in its XML API: signed in Google's words, with
    /// generations in conditions, and none where an upload in parts is completed. What it does
    /// where its documentation says nothing is not known here.
    #[must_use]
    pub fn start_google(bucket: &str, roots: Option<&Path>) -> Self {
        Self::speaking(bucket, roots, (true, EntityTags::Hashed))
    }

    fn speaking(bucket: &str, roots: Option<&Path>, (is_google, tags): (bool, EntityTags)) -> Self {
        let of = Arc::new(Bucketful {
            name: bucket.to_owned(),
            is_google,
            is_light: tags == EntityTags::Counted,
            principals: BTreeMap::from([(OWNER.0.to_owned(), OWNER.1.to_owned())]),
            bucket: Mutex::new(Bucket::new(is_google, tags)),
            uploads: Mutex::new(Uploads::tagged_by(tags)),
            failing: Mutex::default(),
            queue: Mutex::default(),
            denied: Mutex::default(),
            requester_pays: AtomicBool::default(),
            scripted: Mutex::default(),
            kms: Mutex::default(),
            asked: Mutex::default(),
        });
        Self {
            server: Server::start(of.clone(), roots),
            of,
            is_tls: roots.is_some(),
        }
    }

    /// Its address, as a URL.
    #[must_use]
    pub fn url(&self) -> String {
        let scheme = if self.is_tls { "https" } else { "http" };
        format!("{scheme}://{}", self.server.address)
    }

    /// Whether it speaks as Google's does.
    #[must_use]
    pub fn is_google(&self) -> bool {
        self.of.is_google
    }

    /// The URL of the queue that the bucket's events go to.
    #[must_use]
    pub fn queue_url(&self) -> String {
        format!("{}/111122223333/events", self.url())
    }

    /// What is wrong with it from now on.
    pub fn trouble(&self, trouble: Trouble) {
        *self.server.trouble.lock() = trouble;
    }

    /// Calls that came while one of so many was throttled.
    #[must_use]
    pub fn calls_in_share(&self) -> u32 {
        self.server.calls_in_share()
    }

    /// Calls that were taken and are never answered.
    #[must_use]
    pub fn unanswered(&self) -> u32 {
        self.server.unanswered()
    }

    /// Lets nobody do an action, such as `s3:GetObjectVersion`, or lets everyone again.
    pub fn deny(&self, action: &str, is_denied: bool) {
        switch(&mut self.of.denied.lock(), action, is_denied);
    }

    /// Lets nobody use a key of the key service, or lets everyone again.
    pub fn deny_key(&self, key: &str, is_denied: bool) {
        switch(&mut self.of.kms.lock().denied, key, is_denied);
    }

    /// Lets the key service throttle whatever is asked of a key, or answer again.
    pub fn throttle_key(&self, key: &str, is_throttled: bool) {
        switch(&mut self.of.kms.lock().throttled, key, is_throttled);
    }

    /// Answers an action with 503 so many times: before anything is done.
    pub fn fail(&self, action: &str, times: u32) {
        self.of
            .failing
            .lock()
            .insert(action.to_owned(), (times, false));
    }

    /// Answers an action with 503 so many times although it is done.
    pub fn lose_answers(&self, action: &str, times: u32) {
        self.of
            .failing
            .lock()
            .insert(action.to_owned(), (times, true));
    }

    /// Lets whoever asks pay for it from now on, and answers nobody else.
    pub fn let_requesters_pay(&self) {
        self.of.requester_pays.store(true, Ordering::Relaxed);
    }

    /// Answers an action so from now on, whatever is asked: with a status, headers and a body.
    pub fn answer_with(&self, action: &str, status: u16, headers: &[(&str, &str)], body: &str) {
        let answered = scripted(status, headers, body);
        self.of.scripted.lock().insert(action.to_owned(), answered);
    }

    /// Answers an action as it should again.
    pub fn answer_rightly(&self, action: &str) {
        self.of.scripted.lock().remove(action);
    }

    /// The bytes of a key's latest version.
    #[must_use]
    pub fn bytes(&self, key: &str) -> Option<Bytes> {
        self.of.bucket.lock().bytes(key)
    }

    /// A header of a key's latest version.
    #[must_use]
    pub fn header(&self, key: &str, name: &str) -> Option<String> {
        let bucket = self.of.bucket.lock();
        let put = bucket.latest_of(key)?.put.as_ref()?;
        let mut headers = put.headers.iter();
        headers.find_map(|(found, value)| (found == name).then(|| value.clone()))
    }

    /// A tag of a key's latest version.
    #[must_use]
    pub fn tag_of(&self, key: &str, tag: &str) -> Option<String> {
        let bucket = self.of.bucket.lock();
        bucket.latest_of(key)?.put.as_ref()?.tags.get(tag).cloned()
    }

    /// The keys that have a latest version.
    #[must_use]
    pub fn keys(&self) -> Vec<String> {
        self.of
            .bucket
            .lock()
            .latest()
            .map(|(key, _)| key.to_owned())
            .collect()
    }

    /// Changes what is stored under a key, as no client did.
    pub fn tamper(&self, key: &str, change: impl FnOnce(&mut Vec<u8>)) {
        let mut bucket = self.of.bucket.lock();
        let mut bytes = bucket.bytes(key).unwrap_or_default().to_vec();
        change(&mut bytes);
        bucket.put(
            key,
            Put {
                bytes: bytes.into(),
                ..Put::default()
            },
        );
    }

    /// Uploads that were begun and not ended.
    #[must_use]
    pub fn open_uploads(&self) -> Vec<String> {
        self.of.uploads.lock().keys()
    }

    /// Gives up every upload, as a lifecycle rule does.
    pub fn abort_uploads(&self) {
        self.of.uploads.lock().clear();
    }

    /// Makes a generation that is not live the live one, as a copy of it, whose number is given
    /// back.
    pub fn undelete(&self, key: &str, id: &str) -> String {
        let mut bucket = self.of.bucket.lock();
        let versions = bucket.keys.get(key).into_iter().flatten();
        let mut versions = versions.filter(|version| version.id == id);
        let put = versions.next().and_then(|version| version.put.clone());
        bucket.put(key, put.unwrap_or_default())
    }

    /// Whether the bucket keeps versions.
    pub fn set_versioning(&self, state: &str) {
        self.of.bucket.lock().set_versioning(state);
    }

    /// Puts an object, as a new version, whose id is given back.
    pub fn put(&self, key: &str, put: Put) -> String {
        let id = self.of.bucket.lock().put(key, put);
        self.event("ObjectCreated:Put", key, &id);
        id
    }

    /// Puts a delete marker, whose id is given back.
    pub fn remove(&self, key: &str) -> String {
        let id = self.of.bucket.lock().remove(key);
        self.event("ObjectRemoved:DeleteMarkerCreated", key, &id);
        id
    }

    /// Brings the latest version of a key back from its archive class, for a while.
    pub fn restore(&self, key: &str) {
        let mut bucket = self.of.bucket.lock();
        let versions = bucket.keys.get_mut(key).into_iter().flatten();
        let latest = versions.last().and_then(|version| version.put.as_mut());
        let back = "ongoing-request=\"false\"".to_owned();
        latest
            .into_iter()
            .for_each(|put| put.headers.push(("x-amz-restore".to_owned(), back.clone())));
    }

    /// Gives a version other tags.
    pub fn tag(&self, key: &str, id: &str, tags: BTreeMap<String, String>) {
        // One that is gone meanwhile has none.
        let _ = self.of.bucket.lock().tag(key, Some(id), tags);
        self.event("ObjectTagging:Put", key, id);
    }

    /// Takes a version away for good.
    pub fn purge(&self, key: &str, id: &str) {
        self.of.bucket.lock().purge(key, id);
    }

    fn event(&self, name: &str, key: &str, id: &str) {
        self.of.queue.lock().event(&self.of.name, name, key, id);
    }

    /// Events that nobody took yet.
    #[must_use]
    pub fn events(&self) -> usize {
        self.of.queue.lock().len()
    }

    /// Every action that was asked for with a good signature since the last time.
    pub fn asked(&self) -> Vec<String> {
        std::mem::take(&mut self.of.asked.lock())
    }
}

/// What an action on an object is called, and on one of its versions.
fn of_version(verb: &str, what: &str, id: Option<&str>) -> String {
    let version = if id.is_some() { "Version" } else { "" };
    format!("{verb}{version}{what}")
}

fn switch(set: &mut BTreeSet<String>, what: &str, is_in: bool) {
    match is_in {
        true => set.insert(what.to_owned()),
        false => set.remove(what),
    };
}

type Answered = Response<Full<Bytes>>;

impl Bucketful {
    fn allowed(&self, action: &str) -> Result<(), Answered> {
        self.asked.lock().push(action.to_owned());
        if let Some(answered) = self.scripted.lock().get(action) {
            return Err(answered.clone());
        }
        match self.denied.lock().contains(action) {
            true => Err(error(
                403,
                "AccessDenied",
                &format!("not authorized to perform: {action}"),
            )),
            false => Ok(()),
        }
    }

    /// Does what was asked, unless it is to fail before, or afterwards.
    fn done(
        &self,
        action: &str,
        work: impl FnOnce() -> Result<Answered, Answered>,
    ) -> Result<Answered, Answered> {
        self.allowed(action)?;
        let failing = {
            let mut failing = self.failing.lock();
            match failing.get_mut(action) {
                Some((left @ 1.., is_done)) => {
                    *left -= 1;
                    Some(*is_done)
                }
                _ => None,
            }
        };
        match failing {
            None => work(),
            Some(is_done) => {
                if is_done {
                    let _ = work();
                }
                Err(error(503, "SlowDown", "Please reduce your request rate."))
            }
        }
    }

    fn of_bucket(&self, query: &Query) -> Result<Answered, Answered> {
        if query.has("versioning") {
            self.allowed(match self.is_google {
                true => "storage.buckets.get",
                false => "s3:GetBucketVersioning",
            })?;
            return Ok(self.bucket.lock().versioning());
        }
        if query.has("location") {
            return self.done("s3:GetBucketLocation", || {
                Ok(answers::xml("LocationConstraint", "eu-west-1"))
            });
        }
        if query.has("versions") && self.is_google {
            self.allowed("storage.objects.list")?;
            return Ok(self.bucket.lock().generations(query));
        }
        if query.has("versions") {
            self.allowed("s3:ListBucketVersions")?;
            return Ok(self.bucket.lock().versions(query));
        }
        if query.has("uploads") {
            let work = || Ok(self.uploads.lock().list(query));
            return self.done("s3:ListBucketMultipartUploads", work);
        }
        if query.get("list-type") == Some("2") {
            return self.done("s3:ListBucket", || Ok(self.bucket.lock().list(query)));
        }
        Err(error(501, "NotImplemented", "it is not asked for"))
    }

    fn of_key(
        &self,
        parts: &Parts,
        key: &str,
        query: &Query,
        body: (Content, Vec<(String, String)>),
    ) -> Result<Answered, Answered> {
        let id = query.get("versionId");
        if let Some(answered) = self.written(parts, key, query, body) {
            return answered;
        }
        if let Some(answered) = self.lock(parts, key, query) {
            return answered;
        }
        if query.has("attributes") {
            self.allowed(of_version("s3:GetObject", "Attributes", id).as_str())?;
            self.bucket.lock().tags(key, id)?;
            return Ok(answers::xml("GetObjectAttributesResponse", ""));
        }
        if query.has("tagging") {
            let action = of_version("s3:GetObject", "Tagging", id);
            return self.done(&action, || self.bucket.lock().tags(key, id));
        }
        let generation = query.get("generation");
        let mut answered = self.read(parts, key, (id, generation));
        let is_head = parts.method == Method::HEAD;
        if is_head && let Ok(answered) | Err(answered) = &mut answered {
            // The length stays that of what GET would answer; of an error nothing is told.
            *answered.body_mut() = Full::default();
        }
        answered
    }

    /// A version, by its id or by its generation.
    fn read(
        &self,
        parts: &Parts,
        key: &str,
        (id, generation): (Option<&str>, Option<&str>),
    ) -> Result<Answered, Answered> {
        self.allowed(match (id, generation) {
            (_, Some(_)) => "storage.objects.get",
            (Some(_), _) => "s3:GetObjectVersion",
            (None, None) => "s3:GetObject",
        })?;
        let (kms, bucket) = (self.kms.lock(), self.bucket.lock());
        let found = generation.map(|generation| bucket.id_of(key, generation));
        let found = found.transpose()?;
        let mut answered = bucket.read(parts, key, found.as_deref().or(id), &kms)?;
        let takes_key =
            parts.method != Method::HEAD || parts.headers.contains_key("x-amz-checksum-mode");
        let encrypted = answered.headers().get("x-amz-server-side-encryption");
        if takes_key && encrypted.is_some_and(|how| how == "aws:kms") {
            // The store asks for it, in the name of who asks.
            self.asked.lock().push("kms:Decrypt".to_owned());
        }
        self.keep_back(&mut answered, id.is_some());
        Ok(answered)
    }

    fn queued(&self, parts: &Parts, body: &[u8]) -> Answered {
        let target = parts.headers.get("x-amz-target");
        let action = match target.and_then(|target| target.to_str().ok()) {
            Some("AmazonSQS.DeleteMessageBatch") => "sqs:DeleteMessage",
            _ => "sqs:ReceiveMessage",
        };
        if self.allowed(action).is_err() {
            let told = format!("User: x is not authorized to perform: {action}");
            return queue::refused("AccessDeniedException", &told);
        }
        self.queue.lock().answer(parts, body)
    }

    /// What an answer tells to those alone who have another right as well.
    fn keep_back(&self, answered: &mut Answered, is_version: bool) {
        let of_tags = match is_version {
            true => "s3:GetObjectVersionTagging",
            false => "s3:GetObjectTagging",
        };
        if self.denied.lock().contains(of_tags) {
            answered.headers_mut().remove("x-amz-tagging-count");
        }
        for (name, action) in OF_LOCK {
            // Only what is locked takes the right to know it.
            if answered.headers().contains_key(name) && self.allowed(action).is_err() {
                answered.headers_mut().remove(name);
            }
        }
    }

    /// What is asked of a version's lock by itself.
    fn lock(&self, parts: &Parts, key: &str, query: &Query) -> Option<Result<Answered, Answered>> {
        let what = ["retention", "legal-hold"];
        let what = what.into_iter().position(|what| query.has(what))?;
        let (name, action) = OF_LOCK.get([0, 2].get(what).copied()?)?;
        if let Err(denied) = self.allowed(action) {
            return Some(Err(denied));
        }
        let (kms, bucket) = (self.kms.lock(), self.bucket.lock());
        let read = bucket.read(parts, key, query.get("versionId"), &kms);
        Some(
            read.and_then(|read| match read.headers().contains_key(*name) {
                true => Ok(answers::xml("Lock", "")),
                false => Err(error(
                    404,
                    "NoSuchObjectLockConfiguration",
                    "it is not locked",
                )),
            }),
        )
    }

    fn s3(&self, parts: &Parts, body: Content) -> Result<Answered, Answered> {
        let (scope, hashed) = match self.is_google {
            true => (GCS, "x-goog-content-sha256"),
            false => (S3, "x-amz-content-sha256"),
        };
        let others = |name: &hyper::header::HeaderName| name.as_str().starts_with("x-amz-");
        if self.is_google && parts.headers.keys().any(others) {
            return Err(error(400, "InvalidArgument", "x-amz- among x-goog-"));
        }
        let signed = parts.headers.get("authorization");
        let signed = signed.and_then(|signed| signed.to_str().ok());
        if self.is_google && signed.is_some_and(|signed| signed.contains("accept-encoding")) {
            // What stands before the service writes it anew.
            return Err(error(403, "SignatureDoesNotMatch", "accept-encoding"));
        }
        let told = parts.headers.get(hashed);
        let told = told.and_then(|told| told.to_str().ok()).unwrap_or_default();
        let is_believed = self.is_light || told.contains("UNSIGNED-PAYLOAD");
        let hash = match is_believed {
            true => told.to_owned(),
            false => body.sha256(),
        };
        signature::signer(scope, parts, || hash.clone(), &self.principals)
            .map_err(|(code, told)| error(403, code, &told))?;
        if told != hash {
            return Err(error(400, "XAmzContentSHA256Mismatch", "another body"));
        }
        let pays = parts.headers.get("x-amz-request-payer");
        let pays = pays.is_some_and(|pays| pays == "requester");
        if self.requester_pays.load(Ordering::Relaxed) && !pays {
            return Err(error(403, "AccessDenied", "Access Denied"));
        }
        let (body, behind) = match told {
            "STREAMING-UNSIGNED-PAYLOAD-TRAILER" => {
                let (whole, behind) = chunked::taken_apart(&body.whole())?;
                (whole.into(), behind)
            }
            _ => (body, Vec::new()),
        };
        let query = Query::parse(parts.uri.query().unwrap_or_default());
        let path = parts.uri.path();
        let below = path
            .strip_prefix('/')
            .and_then(|path| path.strip_prefix(&self.name));
        match below {
            Some("" | "/") => self.of_bucket(&query),
            Some(key) if key.starts_with('/') => {
                let key = answers::decoded(&key[1..], false);
                self.of_key(parts, &key, &query, (body, behind))
            }
            _ => Err(error(
                404,
                "NoSuchBucket",
                "The specified bucket does not exist",
            )),
        }
    }
}

impl Service for Bucketful {
    fn answer(&self, parts: &Parts, body: &[u8]) -> Answered {
        self.answer_pieces(parts, vec![Bytes::copy_from_slice(body)])
    }

    fn answer_pieces(&self, parts: &Parts, body: Vec<Bytes>) -> Answered {
        let body = Content::from(body);
        if parts.headers.contains_key("x-amz-target") {
            let body = body.whole();
            let caller = signature::caller(SQS, parts, &body, &self.principals);
            return match caller {
                Err((code, told)) => queue::refused(code, &told),
                Ok(_) => self.queued(parts, &body),
            };
        }
        let answered = self.s3(parts, body);
        answered.unwrap_or_else(|answered| answered)
    }

    fn throttled(&self) -> Answered {
        error(503, "SlowDown", "Please reduce your request rate.")
    }

    fn denied(&self) -> Answered {
        error(403, "AccessDenied", "Access Denied")
    }

    fn broken(&self) -> Answered {
        error(
            500,
            "InternalError",
            "We encountered an internal error. Please try again.",
        )
    }
}
