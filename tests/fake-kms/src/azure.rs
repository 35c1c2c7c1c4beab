//! A container of Azure Blob Storage, in memory, as far as sealift asks one: listings of blobs
//! and of versions in pages, reads of a version and of ranges of it, tags; blobs that are put
//! under conditions, and blocks. It looks at no signature: that of ours is held to Azurite.
//! What Azurite has not, and this has: an account that keeps versions.

mod answers;
mod blobs;

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    sync::Arc,
};

use bytes::Bytes;
use http_body_util::Full;
use hyper::{Method, Response, http::request::Parts};
use parking_lot::Mutex;

use crate::{
    Trouble,
    s3::Query,
    server::{Server, Service, scripted},
};
use answers::error;
use blobs::Blobs;

/// The account that every fake one is.
pub const AZURE_ACCOUNT: &str = "devstoreaccount1";

/// A blob to be put.
#[derive(Debug, Clone, Default)]
pub struct AzurePut {
    /// Its bytes.
    pub bytes: Bytes,
    /// Headers of its answers: `content-type`, `x-ms-meta-…` and the like.
    pub headers: Vec<(String, String)>,
    /// Its tags.
    pub tags: BTreeMap<String, String>,
}

struct Account {
    container: String,
    blobs: Mutex<Blobs>,
    /// Calls that fail so many times more, and whether what was asked is done then.
    failing: Mutex<BTreeMap<String, (u32, bool)>>,
    /// Calls that nobody may make.
    denied: Mutex<BTreeSet<String>>,
    /// What calls are answered with, whatever is asked.
    scripted: Mutex<BTreeMap<String, Answered>>,
    asked: Mutex<Vec<String>>,
}

/// An account with one container.
pub struct FakeAzure {
    server: Server,
    of: Arc<Account>,
    is_tls: bool,
}

