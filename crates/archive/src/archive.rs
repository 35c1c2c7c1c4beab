//! The archive: what it is made of, and what it answers to offers.

use std::{collections::BTreeMap, fmt, sync::Arc};

use parking_lot::{Mutex, RwLock};
use sealift_keys::{RecordRing, RingCounters};
use sealift_ledger::{
    BucketCount, Catalog, ReceiptTerms, RecordRow, SenderCount, SiteRow, VersionRow,
};
use sealift_store::Store;
use sealift_terms::{
    Audit, AuditKind, AuditRecord, Boxed, BucketName, ChangeKind, Checksum, Clock, Identity,
    Receipt, RecordId, Region, Rng, SecondKey, SessionFacts, Timestamp, limits, world::Room,
};
use tokio::{
    sync::{mpsc, oneshot},
    task::JoinHandle,
};

use crate::{
    ArchiveError, Begin, Budget, Offer, OutcomesTo, Result, Upload,
    commit::Item,
    committer,
    conflicts::Conflicts,
    doubts::Doubts,
    followers::Followers,
    interrupted::Interrupted,
    layers::BucketKey,
    leftovers::Leftovers,
    limits::{COMMIT_QUEUE_MAX, PARTS_QUEUE_MAX},
    quota::{PeerQuotas, QuotaBook, Quotas},
    recorder,
    records::DurableRecords,
    reserve::{Claim, Flight, Reserve},
    retention::Retentions,
    share::Shares,
    staging::Registry,
};

/// The buckets of a site, each with what it is sealed under.
pub type Buckets = BTreeMap<BucketName, BucketKey>;

/// What an archive is made of.
#[derive(Clone)]
pub struct ArchiveParts {
    /// Where sealed bytes rest.
    pub store: Arc<dyn Store>,
    /// What is remembered of them.
    pub catalog: Arc<dyn Catalog>,
    /// The key records.
    pub ring: Arc<RecordRing>,
    /// The buckets and their keys.
    pub buckets: Buckets,
    /// The region of the site.
    pub region: Region,
    /// The clock.
    pub clock: Arc<dyn Clock>,
    /// The random generator.
    pub rng: Arc<dyn Rng>,
    /// The audit log.
    pub audit: Arc<dyn Audit>,
    /// The byte budget.
    pub budget: Budget,
    /// Files of unfinished objects that may be open at once.
    pub files_max: usize,
}

/// One region's sealed buckets.
pub struct Archive {
    pub(crate) core: Arc<Core>,
    committer: Mutex<Option<Task<Box<Item>>>>,
    recorder: Mutex<Option<Task<recorder::Part>>>,
}

/// A task and the way to end it.
struct Task<T> {
    work: mpsc::Sender<Message<T>>,
    task: JoinHandle<()>,
}

/// Work for a task, or the wish that it ends.
pub(crate) enum Message<T> {
    Work(T),
    Close,
}

/// What all of an archive's tasks share.
pub(crate) struct Core {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) catalog: Arc<dyn Catalog>,
    pub(crate) ring: Arc<RecordRing>,
    pub(crate) region: Region,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) rng: Arc<dyn Rng>,
    pub(crate) audit: Arc<dyn Audit>,
    pub(crate) budget: Budget,
    pub(crate) durable_records: DurableRecords,
    pub(crate) uploads: Registry,
    pub(crate) interrupted: Interrupted,
    pub(crate) shares: Shares,
    /// Held while packs are compacted.
    pub(crate) compacting: tokio::sync::Mutex<()>,
    /// Held while holds are changed.
    pub(crate) holding: tokio::sync::Mutex<()>,
    pub(crate) retentions: RwLock<Retentions>,
    /// Held while key records that rest here are changed.
    pub(crate) changing_records: tokio::sync::Mutex<()>,
    pub(crate) commits: mpsc::Sender<Message<Box<Item>>>,
    pub(crate) parts: mpsc::Sender<Message<recorder::Part>>,
    buckets: RwLock<Arc<Buckets>>,
    reserve: Arc<Reserve>,
    pub(crate) leftovers: Leftovers,
    pub(crate) doubts: Doubts,
    pub(crate) followers: Followers,
    pub(crate) quotas: Arc<QuotaBook>,
    /// The last reading of the clock here that a change made here was dated by.
    pub(crate) written_clock: Mutex<u64>,
    pub(crate) conflicts: Conflicts,
}

