//! What becomes of what a source commits that is followed.
#![allow(clippy::unwrap_used, reason = "a failure is what a test reports")]

mod near;

use std::{io, sync::Arc, time::Duration};

use near::{all, bucket, complete, journal, purging, rules, until};
use parking_lot::Mutex;
use sealift_host::OsClock;
use sealift_ledger::{Journal, Settlement, TransferOutcome};
use sealift_sender::{Awaited, FollowTask, Rules, SourceHandle, SourceSettings, WorkSignal};
use sealift_store::{
    After, Committed, CommittedTo, Listed, Ordered, OrderedSource, Scan, Source, SourceObject,
    StoreError, Watch,
};
use sealift_terms::{
    Change, ChangeKind, Clock, Epoch, ObjectFacts, ObjectKey, Order, Reason, Region, Status,
    VersionId, VersionName,
};
use tokio::sync::{mpsc, watch};

const EPOCH: Epoch = Epoch([1; 16]);

/// Commits delete markers, one each.
#[derive(Debug, Clone, Default)]
struct Commits(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    versions: Vec<Ordered>,
    /// Marks that they were purged; their versions are gone from `versions`.
    purges: Vec<Change>,
    /// Commits in all.
    sequence: u64,
    followers: Vec<mpsc::Sender<Committed>>,
    /// Whether no listing comes to its end.
    is_unlisted: bool,
}

impl Commits {
    fn add(&self, key: &str) -> VersionName {
        let state = &mut *self.0.lock();
        state.sequence += 1;
        let (versions, sequence) = (&mut state.versions, state.sequence);
        let name = VersionName {
            bucket: bucket(),
            key: ObjectKey::new(key).unwrap(),
            version: VersionId::new(format!("v{sequence}")).unwrap(),
        };
        versions.push(Ordered {
            change: Change {
                name: name.clone(),
                order: Order {
                    clock: sequence,
                    region: Region::new("a").unwrap(),
                    change: sequence,
                },
                kind: ChangeKind::DeleteMarker,
                facts: ObjectFacts::default(),
            },
            tags_order: None,
            sequence,
        });
        name
    }

    /// Commits a version with content, whose tags changed behind it.
    fn commit_tagged(&self, key: &str) {
        let name = self.add(key);
        let state = &mut *self.0.lock();
        state.sequence += 1;
        let of_it = state.versions.iter_mut();
        for version in of_it.filter(|version| version.change.name == name) {
            version.change.kind = ChangeKind::Put;
            version.sequence = state.sequence;
            version.tags_order = Some(Order {
                clock: state.sequence,
                ..version.change.order.clone()
            });
        }
    }

    /// Whoever follows hears of it.
    fn commit(&self, key: &str) {
        let name = self.add(key);
        self.tell(name);
    }

    fn tell(&self, name: VersionName) {
        let committed = Committed {
            names: vec![name],
            sequence: Some(self.committed_to().sequence),
        };
        for follower in &self.0.lock().followers {
            // One that has ended needs nothing.
            let _ = follower.try_send(committed.clone());
        }
    }

    /// Takes a version out, for good or without a word of why.
    fn take_out(&self, key: &str, is_purged: bool) {
        let mut state = self.0.lock();
        let mut at = state.versions.iter();
        let at = at
            .position(|row| row.change.name.key.as_str() == key)
            .unwrap();
        let change = state.versions.remove(at).change;
        state.sequence += 1;
        let sequence = state.sequence;
        if is_purged {
            state.purges.push(Change {
                order: Order {
                    clock: 1_000 + sequence,
                    ..change.order.clone()
                },
                kind: ChangeKind::Purge,
                ..change.clone()
            });
        }
        drop(state);
        self.tell(change.name);
    }

    /// Their queues were full: those who follow hear that they missed something.
    fn commit_untold(&self, key: &str) {
        self.add(key);
        self.0.lock().followers.clear();
    }

    fn set_unlisted(&self, is_unlisted: bool) {
        self.0.lock().is_unlisted = is_unlisted;
    }
}

