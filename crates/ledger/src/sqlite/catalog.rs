//! The catalog in SQLite.

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use async_trait::async_trait;
use parking_lot::Mutex;
use rusqlite::{Connection, params};
use sealift_terms::{
    AuditRecord, BucketName, Epoch, ObjectKey, ObjectUid, PartIndex, RecordId, SiteId, Timestamp,
    VersionName,
};

use super::{
    audit::SqliteAudit,
    catalog_commit::{
        SealedCommit, clear, commit, name_params, part_aad, purged_at, put_records, restore,
    },
    catalog_list::{listed, standing, versions},
    catalog_rows::{FILE, RECORD, VERSION, file, known, record, version},
    catalog_state::{CatalogState, SCHEMA},
    columns::{Columns, all, first, limit},
    database::{check_integrity, open_writer},
    key_use::{beside, key_use},
    notes, quarantine,
    readers::Readers,
    relocation,
    sealing::Sealing,
    uploads::{self, UPLOAD},
    writer::Writer,
};
use crate::{
    BucketCount, Catalog, Commit, Committed, DamagedVersion, FactsSealer, FileRow, KeyUse,
    ListQuarantined, ListVersions, ListedVersion, MarkRow, Note, Outcome, PackState,
    QuarantineCount, Quarantined, RecordRow, Relocation, Result, SenderCount, SiteRow, Standing,
    UploadPart, UploadRow, VersionPage, VersionRow,
};

/// Versions that are looked up on the thread that asks: it takes microseconds.
const STANDING_AT_HAND_MAX: usize = 16;

/// The ids a catalog gets when it is made; an existing one keeps its own.
#[derive(Debug, Clone, Copy)]
pub struct NewSite {
    /// The site.
    pub site: SiteId,
    /// Its first epoch.
    pub epoch: Epoch,
}

/// A [`Catalog`] in one SQLite file, with the audit log beside it.
pub struct SqliteCatalog {
    writer: Arc<Writer<CatalogState>>,
    readers: Arc<Readers>,
    sealing: Sealing,
    site: Arc<Mutex<SiteRow>>,
    reserved: Arc<AtomicU64>,
    rebuilding: Arc<AtomicBool>,
    audit: Arc<SqliteAudit>,
}

impl SqliteCatalog {
    /// Opens or makes the catalog at `path`.
    ///
    /// # Errors
    /// [`LedgerError`](crate::LedgerError) when it is damaged, another's, newer than this program, or
    /// cannot be opened.
    pub fn open(path: &Path, sealer: Arc<dyn FactsSealer>, new: NewSite) -> Result<Self> {
        let db = open_writer(path, &SCHEMA)?;
        let new = SiteRow {
            site: new.site,
            epoch: new.epoch,
            sequence: 0,
        };
        let state = CatalogState::load(&db, new)?;
        let (site, reserved) = (state.published(), state.reserved());
        let rebuilding = state.is_rebuilding();
        let writer = Arc::new(Writer::start("catalog", db, state)?);
        let readers = Readers::new(path.to_owned());
        let audit = SqliteAudit::new(Arc::clone(&writer), Arc::clone(&readers));
        Ok(Self {
            writer,
            readers,
            sealing: Sealing(sealer),
            site,
            reserved,
            rebuilding,
            audit: Arc::new(audit),
        })
    }

    /// The audit log, which is written with the catalog's commits.
    #[must_use]
    pub fn audit(&self) -> Arc<SqliteAudit> {
        Arc::clone(&self.audit)
    }

    /// Examines the whole file, whatever its size.
    ///
    /// # Errors
    /// [`LedgerError::Damaged`](crate::LedgerError::Damaged) with the first finding.
    pub async fn check_integrity(&self) -> Result<()> {
        let path = self.readers.path().clone();
        self.readers
            .page(move |db| check_integrity(db, &path, u64::MAX))
            .await
    }
}

#[async_trait]
impl Catalog for SqliteCatalog {
    fn site(&self) -> SiteRow {
        *self.site.lock()
    }

    fn reserve_sequence(&self) -> u64 {
        self.reserved.fetch_add(1, Ordering::Relaxed) + 1
    }

