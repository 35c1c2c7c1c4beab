//! What a catalog keeps, and the audit log with it.

use std::collections::BTreeMap;

use sealift_terms::{
    AuditRecord, BucketName, Epoch, ObjectUid, Order, PartIndex, RecordId, RecordIds, SiteId,
    Timestamp, VersionName,
};
use serde::{Deserialize, Serialize};

use super::keeper::Kept;
use crate::{
    BucketCount, Commit, Committed, DamagedVersion, FileRow, Leaf, LedgerError, Location, MarkKind,
    NewMark, NewSite, NewVersion, Note, Outcome, PackState, Quarantined, RecordRow, Relocation,
    Result, SiteRow, UploadPart, UploadRow, VersionRow,
    audit::LeafBody,
    merkle::{Frontier, leaf_hash},
};

/// What is done to a catalog.
#[derive(Serialize, Deserialize)]
pub(super) enum Act {
    /// Nothing: only what is noted beside it.
    Note,
    Found(SiteId, Epoch),
    Commit(Box<Commit>),
    Restore(Box<Commit>),
    Records(Vec<RecordRow>),
    BeginUploads(Vec<UploadRow>),
    Parts(Vec<UploadPart>, Timestamp),
    ForgetParts(ObjectUid, Vec<PartIndex>),
    RemoveUploads(Vec<ObjectUid>),
    Epoch(Epoch),
    Rebuild(Epoch),
    EndRebuild(Vec<AuditRecord>),
    Quarantine(Vec<DamagedVersion>, Vec<AuditRecord>, Timestamp),
    ForgetQuarantined(Vec<u64>, Vec<AuditRecord>),
    ForgetFile(String),
    Scrub(String),
    Notes(Vec<Note>),
    Relocate(Vec<Relocation>, PackState, Vec<AuditRecord>, Timestamp),
}

/// An act, and the audit records that waited for the next one.
#[derive(Serialize, Deserialize)]
pub(super) struct Command {
    act: Act,
    notes: Vec<AuditRecord>,
}

impl From<Act> for Command {
    fn from(act: Act) -> Self {
        let notes = Vec::new();
        Self { act, notes }
    }
}

/// What a command did.
#[derive(Default)]
pub(super) struct Done {
    pub(super) sequence: u64,
    pub(super) outcomes: Vec<Outcome>,
    /// Rows that were changed, where that is asked for.
    pub(super) rows: u64,
}

impl From<Done> for Committed {
    fn from(done: Done) -> Self {
        let Done {
            sequence, outcomes, ..
        } = done;
        Self { sequence, outcomes }
    }
}

/// A set of tags, a purge, or a hold.
pub(super) struct Marked {
    pub(super) kind: MarkKind,
    pub(super) order: Order,
    pub(super) sequence: u64,
    pub(super) object_uid: ObjectUid,
    pub(super) records: RecordIds,
    pub(super) location: Location,
}

/// What is sealed under a key record.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Served {
    /// Versions and marks.
    pub(super) objects: u64,
    /// Bytes of plaintext of the versions.
    pub(super) bytes: u64,
}

/// The rows that a rebuild forgets, key records apart.
#[derive(Default)]
pub(super) struct Rows {
    /// With what each record serves.
    pub(super) records: BTreeMap<RecordId, (RecordRow, Served)>,
    pub(super) versions: BTreeMap<VersionName, VersionRow>,
    /// By name and sort.
    pub(super) marks: BTreeMap<(VersionName, u8), Marked>,
    pub(super) files: BTreeMap<String, FileRow>,
    pub(super) buckets: BTreeMap<BucketName, BucketCount>,
    pub(super) uploads: BTreeMap<ObjectUid, UploadRow>,
    pub(super) parts: BTreeMap<(ObjectUid, PartIndex), UploadPart>,
    pub(super) quarantine: BTreeMap<u64, Quarantined>,
    /// The last number given out in it.
    pub(super) quarantined: u64,
    pub(super) scrub: Option<String>,
    pub(super) notes: BTreeMap<String, Note>,
}