impl FakeAzure {
    /// Starts one, which keeps versions or does not; over TLS when there is a file to write
    /// its root to.
    #[must_use]
    pub fn start(container: &str, keeps_versions: bool, roots: Option<&Path>) -> Self {
        let of = Arc::new(Account {
            container: container.to_owned(),
            blobs: Mutex::new(Blobs::new(keeps_versions)),
            failing: Mutex::default(),
            denied: Mutex::default(),
            scripted: Mutex::default(),
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

    /// What is wrong with it from now on.
    pub fn trouble(&self, trouble: Trouble) {
        *self.server.trouble.lock() = trouble;
    }

    /// Answers a call with 503 so many times: before anything is done.
    pub fn fail(&self, call: &str, times: u32) {
        let mut failing = self.of.failing.lock();
        failing.insert(call.to_owned(), (times, false));
    }

    /// Answers a call with 503 so many times although it is done.
    pub fn lose_answers(&self, call: &str, times: u32) {
        let mut failing = self.of.failing.lock();
        failing.insert(call.to_owned(), (times, true));
    }

    /// Lets nobody make a call, such as `GetBlob`, or lets everyone again.
    pub fn deny(&self, call: &str, is_denied: bool) {
        let mut denied = self.of.denied.lock();
        match is_denied {
            true => denied.insert(call.to_owned()),
            false => denied.remove(call),
        };
    }

    /// Answers a call so from now on, whatever is asked: with a status, headers and a body.
    pub fn answer_with(&self, call: &str, status: u16, headers: &[(&str, &str)], body: &str) {
        let answered = scripted(status, headers, body);
        self.of.scripted.lock().insert(call.to_owned(), answered);
    }

    /// Answers a call as it should again.
    pub fn answer_rightly(&self, call: &str) {
        self.of.scripted.lock().remove(call);
    }

    /// Whether the account keeps versions of what is put from now on.
    pub fn set_versioning(&self, keeps_versions: bool) {
        self.of.blobs.lock().keeps_versions = keeps_versions;
    }

    /// Puts a blob; its version, where there are such.
    pub fn put(&self, name: &str, put: AzurePut) -> String {
        self.of.blobs.lock().put(name, put)
    }

    /// Deletes a blob: with versions, its last one is then no current one.
    pub fn remove(&self, name: &str) {
        self.of.blobs.lock().remove(name);
    }

    /// Brings back what was deleted of an account that keeps no versions, as soft delete does.
    pub fn undelete(&self, name: &str) {
        self.of.blobs.lock().undelete(name);
    }

    /// Blocks that no blob was made of, as they are after a week.
    pub fn drop_blocks(&self) {
        self.of.blobs.lock().blocks.clear();
    }

    /// The blobs that there are.
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        self.of.blobs.lock().names()
    }

    /// A header of a blob as it is now.
    #[must_use]
    pub fn header(&self, name: &str, header: &str) -> Option<String> {
        self.of.blobs.lock().header(name, header)
    }

    /// Every call since the last time.
    pub fn asked(&self) -> Vec<String> {
        std::mem::take(&mut self.of.asked.lock())
    }
}

type Answered = Response<Full<Bytes>>;

fn call(parts: &Parts, query: &Query, is_blob: bool) -> &'static str {
    match (parts.method.as_str(), query.get("comp"), is_blob) {
        ("GET", Some("list"), false) => "ListBlobs",
        ("GET", Some("tags"), true) => "GetBlobTags",
        ("GET", Some("blocklist"), true) => "GetBlockList",
        ("PUT", Some("block"), true) => "PutBlock",
        ("PUT", Some("blocklist"), true) => "PutBlockList",
        ("GET", None, true) => "GetBlob",
        ("HEAD", None, true) => "GetBlobProperties",
        ("PUT", None, true) => "PutBlob",
        ("DELETE", None, true) => "DeleteBlob",
        _ => "another",
    }
}

impl Account {
    fn work(&self, call: &str, parts: &Parts, name: &str, query: &Query, body: &[u8]) -> Answered {
        let mut blobs = self.blobs.lock();
        let body = Bytes::copy_from_slice(body);
        let answered = match call {
            "ListBlobs" => Ok(blobs.list(query)),
            "GetBlobTags" => blobs.tags(name, query),
            "GetBlockList" => blobs.block_list(name),
            "GetBlob" | "GetBlobProperties" => blobs.read(parts, name, query),
            "PutBlock" => blobs.put_block(name, query, body),
            "PutBlockList" => blobs.put_block_list(parts, name, &body),
            "PutBlob" => blobs.put_blob(parts, name, body),
            "DeleteBlob" => blobs.delete(name),
            _ => Err(error(400, "InvalidQueryParameterValue", "not asked for")),
        };
        answered.unwrap_or_else(|answered| answered)
    }
}

impl Service for Account {
    fn answer(&self, parts: &Parts, body: &[u8]) -> Answered {
        let shown = parts.headers.get("authorization");
        let is_shown = shown.is_some_and(|shown| shown.as_bytes().starts_with(b"SharedKey "));
        let query = Query::parse(parts.uri.query().unwrap_or_default());
        if !is_shown && !query.has("sig") {
            return error(403, "AuthenticationFailed", "no credentials");
        }
        let own = format!("/{AZURE_ACCOUNT}/{}", self.container);
        let Some(below) = parts.uri.path().strip_prefix(&own) else {
            return error(404, "ContainerNotFound", "there is no such container");
        };
        let name = crate::s3::decoded(below.trim_start_matches('/'), false);
        let call = call(parts, &query, !name.is_empty());
        self.asked.lock().push(call.to_owned());
        if self.denied.lock().contains(call) {
            return error(403, "AuthorizationPermissionMismatch", "not allowed");
        }
        let failing = match self.failing.lock().get_mut(call) {
            Some((left @ 1.., is_done)) => {
                *left -= 1;
                Some(*is_done)
            }
            _ => None,
        };
        let scripted = self.scripted.lock().get(call).cloned();
        let mut answered = match failing {
            _ if scripted.is_some() => scripted.unwrap_or_default(),
            Some(false) => self.throttled(),
            Some(true) => {
                drop(self.work(call, parts, &name, &query, body));
                self.throttled()
            }
            None => self.work(call, parts, &name, &query, body),
        };
        if parts.method == Method::HEAD {
            // The length stays that of what GET would answer; an error is told in headers.
            *answered.body_mut() = Full::default();
        }
        answered
    }

    fn throttled(&self) -> Answered {
        error(503, "ServerBusy", "The server is busy.")
    }

    fn denied(&self) -> Answered {
        error(403, "AuthorizationFailure", "not authorized")
    }

    fn broken(&self) -> Answered {
        error(
            500,
            "InternalError",
            "The server encountered an internal error.",
        )
    }
}
