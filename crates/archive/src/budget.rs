//! The byte budget from which every buffer is drawn.

use std::sync::Arc;

use parking_lot::Mutex;
use sealift_terms::limits::PEER_SHARES;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Buffers kept for the next part.
const SPARE_MAX: usize = 16;
/// Buffers kept for the next small objects: about as many as wait for one group.
const SMALL_SPARE_MAX: usize = 512;
/// A larger one is not kept for a small object.
const SMALL_BYTES_MAX: usize = 16 * 1024;

/// A bounded number of bytes, shared by everything in an agent that buffers.
/// Who finds it used up waits: that is the back-pressure.
#[derive(Debug, Clone)]
pub struct Budget {
    free: Arc<Semaphore>,
    total: usize,
    spare: Arc<Mutex<Vec<Vec<u8>>>>,
    small_spare: Arc<Mutex<Vec<Vec<u8>>>>,
}

/// What one peer may take of a [`Budget`] at once.
#[derive(Debug, Clone)]
pub struct Share {
    free: Arc<Semaphore>,
    total: usize,
}

/// Bytes taken from a [`Budget`], given back when dropped.
#[derive(Debug)]
pub struct Lease {
    _all: Option<OwnedSemaphorePermit>,
    _of_share: Option<OwnedSemaphorePermit>,
}

impl Share {
    /// Bytes in all.
    pub(crate) fn total(&self) -> usize {
        self.total
    }
}

impl Budget {
    /// A budget of `bytes`.
    #[must_use]
    pub fn new(bytes: usize) -> Self {
        let total = bytes.min(Semaphore::MAX_PERMITS).min(u32::MAX as usize);
        Self {
            free: Arc::new(Semaphore::new(total)),
            total,
            spare: Arc::default(),
            small_spare: Arc::default(),
        }
    }

    /// Bytes in all.
    #[must_use]
    pub fn total(&self) -> usize {
        self.total
    }

    /// Bytes not taken now.
    #[must_use]
    pub fn free(&self) -> usize {
        self.free.available_permits()
    }

    /// Waits for `bytes`, first come first served. More than there are in all
    /// is all of them.
    pub async fn take(&self, bytes: usize) -> Lease {
        Lease {
            _all: acquire(&self.free, self.total, bytes).await,
            _of_share: None,
        }
    }

    /// A share for one peer: a part of the whole.
    #[must_use]
    pub fn share(&self) -> Share {
        let total = (self.total / PEER_SHARES).max(1);
        Share {
            free: Arc::new(Semaphore::new(total)),
            total,
        }
    }

    /// What of a whole of `bytes` may wait for an interrupted part to go on: the rest is for
    /// those that come.
    pub(crate) fn for_interrupted(bytes: usize) -> usize {
        bytes / 4
    }

    /// As [`take`](Self::take), within a peer's share: who used that up waits for
    /// itself, and holds nothing that others wait for.
    pub async fn take_of(&self, share: &Share, bytes: usize) -> Lease {
        let bytes = bytes.min(share.total);
        let of_share = acquire(&share.free, share.total, bytes).await;
        Lease {
            _all: acquire(&self.free, self.total, bytes).await,
            _of_share: of_share,
        }
    }

    /// An empty buffer with room for `bytes`, possibly one used before: a fresh
    /// one has to be zeroed page by page by the kernel.
    pub(crate) fn buffer(&self, bytes: usize) -> Vec<u8> {
        let mut buffer = self.spare.lock().pop().unwrap_or_default();
        buffer.reserve_exact(bytes);
        buffer
    }

    /// As [`buffer`](Self::buffer), of an object that goes into a pack.
    pub(crate) fn small_buffer(&self, bytes: usize) -> Vec<u8> {
        let spare = match bytes <= SMALL_BYTES_MAX {
            true => self.small_spare.lock().pop(),
            false => None,
        };
        let mut buffer = spare.unwrap_or_default();
        buffer.reserve_exact(bytes);
        buffer
    }

    /// Gives such a buffer back. It held sealed bytes only.
    pub(crate) fn recycle_small(&self, mut buffer: Vec<u8>) {
        buffer.clear();
        let mut spare = self.small_spare.lock();
        if buffer.capacity() <= SMALL_BYTES_MAX && spare.len() < SMALL_SPARE_MAX {
            spare.push(buffer);
        }
    }

    /// Gives a buffer back. It held sealed bytes only.
    pub(crate) fn recycle(&self, mut buffer: Vec<u8>) {
        buffer.clear();
        let mut spare = self.spare.lock();
        if spare.len() < SPARE_MAX {
            spare.push(buffer);
        }
    }
}

async fn acquire(from: &Arc<Semaphore>, most: usize, bytes: usize) -> Option<OwnedSemaphorePermit> {
    let bytes = u32::try_from(bytes.min(most)).unwrap_or(u32::MAX);
    // The semaphore is never closed.
    from.clone().acquire_many_owned(bytes).await.ok()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn what_is_taken_is_missing_until_given_back() {
        let budget = Budget::new(100);
        let lease = budget.take(60).await;
        assert_eq!(budget.free(), 40);
        let second = tokio::time::timeout(Duration::from_millis(20), budget.take(60)).await;
        assert!(second.is_err());
        drop(lease);
        let all = budget.take(1000).await;
        assert_eq!(budget.free(), 0);
        drop(all);
        assert_eq!(budget.free(), budget.total());
    }

    #[test]
    fn small_buffers_are_used_again_and_no_more_are_kept_than_the_limit() {
        let budget = Budget::new(100);
        for _ in 0..=SMALL_SPARE_MAX {
            budget.recycle_small(vec![7; 100]);
        }
        assert_eq!(budget.small_spare.lock().len(), SMALL_SPARE_MAX);
        let again = budget.small_buffer(50);
        assert!(again.is_empty() && again.capacity() == 100);
        assert_eq!(budget.small_spare.lock().len(), SMALL_SPARE_MAX - 1);
        budget.recycle_small(vec![7; SMALL_BYTES_MAX + 1]);
        assert_eq!(budget.small_spare.lock().len(), SMALL_SPARE_MAX - 1);
        assert!(budget.small_buffer(SMALL_BYTES_MAX + 1).capacity() > SMALL_BYTES_MAX);
    }

    #[tokio::test]
    async fn one_peer_takes_its_share_and_leaves_the_rest_to_others() {
        let budget = Budget::new(400);
        let (greedy, other) = (budget.share(), budget.share());
        let first = budget.take_of(&greedy, 100).await;
        let second = budget.take_of(&greedy, 1);
        let second = tokio::time::timeout(Duration::from_millis(20), second).await;
        assert!(second.is_err(), "more than its share");
        assert_eq!(budget.free(), 300);
        let third = budget.take_of(&other, 1000);
        let third = tokio::time::timeout(Duration::from_secs(5), third).await;
        assert!(third.is_ok(), "held up by another peer");
        assert_eq!(budget.free(), 200);
        drop(first);
        let _again = budget.take_of(&greedy, 60).await;
    }
}
