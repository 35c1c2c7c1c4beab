//! The sender's memory: what it knows of its sources, and how every transfer stands.

use async_trait::async_trait;
use sealift_terms::{
    BatchId, BucketName, Change, ChangeKind, Epoch, ObjectKey, Order, PeerName, Reason, Receipt,
    RuleName, SiteId, Status, Timestamp, TransferId, VersionId, VersionName,
};
use serde::{Deserialize, Serialize};

use crate::{Batch, BatchState, Batched, Enlist, Result};

/// A change and where it is to go.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewChange {
    /// What happened.
    pub change: Change,
    /// Where it goes; nowhere when no rule covers it, and it is then only known.
    pub destinations: Vec<Destination>,
    /// Not to be sent before: it is held back until then
    /// ([`Reason::PurgeHeld`]), and nothing queues it earlier.
    #[serde(default)]
    pub held_until: Option<Timestamp>,
    /// Whether it goes before what waits already: somebody looks for it there.
    #[serde(default)]
    pub ahead: bool,
}

impl NewChange {
    /// When it is due that is recorded at `at`.
    pub(crate) fn due(&self, at: Timestamp) -> Timestamp {
        match self.held_until {
            Some(until) if until > at => until,
            _ if self.ahead => Timestamp::from_millis(0),
            _ => at,
        }
    }
}

/// Why a transfer is held back until then.
pub(crate) fn held_back(until: Timestamp) -> (Reason, String) {
    let evidence = format!("it is gone from the source, and is purged after {until}");
    (Reason::PurgeHeld, evidence)
}

/// One destination of a change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Destination {
    /// The rule that sends it there.
    pub rule: RuleName,
    /// The peer.
    pub peer: PeerName,
    /// Why it is not to be sent after all; it is then `SKIPPED` at once.
    pub skip: Option<Skip>,
}

/// Why something is not sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Skip {
    /// The code.
    pub reason: Reason,
    /// What was seen.
    pub evidence: String,
}

/// One change on its way to one peer, and how it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transfer {
    /// Its number.
    pub id: TransferId,
    /// The rule that made it.
    pub rule: RuleName,
    /// Where it goes.
    pub peer: PeerName,
    /// What is sent.
    pub change: Change,
    /// How it stands.
    pub status: Status,
    /// Why, unless it is simply to be sent or is done.
    pub reason: Option<Reason>,
    /// What was seen when the reason was found.
    pub evidence: Option<String>,
    /// How often it was tried in vain since it was recorded or queued again.
    pub attempts: u32,
    /// Not to be tried before.
    pub next_try: Timestamp,
    /// When it was recorded.
    pub recorded_at: Timestamp,
    /// When its status last changed.
    pub updated_at: Timestamp,
    /// What the receiver said; there when it is `COMPLETED`.
    pub receipt: Option<Receipt>,
    /// Whether it was `COMPLETED` at some time. Looked at where it is `SKIPPED` alone.
    pub(crate) was_there: bool,
    /// Whether batches alone want it sent. Looked at where it is `PENDING` alone.
    pub(crate) of_batch: bool,
}

impl Transfer {
    /// Whether its peer has it, as far as is known, or is to have it. What is `SKIPPED` goes
    /// nowhere, unless it was there before rules left it out.
    #[must_use]
    pub fn goes(&self) -> bool {
        self.status != Status::Skipped || self.was_there
    }
}

/// What became of a transfer that was leased. Ends the lease.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settlement {
    /// Which transfer.
    pub id: TransferId,
    /// When.
    pub at: Timestamp,
    /// What became of it.
    pub outcome: TransferOutcome,
}

/// See [`Settlement`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum TransferOutcome {
    /// It is durable at the destination. The receipt must be of the transfer's version.
    Completed(Box<Receipt>),
    /// It is to be tried again. One attempt is counted.
    Deferred {
        /// Why.
        reason: Reason,
        /// What was seen.
        evidence: String,
        /// When to try again.
        next_try: Timestamp,
    },
    /// It is given up until something changes.
    Failed {
        /// Why.
        reason: Reason,
        /// What was seen.
        evidence: String,
    },
    /// It is not to be sent.
    Skipped {
        /// Why.
        reason: Reason,
        /// What was seen.
        evidence: String,
    },
}

