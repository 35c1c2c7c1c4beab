//! Unfinished objects in files of their own: which there are, and how they end.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use parking_lot::Mutex;
use sealift_ledger::UploadRow;
use sealift_store::{Store, StoreError, StoreFile, StoreName};
use sealift_terms::{AuditKind, AuditRecord, Identity, ObjectUid, Timestamp, VersionName, limits};

use crate::{
    ArchiveError, PeerQuotas, QuotaHolder, Result,
    archive::Core,
    limits::{OPEN_UPLOADS_MAX, PAGE_ROWS},
    share::OpenFile,
    upload::UploadState,
};

/// Where the store keeps objects with a file of their own.
pub(crate) const OBJECTS: &str = "objects/";

/// The name of an object's file. It says nothing of the object.
pub(crate) fn file_name(uid: ObjectUid) -> Result<StoreName> {
    let hex = uid.to_string();
    let folder = hex.get(..2).unwrap_or_default();
    let name = StoreName::new(format!("{OBJECTS}{folder}/{hex}.slf"));
    Ok(name.map_err(StoreError::from)?)
}

/// The file of an unfinished object.
#[derive(Debug)]
pub(crate) struct StagedFile {
    pub(crate) uid: ObjectUid,
    pub(crate) name: StoreName,
    pub(crate) file: Arc<dyn StoreFile>,
    store: Arc<dyn Store>,
    /// Who sends it, of which version, when an uploads row is kept: it survives a restart.
    pub(crate) kept_for: Option<(Identity, VersionName)>,
    /// Held while parts are made durable and recorded, and by the commit to stop that.
    pub(crate) recording: Arc<tokio::sync::Mutex<()>>,
    /// META is being written, or is: no second commit may write another.
    pub(crate) committing: AtomicBool,
    /// What it counts against while it is open.
    _counted: Counted,
    /// Committed or given up: nobody touches it any more.
    ended: AtomicBool,
}

impl StagedFile {
    pub(crate) fn new(
        store: Arc<dyn Store>,
        uid: ObjectUid,
        name: StoreName,
        file: Arc<dyn StoreFile>,
        kept_for: Option<(Identity, VersionName)>,
        counted: Counted,
    ) -> Self {
        Self {
            uid,
            name,
            file,
            store,
            kept_for,
            recording: Arc::default(),
            committing: AtomicBool::new(false),
            _counted: counted,
            ended: AtomicBool::new(false),
        }
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.ended.load(Ordering::Acquire)
    }

    /// Ends it; `true` for the first who does.
    pub(crate) fn end(&self) -> bool {
        !self.ended.swap(true, Ordering::AcqRel)
    }
}

impl Drop for StagedFile {
    /// A file without a row is of no use to anyone after this process or session.
    fn drop(&mut self) {
        if self.kept_for.is_none()
            && !self.has_ended()
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            let (store, name) = (self.store.clone(), self.name.clone());
            runtime.spawn(async move {
                if let Err(error) = store.discard(&name).await {
                    tracing::warn!(%name, %error, "a staged file was not removed");
                }
            });
        }
    }
}

/// What an open file counts against, until it is dropped.
#[derive(Debug)]
pub(crate) struct Counted {
    pub(crate) _file: OpenFile,
    /// Of a file without a row.
    pub(crate) _rowless: Option<Rowless>,
}

/// An upload that is counted without a row in the catalog.
#[derive(Debug)]
pub(crate) struct Rowless {
    registry: Registry,
    origin: Identity,
    uid: ObjectUid,
}

impl Drop for Rowless {
    fn drop(&mut self) {
        self.registry.uncount(&self.origin, self.uid);
    }
}

/// The unfinished uploads with files: which each peer has, and which of those that
/// survive a restart are open.
#[derive(Debug, Default, Clone)]
pub(crate) struct Registry(Arc<Mutex<Uploads>>);

#[derive(Debug, Default)]
struct Uploads {
    /// By who sends them, with the bytes of plaintext that each will be. A map, so that one
    /// that ends twice is counted down once.
    of_peers: HashMap<Identity, HashMap<ObjectUid, u64>>,
    /// Bytes that the unfinished uploads of a peer may be together.
    bytes_max: BTreeMap<Identity, u64>,
    open: HashMap<(Identity, VersionName), Arc<UploadState>>,
}

