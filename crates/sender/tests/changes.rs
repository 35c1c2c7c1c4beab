//! What becomes of changes in a source, property by property.
#![allow(clippy::unwrap_used, reason = "a failure is what a test reports")]

mod near;

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};

use near::{Near, bucket, journal, rules, until};
use sealift_host::OsClock;
use sealift_store::{
    DirectorySource, Listed, MemorySource, Page, Scan, Skipped, Source, SourceObject, StoreError,
    Watch,
};
use sealift_terms::{ChangeKind, ObjectKey, Reason, Status, VersionId};
use tokio::sync::Semaphore;

async fn keys_and_kinds(near: &Near) -> Vec<(String, ChangeKind)> {
    let transfers = near.transfers().await;
    transfers
        .iter()
        .map(|t| (t.change.name.key.to_string(), t.change.kind))
        .collect()
}

#[tokio::test]
async fn what_is_there_at_the_start_is_recorded_once_whatever_happens() {
    let temp = tempfile::tempdir().unwrap();
    let source = MemorySource::new();
    for i in 0..2500 {
        source.put(&format!("k{i:04}"), *b"x").unwrap();
    }
    let near = Near::begin(
        journal(temp.path()),
        Arc::new(source.clone()),
        rules(&[("all", "", "far")]),
    )
    .await;
    until("all", async || near.transfers().await.len() == 2500).await;
    near.scan().await;
    near.scan().await;
    assert_eq!(near.transfers().await.len(), 2500);
    near.end().await;
    let near = Near::begin(
        journal(temp.path()),
        Arc::new(source),
        rules(&[("all", "", "far")]),
    )
    .await;
    near.scan().await;
    let transfers = near.transfers().await;
    assert_eq!(transfers.len(), 2500, "a restart repeats nothing");
    assert!(transfers.iter().all(|t| t.status == Status::Pending));
    near.end().await;
}

#[tokio::test]
async fn new_changed_and_removed_keys_become_changes_of_rising_order() {
    let temp = tempfile::tempdir().unwrap();
    let source = MemorySource::new();
    source.put("kept", *b"1").unwrap();
    let near = Near::begin(
        journal(temp.path()),
        Arc::new(source.clone()),
        rules(&[("all", "", "far")]),
    )
    .await;
    until("the first", async || near.transfers().await.len() == 1).await;
    source.put("a", *b"1").unwrap();
    until("a new key", async || near.transfers().await.len() == 2).await;
    source.put("a", *b"2").unwrap();
    until("a change", async || near.transfers().await.len() == 3).await;
    source.remove("a").unwrap();
    until("a delete marker", async || {
        near.transfers().await.len() == 4
    })
    .await;
    let put = |key: &str| (key.to_owned(), ChangeKind::Put);
    let expected = [
        put("kept"),
        put("a"),
        put("a"),
        ("a".to_owned(), ChangeKind::DeleteMarker),
    ];
    assert_eq!(keys_and_kinds(&near).await, expected);
    let transfers = near.transfers().await;
    assert!(
        transfers
            .windows(2)
            .all(|w| w[0].change.order < w[1].change.order)
    );
    near.end().await;
    // The clock goes on where it was, also when changes were missed.
    source.remove("kept").unwrap();
    let near = Near::begin(
        journal(temp.path()),
        Arc::new(source),
        rules(&[("all", "", "far")]),
    )
    .await;
    until("a missed delete", async || {
        near.transfers().await.len() == 5
    })
    .await;
    let after = near.transfers().await;
    assert!(after[4].change.order > transfers[3].change.order);
    near.end().await;
}

#[tokio::test]
async fn more_than_half_of_a_bucket_vanishing_waits_until_it_is_accepted() {
    let temp = tempfile::tempdir().unwrap();
    let source = MemorySource::new();
    for i in 0..20 {
        source.put(&format!("k{i:02}"), *b"x").unwrap();
    }
    // Without hints: the scan finds it all at once.
    let near = Near::begin(
        journal(temp.path()),
        Arc::new(source.clone()),
        rules(&[("all", "", "far")]),
    )
    .await;
    until("all", async || near.transfers().await.len() == 20).await;
    near.end().await;
    for i in 0..11 {
        source.remove(&format!("k{i:02}")).unwrap();
    }
    source.put("new", *b"x").unwrap();
    let near = Near::begin(
        journal(temp.path()),
        Arc::new(source),
        rules(&[("all", "", "far")]),
    )
    .await;
    until("a hold", async || near.handle.status().held.is_some()).await;
    let held = near.handle.status().held.unwrap();
    assert_eq!((held.vanished, held.of), (11, 20));
    near.scan().await;
    assert!(
        near.handle.status().held.is_some(),
        "it does not go away by itself"
    );
    assert_eq!(near.transfers().await.len(), 21, "what is new is not held");
    near.handle.accept_deletes();
    until("the deletes", async || near.transfers().await.len() == 32).await;
    near.scan().await;
    assert_eq!(near.handle.status().held, None);
    near.end().await;
}

