//! What a listing under way has found and nobody has taken yet.

use std::collections::VecDeque;

use sealift_terms::limits::S3_LISTED_AT_ONCE;

use crate::{Listed, Page, Removed, Scan, Skipped, StoreError};

/// Objects by their keys, and what was removed or left out between them. A bucket may be full of
/// removed keys: so many of those are a page as well.
#[derive(Debug, Default)]
pub(crate) struct Gathered {
    pub(crate) listed: VecDeque<Listed>,
    pub(crate) removed: VecDeque<Removed>,
    pub(crate) skipped: Vec<Skipped>,
}

impl Gathered {
    /// Whether it is enough for a page of `limit` objects.
    pub(crate) fn is_enough(&self, limit: usize) -> bool {
        let others = self.removed.len() + self.skipped.len();
        self.listed.len() >= limit || others >= limit.max(S3_LISTED_AT_ONCE)
    }

    /// A page, which is the last one where the listing has ended and nothing is left.
    pub(crate) fn page(&mut self, limit: usize, ended: bool) -> Page {
        let count = limit.min(self.listed.len());
        let objects = self.listed.drain(..count).collect();
        // What a later page tells lies behind all that this one has.
        let before = match self.listed.front() {
            Some(next) => self.removed.partition_point(|one| one.key < next.key),
            None => self.removed.len(),
        };
        Page {
            objects,
            removed: self.removed.drain(..before).collect(),
            skipped: std::mem::take(&mut self.skipped),
            last: ended && self.listed.is_empty(),
        }
    }
}

/// The first objects of a listing, so many at most.
pub(crate) async fn first_of(scan: &mut dyn Scan, count: usize) -> Result<Vec<Listed>, StoreError> {
    let mut first = Vec::new();
    loop {
        let page = scan.page(count - first.len()).await?;
        first.extend(page.objects.into_iter().take(count - first.len()));
        if first.len() == count || page.last {
            return Ok(first);
        }
    }
}

#[cfg(test)]
mod tests {
    use sealift_terms::{ObjectFacts, ObjectKey, VersionId};

    use super::*;
    use crate::History;

    fn key(number: usize) -> ObjectKey {
        ObjectKey::new(format!("k{number:06}")).unwrap()
    }

    fn version() -> VersionId {
        VersionId::new("v").unwrap()
    }

    /// Every so manyth of the keys has an object, the others were removed.
    fn gathered(keys: std::ops::Range<usize>, every: usize) -> Gathered {
        let mut gathered = Gathered::default();
        for number in keys {
            match number % every {
                0 => gathered.listed.push_back(Listed {
                    key: key(number),
                    version: version(),
                    facts: ObjectFacts::default(),
                    settled: true,
                    history: History::default(),
                }),
                _ => gathered.removed.push_back(Removed {
                    key: key(number),
                    version: version(),
                    modified: None,
                    history: History::default(),
                }),
            }
        }
        gathered
    }

    #[test]
    fn what_a_later_page_tells_lies_behind_all_that_one_has() {
        let mut gathered = gathered(0..100, 3);
        let mut told = 0;
        loop {
            let page = gathered.page(4, true);
            let objects = page.objects.iter().map(|one| &one.key);
            let mut keys: Vec<_> = objects
                .chain(page.removed.iter().map(|one| &one.key))
                .collect();
            keys.sort();
            assert!(page.objects.len() <= 4);
            for found in keys {
                assert_eq!(*found, key(told));
                told += 1;
            }
            if page.last {
                break;
            }
        }
        assert_eq!(told, 100);
    }

    #[test]
    fn so_many_removed_keys_are_a_page_too() {
        let few = gathered(1..S3_LISTED_AT_ONCE, usize::MAX);
        assert!(!few.is_enough(1), "an object may be next");
        let mut many = gathered(1..S3_LISTED_AT_ONCE + 1, usize::MAX);
        assert!(many.is_enough(1) && !many.is_enough(5000));
        let page = many.page(1, false);
        assert!(page.objects.is_empty() && page.removed.len() == S3_LISTED_AT_ONCE);
        assert!(!page.last);
        assert!(gathered(0..7, 1).is_enough(7));
    }
}
