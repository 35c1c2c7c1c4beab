//! The receiver's memory: every version that rests in the store, and where.

use std::sync::Arc;

use async_trait::async_trait;
use sealift_terms::{
    AuditRecord, BucketName, Checksum, Epoch, Identity, KeyId, ObjectFacts, ObjectKey, ObjectUid,
    Order, PartIndex, PartSize, Receipt, RecordId, Region, SecondKey, SessionFacts, SiteId,
    Timestamp, VersionId, VersionName,
};
use serde::{Deserialize, Serialize};

use crate::{
    DamagedVersion, ListQuarantined, MarkRow, NewMark, Note, QuarantineCount, Quarantined, Result,
};

/// The site and how far its catalog has come; it is in every HELLO.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SiteRow {
    /// The site.
    pub site: SiteId,
    /// The life of this catalog.
    pub epoch: Epoch,
    /// The highest sequence of a durable commit.
    pub sequence: u64,
}

/// Where sealed bytes are: a range of a store file.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Location {
    /// The store file: a pack or a file of its own.
    pub file: String,
    /// The offset of HEADER.
    pub offset: u64,
    /// Sealed bytes.
    pub length: u64,
}

/// What a version is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum VersionKind {
    /// It has content.
    Object,
    /// It says that the key was removed.
    DeleteMarker,
}

/// What a receipt says beyond the version, and the catalog cannot know.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReceiptTerms {
    /// The customer-managed key that wraps the record.
    pub cmk: KeyId,
    /// That key's version.
    pub cmk_version: String,
    /// The outer layer's record and key, of a sealing in two layers.
    pub second: Option<SecondKey>,
    /// The region in which the version rests.
    pub region: Region,
    /// Over which session it came.
    pub session: Arc<SessionFacts>,
}

/// A version to be committed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewVersion {
    /// Which version.
    pub name: VersionName,
    /// Its order.
    pub order: Order,
    /// What it is.
    pub kind: VersionKind,
    /// What the source says of it.
    pub facts: ObjectFacts,
    /// The checksum of its plaintext; none for a delete marker.
    pub checksum: Option<Checksum>,
    /// The sealing.
    pub object_uid: ObjectUid,
    /// The key record it is sealed under; of two layers, the inner one.
    pub record: RecordId,
    /// The outer layer's key record, of two.
    pub second_record: Option<RecordId>,
    /// Where it rests.
    pub location: Location,
    /// The sequence in its META, from [`Catalog::reserve_sequence`].
    pub sequence: u64,
    /// The sealing of the same version that it takes the place of, if that is still the
    /// one: it was sealed anew here.
    pub replaces: Option<ObjectUid>,
    /// What its receipt will say; unknown when it comes from a rebuild.
    pub terms: Option<Arc<ReceiptTerms>>,
}

/// How far a pack is synced.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PackState {
    /// The store file.
    pub file: String,
    /// Bytes known to be durable; after a crash it is cut back to them.
    pub synced_bytes: u64,
    /// Whether nothing will be appended any more.
    pub closed: bool,
}

/// A group of what is durable in the store, to be acknowledged together.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Commit {
    /// When.
    pub at: Timestamp,
    /// Key records first used here and not yet in the catalog.
    pub records: Vec<RecordRow>,
    /// Versions.
    pub versions: Vec<NewVersion>,
    /// Marks.
    pub marks: Vec<NewMark>,
    /// Packs that were written.
    pub packs: Vec<PackState>,
    /// Uploads that are finished by it: their rows and parts go.
    pub uploads: Vec<ObjectUid>,
    /// Audit leaves that describe it.
    pub audit: Vec<AuditRecord>,
}

/// What became of a commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Committed {
    /// Its sequence, higher than that of every commit before; 0 when it held no version or mark.
    pub sequence: u64,
    /// One outcome per version, in the order of the commit.
    pub outcomes: Vec<Outcome>,
}

/// What became of one version of a commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It is stored now.
    Stored(Box<VersionRow>),
    /// It was there already with the same checksum: this is the row that counts,
    /// and what was just written is waste.
    Known(Box<VersionRow>),
    /// It was there already with other content: nothing was changed.
    Conflict(Box<VersionRow>),
    /// It was purged, in a rebuild by a mark of a higher sequence: nothing was changed.
    Purged,
}

