//! How much a bucket may hold, and what one peer brought.

use std::{collections::BTreeMap, fmt, sync::Arc, time::Duration};

use parking_lot::Mutex;
use sealift_ledger::{BucketCount, SenderCount};
use sealift_terms::{BucketName, ChangeKind, Identity, PeerQuota, Quota};

use crate::{ArchiveError, Offer, Result, archive::Core, limits::QUOTA_READ};

/// The buckets that have one.
pub type Quotas = BTreeMap<BucketName, Quota>;
/// The peers that have one.
pub type PeerQuotas = BTreeMap<Identity, PeerQuota>;

/// Whose quota it is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum QuotaHolder {
    /// A bucket's: of all that rests in it.
    Bucket(BucketName),
    /// A peer's: of all that it brought.
    Peer(Identity),
}

impl fmt::Display for QuotaHolder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bucket(bucket) => write!(f, "bucket {bucket}"),
            Self::Peer(peer) => write!(f, "what {peer} brought"),
        }
    }
}

/// What is held against quotas: what the catalog counts, what is on its way in, and what
/// was until lately and may not be counted yet. So a quota is never exceeded, and reached a
/// second early at most.
#[derive(Debug, Default)]
pub(crate) struct QuotaBook(Mutex<Book>);

#[derive(Debug, Default)]
struct Book {
    quotas: BTreeMap<QuotaHolder, Quota>,
    standing: BTreeMap<QuotaHolder, Standing>,
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

/// Room in the quotas of a bucket and a peer, for as long as an object is on its way in.
#[derive(Debug)]
pub(crate) struct Promise {
    book: Arc<QuotaBook>,
    holders: Vec<QuotaHolder>,
    bytes: u64,
}

impl Promise {
    /// Nothing came of it, and nothing can: there is room again at once.
    pub(crate) fn give_back(mut self) {
        let mut book = self.book.0.lock();
        for holder in std::mem::take(&mut self.holders) {
            let standing = book.standing.entry(holder).or_default();
            standing.promised = standing.promised.without(Sum::one(self.bytes));
        }
        drop(book);
    }
}

impl Drop for Promise {
    fn drop(&mut self) {
        let mut book = self.book.0.lock();
        for holder in self.holders.drain(..) {
            let standing = book.standing.entry(holder).or_default();
            let one = Sum::one(self.bytes);
            standing.promised = standing.promised.without(one);
            standing.ended = standing.ended.and(one);
        }
    }
}

impl QuotaBook {
    pub(crate) fn set(&self, quotas: Quotas) {
        let quotas = quotas.into_iter();
        let quotas = quotas.map(|(bucket, quota)| (QuotaHolder::Bucket(bucket), quota));
        self.put(quotas.collect(), |holder| {
            matches!(holder, QuotaHolder::Bucket(_))
        });
    }

    pub(crate) fn set_peers(&self, quotas: &PeerQuotas) {
        let limited = quotas.iter().filter(|(_, it)| it.held != Quota::default());
        let quotas = limited.map(|(peer, it)| (QuotaHolder::Peer(peer.clone()), it.held));
        self.put(quotas.collect(), |holder| {
            matches!(holder, QuotaHolder::Peer(_))
        });
    }

    /// Puts these quotas in place of those of their sort.
    fn put(&self, new: BTreeMap<QuotaHolder, Quota>, is_of_sort: impl Fn(&QuotaHolder) -> bool) {
        let mut book = self.0.lock();
        book.quotas.retain(|holder, _| !is_of_sort(holder));
        book.quotas.extend(new);
    }

    /// The quotas that an offer is held against.
    fn of(&self, offer: &Offer) -> Vec<(QuotaHolder, Quota)> {
        let book = self.0.lock();
        if book.quotas.is_empty() {
            return Vec::new();
        }
        let bucket = QuotaHolder::Bucket(offer.change.name.bucket.clone());
        let peer = QuotaHolder::Peer(offer.origin.clone());
        let quota = |holder| Some((book.quotas.get(&holder).copied()?, holder));
        let found = [bucket, peer].into_iter().filter_map(quota);
        found.map(|(quota, holder)| (holder, quota)).collect()
    }

    /// What had ended when the catalog is asked now; nothing when it was a moment ago.
    fn begin_reading(&self, now: Duration) -> Option<BTreeMap<QuotaHolder, Sum>> {
        let book = self.0.lock();
        let is_fresh = |read: Duration| now.saturating_sub(read) < QUOTA_READ;
        if book.read.is_some_and(is_fresh) {
            return None;
        }
        let ended = book.standing.iter();
        Some(ended.map(|(holder, s)| (holder.clone(), s.ended)).collect())
    }

    /// Takes what the catalog counts: what had `ended` before is counted in it.
    fn take_counts(
        &self,
        now: Duration,
        ended: &BTreeMap<QuotaHolder, Sum>,
        counts: (Vec<BucketCount>, Vec<SenderCount>),
    ) {
        let mut book = self.0.lock();
        let buckets = counts.0.into_iter().map(|count| {
            let BucketCount { objects, bytes, .. } = count;
            (QuotaHolder::Bucket(count.bucket), Sum { objects, bytes })
        });
        let senders = counts.1.into_iter().map(|count| {
            let SenderCount { objects, bytes, .. } = count;
            (QuotaHolder::Peer(count.sender), Sum { objects, bytes })
        });
        let mut counted: BTreeMap<_, _> = buckets.chain(senders).collect();
        for (holder, standing) in &mut book.standing {
            let ended = ended.get(holder).copied().unwrap_or_default();
            standing.ended = standing.ended.without(ended);
            // What is not told of has nothing there any more.
            standing.counted = counted.remove(holder).unwrap_or_default();
        }
        for (holder, counted) in counted {
            book.standing.entry(holder).or_default().counted = counted;
        }
        book.read = Some(now);
    }