/// Which transfers are to be queued again, due at once, their attempts counted afresh.
///
/// `Failed` and those of one version or transfer apart, each takes what is `FAILED` or `PENDING`. What is leased stays leased:
/// its outcome comes by itself. What a batch queued and would be taken here without the batch is
/// owed from then on, and due.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Requeue {
    /// Everything.
    All,
    /// What was given up, to all peers or to one.
    Failed(Option<PeerName>),
    /// Those of one rule.
    Rule(RuleName),
    /// Those to one peer.
    Peer(PeerName),
    /// Those of a bucket, of one key, or of the keys with a prefix.
    Keys {
        /// The bucket.
        bucket: BucketName,
        /// The beginning of the keys; empty for all.
        prefix: String,
        /// Whether `prefix` is one whole key.
        exact: bool,
    },
    /// One version that the peer has found damaged: what it had completed or given
    /// up is to be sent there again.
    Damaged {
        /// The peer.
        peer: PeerName,
        /// Which version.
        name: VersionName,
    },
    /// One version to a peer, whatever became of it: what was completed is offered again,
    /// what was given up or left out is sent after all.
    Version {
        /// The peer.
        peer: PeerName,
        /// Which version.
        name: VersionName,
    },
    /// What was left out after all, if it still is: tags too, and nothing else of their version.
    LeftOut(TransferId),
    /// What the peer had completed above this commit sequence: it came back from
    /// an older copy. 0 takes all it ever completed, which is right after a new
    /// epoch: what it still has, it answers without data.
    CompletedAfter {
        /// The peer.
        peer: PeerName,
        /// Its commit sequence now.
        sequence: u64,
    },
}

/// How many transfers stand how.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Count {
    /// The rule.
    pub rule: RuleName,
    /// The peer.
    pub peer: PeerName,
    /// The status.
    pub status: Status,
    /// Transfers.
    pub objects: u64,
    /// Bytes of plaintext.
    pub bytes: u64,
    /// Transfers of this status that were folded away: older versions, done long ago.
    pub folded_objects: u64,
    /// The oldest of them was recorded then. Only for `PENDING`, and of those alone that
    /// are not held back, and that not only batches want sent.
    pub oldest: Option<Timestamp>,
    /// Whether any of them is not held back. Only for `PENDING`.
    pub is_expected: bool,
}

/// Which transfers to list.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ListTransfers {
    /// Only of this status.
    pub status: Option<Status>,
    /// Only of this rule.
    pub rule: Option<RuleName>,
    /// Only to this peer.
    pub peer: Option<PeerName>,
    /// Only of this bucket.
    pub bucket: Option<BucketName>,
    /// Only those with a higher number.
    pub after: Option<TransferId>,
    /// At most this many.
    pub limit: usize,
}

/// What the journal knows of one key: its latest version in the source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownKey {
    /// The key.
    pub key: ObjectKey,
    /// Its latest version.
    pub version: VersionId,
    /// That version's order.
    pub order: Order,
    /// Whether that version is a delete marker.
    pub deleted: bool,
    /// Bytes of plaintext.
    pub size: u64,
}

/// A version or a delete marker that a peer has a receipt for: what is held against the
/// versions that the source still has.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct SentVersion {
    /// Its key.
    pub key: ObjectKey,
    /// The peer.
    pub peer: PeerName,
    /// Its version.
    pub version: VersionId,
    /// A put or a delete marker.
    pub kind: ChangeKind,
    /// How its purge stands, if there is one to that peer.
    pub purge: Option<PurgeSent>,
}

/// See [`SentVersion`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct PurgeSent {
    /// Its status.
    pub status: Status,
    /// When that last changed.
    pub updated_at: Timestamp,
}

