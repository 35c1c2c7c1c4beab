//! Rules that ask for tags: what they have to do with a version is decided when it is first
//! seen, and again when the rules change.
#![allow(clippy::unwrap_used, reason = "a failure is what a test reports")]

mod near;

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use async_trait::async_trait;
use near::{Near, journal, tagged, until};
use parking_lot::Mutex;
use sealift_store::{
    Hint, Listed, MemorySource, Recorded, Scan, Source, SourceObject, StoreError, TagsTold, Watch,
};
use sealift_terms::{ChangeKind, ObjectKey, Reason, Status, VersionId};
use tokio::sync::mpsc;

/// What stands in the journal: `key status`, in the order in which it was recorded.
async fn stand(near: &Near) -> Vec<String> {
    let transfers = near.transfers().await;
    let told = transfers.iter().map(|transfer| {
        let kind = match transfer.change.kind {
            ChangeKind::Put => "",
            _ => " marker",
        };
        format!("{}{kind} {}", transfer.change.name.key, transfer.status)
    });
    let mut told: Vec<_> = told.collect();
    told.sort();
    told
}

#[tokio::test]
async fn tags_count_when_a_version_is_first_seen_and_when_the_rules_change() {
    let temp = tempfile::tempdir().unwrap();
    let source = MemorySource::new();
    for (key, class) in [("cold", "cold"), ("hot", "hot")] {
        source.put(key, *b"x").unwrap();
        source.tag(key, &[("class", class), ("more", "1")]).unwrap();
    }
    let rules = tagged("class", "hot");
    let near = Near::begin(journal(temp.path()), Arc::new(source.clone()), rules).await;
    near.scan().await;
    assert_eq!(stand(&near).await, ["cold SKIPPED", "hot PENDING"]);
    let transfers = near.transfers().await;
    let cold = transfers
        .iter()
        .find(|t| t.status == Status::Skipped)
        .unwrap();
    assert_eq!(cold.reason, Some(Reason::SkippedFiltered));
    let evidence = cold.evidence.as_deref().unwrap_or_default();
    assert!(
        evidence.contains("class=hot") && evidence.contains("class=cold"),
        "{evidence}"
    );

    // Other tags on the same version change nothing.
    source.tag("cold", &[("class", "hot")]).unwrap();
    source.tag("hot", &[]).unwrap();
    near.scan().await;
    assert_eq!(stand(&near).await, ["cold SKIPPED", "hot PENDING"]);
    // Other rules go by the tags of that time, for what waits as well.
    source.tag("cold", &[("class", "warm")]).unwrap();
    near.rules.send_replace(tagged("class", "warm"));
    until("the warm one alone is sent", async || {
        stand(&near).await == ["cold PENDING", "hot SKIPPED"]
    })
    .await;
    near.end().await;
}

#[tokio::test]
async fn a_delete_marker_goes_where_a_version_of_its_key_goes() {
    let temp = tempfile::tempdir().unwrap();
    let source = MemorySource::new();
    for key in ["cold", "hot", "keeps", "some", "of", "them"] {
        source.put(key, *b"x").unwrap();
    }
    source.tag("hot", &[("class", "hot")]).unwrap();
    let rules = tagged("class", "hot");
    let near = Near::begin(journal(temp.path()), Arc::new(source.clone()), rules).await;
    near.scan().await;
    for key in ["cold", "hot"] {
        source.remove(key).unwrap();
    }
    until("both markers", async || near.transfers().await.len() == 8).await;
    let found = stand(&near).await;
    for expected in ["cold marker SKIPPED", "hot marker PENDING"] {
        assert!(
            found.iter().any(|row| row == expected),
            "{expected}: {found:?}"
        );
    }
    near.end().await;
}

/// A source that does not tell tags, or lets nobody look at those of some keys.
#[derive(Debug)]
struct Untelling {
    inner: MemorySource,
    is_mute: AtomicBool,
    asked: AtomicUsize,
    hints: Mutex<Option<mpsc::Sender<Hint>>>,
}

#[async_trait]
impl Source for Untelling {
    async fn scan(&self, prefix: &str) -> Result<Box<dyn Scan>, StoreError> {
        self.inner.scan(prefix).await
    }

    async fn look(&self, key: &ObjectKey) -> Result<Option<Listed>, StoreError> {
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
        self.asked.fetch_add(versions.len(), Ordering::Relaxed);
        if self.is_mute.load(Ordering::Relaxed) {
            let away = |_| {
                Err(StoreError::SourceUnavailable {
                    path: "tags".to_owned(),
                    source: std::io::ErrorKind::TimedOut.into(),
                })
            };
            return versions.iter().map(away).collect();
        }
        let told = versions.iter().map(|(key, _)| match key.as_str() {
            "secret" => Err(StoreError::SourceDenied {
                path: key.to_string(),
                source: std::io::ErrorKind::PermissionDenied.into(),
            }),
            "gone" => Err(StoreError::SourceGone),
            _ => Ok(BTreeMap::from([("class".to_owned(), "hot".to_owned())])),
        });
        told.collect()
    }

    fn watch(&self) -> Result<Watch, StoreError> {
        let (sender, hints) = mpsc::channel(9);
        *self.hints.lock() = Some(sender);
        Ok(Watch { hints })
    }
}

