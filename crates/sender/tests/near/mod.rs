//! The sending site of a test: a journal in a file, a source in memory.
#![allow(dead_code, unreachable_pub, reason = "not every test uses all of it")]

pub mod versioned;

use std::{
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use sealift_host::OsClock;
use sealift_ledger::{
    FactsError, FactsSealer, Journal, ListTransfers, Settlement, SqliteJournal, Transfer,
    TransferOutcome,
};
use sealift_sender::{Orders, Rule, Rules, SourceHandle, SourceSettings, SourceTask, WorkSignal};
use sealift_store::Source;
use sealift_terms::{
    Audit, AuditRecord, AuditUnavailable, BucketName, Epoch, KeyId, ObjectUid, PeerName, Receipt,
    RecordId, Region, Rng, RuleName, SessionFacts, SiteId, Status, Timestamp,
};
use tokio::sync::watch;

/// Seals nothing: what is sealed is no matter here.
#[derive(Debug)]
struct Plain;

impl FactsSealer for Plain {
    fn seal(&self, _aad: &[u8], plaintext: &[u8]) -> Result<Vec<u8>, FactsError> {
        Ok(plaintext.to_vec())
    }

    fn open(&self, _aad: &[u8], sealed: &[u8]) -> Result<Vec<u8>, FactsError> {
        Ok(sealed.to_vec())
    }
}

pub fn journal(path: &Path) -> Arc<dyn Journal> {
    Arc::new(SqliteJournal::open(&path.join("journal.db"), Arc::new(Plain)).unwrap())
}

pub fn bucket() -> BucketName {
    BucketName::new("photos").unwrap()
}

pub fn peer() -> PeerName {
    PeerName::new("far").unwrap()
}

pub fn rules(rows: &[(&str, &str, &str)]) -> Arc<Rules> {
    let rule = |(name, prefix, peer): &(&str, &str, &str)| Rule {
        name: RuleName::new(name).unwrap(),
        bucket: bucket(),
        prefix: (*prefix).to_owned(),
        tags: std::collections::BTreeMap::new(),
        peers: vec![PeerName::new(peer).unwrap()],
        delete_markers: true,
        version_deletes: None,
        existing_objects: true,
        to_origin: false,
        replicas: true,
    };
    Arc::new(Rules::new(rows.iter().map(rule).collect()))
}

/// One rule for `far` that asks for a tag, and leaves nothing out otherwise.
pub fn tagged(tag: &str, value: &str) -> Arc<Rules> {
    Arc::new(Rules::new(vec![tagged_rule(tag, value)]))
}

/// The rule of [`tagged`].
pub fn tagged_rule(tag: &str, value: &str) -> Rule {
    Rule {
        name: RuleName::new("tagged").unwrap(),
        bucket: bucket(),
        prefix: String::new(),
        tags: std::collections::BTreeMap::from([(tag.to_owned(), value.to_owned())]),
        peers: vec![peer()],
        delete_markers: true,
        version_deletes: None,
        existing_objects: true,
        to_origin: false,
        replicas: true,
    }
}

/// One rule for `far`, with or without version deletes.
pub fn purging(version_deletes: Option<Duration>) -> Arc<Rules> {
    Arc::new(Rules::new(vec![Rule {
        name: RuleName::new("all").unwrap(),
        bucket: bucket(),
        prefix: String::new(),
        tags: std::collections::BTreeMap::new(),
        peers: vec![peer()],
        delete_markers: true,
        version_deletes,
        existing_objects: true,
        to_origin: false,
        replicas: true,
    }]))
}

fn receipt(transfer: &Transfer, stored_at: Timestamp) -> Receipt {
    let region = Region::new("b").unwrap();
    Receipt {
        name: transfer.change.name.clone(),
        size: transfer.change.facts.size,
        checksum: None,
        object_uid: ObjectUid([1; 16]),
        record: RecordId([2; 16]),
        cmk: KeyId::new("key-01").unwrap(),
        cmk_version: "1".to_owned(),
        second: None,
        session: Arc::new(SessionFacts::none(&region)),
        region,
        site: SiteId([3; 16]),
        epoch: Epoch([4; 16]),
        sequence: 1,
        stored_at,
        signature: None,
    }
}

/// Everything that waits and is due is at the peer.
pub async fn complete(journal: &dyn Journal, now: Timestamp) {
    let leased = journal.lease(&peer(), 999, now).await.unwrap();
    settle(journal, &leased, now).await;
}

/// These are at the peer.
pub async fn settle(journal: &dyn Journal, leased: &[Transfer], now: Timestamp) {
    let done = leased.iter().map(|transfer| Settlement {
        id: transfer.id,
        at: now,
        outcome: TransferOutcome::Completed(Box::new(receipt(transfer, now))),
    });
    journal.settle(done.collect()).await.unwrap();
}

/// Chance without chance.
#[derive(Debug)]
pub struct Zeros;

impl Rng for Zeros {
    fn fill(&self, bytes: &mut [u8]) {
        bytes.fill(0);
    }
}

#[derive(Debug, Default)]
pub struct Records(pub Mutex<Vec<AuditRecord>>);

impl Audit for Records {
    fn record(&self, record: AuditRecord) -> Result<(), AuditUnavailable> {
        self.0.lock().push(record);
        Ok(())
    }
}

/// A running source task.
pub struct Near {
    pub journal: Arc<dyn Journal>,
    pub rules: watch::Sender<Arc<Rules>>,
    pub stop: watch::Sender<bool>,
    pub handle: SourceHandle,
    pub work: WorkSignal,
    task: tokio::task::JoinHandle<()>,
}

impl Near {
    pub async fn begin(
        journal: Arc<dyn Journal>,
        source: Arc<dyn Source>,
        rows: Arc<Rules>,
    ) -> Self {
        let clock = Arc::new(OsClock);
        let region = Region::new("a").unwrap();
        let orders = Orders::load(&*journal, region, clock.clone())
            .await
            .unwrap();
        let (rules, rules_in) = watch::channel(rows);
        let (stop, stop_in) = watch::channel(false);
        let work = WorkSignal::new();
        let settings = SourceSettings {
            bucket: bucket(),
            scan_interval: Duration::from_secs(60),
        };
        let orders = Arc::new(orders);
        let (task, handle) = SourceTask::new(
            settings,
            source,
            journal.clone(),
            orders,
            clock,
            rules_in,
            work.clone(),
        );
        let task = tokio::spawn(task.run(stop_in));
        Self {
            journal,
            rules,
            stop,
            handle,
            work,
            task,
        }
    }

    pub async fn end(mut self) {
        self.rest().await;
    }

    /// Ends the task alone: what it recorded is there.
    pub async fn rest(&mut self) {
        self.stop.send_replace(true);
        (&mut self.task).await.unwrap();
    }

    /// Scans, and waits until a scan that began after this was called has come to its end.
    pub async fn scan(&self) {
        until("the first scan", async || {
            let now = self.handle.status();
            now.scanned.is_some() || now.reason.is_some()
        })
        .await;
        // The first to end may have begun before, the second has not.
        for _ in 0..2 {
            let before = self.handle.status();
            tokio::time::sleep(Duration::from_millis(2)).await;
            self.handle.scan();
            let mut failed = false;
            until("a scan", async || {
                let now = self.handle.status();
                failed = now.reason.is_some() && before.reason.is_none();
                failed || now.scanned != before.scanned
            })
            .await;
            if failed {
                return;
            }
        }
    }

    pub async fn transfers(&self) -> Vec<Transfer> {
        all(&*self.journal).await
    }
}

pub async fn all(journal: &dyn Journal) -> Vec<Transfer> {
    let list = ListTransfers {
        limit: 100_000,
        ..ListTransfers::default()
    };
    journal.transfers(&list).await.unwrap()
}

pub async fn with_status(journal: &dyn Journal, status: Status) -> usize {
    all(journal)
        .await
        .iter()
        .filter(|transfer| transfer.status == status)
        .count()
}

/// Waits until something is so.
pub async fn until(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !is_so().await {
        assert!(Instant::now() < deadline, "waited in vain for {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
