//! What is asked of a container that a store rests in, one request each, counted.
//!
//! ```text
//!   begin_upload ─▶ nothing: an id is drawn         blocks need no beginning
//!   put_part ─▶ Put Block              its id: upload, number and sum, in base64
//!   parts    ─▶ Get Block List         those that are no part of a blob yet
//!   complete ─▶ Put Block List         If-None-Match: *
//! ```
//!
//! Blocks that no blob was made of vanish by themselves after a week; there is no request
//! that would take them away, so an upload that is given up is just left.

use std::{collections::BTreeMap, sync::Arc};

use async_trait::async_trait;
use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use hyper::{Method, http::response::Parts};
use parking_lot::Mutex;
use sealift_outside::Payload;
use sealift_terms::{Clock, Reason, Rng, limits::S3_LISTED_AT_ONCE};
use tokio_rustls::rustls::ClientConfig;

use super::{
    client::AzureClient,
    settings::AzureSettings,
    xml::{self, ListedBlob},
};
use crate::{
    Probe, StoreEntry, StoreError, StoreName,
    bucket_store::{Counts, If, Outcome, Place, Seen, StoredPart, is_content, told, try_file},
    onward::Onward,
    s3::{Ask, S3Error},
};

const HEAD: &str = "GetBlobProperties";
const GET: &str = "GetBlob";
const PUT: &str = "PutBlob";
const DELETE: &str = "DeleteBlob";
const LIST: &str = "ListBlobs";
const PUT_BLOCK: &str = "PutBlock";
const PUT_BLOCK_LIST: &str = "PutBlockList";
const GET_BLOCK_LIST: &str = "GetBlockList";

/// What is asked, as the API names it.
pub(crate) const AZURE_CALLS: [&str; 8] = [
    HEAD,
    GET,
    PUT,
    DELETE,
    LIST,
    PUT_BLOCK,
    PUT_BLOCK_LIST,
    GET_BLOCK_LIST,
];

/// The data actions that a store asks for: what a role has to allow.
pub const AZURE_STORE_ACTIONS: [&str; 3] = [
    "Microsoft.Storage/storageAccounts/blobServices/containers/blobs/read",
    "Microsoft.Storage/storageAccounts/blobServices/containers/blobs/write",
    "Microsoft.Storage/storageAccounts/blobServices/containers/blobs/delete",
];

const SEALED: &str = "application/octet-stream";
/// Of the sum of a part, in the id of its block.
const SUM_DIGITS: usize = 16;
/// Listings that may be gone on with where they ended.
const MARKERS_KEPT: usize = 8;

/// One container, of which what begins with a prefix is the store's.
#[derive(Debug)]
pub(crate) struct AzurePlace {
    client: AzureClient,
    counts: Arc<Counts>,
    /// Where listings ended: by prefix and last name, the marker to go on with.
    markers: Mutex<Vec<((String, String), String)>>,
}

impl AzurePlace {
    pub(crate) fn new(
        settings: AzureSettings,
        tls: Option<Arc<ClientConfig>>,
        clock: Arc<dyn Clock>,
        rng: Arc<dyn Rng>,
        counts: Arc<Counts>,
    ) -> Self {
        Self {
            client: AzureClient::new(settings, tls, clock, rng),
            counts,
            markers: Mutex::default(),
        }
    }

    fn key(&self, name: &str) -> String {
        format!("{}{name}", self.client.settings.prefix)
    }

    async fn whole(&self, call: &str, ask: &Ask<'_>) -> Result<(Parts, Bytes), S3Error> {
        let count = || self.counts.count(call);
        Ok(self.client.whole_told(ask, count).await?.into_parts())
    }

    fn marker(&self, prefix: &str, after: &StoreName) -> Option<String> {
        let markers = self.markers.lock();
        let found = markers
            .iter()
            .find(|((of, last), _)| of == prefix && last == after.as_str());
        found.map(|(_, marker)| marker.clone())
    }

    fn keep_marker(&self, prefix: &str, last: &str, marker: String) {
        let mut markers = self.markers.lock();
        let key = (prefix.to_owned(), last.to_owned());
        markers.retain(|(of, _)| *of != key);
        if markers.len() >= MARKERS_KEPT {
            markers.remove(0);
        }
        markers.push((key, marker));
    }

    /// Content rests in the tier that is wanted.
    fn in_tier<'a>(&self, name: &str, ask: Ask<'a>) -> Ask<'a> {
        match &self.client.settings.access_tier {
            Some(tier) if is_content(name) => ask.header("x-ms-access-tier", tier.clone()),
            _ => ask,
        }
    }

    fn of_container(&self, error: S3Error) -> StoreError {
        error.of_store(self.name(), Reason::DstStoreUnavailable)
    }

    fn named(&self, blob: ListedBlob) -> Option<StoreEntry> {
        let own = self.client.settings.prefix.len();
        let name = StoreName::new(blob.name.get(own..)?).ok()?;
        Some(StoreEntry {
            name,
            len: blob.size,
        })
    }
}

