//! Tags and keys of a source that cannot be read now, or may not be: what is to be sent of them
//! is kept in mind until they can, and nothing else waits for them.
#![allow(clippy::unwrap_used, reason = "a failure is what a test reports")]

mod near;

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    path::Path,
    sync::Arc,
};

use async_trait::async_trait;
use near::{Near, bucket, journal, tagged, until, versioned::Versioned};
use parking_lot::Mutex;
use sealift_ledger::{Intent, Touched};
use sealift_sender::{Became, Replicas};
use sealift_store::{
    Hint, Listed, MemorySource, Recorded, Scan, Source, SourceObject, StoreError, TagsTold, Watch,
};
use sealift_terms::{ChangeKind, ObjectKey, Reason, Status, VersionId, limits};
use tokio::sync::mpsc;

/// What is wrong with a source.
#[derive(Debug, Default)]
struct Wrong {
    /// It does not say what the tags of these keys are.
    mute: BTreeSet<String>,
    /// It lets nobody look at the tags of these.
    secret: BTreeSet<String>,
    /// It lets nobody look at these at all.
    hidden: BTreeSet<String>,
    hints: Option<mpsc::Sender<Hint>>,
}

#[derive(Debug, Clone, Default)]
struct Untold {
    inner: MemorySource,
    wrong: Arc<Mutex<Wrong>>,
}

fn denied(key: &ObjectKey) -> StoreError {
    StoreError::SourceDenied {
        path: key.to_string(),
        source: io::ErrorKind::PermissionDenied.into(),
    }
}

#[async_trait]
impl Source for Untold {
    async fn scan(&self, prefix: &str) -> Result<Box<dyn Scan>, StoreError> {
        self.inner.scan(prefix).await
    }

    async fn look(&self, key: &ObjectKey) -> Result<Option<Listed>, StoreError> {
        if self.wrong.lock().hidden.contains(key.as_str()) {
            return Err(denied(key));
        }
        self.inner.look(key).await
    }

    async fn open(
        &self,
        key: &ObjectKey,
        version: &VersionId,
    ) -> Result<Arc<dyn SourceObject>, StoreError> {
        self.inner.open(key, version).await
    }

    async fn tags_of_all(&self, versions: &[(ObjectKey, VersionId)]) -> Vec<TagsTold> {
        let mut told = self.inner.tags_of_all(versions).await;
        let wrong = self.wrong.lock();
        for ((key, _), told) in versions.iter().zip(&mut told) {
            if wrong.mute.contains(key.as_str()) {
                *told = Err(StoreError::SourceUnavailable {
                    path: key.to_string(),
                    source: io::ErrorKind::TimedOut.into(),
                });
            }
            if wrong.secret.contains(key.as_str()) {
                *told = Err(denied(key));
            }
        }
        told
    }

    fn watch(&self) -> Result<Watch, StoreError> {
        let (sender, hints) = mpsc::channel(9);
        self.wrong.lock().hints = Some(sender);
        Ok(Watch { hints })
    }
}

fn key(text: &str) -> ObjectKey {
    ObjectKey::new(text).unwrap()
}

fn names(keys: &[&str]) -> BTreeSet<String> {
    keys.iter().map(|key| (*key).to_owned()).collect()
}

impl Untold {
    fn with(keys: &[&str]) -> Self {
        let source = Self::default();
        for key in keys {
            source.inner.put(key, *b"x").unwrap();
        }
        source
    }

    async fn near(&self, temp: &Path) -> Near {
        let rules = near::rules(&[("all", "", "far")]);
        let near = Near::begin(journal(temp), Arc::new(self.clone()), rules).await;
        until("the first scan", async || {
            near.handle.status().scanned.is_some()
        })
        .await;
        near
    }

    async fn hint(&self, hints: Vec<Hint>) {
        let sender = self.wrong.lock().hints.clone().unwrap();
        for hint in hints {
            sender.send(hint).await.unwrap();
        }
    }
}