/// How many keys of a bucket are known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct KnownCounts {
    /// Keys whose latest version has content.
    pub live: u64,
    /// Keys whose latest version is a delete marker.
    pub deleted: u64,
}

/// The highest clock reading and change number ever recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct HighWater {
    /// The hybrid logical clock; the next reading must be higher.
    pub clock: u64,
    /// The change number; the next change takes the one above.
    pub change: u64,
}

/// What was last seen of a peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerMemory {
    /// Its site.
    pub site: SiteId,
    /// Its epoch.
    pub epoch: Epoch,
    /// The highest commit sequence seen from it.
    pub sequence: u64,
    /// What it lets us do, in a number of its own; none when it does not say.
    pub policy: Option<u64>,
    /// When it was seen.
    pub seen_at: Timestamp,
}

/// How far a bucket of the site's own archive was recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Followed {
    /// The life of the catalog that this is of.
    pub epoch: Epoch,
    /// Every commit up to this sequence was recorded.
    pub sequence: u64,
    /// A digest of the rules by which.
    pub rules: u64,
}

/// A key of a source that somebody is about to write, or wrote: remembered before the write
/// goes out, and forgotten when what came of it was recorded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Intent {
    /// Its number; none is given twice.
    pub id: u64,
    /// The key.
    pub key: ObjectKey,
    /// When it was remembered.
    pub at: Timestamp,
    /// What of it.
    pub touched: Touched,
}

/// What of a key a write may change: what has to be recorded of it before its intent is
/// forgotten.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Touched {
    /// Which versions there are.
    Versions,
    /// The tags of a version; where none is named, of the one that is the latest then.
    Tags(Option<VersionId>),
}

/// How many keys of a bucket somebody is about to write, or wrote, that nothing was recorded of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct IntentCount {
    /// Intents.
    pub intents: u64,
    /// When the oldest was remembered.
    pub oldest: Option<Timestamp>,
}

/// How a transfer stands, without what is sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TransferStanding {
    /// Where it goes.
    pub peer: PeerName,
    /// Its version.
    pub version: VersionId,
    /// What happened.
    pub kind: ChangeKind,
    /// How it stands.
    pub status: Status,
    /// Why, as with a [`Transfer`].
    pub reason: Option<Reason>,
}

/// A name in a source that cannot be an object key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnsupportedName {
    /// The name, as far as it can be shown.
    pub name: String,
    /// Why.
    pub reason: Reason,
    /// What was seen.
    pub evidence: String,
}

/// The sender's journal.
///
/// Every function that changes something returns when the change is durable,
/// and changes all it was given or nothing.
#[async_trait]
pub trait Journal: Send + Sync {
    /// Takes changes: what is known of their keys and one transfer per
    /// destination, `PENDING` and due at once, in one step. Returns the numbers of
    /// the transfers, change by change, destination by destination.
    ///
    /// A change that was recorded before (same version, kind, peer; for tags the
    /// same order) keeps its transfer as it stands; a purge that was given up or left out is
    /// queued again.
    async fn record(&self, changes: Vec<NewChange>, at: Timestamp) -> Result<Vec<TransferId>>;

    /// Takes up to `limit` transfers to `peer` that are `PENDING`, due at `now` and
    /// not leased, oldest due first. They are the caller's until settled or
    /// released; closing the journal ends all leases.
    async fn lease(&self, peer: &PeerName, limit: usize, now: Timestamp) -> Result<Vec<Transfer>>;

    /// Ends leases without an outcome: they can be leased again.
    fn release(&self, ids: &[TransferId]);

    /// When the next transfer to `peer` that is not yet due at `now` becomes due, what is held
    /// back apart.
    async fn next_due(&self, peer: &PeerName, now: Timestamp) -> Result<Option<Timestamp>>;

    /// Writes down what became of transfers and ends their leases. A transfer that
    /// is `COMPLETED` stays so, whatever comes later.
    async fn settle(&self, settlements: Vec<Settlement>) -> Result<()>;