fn away() -> StoreError {
    StoreError::SourceUnavailable {
        path: "commits".to_owned(),
        source: io::Error::other("it is away"),
    }
}

#[async_trait::async_trait]
impl Source for Commits {
    async fn scan(&self, _prefix: &str) -> Result<Box<dyn Scan>, StoreError> {
        Err(away())
    }

    async fn look(&self, _key: &ObjectKey) -> Result<Option<Listed>, StoreError> {
        Err(away())
    }

    async fn open(
        &self,
        _key: &ObjectKey,
        _version: &VersionId,
    ) -> Result<Arc<dyn SourceObject>, StoreError> {
        Err(away())
    }

    fn watch(&self) -> Result<Watch, StoreError> {
        Err(away())
    }

    fn ordered(&self) -> Option<&dyn OrderedSource> {
        Some(self)
    }
}

#[async_trait::async_trait]
impl OrderedSource for Commits {
    fn committed_to(&self) -> CommittedTo {
        CommittedTo {
            epoch: EPOCH,
            sequence: self.0.lock().sequence,
        }
    }

    async fn versions(
        &self,
        after: Option<&After>,
        limit: usize,
    ) -> Result<Vec<Ordered>, StoreError> {
        let state = self.0.lock();
        if state.is_unlisted {
            return Err(away());
        }
        let mut versions = state.versions.clone();
        versions.sort_by(|a, b| a.change.name.key.cmp(&b.change.name.key));
        versions.retain(|row| after.is_none_or(|after| row.change.name.key > after.key));
        versions.truncate(limit);
        Ok(versions)
    }

    async fn of_names(&self, names: Vec<VersionName>) -> Result<Vec<Ordered>, StoreError> {
        let versions = self.0.lock().versions.clone();
        let wanted = |row: &Ordered| names.contains(&row.change.name);
        Ok(versions.into_iter().filter(wanted).collect())
    }

    async fn purges(&self, names: Vec<VersionName>) -> Result<Vec<Change>, StoreError> {
        let purges = self.0.lock().purges.clone();
        let wanted = |purge: &Change| names.contains(&purge.name);
        Ok(purges.into_iter().filter(wanted).collect())
    }

    fn follow(&self) -> mpsc::Receiver<Committed> {
        let (sender, receiver) = mpsc::channel(8);
        self.0.lock().followers.push(sender);
        receiver
    }
}

async fn keys(journal: &dyn Journal) -> Vec<String> {
    let transfers = all(journal).await;
    let keys = transfers.iter().map(|row| row.change.name.key.to_string());
    keys.collect()
}

/// How far all was recorded, as it is noted.
async fn noted(journal: &dyn Journal) -> Option<u64> {
    let followed = journal.followed(&bucket()).await.unwrap();
    followed.map(|followed| followed.sequence)
}

#[tokio::test]
async fn a_commit_after_a_listing_that_failed_hides_nothing_that_this_was_for() {
    let temp = tempfile::tempdir().unwrap();
    let (journal, source) = (journal(temp.path()), Commits::default());
    source.commit("first");
    let settings = SourceSettings {
        bucket: bucket(),
        scan_interval: Duration::from_secs(60),
    };
    let (_rules, rules_in) = watch::channel(rules(&[("all", "", "far")]));
    let (stop, stop_in) = watch::channel(false);
    let (task, handle) = FollowTask::new(
        settings,
        Arc::new(source.clone()),
        journal.clone(),
        Arc::new(OsClock),
        rules_in,
        WorkSignal::new(),
    );
    let task = tokio::spawn(task.run(stop_in));
    until("the first", async || noted(&*journal).await == Some(1)).await;

    source.set_unlisted(true);
    source.commit_untold("missed");
    until("a listing that fails", async || {
        handle.status().reason.is_some()
    })
    .await;
    // By then it would be noted again how far all was recorded.
    tokio::time::sleep(Duration::from_millis(1200)).await;
    source.commit("told");
    until("what was told", async || keys(&*journal).await.len() == 2).await;
    source.set_unlisted(false);
    until("a listing", async || handle.status().reason.is_none()).await;
    assert_eq!(keys(&*journal).await, ["first", "told", "missed"]);
    assert_eq!(noted(&*journal).await, Some(3));

    stop.send_replace(true);
    task.await.unwrap();
}

