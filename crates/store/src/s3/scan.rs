//! A listing of the latest versions, page by page.

use std::{collections::VecDeque, sync::Arc};

use async_trait::async_trait;
use sealift_terms::{ObjectFacts, ObjectKey, Reason, limits::S3_LISTED_AT_ONCE};

use super::{
    client::S3Client,
    version,
    xml::{ListedVersion, VersionsPage},
};
use crate::{Listed, Page, Scan, Skipped, StoreError};

/// A listing under way: what it holds is one answer of the store and what of it is not taken.
pub(super) struct S3Scan {
    client: Arc<S3Client>,
    /// None where nothing begins with both prefixes.
    prefix: Option<String>,
    /// The marker of the next answer.
    after: Option<(String, Option<String>)>,
    /// The last key that was the latest of its versions.
    last_key: Option<String>,
    listed: VecDeque<Listed>,
    skipped: Vec<Skipped>,
    ended: bool,
    /// An answer could not be used: the listing says nothing of what it did not reach.
    failed: bool,
}

impl S3Scan {
    pub(super) fn new(client: Arc<S3Client>, prefix: &str) -> Self {
        let own = client.settings.prefix.as_str();
        let prefix = match (prefix.starts_with(own), own.starts_with(prefix)) {
            (true, _) => Some(prefix.to_owned()),
            (_, true) => Some(own.to_owned()),
            _ => None,
        };
        Self {
            client,
            ended: prefix.is_none(),
            prefix,
            after: None,
            last_key: None,
            listed: VecDeque::new(),
            skipped: Vec::new(),
            failed: false,
        }
    }

    async fn fetch(&mut self) -> Result<(), StoreError> {
        let prefix = self.prefix.as_deref().unwrap_or_default();
        let page = self
            .client
            .versions(prefix, self.after.as_ref(), S3_LISTED_AT_ONCE);
        let page = page.await?;
        self.take_in(page)
    }

    fn take_in(&mut self, page: VersionsPage) -> Result<(), StoreError> {
        let VersionsPage { versions, next, .. } = page;
        if next.is_some() && next <= self.after {
            return Err(self.out_of_order("its next page begins where the last one did"));
        }
        for version in versions.into_iter().filter(|version| version.is_latest) {
            if self
                .last_key
                .as_ref()
                .is_some_and(|last| *last >= version.key)
            {
                // What compares it with the journal would take keys for removed.
                return Err(self.out_of_order("its keys are not in the order of their bytes"));
            }
            self.last_key = Some(version.key.clone());
            match listed(version) {
                Ok(listed) => self.listed.push_back(listed),
                Err(skipped) => self.skipped.push(skipped),
            }
        }
        self.ended = next.is_none();
        self.after = next;
        Ok(())
    }

    fn out_of_order(&self, what: &'static str) -> StoreError {
        self.client.of_bucket(super::error::S3Error::Shape { what })
    }
}

/// What a listing says of a version.
pub(super) fn listed(found: ListedVersion) -> Result<Listed, Skipped> {
    let skipped = |error: sealift_terms::NameError| Skipped {
        name: found.key.escape_debug().to_string(),
        reason: Reason::SrcNameUnsupported,
        evidence: error.to_string(),
        hides: None,
    };
    let key = ObjectKey::new(&found.key).map_err(skipped)?;
    let version = version::of(&found.version, &found.etag).map_err(skipped)?;
    let mut facts = ObjectFacts {
        size: found.size,
        etag: (!found.etag.is_empty()).then_some(found.etag),
        last_modified: found.last_modified,
        ..ObjectFacts::default()
    };
    if let Some(class) = found.storage_class {
        facts.system.insert("storage-class".to_owned(), class);
    }
    Ok(Listed {
        key,
        version,
        facts,
        settled: true,
    })
}

#[async_trait]
impl Scan for S3Scan {
    async fn page(&mut self, limit: usize) -> Result<Page, StoreError> {
        if self.failed {
            return Err(self.out_of_order("the listing was broken off"));
        }
        while self.listed.len() < limit && !self.ended {
            // Abandoned in the middle, or failed: it is over.
            self.failed = true;
            self.fetch().await?;
            self.failed = false;
        }
        let count = limit.min(self.listed.len());
        let objects = self.listed.drain(..count).collect();
        Ok(Page {
            objects,
            skipped: std::mem::take(&mut self.skipped),
            last: self.ended && self.listed.is_empty(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::{super::tests::Stage, *};

    fn page(keys: &[&str], next: Option<&str>) -> VersionsPage {
        let version = |key: &&str| ListedVersion {
            key: (*key).to_owned(),
            version: "v".to_owned(),
            is_latest: true,
            ..ListedVersion::default()
        };
        VersionsPage {
            versions: keys.iter().map(version).collect(),
            next: next.map(|key| (key.to_owned(), None)),
            ..VersionsPage::default()
        }
    }

    /// The next scan would delete at the other side what such a listing leaves out.
    #[test]
    fn a_listing_that_is_out_of_order_or_turns_round_is_an_error_and_no_listing() {
        let stage = Stage::new(false);
        let scan = || S3Scan::new(stage.source(|_| {}).client, "");
        for pages in [
            [page(&["b", "a"], None), page(&[], None)],
            [page(&["a", "a"], None), page(&[], None)],
            [page(&["b"], Some("b")), page(&["a"], None)],
            [page(&["a"], Some("b")), page(&["c"], Some("b"))],
            [page(&["a"], Some("b")), page(&["c"], Some("a"))],
        ] {
            let mut scan = scan();
            let taken = pages.into_iter().try_for_each(|page| scan.take_in(page));
            let error = taken.unwrap_err();
            assert_eq!(error.reason(), Reason::SrcUnavailable, "{error}");
        }
        let mut good = scan();
        good.take_in(page(&["a", "b"], Some("b"))).unwrap();
        good.take_in(page(&["c", "\u{e4}"], None)).unwrap();
        assert_eq!(good.listed.len(), 4);
    }

    #[test]
    fn a_name_that_can_be_no_key_is_told() {
        let stage = Stage::new(false);
        let mut scan = S3Scan::new(stage.source(|_| {}).client, "");
        let long = "x".repeat(1025);
        scan.take_in(page(&["a", &long], None)).unwrap();
        assert_eq!(scan.skipped[0].reason, Reason::SrcNameUnsupported);
        assert_eq!((scan.listed.len(), &scan.skipped[0].hides), (1, &None));
    }
}
