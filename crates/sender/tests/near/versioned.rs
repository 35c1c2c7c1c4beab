//! A source that keeps versions, in memory.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
    time::Duration,
};

use async_trait::async_trait;
use parking_lot::Mutex;
use sealift_store::{
    Earlier, Hint, History, Listed, Page, Removed, Scan, Source, SourceObject, StoreError, Watch,
};
use sealift_terms::{ObjectFacts, ObjectKey, Timestamp, VersionId};
use tokio::sync::mpsc;

/// Keys with their versions, the newest last; a delete marker is false.
type Keys = BTreeMap<ObjectKey, Vec<(VersionId, bool)>>;

/// Keys with their versions.
#[derive(Debug, Clone, Default)]
pub struct Versioned {
    keys: Arc<Mutex<Keys>>,
    /// When they were made.
    made: Arc<Mutex<BTreeMap<VersionId, Timestamp>>>,
    /// Versions that a look at one key finds, and no listing.
    pub hidden: Arc<Mutex<BTreeSet<VersionId>>>,
    pub hints: Arc<Mutex<Option<mpsc::Sender<Hint>>>>,
}

pub fn id(text: &str) -> VersionId {
    VersionId::new(text).unwrap()
}

pub fn key(text: &str) -> ObjectKey {
    ObjectKey::new(text).unwrap()
}

impl Versioned {
    pub fn put(&self, of: &str, version: &str) {
        self.made.lock().insert(id(version), now());
        let mut keys = self.keys.lock();
        keys.entry(key(of)).or_default().push((id(version), true));
    }

    /// What was made so long ago that its row may be folded.
    pub fn put_long_ago(&self, of: &str, version: &str) {
        self.put(of, version);
        let long_ago = now().minus(Duration::from_secs(60 * 86_400));
        self.made.lock().insert(id(version), long_ago);
    }

    pub fn remove(&self, of: &str, version: &str) {
        self.made.lock().insert(id(version), now());
        let mut keys = self.keys.lock();
        keys.entry(key(of)).or_default().push((id(version), false));
    }

    pub fn purge(&self, of: &str, version: &str) {
        let mut keys = self.keys.lock();
        let versions = keys.get_mut(&key(of)).unwrap();
        versions.retain(|(one, _)| *one != id(version));
        if versions.is_empty() {
            keys.remove(&key(of));
        }
    }

    fn page(&self) -> Page {
        let mut page = Page {
            last: true,
            ..Page::default()
        };
        let (keys, hidden) = (self.keys.lock(), self.hidden.lock());
        let made = self.made.lock();
        for (key, versions) in &*keys {
            let listed = versions
                .iter()
                .rev()
                .filter(|(one, _)| !hidden.contains(one));
            let mut listed = listed.map(|(version, has_content)| Earlier {
                version: version.clone(),
                facts: has_content.then(|| ObjectFacts {
                    last_modified: made.get(version).copied(),
                    ..ObjectFacts::default()
                }),
                modified: made.get(version).copied(),
            });
            let Some(Earlier {
                version,
                facts,
                modified,
            }) = listed.next()
            else {
                continue;
            };
            let history = History {
                earlier: listed.collect(),
                more: false,
            };
            let key = key.clone();
            match facts {
                Some(facts) => page.objects.push(Listed {
                    key,
                    version,
                    facts,
                    settled: true,
                    history,
                }),
                None => page.removed.push(Removed {
                    key,
                    version,
                    modified,
                    history,
                }),
            }
        }
        page
    }
}

/// One key a page, which is as little as there may be.
struct EachAlone(VecDeque<Page>);

impl EachAlone {
    fn of(page: Page) -> Self {
        let mut all: BTreeMap<ObjectKey, Page> = BTreeMap::new();
        for listed in page.objects {
            let of_key = all.entry(listed.key.clone()).or_default();
            of_key.objects.push(listed);
        }
        for removed in page.removed {
            let of_key = all.entry(removed.key.clone()).or_default();
            of_key.removed.push(removed);
        }
        Self(all.into_values().collect())
    }
}

#[async_trait]
impl Scan for EachAlone {
    async fn page(&mut self, _: usize) -> Result<Page, StoreError> {
        let page = self.0.pop_front().unwrap_or_default();
        let last = self.0.is_empty();
        Ok(Page { last, ..page })
    }
}

#[async_trait]
impl Source for Versioned {
    async fn scan(&self, _: &str) -> Result<Box<dyn Scan>, StoreError> {
        Ok(Box::new(EachAlone::of(self.page())))
    }

    async fn look(&self, key: &ObjectKey) -> Result<Option<Listed>, StoreError> {
        let objects = self.page().objects;
        Ok(objects.into_iter().find(|listed| listed.key == *key))
    }

    async fn removed(&self, key: &ObjectKey) -> Result<Option<Removed>, StoreError> {
        let removed = self.page().removed;
        Ok(removed.into_iter().find(|removed| removed.key == *key))
    }

    async fn versions_of(
        &self,
        key: &ObjectKey,
    ) -> Result<Option<BTreeSet<VersionId>>, StoreError> {
        let keys = self.keys.lock();
        let versions = keys.get(key).into_iter().flatten();
        Ok(Some(versions.map(|(version, _)| version.clone()).collect()))
    }

    async fn open(
        &self,
        _: &ObjectKey,
        _: &VersionId,
    ) -> Result<Arc<dyn SourceObject>, StoreError> {
        Err(StoreError::SourceGone)
    }

    fn keeps_versions(&self) -> bool {
        true
    }

    fn watch(&self) -> Result<Watch, StoreError> {
        let (sender, hints) = mpsc::channel(1);
        *self.hints.lock() = Some(sender);
        Ok(Watch { hints })
    }
}

pub fn now() -> Timestamp {
    sealift_terms::Clock::now(&sealift_host::OsClock)
}