impl fmt::Debug for Archive {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.core, f)
    }
}

impl fmt::Debug for Core {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Archive({}, {:?})", self.region, self.store)
    }
}

impl Archive {
    /// Opens an archive: cuts packs back to what is known to be durable, sorts
    /// out staging, and starts the tasks that commit. Needs a tokio runtime.
    ///
    /// # Errors
    /// What store or catalog say; [`ArchiveError::CatalogUnfinished`].
    pub fn open(parts: ArchiveParts) -> Boxed<'static, Result<Self>> {
        Box::pin(async move {
            if parts.catalog.is_rebuilding() {
                return Err(ArchiveError::CatalogUnfinished);
            }
            let (commits, commits_in) = mpsc::channel(COMMIT_QUEUE_MAX);
            let (parts_out, parts_in) = mpsc::channel(PARTS_QUEUE_MAX);
            let core = Arc::new(Core::new(parts, commits.clone(), parts_out.clone()));
            let pack = core.recover().await?;
            core.watch_promoted(&core.promotions().await?);
            let committer = tokio::spawn(committer::run(core.clone(), pack, commits_in));
            let recorder = tokio::spawn(recorder::run(core.clone(), parts_in));
            if let Err(error) = core.mark_holds().await {
                tracing::warn!(%error, "legal holds rest in the catalog alone");
            }
            Ok(Self {
                core,
                committer: Mutex::new(Some(Task {
                    work: commits,
                    task: committer,
                })),
                recorder: Mutex::new(Some(Task {
                    work: parts_out,
                    task: recorder,
                })),
            })
        })
    }

    /// Takes up an offer.
    ///
    /// # Errors
    /// [`ArchiveError`]; its reason goes to the sender.
    pub async fn begin(&self, offer: Offer) -> Result<Begin> {
        self.core.hold_limits(&offer)?;
        if !offer.data_follows
            && offer.change.kind.is_version()
            && let Some(row) = self.core.catalog.known(&offer.change.name).await?
            && let Some(answer) = self.core.answer_known(&offer, &row).await?
        {
            return Ok(answer);
        }
        let upload = Upload::begin(self.core.clone(), offer).await?;
        Ok(Begin::Upload(Box::new(upload)))
    }

    /// Commits an upload whose parts are all here: returns once it is durable.
    ///
    /// # Errors
    /// [`ArchiveError`]; nothing of it is visible then.
    pub async fn commit(&self, upload: Box<Upload>, checksum: Option<Checksum>) -> Result<Receipt> {
        upload.commit(checksum).await
    }

    /// As [`commit`](Self::commit), without waiting for it: returns once it stands in a
    /// group, and what became of it goes to `to` under `number`, with the others of that.
    pub async fn commit_as(
        &self,
        upload: Upload,
        checksum: Option<Checksum>,
        number: u64,
        to: OutcomesTo,
    ) {
        upload.commit_as(checksum, number, to).await;
    }

    /// Gives up what the sender cancelled: its parts are not kept.
    ///
    /// # Errors
    /// What store or catalog say.
    pub async fn cancel(&self, upload: Box<Upload>) -> Result<()> {
        let Some(staged) = upload.state.body.staged() else {
            return Ok(());
        };
        self.core.give_up(staged).await
    }

    /// Deletes unfinished uploads that made no progress for seven days, and
    /// reports each. Called now and then.
    ///
    /// # Errors
    /// What store or catalog say.
    pub fn sweep(&self) -> Boxed<'_, Result<u64>> {
        Box::pin(async move { self.core.sweep().await })
    }

    /// Lets go of what was kept of interrupted parts for long enough. Called now and then.
    pub fn let_go_of_interrupted(&self) {
        let now = self.core.clock.monotonic();
        self.core.interrupted.sweep(now);
    }

    /// Takes over other buckets, or other keys for them.
    pub fn set_buckets(&self, buckets: Buckets) {
        *self.core.buckets.write() = Arc::new(buckets);
    }

    /// Takes over other quotas.
    pub fn set_quotas(&self, quotas: Quotas) {
        self.core.quotas.set(quotas);
    }

    /// Takes over other quotas of peers. What rests here or is on its way stays.
    pub fn set_peer_quotas(&self, quotas: &PeerQuotas) {
        self.core.quotas.set_peers(quotas);
        self.core.uploads.set_quotas(quotas);
    }

    /// What rests here by who brought it; nobody is known to have brought what a rebuild found.
    ///
    /// # Errors
    /// What the catalog says.
    pub async fn senders(&self) -> Result<Vec<SenderCount>> {
        Ok(self.core.catalog.senders().await?)
    }

    /// Bytes of plaintext that the unfinished objects with files of their own will be, by who
    /// sends them.
    #[must_use]
    pub fn unfinished_of_peers(&self) -> BTreeMap<Identity, u64> {
        self.core.uploads.unfinished()
    }

    /// The site and how far it has come.
    #[must_use]
    pub fn site(&self) -> SiteRow {
        self.core.catalog.site()
    }

    /// What rests in each bucket.
    ///
    /// # Errors
    /// What the catalog says.
    pub async fn counts(&self) -> Result<Vec<BucketCount>> {
        Ok(self.core.catalog.buckets().await?)
    }

    /// Unfinished uploads of more than one part.
    #[must_use]
    pub fn unfinished(&self) -> usize {
        self.core.uploads.count()
    }

    /// Calls to the key provider made and saved.
    #[must_use]
    pub fn key_calls(&self) -> RingCounters {
        self.core.ring.counters()
    }

    /// The key records, for those who check keys.
    #[must_use]
    pub fn ring(&self) -> &Arc<RecordRing> {
        &self.core.ring
    }

    /// The byte budget.
    #[must_use]
    pub fn budget(&self) -> &Budget {
        &self.core.budget
    }

    /// How full the store is.
    ///
    /// # Errors
    /// What the store says.
    pub async fn room(&self) -> Result<Room> {
        Ok(self.core.store.room().await?)
    }

    /// Commits what is under way and ends the tasks.
    pub async fn close(&self) {
        let recorder = self.recorder.lock().take();
        end(recorder).await;
        let committer = self.committer.lock().take();
        end(committer).await;
        self.core.interrupted.clear();
        self.core.uploads.clear();
    }
}

