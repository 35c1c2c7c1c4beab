//! What becomes of what a source commits that is followed.
#![allow(clippy::unwrap_used, reason = "a failure is what a test reports")]

mod near;

use std::{io, sync::Arc, time::Duration};

use near::{all, bucket, journal, rules, until};
use parking_lot::Mutex;
use sealift_host::OsClock;
use sealift_ledger::Journal;
use sealift_sender::{FollowTask, SourceSettings, WorkSignal};
use sealift_store::{
    After, Committed, CommittedTo, Listed, Ordered, OrderedSource, Scan, Source, SourceObject,
    StoreError, Watch,
};
use sealift_terms::{
    Change, ChangeKind, Epoch, ObjectFacts, ObjectKey, Order, Region, VersionId, VersionName,
};
use tokio::sync::{mpsc, watch};

const EPOCH: Epoch = Epoch([1; 16]);

/// Commits delete markers, one each.
#[derive(Debug, Clone, Default)]
struct Commits(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    versions: Vec<Ordered>,
    followers: Vec<mpsc::Sender<Committed>>,
    /// Whether no listing comes to its end.
    is_unlisted: bool,
}

impl Commits {
    fn add(&self, key: &str) -> VersionName {
        let versions = &mut self.0.lock().versions;
        let sequence = versions.len() as u64 + 1;
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

    /// Whoever follows hears of it.
    fn commit(&self, key: &str) {
        let committed = Committed {
            names: vec![self.add(key)],
            sequence: Some(self.committed_to().sequence),
        };
        for follower in &self.0.lock().followers {
            // One that has ended needs nothing.
            let _ = follower.try_send(committed.clone());
        }
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
            sequence: self.0.lock().versions.len() as u64,
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