impl Registry {
    pub(crate) fn count(&self) -> usize {
        self.0.lock().of_peers.values().map(HashMap::len).sum()
    }

    /// Takes other quotas for the unfinished uploads of peers. What is there stays.
    pub(crate) fn set_quotas(&self, quotas: &PeerQuotas) {
        let limited = quotas.iter();
        let limited = limited.filter_map(|(peer, it)| Some((peer.clone(), it.unfinished_bytes?)));
        self.0.lock().bytes_max = limited.collect();
    }

    /// Bytes that the unfinished uploads of each peer will be.
    pub(crate) fn unfinished(&self) -> BTreeMap<Identity, u64> {
        let uploads = self.0.lock();
        let of_peers = uploads.of_peers.iter();
        let sums = of_peers.map(|(peer, of)| (peer.clone(), sum(of)));
        sums.filter(|(_, bytes)| *bytes > 0).collect()
    }

    /// Counts one more upload of a peer, of so many bytes.
    pub(crate) fn admit(&self, origin: &Identity, uid: ObjectUid, bytes: u64) -> Result<()> {
        let allowed = limits::UNFINISHED_UPLOADS_PER_PEER_MAX;
        self.admit_below(origin, uid, bytes, allowed)
    }

    /// Counts one more of an origin that may have so many.
    pub(crate) fn admit_below(
        &self,
        origin: &Identity,
        uid: ObjectUid,
        bytes: u64,
        allowed: usize,
    ) -> Result<()> {
        let mut uploads = self.0.lock();
        let bytes_max = uploads.bytes_max.get(origin).copied();
        let of_peer = uploads.of_peers.entry(origin.clone()).or_default();
        let wanted = sum(of_peer).saturating_add(bytes);
        if let Some(allowed) = bytes_max.filter(|allowed| wanted > *allowed) {
            return Err(ArchiveError::QuotaReached {
                holder: QuotaHolder::Peer(origin.clone()),
                what: "bytes unfinished",
                wanted,
                allowed,
            });
        }
        if of_peer.len() >= allowed {
            return Err(ArchiveError::TooManyUploads {
                origin: origin.clone(),
                allowed,
            });
        }
        of_peer.insert(uid, bytes);
        Ok(())
    }

    /// Counts one that has no row, until what is returned is dropped.
    pub(crate) fn admit_rowless(
        &self,
        origin: &Identity,
        uid: ObjectUid,
        bytes: u64,
    ) -> Result<Rowless> {
        self.admit(origin, uid, bytes)?;
        Ok(Rowless {
            registry: self.clone(),
            origin: origin.clone(),
            uid,
        })
    }

    /// Counts one that was found at the start, whatever the limit.
    pub(crate) fn found(&self, origin: &Identity, uid: ObjectUid, bytes: u64) {
        let mut uploads = self.0.lock();
        let of_peer = uploads.of_peers.entry(origin.clone()).or_default();
        of_peer.insert(uid, bytes);
    }

    pub(crate) fn find(&self, whose: &(Identity, VersionName)) -> Option<Arc<UploadState>> {
        self.0.lock().open.get(whose).cloned()
    }

    /// Keeps an upload open for when its sender comes back.
    pub(crate) fn keep(&self, whose: (Identity, VersionName), state: Arc<UploadState>) {
        let mut uploads = self.0.lock();
        let idle = match uploads.open.len() >= OPEN_UPLOADS_MAX {
            true => uploads.take_idle(),
            false => Vec::new(),
        };
        uploads.open.insert(whose, state);
        drop(uploads);
        drop(idle);
    }

    /// Closes the files that nobody writes to now.
    pub(crate) fn close_idle(&self) {
        let idle = self.0.lock().take_idle();
        drop(idle);
    }

    /// Lets go of what is open; rows and files stay.
    pub(crate) fn clear(&self) {
        let open = std::mem::take(&mut self.0.lock().open);
        drop(open);
    }

    /// One upload less.
    pub(crate) fn ended(&self, whose: &(Identity, VersionName), uid: ObjectUid) {
        self.uncount(&whose.0, uid);
        self.close(whose, uid);
    }