    async fn commit(&self, group: Commit) -> Result<Committed> {
        let sealed = SealedCommit::new(group, &self.sealing)?;
        let sealing = self.sealing.clone();
        self.writer
            .call(move |db, state| commit(db, state, &sealing, sealed))
            .await
    }

    async fn known(&self, name: &VersionName) -> Result<Option<VersionRow>> {
        self.readers.point(|db| known(db, &self.sealing, name))
    }

    async fn purged(&self, name: &VersionName) -> Result<bool> {
        let at = self.readers.point(|db| purged_at(db, name))?;
        Ok(at.is_some())
    }

    async fn standing(&self, names: Vec<VersionName>) -> Result<Vec<Standing>> {
        let sealing = self.sealing.clone();
        let few = names.len() <= STANDING_AT_HAND_MAX;
        let look = move |db: &Connection| standing(db, &sealing, &names);
        match few {
            true => self.readers.point(look),
            false => self.readers.page(look).await,
        }
    }

    async fn latest(&self, bucket: &BucketName, key: &ObjectKey) -> Result<Option<VersionRow>> {
        self.readers.point(|db| {
            let sql = format!(
                "{VERSION} WHERE v.bucket = ?1 AND v.key = ?2
                 ORDER BY v.ord DESC, v.version DESC LIMIT 1"
            );
            let values = [bucket.as_str(), key.as_str()];
            first(db, &sql, values, |row| version(row, &self.sealing))
        })
    }

    async fn versions(&self, list: &ListVersions) -> Result<VersionPage> {
        let (list, sealing) = (list.clone(), self.sealing.clone());
        self.readers
            .page(move |db| versions(db, &sealing, &list))
            .await
    }

    async fn listed(&self, list: &ListVersions) -> Result<VersionPage<ListedVersion>> {
        let (list, sealing) = (list.clone(), self.sealing.clone());
        self.readers
            .page(move |db| listed(db, &sealing, &list))
            .await
    }

    async fn buckets(&self) -> Result<Vec<BucketCount>> {
        self.readers.point(|db| {
            let sql = "SELECT bucket, objects, bytes, delete_markers FROM buckets ORDER BY bucket";
            all(db, sql, [], |row| {
                let mut columns = Columns::new("buckets", row);
                Ok(BucketCount {
                    bucket: columns.name()?,
                    objects: columns.uint()?,
                    bytes: columns.uint()?,
                    delete_markers: columns.uint()?,
                })
            })
        })
    }

    async fn senders(&self) -> Result<Vec<SenderCount>> {
        self.readers.point(|db| {
            let sql =
                "SELECT sender, objects, bytes FROM senders WHERE objects > 0 ORDER BY sender";
            all(db, sql, [], |row| {
                let mut columns = Columns::new("senders", row);
                Ok(SenderCount {
                    sender: columns.name()?,
                    objects: columns.uint()?,
                    bytes: columns.uint()?,
                })
            })
        })
    }

    async fn put_records(&self, records: Vec<RecordRow>) -> Result<()> {
        self.writer
            .call(move |db, _| put_records(db, &records))
            .await
    }

    async fn record(&self, id: RecordId) -> Result<Option<RecordRow>> {
        self.readers.point(|db| {
            let sql = format!("SELECT {RECORD} FROM records WHERE id = ?1");
            first(db, &sql, [id.0], record)
        })
    }

    async fn records(&self, after: Option<RecordId>, rows: usize) -> Result<Vec<RecordRow>> {
        self.readers
            .page(move |db| {
                let sql = format!(
                    "SELECT {RECORD} FROM records WHERE ?1 IS NULL OR id > ?1 ORDER BY id LIMIT ?2"
                );
                all(db, &sql, params![after.map(|id| id.0), limit(rows)], record)
            })
            .await
    }

    async fn key_use(&self) -> Result<Vec<KeyUse>> {
        self.readers.page(key_use).await
    }

    async fn begin_uploads(&self, rows: Vec<UploadRow>) -> Result<()> {
        let mut sealed = Vec::with_capacity(rows.len());
        for row in rows {
            let facts = self.sealing.seal("upload facts", &row.name, &row.facts)?;
            sealed.push((row, facts));
        }
        self.writer
            .call(move |db, _| uploads::begin(db, &sealed))
            .await
    }