impl Drop for Archive {
    fn drop(&mut self) {
        if let Some(task) = self.committer.get_mut() {
            task.task.abort();
        }
        if let Some(task) = self.recorder.get_mut() {
            task.task.abort();
        }
        // They hold the archive that holds them.
        self.core.interrupted.clear();
        self.core.uploads.clear();
    }
}

async fn end<T>(task: Option<Task<T>>) {
    if let Some(Task { work, task }) = task {
        let _ended_already = work.send(Message::Close).await;
        let _panicked = task.await;
    }
}

impl Core {
    pub(crate) fn new(
        parts: ArchiveParts,
        commits: mpsc::Sender<Message<Box<Item>>>,
        parts_out: mpsc::Sender<Message<recorder::Part>>,
    ) -> Self {
        Self {
            store: parts.store,
            catalog: parts.catalog,
            ring: parts.ring,
            region: parts.region,
            clock: parts.clock,
            rng: parts.rng,
            audit: parts.audit,
            budget: parts.budget,
            durable_records: DurableRecords::default(),
            uploads: Registry::default(),
            interrupted: Interrupted::default(),
            shares: Shares::new(parts.files_max),
            compacting: tokio::sync::Mutex::default(),
            holding: tokio::sync::Mutex::default(),
            retentions: RwLock::default(),
            changing_records: tokio::sync::Mutex::default(),
            commits,
            parts: parts_out,
            buckets: RwLock::new(Arc::new(parts.buckets)),
            reserve: Arc::default(),
            leftovers: Leftovers::default(),
            doubts: Doubts::default(),
            followers: Followers::default(),
            quotas: Arc::default(),
            written_clock: Mutex::default(),
            conflicts: Conflicts::default(),
        }
    }

    /// What a bucket is sealed under.
    pub(crate) fn key_of(&self, bucket: &BucketName) -> Result<BucketKey> {
        let buckets = self.buckets.read().clone();
        buckets
            .get(bucket)
            .cloned()
            .ok_or_else(|| ArchiveError::BucketMissing {
                bucket: bucket.clone(),
            })
    }

    pub(crate) fn bucket_names(&self) -> Vec<BucketName> {
        self.buckets.read().keys().cloned().collect()
    }

    /// Refuses what no look into store or catalog can make acceptable.
    fn hold_limits(&self, offer: &Offer) -> Result<()> {
        let change = &offer.change;
        self.key_of(&change.name.bucket)?;
        let size = change.facts.size;
        if size > limits::OBJECT_BYTES_MAX || offer.part_size.parts_of(size).is_none() {
            return Err(ArchiveError::TooLarge { size });
        }
        change.facts.check().map_err(ArchiveError::Facts)?;
        hold_clock(change.order.time(), self.clock.now())
    }