/// A watched source with so many keys, all recorded.
async fn watched(temp: &std::path::Path, keys: usize) -> (MemorySource, Near) {
    let source = MemorySource::new();
    let near = Near::begin(
        journal(temp),
        Arc::new(source.clone()),
        rules(&[("all", "", "far")]),
    )
    .await;
    near.scan().await;
    for i in 0..keys {
        source.put(&format!("k{i:03}"), *b"x").unwrap();
    }
    until("all", async || near.transfers().await.len() == keys).await;
    (source, near)
}

#[tokio::test]
async fn a_burst_of_removals_is_held_as_a_whole_and_no_scan_lets_it_pass() {
    let temp = tempfile::tempdir().unwrap();
    let (source, near) = watched(temp.path(), 14).await;
    near.scan().await;
    // One after the other, as `rm` does: the first few alone would be allowed.
    for i in 0..10 {
        source.remove(&format!("k{i:03}")).unwrap();
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    until("a hold", async || near.handle.status().held.is_some()).await;
    for _ in 0..3 {
        near.scan().await;
        let held = near.handle.status().held.unwrap();
        assert_eq!((held.vanished, held.of), (10, 14));
        assert_eq!(near.transfers().await.len(), 14, "something went out");
    }
    assert!(near.handle.accept_deletes().is_some());
    until("the deletes", async || near.transfers().await.len() == 24).await;
    until("no hold", async || near.handle.status().held.is_none()).await;
    assert_eq!(near.handle.accept_deletes(), None, "nothing is held now");
    near.end().await;
}

/// A source at which looks wait for a permit each, and are counted.
#[derive(Debug)]
struct Slow {
    inner: MemorySource,
    permits: Arc<Semaphore>,
    asked: Arc<AtomicUsize>,
}

#[async_trait::async_trait]
impl Source for Slow {
    async fn scan(&self, prefix: &str) -> Result<Box<dyn Scan>, StoreError> {
        self.inner.scan(prefix).await
    }

    async fn look(&self, key: &ObjectKey) -> Result<Option<Listed>, StoreError> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        self.permits.acquire().await.unwrap().forget();
        self.inner.look(key).await
    }

    async fn open(
        &self,
        key: &ObjectKey,
        version: &VersionId,
    ) -> Result<Arc<dyn SourceObject>, StoreError> {
        self.inner.open(key, version).await
    }

    fn watch(&self) -> Result<Watch, StoreError> {
        self.inner.watch()
    }
}

/// A [`Slow`] source of a hundred keys, all recorded, and what is held of it.
struct Looks {
    inner: MemorySource,
    permits: Arc<Semaphore>,
    asked: Arc<AtomicUsize>,
    near: Near,
}

async fn looks(temp: &std::path::Path, permits: usize) -> Looks {
    let inner = MemorySource::new();
    for i in 0..100 {
        inner.put(&format!("k{i:03}"), *b"x").unwrap();
    }
    let source = Slow {
        inner: inner.clone(),
        permits: Arc::new(Semaphore::new(permits)),
        asked: Arc::new(AtomicUsize::default()),
    };
    let (permits, asked) = (source.permits.clone(), source.asked.clone());
    let rules = rules(&[("all", "", "far")]);
    let near = Near::begin(journal(temp), Arc::new(source), rules).await;
    near.scan().await;
    Looks {
        inner,
        permits,
        asked,
        near,
    }
}

#[tokio::test]
async fn of_a_burst_that_is_seen_late_the_beginning_is_not_judged_alone() {
    let temp = tempfile::tempdir().unwrap();
    let Looks {
        inner,
        permits,
        asked,
        near,
    } = looks(temp.path(), 0).await;
    let remove = |i: usize| inner.remove(&format!("k{i:03}")).unwrap();
    let is_asked = async |looks: usize| {
        until("a look", async || asked.load(Ordering::SeqCst) == looks).await;
    };
    // The first is seen, the second is looked at for longer than little is waited for.
    remove(0);
    is_asked(1).await;
    permits.add_permits(1);
    remove(1);
    is_asked(2).await;
    (2..60).for_each(remove);
    tokio::time::sleep(std::time::Duration::from_millis(1100)).await;
    permits.add_permits(1000);
    until("a hold", async || near.handle.status().held.is_some()).await;
    let held = near.handle.status().held.unwrap();
    assert_eq!((held.vanished, held.of), (60, 100));
    assert_eq!(near.transfers().await.len(), 100, "something went out");
    near.end().await;
}

