//! Walking the catalog for a listing: keys below a prefix, rolled up at a delimiter, page by
//! page.

use async_trait::async_trait;
use sealift_archive::{Archive, ArchiveError};
use sealift_ledger::{ListVersions, ListedVersion, VersionCursor, VersionKind, VersionPage};
use sealift_terms::{
    BucketName, ObjectKey,
    limits::{ENDPOINT_LISTED_MAX, ENDPOINT_ROWS_SEEN_MAX, OBJECT_KEY_BYTES_MAX},
};

/// Rows asked of the catalog first, where some may be rolled up; more and more follow while
/// none of them is.
const ROWS_FIRST: usize = 64;
/// Rows asked of the catalog at once: a full page, and one that says that more follow.
const ROWS_MAX: usize = ENDPOINT_LISTED_MAX + 1;

/// What a listing wants.
#[derive(Debug, Clone)]
pub(crate) struct Walk {
    pub(crate) bucket: BucketName,
    pub(crate) prefix: String,
    pub(crate) delimiter: Option<String>,
    /// All versions, markers too; otherwise what is there now.
    pub(crate) all: bool,
    /// At most so many entries.
    pub(crate) max: usize,
    pub(crate) after: Option<After>,
}

/// Where a listing goes on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum After {
    /// Behind this key, or behind one version of it.
    Row(VersionCursor),
    /// Behind everything that is rolled up into this prefix.
    Prefix(String),
}

/// One entry of a listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Entry {
    /// A version; whether it is its key's latest.
    Row(ListedVersion, bool),
    /// What all keys begin with that are rolled up into it.
    Prefix(String),
}

/// A page of a listing.
#[derive(Debug, Default)]
pub(crate) struct Listed {
    pub(crate) entries: Vec<Entry>,
    /// Where the next one begins; none at the end.
    pub(crate) next: Option<After>,
}

/// Where rows come from.
#[async_trait]
pub(crate) trait Rows: Sync {
    async fn page(&self, list: &ListVersions) -> Result<VersionPage<ListedVersion>, ArchiveError>;
}

#[async_trait]
impl Rows for Archive {
    async fn page(&self, list: &ListVersions) -> Result<VersionPage<ListedVersion>, ArchiveError> {
        self.listed(list).await
    }
}

impl Walk {
    /// The next page. One that would take too many rows of the catalog ends early, with fewer
    /// entries than there could be.
    pub(crate) async fn list(self, rows: &dyn Rows) -> Result<Listed, ArchiveError> {
        if self.max == 0 {
            return Ok(Listed::default());
        }
        let mut walking = Walking::new(self);
        loop {
            let page = rows.page(&walking.list).await?;
            if walking.take(page) {
                return Ok(walking.listed);
            }
        }
    }
}

/// A walk under way.
struct Walking {
    walk: Walk,
    list: ListVersions,
    /// The key of the row before.
    before: Option<ObjectKey>,
    /// The prefix that was rolled up last.
    told: Option<String>,
    /// The last row or prefix that was looked at.
    at: Option<After>,
    seen: usize,
    listed: Listed,
}

impl Walking {
    fn new(walk: Walk) -> Self {
        let (after, before, told) = match &walk.after {
            None => (None, None, None),
            Some(After::Row(cursor)) => (Some(cursor.clone()), Some(cursor.key.clone()), None),
            Some(After::Prefix(prefix)) => (behind(prefix), None, Some(prefix.clone())),
        };
        let rows_first = match walk.delimiter {
            Some(_) => ROWS_FIRST,
            None => ROWS_MAX,
        };
        Self {
            list: ListVersions {
                bucket: walk.bucket.clone(),
                prefix: walk.prefix.clone(),
                all: walk.all,
                after,
                limit: rows_first.min(walk.max + 1),
            },
            at: walk.after.clone(),
            walk,
            before,
            told,
            seen: 0,
            listed: Listed::default(),
        }
    }

    /// Takes a page of rows; whether the listing is done.
    fn take(&mut self, page: VersionPage<ListedVersion>) -> bool {
        for row in page.rows {
            if self.is_over() || !self.row(row) {
                self.listed.next = self.at.clone();
                return true;
            }
        }
        let Some(next) = page.next else { return true };
        let is_rolled_up = matches!(self.at, Some(After::Prefix(_)));
        self.list.limit = match is_rolled_up {
            true => ROWS_FIRST,
            false => (self.list.limit * 2).min(ROWS_MAX),
        };
        self.list.after = match &self.told {
            Some(prefix) if is_rolled_up => behind(prefix),
            _ => Some(next),
        };
        false
    }