async fn intents(near: &Near) -> Vec<Intent> {
    near.journal.intents(&bucket(), 0, 99).await.unwrap()
}

/// The tags that were recorded of each key, the last ones.
async fn tags(near: &Near) -> BTreeMap<String, BTreeMap<String, String>> {
    let mut found = BTreeMap::new();
    for transfer in near.transfers().await {
        if transfer.change.kind == ChangeKind::Tags {
            let name = transfer.change.name.key.to_string();
            found.insert(name, transfer.change.facts.tags);
        }
    }
    found
}

async fn until_tagged(near: &Near, key: &str, value: &str) {
    until(&format!("{key} has {value}"), async || {
        let found = tags(near).await;
        found.get(key).and_then(|tags| tags.get("t")) == Some(&value.to_owned())
    })
    .await;
}

/// What is listed as unreadable.
async fn named(near: &Near) -> Vec<String> {
    let found = near.journal.unsupported(&bucket()).await.unwrap();
    let unreadable = found
        .iter()
        .filter(|one| one.reason == Reason::SkippedUnreadable);
    unreadable.map(|one| one.name.clone()).collect()
}

#[tokio::test]
async fn tags_that_cannot_be_read_when_they_are_written_are_sent_when_they_can() {
    let temp = tempfile::tempdir().unwrap();
    let source = Untold::with(&["k", "other"]);
    let near = source.near(temp.path()).await;
    let front = near.handle.front().unwrap().clone();
    let version = source.inner.look(&key("k")).await.unwrap().unwrap().version;
    let whichever = [
        Became::Tagged(None),
        Became::Tagged(Some(version.clone())),
        Became::Unknown,
    ];
    for (number, became) in whichever.into_iter().enumerate() {
        for touched in [Touched::Tags(None), Touched::Tags(Some(version.clone()))] {
            let value = format!("{number}-{}", touched == Touched::Tags(None));
            source.wrong.lock().mute = names(&["k"]);
            let intended = front.intend(vec![key("k")], touched).await.unwrap();
            source.inner.tag("k", &[("t", &value)]).unwrap();
            let told = front.became(intended.into_iter().next().unwrap(), became.clone());
            assert!(told.await.is_err(), "nobody can say what they are");
            assert_eq!(intents(&near).await.len(), 1, "it is kept in mind");
            // Scans change nothing of that, and see all else.
            let seen = near.handle.status().failed_scans;
            source.inner.put(&value, *b"y").unwrap();
            near.handle.scan();
            until("a scan", async || near.handle.status().failed_scans > seen).await;
            assert_eq!(intents(&near).await.len(), 1);
            let rows = near.transfers().await;
            assert!(rows.iter().any(|row| row.change.name.key == key(&value)));
            source.wrong.lock().mute.clear();
            near.handle.scan();
            until_tagged(&near, "k", &value).await;
            until("it is settled", async || intents(&near).await.is_empty()).await;
            until("all is well", async || {
                near.handle.status().failed_scans == 0
            })
            .await;
        }
    }
    near.end().await;
}

#[tokio::test]
async fn tags_whose_answer_never_came_or_that_there_was_no_room_for_are_sent() {
    let temp = tempfile::tempdir().unwrap();
    let source = Untold::with(&["k"]);
    let near = source.near(temp.path()).await;
    let front = near.handle.front().unwrap().clone();
    // The agent ends before the store has answered.
    let tags_of_latest = Touched::Tags(None);
    let one = front.intend(vec![key("k")], tags_of_latest.clone()).await;
    source.inner.tag("k", &[("t", "late")]).unwrap();
    near.end().await;
    drop((one, front));
    let near = source.near(temp.path()).await;
    until_tagged(&near, "k", "late").await;
    until("it is settled", async || intents(&near).await.is_empty()).await;
    // The queue is full: it is one thread, so nobody takes anything from it meanwhile.
    let front = near.handle.front().unwrap().clone();
    let full = vec![key("k"); limits::FRONT_QUEUED_MAX];
    let full = front.intend(full, Touched::Versions).await.unwrap();
    let more = front.intend(vec![key("k")], tags_of_latest).await.unwrap();
    source.inner.tag("k", &[("t", "more")]).unwrap();
    for one in full {
        drop(front.became(one, Became::Written(None)));
    }
    let [more] = <[_; 1]>::try_from(more).unwrap();
    let told = front.became(more, Became::Tagged(None));
    assert!(told.await.is_err(), "there was no room for it");
    until_tagged(&near, "k", "more").await;
    until("all is settled", async || intents(&near).await.is_empty()).await;
    near.end().await;
}