#[tokio::test]
async fn keys_that_vanished_are_looked_at_side_by_side() {
    let temp = tempfile::tempdir().unwrap();
    let Looks {
        inner,
        permits,
        asked,
        near,
    } = looks(temp.path(), 10).await;
    (0..10).for_each(|i| inner.remove(&format!("k{i:03}")).unwrap());
    // Ten looks told that they left; of those that follow none waits for another one.
    let is_asked = async |looks: usize| {
        until("looks", async || asked.load(Ordering::SeqCst) == looks).await;
    };
    is_asked(20).await;
    permits.add_permits(10);
    is_asked(30).await;
    permits.add_permits(10);
    until("the deletes", async || near.transfers().await.len() == 110).await;
    near.end().await;
}

#[tokio::test]
async fn what_was_made_and_removed_between_two_scans_is_held_too() {
    let temp = tempfile::tempdir().unwrap();
    let (source, near) = watched(temp.path(), 200).await;
    for i in 0..200 {
        source.remove(&format!("k{i:03}")).unwrap();
    }
    until("a hold", async || near.handle.status().held.is_some()).await;
    assert_eq!(near.transfers().await.len(), 200);
    near.scan().await;
    assert_eq!(near.handle.status().held.unwrap().vanished, 200);
    // It came back: there is nothing to be held any more.
    for i in 0..200 {
        source.put(&format!("k{i:03}"), *b"x").unwrap();
    }
    near.scan().await;
    assert_eq!(near.handle.status().held, None);
    near.end().await;
}

/// How long that takes at most is held in `changes::leaving`.
#[tokio::test]
async fn a_few_removals_pass_long_before_the_next_scan() {
    let temp = tempfile::tempdir().unwrap();
    let (source, near) = watched(temp.path(), 100).await;
    source.remove("k000").unwrap();
    let passed = until("its marker", async || near.transfers().await.len() == 101);
    let half = std::time::Duration::from_secs(30);
    tokio::time::timeout(half, passed).await.unwrap();
    assert_eq!(near.handle.status().held, None);
    near.end().await;
}

#[tokio::test]
async fn a_source_that_is_away_deletes_nothing_and_says_so() {
    let temp = tempfile::tempdir().unwrap();
    let source = MemorySource::new();
    source.put("a", *b"x").unwrap();
    let near = Near::begin(
        journal(temp.path()),
        Arc::new(source.clone()),
        rules(&[("all", "", "far")]),
    )
    .await;
    until("one", async || near.transfers().await.len() == 1).await;
    source.set_away(true);
    near.scan().await;
    assert_eq!(near.handle.status().reason, Some(Reason::SrcUnavailable));
    assert!(near.handle.status().evidence.is_some());
    assert_eq!(near.transfers().await.len(), 1);
    source.set_away(false);
    near.handle.scan();
    until("a good scan", async || {
        near.handle.status().reason.is_none()
    })
    .await;
    assert_eq!(near.transfers().await.len(), 1);
    near.end().await;
}

#[tokio::test]
async fn a_new_rule_makes_up_for_what_was_there_before() {
    let temp = tempfile::tempdir().unwrap();
    let source = MemorySource::new();
    for key in ["logs/1", "logs/2", "other"] {
        source.put(key, *b"x").unwrap();
    }
    let near = Near::begin(journal(temp.path()), Arc::new(source), rules(&[])).await;
    near.scan().await;
    assert!(near.transfers().await.is_empty());
    assert_eq!(near.journal.known_counts(&bucket()).await.unwrap().live, 3);
    near.rules.send_replace(rules(&[("logs", "logs/", "far")]));
    until("the logs", async || near.transfers().await.len() == 2).await;
    near.rules
        .send_replace(rules(&[("logs", "logs/", "far"), ("all", "", "third")]));
    until("all to the third", async || {
        near.transfers().await.len() == 5
    })
    .await;
    near.end().await;
}

