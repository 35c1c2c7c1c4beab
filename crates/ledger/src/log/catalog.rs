//! The catalog in a log file, with the audit log.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Bound,
    path::Path,
    sync::Arc,
};

use async_trait::async_trait;
use sealift_terms::{
    AuditRecord, BucketName, Disk, Epoch, Identity, KeyId, ObjectKey, ObjectUid, PartIndex,
    RecordId, RecordIds, Timestamp, VersionName,
};

use super::{
    audit::LogAudit,
    catalog_state::{Act, CatalogState},
    keeper::Keeper,
};
use crate::{
    BucketCount, Catalog, Commit, Committed, DamagedVersion, FileRow, KeyUse, ListQuarantined,
    ListVersions, ListedVersion, MarkRow, NewSite, Note, Outcome, PackState, QuarantineCount,
    Quarantined, RecordRow, Relocation, Result, SenderCount, SiteRow, UploadPart, UploadRow,
    VersionCursor, VersionKind, VersionPage, VersionRow,
};

/// A [`Catalog`] in one log file, with the audit log in the same.
pub struct LogCatalog {
    keeper: Keeper<CatalogState>,
    audit: Arc<LogAudit>,
}

impl LogCatalog {
    /// Opens or makes the catalog at `path`. Needs a tokio runtime.
    ///
    /// # Errors
    /// [`LedgerError`](crate::LedgerError): what the disk says, or what is in the file.
    pub fn open(disk: Arc<dyn Disk>, path: &Path, new: NewSite) -> Result<Self> {
        let found = Act::Found(new.site, new.epoch).into();
        let keeper = Keeper::open(disk, path, CatalogState::new(new), Some(found))?;
        let audit = Arc::new(LogAudit::new(keeper.clone()));
        Ok(Self { keeper, audit })
    }

    /// The audit log, which is written with the catalog's commits.
    #[must_use]
    pub fn audit(&self) -> Arc<LogAudit> {
        Arc::clone(&self.audit)
    }

    /// Does it, and says how many rows that changed.
    async fn change(&self, act: Act) -> Result<u64> {
        Ok(self.keeper.call(act.into()).await?.rows)
    }

    async fn act(&self, act: Act) -> Result<()> {
        self.keeper.call(act.into()).await.map(drop)
    }
}

#[async_trait]
impl Catalog for LogCatalog {
    fn site(&self) -> SiteRow {
        self.keeper.with(|state| state.site)
    }

    fn reserve_sequence(&self) -> u64 {
        self.keeper.with(|state| {
            state.reserved += 1;
            state.reserved
        })
    }

    async fn commit(&self, group: Commit) -> Result<Committed> {
        let done = self
            .keeper
            .call(Act::Commit(Box::new(group)).into())
            .await?;
        Ok(done.into())
    }

    async fn known(&self, name: &VersionName) -> Result<Option<VersionRow>> {
        Ok(self.keeper.with(|state| state.version(name)))
    }

    async fn purged(&self, name: &VersionName) -> Result<bool> {
        let place = (name.clone(), crate::marks::PURGES);
        Ok(self
            .keeper
            .with(|state| state.rows.marks.contains_key(&place)))
    }

    async fn latest(&self, bucket: &BucketName, key: &ObjectKey) -> Result<Option<VersionRow>> {
        Ok(self.keeper.with(|state| {
            let rows = state.rows.versions.values();
            let rows = rows.filter(|row| row.name.bucket == *bucket && row.name.key == *key);
            let latest = rows.max_by_key(|row| (&row.order, &row.name.version));
            latest.map(|row| state.tagged(row))
        }))
    }

    async fn versions(&self, list: &ListVersions) -> Result<VersionPage> {
        Ok(self.keeper.with(|state| listing(state, list)))
    }

    async fn listed(&self, list: &ListVersions) -> Result<VersionPage<ListedVersion>> {
        let VersionPage { rows, next } = self.versions(list).await?;
        let rows = rows.iter().map(ListedVersion::from).collect();
        Ok(VersionPage { rows, next })
    }

    async fn buckets(&self) -> Result<Vec<BucketCount>> {
        Ok(self
            .keeper
            .with(|state| state.rows.buckets.values().cloned().collect()))
    }

    async fn senders(&self) -> Result<Vec<SenderCount>> {
        Ok(self.keeper.with(|state| {
            let versions = state.rows.versions.values();
            let objects = versions.filter(|row| row.kind == VersionKind::Object);
            let mut sums: BTreeMap<Identity, SenderCount> = BTreeMap::new();
            for row in objects {
                let Some(receipt) = &row.receipt else {
                    continue;
                };
                let sender = receipt.session.sender.clone();
                let new = SenderCount {
                    sender: sender.clone(),
                    objects: 0,
                    bytes: 0,
                };
                let sum = sums.entry(sender).or_insert(new);
                sum.objects += 1;
                sum.bytes += row.facts.size;
            }
            sums.into_values().collect()
        }))
    }

    async fn put_records(&self, records: Vec<RecordRow>) -> Result<()> {
        self.act(Act::Records(records)).await
    }

