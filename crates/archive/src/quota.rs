//! How much a bucket may hold.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use parking_lot::Mutex;
use sealift_ledger::BucketCount;
use sealift_terms::{BucketName, ChangeKind, Quota};

use crate::{ArchiveError, Offer, Result, archive::Core, limits::QUOTA_READ};

/// The buckets that have one.
pub type Quotas = BTreeMap<BucketName, Quota>;

/// What is held against quotas: what the catalog counts, what is on its way in, and what
/// was until lately and may not be counted yet. So a quota is never exceeded, and reached a
/// second early at most.
#[derive(Debug, Default)]
pub(crate) struct QuotaBook(Mutex<Book>);

#[derive(Debug, Default)]
struct Book {
    quotas: Quotas,
    standing: BTreeMap<BucketName, Standing>,
    /// When the catalog was last asked.
    read: Option<Duration>,
}

#[derive(Debug, Default, Clone, Copy)]
struct Standing {
    counted: Sum,
    promised: Sum,
    /// Ended since before the catalog was last asked.
    ended: Sum,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Sum {
    objects: u64,
    bytes: u64,
}

impl Sum {
    fn one(bytes: u64) -> Self {
        Self { objects: 1, bytes }
    }

    fn and(self, more: Self) -> Self {
        Self {
            objects: self.objects.saturating_add(more.objects),
            bytes: self.bytes.saturating_add(more.bytes),
        }
    }

    fn without(self, less: Self) -> Self {
        Self {
            objects: self.objects.saturating_sub(less.objects),
            bytes: self.bytes.saturating_sub(less.bytes),
        }
    }
}

/// Room in a bucket's quota, for as long as an object is on its way in.
#[derive(Debug)]
pub(crate) struct Promise {
    book: Arc<QuotaBook>,
    bucket: BucketName,
    bytes: u64,
}

impl Drop for Promise {
    fn drop(&mut self) {
        let mut book = self.book.0.lock();
        let standing = book.standing.entry(self.bucket.clone()).or_default();
        let one = Sum::one(self.bytes);
        standing.promised = standing.promised.without(one);
        standing.ended = standing.ended.and(one);
    }
}

impl QuotaBook {
    pub(crate) fn set(&self, quotas: Quotas) {
        self.0.lock().quotas = quotas;
    }

    fn of(&self, bucket: &BucketName) -> Option<Quota> {
        self.0.lock().quotas.get(bucket).copied()
    }

    /// What had ended when the catalog is asked now; nothing when it was a moment ago.
    fn begin_reading(&self, now: Duration) -> Option<BTreeMap<BucketName, Sum>> {
        let book = self.0.lock();
        let is_fresh = |read: Duration| now.saturating_sub(read) < QUOTA_READ;
        if book.read.is_some_and(is_fresh) {
            return None;
        }
        let ended = book.standing.iter();
        Some(ended.map(|(bucket, s)| (bucket.clone(), s.ended)).collect())
    }

    /// Takes what the catalog counts: what had `ended` before is counted in it.
    fn take_counts(
        &self,
        now: Duration,
        ended: &BTreeMap<BucketName, Sum>,
        counts: Vec<BucketCount>,
    ) {
        let mut book = self.0.lock();
        for (bucket, ended) in ended {
            let standing = book.standing.entry(bucket.clone()).or_default();
            standing.ended = standing.ended.without(*ended);
        }
        for count in counts {
            let standing = book.standing.entry(count.bucket).or_default();
            standing.counted = Sum {
                objects: count.objects,
                bytes: count.bytes,
            };
        }
        book.read = Some(now);
    }

    /// Promises room for an object of so many bytes.
    fn promise(self: &Arc<Self>, bucket: &BucketName, bytes: u64, quota: Quota) -> Result<Promise> {
        let mut book = self.0.lock();
        let standing = book.standing.entry(bucket.clone()).or_default();
        let Standing {
            counted,
            promised,
            ended,
        } = *standing;
        let wanted = counted.and(promised).and(ended).and(Sum::one(bytes));
        for (what, wanted, allowed) in [
            ("bytes", wanted.bytes, quota.bytes),
            ("objects", wanted.objects, quota.objects),
        ] {
            if let Some(allowed) = allowed.filter(|allowed| wanted > *allowed) {
                return Err(ArchiveError::QuotaReached {
                    bucket: bucket.clone(),
                    what,
                    wanted,
                    allowed,
                });
            }
        }
        standing.promised = promised.and(Sum::one(bytes));
        Ok(Promise {
            book: self.clone(),
            bucket: bucket.clone(),
            bytes,
        })
    }
}

impl Core {
    /// Holds an object against its bucket's quota. What takes the place of a version that
    /// rests here takes no room: one that is sealed anew, or comes again.
    ///
    /// # Errors
    /// [`ArchiveError::QuotaReached`], and what the catalog says.
    pub(crate) async fn hold_quota(&self, offer: &Offer) -> Result<Option<Promise>> {
        let (name, size) = (&offer.change.name, offer.change.facts.size);
        if offer.change.kind != ChangeKind::Put || offer.reseals.is_some() {
            return Ok(None);
        }
        let Some(quota) = self.quotas.of(&name.bucket) else {
            return Ok(None);
        };
        let now = self.clock.monotonic();
        if let Some(ended) = self.quotas.begin_reading(now) {
            let counts = self.catalog.buckets().await?;
            self.quotas.take_counts(now, &ended, counts);
        }
        match self.quotas.promise(&name.bucket, size, quota) {
            Ok(promise) => Ok(Some(promise)),
            Err(_) if self.catalog.known(name).await?.is_some() => Ok(None),
            Err(error) => Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bucket() -> BucketName {
        BucketName::new("photos").unwrap()
    }

    fn count(objects: u64, bytes: u64) -> Vec<BucketCount> {
        vec![BucketCount {
            bucket: bucket(),
            objects,
            bytes,
            delete_markers: 9,
        }]
    }

    #[test]
    fn what_is_on_its_way_counts_and_so_does_what_the_catalog_does_not_tell_yet() {
        let book = Arc::new(QuotaBook::default());
        let quota = Quota {
            bytes: Some(100),
            objects: Some(3),
        };
        let promise = |bytes| book.promise(&bucket(), bytes, quota);
        let ended = book.begin_reading(Duration::ZERO).unwrap();
        book.take_counts(Duration::ZERO, &ended, count(1, 40));
        let first = promise(50).unwrap();
        assert!(matches!(
            promise(11).unwrap_err(),
            ArchiveError::QuotaReached {
                what: "bytes",
                wanted: 101,
                allowed: 100,
                ..
            }
        ));
        // It was committed: the catalog does not say so before it is asked again.
        drop(first);
        assert!(promise(11).is_err() && book.begin_reading(QUOTA_READ / 2).is_none());
        let second = promise(10).unwrap();
        assert!(matches!(
            promise(0).unwrap_err(),
            ArchiveError::QuotaReached {
                what: "objects",
                wanted: 4,
                ..
            }
        ));
        let ended = book.begin_reading(QUOTA_READ).unwrap();
        // What ends while the catalog is asked may be in its answer or not: it counts.
        drop(second);
        book.take_counts(QUOTA_READ, &ended, count(2, 90));
        assert!(promise(1).is_err());
        let ended = book.begin_reading(QUOTA_READ * 2).unwrap();
        // It was given up.
        book.take_counts(QUOTA_READ * 2, &ended, count(2, 90));
        drop(promise(10).unwrap());
    }
}
