//! A source in memory.

use std::{collections::BTreeMap, io, sync::Arc};

use async_trait::async_trait;
use parking_lot::Mutex;
use sealift_terms::{ObjectFacts, ObjectKey, VersionId};
use tokio::sync::mpsc;

use crate::{Hint, Listed, Page, Scan, Source, SourceObject, StoreError, TagsTold, Watch};

const HINTS_QUEUED_MAX: usize = 1024;

/// Objects in memory, with a watch that hints at each change.
#[derive(Debug, Clone, Default)]
pub struct MemorySource {
    objects: Arc<Mutex<Objects>>,
}

#[derive(Debug, Default)]
struct Objects {
    held: BTreeMap<ObjectKey, Held>,
    versions: u64,
    is_away: bool,
    hints: Vec<mpsc::Sender<Hint>>,
}

#[derive(Debug, Clone)]
struct Held {
    version: VersionId,
    bytes: Arc<[u8]>,
    facts: ObjectFacts,
    /// No listing tells of them.
    tags: BTreeMap<String, String>,
}

impl MemorySource {
    /// An empty source.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Puts an object, as a new version.
    ///
    /// # Errors
    /// [`StoreError::Name`] when the key is none.
    pub fn put(&self, key: &str, bytes: impl Into<Arc<[u8]>>) -> Result<VersionId, StoreError> {
        let (key, bytes) = (ObjectKey::new(key)?, bytes.into());
        let mut objects = self.objects.lock();
        objects.versions += 1;
        let version = VersionId::new(format!("v{:08}", objects.versions))?;
        let facts = ObjectFacts {
            size: bytes.len() as u64,
            ..ObjectFacts::default()
        };
        let held = Held {
            version: version.clone(),
            bytes,
            facts,
            tags: BTreeMap::new(),
        };
        objects.held.insert(key.clone(), held);
        objects.hint(&key);
        Ok(version)
    }

    /// Puts these tags on an object, in place of those that it has. Nobody is told, as a
    /// bucket tells nobody.
    ///
    /// # Errors
    /// [`StoreError::Name`] when the key is none.
    pub fn tag(&self, key: &str, tags: &[(&str, &str)]) -> Result<(), StoreError> {
        let key = ObjectKey::new(key)?;
        if let Some(held) = self.objects.lock().held.get_mut(&key) {
            let tags = tags.iter();
            held.tags = tags
                .map(|(tag, value)| ((*tag).to_owned(), (*value).to_owned()))
                .collect();
        }
        Ok(())
    }

    /// Removes an object.
    ///
    /// # Errors
    /// [`StoreError::Name`] when the key is none.
    pub fn remove(&self, key: &str) -> Result<(), StoreError> {
        let key = ObjectKey::new(key)?;
        let mut objects = self.objects.lock();
        objects.held.remove(&key);
        objects.hint(&key);
        Ok(())
    }

    /// Takes the whole source away, as an unmounted disk is, or brings it back.
    pub fn set_away(&self, is_away: bool) {
        self.objects.lock().is_away = is_away;
    }
}

impl Objects {
    fn hint(&mut self, key: &ObjectKey) {
        self.hints.retain(|hints| !hints.is_closed());
        for hints in &self.hints {
            // One that is full has a rescan before it; the scan finds the rest.
            let _ = hints.try_send(Hint::Changed(key.clone()));
        }
    }

    fn present(&self) -> Result<(), StoreError> {
        if !self.is_away {
            return Ok(());
        }
        Err(StoreError::SourceUnavailable {
            path: "memory".to_owned(),
            source: io::ErrorKind::NotFound.into(),
        })
    }
}

impl Held {
    fn listed(&self, key: &ObjectKey) -> Listed {
        Listed {
            key: key.clone(),
            version: self.version.clone(),
            facts: self.facts.clone(),
            settled: true,
            history: crate::History::default(),
        }
    }
}

