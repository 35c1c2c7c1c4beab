//! How transfers reach a peer, property by property.
#![allow(clippy::unwrap_used, reason = "a failure is what a test reports")]

mod far;
mod late;
mod near;
mod site;

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use far::{Deed, Far};
use late::Late;
use near::{all, bucket, journal, peer, rules, until, with_status};
use parking_lot::Mutex;
use sealift_host::OsClock;
use sealift_ledger::{Destination, NewChange, Requeue, Settlement, Skip, TransferOutcome};
use sealift_store::{Listed, MemorySource, Scan, Source, SourceObject, StoreError, Watch};
use sealift_terms::{
    Change, ChangeKind, Clock, Epoch, ObjectFacts, ObjectKey, Order, PartSize, Reason, Status,
    Timestamp, VersionId, VersionName, limits,
};
use sealift_tunnel::Timetable;
use sealift_wire::{Cuts, Offer, Refusal};
use site::{Site, content, takes_all};
use tokio::time::timeout;

#[tokio::test(flavor = "multi_thread")]
async fn objects_of_every_size_and_delete_markers_arrive_and_are_completed_on_receipt() {
    let site = Site::new().await;
    let part = PartSize::MIN.bytes() as usize;
    let sizes = [
        0,
        1,
        4096,
        part - 1,
        part,
        part + 1,
        3 * part,
        20 * part + 17,
        3 << 20,
    ];
    for (i, size) in sizes.into_iter().enumerate() {
        site.source.put(&format!("k{i}"), content(size)).unwrap();
    }
    for i in 0..500 {
        site.source.put(&format!("small/{i}"), content(i)).unwrap();
    }
    let far = takes_all();
    let running = site.run(&far);
    site.completed(sizes.len() + 500).await;
    for (i, size) in sizes.into_iter().enumerate() {
        assert_eq!(
            far.store.lock().objects[&format!("k{i}")],
            content(size),
            "{size} bytes"
        );
    }
    assert_eq!(far.store.lock().objects["small/77"], content(77));
    site.source.remove("k3").unwrap();
    site.completed(sizes.len() + 501).await;
    assert!(!far.store.lock().objects.contains_key("k3"));
    let receipts = all(site.journal()).await;
    assert!(
        receipts
            .iter()
            .all(|t| t.receipt.as_ref().is_some_and(|r| r.name == t.change.name))
    );
    // They are written down as done before they are counted.
    until("all are counted", async || {
        let status = site.sender.status();
        (status.objects, status.under_way) == (510, 0)
    })
    .await;
    assert!(site.sender.status().connected);
    running.end().await;
    assert!(!site.sender.status().connected);
}

