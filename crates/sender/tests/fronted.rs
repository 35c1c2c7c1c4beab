//! What is written through the endpoint, from its intent to its receipts.
#![allow(clippy::unwrap_used, reason = "a failure is what a test reports")]

mod near;

use std::sync::Arc;

use near::{Near, bucket, complete, journal, rules, until};
use sealift_host::OsClock;
use sealift_ledger::{Settlement, Touched, TransferOutcome};
use sealift_sender::{Became, Replicas};
use sealift_store::{Listed, MemorySource, Page, Scan, Source, SourceObject, StoreError, Watch};
use sealift_terms::{ChangeKind, Clock, ObjectKey, Reason, Timestamp, VersionId, limits};

/// More looks at keys than a test has.
const LOOKS: usize = 1_000_000;

/// A source that tells of nothing by itself, and whose listings come in a page from before and
/// one that is waited for.
#[derive(Debug)]
struct Still {
    inner: MemorySource,
    gate: Arc<tokio::sync::Semaphore>,
    /// A look at a key takes one of these.
    looks: Arc<tokio::sync::Semaphore>,
}

struct TwoPages {
    scan: Box<dyn Scan>,
    before: Option<Page>,
    gate: Arc<tokio::sync::Semaphore>,
}

#[async_trait::async_trait]
impl Scan for TwoPages {
    async fn page(&mut self, limit: usize) -> Result<Page, StoreError> {
        match self.before.take() {
            None => {
                self.before = Some(self.scan.page(limit).await?);
                Ok(Page::default())
            }
            Some(page) => {
                self.gate.acquire().await.unwrap().forget();
                Ok(page)
            }
        }
    }
}

#[async_trait::async_trait]
impl Source for Still {
    async fn scan(&self, prefix: &str) -> Result<Box<dyn Scan>, StoreError> {
        Ok(Box::new(TwoPages {
            scan: self.inner.scan(prefix).await?,
            before: None,
            gate: self.gate.clone(),
        }))
    }

    async fn look(&self, key: &ObjectKey) -> Result<Option<Listed>, StoreError> {
        self.looks.acquire().await.unwrap().forget();
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
        let (sender, hints) = tokio::sync::mpsc::channel(1);
        tokio::spawn(async move { sender.closed().await });
        Ok(Watch { hints })
    }
}

async fn still(temp: &std::path::Path, inner: &MemorySource) -> (Near, Still) {
    let gate = Arc::new(tokio::sync::Semaphore::new(0));
    let looks = Arc::new(tokio::sync::Semaphore::new(LOOKS));
    let source = || Still {
        inner: inner.clone(),
        gate: gate.clone(),
        looks: looks.clone(),
    };
    let rules = rules(&[("all", "", "far")]);
    let near = Near::begin(journal(temp), Arc::new(source()), rules).await;
    (near, source())
}

#[tokio::test]
async fn what_is_written_through_the_endpoint_is_recorded_at_once_and_once() {
    let temp = tempfile::tempdir().unwrap();
    let inner = MemorySource::new();
    let (near, source) = still(temp.path(), &inner).await;
    source.gate.add_permits(1);
    until("the first scan", async || {
        near.handle.status().scanned.is_some()
    })
    .await;
    let front = near.handle.front().unwrap().clone();
    let key = |text: &str| ObjectKey::new(text).unwrap();
    let intents = async || near.journal.intents(&bucket(), 0, 9).await.unwrap().len();
    let mut intended = front
        .intend(vec![key("k"), key("open")], Touched::Versions)
        .await
        .unwrap();
    assert_eq!((intents().await, near.transfers().await.len()), (2, 0));
    let open = intended.pop().unwrap();
    inner.put("k", *b"1").unwrap();
    let written = front.became(intended.pop().unwrap(), Became::Written(None));
    written.await.unwrap();
    assert_eq!((intents().await, near.transfers().await.len()), (1, 1));
    // While a listing is under way that has the version before this one.
    near.handle.scan();
    until("the scan waits", async || {
        source.gate.available_permits() == 0
    })
    .await;
    tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    let again = front
        .intend(vec![key("k")], Touched::Versions)
        .await
        .unwrap()
        .pop()
        .unwrap();
    inner.put("k", *b"2").unwrap();
    let written = front.became(again, Became::Unknown);
    let scanned = near.handle.status().scanned;
    source.gate.add_permits(1);
    written.await.unwrap();
    until("the scan ends", async || {
        near.handle.status().scanned != scanned
    })
    .await;
    let transfers = near.transfers().await;
    let versions: Vec<_> = transfers.iter().map(|t| t.change.order.change).collect();
    assert_eq!(versions.len(), 2, "{transfers:?}");
    // A write that is under way is nobody's to settle; one that was refused is forgotten.
    assert_eq!(intents().await, 1);
    front.became(open, Became::Nothing).await.unwrap();
    assert_eq!((intents().await, near.transfers().await.len()), (0, 2));
    // Removed on purpose: nothing is held, however much of the bucket it is.
    let gone = front
        .intend(vec![key("k")], Touched::Versions)
        .await
        .unwrap()
        .pop()
        .unwrap();
    inner.remove("k").unwrap();
    front.became(gone, Became::Written(None)).await.unwrap();
    assert_eq!(
        near.transfers().await[2].change.kind,
        ChangeKind::DeleteMarker
    );
    near.end().await;
}

