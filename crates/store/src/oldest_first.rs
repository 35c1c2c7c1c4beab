//! Listings of services that tell the versions of a name the oldest first, and have no delete
//! markers: Azure's and Google's.
//!
//! A name whose versions are all there and of which none is current was deleted. Where the
//! service says when, that is told as a delete marker; where it does not, the name is left
//! out, as one that never was, and whoever compares finds it gone.

use std::{collections::VecDeque, fmt, sync::Arc};

use async_trait::async_trait;
use sealift_terms::limits::{EARLIER_LISTED_MAX, S3_LISTED_AT_ONCE};

use crate::{
    Page, Scan, StoreError,
    gathered::Gathered,
    onward::Onward,
    s3::{
        narrower,
        of_key::{Found, OfKey},
        xml::ListedVersion,
    },
};

/// Stands behind the id of the last version of a name, in that of its delete marker.
const DELETED: &str = "~deleted";

/// Whose names are listed.
#[async_trait]
pub(crate) trait Names: Send + Sync + fmt::Debug {
    /// Where a page ends.
    type Marker: PartialEq + Clone + Send + Sync;

    /// Only names that begin so.
    fn prefix(&self) -> &str;

    /// So many versions at most, behind a marker; and the marker that the next ones are behind.
    async fn versions(
        &self,
        prefix: &str,
        after: Option<&Self::Marker>,
        count: usize,
    ) -> Result<(Vec<ListedVersion>, Option<Self::Marker>), StoreError>;

    /// An answer that is no listing.
    fn shape(&self, what: &'static str) -> StoreError;

    /// What is said where names are not in the order of their bytes.
    fn out_of_order(&self) -> &'static str;
}

/// The versions of one name, of which the newest are kept.
#[derive(Debug)]
pub(crate) struct OfName {
    pub(crate) name: String,
    /// The oldest first.
    versions: VecDeque<ListedVersion>,
    max: usize,
    more: bool,
}

/// Ids grow with time: numbers without zeros before them, or times of one length. What is
/// current is the newest, and may have none.
fn age(version: &ListedVersion) -> (bool, usize, &str) {
    (version.is_latest, version.version.len(), &version.version)
}

impl OfName {
    /// The current version and `max` below it.
    pub(crate) fn new(name: &str, max: usize) -> Self {
        Self {
            name: name.to_owned(),
            versions: VecDeque::new(),
            max,
            more: false,
        }
    }

    pub(crate) fn add(&mut self, version: ListedVersion) {
        let at = self
            .versions
            .partition_point(|one| age(one) < age(&version));
        self.versions.insert(at, version);
        // One more than is wanted below: the newest may be the current one.
        if self.versions.len() > self.max + 1 {
            self.versions.pop_front();
            self.more = true;
        }
    }