#[tokio::test]
async fn a_synchronous_write_whose_tags_are_denied_is_pending_until_they_can_be_read() {
    let temp = tempfile::tempdir().unwrap();
    let source = Untold::with(&[]);
    let rules = tagged("t", "hot");
    let near = Near::begin(journal(temp.path()), Arc::new(source.clone()), rules).await;
    near.scan().await;
    source.wrong.lock().secret = names(&["k"]);
    let front = near.handle.front().unwrap().clone();
    let keys = vec![key("k"), key("other")];
    let mut intended = front.intend(keys, Touched::Versions).await.unwrap();
    let mut told = Vec::new();
    for name in ["other", "k"] {
        let version = source.inner.put(name, *b"x").unwrap();
        source.inner.tag(name, &[("t", "hot")]).unwrap();
        let became = Became::Written(Some(version));
        let recorded = front.became(intended.pop().unwrap(), became.clone());
        let short = std::time::Duration::from_millis(300);
        let waited = front.wait(&key(name), &became, recorded, short).await;
        let Ok(Replicas::Pending(why)) = waited else {
            panic!("{name}: {waited:?}");
        };
        told.push(why);
    }
    assert!(told[0].contains("PENDING to far"), "{told:?}");
    assert!(told[1].contains("tags"), "{told:?}");
    let left = intents(&near).await;
    assert_eq!((left.len(), left[0].key.as_str()), (1, "k"));
    until("it is listed", async || named(&near).await == ["k"]).await;
    // No scan forgets it before it can be read.
    near.scan().await;
    assert_eq!(intents(&near).await.len(), 1);
    assert_eq!(named(&near).await, ["k"]);
    source.wrong.lock().secret.clear();
    near.scan().await;
    let rows = near.transfers().await;
    let row = rows.iter().find(|row| row.change.name.key == key("k"));
    assert_eq!(row.unwrap().status, Status::Pending);
    assert!(intents(&near).await.is_empty() && named(&near).await.is_empty());
    near.end().await;
}

#[tokio::test]
async fn tags_that_may_not_be_read_are_named_and_keep_nothing_else_waiting() {
    let temp = tempfile::tempdir().unwrap();
    let source = Untold::with(&["a", "secret", "z"]);
    let mut near = source.near(temp.path()).await;
    source.wrong.lock().secret = names(&["secret"]);
    for name in ["a", "secret", "z"] {
        source.inner.tag(name, &[("t", "1")]).unwrap();
    }
    for again in [false, true] {
        let (recorded, told) = Recorded::new();
        let tagged = ["a", "secret", "z"].map(|name| Hint::Tagged(key(name), None));
        source.hint(tagged.into()).await;
        source.hint(vec![Hint::Recorded(recorded)]).await;
        assert!(told.is_told().await, "who told of them need not keep it");
        for name in ["a", "z"] {
            until_tagged(&near, name, "1").await;
        }
        let left = intents(&near).await;
        let left: Vec<_> = left
            .iter()
            .map(|one| (one.key.as_str(), &one.touched))
            .collect();
        assert_eq!(left, [("secret", &Touched::Tags(None))], "once: {again}");
        assert_eq!(named(&near).await, ["secret"]);
    }
    // A scan comes to its end, and a new rule is made up for.
    let rules = [("all", "", "far"), ("more", "", "further")];
    near.rules.send_replace(near::rules(&rules));
    until("the new rule's", async || {
        let rows = near.transfers().await;
        rows.iter()
            .filter(|row| row.peer.as_str() == "further")
            .count()
            == 3
    })
    .await;
    near.scan().await;
    assert_eq!(
        (named(&near).await, intents(&near).await.len()),
        (vec!["secret".to_owned()], 1)
    );
    assert!(near.handle.status().skipped == 1 && near.handle.status().reason.is_none());
    // The next agent knows of it, too, and sends it once it may be read.
    near.end().await;
    source.wrong.lock().secret.clear();
    near = source.near(temp.path()).await;
    until_tagged(&near, "secret", "1").await;
    until("nothing is left", async || {
        intents(&near).await.is_empty() && named(&near).await.is_empty()
    })
    .await;
    near.end().await;
}

