//! What was permanently deleted at a source that keeps versions.
#![allow(clippy::unwrap_used, reason = "a failure is what a test reports")]

mod near;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use async_trait::async_trait;
use near::{Near, complete, journal, peer, purging as rules, until};
use parking_lot::Mutex;
use sealift_ledger::{Journal, Settlement, Transfer, TransferOutcome};
use sealift_store::{
    Earlier, Hint, History, Listed, Page, Removed, Scan, Source, SourceObject, StoreError, Watch,
};
use sealift_terms::{
    ChangeKind, ObjectFacts, ObjectKey, Reason, Status, Timestamp, VersionId, limits,
};
use tokio::sync::mpsc;

/// Keys with their versions, the newest last; a delete marker is false.
type Keys = BTreeMap<ObjectKey, Vec<(VersionId, bool)>>;

/// A source that keeps versions, in memory.
#[derive(Debug, Clone, Default)]
struct Versioned {
    keys: Arc<Mutex<Keys>>,
    /// Versions that a look at one key finds, and no listing.
    hidden: Arc<Mutex<BTreeSet<VersionId>>>,
    hints: Arc<Mutex<Option<mpsc::Sender<Hint>>>>,
}

fn id(text: &str) -> VersionId {
    VersionId::new(text).unwrap()
}

fn key(text: &str) -> ObjectKey {
    ObjectKey::new(text).unwrap()
}

impl Versioned {
    fn put(&self, of: &str, version: &str) {
        let mut keys = self.keys.lock();
        keys.entry(key(of)).or_default().push((id(version), true));
    }

    fn remove(&self, of: &str, version: &str) {
        let mut keys = self.keys.lock();
        keys.entry(key(of)).or_default().push((id(version), false));
    }

    fn purge(&self, of: &str, version: &str) {
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
        for (key, versions) in &*keys {
            let listed = versions
                .iter()
                .rev()
                .filter(|(one, _)| !hidden.contains(one));
            let mut listed = listed.map(|(version, has_content)| Earlier {
                version: version.clone(),
                facts: has_content.then(ObjectFacts::default),
                modified: None,
            });
            let Some(Earlier { version, facts, .. }) = listed.next() else {
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
                    modified: None,
                    history,
                }),
            }
        }
        page
    }
}

struct OnePage(Option<Page>);

#[async_trait]
impl Scan for OnePage {
    async fn page(&mut self, _: usize) -> Result<Page, StoreError> {
        Ok(self.0.take().unwrap_or_default())
    }
}