    /// As a listing with the newest first has them, and a delete marker above them where
    /// there is one.
    pub(crate) fn of_key(mut self) -> OfKey {
        // A page may tell of one that the next page's took the place of.
        let current = self.versions.iter().rposition(|one| one.is_latest);
        for (place, one) in self.versions.iter_mut().enumerate() {
            one.is_latest = Some(place) == current;
        }
        let marker = self.versions.back().and_then(marker);
        let marker = marker.filter(|_| current.is_none());
        let mut of_key = OfKey::as_listed(self.max);
        let newest_first = self.versions.into_iter().rev();
        marker
            .into_iter()
            .chain(newest_first)
            .for_each(|one| of_key.add(one));
        of_key.more |= self.more;
        of_key
    }
}

/// The delete marker that stands for a name of which this was the last version.
fn marker(last: &ListedVersion) -> Option<ListedVersion> {
    let deleted = last.deleted?;
    Some(ListedVersion {
        key: last.key.clone(),
        version: format!("{}{DELETED}", last.version),
        is_latest: true,
        is_marker: true,
        last_modified: Some(deleted),
        ..ListedVersion::default()
    })
}

/// What is there of a name: the first of all that begins so.
pub(crate) async fn of_key<N: Names>(
    names: &N,
    name: &str,
    max: usize,
) -> Result<OfKey, StoreError> {
    let (mut of, mut onward) = (OfName::new(name, max), Onward::default());
    loop {
        let asked = names.versions(name, onward.last(), S3_LISTED_AT_ONCE);
        let (versions, next) = asked.await?;
        let is_empty = versions.is_empty();
        let is_past = versions.last().is_some_and(|last| last.key != name);
        let own = versions.into_iter().filter(|one| one.key == name);
        own.for_each(|one| of.add(one));
        let Some(next) = next.filter(|_| !is_past) else {
            return Ok(of.of_key());
        };
        let taken = onward.take(&next, is_empty);
        taken.map_err(|what| names.shape(what))?;
    }
}

/// A listing under way: what it holds is one answer of the service and what of it is not taken.
pub(crate) struct OldestFirst<N: Names> {
    names: Arc<N>,
    /// None where nothing begins with both prefixes.
    prefix: Option<String>,
    onward: Onward<N::Marker>,
    /// What the last name is known of, whose versions may go on in the next answer.
    open: Option<OfName>,
    gathered: Gathered,
    ended: bool,
    /// An answer could not be used: the listing says nothing of what it did not reach.
    failed: bool,
}

impl<N: Names> OldestFirst<N> {
    pub(crate) fn new(names: Arc<N>, prefix: &str) -> Self {
        let prefix = narrower(names.prefix(), prefix);
        Self {
            names,
            ended: prefix.is_none(),
            prefix,
            onward: Onward::default(),
            open: None,
            gathered: Gathered::default(),
            failed: false,
        }
    }

    async fn fetch(&mut self) -> Result<(), StoreError> {
        let prefix = self.prefix.as_deref().unwrap_or_default();
        let after = self.onward.last();
        let asked = self.names.versions(prefix, after, S3_LISTED_AT_ONCE);
        let (versions, next) = asked.await?;
        let is_empty = versions.is_empty();
        for version in versions {
            match &mut self.open {
                Some(open) if open.name == version.key => open.add(version),
                // What compares it with the journal would take names for removed.
                Some(open) if open.name > version.key => {
                    return Err(self.names.shape(self.names.out_of_order()));
                }
                _ => {
                    let mut of = OfName::new(&version.key, EARLIER_LISTED_MAX);
                    of.add(version);
                    let before = self.open.replace(of);
                    before.into_iter().for_each(|before| self.tell(before));
                }
            }
        }
        match next {
            None => {
                let last = self.open.take();
                last.into_iter().for_each(|last| self.tell(last));
                self.ended = true;
            }
            Some(next) => {
                let taken = self.onward.take(&next, is_empty);
                taken.map_err(|what| self.names.shape(what))?;
            }
        }
        Ok(())
    }

