//! A site of a test that sends: a source task, and the sender to one peer.
#![allow(dead_code, unreachable_pub, reason = "not every test uses all of it")]

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use sealift_host::OsClock;
use sealift_ledger::Journal;
use sealift_sender::{PeerSender, SenderError, Settings};
use sealift_store::{MemorySource, Source};
use sealift_terms::{PartSize, Status};
use sealift_tunnel::{NoAnswers, Pace, Timetable};
use sealift_wire::Offer;
use tokio::sync::watch;

use crate::{
    far::{Deed, Far},
    near::{Near, Records, Zeros, bucket, journal, peer, rules, until, with_status},
};

/// A site that sends to `far`.
pub struct Site {
    _temp: tempfile::TempDir,
    pub source: MemorySource,
    pub near: Near,
    pub sender: Arc<PeerSender>,
    pub pace: Arc<Pace>,
    pub audit: Arc<Records>,
}

impl Site {
    pub async fn new() -> Self {
        Self::with(|source| Arc::new(source)).await
    }

    pub async fn with(wrap: impl Fn(MemorySource) -> Arc<dyn Source>) -> Self {
        let temp = tempfile::tempdir().unwrap();
        let journal = journal(temp.path());
        Self::over(temp, journal, wrap).await
    }

    pub async fn over(
        temp: tempfile::TempDir,
        journal: Arc<dyn Journal>,
        wrap: impl Fn(MemorySource) -> Arc<dyn Source>,
    ) -> Self {
        let source = MemorySource::new();
        let near = Near::begin(
            journal,
            Arc::new(source.clone()),
            rules(&[("all", "", "far")]),
        )
        .await;
        let audit = Arc::new(Records::default());
        let pace = Arc::new(Pace::new(Arc::new(OsClock), Timetable::default()));
        let sender = PeerSender::new(Settings {
            peer: peer(),
            journal: near.journal.clone(),
            sources: BTreeMap::from([(bucket(), wrap(source.clone()))]),
            work: near.work.clone(),
            rules: near.rules.subscribe(),
            part_size: PartSize::MIN,
            memory_bytes: 16 << 20,
            pace: pace.clone(),
            compresses: true,
            drain_time: Duration::from_secs(5),
            clock: Arc::new(OsClock),
            rng: Arc::new(Zeros),
            audit: audit.clone(),
            questions: Arc::new(NoAnswers),
        });
        Self {
            _temp: temp,
            source,
            near,
            sender: Arc::new(sender),
            pace,
            audit,
        }
    }

    pub fn journal(&self) -> &dyn Journal {
        &*self.near.journal
    }

    pub fn run(&self, far: &Far) -> Running {
        let (session, far) = far.session(2);
        let (stop, stop_in) = watch::channel(false);
        let sender = self.sender.clone();
        let near = tokio::spawn(async move { sender.run(session, stop_in).await });
        Running { near, far, stop }
    }

    pub async fn completed(&self, count: usize) {
        until("completion", async || {
            with_status(self.journal(), Status::Completed).await == count
        })
        .await;
    }
}

/// A session that is under way.
pub struct Running {
    pub near: tokio::task::JoinHandle<Result<(), SenderError>>,
    pub far: tokio::task::JoinHandle<()>,
    pub stop: watch::Sender<bool>,
}

impl Running {
    pub async fn end(self) {
        self.stop.send_replace(true);
        self.near.await.unwrap().unwrap();
        self.far.abort();
    }
}

pub fn content(len: usize) -> Vec<u8> {
    (0..len)
        .map(|i| (i as u64).wrapping_mul(2_654_435_761).to_le_bytes()[2])
        .collect()
}

pub fn takes_all() -> Far {
    Far::new(|_: &Offer| Deed::Take)
}