#[async_trait]
impl Source for MemorySource {
    async fn scan(&self, prefix: &str) -> Result<Box<dyn Scan>, StoreError> {
        self.objects.lock().present()?;
        Ok(Box::new(MemoryScan {
            objects: self.objects.clone(),
            prefix: prefix.to_owned(),
            after: None,
        }))
    }

    async fn look(&self, key: &ObjectKey) -> Result<Option<Listed>, StoreError> {
        let objects = self.objects.lock();
        objects.present()?;
        Ok(objects.held.get(key).map(|held| held.listed(key)))
    }

    async fn open(
        &self,
        key: &ObjectKey,
        version: &VersionId,
    ) -> Result<Arc<dyn SourceObject>, StoreError> {
        let objects = self.objects.lock();
        objects.present()?;
        let held = objects.held.get(key).ok_or(StoreError::SourceGone)?.clone();
        if held.version != *version {
            let evidence = format!("version {version} was wanted, {} is there", held.version);
            return Err(StoreError::SourceChanged { evidence });
        }
        let (objects, key) = (self.objects.clone(), key.clone());
        Ok(Arc::new(MemoryObject { objects, key, held }))
    }

    async fn tags_of_all(&self, versions: &[(ObjectKey, VersionId)]) -> Vec<TagsTold> {
        let objects = self.objects.lock();
        let of = |(key, version): &(ObjectKey, VersionId)| {
            objects.present()?;
            let held = objects.held.get(key);
            let held = held.filter(|held| held.version == *version);
            Ok(held.ok_or(StoreError::SourceGone)?.tags.clone())
        };
        versions.iter().map(of).collect()
    }

    fn watch(&self) -> Result<Watch, StoreError> {
        let (sender, hints) = mpsc::channel(HINTS_QUEUED_MAX);
        // Whatever came before the watch is for a scan to find.
        let _ = sender.try_send(Hint::Rescan);
        self.objects.lock().hints.push(sender);
        Ok(Watch { hints })
    }
}

struct MemoryScan {
    objects: Arc<Mutex<Objects>>,
    prefix: String,
    after: Option<ObjectKey>,
}

#[async_trait]
impl Scan for MemoryScan {
    async fn page(&mut self, limit: usize) -> Result<Page, StoreError> {
        let objects = self.objects.lock();
        objects.present()?;
        let wanted = objects.held.iter().filter(|(key, _)| {
            key.as_str().starts_with(&self.prefix)
                && self.after.as_ref().is_none_or(|after| *key > after)
        });
        let found: Vec<Listed> = wanted
            .take(limit.max(1))
            .map(|(key, held)| held.listed(key))
            .collect();
        let last = found.len() < limit.max(1);
        self.after = found
            .last()
            .map(|listed| listed.key.clone())
            .or(self.after.take());
        Ok(Page {
            removed: Vec::new(),
            objects: found,
            skipped: Vec::new(),
            last,
        })
    }
}

#[derive(Debug)]
struct MemoryObject {
    objects: Arc<Mutex<Objects>>,
    key: ObjectKey,
    held: Held,
}

#[async_trait]
impl SourceObject for MemoryObject {
    fn facts(&self) -> &ObjectFacts {
        &self.held.facts
    }

    async fn read_exact_at(&self, bytes: &mut [u8], offset: u64) -> Result<(), StoreError> {
        let range = usize::try_from(offset)
            .ok()
            .and_then(|from| self.held.bytes.get(from..from.checked_add(bytes.len())?));
        let Some(range) = range else {
            let evidence = format!("it ends at byte {}", self.held.bytes.len());
            return Err(StoreError::SourceChanged { evidence });
        };
        bytes.copy_from_slice(range);
        Ok(())
    }

    async fn finish(&self) -> Result<(), StoreError> {
        let objects = self.objects.lock();
        objects.present()?;
        match objects.held.get(&self.key) {
            Some(held) if held.version == self.held.version => Ok(()),
            Some(held) => Err(StoreError::SourceChanged {
                evidence: format!("{} is there", held.version),
            }),
            None => Err(StoreError::SourceGone),
        }
    }
}
