//! One write of a key at a time, from the look at what is there to its commit: a condition
//! that held then holds still.

use std::{
    hash::{BuildHasher, RandomState},
    sync::Arc,
};

use sealift_terms::{BucketName, ObjectKey};
use tokio::sync::{Mutex, OwnedMutexGuard};

/// Locks, of which every key has one; several keys share it.
const LOCKS: usize = 1024;

/// The locks of all keys.
pub(crate) struct Locks {
    all: Vec<Arc<Mutex<()>>>,
    hashes: RandomState,
}

impl Default for Locks {
    fn default() -> Self {
        Self {
            all: (0..LOCKS).map(|_| Arc::default()).collect(),
            hashes: RandomState::new(),
        }
    }
}

impl Locks {
    /// Waits for the lock of a key. Whoever holds it waits for one commit and no application.
    pub(crate) async fn of(
        &self,
        bucket: &BucketName,
        key: &ObjectKey,
    ) -> Option<OwnedMutexGuard<()>> {
        let hash = self.hashes.hash_one((bucket, key));
        let at = usize::try_from(hash % LOCKS as u64).unwrap_or(0);
        match self.all.get(at) {
            Some(lock) => Some(lock.clone().lock_owned().await),
            None => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;

    #[tokio::test]
    async fn one_at_a_time_of_a_key_and_many_of_others() {
        let locks = Locks::default();
        let bucket = BucketName::new("photos").unwrap();
        let key = |text: String| ObjectKey::new(text).unwrap();
        let held = locks.of(&bucket, &key("a".to_owned())).await.unwrap();
        let again = key("a".to_owned());
        let again = timeout(Duration::from_millis(20), locks.of(&bucket, &again)).await;
        assert!(again.is_err());
        let mut others = 0;
        for number in 0..20 {
            let other = key(number.to_string());
            let free = timeout(Duration::from_millis(20), locks.of(&bucket, &other)).await;
            others += usize::from(free.is_ok());
        }
        assert!(others >= 15, "{others}");
        drop(held);
        let again = key("a".to_owned());
        let again = timeout(Duration::from_secs(5), locks.of(&bucket, &again)).await;
        assert!(again.is_ok());
    }
}