    fn is_over(&mut self) -> bool {
        self.seen += 1;
        self.seen > ENDPOINT_ROWS_SEEN_MAX
    }

    /// Looks at one row; false when there is no room for what it says.
    fn row(&mut self, row: ListedVersion) -> bool {
        let is_latest = self.before.as_ref() != Some(&row.key);
        let is_there = self.walk.all || row.kind == VersionKind::Object;
        if is_there && let Some(prefix) = self.rolled_up(row.key.as_str()) {
            if self.told.as_ref() != Some(&prefix) {
                if !self.has_room() {
                    return false;
                }
                self.listed.entries.push(Entry::Prefix(prefix.clone()));
                self.told = Some(prefix.clone());
            }
            self.before = Some(row.key);
            self.at = Some(After::Prefix(prefix));
            return true;
        }
        if is_there && !self.has_room() {
            return false;
        }
        self.before = Some(row.key.clone());
        let is_within = |told: &String| row.key.as_str().starts_with(told.as_str());
        if !is_there && self.told.as_ref().is_some_and(is_within) {
            return true; // The listing goes on behind that prefix.
        }
        self.at = Some(After::Row(VersionCursor {
            key: row.key.clone(),
            version: self
                .walk
                .all
                .then(|| (row.order.clone(), row.version.clone())),
        }));
        if is_there {
            let entry = Entry::Row(row, is_latest);
            self.listed.entries.push(entry);
        }
        true
    }

    fn has_room(&self) -> bool {
        self.listed.entries.len() < self.walk.max
    }

    /// What `key` is rolled up into: all of it to the first delimiter behind the prefix.
    fn rolled_up(&self, key: &str) -> Option<String> {
        let delimiter = self.walk.delimiter.as_deref()?;
        rolled_up(key, &self.walk.prefix, delimiter).map(str::to_owned)
    }
}

/// What `key` is rolled up into: all of it to the first delimiter behind the prefix.
pub(crate) fn rolled_up<'k>(key: &'k str, prefix: &str, delimiter: &str) -> Option<&'k str> {
    let rest = key.strip_prefix(prefix)?;
    let at = rest.find(delimiter)?;
    key.get(..prefix.len() + at + delimiter.len())
}