    /// Promises room for an object of so many bytes in all of these quotas, or in none.
    fn promise(self: &Arc<Self>, quotas: Vec<(QuotaHolder, Quota)>, bytes: u64) -> Result<Promise> {
        let mut book = self.0.lock();
        for (holder, quota) in &quotas {
            let standing = book.standing.get(holder).copied().unwrap_or_default();
            let Standing {
                counted,
                promised,
                ended,
            } = standing;
            let wanted = counted.and(promised).and(ended).and(Sum::one(bytes));
            for (what, wanted, allowed) in [
                ("bytes", wanted.bytes, quota.bytes),
                ("objects", wanted.objects, quota.objects),
            ] {
                if let Some(allowed) = allowed.filter(|allowed| wanted > *allowed) {
                    return Err(ArchiveError::QuotaReached {
                        holder: holder.clone(),
                        what,
                        wanted,
                        allowed,
                    });
                }
            }
        }
        let holders: Vec<_> = quotas.into_iter().map(|(holder, _)| holder).collect();
        for holder in &holders {
            let standing = book.standing.entry(holder.clone()).or_default();
            standing.promised = standing.promised.and(Sum::one(bytes));
        }
        Ok(Promise {
            book: self.clone(),
            holders,
            bytes,
        })
    }
}

impl Core {
    /// Holds an object against the quotas of its bucket and of who brings it. What takes the
    /// place of a version that rests here takes no room: one that is sealed anew, or comes
    /// again.
    ///
    /// # Errors
    /// [`ArchiveError::QuotaReached`], and what the catalog says.
    pub(crate) async fn hold_quota(&self, offer: &Offer) -> Result<Option<Promise>> {
        let (name, size) = (&offer.change.name, offer.change.facts.size);
        if offer.change.kind != ChangeKind::Put || offer.reseals.is_some() {
            return Ok(None);
        }
        let quotas = self.quotas.of(offer);
        if quotas.is_empty() {
            return Ok(None);
        }
        let now = self.clock.monotonic();
        if let Some(ended) = self.quotas.begin_reading(now) {
            let counts = (self.catalog.buckets().await?, self.catalog.senders().await?);
            self.quotas.take_counts(now, &ended, counts);
        }
        match self.quotas.promise(quotas, size) {
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

    fn count(objects: u64, bytes: u64) -> (Vec<BucketCount>, Vec<SenderCount>) {
        let buckets = vec![BucketCount {
            bucket: bucket(),
            objects,
            bytes,
            delete_markers: 9,
        }];
        (buckets, Vec::new())
    }

    fn peer() -> Identity {
        "spiffe://example.org/region/a/agent/a1".parse().unwrap()
    }

    #[test]
    fn what_is_on_its_way_counts_and_so_does_what_the_catalog_does_not_tell_yet() {
        let book = Arc::new(QuotaBook::default());
        let quota = Quota {
            bytes: Some(100),
            objects: Some(3),
        };
        let holder = || QuotaHolder::Bucket(bucket());
        let promise = |bytes| book.promise(vec![(holder(), quota)], bytes);
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

    #[test]
    fn what_was_not_even_begun_takes_no_room_for_another_second() {
        let book = Arc::new(QuotaBook::default());
        let quota = Quota {
            bytes: None,
            objects: Some(1),
        };
        let promise = || book.promise(vec![(QuotaHolder::Peer(peer()), quota)], 1);
        promise().unwrap().give_back();
        drop(promise().unwrap());
        assert!(promise().is_err(), "it may have been committed");
    }

    #[test]
    fn room_is_promised_in_both_quotas_or_in_neither() {
        let book = Arc::new(QuotaBook::default());
        let of = |bytes| Quota {
            bytes: Some(bytes),
            objects: None,
        };
        let (bucket, peer) = (QuotaHolder::Bucket(bucket()), QuotaHolder::Peer(peer()));
        let promise = |bytes| {
            let quotas = vec![(bucket.clone(), of(100)), (peer.clone(), of(50))];
            book.promise(quotas, bytes)
        };
        let ended = book.begin_reading(Duration::ZERO).unwrap();
        let brought = vec![SenderCount {
            sender: self::peer(),
            objects: 1,
            bytes: 20,
        }];
        book.take_counts(Duration::ZERO, &ended, (Vec::new(), brought));
        let told = promise(31).unwrap_err();
        assert!(told.to_string().contains("agent/a1 brought"), "{told}");
        let all = promise(30).unwrap();
        // The bucket has room for it still: what was refused took none there.
        let more = book.promise(vec![(bucket.clone(), of(100))], 70).unwrap();
        drop((all, more));
        // Everything was purged: it is counted no more.
        let ended = book.begin_reading(QUOTA_READ).unwrap();
        book.take_counts(QUOTA_READ, &ended, (Vec::new(), Vec::new()));
        drop(promise(50).unwrap());
    }
}
