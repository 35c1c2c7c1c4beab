//! How the sending half stands, for people and metrics.

use std::sync::Arc;

use parking_lot::Mutex;
use sealift_store::Source;
use sealift_terms::{BucketName, ObjectKey, PeerName, Reason, RuleName, Timestamp};
use serde::Serialize;
use tokio::sync::{Notify, watch};

use crate::{FrontHandle, Lag};

/// Deletes that wait to be accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Held {
    /// Keys that are gone from the source, and whose deletes wait.
    pub vanished: u64,
    /// Keys there were before any of them went.
    pub of: u64,
}

/// How a source stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SourceStatus {
    /// Its bucket.
    pub bucket: BucketName,
    /// When a scan last came to its end.
    pub scanned: Option<Timestamp>,
    /// Scans since then that did not come to their end, or left out what could not be looked at
    /// for a trouble of the source.
    pub failed_scans: u64,
    /// Objects it saw.
    pub objects: u64,
    /// Names it left out.
    pub skipped: u64,
    /// Objects that are still being written, and so are not recorded yet.
    pub settling: u64,
    /// Why the last scan failed, if it did.
    pub reason: Option<Reason>,
    /// What was seen then.
    pub evidence: Option<String>,
    /// Deletes that wait for someone to say that they are meant.
    pub held: Option<Held>,
    /// Version deletes that do: versions that are gone, of those that were sent.
    pub purges_held: Option<Held>,
    /// Why it is scanned every ten seconds instead of watched, if so.
    pub polling: Option<String>,
}

/// What can be asked of a source's task from outside.
#[derive(Debug, Clone)]
pub struct SourceHandle {
    shared: Arc<Shared>,
    front: Option<FrontHandle>,
}

#[derive(Debug)]
struct Shared {
    source: Arc<dyn Source>,
    state: Mutex<SourceStatus>,
    accepted: Mutex<bool>,
    ask: Notify,
}

impl SourceHandle {
    pub(crate) fn new(bucket: BucketName, source: Arc<dyn Source>) -> Self {
        let state = Mutex::new(SourceStatus {
            bucket,
            scanned: None,
            failed_scans: 0,
            objects: 0,
            skipped: 0,
            settling: 0,
            reason: None,
            evidence: None,
            held: None,
            purges_held: None,
            polling: None,
        });
        Self {
            shared: Arc::new(Shared {
                source,
                state,
                accepted: Mutex::new(false),
                ask: Notify::new(),
            }),
            front: None,
        }
    }

    pub(crate) fn fronted(mut self, front: FrontHandle) -> Self {
        self.front = Some(front);
        self
    }

    /// What is told of writes to it that come through the endpoint; none of one that has
    /// ordered its changes itself.
    #[must_use]
    pub fn front(&self) -> Option<&FrontHandle> {
        self.front.as_ref()
    }

    /// How it stands.
    #[must_use]
    pub fn status(&self) -> SourceStatus {
        let settling = self.shared.source.settling() as u64;
        SourceStatus {
            settling,
            ..self.shared.state.lock().clone()
        }
    }

    /// Scans now.
    pub fn scan(&self) {
        self.shared.ask.notify_one();
    }

    /// Says that what is held is meant to be gone, and scans now. Says what that is;
    /// nothing is accepted in advance.
    pub fn accept_deletes(&self) -> Option<Held> {
        let held = {
            let state = self.shared.state.lock();
            let sum = |one: Held, other: Held| Held {
                vanished: one.vanished + other.vanished,
                of: one.of + other.of,
            };
            let (keys, versions) = (state.held, state.purges_held);
            keys.zip(versions)
                .map(|(keys, versions)| sum(keys, versions))
                .or(keys)
                .or(versions)?
        };
        *self.shared.accepted.lock() = true;
        self.scan();
        Some(held)
    }

    pub(crate) fn is_holding(&self) -> bool {
        self.shared.state.lock().held.is_some()
    }

    pub(crate) async fn asked(&self) {
        self.shared.ask.notified().await;
    }

    pub(crate) fn take_accepted(&self) -> bool {
        std::mem::take(&mut *self.shared.accepted.lock())
    }

    pub(crate) fn give_back(&self, accepted: bool) {
        *self.shared.accepted.lock() |= accepted;
    }

    pub(crate) fn update(&self, change: impl FnOnce(&mut SourceStatus)) {
        change(&mut self.shared.state.lock());
    }
}

/// Says that there is something new to send.
#[derive(Debug, Clone)]
pub struct WorkSignal(watch::Sender<u64>);

impl WorkSignal {
    /// A signal that nobody waits for yet.
    #[must_use]
    pub fn new() -> Self {
        Self(watch::Sender::new(0))
    }

    /// Wakes all who wait.
    pub fn wake(&self) {
        self.0.send_modify(|count| *count = count.wrapping_add(1));
    }

    pub(crate) fn listen(&self) -> watch::Receiver<u64> {
        self.0.subscribe()
    }
}

impl Default for WorkSignal {
    fn default() -> Self {
        Self::new()
    }
}

/// An object on its way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Current {
    /// The rule that covers it.
    pub rule: RuleName,
    /// Its bucket.
    pub bucket: BucketName,
    /// Its key.
    pub key: ObjectKey,
    /// Bytes in all.
    pub size: u64,
    /// Bytes that the peer has stored.
    pub stored: u64,
}

/// What one rule sent to one peer since the agent started.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Sent {
    /// The rule.
    pub rule: RuleName,
    /// Objects acknowledged.
    pub objects: u64,
    /// Bytes of them.
    pub bytes: u64,
    /// Objects acknowledged a second, lately.
    pub objects_per_second: f64,
    /// Bytes stored a second, lately.
    pub bytes_per_second: f64,
    /// Bytes that the peer has of objects which are still on their way.
    pub stored_under_way: u64,
    /// How long they took from when their change was recorded until their receipt.
    pub lag: Lag,
}

/// How the sending to one peer stands.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SenderStatus {
    /// The peer.
    pub peer: PeerName,
    /// Whether a session is open.
    pub connected: bool,
    /// Objects acknowledged since the agent started.
    pub objects: u64,
    /// Bytes of them.
    pub bytes: u64,
    /// Bytes written to the links, those sent again included.
    pub bytes_written: u64,
    /// Parts that were there already when an object was offered.
    pub parts_resumed: u64,
    /// Parts that were begun on a link which was gone before they were stored.
    pub parts_interrupted: u64,
    /// Bytes of those that were not sent again, because the peer had kept them.
    pub bytes_continued: u64,
    /// Bytes of a part of what is offered now; none without a session.
    pub part_bytes: Option<u32>,
    /// Offers without an outcome yet.
    pub under_way: u64,
    /// Objects and parts of objects that the peer said are stored.
    pub acknowledgements: u64,
    /// Answers of any kind to offers, refusals too.
    pub answers: u64,
    /// Bytes a second that may leave now; none: as many as will go.
    pub limit: Option<u64>,
    /// Whether what leaves now is compressed, where that pays.
    pub compressing: bool,
    /// Plaintext bytes that were compressed.
    pub compressed: u64,
    /// Bytes that did not have to be sent because of it.
    pub compression_saved: u64,
    /// By rule.
    pub sent: Vec<Sent>,
    /// The largest objects on their way.
    pub current: Vec<Current>,
}
