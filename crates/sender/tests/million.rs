//! A scan against the journal takes little memory, however many objects there are.
#![allow(clippy::unwrap_used, reason = "a failure is what a test reports")]

mod near;

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use near::{Near, bucket, journal, rules};
use sealift_store::{Listed, Page, Scan, Skipped, Source, SourceObject, StoreError, Watch};
use sealift_terms::{ObjectFacts, ObjectKey, Reason, VersionId};

/// What scans may add to what the process has.
const GROWTH_MAX: u64 = 64 << 20;
const PER_DIRECTORY: u64 = 1000;

/// Objects that are made as they are listed: they take no memory of their own.
#[derive(Debug, Clone)]
struct Generated {
    count: u64,
    /// Every tenth directory cannot be listed.
    hides: Arc<AtomicBool>,
}

struct Listing {
    source: Generated,
    next: u64,
}

#[async_trait::async_trait]
impl Source for Generated {
    async fn scan(&self, _prefix: &str) -> Result<Box<dyn Scan>, StoreError> {
        Ok(Box::new(Listing {
            source: self.clone(),
            next: 0,
        }))
    }

    async fn look(&self, _key: &ObjectKey) -> Result<Option<Listed>, StoreError> {
        Ok(None)
    }

    async fn open(
        &self,
        _key: &ObjectKey,
        _version: &VersionId,
    ) -> Result<Arc<dyn SourceObject>, StoreError> {
        Err(StoreError::SourceGone)
    }

    fn watch(&self) -> Result<Watch, StoreError> {
        Err(StoreError::SourceUnavailable {
            path: "generated".to_owned(),
            source: std::io::ErrorKind::Unsupported.into(),
        })
    }
}

#[async_trait::async_trait]
impl Scan for Listing {
    async fn page(&mut self, limit: usize) -> Result<Page, StoreError> {
        let mut page = Page::default();
        while page.objects.len() + page.skipped.len() < limit && self.next < self.source.count {
            let (directory, file) = (self.next / PER_DIRECTORY, self.next % PER_DIRECTORY);
            if directory % 10 == 3 && self.source.hides.load(Ordering::SeqCst) {
                let name = format!("d{directory:05}/");
                page.skipped.push(Skipped {
                    name: name.clone(),
                    reason: Reason::SkippedUnreadable,
                    evidence: "may not be listed".to_owned(),
                    hides: Some(name),
                });
                self.next += PER_DIRECTORY;
                continue;
            }
            page.objects.push(Listed {
                key: ObjectKey::new(format!("d{directory:05}/f{file:05}"))?,
                version: VersionId::new("v1")?,
                facts: ObjectFacts::default(),
                settled: true,
                history: sealift_store::History::default(),
            });
            self.next += 1;
        }
        page.last = self.next >= self.source.count;
        Ok(page)
    }
}

/// The most memory this process ever had, in bytes.
fn peak() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.unwrap().trim().trim_end_matches(" kB").trim();
    kib.parse::<u64>().unwrap() * 1024
}

/// A first scan, one that finds nothing new, and one that cannot see a tenth of it.
async fn scans(count: u64) {
    let temp = tempfile::tempdir().unwrap();
    let source = Generated {
        count,
        hides: Arc::default(),
    };
    let before = peak();
    let journal = journal(temp.path());
    // What no rule covers is known all the same.
    let near = Near::begin(journal, Arc::new(source.clone()), rules(&[])).await;
    let scanned = async || loop {
        let status = near.handle.status();
        assert_eq!(status.held, None);
        if status.scanned.is_some() {
            return status;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    };
    let first = scanned().await;
    assert_eq!(first.objects, count);
    near.scan().await;
    source.hides.store(true, Ordering::SeqCst);
    near.scan().await;
    let known = near.journal.known_counts(&bucket()).await.unwrap();
    assert_eq!((known.live, known.deleted), (count, 0));
    near.end().await;
    let grown = peak() - before;
    assert!(grown < GROWTH_MAX, "{} MiB for {count}", grown >> 20);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_thousand_objects_are_scanned_in_small_memory() {
    scans(100_000).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes about a minute: the journal writes a million rows"]
async fn a_million_objects_are_scanned_in_the_same_memory() {
    scans(1_000_000).await;
}