    async fn put_parts(&self, parts: Vec<UploadPart>, at: Timestamp) -> Result<()> {
        let mut sealed = Vec::with_capacity(parts.len());
        for part in parts {
            let aad = part_aad(part.uid, part.index.0);
            let crc = part.crc64.to_be_bytes();
            let crc = self.sealing.seal_bytes(&aad, "a part's checksum", &crc)?;
            sealed.push((part, crc));
        }
        self.writer
            .call(move |db, _| uploads::put_parts(db, &sealed, at))
            .await
    }

    async fn forget_parts(&self, uid: ObjectUid, parts: Vec<PartIndex>) -> Result<()> {
        self.writer
            .call(move |db, _| uploads::forget_parts(db, uid, &parts))
            .await
    }

    async fn remove_uploads(&self, uids: Vec<ObjectUid>) -> Result<()> {
        self.writer
            .call(move |db, _| uploads::remove(db, &uids))
            .await
    }

    async fn upload(&self, uid: ObjectUid) -> Result<Option<UploadRow>> {
        self.readers.point(|db| {
            let sql = format!("SELECT {UPLOAD} FROM uploads WHERE uid = ?1");
            first(db, &sql, [uid.0], |row| uploads::upload(row, &self.sealing))
        })
    }

    async fn upload_of(&self, name: &VersionName) -> Result<Option<UploadRow>> {
        self.readers.point(|db| {
            let sql = format!(
                "SELECT {UPLOAD} FROM uploads WHERE bucket = ?1 AND key = ?2 AND version = ?3
                 ORDER BY begun_at DESC LIMIT 1"
            );
            let values = name_params(name);
            first(db, &sql, values, |row| uploads::upload(row, &self.sealing))
        })
    }

    async fn uploads(&self, after: Option<ObjectUid>, rows: usize) -> Result<Vec<UploadRow>> {
        let sealing = self.sealing.clone();
        self.readers
            .page(move |db| {
                let sql = format!(
                    "SELECT {UPLOAD} FROM uploads WHERE ?1 IS NULL OR uid > ?1
                     ORDER BY uid LIMIT ?2"
                );
                let values = params![after.map(|uid| uid.0), limit(rows)];
                all(db, &sql, values, |row| uploads::upload(row, &sealing))
            })
            .await
    }

    async fn parts(&self, uid: ObjectUid, from: PartIndex, rows: usize) -> Result<Vec<UploadPart>> {
        let sealing = self.sealing.clone();
        self.readers
            .page(move |db| {
                let sql = "SELECT part, commitment, outer_commitment, crc FROM parts WHERE uid = ?1 AND part >= ?2
                           ORDER BY part LIMIT ?3";
                let values = params![uid.0, from.0, limit(rows)];
                all(db, sql, values, |row| uploads::part(row, uid, &sealing))
            })
            .await
    }

    async fn files(&self, after: Option<&str>, rows: usize) -> Result<Vec<FileRow>> {
        let after = after.unwrap_or_default().to_owned();
        self.readers
            .page(move |db| {
                let sql =
                    format!("SELECT {FILE} FROM files WHERE file > ?1 ORDER BY file LIMIT ?2");
                all(db, &sql, params![after, limit(rows)], file)
            })
            .await
    }

    async fn open_packs(&self) -> Result<Vec<FileRow>> {
        self.readers.point(|db| {
            let sql = format!("SELECT {FILE} FROM files WHERE closed = 0 ORDER BY file");
            all(db, &sql, [], file)
        })
    }

    async fn quarantine(
        &self,
        found: Vec<DamagedVersion>,
        audit: Vec<AuditRecord>,
        at: Timestamp,
    ) -> Result<u64> {
        self.writer
            .call(move |db, state| {
                let put = quarantine::put(db, &found, at)?;
                state.append(db, audit)?;
                Ok(put)
            })
            .await
    }

    async fn quarantined(&self, list: &ListQuarantined) -> Result<Vec<Quarantined>> {
        let list = list.clone();
        self.readers
            .page(move |db| quarantine::list(db, &list))
            .await
    }