    /// Queues transfers again; returns how many.
    async fn requeue(&self, which: Requeue, now: Timestamp) -> Result<u64>;

    /// Begins a batch, in words. What was over longest is forgotten where there are
    /// [`limits::BATCHES_MAX`](sealift_terms::limits::BATCHES_MAX); where none is over, there is no
    /// room for one more.
    async fn begin_batch(&self, what: &str, at: Timestamp) -> Result<Option<BatchId>>;

    /// Queues all of this as [`Requeue::Version`] does, and remembers for the batch how it
    /// stood, receipts too; what is held back by a batch that is paused is held back. Returns
    /// how the batch stands: of one that is cancelled, or is not there, nothing is queued.
    async fn enlist(
        &self,
        batch: BatchId,
        what: Enlist,
        at: Timestamp,
    ) -> Result<Option<BatchState>>;

    /// Pauses a batch, lets it go on, or cancels it; returns whether it is there and was not
    /// cancelled before.
    ///
    /// What is leased keeps its lease. Of a batch that is paused nothing else is leased, but
    /// what another batch that runs queued as well. Of one that is cancelled everything stands
    /// again as if the batch had never been: completed with its receipt, given up, left out,
    /// and [`Reason::BatchCancelled`] where there was nothing; what is owed stays due. What is
    /// leased has its outcome if it has one, and stands as before if it is deferred or released.
    async fn set_batch(&self, batch: BatchId, to: BatchState, at: Timestamp) -> Result<bool>;

    /// One batch.
    async fn batch(&self, batch: BatchId) -> Result<Option<Batch>>;

    /// All batches, the newest first.
    async fn batches(&self) -> Result<Vec<Batch>>;

    /// How many batches are paused. Cheap at any size.
    async fn paused_batches(&self) -> Result<u64>;

    /// What a batch queued, by number, behind `after`, at most `limit`.
    async fn batched(
        &self,
        batch: BatchId,
        after: Option<TransferId>,
        limit: usize,
    ) -> Result<Vec<Batched>>;

    /// How the batch has one transfer, if it has it.
    async fn batched_one(&self, batch: BatchId, id: TransferId) -> Result<Option<Batched>>;

    /// One transfer.
    async fn transfer(&self, id: TransferId) -> Result<Option<Transfer>>;

    /// The transfers of one key, newest first, at most `limit`.
    async fn transfers_of(
        &self,
        bucket: &BucketName,
        key: &ObjectKey,
        limit: usize,
    ) -> Result<Vec<Transfer>>;

    /// How the transfers of those versions of a key stand whose ids begin so, newest first, at
    /// most `limit`.
    async fn standings(
        &self,
        bucket: &BucketName,
        key: &ObjectKey,
        version: &str,
        limit: usize,
    ) -> Result<Vec<TransferStanding>>;

    /// Transfers by number.
    async fn transfers(&self, list: &ListTransfers) -> Result<Vec<Transfer>>;

    /// How many transfers stand how, by rule, peer and status. Cheap at any size.
    async fn counts(&self) -> Result<Vec<Count>>;

    /// Known keys of a bucket after `after`, sorted by their bytes: one side of the
    /// merge with a scan of the source.
    async fn known_page(
        &self,
        bucket: &BucketName,
        after: Option<&ObjectKey>,
        limit: usize,
    ) -> Result<Vec<KnownKey>>;

    /// What is known of one key.
    async fn known(&self, bucket: &BucketName, key: &ObjectKey) -> Result<Option<KnownKey>>;

    /// How many keys of a bucket are known.
    async fn known_counts(&self, bucket: &BucketName) -> Result<KnownCounts>;

    /// Known live keys whose latest version has no transfer to `peer` at all,
    /// sorted by bytes: what a new rule has to make up for.
    async fn unsent_page(
        &self,
        bucket: &BucketName,
        peer: &PeerName,
        after: Option<&ObjectKey>,
        limit: usize,
    ) -> Result<Vec<KnownKey>>;

