//! A journal whose answer to a lease comes late, once.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use sealift_ledger::{
    Batch, BatchState, Batched, Count, Enlist, Followed, HighWater, Intent, IntentCount, Journal,
    KnownCounts, KnownKey, ListTransfers, NewChange, PeerMemory, Requeue, Result, SentVersion,
    Settlement, Touched, Transfer, TransferStanding, UnsupportedName,
};
use sealift_terms::{
    BatchId, BucketName, ObjectKey, PeerName, RuleName, Timestamp, TransferId, VersionName,
};
use tokio::sync::Notify;

/// All else is as the journal within has it.
pub(crate) struct Late {
    pub(crate) journal: Arc<dyn Journal>,
    /// Whether the next lease is answered late.
    pub(crate) is_late: AtomicBool,
    /// The transfers are leased, and nobody was told.
    pub(crate) leased: Notify,
    /// Lets the answer go.
    pub(crate) answers: Notify,
}

impl Late {
    pub(crate) fn new(journal: Arc<dyn Journal>) -> Self {
        Self {
            journal,
            is_late: AtomicBool::new(true),
            leased: Notify::new(),
            answers: Notify::new(),
        }
    }
}

#[async_trait::async_trait]
impl Journal for Late {
    async fn record(&self, changes: Vec<NewChange>, at: Timestamp) -> Result<Vec<TransferId>> {
        self.journal.record(changes, at).await
    }

    async fn lease(&self, peer: &PeerName, limit: usize, now: Timestamp) -> Result<Vec<Transfer>> {
        let leased = self.journal.lease(peer, limit, now).await;
        if self.is_late.swap(false, Ordering::SeqCst) {
            self.leased.notify_one();
            self.answers.notified().await;
        }
        leased
    }

    fn release(&self, ids: &[TransferId]) {
        self.journal.release(ids)
    }

    async fn next_due(&self, peer: &PeerName, now: Timestamp) -> Result<Option<Timestamp>> {
        self.journal.next_due(peer, now).await
    }

    async fn settle(&self, settlements: Vec<Settlement>) -> Result<()> {
        self.journal.settle(settlements).await
    }

    async fn requeue(&self, which: Requeue, now: Timestamp) -> Result<u64> {
        self.journal.requeue(which, now).await
    }

    async fn begin_batch(&self, what: &str, at: Timestamp) -> Result<Option<BatchId>> {
        self.journal.begin_batch(what, at).await
    }

    async fn enlist(
        &self,
        batch: BatchId,
        what: Enlist,
        at: Timestamp,
    ) -> Result<Option<BatchState>> {
        self.journal.enlist(batch, what, at).await
    }

    async fn set_batch(&self, batch: BatchId, to: BatchState, at: Timestamp) -> Result<bool> {
        self.journal.set_batch(batch, to, at).await
    }

    async fn batch(&self, batch: BatchId) -> Result<Option<Batch>> {
        self.journal.batch(batch).await
    }

    async fn batches(&self) -> Result<Vec<Batch>> {
        self.journal.batches().await
    }

    async fn paused_batches(&self) -> Result<u64> {
        self.journal.paused_batches().await
    }

    async fn batched(
        &self,
        batch: BatchId,
        after: Option<TransferId>,
        limit: usize,
    ) -> Result<Vec<Batched>> {
        self.journal.batched(batch, after, limit).await
    }

    async fn batched_one(&self, batch: BatchId, id: TransferId) -> Result<Option<Batched>> {
        self.journal.batched_one(batch, id).await
    }

    async fn transfer(&self, id: TransferId) -> Result<Option<Transfer>> {
        self.journal.transfer(id).await
    }

    async fn transfers_of(
        &self,
        bucket: &BucketName,
        key: &ObjectKey,
        limit: usize,
    ) -> Result<Vec<Transfer>> {
        self.journal.transfers_of(bucket, key, limit).await
    }

    async fn standings(
        &self,
        bucket: &BucketName,
        key: &ObjectKey,
        version: &str,
        limit: usize,
    ) -> Result<Vec<TransferStanding>> {
        self.journal.standings(bucket, key, version, limit).await
    }