#[tokio::test]
async fn an_intent_of_a_process_that_is_gone_is_settled_before_any_scan() {
    let temp = tempfile::tempdir().unwrap();
    let inner = MemorySource::new();
    let (near, source) = still(temp.path(), &inner).await;
    let keys = vec![
        ObjectKey::new("k").unwrap(),
        ObjectKey::new("never").unwrap(),
    ];
    near.handle
        .front()
        .unwrap()
        .intend(keys, Touched::Versions)
        .await
        .unwrap();
    inner.put("k", *b"1").unwrap();
    source.gate.add_permits(9);
    near.end().await;
    let (near, _held) = still(temp.path(), &inner).await;
    until("the key", async || near.transfers().await.len() == 1).await;
    until("nothing is left", async || {
        near.journal
            .intents(&bucket(), 0, 9)
            .await
            .unwrap()
            .is_empty()
    })
    .await;
    assert_eq!(
        near.handle.status().scanned,
        None,
        "its listing still waits"
    );
    drop(near);
}

#[tokio::test]
async fn a_write_is_waited_for_until_its_receipts_are_there_or_it_was_given_up() {
    let temp = tempfile::tempdir().unwrap();
    let inner = MemorySource::new();
    let (near, _source) = still(temp.path(), &inner).await;
    let front = near.handle.front().unwrap().clone();
    let key = ObjectKey::new("k").unwrap();
    let mut intended = front
        .intend(vec![key.clone()], Touched::Versions)
        .await
        .unwrap();
    let version = inner.put("k", *b"1").unwrap();
    let recorded = front.became(intended.pop().unwrap(), Became::Written(None));
    let became = Became::Written(Some(version));
    let short = std::time::Duration::from_millis(300);
    let told = front.wait(&key, &became, recorded, short).await.unwrap();
    let Replicas::Pending(told) = told else {
        panic!("nobody has it");
    };
    assert!(told.contains("PENDING to far"), "{told}");
    let transfers = near.transfers().await;
    let settle = |outcome| Settlement {
        id: transfers[0].id,
        at: Timestamp::from_secs(1),
        outcome,
    };
    let failed = settle(TransferOutcome::Failed {
        reason: Reason::PolicyDenied,
        evidence: "no".to_owned(),
    });
    near.journal.settle(vec![failed]).await.unwrap();
    let (recorded, told) = tokio::sync::oneshot::channel();
    recorded.send(()).unwrap();
    let long = std::time::Duration::from_secs(3600);
    let told = front.wait(&key, &became, told, long).await.unwrap();
    assert!(matches!(told, Replicas::Pending(told) if told.contains("FAILED")));
    // What a rule covers and nobody recorded is not there; of tags there may be none to send,
    // and of what no rule covers nothing is waited for.
    let other = VersionId::new("other").unwrap();
    for (became, is_durable) in [
        (Became::Written(Some(other.clone())), [false, true]),
        (Became::Tagged(Some(other)), [true, true]),
    ] {
        for (covers, is_durable) in [("", is_durable[0]), ("elsewhere/", is_durable[1])] {
            near.rules.send_replace(rules(&[("all", covers, "far")]));
            let (recorded, told) = tokio::sync::oneshot::channel();
            recorded.send(()).unwrap();
            let told = front.wait(&key, &became, told, long).await.unwrap();
            assert_eq!(
                told == Replicas::Durable,
                is_durable,
                "{became:?}: {told:?}"
            );
        }
    }
    drop(near);
}