/// What a block is called: whose, which, and what is in it. All of one length, as those of a
/// blob have to be.
fn block_id(upload: &str, number: u32, sum: &str) -> String {
    let sum = sum.get(..SUM_DIGITS).unwrap_or(sum);
    STANDARD.encode(format!("{upload}-{number:05}-{sum}"))
}

/// The number of a block of this upload.
fn number_of(upload: &str, id: &str) -> Option<u32> {
    let id = String::from_utf8(STANDARD.decode(id).ok()?).ok()?;
    let rest = id.strip_prefix(upload)?.strip_prefix('-')?;
    rest.split('-').next()?.parse().ok()
}

fn header<'a>(head: &'a Parts, name: &str) -> Option<&'a str> {
    head.headers.get(name)?.to_str().ok()
}

fn etag(head: &Parts) -> String {
    header(head, "etag").unwrap_or_default().to_owned()
}

fn on<'a>(when: &If, ask: Ask<'a>) -> Ask<'a> {
    match when {
        If::Absent => ask.header("if-none-match", "*".to_owned()),
        If::Is(etag) => ask.header("if-match", etag.clone()),
    }
}

#[async_trait]
impl Place for AzurePlace {
    fn reached(&self) -> String {
        self.client.reached()
    }

    fn name(&self) -> &str {
        self.client.settings.container.as_str()
    }

    async fn head(&self, name: &str) -> Result<Option<Seen>, StoreError> {
        let key = self.key(name);
        let answer = self.whole(HEAD, &Ask::new(Method::HEAD, Some(&key))).await;
        let seen = answer.and_then(|(head, _)| {
            let length = header(&head, "content-length").and_then(|text| text.parse().ok());
            let what = "a blob without a length";
            length.ok_or(S3Error::Shape { what }).map(|len| Seen {
                len,
                etag: etag(&head),
            })
        });
        told::there(name, seen)
    }

    async fn get(&self, name: &str) -> Result<Option<(Bytes, String)>, StoreError> {
        let key = self.key(name);
        let answer = self.whole(GET, &Ask::new(Method::GET, Some(&key))).await;
        told::there(name, answer.map(|(head, body)| (body, etag(&head))))
    }

    async fn range(&self, name: &StoreName, from: u64, len: u64) -> Result<Bytes, StoreError> {
        let key = self.key(name.as_str());
        let to = from.saturating_add(len).saturating_sub(1);
        let ask =
            Ask::new(Method::GET, Some(&key)).header("x-ms-range", format!("bytes={from}-{to}"));
        let answer = self.whole(GET, &ask).await;
        told::read(name, answer.map(|(_, body)| body))
    }

    async fn put(&self, name: &str, body: Payload, when: &If) -> Result<Outcome, StoreError> {
        let key = self.key(name);
        let ask = Ask::new(Method::PUT, Some(&key))
            .header("content-type", SEALED.to_owned())
            .header("x-ms-blob-type", "BlockBlob".to_owned())
            .body(body);
        let ask = self.in_tier(name, on(when, ask));
        let answer = self.whole(PUT, &ask).await;
        told::put(name, when, answer.map(|(head, _)| etag(&head)))
    }

    async fn delete(&self, name: &str) -> Result<(), StoreError> {
        let key = self.key(name);
        let ask = Ask::new(Method::DELETE, Some(&key))
            .header("x-ms-delete-snapshots", "include".to_owned());
        told::removed(name, self.whole(DELETE, &ask).await)
    }

    /// A listing cannot begin behind a name: it goes on with the marker where it ended, and
    /// one that did not end there begins anew and leaves out what was told.
    async fn list(
        &self,
        prefix: &str,
        after: Option<&StoreName>,
        limit: usize,
    ) -> Result<Vec<StoreEntry>, StoreError> {
        let mut found: Vec<StoreEntry> = Vec::new();
        let mut marker = after.and_then(|after| self.marker(prefix, after));
        let (below, mut last) = (self.key(prefix), String::new());
        let mut onward = Onward::default();
        while found.len() < limit {
            let at_once = (limit - found.len()).min(S3_LISTED_AT_ONCE);
            self.counts.count(LIST);
            let page = self.client.blobs(&below, marker.as_deref(), at_once, "");
            let page = page.await.map_err(|error| self.of_container(error))?;
            let is_empty = page.blobs.is_empty();
            for blob in page.blobs {
                if blob.name < last {
                    let what = "its names are not in the order of their bytes: an account with \
                                a hierarchical namespace is no store";
                    return Err(self.of_container(S3Error::Shape { what }));
                }
                last.clone_from(&blob.name);
                let entry = self.named(blob);
                found.extend(entry.filter(|entry| after.is_none_or(|after| entry.name > *after)));
            }
            let Some(next) = page.next else {
                return Ok(found);
            };
            let taken = onward.take(&next, is_empty);
            taken.map_err(|what| self.of_container(S3Error::Shape { what }))?;
            marker = Some(next);
        }
        if let (Some(marker), Some(last)) = (marker, found.last()) {
            self.keep_marker(prefix, last.name.as_str(), marker);
        }
        Ok(found)
    }