    /// Known keys that are removed and live at `peer`, as far as is known here: the last of
    /// their versions that goes there has content, and no delete marker behind it does
    /// ([`Transfer::goes`]). Sorted by bytes.
    async fn unremoved_page(
        &self,
        bucket: &BucketName,
        peer: &PeerName,
        after: Option<&ObjectKey>,
        limit: usize,
    ) -> Result<Vec<KnownKey>>;

    /// What of a bucket is `COMPLETED`, puts and delete markers, behind `after`, sorted by
    /// key, peer, version and kind: the other side of a merge with the versions of the source.
    async fn sent_page(
        &self,
        bucket: &BucketName,
        after: Option<&SentVersion>,
        limit: usize,
    ) -> Result<Vec<SentVersion>>;

    /// Whether a bucket's source was ever scanned from end to end.
    async fn is_scanned(&self, bucket: &BucketName) -> Result<bool>;

    /// Remembers that it was.
    async fn mark_scanned(&self, bucket: &BucketName) -> Result<()>;

    /// How far a bucket of the site's own archive was recorded; none before it ever was.
    async fn followed(&self, bucket: &BucketName) -> Result<Option<Followed>>;

    /// Remembers how far it was, in place of what was remembered.
    async fn set_followed(&self, bucket: &BucketName, to: Followed) -> Result<()>;

    /// Remembers that keys of a bucket are about to be written, and what of them; a number for
    /// each.
    async fn intend(
        &self,
        bucket: &BucketName,
        keys: Vec<ObjectKey>,
        touched: Touched,
        at: Timestamp,
    ) -> Result<Vec<u64>>;

    /// Intents of a bucket with higher numbers, by number, at most `limit`.
    async fn intents(&self, bucket: &BucketName, after: u64, limit: usize) -> Result<Vec<Intent>>;

    /// How many intents there are of a bucket.
    async fn intent_count(&self, bucket: &BucketName) -> Result<IntentCount>;

    /// Forgets these intents, as far as they are there.
    async fn forget_intents(&self, ids: Vec<u64>) -> Result<()>;

    /// Replaces the list of names of a bucket that cannot be keys; what is above
    /// [`limits::UNSUPPORTED_NAMES_MAX`](sealift_terms::limits::UNSUPPORTED_NAMES_MAX) is cut off.
    async fn replace_unsupported(
        &self,
        bucket: &BucketName,
        names: Vec<UnsupportedName>,
    ) -> Result<()>;

    /// The names of a bucket that cannot be keys.
    async fn unsupported(&self, bucket: &BucketName) -> Result<Vec<UnsupportedName>>;

    /// The highest clock and change number recorded.
    async fn high_water(&self) -> Result<HighWater>;

    /// What was last seen of a peer.
    async fn peer(&self, peer: &PeerName) -> Result<Option<PeerMemory>>;

    /// Remembers what was seen of a peer, in place of what was remembered.
    async fn remember_peer(&self, peer: &PeerName, memory: PeerMemory) -> Result<()>;

    /// Writes what stands there already, durably: says whether it can be written.
    async fn probe(&self) -> Result<()>;

    /// The version with the highest commit sequence that a peer gave a receipt for,
    /// and that is still `COMPLETED`: a peer that does not know it has lost something.
    async fn last_received(&self, peer: &PeerName) -> Result<Option<VersionName>>;

    /// Folds up to `limit` rows that were settled before `before`. What a peer that lost
    /// everything has to be sent again stays: of what is `COMPLETED` or `SKIPPED`, one version
    /// per peer and key, the newest, be it a delete marker, and its last tags. Of a deleted key
    /// nothing stays that was left out and was never there, or purged. Of the
    /// rules in `keep` every version that is `COMPLETED` is kept until its purge is, and that
    /// until its version went. Returns how many rows went.
    async fn fold(&self, before: Timestamp, keep: Vec<RuleName>, limit: usize) -> Result<u64>;
}