#[tokio::test]
async fn what_there_is_no_room_for_is_found_in_the_journal_and_too_much_is_refused() {
    let temp = tempfile::tempdir().unwrap();
    let inner = MemorySource::new();
    let (near, source) = still(temp.path(), &inner).await;
    let front = near.handle.front().unwrap().clone();
    let key = ObjectKey::new("k").unwrap();
    let too_many = vec![key.clone(); limits::FRONT_INTENTS_MAX as usize + 1];
    let refused = front.intend(too_many, Touched::Versions).await.unwrap_err();
    assert!(refused.to_string().contains("1000000"), "{refused}");
    // The task waits for a listing: nobody takes what became of these.
    let more = limits::FRONT_QUEUED_MAX + 1;
    let intended = front
        .intend(vec![key; more], Touched::Versions)
        .await
        .unwrap();
    inner.put("k", *b"1").unwrap();
    let mut told: Vec<_> = intended
        .into_iter()
        .map(|one| front.became(one, Became::Written(None)))
        .collect();
    assert!(
        told.pop().unwrap().await.is_err(),
        "there was no room for it"
    );
    source.gate.add_permits(9);
    for one in told {
        one.await.unwrap();
    }
    until("nothing is left", async || {
        near.journal
            .intents(&bucket(), 0, 9)
            .await
            .unwrap()
            .is_empty()
    })
    .await;
    assert_eq!(near.transfers().await.len(), 1);
    near.end().await;
}

#[tokio::test]
async fn how_a_version_stands_is_told_from_before_it_is_recorded_on() {
    let temp = tempfile::tempdir().unwrap();
    let inner = MemorySource::new();
    let gate = Arc::new(tokio::sync::Semaphore::new(1));
    let source = Still {
        inner: inner.clone(),
        gate: gate.clone(),
        looks: Arc::new(tokio::sync::Semaphore::new(LOOKS)),
    };
    let rules = rules(&[("some", "in/", "far")]);
    let near = Near::begin(journal(temp.path()), Arc::new(source), rules).await;
    until("the first scan", async || {
        near.handle.status().scanned.is_some()
    })
    .await;
    let front = near.handle.front().unwrap().clone();
    let key = |text: &str| ObjectKey::new(text).unwrap();
    let (inside, outside) = (key("in/k"), key("out/k"));
    let standing = async |key, version, is_latest| {
        let told = front.standing(key, version, is_latest).await.unwrap();
        told.map_or("none", sealift_terms::Status::as_str)
    };
    let version = inner.put("in/k", *b"1").unwrap();
    // It is there, and the journal knows nothing of it but that it may be written.
    assert_eq!(standing(&inside, Some(&version), false).await, "none");
    assert_eq!(standing(&inside, Some(&version), true).await, "PENDING");
    assert_eq!(standing(&outside, None, true).await, "none");
    let both = vec![inside.clone(), outside.clone()];
    let mut intended = front.intend(both, Touched::Versions).await.unwrap();
    assert_eq!(standing(&inside, Some(&version), false).await, "PENDING");
    let outer = inner.put("out/k", *b"2").unwrap();
    assert_eq!(standing(&outside, Some(&outer), false).await, "none");
    while let Some(one) = intended.pop() {
        front.became(one, Became::Written(None)).await.unwrap();
    }
    for (key, version, told) in [(&inside, &version, "PENDING"), (&outside, &outer, "none")] {
        assert_eq!(standing(key, Some(version), true).await, told);
        assert_eq!(standing(key, Some(version), false).await, told);
    }
    let failed = Settlement {
        id: near.transfers().await[0].id,
        at: Timestamp::from_secs(1),
        outcome: TransferOutcome::Failed {
            reason: Reason::PolicyDenied,
            evidence: "no".to_owned(),
        },
    };
    near.journal.settle(vec![failed]).await.unwrap();
    assert_eq!(standing(&inside, Some(&version), true).await, "FAILED");
    // An older one that the journal has nothing of.
    let other = VersionId::new("other").unwrap();
    assert_eq!(standing(&inside, Some(&other), false).await, "none");
    near.end().await;
}