    async fn begin_upload(&self, _: &str) -> Result<String, StoreError> {
        Ok(self.client.drawn())
    }

    async fn put_part(
        &self,
        (name, id): (&str, &str),
        number: u32,
        body: Payload,
        sum: &str,
    ) -> Result<Outcome, StoreError> {
        let (key, block) = (self.key(name), block_id(id, number, sum));
        let ask = Ask::new(Method::PUT, Some(&key))
            .query("comp", "block")
            .query("blockid", &block)
            .body(body);
        match self.whole(PUT_BLOCK, &ask).await {
            Ok(_) => Ok(Outcome::Done(block)),
            Err(error) => Err(error.of_store(name, Reason::DstPutDenied)),
        }
    }

    async fn parts(
        &self,
        name: &str,
        id: &str,
    ) -> Result<Option<BTreeMap<u32, StoredPart>>, StoreError> {
        let key = self.key(name);
        let ask = Ask::new(Method::GET, Some(&key))
            .query("comp", "blocklist")
            .query("blocklisttype", "uncommitted");
        let blocks = self.whole(GET_BLOCK_LIST, &ask).await;
        match blocks.and_then(|(_, body)| xml::uncommitted(&body)) {
            Ok(blocks) => {
                let of = |(etag, len): (String, u64)| {
                    Some((number_of(id, &etag)?, StoredPart { etag, len }))
                };
                Ok(Some(blocks.into_iter().filter_map(of).collect()))
            }
            Err(error) if error.is_missing() => Ok(None),
            Err(error) => Err(error.of_store(name, Reason::DstStoreUnavailable)),
        }
    }

    async fn complete(
        &self,
        name: &str,
        _: &str,
        parts: &[(u32, String)],
        when: &If,
    ) -> Result<Outcome, StoreError> {
        let key = self.key(name);
        let ids = parts.iter().map(|(_, id)| id.as_str());
        let ask = Ask::new(Method::PUT, Some(&key))
            .query("comp", "blocklist")
            .header("content-type", "application/xml".to_owned())
            .header("x-ms-blob-content-type", SEALED.to_owned())
            .body(xml::block_list(ids));
        let ask = self.in_tier(name, on(when, ask));
        match self.whole(PUT_BLOCK_LIST, &ask).await {
            // They are of the blob already, or a week went by.
            Err(S3Error::Answered { code, .. })
                if matches!(code.as_str(), "InvalidBlockList" | "InvalidBlockId") =>
            {
                Ok(Outcome::NoUpload)
            }
            answered => told::put(name, when, answered.map(|(head, _)| etag(&head))),
        }
    }

    async fn abort(&self, _: &str, _: &str) -> Result<(), StoreError> {
        Ok(())
    }

    async fn uploads(&self, _: &str) -> Result<Vec<(String, String)>, StoreError> {
        Ok(Vec::new())
    }

    async fn try_all(&self, probes: &mut Vec<Probe>) {
        let [read, write, delete] = AZURE_STORE_ACTIONS;
        let mut tried = |action, outcome| probes.push(Probe { action, outcome });
        let listed = self.list("", None, 1).await;
        let told = listed.map(|_| format!("{} can be listed", self.reached()));
        tried("ListBlobs", told);
        try_file(self, [write, read, delete], &mut tried).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_says_whose_it_is_and_which_and_what_is_in_it() {
        let sum = "0123456789abcdef0123";
        let ids = [block_id("u1", 1, sum), block_id("u1", 50_000, sum)];
        assert_eq!(ids[0].len(), ids[1].len());
        assert_eq!(number_of("u1", &ids[1]), Some(50_000));
        assert_eq!(number_of("u2", &ids[1]), None);
        assert_ne!(ids[0], block_id("u1", 1, "1123456789abcdef"));
        assert_eq!(number_of("u1", "no base64"), None);
    }
}
