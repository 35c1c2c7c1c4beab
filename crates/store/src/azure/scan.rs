//! A listing of what is there, page by page, with the versions below it where those are kept.
//!
//! Versions of a blob are listed the oldest first, and the current one is marked. A blob whose
//! versions are all there and none is current was deleted: it is left out, as one that never
//! was, and whoever compares finds it gone.

use std::{collections::VecDeque, sync::Arc};

use async_trait::async_trait;
use sealift_terms::limits::{EARLIER_LISTED_MAX, S3_LISTED_AT_ONCE};

use super::{client::AzureClient, xml::ListedBlob};
use crate::{
    Listed, Page, Scan, Skipped, StoreError,
    s3::{
        S3Error, narrower,
        of_key::{Found, OfKey},
        xml::ListedVersion,
    },
};

const OUT_OF_ORDER: &str = "its names are not in the order of their bytes: an account with a \
                            hierarchical namespace is no source";

/// The versions of one blob, of which the newest are kept.
#[derive(Debug)]
pub(super) struct OfName {
    pub(super) name: String,
    current: Option<ListedBlob>,
    /// The oldest first.
    earlier: VecDeque<ListedBlob>,
    max: usize,
    more: bool,
}

impl OfName {
    pub(super) fn new(name: &str, max: usize) -> Self {
        Self {
            name: name.to_owned(),
            current: None,
            earlier: VecDeque::new(),
            max,
            more: false,
        }
    }

    pub(super) fn add(&mut self, blob: ListedBlob) {
        if blob.is_current {
            self.current = Some(blob);
            return;
        }
        self.earlier.push_back(blob);
        if self.earlier.len() > self.max {
            self.earlier.pop_front();
            self.more = true;
        }
    }

    /// As a listing with the newest first has them.
    pub(super) fn of_key(self) -> OfKey {
        let mut of_key = OfKey::up_to(self.max);
        let earlier = self.earlier.into_iter().rev();
        for blob in self.current.into_iter().chain(earlier) {
            of_key.add(ListedVersion {
                key: blob.name,
                version: blob.version,
                is_latest: blob.is_current,
                is_marker: false,
                last_modified: blob.last_modified,
                etag: blob.etag,
                size: blob.size,
                storage_class: None,
            });
        }
        of_key.more |= self.more;
        of_key
    }
}

/// A listing under way.
pub(super) struct AzureScan {
    client: Arc<AzureClient>,
    /// None where nothing begins with both prefixes.
    prefix: Option<String>,
    marker: Option<String>,
    /// What the last blob is known of, whose versions may go on in the next answer.
    open: Option<OfName>,
    listed: VecDeque<Listed>,
    skipped: Vec<Skipped>,
    ended: bool,
    /// An answer could not be used: the listing says nothing of what it did not reach.
    failed: bool,
}

impl AzureScan {
    pub(super) fn new(client: Arc<AzureClient>, prefix: &str) -> Self {
        let own = client.settings.prefix.as_str();
        let prefix = narrower(own, prefix);
        Self {
            client,
            ended: prefix.is_none(),
            prefix,
            marker: None,
            open: None,
            listed: VecDeque::new(),
            skipped: Vec::new(),
            failed: false,
        }
    }

    async fn fetch(&mut self) -> Result<(), StoreError> {
        let prefix = self.prefix.as_deref().unwrap_or_default();
        let page = self
            .client
            .source_page(prefix, self.marker.as_deref(), S3_LISTED_AT_ONCE)
            .await?;
        for blob in page.blobs {
            match &mut self.open {
                Some(open) if open.name == blob.name => open.add(blob),
                Some(open) if open.name > blob.name => return Err(self.shape(OUT_OF_ORDER)),
                _ => {
                    let next = OfName::new(&blob.name, EARLIER_LISTED_MAX);
                    let before = self.open.replace(next);
                    before.into_iter().for_each(|before| self.tell(before));
                    if let Some(open) = &mut self.open {
                        open.add(blob);
                    }
                }
            }
        }
        match page.next {
            None => {
                let last = self.open.take();
                last.into_iter().for_each(|last| self.tell(last));
                self.ended = true;
            }
            next if next == self.marker => {
                return Err(self.shape("its next page begins where the last one did"));
            }
            next => self.marker = next,
        }
        Ok(())
    }

    fn tell(&mut self, of: OfName) {
        match of.of_key().found() {
            Some(Ok(Found::Listed(listed))) => self.listed.push_back(listed),
            Some(Err(skipped)) => self.skipped.push(skipped),
            // Deleted. There are no delete markers.
            Some(Ok(Found::Removed(_))) | None => {}
        }
    }

    fn shape(&self, what: &'static str) -> StoreError {
        self.client.of_container(S3Error::Shape { what })
    }
}

#[async_trait]
impl Scan for AzureScan {
    async fn page(&mut self, limit: usize) -> Result<Page, StoreError> {
        if self.failed {
            return Err(self.shape("the listing was broken off"));
        }
        while self.listed.len() < limit && !self.ended {
            // Abandoned in the middle, or failed: it is over.
            self.failed = true;
            self.fetch().await?;
            self.failed = false;
        }
        let count = limit.min(self.listed.len());
        Ok(Page {
            objects: self.listed.drain(..count).collect(),
            removed: Vec::new(),
            skipped: std::mem::take(&mut self.skipped),
            last: self.ended && self.listed.is_empty(),
        })
    }
}
