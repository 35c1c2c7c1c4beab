//! A listing of the latest versions, page by page.

use std::{collections::BTreeMap, sync::Arc};

use async_trait::async_trait;
use sealift_terms::limits::S3_LISTED_AT_ONCE;

use super::{
    client::S3Client,
    of_key::{Found, OfKey},
    xml::VersionsPage,
};
use crate::{Page, Scan, StoreError, gathered::Gathered, onward::Onward};

const OUT_OF_ORDER: &str = "its keys are not in the order of their bytes";

/// A listing under way: what it holds is one answer of the store and what of it is not taken.
pub(super) struct S3Scan {
    client: Arc<S3Client>,
    /// None where nothing begins with both prefixes.
    prefix: Option<String>,
    /// The markers of answers.
    onward: Onward<(String, Option<String>)>,
    /// Keys whose versions may go on in the next answer.
    open: BTreeMap<String, OfKey>,
    /// The last keys of versions and of delete markers: some list these behind those.
    last_keys: [Option<String>; 2],
    gathered: Gathered,
    ended: bool,
    /// An answer could not be used: the listing says nothing of what it did not reach.
    failed: bool,
}

/// What all names begin with that begin with both of these; none if there can be none.
pub(crate) fn narrower(own: &str, prefix: &str) -> Option<String> {
    match (prefix.starts_with(own), own.starts_with(prefix)) {
        (true, _) => Some(prefix.to_owned()),
        (_, true) => Some(own.to_owned()),
        _ => None,
    }
}

impl S3Scan {
    pub(super) fn new(client: Arc<S3Client>, prefix: &str) -> Self {
        let own = client.settings.prefix.as_str();
        let prefix = narrower(own, prefix);
        Self {
            client,
            ended: prefix.is_none(),
            prefix,
            onward: Onward::default(),
            open: BTreeMap::new(),
            last_keys: [None, None],
            gathered: Gathered::default(),
            failed: false,
        }
    }

    async fn fetch(&mut self) -> Result<(), StoreError> {
        let prefix = self.prefix.as_deref().unwrap_or_default();
        let page = self
            .client
            .versions(prefix, self.onward.last(), S3_LISTED_AT_ONCE);
        let page = page.await?;
        self.take_in(page)
    }

    fn take_in(&mut self, page: VersionsPage) -> Result<(), StoreError> {
        let VersionsPage { versions, next } = page;
        if let Some(next) = &next {
            // Keys are in order; the ids of versions of one key are in none.
            if self.onward.last().is_some_and(|(last, _)| next.0 < *last) {
                return Err(self.out_of_order("its next page begins before the last one did"));
            }
            let taken = self.onward.take(next, versions.is_empty());
            taken.map_err(|what| self.out_of_order(what))?;
        }
        for version in versions {
            let [of_versions, of_markers] = &mut self.last_keys;
            let last = match version.is_marker {
                false => of_versions,
                true => of_markers,
            };
            if last.as_ref().is_some_and(|last| *last > version.key) {
                // What compares it with the journal would take keys for removed.
                return Err(self.out_of_order(OUT_OF_ORDER));
            }
            *last = Some(version.key.clone());
            let of_key = self.open.entry(version.key.clone()).or_default();
            of_key.add(version);
            if of_key.contradicts_itself() {
                return Err(self.out_of_order("of a key two versions are the latest"));
            }
        }
        let whole = match &next {
            None => std::mem::take(&mut self.open),
            Some((going_on, _)) => {
                let later = self.open.split_off(going_on);
                std::mem::replace(&mut self.open, later)
            }
        };
        if self.open.len() > S3_LISTED_AT_ONCE {
            return Err(
                self.out_of_order("its next page begins far before the end of the last one")
            );
        }
        for of_key in whole.into_values() {
            self.tell(of_key)?;
        }
        self.ended = next.is_none();
        Ok(())
    }

    fn tell(&mut self, of_key: OfKey) -> Result<(), StoreError> {
        match of_key.found() {
            Some(Ok(Found::Listed(listed))) => {
                if self
                    .gathered
                    .listed
                    .back()
                    .is_some_and(|last| last.key >= listed.key)
                {
                    return Err(self.out_of_order(OUT_OF_ORDER));
                }
                self.gathered.listed.push_back(listed);
            }
            Some(Ok(Found::Removed(removed))) => self.gathered.removed.push_back(removed),
            Some(Err(skipped)) => self.gathered.skipped.push(skipped),
            // What was latest came behind what the listing began with: the next one has it.
            None => {}
        }
        Ok(())
    }

    fn out_of_order(&self, what: &'static str) -> StoreError {
        self.client.of_bucket(super::error::S3Error::Shape { what })
    }
}

#[async_trait]
impl Scan for S3Scan {
    async fn page(&mut self, limit: usize) -> Result<Page, StoreError> {
        if self.failed {
            return Err(self.out_of_order("the listing was broken off"));
        }
        while !self.gathered.is_enough(limit) && !self.ended {
            // Abandoned in the middle, or failed: it is over.
            self.failed = true;
            self.fetch().await?;
            self.failed = false;
        }
        Ok(self.gathered.page(limit, self.ended))
    }
}

#[cfg(test)]
mod tests {
    use sealift_terms::Reason;

    use super::{
        super::{tests::Stage, xml::ListedVersion},
        *,
    };

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
        assert_eq!(good.gathered.listed.len(), 4);
    }

    #[test]
    fn versions_of_a_key_that_go_on_in_the_next_answer_are_together() {
        let stage = Stage::new(false);
        let mut scan = S3Scan::new(stage.source(|_| {}).client, "");
        let one = |key: &str, version: &str, is_latest, is_marker| ListedVersion {
            key: key.to_owned(),
            version: version.to_owned(),
            is_latest,
            is_marker,
            ..ListedVersion::default()
        };
        let first = VersionsPage {
            versions: vec![one("a", "a2", true, true), one("b", "b3", true, false)],
            next: Some(("b".to_owned(), Some("b3".to_owned()))),
        };
        scan.take_in(first).unwrap();
        assert_eq!(
            (scan.gathered.listed.len(), scan.gathered.removed.len()),
            (0, 1)
        );
        let rest = VersionsPage {
            versions: vec![one("b", "b2", false, true), one("b", "b1", false, false)],
            next: None,
        };
        scan.take_in(rest).unwrap();
        let earlier = &scan.gathered.listed[0].history.earlier;
        let versions: Vec<_> = earlier.iter().map(|e| e.version.as_str()).collect();
        assert_eq!(versions, ["b2", "b1"]);
    }

    #[test]
    fn a_name_that_can_be_no_key_is_told() {
        let stage = Stage::new(false);
        let mut scan = S3Scan::new(stage.source(|_| {}).client, "");
        let long = "x".repeat(1025);
        scan.take_in(page(&["a", &long], None)).unwrap();
        assert_eq!(scan.gathered.skipped[0].reason, Reason::SrcNameUnsupported);
        assert_eq!(
            (scan.gathered.listed.len(), &scan.gathered.skipped[0].hides),
            (1, &None)
        );
    }
}