/// A task that follows.
struct Following {
    rules: watch::Sender<Arc<Rules>>,
    stop: watch::Sender<bool>,
    handle: SourceHandle,
    task: tokio::task::JoinHandle<()>,
}

fn follow(source: &Commits, journal: &Arc<dyn Journal>, version_deletes: bool) -> Following {
    let hold = version_deletes.then_some(Duration::from_secs(3600));
    let (rules, rules_in) = watch::channel(purging(hold));
    let (stop, stop_in) = watch::channel(false);
    let settings = SourceSettings {
        bucket: bucket(),
        scan_interval: Duration::from_secs(60),
    };
    let (task, handle) = FollowTask::new(
        settings,
        Arc::new(source.clone()),
        journal.clone(),
        Arc::new(OsClock),
        rules_in,
        WorkSignal::new(),
    );
    Following {
        rules,
        stop,
        handle,
        task: tokio::spawn(task.run(stop_in)),
    }
}

impl Following {
    async fn end(self) {
        self.stop.send_replace(true);
        self.task.await.unwrap();
    }

    /// A listing begins and ends.
    async fn listed(&self) {
        let before = self.handle.status().scanned;
        tokio::time::sleep(Duration::from_millis(2)).await;
        self.handle.scan();
        until("a listing", async || self.handle.status().scanned != before).await;
    }
}

async fn purges(journal: &dyn Journal) -> Vec<String> {
    let rows = all(journal).await.into_iter();
    let purges = rows.filter(|row| row.change.kind == ChangeKind::Purge);
    let mut keys: Vec<_> = purges
        .map(|row| {
            assert_eq!(
                (row.status, row.reason),
                (Status::Pending, Some(Reason::PurgeHeld))
            );
            assert!(row.change.order.clock > 1_000, "that of its mark");
            row.change.name.key.to_string()
        })
        .collect();
    keys.sort();
    keys
}

/// A task that has sent as many versions on, and the journal that says so.
async fn sent(keys: usize) -> (tempfile::TempDir, Arc<dyn Journal>, Commits) {
    let temp = tempfile::tempdir().unwrap();
    let (journal, source) = (journal(temp.path()), Commits::default());
    for n in 0..keys {
        source.commit(&format!("k{n:02}"));
    }
    let following = follow(&source, &journal, true);
    until("they are recorded", async || {
        keys == self::keys(&*journal).await.len()
    })
    .await;
    following.end().await;
    complete(&*journal, OsClock.now()).await;
    (temp, journal, source)
}

#[tokio::test]
async fn what_an_archive_purged_goes_on_once_it_says_so_and_what_it_lacks_does_not() {
    let (_temp, journal, source) = sent(9).await;
    // Purged while nobody followed, and before the rule had a word of it.
    source.take_out("k01", true);
    source.take_out("k02", false);
    let following = follow(&source, &journal, false);
    following.listed().await;
    assert!(purges(&*journal).await.is_empty());
    let hold = Some(Duration::from_secs(3600));
    following.rules.send_replace(purging(hold));
    until("the first", async || purges(&*journal).await == ["k01"]).await;
    // While it is followed no listing is needed.
    source.take_out("k03", false);
    source.take_out("k04", true);
    until("the second", async || {
        purges(&*journal).await == ["k01", "k04"]
    })
    .await;
    following.end().await;
    let following = follow(&source, &journal, true);
    following.listed().await;
    assert_eq!(purges(&*journal).await, ["k01", "k04"], "each once");
    following.end().await;
}

