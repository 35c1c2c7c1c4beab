//! Who is told of what is committed, as it is.

use std::collections::BTreeMap;

use parking_lot::Mutex;
use sealift_store::Committed;
use sealift_terms::{BucketName, VersionName};
use tokio::sync::mpsc;

use crate::limits::{FOLLOWED_NAMES_MAX, FOLLOWED_QUEUE_MAX};

/// Those who follow a bucket. The committer tells them and never waits for one.
#[derive(Debug, Default)]
pub(crate) struct Followers(Mutex<BTreeMap<BucketName, Vec<mpsc::Sender<Committed>>>>);

impl Followers {
    /// One more, of this bucket.
    pub(crate) fn add(&self, bucket: &BucketName) -> mpsc::Receiver<Committed> {
        let (sender, receiver) = mpsc::channel(FOLLOWED_QUEUE_MAX);
        let mut followers = self.0.lock();
        followers.entry(bucket.clone()).or_default().push(sender);
        receiver
    }

    /// Tells of a commit. One whose queue is full is told no more, which it sees.
    pub(crate) fn tell<'a>(&self, sequence: u64, names: impl Iterator<Item = &'a VersionName>) {
        let mut followers = self.0.lock();
        followers.retain(|_, of_bucket| {
            of_bucket.retain(|sender| !sender.is_closed());
            !of_bucket.is_empty()
        });
        if followers.is_empty() {
            return;
        }
        let mut by_bucket: BTreeMap<&BucketName, Vec<&VersionName>> = BTreeMap::new();
        for name in names {
            by_bucket.entry(&name.bucket).or_default().push(name);
        }
        for (bucket, names) in by_bucket {
            let Some(of_bucket) = followers.get_mut(bucket) else {
                continue;
            };
            of_bucket.retain(|sender| tell_one(sender, sequence, &names));
        }
    }
}

fn tell_one(sender: &mpsc::Sender<Committed>, sequence: u64, names: &[&VersionName]) -> bool {
    let mut chunks = names.chunks(FOLLOWED_NAMES_MAX).peekable();
    while let Some(chunk) = chunks.next() {
        let committed = Committed {
            names: chunk.iter().map(|name| (*name).clone()).collect(),
            sequence: chunks.peek().is_none().then_some(sequence),
        };
        if sender.try_send(committed).is_err() {
            return false;
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use sealift_terms::{ObjectKey, VersionId};

    use super::*;

    fn name(bucket: &str, n: usize) -> VersionName {
        VersionName {
            bucket: BucketName::new(bucket).unwrap(),
            key: ObjectKey::new(format!("k{n}")).unwrap(),
            version: VersionId::new("v").unwrap(),
        }
    }

    #[test]
    fn a_large_commit_comes_in_pieces_and_the_last_says_that_it_is_whole() {
        let followers = Followers::default();
        let mut followed = followers.add(&BucketName::new("photos").unwrap());
        let names: Vec<_> = (0..=FOLLOWED_NAMES_MAX)
            .map(|n| name("photos", n))
            .chain([name("other", 1)])
            .collect();
        followers.tell(7, names.iter());
        let first = followed.try_recv().unwrap();
        assert_eq!(
            (first.names.len(), first.sequence),
            (FOLLOWED_NAMES_MAX, None)
        );
        let last = followed.try_recv().unwrap();
        assert_eq!((last.names.len(), last.sequence), (1, Some(7)));
        assert!(followed.try_recv().is_err());
    }

    #[test]
    fn one_that_does_not_listen_is_told_so_much_and_sees_that_it_missed_something() {
        let followers = Followers::default();
        let mut followed = followers.add(&BucketName::new("photos").unwrap());
        let told = name("photos", 1);
        for sequence in 0..=FOLLOWED_QUEUE_MAX as u64 {
            followers.tell(sequence, [&told].into_iter());
        }
        for _ in 0..FOLLOWED_QUEUE_MAX {
            assert!(followed.try_recv().is_ok());
        }
        let ended = followed.try_recv().unwrap_err();
        assert_eq!(ended, mpsc::error::TryRecvError::Disconnected);
        assert!(followers.0.lock().is_empty() || followers.0.lock().values().all(Vec::is_empty));
    }
}