pub(super) struct CatalogState {
    pub(super) site: SiteRow,
    /// The last sequence given out.
    pub(super) reserved: u64,
    pub(super) rows: Rows,
    /// The time of the command that is being applied.
    pub(super) at: Timestamp,
    pub(super) is_rebuilding: bool,
    pub(super) leaves: Vec<Leaf>,
    pub(super) frontier: Frontier,
    /// Audit records that nobody waits for.
    pub(super) notes: Vec<AuditRecord>,
    /// Why the last write failed, if it did.
    pub(super) failed: Option<String>,
    /// Whether a task is there that writes notes.
    pub(super) is_noting: bool,
}

impl CatalogState {
    pub(super) fn new(new: NewSite) -> Self {
        Self {
            site: SiteRow {
                site: new.site,
                epoch: new.epoch,
                sequence: 0,
            },
            reserved: 0,
            rows: Rows::default(),
            at: Timestamp::default(),
            is_rebuilding: false,
            leaves: Vec::new(),
            frontier: Frontier::default(),
            notes: Vec::new(),
            failed: None,
            is_noting: false,
        }
    }

    pub(super) fn raise_sequence(&mut self, sequence: u64) -> u64 {
        self.site.sequence = self.site.sequence.max(sequence);
        self.reserved = self.reserved.max(self.site.sequence);
        self.site.sequence
    }

    pub(super) fn note(&mut self, records: Vec<AuditRecord>) {
        for record in records {
            let index = self.frontier.size();
            let body = LeafBody::new(index, record);
            let json = serde_json::to_string(&body).unwrap_or_default();
            let hash = leaf_hash(json.as_bytes());
            self.frontier.push(hash);
            self.leaves.push(Leaf { index, json, hash });
        }
    }

    /// One version as it is now, with its tags.
    pub(super) fn version(&self, name: &VersionName) -> Option<VersionRow> {
        let row = self.rows.versions.get(name)?;
        Some(self.tagged(row))
    }

    pub(super) fn tagged(&self, row: &VersionRow) -> VersionRow {
        let mut row = row.clone();
        if let Some(marked) = self.rows.marks.get(&(row.name.clone(), 0))
            && let MarkKind::Tags(tags) = &marked.kind
        {
            row.facts.tags = tags.clone();
            row.tags_order = Some(marked.order.clone());
        }
        row.quarantined = self.is_damaged(&row.name);
        row
    }

    fn require(&self, id: RecordId, also: &[RecordRow]) -> Result<()> {
        let there = self.rows.records.contains_key(&id) || also.iter().any(|row| row.id == id);
        there.then_some(()).ok_or(LedgerError::NoSuchRecord(id))
    }
}

impl Kept for CatalogState {
    type Command = Command;
    type Answer = Done;

    fn check(&mut self, command: &mut Command) -> Result<()> {
        match &command.act {
            Act::Commit(commit) | Act::Restore(commit) => {
                let versions = commit.versions.iter().map(NewVersion::records);
                let marks = commit.marks.iter().map(NewMark::records);
                for record in versions.chain(marks).flat_map(RecordIds::iter) {
                    self.require(record, &commit.records)?;
                }
            }
            Act::BeginUploads(uploads) => {
                let records = uploads.iter().map(UploadRow::records);
                for record in records.flat_map(RecordIds::iter) {
                    self.require(record, &[])?;
                }
            }
            _ => {}
        }
        command.notes = std::mem::take(&mut self.notes);
        Ok(())
    }