/// A version that rests in the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VersionRow {
    /// Which version.
    pub name: VersionName,
    /// Its order.
    pub order: Order,
    /// What it is.
    pub kind: VersionKind,
    /// What the source said of it, with the tags it has now.
    pub facts: ObjectFacts,
    /// The order of its tags, when they were changed after it was stored.
    pub tags_order: Option<Order>,
    /// The checksum of its plaintext.
    pub checksum: Option<Checksum>,
    /// The sealing: the reader compares it with HEADER.
    pub object_uid: ObjectUid,
    /// The key record: the reader compares it with HEADER. Of two layers, the inner one.
    pub record: RecordId,
    /// The outer layer's key record, of two: compared as well.
    pub second_record: Option<RecordId>,
    /// Where it rests.
    pub location: Location,
    /// The sequence of its commit.
    pub sequence: u64,
    /// When it was committed.
    pub stored_at: Timestamp,
    /// The receipt that was given for it; none after a rebuild.
    pub receipt: Option<Receipt>,
    /// Whether its bytes were found damaged: it is not served, and the same version
    /// is taken again in its place.
    pub quarantined: bool,
}

impl VersionRow {
    /// A receipt for this version on these terms, by this site.
    #[must_use]
    pub fn receipt_on(&self, terms: &ReceiptTerms, site: SiteRow) -> Receipt {
        Receipt {
            name: self.name.clone(),
            size: self.facts.size,
            checksum: self.checksum.clone(),
            object_uid: self.object_uid,
            record: self.record,
            cmk: terms.cmk.clone(),
            cmk_version: terms.cmk_version.clone(),
            second: terms.second.clone(),
            region: terms.region.clone(),
            site: site.site,
            epoch: site.epoch,
            sequence: self.sequence,
            stored_at: self.stored_at,
            session: terms.session.clone(),
            signature: None,
        }
    }
}

/// Where a listing goes on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VersionCursor {
    /// After the versions of this key, or …
    pub key: ObjectKey,
    /// … after this version of it, when all versions are listed.
    pub version: Option<(Order, VersionId)>,
}

/// Which versions to list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListVersions {
    /// Of this bucket.
    pub bucket: BucketName,
    /// Of keys that begin so.
    pub prefix: String,
    /// All versions, newest first within a key; otherwise the latest of each key only.
    pub all: bool,
    /// Where to go on.
    pub after: Option<VersionCursor>,
    /// At most this many.
    pub limit: usize,
}

/// What a listing tells of a version: of its row, what can be read without the rest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedVersion {
    /// Its key.
    pub key: ObjectKey,
    /// Which version of it.
    pub version: VersionId,
    /// Its order.
    pub order: Order,
    /// What it is.
    pub kind: VersionKind,
    /// Bytes of its plaintext.
    pub size: u64,
    /// When the source says it was last modified.
    pub last_modified: Option<Timestamp>,
    /// The checksum of its plaintext.
    pub checksum: Option<Checksum>,
}

impl From<&VersionRow> for ListedVersion {
    fn from(row: &VersionRow) -> Self {
        Self {
            key: row.name.key.clone(),
            version: row.name.version.clone(),
            order: row.order.clone(),
            kind: row.kind,
            size: row.facts.size,
            last_modified: row.facts.last_modified,
            checksum: row.checksum.clone(),
        }
    }
}

/// A page of a listing: keys ascending by bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VersionPage<R = VersionRow> {
    /// The rows; delete markers included.
    pub rows: Vec<R>,
    /// Where the next page begins; none at the end.
    pub next: Option<VersionCursor>,
}

/// What rests in a bucket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BucketCount {
    /// The bucket.
    pub bucket: BucketName,
    /// Versions with content.
    pub objects: u64,
    /// Bytes of their plaintext.
    pub bytes: u64,
    /// Delete markers.
    pub delete_markers: u64,
}

/// What rests here of what one sender brought.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SenderCount {
    /// Who brought it.
    pub sender: Identity,
    /// Versions with content.
    pub objects: u64,
    /// Bytes of their plaintext.
    pub bytes: u64,
}

/// A key record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordRow {
    /// Its id.
    pub id: RecordId,
    /// The bucket it serves.
    pub bucket: BucketName,
    /// The customer-managed key that wraps it.
    pub cmk: KeyId,
    /// That key's version.
    pub cmk_version: String,
    /// The whole record as JSON.
    pub json: String,
}

/// What a version of a customer-managed key still has to open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyUse {
    /// The sort of its provider, as key records name it; empty where none does.
    pub provider: String,
    /// The key.
    pub cmk: KeyId,
    /// Its version.
    pub cmk_version: String,
    /// Key records wrapped under it.
    pub records: u64,
    /// Versions and marks sealed under those records.
    pub objects: u64,
    /// Bytes of plaintext of those versions.
    pub bytes: u64,
}

/// An unfinished object of more than one part.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UploadRow {
    /// The sealing.
    pub uid: ObjectUid,
    /// The key record it is sealed under; must be in the catalog. Of two layers, the inner
    /// one.
    pub record: RecordId,
    /// The outer layer's key record, of two; must be in the catalog, too.
    pub second_record: Option<RecordId>,
    /// Which version it will be.
    pub name: VersionName,
    /// That version's order.
    pub order: Order,
    /// What the source says of it.
    pub facts: ObjectFacts,
    /// How it is cut.
    pub part_size: PartSize,
    /// Its file in `staging/`.
    pub file: String,
    /// Who sends it.
    pub origin: Identity,
    /// When it began.
    pub begun_at: Timestamp,
    /// When a part of it last became durable.
    pub touched_at: Timestamp,
}