    /// Promises room for an object.
    pub(crate) async fn claim(&self, sealed_bytes: u64) -> Result<Claim> {
        let now = self.clock.monotonic();
        self.reserve.claim(&*self.store, now, sealed_bytes).await
    }

    /// Lets `bytes` of a part be written.
    pub(crate) async fn fly(&self, bytes: u64) -> Result<Flight> {
        let now = self.clock.monotonic();
        self.reserve.fly(&*self.store, now, bytes).await
    }

    /// A version that is stored: the same is answered with its receipt, or taken again
    /// when it is damaged; another one is refused.
    async fn answer_known(&self, offer: &Offer, row: &VersionRow) -> Result<Option<Begin>> {
        let same_checksum = match (&offer.checksum, &row.checksum) {
            (Some(offered), Some(stored)) => offered == stored,
            // One that was never given cannot differ; version ids are not used twice.
            _ => row.facts.size == offer.change.facts.size,
        };
        let kind = match row.kind {
            sealift_ledger::VersionKind::Object => ChangeKind::Put,
            sealift_ledger::VersionKind::DeleteMarker => ChangeKind::DeleteMarker,
        };
        if same_checksum && kind == offer.change.kind {
            if row.quarantined {
                return Ok(None);
            }
            let receipt = self.receipt_of(row, &offer.session).await?;
            return Ok(Some(Begin::Known(Box::new(receipt))));
        }
        self.report_conflict(row, offer.origin.as_str())?;
        Ok(Some(Begin::Conflict {
            name: row.name.clone(),
            stored: row.checksum.clone(),
        }))
    }

    /// The receipt that was given, or after a rebuild a new one.
    pub(crate) async fn receipt_of(
        &self,
        row: &VersionRow,
        session: &Arc<SessionFacts>,
    ) -> Result<Receipt> {
        if let Some(receipt) = &row.receipt {
            return Ok(receipt.clone());
        }
        let record = self.record_row(row.record).await?;
        let second = match row.second_record {
            None => None,
            Some(second) => Some(self.record_row(second).await?),
        };
        let terms = ReceiptTerms {
            cmk: record.cmk,
            cmk_version: record.cmk_version,
            second: second.map(|second| SecondKey {
                record: second.id,
                cmk: second.cmk,
                cmk_version: second.cmk_version,
            }),
            region: self.region.clone(),
            session: session.clone(),
        };
        Ok(row.receipt_on(&terms, self.catalog.site()))
    }

    async fn record_row(&self, id: RecordId) -> Result<RecordRow> {
        let record = self.catalog.record(id).await?;
        record.ok_or(ArchiveError::RecordMissing(id))
    }

    /// Puts a conflict on record: without the checksums, which are sealed facts.
    pub(crate) fn report_conflict(&self, row: &VersionRow, origin: &str) -> Result<()> {
        let record = AuditRecord::new(self.clock.now(), AuditKind::ObjectConflict, origin)
            .with("bucket", &row.name.bucket)
            .with("key", &row.name.key)
            .with("version", &row.name.version);
        tracing::error!(version = %row.name, "a stored version was offered with other content");
        Ok(self.audit.record(record)?)
    }
}

/// A checksum for an error message.
pub(crate) fn in_words(checksum: Option<&Checksum>) -> String {
    checksum.map_or_else(|| "none".to_owned(), ToString::to_string)
}

/// Refuses a change that is dated too far ahead of the clock here.
pub(crate) fn hold_clock(dated: Timestamp, here: Timestamp) -> Result<()> {
    match dated.since(here) > limits::CLOCK_SKEW_MAX {
        true => Err(ArchiveError::ClockAhead { dated, here }),
        false => Ok(()),
    }
}

/// Hands work to a task, or says that it has ended.
pub(crate) async fn hand_over<T>(to: &mpsc::Sender<Message<T>>, work: T) -> Result<()> {
    to.send(Message::Work(work))
        .await
        .map_err(|_| ArchiveError::Closed)
}

/// Waits for a task's answer.
pub(crate) async fn answer<T>(from: oneshot::Receiver<Result<T>>) -> Result<T> {
    from.await.unwrap_or(Err(ArchiveError::Closed))
}