#[tokio::test]
async fn a_new_rule_sends_what_may_be_read_and_the_rest_when_it_may() {
    let temp = tempfile::tempdir().unwrap();
    let source = Untold::with(&["a", "m", "z"]);
    let near = source.near(temp.path()).await;
    source.wrong.lock().hidden = names(&["m"]);
    let rules = [("all", "", "far"), ("more", "", "further")];
    near.rules.send_replace(near::rules(&rules));
    let sent = async || {
        let rows = near.transfers().await;
        let rows = rows.iter().filter(|row| row.peer.as_str() == "further");
        rows.map(|row| row.change.name.key.to_string())
            .collect::<BTreeSet<_>>()
    };
    until("what may be read", async || {
        sent().await == names(&["a", "z"])
    })
    .await;
    until("the rest is named", async || named(&near).await == ["m"]).await;
    near.scan().await;
    assert_eq!(named(&near).await, ["m"], "for as long as it is so");
    assert!(near.handle.status().reason.is_none());
    source.wrong.lock().hidden.clear();
    near.scan().await;
    assert_eq!(sent().await, names(&["a", "m", "z"]));
    assert!(named(&near).await.is_empty());
    near.end().await;
}

#[tokio::test]
async fn tags_whose_answer_was_lost_are_looked_at_of_all_versions_that_may_have_them() {
    let temp = tempfile::tempdir().unwrap();
    let source = Versioned::default();
    for version in ["null~e", "v1", "v2"] {
        source.put("k", version);
    }
    let rules = near::rules(&[("all", "", "far")]);
    let near = Near::begin(journal(temp.path()), Arc::new(source.clone()), rules).await;
    near.scan().await;
    let front = near.handle.front().unwrap().clone();
    let retagged = async || {
        let rows = near.transfers().await;
        let tags = rows.into_iter().map(|row| row.change);
        let tags = tags.filter(|change| change.kind == ChangeKind::Tags);
        tags.map(|change| change.name.version.to_string())
            .collect::<Vec<_>>()
    };
    // Orders and intents have milliseconds: what is recorded in the same one may be of it.
    let next_milli = async || {
        let now = near::versioned::now();
        until("the next millisecond", async || {
            near::versioned::now() > now
        })
        .await;
    };
    next_milli().await;
    let one = front
        .intend(vec![key("k")], Touched::Tags(None))
        .await
        .unwrap();
    next_milli().await;
    source.put("k", "v3");
    let [one] = <[_; 1]>::try_from(one).unwrap();
    front.became(one, Became::Unknown).await.unwrap();
    assert_eq!(retagged().await, ["v2", "v3"], "v1 was the latest before");
    // What the store calls null is known with its entity tag.
    let null = Some(VersionId::new("null").unwrap());
    let one = front
        .intend(vec![key("k")], Touched::Tags(null.clone()))
        .await
        .unwrap();
    let [one] = <[_; 1]>::try_from(one).unwrap();
    front.became(one, Became::Tagged(null)).await.unwrap();
    assert_eq!(retagged().await, ["v2", "v3", "null~e"]);
    near.end().await;
}