/// A part of an unfinished object that is durable in its file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UploadPart {
    /// Of which upload.
    pub uid: ObjectUid,
    /// Which part.
    pub index: PartIndex,
    /// The commitment of its sealing: no other bytes are this part.
    pub commitment: [u8; 32],
    /// The outer layer's commitment, of two.
    pub outer_commitment: Option<[u8; 32]>,
    /// CRC-64/NVME of its plaintext.
    pub crc64: u64,
}

/// A file that the catalog knows in the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileRow {
    /// Its name.
    pub file: String,
    /// Bytes known to be durable.
    pub synced_bytes: u64,
    /// Versions and marks that rest in it.
    pub objects: u64,
    /// Bytes they take.
    pub live_bytes: u64,
    /// Whether nothing will be appended any more.
    pub closed: bool,
    /// Since when something in it is dead; none when nothing ever left it.
    pub dead_since: Option<Timestamp>,
}

/// How a version stands in the catalog.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// It was never here.
    Unknown,
    /// It is here.
    Known(Box<VersionRow>),
    /// It was here and was purged: it must not come back.
    Purged,
}

/// Bytes that were copied as they are and rest elsewhere now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Relocation {
    /// The version or mark.
    pub name: VersionName,
    /// Its sealing.
    pub object_uid: ObjectUid,
    /// Where it rested.
    pub from: Location,
    /// Where it rests now.
    pub to: Location,
}

/// The receiver's catalog.
///
/// Every function that changes something returns when the change is durable,
/// and changes all it was given or nothing.
#[async_trait]
pub trait Catalog: Send + Sync {
    /// The site and its durable sequence.
    fn site(&self) -> SiteRow;

    /// A number for the META of a sealing: above every one committed or reserved before.
    fn reserve_sequence(&self) -> u64;

    /// Commits a group: records, versions, marks, packs, audit leaves, and the
    /// end of uploads, in one transaction. The commit's sequence grows in the order
    /// in which commits become durable, so that a peer can tell what an older copy
    /// of this catalog has lost.
    async fn commit(&self, commit: Commit) -> Result<Committed>;

    /// One version.
    async fn known(&self, name: &VersionName) -> Result<Option<VersionRow>>;

    /// Whether a version was purged: it must not come back.
    async fn purged(&self, name: &VersionName) -> Result<bool>;

    /// How each of these versions stands, in their order: one look for a whole group.
    async fn standing(&self, names: Vec<VersionName>) -> Result<Vec<Standing>> {
        let mut found = Vec::with_capacity(names.len());
        for name in &names {
            found.push(match self.known(name).await? {
                Some(row) => Standing::Known(Box::new(row)),
                None if self.purged(name).await? => Standing::Purged,
                None => Standing::Unknown,
            });
        }
        Ok(found)
    }

    /// The version of a key with the highest order, a delete marker too.
    async fn latest(&self, bucket: &BucketName, key: &ObjectKey) -> Result<Option<VersionRow>>;

    /// Lists versions.
    async fn versions(&self, list: &ListVersions) -> Result<VersionPage>;

    /// The same versions, and of each what a listing tells: several times as fast.
    async fn listed(&self, list: &ListVersions) -> Result<VersionPage<ListedVersion>>;

    /// What rests in each bucket. Cheap at any size.
    async fn buckets(&self) -> Result<Vec<BucketCount>>;

    /// What rests here by who brought it. Nobody is known to have brought what a rebuild found.
    async fn senders(&self) -> Result<Vec<SenderCount>>;

    /// Takes key records, new or wrapped again in place of the old.
    async fn put_records(&self, records: Vec<RecordRow>) -> Result<()>;

    /// One key record.
    async fn record(&self, id: RecordId) -> Result<Option<RecordRow>>;

    /// Key records by id.
    async fn records(&self, after: Option<RecordId>, limit: usize) -> Result<Vec<RecordRow>>;

    /// What every key version still has to open.
    async fn key_use(&self) -> Result<Vec<KeyUse>>;

    /// Remembers uploads before their files are written.
    async fn begin_uploads(&self, uploads: Vec<UploadRow>) -> Result<()>;

    /// Remembers parts that are durable in their files, in place of earlier tries.
    async fn put_parts(&self, parts: Vec<UploadPart>, at: Timestamp) -> Result<()>;

    /// Forgets parts that did not open again.
    async fn forget_parts(&self, uid: ObjectUid, parts: Vec<PartIndex>) -> Result<()>;

