//! Whether no word of tags means that there are none. S3 tells how many an object has to those
//! alone who may read them, and says nothing where there are none: so no word is believed where
//! tags were read of the same folder just before, and asked about otherwise: by one at a time of
//! each folder, for whose answer the others wait.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use parking_lot::Mutex;
use sealift_terms::{
    Clock, ObjectKey,
    limits::{S3_TAGS_BELIEVED, S3_TAGS_FOLDERS_MAX},
};
use tokio::sync::watch;

pub(super) struct ToldTags {
    clock: Arc<dyn Clock>,
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    /// Whether the store was seen to tell how many tags an object has.
    tells: bool,
    /// When tags could be read of folders.
    read: BTreeMap<String, Duration>,
    /// Folders of which somebody asks now, and when that is over.
    asking: BTreeMap<String, watch::Receiver<()>>,
}

/// Who asks of a folder: until this is dropped, others wait.
pub(super) struct Asking<'a> {
    told: &'a ToldTags,
    folder: String,
    _over: watch::Sender<()>,
}

impl Drop for Asking<'_> {
    fn drop(&mut self) {
        self.told.known.lock().asking.remove(&self.folder);
    }
}

impl ToldTags {
    pub(super) fn new(clock: Arc<dyn Clock>) -> Self {
        Self {
            clock,
            known: Mutex::default(),
        }
    }

    /// The store told how many tags an object has.
    pub(super) fn told(&self) {
        self.known.lock().tells = true;
    }

    /// Tags of a key could be read.
    pub(super) fn read(&self, key: &ObjectKey) {
        let now = self.clock.monotonic();
        let mut known = self.known.lock();
        if known.read.len() >= S3_TAGS_FOLDERS_MAX {
            known.read.retain(|_, read| is_new(*read, now));
        }
        if known.read.len() < S3_TAGS_FOLDERS_MAX || known.read.contains_key(folder(key)) {
            known.read.insert(folder(key).to_owned(), now);
        }
    }

    /// Waits while somebody asks of the key's folder. Whoever nobody was before is to ask, and
    /// so is everybody whom the answer did not tell that there is no need.
    pub(super) async fn turn(&self, key: &ObjectKey) -> Option<Asking<'_>> {
        let mut under_way = {
            let mut known = self.known.lock();
            if !known.tells {
                // What is asked of one tells nothing of the others.
                return None;
            }
            match known.asking.get(folder(key)) {
                Some(under_way) => under_way.clone(),
                None => {
                    let (over, under_way) = watch::channel(());
                    let folder = folder(key).to_owned();
                    known.asking.insert(folder.clone(), under_way);
                    return Some(Asking {
                        told: self,
                        folder,
                        _over: over,
                    });
                }
            }
        };
        // It ends with its sender.
        let _ = under_way.changed().await;
        None
    }

    /// Whether a key that the store tells of no tags has none.
    pub(super) fn has_none(&self, key: &ObjectKey) -> bool {
        let now = self.clock.monotonic();
        let known = self.known.lock();
        let read = known.read.get(folder(key));
        known.tells && read.is_some_and(|read| is_new(*read, now))
    }
}

/// Rights are of folders, if not of whole buckets.
fn folder(key: &ObjectKey) -> &str {
    let key = key.as_str();
    key.rfind('/').and_then(|end| key.get(..=end)).unwrap_or("")
}

fn is_new(read: Duration, now: Duration) -> bool {
    now.saturating_sub(read) < S3_TAGS_BELIEVED
}

#[cfg(test)]
mod tests {
    use sealift_terms::Timestamp;

    use super::*;

    #[derive(Debug, Default)]
    struct Held(Mutex<Duration>);

    impl Clock for Held {
        fn now(&self) -> Timestamp {
            Timestamp::from_secs(0)
        }

        fn monotonic(&self) -> Duration {
            *self.0.lock()
        }
    }

    fn key(key: &str) -> ObjectKey {
        ObjectKey::new(key).unwrap()
    }

    #[test]
    fn no_word_of_tags_is_believed_for_a_while_and_a_folder() {
        let clock = Arc::new(Held::default());
        let told = ToldTags::new(clock.clone());
        told.read(&key("a/1"));
        assert!(!told.has_none(&key("a/2")), "it never told");
        told.told();
        assert!(told.has_none(&key("a/2")));
        for other in ["a/b/1", "b/1", "1"] {
            assert!(!told.has_none(&key(other)), "{other}");
        }
        *clock.0.lock() += S3_TAGS_BELIEVED;
        assert!(!told.has_none(&key("a/2")));
    }

    #[tokio::test]
    async fn one_asks_of_a_folder_and_the_others_wait_for_what_it_is_told() {
        let told = ToldTags::new(Arc::new(Held::default()));
        assert!(told.turn(&key("a/1")).await.is_none(), "it never told");
        told.told();
        let first = told.turn(&key("a/1")).await.unwrap();
        assert!(told.turn(&key("b/1")).await.is_some(), "another folder");
        let (second, third) = (key("a/2"), key("a/3"));
        let mut second = std::pin::pin!(told.turn(&second));
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        assert!(second.as_mut().poll(&mut context).is_pending());
        told.read(&key("a/1"));
        drop(first);
        assert!(second.await.is_none() && told.has_none(&key("a/2")));
        // One who was told nothing leaves it to the next.
        drop(told.turn(&third).await.unwrap());
        assert!(told.turn(&third).await.is_some());
        assert!(told.known.lock().asking.is_empty());
    }

    #[test]
    fn no_more_folders_are_known_than_the_limit() {
        let clock = Arc::new(Held::default());
        let told = ToldTags::new(clock.clone());
        told.told();
        for folder in 0..=S3_TAGS_FOLDERS_MAX {
            told.read(&key(&format!("{folder}/k")));
        }
        assert_eq!(told.known.lock().read.len(), S3_TAGS_FOLDERS_MAX);
        *clock.0.lock() += S3_TAGS_BELIEVED;
        told.read(&key("new/k"));
        assert_eq!(told.known.lock().read.len(), 1);
        assert!(told.has_none(&key("new/k")));
    }
}