#[tokio::test]
async fn a_directory_that_is_moved_away_and_back_is_sent_again_as_another_version() {
    let temp = tempfile::tempdir().unwrap();
    let (root, data) = (temp.path().join("root"), temp.path().join("data"));
    for path in [root.join("d"), data.clone()] {
        std::fs::create_dir_all(path).unwrap();
    }
    std::fs::write(root.join("d/file"), b"x").unwrap();
    let source = Arc::new(DirectorySource::new(&root, Arc::new(OsClock)).unwrap());
    let near = Near::begin(journal(&data), source, rules(&[("all", "", "far")])).await;
    until("the file", async || near.transfers().await.len() == 1).await;
    std::fs::rename(root.join("d"), temp.path().join("away")).unwrap();
    until("its delete marker", async || {
        near.transfers().await.len() == 2
    })
    .await;
    std::fs::rename(temp.path().join("away"), root.join("d")).unwrap();
    until("its return", async || near.transfers().await.len() == 3).await;
    let transfers = near.transfers().await;
    assert_ne!(
        transfers[0].change.name.version,
        transfers[2].change.name.version
    );
    assert!(transfers[2].change.order > transfers[1].change.order);
    near.scan().await;
    assert_eq!(near.transfers().await.len(), 3);
    near.end().await;
}

#[tokio::test]
async fn a_link_in_a_directory_is_reported_with_why() {
    let temp = tempfile::tempdir().unwrap();
    let (root, data) = (temp.path().join("root"), temp.path().join("data"));
    for path in [&root, &data] {
        std::fs::create_dir_all(path).unwrap();
    }
    std::os::unix::fs::symlink("/etc/hostname", root.join("link")).unwrap();
    let source = Arc::new(DirectorySource::new(&root, Arc::new(OsClock)).unwrap());
    let near = Near::begin(journal(&data), source, rules(&[("all", "", "far")])).await;
    near.scan().await;
    let names = near.journal.unsupported(&bucket()).await.unwrap();
    assert_eq!((names.len(), names[0].name.as_str()), (1, "link"));
    assert_eq!(names[0].reason, Reason::SkippedUnreadable);
    assert_eq!(near.handle.status().skipped, 1);
    near.end().await;
}

/// A source in which one directory can be made unreadable.
#[derive(Debug)]
struct Closing {
    inner: MemorySource,
    is_closed: Arc<AtomicBool>,
}

/// A listing without the keys below `closed/`, which says so.
struct ClosedScan(Box<dyn Scan>);

#[async_trait::async_trait]
impl Scan for ClosedScan {
    async fn page(&mut self, limit: usize) -> Result<Page, StoreError> {
        let mut page = self.0.page(limit).await?;
        page.objects
            .retain(|listed| !listed.key.as_str().starts_with("closed/"));
        page.skipped.push(Skipped {
            name: "closed/".to_owned(),
            reason: Reason::SkippedUnreadable,
            evidence: "may not be listed".to_owned(),
            hides: Some("closed/".to_owned()),
        });
        Ok(page)
    }
}

#[async_trait::async_trait]
impl Source for Closing {
    async fn scan(&self, prefix: &str) -> Result<Box<dyn Scan>, StoreError> {
        let scan = self.inner.scan(prefix).await?;
        Ok(if self.is_closed.load(Ordering::SeqCst) {
            Box::new(ClosedScan(scan))
        } else {
            scan
        })
    }

    async fn look(&self, key: &ObjectKey) -> Result<Option<Listed>, StoreError> {
        let is_hidden =
            self.is_closed.load(Ordering::SeqCst) && key.as_str().starts_with("closed/");
        if is_hidden {
            Ok(None)
        } else {
            self.inner.look(key).await
        }
    }

    async fn open(
        &self,
        key: &ObjectKey,
        version: &VersionId,
    ) -> Result<Arc<dyn SourceObject>, StoreError> {
        self.inner.open(key, version).await
    }

    fn watch(&self) -> Result<Watch, StoreError> {
        self.inner.watch()
    }
}

#[tokio::test]
async fn keys_that_cannot_be_listed_are_not_taken_for_removed() {
    let temp = tempfile::tempdir().unwrap();
    let inner = MemorySource::new();
    for key in ["a", "closed/1", "closed/2", "z"] {
        inner.put(key, *b"x").unwrap();
    }
    let is_closed = Arc::new(AtomicBool::new(false));
    let source = Closing {
        inner: inner.clone(),
        is_closed: is_closed.clone(),
    };
    let near = Near::begin(
        journal(temp.path()),
        Arc::new(source),
        rules(&[("all", "", "far")]),
    )
    .await;
    until("all", async || near.transfers().await.len() == 4).await;
    is_closed.store(true, Ordering::SeqCst);
    near.scan().await;
    assert_eq!(near.transfers().await.len(), 4);
    near.end().await;
}