    async fn record(&self, id: RecordId) -> Result<Option<RecordRow>> {
        Ok(self.keeper.with(|state| {
            let row = state.rows.records.get(&id);
            row.map(|(row, _)| row.clone())
        }))
    }

    async fn records(&self, after: Option<RecordId>, limit: usize) -> Result<Vec<RecordRow>> {
        Ok(self.keeper.with(|state| {
            let rows = state.rows.records.range((behind(after), Bound::Unbounded));
            rows.take(limit).map(|(_, (row, _))| row.clone()).collect()
        }))
    }

    async fn key_use(&self) -> Result<Vec<KeyUse>> {
        Ok(self.keeper.with(|state| {
            let mut uses: BTreeMap<(KeyId, String, String), KeyUse> = BTreeMap::new();
            for (row, served) in state.rows.records.values() {
                let (cmk, cmk_version) = (row.cmk.clone(), row.cmk_version.clone());
                let provider = provider_of(&row.json);
                let new = || KeyUse {
                    provider: provider.clone(),
                    cmk: row.cmk.clone(),
                    cmk_version: row.cmk_version.clone(),
                    records: 0,
                    objects: 0,
                    bytes: 0,
                };
                let key = (cmk, cmk_version, provider.clone());
                let one = uses.entry(key).or_insert_with(new);
                one.records += 1;
                one.objects += served.objects;
                one.bytes += served.bytes;
            }
            uses.into_values().collect()
        }))
    }

    async fn begin_uploads(&self, uploads: Vec<UploadRow>) -> Result<()> {
        self.act(Act::BeginUploads(uploads)).await
    }

    async fn put_parts(&self, parts: Vec<UploadPart>, at: Timestamp) -> Result<()> {
        self.act(Act::Parts(parts, at)).await
    }

    async fn forget_parts(&self, uid: ObjectUid, parts: Vec<PartIndex>) -> Result<()> {
        self.act(Act::ForgetParts(uid, parts)).await
    }

    async fn remove_uploads(&self, uids: Vec<ObjectUid>) -> Result<()> {
        self.act(Act::RemoveUploads(uids)).await
    }

    async fn upload(&self, uid: ObjectUid) -> Result<Option<UploadRow>> {
        Ok(self
            .keeper
            .with(|state| state.rows.uploads.get(&uid).cloned()))
    }

    async fn upload_of(&self, name: &VersionName) -> Result<Option<UploadRow>> {
        Ok(self.keeper.with(|state| {
            let rows = state.rows.uploads.values();
            let rows = rows.filter(|row| row.name == *name);
            rows.max_by_key(|row| row.begun_at).cloned()
        }))
    }

    async fn uploads(&self, after: Option<ObjectUid>, limit: usize) -> Result<Vec<UploadRow>> {
        Ok(self.keeper.with(|state| {
            let rows = state.rows.uploads.range((behind(after), Bound::Unbounded));
            rows.take(limit).map(|(_, row)| row.clone()).collect()
        }))
    }

    async fn parts(
        &self,
        uid: ObjectUid,
        from: PartIndex,
        limit: usize,
    ) -> Result<Vec<UploadPart>> {
        Ok(self.keeper.with(|state| {
            let rows = state.rows.parts.range((uid, from)..);
            let rows = rows.take_while(|((of, _), _)| *of == uid);
            rows.take(limit).map(|(_, part)| part.clone()).collect()
        }))
    }

    async fn files(&self, after: Option<&str>, limit: usize) -> Result<Vec<FileRow>> {
        let after = behind(after.map(str::to_owned));
        Ok(self.keeper.with(|state| {
            let rows = state.rows.files.range((after, Bound::Unbounded));
            rows.take(limit).map(|(_, row)| row.clone()).collect()
        }))
    }

    async fn open_packs(&self) -> Result<Vec<FileRow>> {
        Ok(self.keeper.with(|state| {
            let rows = state.rows.files.values();
            rows.filter(|row| !row.closed).cloned().collect()
        }))
    }

    async fn quarantine(
        &self,
        found: Vec<DamagedVersion>,
        audit: Vec<AuditRecord>,
        at: Timestamp,
    ) -> Result<u64> {
        self.change(Act::Quarantine(found, audit, at)).await
    }

    async fn quarantined(&self, list: &ListQuarantined) -> Result<Vec<Quarantined>> {
        Ok(self.keeper.with(|state| state.listed(list)))
    }

    async fn quarantine_count(&self) -> Result<QuarantineCount> {
        Ok(self.keeper.with(|state| state.quarantine_count()))
    }

    async fn forget_quarantined(&self, ids: Vec<u64>, audit: Vec<AuditRecord>) -> Result<u64> {
        self.change(Act::ForgetQuarantined(ids, audit)).await
    }

    async fn marks(&self, after: Option<&MarkRow>, limit: usize) -> Result<Vec<MarkRow>> {
        Ok(self.keeper.with(|state| state.marks(after, limit)))
    }

    async fn marks_of(&self, name: &VersionName) -> Result<Vec<MarkRow>> {
        Ok(self.keeper.with(|state| state.marks_of(name)))
    }