/// Behind (almost) every key that begins with `prefix`: as long a key as can be, of the
/// highest character. What still sorts behind it is told by its prefix.
fn behind(prefix: &str) -> Option<VersionCursor> {
    const HIGHEST: &str = "\u{10FFFF}";
    let more = OBJECT_KEY_BYTES_MAX.saturating_sub(prefix.len()) / HIGHEST.len();
    let key = ObjectKey::new(format!("{prefix}{}", HIGHEST.repeat(more)));
    key.ok().map(|key| VersionCursor { key, version: None })
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::facts::tests;

    /// Rows in memory, as the catalog has them: keys ascending, the newest version first.
    struct Held(Vec<ListedVersion>, AtomicUsize);

    #[async_trait]
    impl Rows for Held {
        async fn page(
            &self,
            list: &ListVersions,
        ) -> Result<VersionPage<ListedVersion>, ArchiveError> {
            let mut before: Option<&ObjectKey> = None;
            let mut rows = Vec::new();
            for row in &self.0 {
                let is_latest = before != Some(&row.key);
                before = Some(&row.key);
                let is_behind = match &list.after {
                    None => true,
                    Some(VersionCursor { key, version: None }) => row.key > *key,
                    Some(VersionCursor {
                        key,
                        version: Some((order, _)),
                    }) => row.key > *key || (row.key == *key && row.order < *order),
                };
                let begins = row.key.as_str().starts_with(&list.prefix);
                if is_behind && begins && (list.all || is_latest) {
                    rows.push(row.clone());
                }
            }
            let is_more = rows.len() > list.limit;
            rows.truncate(list.limit);
            self.1.fetch_add(rows.len(), Ordering::Relaxed);
            let next = rows.last().filter(|_| is_more).map(|row| VersionCursor {
                key: row.key.clone(),
                version: list.all.then(|| (row.order.clone(), row.version.clone())),
            });
            Ok(VersionPage { rows, next })
        }
    }

    fn row(key: &str, number: u64, size: Option<u64>) -> ListedVersion {
        ListedVersion::from(&tests::row(key, number, size))
    }

    fn held(rows: Vec<ListedVersion>) -> Held {
        Held(rows, AtomicUsize::default())
    }

    fn walk(prefix: &str, delimiter: Option<&str>, all: bool, max: usize) -> Walk {
        Walk {
            bucket: BucketName::new("photos").unwrap(),
            prefix: prefix.to_owned(),
            delimiter: delimiter.map(str::to_owned),
            all,
            max,
            after: None,
        }
    }

    fn told(entry: &Entry) -> String {
        match entry {
            Entry::Row(row, is_latest) => {
                let latest = if *is_latest { "*" } else { "" };
                format!("{}@{}{latest}", row.key, row.version)
            }
            Entry::Prefix(prefix) => format!("{prefix}…"),
        }
    }

    /// All of a listing, in pages of `max`.
    async fn whole(rows: &Held, mut walk: Walk) -> Vec<String> {
        let mut all = Vec::new();
        loop {
            let listed = walk.clone().list(rows).await.unwrap();
            assert!(listed.entries.len() <= walk.max);
            all.extend(listed.entries.iter().map(told));
            match listed.next {
                Some(next) => walk.after = Some(next),
                None => return all,
            }
        }
    }

    fn sample() -> Held {
        held(vec![
            row("a", 2, Some(1)),
            row("a", 1, Some(1)),
            row("dir/a", 3, Some(1)),
            row("dir/b", 5, None),
            row("dir/b", 4, Some(1)),
            row("dir/\u{10FFFF}", 6, Some(1)),
            row("dir0", 7, Some(1)),
            row("gone", 9, None),
            row("gone", 8, Some(1)),
            row("gone/only", 11, None),
            row("z/z/z", 10, Some(1)),
        ])
    }

    #[tokio::test]
    async fn every_page_size_gives_the_same_listing() {
        let rows = sample();
        for max in 1..12 {
            let flat = whole(&rows, walk("", None, false, max)).await;
            let expected = [
                "a@v2*",
                "dir/a@v3*",
                "dir/\u{10FFFF}@v6*",
                "dir0@v7*",
                "z/z/z@v10*",
            ];
            assert_eq!(flat, expected, "{max}");
            let rolled = whole(&rows, walk("", Some("/"), false, max)).await;
            assert_eq!(rolled, ["a@v2*", "dir/…", "dir0@v7*", "z/…"], "{max}");
            let below = whole(&rows, walk("dir/", Some("/"), false, max)).await;
            assert_eq!(below, ["dir/a@v3*", "dir/\u{10FFFF}@v6*"], "{max}");
            let versions = whole(&rows, walk("", Some("/"), true, max)).await;
            let expected = [
                "a@v2*", "a@v1", "dir/…", "dir0@v7*", "gone@v9*", "gone@v8", "gone/…", "z/…",
            ];
            assert_eq!(versions, expected, "{max}");
        }
        assert!(
            whole(&rows, walk("nothing", None, false, 1))
                .await
                .is_empty()
        );
        let none = walk("", None, false, 0).list(&rows).await.unwrap();
        assert!(none.entries.is_empty() && none.next.is_none());
    }

    #[tokio::test]
    async fn a_prefix_with_many_keys_is_stepped_over() {
        let many = (0..20_000).map(|n| row(&format!("dir/{n:05}"), n, Some(1)));
        let rows: Vec<_> = many.chain([row("e", 1, Some(1))]).collect();
        let rows = held(rows);
        let listed = whole(&rows, walk("", Some("/"), false, 1000)).await;
        assert_eq!(listed, ["dir/…", "e@v1*"]);
        assert!(rows.1.load(Ordering::Relaxed) < 200, "{:?}", rows.1);
    }

    #[tokio::test]
    async fn a_listing_of_what_is_gone_ends_early_and_goes_on() {
        let count = ENDPOINT_ROWS_SEEN_MAX as u64 + 10;
        let gone = (0..count).map(|n| row(&format!("k{n:06}"), n, None));
        let rows = held(gone.chain([row("z", 1, Some(1))]).collect());
        let first = walk("", None, false, 10).list(&rows).await.unwrap();
        assert!(first.entries.is_empty() && first.next.is_some());
        assert_eq!(whole(&rows, walk("", None, false, 10)).await, ["z@v1*"]);
    }
}