    /// Lets go of one whose row stays.
    pub(crate) fn close(&self, whose: &(Identity, VersionName), uid: ObjectUid) {
        let mut uploads = self.0.lock();
        let closed = match uploads.open.get(whose).is_some_and(|open| open.uid == uid) {
            true => uploads.open.remove(whose),
            false => None,
        };
        drop(uploads);
        drop(closed);
    }

    fn uncount(&self, origin: &Identity, uid: ObjectUid) {
        let mut uploads = self.0.lock();
        if let Some(of_peer) = uploads.of_peers.get_mut(origin) {
            of_peer.remove(&uid);
        }
    }
}

/// At most a thousand and some are added up.
fn sum(of_peer: &HashMap<ObjectUid, u64>) -> u64 {
    of_peer
        .values()
        .fold(0, |sum, bytes| sum.saturating_add(*bytes))
}

impl Uploads {
    /// Takes out those that nobody writes to; they are found again through their
    /// rows. To be dropped without the lock: their files are uncounted then.
    fn take_idle(&mut self) -> Vec<Arc<UploadState>> {
        let idle = |_: &_, state: &mut Arc<UploadState>| Arc::strong_count(state) == 1;
        self.open.extract_if(idle).map(|(_, state)| state).collect()
    }
}

impl Core {
    /// Gives up an unfinished object: its row, its parts and its file go.
    pub(crate) async fn give_up(&self, staged: &StagedFile) -> Result<()> {
        if !staged.end() {
            return Ok(());
        }
        // Parts on their way into the ledger first.
        let _none_recorded_now = staged.recording.lock().await;
        if let Some(whose) = &staged.kept_for {
            self.uploads.ended(whose, staged.uid);
            self.catalog.remove_uploads(vec![staged.uid]).await?;
        }
        Ok(self.store.discard(&staged.name).await?)
    }

    /// Removes what a row names, of an upload that is not open.
    pub(crate) async fn remove_upload(&self, row: &UploadRow) -> Result<()> {
        let name = StoreName::new(&row.file).map_err(StoreError::from)?;
        self.uploads
            .ended(&(row.origin.clone(), row.name.clone()), row.uid);
        self.catalog.remove_uploads(vec![row.uid]).await?;
        self.store.discard(&name).await?;
        // Published and not committed: a commit takes the row with it.
        Ok(self.store.remove(&name).await?)
    }

    /// Every row of an unfinished upload.
    pub(crate) async fn upload_rows(&self) -> Result<Vec<UploadRow>> {
        let mut rows: Vec<UploadRow> = Vec::new();
        loop {
            let after = rows.last().map(|row| row.uid);
            let page = self.catalog.uploads(after, PAGE_ROWS).await?;
            if page.is_empty() {
                return Ok(rows);
            }
            rows.extend(page);
        }
    }

    /// Deletes and reports what made no progress for too long.
    pub(crate) async fn sweep(&self) -> Result<u64> {
        let idle_since: Timestamp = self.clock.now().minus(limits::STAGING_IDLE_MAX);
        self.remove_leftovers().await?;
        let mut swept = self.sweep_assemblies(idle_since).await?;
        let pieces = self.pieces_in_use().await?;
        for row in self.upload_rows().await? {
            // A piece lives as long as what it is for.
            if row.touched_at > idle_since || pieces.contains(&row.uid) {
                continue;
            }
            let whose = (row.origin.clone(), row.name.clone());
            match self.uploads.find(&whose).filter(|open| open.uid == row.uid) {
                Some(open) => match open.body.staged() {
                    Some(staged) => self.give_up(staged).await?,
                    None => continue,
                },
                None => self.remove_upload(&row).await?,
            }
            swept += 1;
            tracing::warn!(version = %row.name, "an unfinished upload without progress was deleted");
            let record = AuditRecord::new(self.clock.now(), AuditKind::UploadExpired, "agent")
                .with("bucket", &row.name.bucket)
                .with("key", &row.name.key)
                .with("version", &row.name.version)
                .with("origin", &row.origin);
            self.audit.record(record)?;
        }
        Ok(swept)
    }
}