#[tokio::test]
async fn what_nobody_tells_the_tags_of_is_never_recorded_as_going_nowhere() {
    let temp = tempfile::tempdir().unwrap();
    let source = MemorySource::new();
    for key in ["a", "gone", "secret", "z"] {
        source.put(key, *b"x").unwrap();
    }
    let source = Arc::new(Untelling {
        inner: source,
        is_mute: AtomicBool::new(true),
        asked: AtomicUsize::new(0),
        hints: Mutex::default(),
    });
    let rules = tagged("class", "hot");
    let near = Near::begin(journal(temp.path()), source.clone(), rules).await;
    until("it is said that tags are not told", async || {
        near.handle.status().reason == Some(Reason::SrcUnavailable)
    })
    .await;
    assert!(near.transfers().await.is_empty());
    let known = near.journal.known_counts(&near::bucket()).await.unwrap();
    assert_eq!(
        known.live, 0,
        "nothing is known of them, so the next scan finds them"
    );

    source.is_mute.store(false, Ordering::Relaxed);
    near.handle.scan();
    until("those that are told of", async || {
        near.transfers().await.len() == 2
    })
    .await;
    assert_eq!(stand(&near).await, ["a PENDING", "z PENDING"]);
    // What may not be looked at is named, and the others do not wait for it.
    near.scan().await;
    let named = near.journal.unsupported(&near::bucket()).await.unwrap();
    let [secret] = &named[..] else {
        panic!("{named:?}");
    };
    assert_eq!(
        (secret.name.as_str(), secret.reason),
        ("secret", Reason::SkippedUnreadable)
    );
    assert!(secret.evidence.contains("tags"), "{secret:?}");
    near.end().await;
}

#[tokio::test]
async fn who_tells_of_changed_tags_keeps_that_until_they_are_recorded() {
    let temp = tempfile::tempdir().unwrap();
    let source = MemorySource::new();
    source.put("k", *b"x").unwrap();
    let source = Arc::new(Untelling {
        inner: source,
        is_mute: AtomicBool::new(false),
        asked: AtomicUsize::new(0),
        hints: Mutex::default(),
    });
    let rules = near::rules(&[("all", "", "far")]);
    let near = Near::begin(journal(temp.path()), source.clone(), rules).await;
    near.scan().await;
    let hints = source.hints.lock().clone().unwrap();
    for (is_mute, is_recorded) in [(true, false), (false, true)] {
        source.is_mute.store(is_mute, Ordering::Relaxed);
        let (recorded, told) = Recorded::new();
        let key = ObjectKey::new("k").unwrap();
        for hint in [Hint::Tagged(key, None), Hint::Recorded(recorded)] {
            hints.send(hint).await.unwrap();
        }
        assert_eq!(told.is_told().await, is_recorded);
        let rows = near.transfers().await;
        let mut rows = rows.iter().map(|row| row.change.kind);
        assert_eq!(rows.any(|kind| kind == ChangeKind::Tags), is_recorded);
    }
    near.end().await;
}

#[tokio::test]
async fn tags_that_no_rule_sent_any_more_are_asked_for_again_when_one_does() {
    let temp = tempfile::tempdir().unwrap();
    let source = MemorySource::new();
    source.put("k", *b"x").unwrap();
    let source = Arc::new(Untelling {
        inner: source,
        is_mute: AtomicBool::new(false),
        asked: AtomicUsize::new(0),
        hints: Mutex::default(),
    });
    let all = near::rules(&[("all", "", "far")]);
    let near = Near::begin(journal(temp.path()), source.clone(), all.clone()).await;
    near.scan().await;
    near::complete(&*near.journal, near::versioned::now()).await;
    let hints = source.hints.lock().clone().unwrap();
    let key = ObjectKey::new("k").unwrap();
    hints.send(Hint::Tagged(key, None)).await.unwrap();
    let tags = async || {
        let rows = near.transfers().await;
        let tags = rows
            .iter()
            .filter(|row| row.change.kind == ChangeKind::Tags);
        tags.map(|row| row.status).collect::<Vec<_>>()
    };
    until("they are recorded", async || {
        tags().await == [Status::Pending]
    })
    .await;
    near.rules
        .send_replace(near::rules(&[("some", "zzz/", "far")]));
    until("they are left out", async || {
        tags().await == [Status::Skipped]
    })
    .await;
    near.rules.send_replace(all);
    until("they are recorded again", async || {
        tags().await == [Status::Skipped, Status::Pending]
    })
    .await;
    // Once: those that are there stand for the ones before.
    let same = near::rules(&[("all", "k", "far")]);
    near.rules.send_replace(same.clone());
    near.scan().await;
    assert_eq!(tags().await, [Status::Skipped, Status::Pending]);
    near::complete(&*near.journal, near::versioned::now()).await;
    // Those that change while no rule sends them are left out, and not forgotten.
    near.rules
        .send_replace(near::rules(&[("some", "zzz/", "far")]));
    near.scan().await;
    let key = ObjectKey::new("k").unwrap();
    hints.send(Hint::Tagged(key, None)).await.unwrap();
    let (skipped, completed) = (Status::Skipped, Status::Completed);
    until("they are on record", async || {
        tags().await == [skipped, completed, skipped]
    })
    .await;
    near.rules.send_replace(same);
    until("they go", async || {
        tags().await == [skipped, completed, skipped, Status::Pending]
    })
    .await;
    near.end().await;
}