    async fn relocate(
        &self,
        moves: Vec<Relocation>,
        pack: PackState,
        audit: Vec<AuditRecord>,
        at: Timestamp,
    ) -> Result<u64> {
        self.change(Act::Relocate(moves, pack, audit, at)).await
    }

    async fn forget_file(&self, file: &str) -> Result<bool> {
        Ok(self.change(Act::ForgetFile(file.to_owned())).await? > 0)
    }

    async fn version_under(&self, id: RecordId) -> Result<Option<VersionRow>> {
        Ok(self.keeper.with(|state| {
            let mut rows = state.rows.versions.values();
            let under = rows.find(|row| row.records().iter().any(|under| under == id));
            under.map(|row| state.tagged(row))
        }))
    }

    async fn beside(&self, record: RecordId) -> Result<Vec<RecordId>> {
        Ok(self.keeper.with(|state| {
            let rows = &state.rows;
            let versions = rows.versions.values().map(VersionRow::records);
            let marks = rows.marks.values().map(|mark| mark.records);
            let uploads = rows.uploads.values().map(UploadRow::records);
            let all = versions.chain(marks).chain(uploads);
            let under = all.filter(|records| records.iter().any(|id| id == record));
            let others = under.flat_map(RecordIds::iter).filter(|id| *id != record);
            others.collect::<BTreeSet<_>>().into_iter().collect()
        }))
    }

    async fn scrub_state(&self) -> Result<Option<String>> {
        Ok(self.keeper.with(|state| state.rows.scrub.clone()))
    }

    async fn put_scrub_state(&self, state: String) -> Result<()> {
        self.act(Act::Scrub(state)).await
    }

    async fn note(&self, name: &str) -> Result<Option<Note>> {
        Ok(self
            .keeper
            .with(|state| state.rows.notes.get(name).cloned()))
    }

    async fn notes(&self, prefix: &str, after: Option<&str>, limit: usize) -> Result<Vec<Note>> {
        let from = match after {
            Some(after) if after >= prefix => Bound::Excluded(after),
            _ => Bound::Included(prefix),
        };
        Ok(self.keeper.with(|state| {
            let notes = state.rows.notes.range::<str, _>((from, Bound::Unbounded));
            let of_prefix = notes.take_while(|(name, _)| name.starts_with(prefix));
            of_prefix
                .take(limit)
                .map(|(_, note)| note.clone())
                .collect()
        }))
    }

    async fn put_notes(&self, notes: Vec<Note>) -> Result<()> {
        self.act(Act::Notes(notes)).await
    }

    async fn renew_epoch(&self, epoch: Epoch) -> Result<()> {
        self.act(Act::Epoch(epoch)).await
    }

    async fn begin_rebuild(&self, epoch: Epoch) -> Result<()> {
        self.act(Act::Rebuild(epoch)).await
    }

    fn is_rebuilding(&self) -> bool {
        self.keeper.with(|state| state.is_rebuilding)
    }

    async fn end_rebuild(&self, audit: Vec<AuditRecord>) -> Result<()> {
        self.act(Act::EndRebuild(audit)).await
    }

    async fn restore(&self, found: Commit) -> Result<Vec<Outcome>> {
        let done = self
            .keeper
            .call(Act::Restore(Box::new(found)).into())
            .await?;
        Ok(done.outcomes)
    }
}

fn behind<T>(after: Option<T>) -> Bound<T> {
    after.map_or(Bound::Unbounded, Bound::Excluded)
}

fn listing(state: &CatalogState, list: &ListVersions) -> VersionPage {
    let in_list = |row: &&VersionRow| {
        row.name.bucket == list.bucket && row.name.key.as_str().starts_with(&list.prefix)
    };
    let mut rows: Vec<&VersionRow> = state.rows.versions.values().filter(in_list).collect();
    // Newest first within a key.
    rows.sort_by(|a, b| {
        let newest = (&b.order, &b.name.version).cmp(&(&a.order, &a.name.version));
        a.name.key.cmp(&b.name.key).then(newest)
    });
    if !list.all {
        rows.dedup_by(|later, first| later.name.key == first.name.key);
    }
    if let Some(after) = &list.after {
        rows.retain(|row| match &after.version {
            Some((order, version)) if list.all && row.name.key == after.key => {
                (&row.order, &row.name.version) < (order, version)
            }
            _ => row.name.key > after.key,
        });
    }
    rows.truncate(list.limit);
    let rows: Vec<VersionRow> = rows.into_iter().map(|row| state.tagged(row)).collect();
    let last = rows.last().filter(|_| rows.len() == list.limit);
    let next = last.map(|row| VersionCursor {
        key: row.name.key.clone(),
        version: list
            .all
            .then(|| (row.order.clone(), row.name.version.clone())),
    });
    VersionPage { rows, next }
}

/// The provider that a record names.
fn provider_of(record: &str) -> String {
    let record: serde_json::Value = serde_json::from_str(record).unwrap_or_default();
    let provider = record.get("provider").and_then(serde_json::Value::as_str);
    provider.unwrap_or_default().to_owned()
}