    fn tell(&mut self, of: OfName) {
        let gathered = &mut self.gathered;
        match of.of_key().found() {
            Some(Ok(Found::Listed(listed))) => gathered.listed.push_back(listed),
            Some(Ok(Found::Removed(removed))) => gathered.removed.push_back(removed),
            Some(Err(skipped)) => gathered.skipped.push(skipped),
            // Deleted, and nobody says when.
            None => {}
        }
    }
}

#[async_trait]
impl<N: Names> Scan for OldestFirst<N> {
    async fn page(&mut self, limit: usize) -> Result<Page, StoreError> {
        if self.failed {
            return Err(self.names.shape("the listing was broken off"));
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
    use sealift_terms::{Reason, Timestamp};

    use super::*;

    /// What is answered, page by page; a page's marker is its number.
    #[derive(Debug)]
    struct Told(Vec<(Vec<ListedVersion>, Option<usize>)>);

    #[async_trait]
    impl Names for Told {
        type Marker = usize;

        fn prefix(&self) -> &str {
            ""
        }

        async fn versions(
            &self,
            _prefix: &str,
            after: Option<&usize>,
            _count: usize,
        ) -> Result<(Vec<ListedVersion>, Option<usize>), StoreError> {
            Ok(self.0[after.copied().unwrap_or(0)].clone())
        }

        fn shape(&self, what: &'static str) -> StoreError {
            StoreError::SourceUnavailable {
                path: "told".to_owned(),
                source: std::io::Error::other(what),
            }
        }

        fn out_of_order(&self) -> &'static str {
            "out of order"
        }
    }

    fn live(key: &str, version: &str) -> ListedVersion {
        ListedVersion {
            key: key.to_owned(),
            version: version.to_owned(),
            is_latest: true,
            ..ListedVersion::default()
        }
    }

    fn gone(key: &str, version: &str) -> ListedVersion {
        ListedVersion {
            is_latest: false,
            deleted: Some(Timestamp::from_secs(7)),
            ..live(key, version)
        }
    }

    async fn scanned(pages: Vec<(Vec<ListedVersion>, Option<usize>)>) -> Result<Page, StoreError> {
        let mut scan = OldestFirst::new(Arc::new(Told(pages)), "");
        let page = scan.page(100).await;
        if page.is_err() {
            assert!(scan.page(100).await.is_err(), "it is over");
        }
        page
    }

    fn below(history: &crate::History) -> Vec<&str> {
        let earlier = history.earlier.iter();
        earlier.map(|earlier| earlier.version.as_str()).collect()
    }

    /// The next scan would delete at the other side what such a listing leaves out.
    #[tokio::test]
    async fn a_listing_that_is_out_of_order_or_turns_round_is_an_error_and_no_listing() {
        for pages in [
            vec![(vec![live("b", "1"), live("a", "2")], None)],
            vec![
                (vec![live("b", "1")], Some(1)),
                (vec![live("a", "2")], None),
            ],
            vec![
                (vec![live("a", "1")], Some(1)),
                (vec![live("b", "2")], Some(1)),
            ],
        ] {
            let error = scanned(pages).await.unwrap_err();
            assert_eq!(error.reason(), Reason::SrcUnavailable, "{error}");
        }
    }

    #[tokio::test]
    async fn versions_that_go_on_in_the_next_answer_are_together() {
        let page = scanned(vec![
            (vec![gone("a", "9"), gone("b", "8")], Some(1)),
            (vec![gone("b", "10"), live("b", "11")], Some(2)),
            (vec![live("c", "12")], None),
        ]);
        let page = page.await.unwrap();
        let [b, c] = &page.objects[..] else {
            panic!("{page:?}");
        };
        assert_eq!(
            (b.version.as_str(), below(&b.history)),
            ("11", vec!["10", "8"])
        );
        assert_eq!(c.version.as_str(), "12");
        assert_eq!(page.removed[0].version.as_str(), "9~deleted");
        assert_eq!(page.removed[0].modified, Some(Timestamp::from_secs(7)));
        assert!(page.last);
    }

    #[tokio::test]
    async fn of_two_that_are_said_to_be_live_the_newer_one_is() {
        // It was overwritten between two answers.
        let page = scanned(vec![
            (vec![live("a", "9")], Some(1)),
            (vec![live("a", "10")], None),
        ]);
        let a = &page.await.unwrap().objects[0];
        assert_eq!((a.version.as_str(), below(&a.history)), ("10", vec!["9"]));
    }

    #[tokio::test]
    async fn a_name_that_nobody_says_when_it_was_deleted_is_left_out() {
        let untold = ListedVersion {
            deleted: None,
            ..gone("a", "1")
        };
        let page = scanned(vec![(vec![untold], None)]).await.unwrap();
        assert!(page.objects.is_empty() && page.removed.is_empty() && page.last);
    }

    #[test]
    fn so_many_are_kept_and_they_are_the_newest() {
        for last in [live("a", "99"), gone("a", "99")] {
            let mut of = OfName::new("a", 3);
            for number in 90..99 {
                of.add(gone("a", &number.to_string()));
            }
            of.add(last);
            assert_eq!(of.versions.len(), 4);
            let history = of.of_key().history().unwrap();
            assert_eq!(history.earlier.len(), 3);
            assert!(history.more);
        }
    }
}