#[tokio::test(flavor = "multi_thread")]
async fn refusals_wait_fail_or_are_skipped_as_their_reason_says() {
    let site = Site::new().await;
    for key in ["pending", "failed", "fine"] {
        site.source.put(key, content(10)).unwrap();
    }
    let far = Far::new(|offer: &Offer| match offer.change.name.key.as_str() {
        "pending" => Deed::Refuse(Refusal::new(Reason::DstStoreFull, "no room")),
        "failed" => Deed::Refuse(Refusal::new(Reason::PolicyDenied, "no grant")),
        _ => Deed::Take,
    });
    let running = site.run(&far);
    site.completed(1).await;
    until("the refusals", async || {
        all(site.journal())
            .await
            .iter()
            .filter(|t| t.reason.is_some())
            .count()
            == 2
    })
    .await;
    let before = OsClock.now();
    for transfer in all(site.journal()).await {
        let found = (
            transfer.status,
            transfer.reason,
            transfer.evidence.as_deref(),
        );
        match transfer.change.name.key.as_str() {
            "pending" => {
                let expected = (Status::Pending, Some(Reason::DstStoreFull), Some("no room"));
                assert_eq!(found, expected);
                assert!(transfer.next_try.since(before) <= Duration::from_secs(8));
                assert!(transfer.attempts >= 1);
            }
            "failed" => {
                let expected = (Status::Failed, Some(Reason::PolicyDenied), Some("no grant"));
                assert_eq!(found, expected);
            }
            _ => assert_eq!(found.0, Status::Completed),
        }
    }
    // Not forgotten: it is tried again by itself.
    until("a second try", async || {
        all(site.journal())
            .await
            .iter()
            .any(|transfer| transfer.attempts >= 2)
    })
    .await;
    running.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receipt_that_differs_from_what_was_sent_is_not_believed() {
    let site = Site::new().await;
    site.source.put("k", content(10)).unwrap();
    let far = Far::new(|_: &Offer| Deed::WrongSize);
    let running = site.run(&far);
    until("three readings", async || {
        with_status(site.journal(), Status::Failed).await == 1
    })
    .await;
    let transfer = &all(site.journal()).await[0];
    assert_eq!(transfer.reason, Some(Reason::ChecksumMismatch));
    assert!(transfer.evidence.as_ref().unwrap().contains("11"));
    running.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receipt_for_a_large_object_of_which_nothing_was_sent_is_held_against_the_source() {
    let site = Site::new().await;
    let large = 3 * PartSize::MIN.bytes() as usize + 7;
    site.source.put("k", content(large)).unwrap();
    let far = takes_all();
    let running = site.run(&far);
    site.completed(1).await;
    running.end().await;
    let sent = far.store.lock().parts_stored;
    let again = Requeue::CompletedAfter {
        peer: peer(),
        sequence: 0,
    };
    // The peer has it: nothing is sent, and the receipt is for what is here.
    site.journal()
        .requeue(again.clone(), OsClock.now())
        .await
        .unwrap();
    let running = site.run(&far);
    site.completed(1).await;
    running.end().await;
    assert_eq!(far.store.lock().parts_stored, sent);
    // The peer says that it has it, with a checksum that fits nothing.
    let other = "sha256:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
    for receipt in far.store.lock().receipts.values_mut() {
        receipt.checksum = Some(other.parse().unwrap());
    }
    site.journal().requeue(again, OsClock.now()).await.unwrap();
    let running = site.run(&far);
    until("three readings", async || {
        with_status(site.journal(), Status::Failed).await == 1
    })
    .await;
    let transfer = &all(site.journal()).await[0];
    assert_eq!(transfer.reason, Some(Reason::ChecksumMismatch));
    assert!(transfer.evidence.as_ref().unwrap().contains("sha256"));
    running.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_while_it_is_sent_is_superseded_by_the_new_version() {
    let site = Site::new().await;
    let part = PartSize::MIN.bytes() as usize;
    site.source.put("k", content(10 * part)).unwrap();
    let (source, once) = (site.source.clone(), std::sync::Once::new());
    // It changes when it is offered: after it was opened, before it is whole.
    let far = Far::new(move |_: &Offer| {
        once.call_once(|| drop(source.put("k", content(11 * part)).unwrap()));
        Deed::Take
    });
    let running = site.run(&far);
    site.completed(1).await;
    until("the first is given up", async || {
        with_status(site.journal(), Status::Skipped).await == 1
    })
    .await;
    let transfers = all(site.journal()).await;
    assert_eq!(transfers.len(), 2);
    assert_eq!(transfers[0].reason, Some(Reason::SrcObjectChanged));
    assert_eq!(far.store.lock().objects["k"], content(11 * part));
    running.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_link_costs_the_parts_on_it_and_nothing_else() {
    let site = Site::new().await;
    let part = PartSize::MIN.bytes() as usize;
    site.source.put("k", content(100 * part)).unwrap();
    let far = Far {
        cut_after_parts: Some(40),
        ..takes_all()
    };
    let running = site.run(&far);
    site.completed(1).await;
    {
        let store = far.store.lock();
        assert_eq!(store.objects["k"], content(100 * part));
        assert!(
            store.parts_stored <= 101 + 4,
            "{} parts for 101",
            store.parts_stored
        );
    }
    running.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_part_that_its_link_was_lost_in_is_not_sent_from_its_beginning() {
    let site = Site::new().await;
    let part = PartSize::MIN.bytes() as usize;
    site.source.put("k", content(10 * part)).unwrap();
    let far = Far {
        cut_within_part: Some(part / 2),
        ..takes_all()
    };
    let running = site.run(&far);
    site.completed(1).await;
    assert_eq!(far.store.lock().objects["k"], content(10 * part));
    running.end().await;
    let status = site.sender.status();
    assert!(status.bytes_continued >= part as u64 / 2, "{status:?}");
    assert!(status.parts_interrupted >= 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn objects_are_cut_as_the_peer_lets_them_be_and_as_configured_for_one_that_does_not_say() {
    let size = 5 << 20;
    for (cuts, expected) in [
        (None, PartSize::MIN.bytes()),
        (Some(Cuts::default()), PartSize::MIN.bytes()),
        (
            Some(Cuts {
                part_bytes_min: 1 << 20,
                ..Cuts::default()
            }),
            1 << 20,
        ),
    ] {
        let site = Site::new().await;
        site.source.put("k", content(size)).unwrap();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let of_script = seen.clone();
        let far = Far::new(move |what| {
            of_script.lock().push(what.part_size.bytes());
            Deed::Take
        });
        let far = Far { cuts, ..far };
        let running = site.run(&far);
        site.completed(1).await;
        running.end().await;
        assert!(
            seen.lock().iter().all(|bytes| *bytes == expected),
            "{seen:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_ends_gives_its_work_back_and_the_next_goes_on_per_part() {
    let site = Site::new().await;
    let part = PartSize::MIN.bytes() as usize;
    site.source.put("big", content(1000 * part)).unwrap();
    let far = takes_all();
    let running = site.run(&far);
    until("some parts", async || far.store.lock().parts_stored > 20).await;
    running.far.abort();
    running.near.await.unwrap().unwrap();
    let stored = far.store.lock().parts_stored;
    assert_eq!(with_status(site.journal(), Status::Pending).await, 1);
    let running = site.run(&far);
    site.completed(1).await;
    assert!(
        far.store.lock().parts_stored <= 1001 + 4,
        "{stored} before the second session"
    );
    assert!(site.sender.status().parts_resumed + 4 >= stored);
    running.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_leased_while_a_session_ends_is_given_back() {
    let temp = tempfile::tempdir().unwrap();
    let late = Arc::new(Late::new(journal(temp.path())));
    let site = Site::over(temp, late.clone(), |source| Arc::new(source)).await;
    site.source.put("k", content(10)).unwrap();
    until("its transfer", async || {
        all(site.journal()).await.len() == 1
    })
    .await;
    let far = takes_all();
    let running = site.run(&far);
    late.leased.notified().await;
    running.far.abort();
    running.near.await.unwrap().unwrap();
    late.answers.notify_one();
    // Nothing but another session has to come.
    let running = site.run(&far);
    site.completed(1).await;
    running.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_that_gets_no_answer_holds_up_no_other() {
    let site = Site::new().await;
    let part = PartSize::MIN.bytes() as usize;
    site.source.put("a-stuck-large", content(9 * part)).unwrap();
    site.source.put("a-stuck-small", content(9)).unwrap();
    for i in 0..50 {
        site.source
            .put(&format!("b{i}"), content(i * 5000))
            .unwrap();
    }
    let far = Far::new(|offer: &Offer| {
        if offer.change.name.key.as_str().starts_with("a-") {
            Deed::Silence
        } else {
            Deed::Take
        }
    });
    let running = site.run(&far);
    site.completed(50).await;
    // They are written down as done before they are forgotten.
    until("only they are under way", async || {
        site.sender.status().under_way == 2
    })
    .await;
    assert_eq!(
        site.sender.status().current[0].key.as_str(),
        "a-stuck-large"
    );
    running.near.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_that_is_gone_from_the_source_fails_with_its_reason() {
    let site = Site::new().await;
    site.source.put("k", content(10)).unwrap();
    until("its transfer", async || {
        all(site.journal()).await.len() == 1
    })
    .await;
    site.source.remove("k").unwrap();
    let running = site.run(&takes_all());
    until("its end", async || {
        all(site.journal()).await[0].reason == Some(Reason::SrcObjectGone)
    })
    .await;
    running.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_comes_back_with_an_older_copy_is_refilled_and_it_is_on_record() {
    let site = Site::new().await;
    for i in 0..10 {
        site.source.put(&format!("k{i}"), content(10)).unwrap();
    }
    let far = takes_all();
    let running = site.run(&far);
    site.completed(10).await;
    running.end().await;
    // A snapshot of when the first five were there.
    {
        let mut store = far.store.lock();
        store.sequence = 5;
        store.receipts.retain(|_, receipt| receipt.sequence <= 5);
        let order: Vec<String> = store.order.drain(5..).collect();
        order.iter().for_each(|key| drop(store.objects.remove(key)));
        store.inline = 0;
    }
    let running = site.run(&far);
    until("the refill", async || far.store.lock().objects.len() == 10).await;
    site.completed(10).await;
    assert_eq!(
        far.store.lock().parts_stored,
        5,
        "they were asked for first, and only what was lost was sent"
    );
    running.end().await;
    let kinds: Vec<_> = site
        .audit
        .0
        .lock()
        .iter()
        .map(|record| record.kind.as_str())
        .collect();
    assert_eq!(kinds, ["replica.rolled_back"]);
    // A new epoch may have lost anything: all are offered, none is sent.
    let far = Far {
        epoch: Epoch([8; 16]),
        ..far
    };
    let running = site.run(&far);
    until("the second record", async || site.audit.0.lock().len() == 2).await;
    site.completed(10).await;
    assert_eq!(far.store.lock().parts_stored, 5);
    running.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_finds_itself_behind_in_the_middle_of_a_session_is_refilled() {
    let site = Site::new().await;
    for i in 0..6 {
        site.source.put(&format!("k{i}"), content(10)).unwrap();
    }
    let far = takes_all();
    let running = site.run(&far);
    site.completed(6).await;
    // Its HELLO told nothing: others have brought its sequence as far as before.
    let lost = {
        let mut store = far.store.lock();
        let lost: Vec<String> = store.order.drain(3..).collect();
        for key in &lost {
            store.objects.remove(key);
        }
        store.receipts.retain(|_, receipt| receipt.sequence <= 3);
        lost
    };
    assert_eq!(lost.len(), 3);
    assert!(site.audit.0.lock().is_empty());
    site.sender.peer_renewed(Epoch([9; 16])).await.unwrap();
    until("the refill", async || far.store.lock().objects.len() == 6).await;
    site.completed(6).await;
    let remembered = site.journal().peer(&peer()).await.unwrap().unwrap();
    assert_eq!(remembered.epoch, Epoch([9; 16]));
    let kinds: Vec<_> = {
        let records = site.audit.0.lock();
        records.iter().map(|record| record.kind.as_str()).collect()
    };
    assert_eq!(kinds, ["replica.rolled_back"]);
    running.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_queued_again_is_asked_about_before_it_is_sent() {
    let site = Site::new().await;
    site.source.put("k", content(10)).unwrap();
    let far = takes_all();
    let running = site.run(&far);
    site.completed(1).await;
    running.end().await;
    let which = Requeue::CompletedAfter {
        peer: peer(),
        sequence: 0,
    };
    site.journal().requeue(which, OsClock.now()).await.unwrap();
    assert_eq!(with_status(site.journal(), Status::Pending).await, 1);
    let running = site.run(&far);
    site.completed(1).await;
    {
        let store = far.store.lock();
        assert_eq!(
            (store.inline, store.parts_stored),
            (1, 0),
            "answered with the receipt, no data"
        );
    }
    running.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_gone_from_the_source_fails_only_if_the_peer_has_it_no_more() {
    let site = Site::new().await;
    let keys = ["small", "large", "replaced", "lost"];
    for key in keys {
        let size = if key == "large" { 3 << 20 } else { 10 };
        site.source.put(key, content(size)).unwrap();
    }
    let far = takes_all();
    let running = site.run(&far);
    site.completed(4).await;
    running.end().await;
    // Without the delete markers, which come as soon as they are seen.
    let first: Vec<_> = all(site.journal()).await;
    for key in ["small", "large", "lost"] {
        site.source.remove(key).unwrap();
    }
    {
        let mut store = far.store.lock();
        store.objects.remove("lost");
        store
            .receipts
            .retain(|_, receipt| receipt.name.key.as_str() != "lost");
        store.order.retain(|key| key != "lost");
    }
    site.source.put("replaced", content(11)).unwrap();
    let which = Requeue::CompletedAfter {
        peer: peer(),
        sequence: 0,
    };
    site.journal().requeue(which, OsClock.now()).await.unwrap();
    let running = site.run(&far);
    until("their end", async || {
        let now = all(site.journal()).await;
        first.iter().all(|transfer| {
            let now = now.iter().find(|now| now.id == transfer.id).unwrap();
            match transfer.change.name.key.as_str() {
                "lost" => now.reason == Some(Reason::SrcObjectGone),
                _ => now.status == Status::Completed,
            }
        })
    })
    .await;
    running.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_question_outside_of_any_offer_is_answered() {
    let site = Site::new().await;
    assert_eq!(site.sender.ask(b"abc").await, None, "nobody is there");
    let running = site.run(&takes_all());
    until("the answer", async || {
        site.sender.ask(b"abc").await == Some(b"cba".to_vec())
    })
    .await;
    running.end().await;
}

/// Runs a session that ends by itself in the middle of an object, then another.
async fn ends_in_the_middle_and_goes_on(mut first: Far, limit: Timetable) {
    let site = Site::new().await;
    let part = PartSize::MIN.bytes() as usize;
    site.pace.set(limit);
    site.source.put("k", content(400 * part)).unwrap();
    let running = site.run(&first);
    let ended = timeout(Duration::from_secs(60), running.near).await; // by itself
    ended.unwrap().unwrap().unwrap();
    assert!(OsClock.now() < first.ends, "in time");
    let (stored, closed) = {
        let store = first.store.lock();
        (store.parts_stored, store.closed.len())
    };
    assert!((20..=400).contains(&stored), "{stored} parts");
    assert_eq!(closed, 3, "each link is closed in order");
    site.pace.set(Timetable::default());
    (first.ends, first.drain_after_parts) = (takes_all().ends, None);
    let running = site.run(&first);
    site.completed(1).await;
    assert_eq!(
        first.store.lock().parts_stored,
        401,
        "nothing is sent twice"
    );
    assert_eq!(all(site.journal()).await[0].attempts, 0, "nothing failed");
    running.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_ends_in_order_before_its_certificates_do_and_the_next_goes_on_from_there() {
    let mut far = takes_all();
    // It ends with a third of that left.
    far.ends = OsClock.now().plus(Duration::from_secs(18));
    let limit = Timetable::new(Some(3 << 19), &[]).unwrap();
    ends_in_the_middle_and_goes_on(far, limit).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_ends_in_order_when_the_peer_asks_for_it_and_the_next_goes_on_from_there() {
    let mut far = takes_all();
    far.drain_after_parts = Some(20);
    let limit = Timetable::new(Some(16 << 20), &[]).unwrap();
    ends_in_the_middle_and_goes_on(far, limit).await;
}

/// A source whose objects of one name are read slowly.
#[derive(Debug)]
struct Slow(MemorySource);

#[async_trait::async_trait]
impl Source for Slow {
    async fn scan(&self, prefix: &str) -> Result<Box<dyn Scan>, StoreError> {
        self.0.scan(prefix).await
    }

    async fn look(&self, key: &ObjectKey) -> Result<Option<Listed>, StoreError> {
        self.0.look(key).await
    }

    async fn open(
        &self,
        key: &ObjectKey,
        version: &VersionId,
    ) -> Result<Arc<dyn SourceObject>, StoreError> {
        if key.as_str().starts_with("denied") {
            return Err(StoreError::SourceDenied {
                path: key.to_string(),
                source: std::io::ErrorKind::PermissionDenied.into(),
            });
        }
        let object = self.0.open(key, version).await?;
        let is_slow = key.as_str().starts_with("slow");
        Ok(if is_slow {
            Arc::new(SlowObject(object))
        } else {
            object
        })
    }

    fn watch(&self) -> Result<Watch, StoreError> {
        self.0.watch()
    }
}

#[derive(Debug)]
struct SlowObject(Arc<dyn SourceObject>);

#[async_trait::async_trait]
impl SourceObject for SlowObject {
    fn facts(&self) -> &ObjectFacts {
        self.0.facts()
    }

    async fn read_exact_at(&self, _bytes: &mut [u8], _offset: u64) -> Result<(), StoreError> {
        std::future::pending().await
    }

    async fn finish(&self) -> Result<(), StoreError> {
        self.0.finish().await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_that_is_read_slowly_holds_up_no_other() {
    let part = PartSize::MIN.bytes() as usize;
    let site = Site::with(|source| Arc::new(Slow(source))).await;
    // One part: it never fills the places for parts of both links.
    site.source.put("slow-large", content(part)).unwrap();
    site.source.put("slow-small", content(9)).unwrap();
    for i in 0..30 {
        site.source
            .put(&format!("z{i}"), content(i * 10_000))
            .unwrap();
    }
    let running = site.run(&takes_all());
    site.completed(30).await;
    running.near.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_on_its_way_and_no_rule_sends_any_more_is_withdrawn() {
    let site = Site::with(|source| Arc::new(Slow(source))).await;
    let part = PartSize::MIN.bytes() as usize;
    site.source.put("slow-large", content(9 * part)).unwrap();
    let running = site.run(&takes_all());
    until("it is on its way", async || {
        site.sender.status().current.len() == 1
    })
    .await;
    site.near
        .rules
        .send_replace(rules(&[("other", "zzz/", "far")]));
    until("it is withdrawn", async || {
        site.sender.status().under_way == 0
    })
    .await;
    let rows = all(site.journal()).await;
    assert_eq!(
        (rows[0].status, rows[0].reason),
        (Status::Skipped, Some(Reason::SkippedFiltered))
    );
    running.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_that_may_not_be_read_waits_and_says_so() {
    let site = Site::with(|source| Arc::new(Slow(source))).await;
    site.source.put("denied", content(9)).unwrap();
    site.source.put("other", content(9)).unwrap();
    let running = site.run(&takes_all());
    site.completed(1).await;
    near::until("it is put off", async || {
        let transfers = site.near.transfers().await;
        transfers.iter().any(|transfer| {
            transfer.status == Status::Pending && transfer.reason == Some(Reason::SrcGetDenied)
        })
    })
    .await;
    running.near.abort();
}

/// Tags of a version of a key, to the far side, as they are recorded.
fn tags_of(name: VersionName, number: u64) -> NewChange {
    let change = Change {
        name,
        order: Order {
            clock: u64::MAX >> 2,
            region: "a".parse().unwrap(),
            change: number,
        },
        kind: ChangeKind::Tags,
        facts: ObjectFacts::default(),
    };
    NewChange {
        change,
        destinations: vec![Destination {
            rule: "all".parse().unwrap(),
            peer: peer(),
            skip: None,
        }],
        held_until: None,
        ahead: false,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_lacks_the_version_of_tags_is_sent_it_whole_and_nothing_goes_round_for_ever() {
    let site = Site::new().await;
    let keys = ["lost", "refused", "waits"];
    for key in keys {
        site.source.put(key, content(10)).unwrap();
    }
    until("all are recorded", async || {
        all(site.journal()).await.len() == keys.len()
    })
    .await;
    // Long ago one was taken and one refused; of another there is no row.
    let now = OsClock.now();
    let rows = site.journal().lease(&peer(), 9, now).await.unwrap();
    let of = |key: &str| {
        let row = rows.iter().find(|row| row.change.name.key.as_str() == key);
        row.unwrap().clone()
    };
    near::settle(site.journal(), &[of("lost")], now).await;
    let given_up = Settlement {
        id: of("refused").id,
        at: now,
        outcome: TransferOutcome::Failed {
            reason: Reason::PolicyDenied,
            evidence: "no grant".to_owned(),
        },
    };
    site.journal().settle(vec![given_up]).await.unwrap();
    site.journal().release(&[of("waits").id]);
    let gone = VersionName {
        version: VersionId::new("gone").unwrap(),
        ..of("lost").change.name
    };
    let names = keys.map(|key| of(key).change.name).into_iter();
    let tags = (1..).zip(names.chain([gone.clone()]));
    let tags = tags.map(|(n, name)| tags_of(name, n)).collect();
    site.journal().record(tags, now).await.unwrap();

    // It lacks all of them: it takes tags of what it has alone.
    let far = Far::new(|offer: &Offer| match offer.change.kind {
        ChangeKind::Tags => Deed::Refuse(Refusal::new(Reason::DstObjectDamaged, "not here")),
        _ if offer.change.name.key.as_str() == "waits" => {
            Deed::Refuse(Refusal::new(Reason::DstStoreFull, "no room"))
        }
        _ => Deed::Take,
    });
    let running = site.run(&far);
    site.completed(2).await;
    assert!(far.store.lock().objects.contains_key("lost"));
    until(
        "every outcome of a version has one for its tags",
        async || {
            let rows = all(site.journal()).await;
            let stands = |key: &str, version: Option<&VersionId>, kind: ChangeKind| {
                let row = rows.iter().find(|row| {
                    let name = &row.change.name;
                    let is_version = version.is_none_or(|version| name.version == *version);
                    let is_gone = name.version == gone.version;
                    name.key.as_str() == key
                        && is_version
                        && is_gone == version.is_some()
                        && row.change.kind == kind
                });
                row.map(|row| (row.status, row.reason))
            };
            let (failed, pending) = (Status::Failed, Status::Pending);
            stands("lost", None, ChangeKind::Tags) == Some((Status::Completed, None))
                && stands("refused", None, ChangeKind::Tags)
                    == Some((failed, Some(Reason::PolicyDenied)))
                && stands("lost", Some(&gone.version), ChangeKind::Tags)
                    == Some((failed, Some(Reason::SrcObjectGone)))
                && stands("waits", None, ChangeKind::Tags)
                    == Some((pending, Some(Reason::DstObjectDamaged)))
                && stands("waits", None, ChangeKind::Put)
                    == Some((pending, Some(Reason::DstStoreFull)))
        },
    )
    .await;
    running.end().await;
}

/// Of regions that write the same bucket one may hear of tags before the version is there.
#[tokio::test(flavor = "multi_thread")]
async fn tags_of_a_replica_wait_until_another_region_has_sent_it_and_not_for_ever() {
    let site = Site::new().await;
    let version = |key: &str| VersionName {
        bucket: bucket(),
        key: ObjectKey::new(key).unwrap(),
        version: VersionId::new("v").unwrap(),
    };
    let now = OsClock.now();
    let record = async |key: &str, at: Timestamp| {
        let tags = tags_of(version(key), 2);
        let mut replica = tags.clone();
        replica.change.kind = ChangeKind::Put;
        for to in &mut replica.destinations {
            to.skip = Some(Skip {
                reason: Reason::SkippedReplica,
                evidence: String::new(),
            });
        }
        site.journal()
            .record(vec![replica, tags], at)
            .await
            .unwrap();
    };
    record("comes", now).await;
    let week = limits::TAGS_AWAIT_REPLICA_MAX;
    record(
        "never",
        Timestamp::from_millis(now.as_millis() - week.as_millis() as i64),
    )
    .await;
    let is_there = Arc::new(AtomicBool::new(false));
    let far = Far::new({
        let is_there = is_there.clone();
        move |offer: &Offer| match offer.change.name.key.as_str() {
            "comes" if is_there.load(Ordering::SeqCst) => Deed::Take,
            _ => Deed::Refuse(Refusal::new(Reason::DstObjectDamaged, "not here")),
        }
    });
    let running = site.run(&far);
    let stands = async |key: &str, status: Status| {
        let rows = all(site.journal()).await;
        rows.iter().any(|row| {
            let is_it = row.change.name == version(key) && row.change.kind == ChangeKind::Tags;
            is_it && row.status == status && row.reason.is_some() == (status != Status::Completed)
        })
    };
    until("one is given up", async || {
        stands("never", Status::Skipped).await
    })
    .await;
    until("one waits", async || stands("comes", Status::Pending).await).await;
    is_there.store(true, Ordering::SeqCst);
    until("it is there", async || {
        stands("comes", Status::Completed).await
    })
    .await;
    running.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_without_a_row_that_a_peer_lacks_is_queued_from_the_sources_listing() {
    let versioned = near::versioned::Versioned::default();
    for version in ["v1", "v2"] {
        versioned.put("k", version);
    }
    let site = Site::with(|_| Arc::new(versioned.clone())).await;
    let name = |version: &str| VersionName {
        bucket: bucket(),
        key: ObjectKey::new("k").unwrap(),
        version: VersionId::new(version).unwrap(),
    };
    // The latest is what the journal knows, and was given up.
    let mut latest = tags_of(name("v2"), 2);
    latest.change.kind = ChangeKind::Put;
    let now = OsClock.now();
    let ids = site.journal().record(vec![latest], now).await.unwrap();
    site.journal().lease(&peer(), 9, now).await.unwrap();
    let given_up = Settlement {
        id: ids[0],
        at: now,
        outcome: TransferOutcome::Failed {
            reason: Reason::PolicyDenied,
            evidence: "no grant".to_owned(),
        },
    };
    site.journal().settle(vec![given_up]).await.unwrap();
    let tags = vec![tags_of(name("v1"), 1)];
    site.journal().record(tags, now).await.unwrap();
    let far = Far::new(|_: &Offer| Deed::Refuse(Refusal::new(Reason::DstObjectDamaged, "")));
    let running = site.run(&far);
    until("the version is queued", async || {
        let rows = all(site.journal()).await;
        let mut rows = rows.iter();
        rows.any(|row| row.change.name == name("v1") && row.change.kind == ChangeKind::Put)
    })
    .await;
    running.end().await;
}
