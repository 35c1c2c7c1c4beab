//! What applications write to a source through the endpoint: remembered before it goes out,
//! looked at as soon as it is there, and, where they want that, waited for.
//!
//! ```text
//!  intend ─▶ journal: intent, durable
//!  …the write goes to the source's store…
//!  became ─▶ SourceTask: looks at the key, records what is new, forgets the intent
//!  wait, standing ◀─ journal: how its transfers stand
//! ```
//!
//! What a key has become is read from the store, and by the task that scans: it gives versions
//! their orders as the store has them, and none is recorded twice.

mod standing;

pub use standing::{decisive, together};

use std::{
    collections::BTreeSet,
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use parking_lot::Mutex;
use sealift_ledger::{Intent, Journal, Touched, Transfer};
use sealift_terms::{
    BucketName, ChangeKind, Clock, ObjectKey, Status, Timestamp, VersionId,
    limits::{FRONT_INTENTS_MAX, FRONT_QUEUED_MAX, TRANSFERS_OF_KEY_MAX},
};
use tokio::{
    sync::{RwLock, mpsc, oneshot, watch},
    time::{Instant, sleep, timeout_at},
};

use crate::{
    Kind, Rules, SenderError,
    changes::{is_left_out, version},
};

/// Between two looks at how a transfer stands, at first and at last.
const LOOK_AFTER: (Duration, Duration) = (Duration::from_millis(2), Duration::from_millis(100));

/// What is told of a version that a rule takes, and that nothing was recorded of.
const NO_TRANSFER: &str = "the journal has no transfer of it: the source does not have it any more";

/// What became of a write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Became {
    /// It is there, as this version where the store told.
    Written(Option<VersionId>),
    /// The tags of a version are others; of the latest where none is told.
    Tagged(Option<VersionId>),
    /// Nobody knows whether it is there.
    Unknown,
    /// The store refused it.
    Nothing,
}

/// A write whose outcome is known.
#[derive(Debug)]
pub(crate) struct Written {
    pub(crate) intended: Intended,
    pub(crate) became: Became,
    /// Told when it is in the journal.
    pub(crate) recorded: Option<oneshot::Sender<()>>,
}

/// An intent that is in the journal.
#[derive(Debug)]
pub struct Intended {
    pub(crate) id: u64,
    pub(crate) key: ObjectKey,
    pub(crate) touched: Touched,
    pub(crate) at: Timestamp,
}

/// How the replicas of a write stand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Replicas {
    /// Every destination has given its receipt, or there is none.
    Durable,
    /// One has not, for what this says.
    Pending(String),
}

/// The sender's side of a bucket that applications write to through the endpoint.
#[derive(Clone)]
pub struct FrontHandle(Arc<Shared>);

struct Shared {
    bucket: BucketName,
    journal: Arc<dyn Journal>,
    clock: Arc<dyn Clock>,
    rules: watch::Receiver<Arc<Rules>>,
    queue: mpsc::Sender<Written>,
    /// Intents of this process whose writes are under way.
    open: Mutex<BTreeSet<u64>>,
    /// Held, beside others, from before an intent is in the journal until it is among those that
    /// are open; and by itself to see which are not.
    opening: RwLock<()>,
    /// Whether there was no room in the queue.
    is_behind: AtomicBool,
    /// Intents of this process that are in the journal.
    unsettled: AtomicU64,
}

/// Whoever was about to write gave up while its intent went into the journal: it is looked for.
struct GivenUp<'a>(Option<&'a Shared>);

impl Drop for GivenUp<'_> {
    fn drop(&mut self) {
        if let Some(shared) = self.0 {
            shared.is_behind.store(true, Ordering::Relaxed);
        }
    }
}

impl fmt::Debug for FrontHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FrontHandle({})", self.0.bucket)
    }
}

impl FrontHandle {
    pub(crate) fn new(
        bucket: BucketName,
        journal: Arc<dyn Journal>,
        clock: Arc<dyn Clock>,
        rules: watch::Receiver<Arc<Rules>>,
    ) -> (Self, mpsc::Receiver<Written>) {
        let (queue, written) = mpsc::channel(FRONT_QUEUED_MAX);
        let shared = Shared {
            bucket,
            journal,
            clock,
            rules,
            queue,
            open: Mutex::default(),
            opening: RwLock::default(),
            is_behind: AtomicBool::new(false),
            unsettled: AtomicU64::new(0),
        };
        (Self(Arc::new(shared)), written)
    }

    /// Remembers that these keys are about to be written, and what of them. Durable when it
    /// returns.
    ///
    /// # Errors
    /// What the journal says: nothing may be written then.
    pub async fn intend(
        &self,
        keys: Vec<ObjectKey>,
        touched: Touched,
    ) -> Result<Vec<Intended>, SenderError> {
        let at = self.0.clock.now();
        let _opening = self.0.opening.read().await;
        let mut given_up = GivenUp(Some(&self.0));
        let ids = self.remember(keys.clone(), touched.clone(), at).await;
        given_up.0 = None;
        let ids = ids?;
        self.0.open.lock().extend(&ids);
        let each = ids.into_iter().zip(keys);
        let intended = each.map(|(id, key)| Intended {
            id,
            key,
            touched: touched.clone(),
            at,
        });
        Ok(intended.collect())
    }