#[tokio::test]
async fn a_version_is_not_completed_while_its_tags_may_be_others() {
    let temp = tempfile::tempdir().unwrap();
    let source = MemorySource::new();
    let version = source.put("k", *b"1").unwrap();
    let all = rules(&[("all", "", "far")]);
    let near = Near::begin(journal(temp.path()), Arc::new(source.clone()), all).await;
    near.scan().await;
    complete(&*near.journal, OsClock.now()).await;
    let front = near.handle.front().unwrap().clone();
    let key = ObjectKey::new("k").unwrap();
    let standing = async || {
        let told = front.standing(&key, Some(&version), true).await.unwrap();
        told.unwrap().as_str()
    };
    assert_eq!(standing().await, "COMPLETED");
    let other = VersionId::new("other").unwrap();
    for (touched, told) in [
        (Touched::Versions, "COMPLETED"),
        (Touched::Tags(Some(other)), "COMPLETED"),
        (Touched::Tags(Some(version.clone())), "PENDING"),
        (Touched::Tags(None), "PENDING"),
    ] {
        let intended = front.intend(vec![key.clone()], touched).await.unwrap();
        assert_eq!(standing().await, told, "{intended:?}");
        for one in intended {
            front.became(one, Became::Nothing).await.unwrap();
        }
        assert_eq!(standing().await, "COMPLETED");
    }
    // From the write of tags to their receipt.
    source.tag("k", &[("t", "1")]).unwrap();
    let tags = Touched::Tags(None);
    for one in front.intend(vec![key.clone()], tags).await.unwrap() {
        front.became(one, Became::Tagged(None)).await.unwrap();
    }
    assert_eq!(near.transfers().await.len(), 2);
    assert_eq!(standing().await, "PENDING");
    complete(&*near.journal, OsClock.now()).await;
    assert_eq!(standing().await, "COMPLETED");
    // More writes than are looked at: tags of it may be among them.
    let many = vec![ObjectKey::new("other").unwrap(); limits::FRONT_INTENTS_SEEN_MAX];
    let many = front.intend(many, Touched::Versions).await.unwrap();
    assert_eq!(standing().await, "PENDING");
    for one in many.into_iter().take(1) {
        front.became(one, Became::Nothing).await.unwrap();
    }
    assert_eq!(standing().await, "COMPLETED");
    near.end().await;
}

#[tokio::test]
async fn a_write_does_not_wait_behind_a_backfill_and_goes_before_what_that_has_found() {
    let temp = tempfile::tempdir().unwrap();
    let inner = MemorySource::new();
    // More than one page of the backfill.
    for number in 0..600 {
        inner.put(&format!("k{number:03}"), *b"x").unwrap();
    }
    let (near, source) = still(temp.path(), &inner).await;
    source.gate.add_permits(1);
    until("the first scan", async || {
        near.handle.status().scanned.is_some()
    })
    .await;
    // Its first page comes to its last key, and waits there.
    source.looks.forget_permits(LOOKS);
    source.looks.add_permits(499);
    near.rules
        .send_replace(rules(&[("all", "", "far"), ("more", "", "further")]));
    source.gate.add_permits(1);
    until("the backfill waits", async || {
        source.looks.available_permits() == 0
    })
    .await;
    let front = near.handle.front().unwrap().clone();
    let keys = vec![ObjectKey::new("written").unwrap()];
    let intended = front
        .intend(keys, Touched::Versions)
        .await
        .unwrap()
        .pop()
        .unwrap();
    inner.put("written", *b"w").unwrap();
    let written = front.became(intended, Became::Written(None));
    source.looks.add_permits(2);
    written.await.unwrap();
    assert_eq!(source.looks.available_permits(), 0, "the backfill goes on");
    let further = sealift_terms::PeerName::new("further").unwrap();
    let far_future = Timestamp::from_secs(1 << 40);
    for peer in [near::peer(), further] {
        let first = near.journal.lease(&peer, 1, far_future).await.unwrap();
        assert_eq!(first[0].change.name.key.as_str(), "written", "{peer}");
    }
    source.looks.add_permits(LOOKS);
    until("the backfill ends", async || {
        near.transfers().await.len() == 2 * 601
    })
    .await;
    near.end().await;
}