    async fn quarantine_count(&self) -> Result<QuarantineCount> {
        self.readers.point(quarantine::count)
    }

    async fn forget_quarantined(&self, ids: Vec<u64>, audit: Vec<AuditRecord>) -> Result<u64> {
        self.writer
            .call(move |db, state| {
                let gone = quarantine::forget(db, &ids)?;
                state.append(db, audit)?;
                Ok(gone)
            })
            .await
    }

    async fn marks(&self, after: Option<&MarkRow>, rows: usize) -> Result<Vec<MarkRow>> {
        let (after, sealing) = (after.cloned(), self.sealing.clone());
        self.readers
            .page(move |db| relocation::marks(db, &sealing, after.as_ref(), rows))
            .await
    }

    async fn marks_of(&self, name: &VersionName) -> Result<Vec<MarkRow>> {
        self.readers
            .point(|db| relocation::marks_of(db, &self.sealing, name))
    }

    async fn relocate(
        &self,
        moves: Vec<Relocation>,
        pack: PackState,
        audit: Vec<AuditRecord>,
        at: Timestamp,
    ) -> Result<u64> {
        self.writer
            .call(move |db, state| {
                let moved = relocation::relocate(db, &moves, pack, at)?;
                state.append(db, audit)?;
                Ok(moved)
            })
            .await
    }

    async fn forget_file(&self, file: &str) -> Result<bool> {
        let file = file.to_owned();
        self.writer
            .call(move |db, _| quarantine::forget_file(db, &file))
            .await
    }

    async fn version_under(&self, id: RecordId) -> Result<Option<VersionRow>> {
        let sealing = self.sealing.clone();
        self.readers
            .page(move |db| {
                let sql = format!("{VERSION} WHERE v.record = ?1 OR v.second_record = ?1 LIMIT 1");
                first(db, &sql, [id.0], |row| version(row, &sealing))
            })
            .await
    }

    async fn beside(&self, record: RecordId) -> Result<Vec<RecordId>> {
        self.readers.page(move |db| beside(db, record)).await
    }

    async fn scrub_state(&self) -> Result<Option<String>> {
        self.readers.point(quarantine::scrub_state)
    }

    async fn put_scrub_state(&self, state: String) -> Result<()> {
        self.writer
            .call(move |db, _| quarantine::put_scrub_state(db, &state))
            .await
    }

    async fn note(&self, name: &str) -> Result<Option<Note>> {
        self.readers
            .point(|db| notes::note(db, &self.sealing, name))
    }

    async fn notes(&self, prefix: &str, after: Option<&str>, rows: usize) -> Result<Vec<Note>> {
        let (sealing, prefix) = (self.sealing.clone(), prefix.to_owned());
        let after = after.map(ToOwned::to_owned);
        self.readers
            .page(move |db| notes::notes(db, &sealing, &prefix, after.as_deref(), rows))
            .await
    }

    async fn put_notes(&self, changes: Vec<Note>) -> Result<()> {
        let sealed = notes::sealed(changes, &self.sealing)?;
        self.writer.call(move |db, _| notes::put(db, &sealed)).await
    }

    async fn renew_epoch(&self, epoch: Epoch) -> Result<()> {
        self.writer
            .call(move |_, state| {
                state.set_epoch(epoch);
                Ok(())
            })
            .await
    }

    fn is_rebuilding(&self) -> bool {
        self.rebuilding.load(Ordering::Acquire)
    }

    async fn begin_rebuild(&self, epoch: Epoch) -> Result<()> {
        self.writer
            .call(move |db, state| {
                clear(db)?;
                state.set_epoch(epoch);
                state.set_rebuilding(true);
                Ok(())
            })
            .await
    }

    async fn end_rebuild(&self, audit: Vec<AuditRecord>) -> Result<()> {
        self.writer
            .call(move |db, state| {
                state.set_rebuilding(false);
                state.append(db, audit)
            })
            .await
    }

    async fn restore(&self, found: Commit) -> Result<Vec<Outcome>> {
        let sealed = SealedCommit::new(found, &self.sealing)?;
        let sealing = self.sealing.clone();
        self.writer
            .call(move |db, state| restore(db, state, &sealing, sealed))
            .await
    }
}