    /// Remembers what nobody is going to say more of: it is looked at when its time comes.
    pub(crate) async fn remember(
        &self,
        keys: Vec<ObjectKey>,
        touched: Touched,
        at: Timestamp,
    ) -> Result<Vec<u64>, SenderError> {
        let Shared {
            journal, bucket, ..
        } = &*self.0;
        let count = keys.len() as u64;
        let before = self.0.unsettled.fetch_add(count, Ordering::Relaxed);
        if before + count > FRONT_INTENTS_MAX {
            self.settled(count);
            return Err(SenderError::TooManyIntents);
        }
        let ids = journal.intend(bucket, keys, touched, at).await;
        if ids.is_err() {
            self.settled(count);
        }
        Ok(ids?)
    }

    /// Says what became of it. What comes back is told when that is in the journal; it is
    /// dropped when it is not there yet, and found later.
    pub fn became(&self, intended: Intended, became: Became) -> oneshot::Receiver<()> {
        let (recorded, told) = oneshot::channel();
        let id = intended.id;
        let written = Written {
            intended,
            became,
            recorded: Some(recorded),
        };
        // In this order: what is in neither is taken for one of an earlier process.
        let queued = self.0.queue.try_send(written);
        self.0.open.lock().remove(&id);
        if queued.is_err() {
            self.0.is_behind.store(true, Ordering::Relaxed);
        }
        told
    }

    /// So many intents are in the journal no more.
    pub(crate) fn settled(&self, count: u64) {
        let less = |now: u64| Some(now.saturating_sub(count));
        let unsettled = &self.0.unsettled;
        let _ = unsettled.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
    }

    /// A page of the intents in the journal behind `after`, at most `limit` with the open ones:
    /// where it ends, and those whose writes are not under way. None where there are no more.
    pub(crate) async fn closed(
        &self,
        after: u64,
        limit: usize,
    ) -> Result<Option<(u64, Vec<Intent>)>, SenderError> {
        let _opening = self.0.opening.write().await;
        let page = self.0.journal.intents(&self.0.bucket, after, limit).await?;
        let last = page.last().map(|one| one.id);
        let open = self.0.open.lock();
        let closed = page.into_iter().filter(|one| !open.contains(&one.id));
        Ok(last.map(|last| (last, closed.collect())))
    }

    /// Whether there is something in the journal that the queue does not have, once.
    pub(crate) fn take_behind(&self) -> bool {
        self.0.is_behind.swap(false, Ordering::Relaxed)
    }

    /// Waits until every destination of a write has given its receipt, so long at most.
    /// Of what it became the version counts; where the store told of none, all transfers of the
    /// key do.
    ///
    /// # Errors
    /// What the journal says.
    pub async fn wait(
        &self,
        key: &ObjectKey,
        became: &Became,
        recorded: oneshot::Receiver<()>,
        time_max: Duration,
    ) -> Result<Replicas, SenderError> {
        let deadline = Instant::now() + time_max;
        let not_yet = "its change is not in the journal yet: the source cannot be looked at, or \
                       does not tell its tags";
        match timeout_at(deadline, recorded).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) | Err(_) => return Ok(Replicas::Pending(not_yet.to_owned())),
        }
        let version = match became {
            Became::Written(version) | Became::Tagged(version) => version.as_ref(),
            Became::Unknown | Became::Nothing => None,
        };
        let (mut pause, longest) = LOOK_AFTER;
        let mut wanted: Option<BTreeSet<_>> = None;
        loop {
            let (journal, bucket) = (&self.0.journal, &self.0.bucket);
            let transfers = journal.transfers_of(bucket, key, TRANSFERS_OF_KEY_MAX);
            let mut transfers = transfers.await?;
            match version {
                Some(version) => {
                    transfers.retain(|one| is_of(one, version));
                    // What a rule leaves out has a transfer, which says so.
                    let is_new = matches!(became, Became::Written(_));
                    if is_new && transfers.is_empty() && self.is_covered(key) {
                        return Ok(Replicas::Pending(NO_TRANSFER.to_owned()));
                    }
                }
                // What comes later is not waited for.
                None => {
                    let ids = || transfers.iter().map(|one| one.id).collect();
                    let wanted = wanted.get_or_insert_with(ids);
                    transfers.retain(|one| wanted.contains(&one.id));
                }
            }
            let Some(waits) = transfers.iter().find_map(waits) else {
                return Ok(Replicas::Durable);
            };
            // What was given up or left out does not come by waiting.
            if waits.is_last || Instant::now() + pause > deadline {
                return Ok(Replicas::Pending(waits.told));
            }
            sleep(pause).await;
            pause = (pause * 2).min(longest);
        }
    }
}

impl FrontHandle {
    /// Whether a rule may take what is written to a key now.
    fn is_covered(&self, key: &ObjectKey) -> bool {
        let put = Kind::new(ChangeKind::Put);
        self.0.rules.borrow().may_send(&self.0.bucket, key, put)
    }
}

fn is_of(transfer: &Transfer, version: &VersionId) -> bool {
    version::is_version_of(&transfer.change.name.version, version)
}

/// Why a transfer is waited for.
struct Waits {
    told: String,
    is_last: bool,
}

fn waits(transfer: &Transfer) -> Option<Waits> {
    let is_last = match transfer.status {
        Status::Completed | Status::Replica => return None,
        Status::Skipped if transfer.reason.is_some_and(is_left_out) => return None,
        Status::Pending => false,
        Status::Failed | Status::Skipped => true,
    };
    let reason = transfer.reason.map(|reason| format!(" ({reason})"));
    let told = format!(
        "{} to {}{}",
        transfer.status,
        transfer.peer,
        reason.unwrap_or_default()
    );
    Some(Waits { told, is_last })
}