#[tokio::test]
async fn much_that_an_archive_purged_at_once_waits_for_somebody_too() {
    let (_temp, journal, source) = sent(24).await;
    for n in 0..12 {
        source.take_out(&format!("k{n:02}"), true);
    }
    let following = follow(&source, &journal, true);
    following.listed().await;
    let held = following.handle.status().purges_held.unwrap();
    assert_eq!((held.vanished, held.of), (12, 24));
    assert!(purges(&*journal).await.is_empty());
    assert_eq!(following.handle.accept_deletes(), Some(held));
    until("they are recorded", async || {
        purges(&*journal).await.len() == 12
    })
    .await;
    following.listed().await;
    assert_eq!(following.handle.status().purges_held, None);
    following.end().await;
}

#[tokio::test]
async fn tags_that_waited_when_rules_left_them_out_go_to_their_version_when_one_sends_them() {
    let temp = tempfile::tempdir().unwrap();
    let (journal, source) = (journal(temp.path()), Commits::default());
    for key in ["there", "waits"] {
        source.commit_tagged(key);
    }
    let following = follow(&source, &journal, false);
    let stand = async |expected: [&str; 4]| {
        until(&format!("{expected:?}"), async || {
            let rows = all(&*journal).await;
            let told = rows.iter().map(|row| row.status.as_str());
            told.eq(expected)
        })
        .await;
    };
    // Of each its version, and the tags behind it.
    stand(["PENDING"; 4]).await;
    let now = OsClock.now();
    let leased = journal.lease(&near::peer(), 1, now).await.unwrap();
    assert_eq!(leased[0].change.name.key.as_str(), "there");
    near::settle(&*journal, &leased, now).await;
    following.rules.send_replace(rules(&[]));
    let left_out = ["COMPLETED", "SKIPPED", "SKIPPED", "SKIPPED"];
    stand(left_out).await;
    let some = rules(&[("some", "there", "far")]);
    following.rules.send_replace(some);
    stand(["COMPLETED", "PENDING", "SKIPPED", "SKIPPED"]).await;
    following.rules.send_replace(purging(None));
    stand(["COMPLETED", "PENDING", "PENDING", "PENDING"]).await;
    following.end().await;
}

#[tokio::test]
async fn a_version_is_awaited_until_everybody_has_it_whom_the_rules_name() {
    let temp = tempfile::tempdir().unwrap();
    let (journal, source) = (journal(temp.path()), Commits::default());
    source.commit("k");
    let name = source.0.lock().versions[0].change.name.clone();
    let awaits = async |rules: Arc<Rules>, epoch, sequence| {
        let awaited = Awaited::new(journal.clone(), rules, epoch);
        awaited.is_awaited(&name, sequence).await.unwrap()
    };
    let in_force = || purging(None);
    assert!(
        awaits(in_force(), EPOCH, 1).await,
        "nobody has followed it yet"
    );
    let following = follow(&source, &journal, false);
    until("it is noted", async || noted(&*journal).await == Some(1)).await;
    following.end().await;
    assert!(awaits(in_force(), EPOCH, 1).await, "it is PENDING");
    assert!(!awaits(rules(&[]), EPOCH, 1).await, "nobody is to have it");

    let now = OsClock.now();
    let leased = journal.lease(&near::peer(), 9, now).await.unwrap();
    let failed = Settlement {
        id: leased[0].id,
        at: now,
        outcome: TransferOutcome::Failed {
            reason: Reason::PolicyDenied,
            evidence: "no grant".to_owned(),
        },
    };
    journal.settle(vec![failed]).await.unwrap();
    assert!(awaits(in_force(), EPOCH, 1).await, "it is FAILED");
    near::settle(&*journal, &leased, now).await;
    assert!(!awaits(in_force(), EPOCH, 1).await, "it is there");

    assert!(awaits(in_force(), EPOCH, 2).await, "it is not recorded yet");
    assert!(
        awaits(in_force(), Epoch([9; 16]), 1).await,
        "another life of the catalog"
    );
    let more = rules(&[("all", "", "far"), ("more", "", "farther")]);
    assert!(
        awaits(more, EPOCH, 1).await,
        "not recorded by these rules yet"
    );
}