    /// Forgets uploads and their parts.
    async fn remove_uploads(&self, uids: Vec<ObjectUid>) -> Result<()>;

    /// One upload.
    async fn upload(&self, uid: ObjectUid) -> Result<Option<UploadRow>>;

    /// The newest upload of a version.
    async fn upload_of(&self, name: &VersionName) -> Result<Option<UploadRow>>;

    /// Uploads by uid.
    async fn uploads(&self, after: Option<ObjectUid>, limit: usize) -> Result<Vec<UploadRow>>;

    /// The parts of an upload, ascending, from `from` on, at most `limit`.
    async fn parts(&self, uid: ObjectUid, from: PartIndex, limit: usize)
    -> Result<Vec<UploadPart>>;

    /// Store files by name: one side of the merge with what is in the store.
    async fn files(&self, after: Option<&str>, limit: usize) -> Result<Vec<FileRow>>;

    /// Packs that were open at last: to be cut back to `synced_bytes` after a crash.
    async fn open_packs(&self) -> Result<Vec<FileRow>>;

    /// Puts damaged versions out of use, with the audit leaves that say so. One whose
    /// sealing is not the one examined any more, or that is in quarantine already, is
    /// left alone. Returns how many were put there.
    async fn quarantine(
        &self,
        found: Vec<DamagedVersion>,
        audit: Vec<AuditRecord>,
        at: Timestamp,
    ) -> Result<u64>;

    /// Lists the quarantine by number.
    async fn quarantined(&self, list: &ListQuarantined) -> Result<Vec<Quarantined>>;

    /// How many are in quarantine. Cheap at any size that one should have.
    async fn quarantine_count(&self) -> Result<QuarantineCount>;

    /// Forgets damaged bytes that were repaired; others are left. Returns how many.
    async fn forget_quarantined(&self, ids: Vec<u64>, audit: Vec<AuditRecord>) -> Result<u64>;

    /// Marks, tags, purges and holds alike, by bucket, key, version and sort.
    async fn marks(&self, after: Option<&MarkRow>, limit: usize) -> Result<Vec<MarkRow>>;

    /// The marks of one version.
    async fn marks_of(&self, name: &VersionName) -> Result<Vec<MarkRow>>;

    /// Moves versions and marks whose bytes were copied into another pack, durable
    /// there already. One that rests elsewhere by now stays. Returns how many moved.
    async fn relocate(
        &self,
        moves: Vec<Relocation>,
        pack: PackState,
        audit: Vec<AuditRecord>,
        at: Timestamp,
    ) -> Result<u64>;

    /// Forgets a file in which nothing rests and nothing is in quarantine; whether it did.
    async fn forget_file(&self, file: &str) -> Result<bool>;

    /// One version that is sealed under a record in any layer, if there is one. Looks through
    /// everything: for records that are in doubt.
    async fn version_under(&self, record: RecordId) -> Result<Option<VersionRow>>;

    /// The key records of the other layer of what is sealed under this one: of versions,
    /// marks and unfinished uploads. Cheap where all of it is in one layer.
    async fn beside(&self, record: RecordId) -> Result<Vec<RecordId>>;

    /// What a scrub left here, as text of its own; none before the first.
    async fn scrub_state(&self) -> Result<Option<String>>;

    /// Remembers that text.
    async fn put_scrub_state(&self, state: String) -> Result<()>;

    /// One note; none where nothing is kept.
    async fn note(&self, name: &str) -> Result<Option<Note>>;

    /// Notes whose names begin so, by name, after this one.
    async fn notes(&self, prefix: &str, after: Option<&str>, limit: usize) -> Result<Vec<Note>>;

    /// Keeps notes, in place of earlier ones of their names, and forgets those without bytes.
    async fn put_notes(&self, notes: Vec<Note>) -> Result<()>;

    /// Begins a new life, after a restore from a copy.
    async fn renew_epoch(&self, epoch: Epoch) -> Result<()>;

    /// Whether a rebuild was begun and not ended: what is here is not all there is,
    /// after a restart too.
    fn is_rebuilding(&self) -> bool;

    /// Begins a rebuild and a new life, and forgets everything but key records and the
    /// audit log: what is in the store follows through [`restore`](Self::restore).
    async fn begin_rebuild(&self, epoch: Epoch) -> Result<()>;

    /// Everything was restored, on record as these leaves.
    async fn end_rebuild(&self, audit: Vec<AuditRecord>) -> Result<()>;

    /// Like [`commit`](Self::commit), for what was found in the store, in any order:
    /// every version keeps its own sequence, of two finds of one version the one
    /// with the higher sequence stays, and what a mark purged stays away.
    async fn restore(&self, found: Commit) -> Result<Vec<Outcome>>;
}