#[async_trait]
impl Source for Versioned {
    async fn scan(&self, _: &str) -> Result<Box<dyn Scan>, StoreError> {
        Ok(Box::new(OnePage(Some(self.page()))))
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

const HOLD: Duration = Duration::from_secs(3600);

fn far_future() -> Timestamp {
    Timestamp::from_secs(4_000_000_000)
}

async fn transfers(journal: &dyn Journal, kind: ChangeKind) -> Vec<Transfer> {
    let list = sealift_ledger::ListTransfers {
        limit: 999,
        ..Default::default()
    };
    let all = journal.transfers(&list).await.unwrap();
    all.into_iter()
        .filter(|row| row.change.kind == kind)
        .collect()
}

fn now() -> Timestamp {
    sealift_terms::Clock::now(&sealift_host::OsClock)
}

async fn purges(journal: &dyn Journal) -> Vec<String> {
    let rows = transfers(journal, ChangeKind::Purge).await;
    let named = rows
        .iter()
        .map(|row| format!("{} {}", row.change.name.key, row.change.name.version));
    let mut named: Vec<_> = named.collect();
    named.sort();
    named
}

async fn filled(
    keys: usize,
    version_deletes: Option<Duration>,
) -> (tempfile::TempDir, Versioned, Near) {
    let dir = tempfile::tempdir().unwrap();
    let source = Versioned::default();
    for n in 0..keys {
        source.put(&format!("k{n:02}"), &format!("old{n}"));
        source.put(&format!("k{n:02}"), &format!("new{n}"));
    }
    let near = Near::begin(
        journal(dir.path()),
        Arc::new(source.clone()),
        rules(version_deletes),
    )
    .await;
    near.scan().await;
    complete(&*near.journal, now()).await;
    (dir, source, near)
}

#[tokio::test]
async fn what_is_gone_is_purged_later_and_only_where_a_rule_says_so() {
    let (_dir, source, near) = filled(5, None).await;
    source.purge("k00", "old0");
    near.scan().await;
    assert!(purges(&*near.journal).await.is_empty(), "no rule sends it");
    near.rules.send_replace(rules(Some(HOLD)));
    near.scan().await;
    until("the purge is recorded", async || {
        !purges(&*near.journal).await.is_empty()
    })
    .await;
    assert_eq!(purges(&*near.journal).await, ["k00 old0"]);
    let rows = transfers(&*near.journal, ChangeKind::Purge).await;
    assert_eq!(
        (rows[0].status, rows[0].reason),
        (Status::Pending, Some(Reason::PurgeHeld))
    );
    assert!(rows[0].next_try >= now().plus(HOLD - Duration::from_secs(60)));
    // It is recorded once.
    near.scan().await;
    assert_eq!(purges(&*near.journal).await.len(), 1);
    // The latest one is gone: the one below comes again at once, and the purge waits.
    source.purge("k01", "new1");
    near.scan().await;
    assert_eq!(purges(&*near.journal).await, ["k00 old0", "k01 new1"]);
    let puts = transfers(&*near.journal, ChangeKind::Put).await;
    let last = &puts.last().unwrap().change.name;
    assert!(
        last.version.as_str().starts_with("old1~returned-"),
        "{last}"
    );
    complete(&*near.journal, now()).await;
    // All of a key is gone: with it what came again.
    source.purge("k01", "old1");
    near.scan().await;
    let gone = purges(&*near.journal).await;
    assert_eq!(gone.len(), 4, "{gone:?}");
    assert!(gone.iter().any(|one| one.starts_with("k01 old1~returned-")));
    let markers = transfers(&*near.journal, ChangeKind::DeleteMarker).await;
    assert_eq!(markers.len(), 1, "a key without a version is removed");
    complete(&*near.journal, far_future()).await;
    near.scan().await;
    assert_eq!(
        purges(&*near.journal).await.len(),
        4,
        "a marker of ours stays"
    );
    // A marker of the source goes as versions do.
    source.remove("k02", "gone2");
    near.scan().await;
    complete(&*near.journal, now()).await;
    source.purge("k02", "gone2");
    near.scan().await;
    assert!(
        purges(&*near.journal)
            .await
            .contains(&"k02 gone2".to_owned())
    );
    near.end().await;
}

#[tokio::test]
async fn what_one_listing_lacks_and_the_source_has_is_not_purged() {
    let (_dir, source, near) = filled(5, Some(HOLD)).await;
    source.hidden.lock().insert(id("old0"));
    near.scan().await;
    near.scan().await;
    assert!(purges(&*near.journal).await.is_empty());
    near.end().await;
}

#[tokio::test]
async fn much_that_is_gone_at_once_waits_for_somebody_to_say_that_it_is_meant() {
    let keys = 24;
    let (_dir, source, near) = filled(keys, Some(HOLD)).await;
    let much = keys * 2 / limits::PURGES_PART_UNSUSPECTED as usize + 1;
    assert!(much as u64 > limits::PURGES_UNSUSPECTED_MAX);
    for n in 0..much {
        source.purge(&format!("k{n:02}"), &format!("old{n}"));
    }
    near.scan().await;
    let held = near.handle.status().purges_held.unwrap();
    assert_eq!((held.vanished, held.of), (much as u64, keys as u64 * 2));
    assert!(purges(&*near.journal).await.is_empty());
    assert_eq!(near.handle.accept_deletes(), Some(held));
    until("they are recorded", async || {
        purges(&*near.journal).await.len() == much
    })
    .await;
    near.scan().await;
    assert_eq!(
        near.handle.status().purges_held,
        None,
        "what waits is accepted"
    );
    // One more is too much again: those that wait count.
    source.purge("k23", "old23");
    near.scan().await;
    assert!(near.handle.status().purges_held.is_some());
    assert_eq!(purges(&*near.journal).await.len(), much);
    near.end().await;
}

#[tokio::test]
async fn a_purge_that_was_refused_is_asked_for_again_after_a_while_and_one_left_out_at_once() {
    let (_dir, source, near) = filled(5, Some(Duration::from_millis(1))).await;
    source.purge("k00", "old0");
    near.scan().await;
    let settle = async |reason: Reason, at: Timestamp| {
        let leased = near.journal.lease(&peer(), 9, far_future()).await.unwrap();
        assert_eq!(leased.len(), 1);
        let evidence = "a hold".to_owned();
        let outcome = match reason.status() {
            Status::Failed => TransferOutcome::Failed { reason, evidence },
            _ => TransferOutcome::Skipped { reason, evidence },
        };
        let id = leased[0].id;
        near.journal
            .settle(vec![Settlement { id, at, outcome }])
            .await
            .unwrap();
    };
    let status = async || transfers(&*near.journal, ChangeKind::Purge).await[0].status;
    settle(Reason::DstRetained, now()).await;
    near.scan().await;
    assert_eq!(status().await, Status::Failed);
    // As if an hour had gone by.
    near.journal
        .requeue(sealift_ledger::Requeue::All, now())
        .await
        .unwrap();
    settle(Reason::DstRetained, now().minus(limits::PURGE_ASKED_AGAIN)).await;
    near.scan().await;
    assert_eq!(status().await, Status::Pending);
    settle(Reason::SkippedPurge, now()).await;
    near.scan().await;
    assert_eq!(status().await, Status::Pending, "it is gone after all");
    near.end().await;
}