    async fn transfers(&self, list: &ListTransfers) -> Result<Vec<Transfer>> {
        self.journal.transfers(list).await
    }

    async fn counts(&self) -> Result<Vec<Count>> {
        self.journal.counts().await
    }

    async fn known_page(
        &self,
        bucket: &BucketName,
        after: Option<&ObjectKey>,
        limit: usize,
    ) -> Result<Vec<KnownKey>> {
        self.journal.known_page(bucket, after, limit).await
    }

    async fn known(&self, bucket: &BucketName, key: &ObjectKey) -> Result<Option<KnownKey>> {
        self.journal.known(bucket, key).await
    }

    async fn known_counts(&self, bucket: &BucketName) -> Result<KnownCounts> {
        self.journal.known_counts(bucket).await
    }

    async fn unsent_page(
        &self,
        bucket: &BucketName,
        peer: &PeerName,
        after: Option<&ObjectKey>,
        limit: usize,
    ) -> Result<Vec<KnownKey>> {
        self.journal.unsent_page(bucket, peer, after, limit).await
    }

    async fn unremoved_page(
        &self,
        bucket: &BucketName,
        peer: &PeerName,
        after: Option<&ObjectKey>,
        limit: usize,
    ) -> Result<Vec<KnownKey>> {
        self.journal
            .unremoved_page(bucket, peer, after, limit)
            .await
    }

    async fn sent_page(
        &self,
        bucket: &BucketName,
        after: Option<&SentVersion>,
        limit: usize,
    ) -> Result<Vec<SentVersion>> {
        self.journal.sent_page(bucket, after, limit).await
    }

    async fn is_scanned(&self, bucket: &BucketName) -> Result<bool> {
        self.journal.is_scanned(bucket).await
    }

    async fn mark_scanned(&self, bucket: &BucketName) -> Result<()> {
        self.journal.mark_scanned(bucket).await
    }

    async fn followed(&self, bucket: &BucketName) -> Result<Option<Followed>> {
        self.journal.followed(bucket).await
    }

    async fn set_followed(&self, bucket: &BucketName, to: Followed) -> Result<()> {
        self.journal.set_followed(bucket, to).await
    }

    async fn intend(
        &self,
        bucket: &BucketName,
        keys: Vec<ObjectKey>,
        touched: Touched,
        at: Timestamp,
    ) -> Result<Vec<u64>> {
        self.journal.intend(bucket, keys, touched, at).await
    }

    async fn intents(&self, bucket: &BucketName, after: u64, limit: usize) -> Result<Vec<Intent>> {
        self.journal.intents(bucket, after, limit).await
    }

    async fn intent_count(&self, bucket: &BucketName) -> Result<IntentCount> {
        self.journal.intent_count(bucket).await
    }

    async fn forget_intents(&self, ids: Vec<u64>) -> Result<()> {
        self.journal.forget_intents(ids).await
    }

    async fn replace_unsupported(
        &self,
        bucket: &BucketName,
        names: Vec<UnsupportedName>,
    ) -> Result<()> {
        self.journal.replace_unsupported(bucket, names).await
    }

    async fn unsupported(&self, bucket: &BucketName) -> Result<Vec<UnsupportedName>> {
        self.journal.unsupported(bucket).await
    }

    async fn high_water(&self) -> Result<HighWater> {
        self.journal.high_water().await
    }

    async fn peer(&self, peer: &PeerName) -> Result<Option<PeerMemory>> {
        self.journal.peer(peer).await
    }

    async fn remember_peer(&self, peer: &PeerName, memory: PeerMemory) -> Result<()> {
        self.journal.remember_peer(peer, memory).await
    }

    async fn probe(&self) -> Result<()> {
        self.journal.probe().await
    }

    async fn last_received(&self, peer: &PeerName) -> Result<Option<VersionName>> {
        self.journal.last_received(peer).await
    }

    async fn fold(&self, before: Timestamp, keep: Vec<RuleName>, limit: usize) -> Result<u64> {
        self.journal.fold(before, keep, limit).await
    }
}