    fn apply(&mut self, command: Command) -> Done {
        let mut done = Done::default();
        let Command { act, notes } = command;
        let rows = &mut self.rows;
        match act {
            Act::Note => {}
            Act::Found(site, epoch) => (self.site.site, self.site.epoch) = (site, epoch),
            Act::Commit(commit) => done = self.commit(*commit),
            Act::Restore(commit) => done = self.restore(*commit),
            Act::Records(records) => rows.put_records(records),
            Act::BeginUploads(uploads) => {
                rows.uploads
                    .extend(uploads.into_iter().map(|upload| (upload.uid, upload)));
            }
            Act::Parts(parts, at) => rows.put_parts(parts, at),
            Act::ForgetParts(uid, parts) => {
                for part in parts {
                    rows.parts.remove(&(uid, part));
                }
            }
            Act::RemoveUploads(uids) => rows.remove_uploads(&uids),
            Act::Epoch(epoch) => self.site.epoch = epoch,
            Act::Rebuild(epoch) => {
                self.site.epoch = epoch;
                self.is_rebuilding = true;
                let records = std::mem::take(&mut self.rows.records);
                let mut notes = std::mem::take(&mut self.rows.notes);
                notes.retain(|name, _| name.starts_with(crate::NOTES_KEPT));
                self.rows = Rows {
                    notes,
                    ..Rows::default()
                };
                let records = records.into_values().map(|(record, _)| record);
                self.rows.put_records(records.collect());
            }
            Act::EndRebuild(audit) => {
                self.is_rebuilding = false;
                self.note(audit);
            }
            Act::Quarantine(found, audit, at) => {
                done.rows = self.quarantine(found, at);
                self.note(audit);
            }
            Act::ForgetQuarantined(ids, audit) => {
                done.rows = self.forget_quarantined(&ids);
                self.note(audit);
            }
            Act::ForgetFile(file) => done.rows = self.forget_file(&file),
            Act::Scrub(state) => rows.scrub = Some(state),
            Act::Notes(notes) => rows.put_notes(notes),
            Act::Relocate(moves, pack, audit, at) => {
                self.at = at;
                done.rows = self.relocate(moves);
                self.finish(vec![pack], &[], audit);
            }
        }
        self.note(notes);
        self.failed = None;
        done
    }

    fn not_done(&mut self, command: Command, error: &LedgerError) {
        let later = std::mem::replace(&mut self.notes, command.notes);
        self.notes.extend(later);
        if matches!(error, LedgerError::Log { .. }) {
            self.failed = Some(error.to_string());
        }
    }
}

impl CatalogState {
    /// Appends the leaves of a commit.
    pub(super) fn finish(
        &mut self,
        packs: Vec<PackState>,
        uploads: &[ObjectUid],
        audit: Vec<AuditRecord>,
    ) {
        self.rows.put_packs(packs);
        self.rows.remove_uploads(uploads);
        self.note(audit);
    }
}

impl Rows {
    pub(super) fn put_records(&mut self, records: Vec<RecordRow>) {
        for record in records {
            let served = self.records.get(&record.id).map(|(_, served)| *served);
            let served = served.unwrap_or_default();
            self.records.insert(record.id, (record, served));
        }
    }

    fn put_packs(&mut self, packs: Vec<PackState>) {
        for pack in packs {
            let row = self.file(&pack.file);
            row.synced_bytes = row.synced_bytes.max(pack.synced_bytes);
            row.closed = pack.closed;
        }
    }

    pub(super) fn file(&mut self, name: &str) -> &mut FileRow {
        let new = || FileRow {
            file: name.to_owned(),
            synced_bytes: 0,
            objects: 0,
            live_bytes: 0,
            // A file of its own; a pack's state follows with the packs.
            closed: true,
            dead_since: None,
        };
        self.files.entry(name.to_owned()).or_insert_with(new)
    }

    /// Parts of uploads that are gone are left out.
    fn put_parts(&mut self, parts: Vec<UploadPart>, at: Timestamp) {
        for part in parts {
            if let Some(upload) = self.uploads.get_mut(&part.uid) {
                upload.touched_at = at;
                self.parts.insert((part.uid, part.index), part);
            }
        }
    }

    fn remove_uploads(&mut self, uids: &[ObjectUid]) {
        for uid in uids {
            self.uploads.remove(uid);
            self.parts.retain(|(of, _), _| of != uid);
        }
    }
}
