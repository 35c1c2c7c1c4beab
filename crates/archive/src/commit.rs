//! From a finished upload to an item of a commit group.

use std::{
    collections::HashMap,
    sync::{Arc, atomic::Ordering},
};

use sealift_ledger::{Location, MarkKind, NewMark, NewVersion, ReceiptTerms, VersionKind};
use sealift_seal::{Commitments, Mark, Meta, pack::EntryKind};
use sealift_terms::{
    AuditKind, AuditRecord, Change, ChangeKind, Checksum, PartIndex, Receipt, RecordIds,
    VersionName,
};
use sealift_wire::checksum;

use crate::{
    ArchiveError, Lease, Result, Upload,
    answer::{Answer, OutcomesTo},
    archive::{Message, answer},
    holding::{HoldSaid, SayHold},
    layers::commitments_of,
    limits::{PAGE_ROWS, WRITE_BYTES_MAX},
    quota::Promise,
    reseal::Reseals,
    staging::StagedFile,
    upload::{Body, PartDone, UploadState},
};

/// One object, delete marker or set of tags, ready to be committed.
pub(crate) struct Item {
    pub(crate) upload: Arc<UploadState>,
    pub(crate) body: ItemBody,
    /// Its location is filled in by the committer.
    pub(crate) draft: Draft,
    pub(crate) terms: Arc<ReceiptTerms>,
    pub(crate) audit: AuditRecord,
    pub(crate) answer: Answer,
    /// Of a purge: not of the latest version of a key.
    pub(crate) expires: bool,
    /// Room in its bucket's quota, until it is committed.
    pub(crate) _quota: Option<Arc<Promise>>,
}

pub(crate) enum ItemBody {
    /// An entry for a pack.
    Entry {
        kind: EntryKind,
        bytes: Vec<u8>,
        lease: Option<Lease>,
    },
    /// A staged file of this length, complete.
    File { length: u64 },
}

pub(crate) enum Draft {
    Version(Box<NewVersion>),
    Mark(Box<NewMark>),
    /// A version that the catalog has taken over.
    Handed {
        name: VersionName,
        checksum: Option<Checksum>,
    },
}

impl Draft {
    fn of(
        change: Change,
        reseals: Option<&Reseals>,
        hold: Option<&HoldSaid>,
        upload: &UploadState,
        checksum: Option<Checksum>,
        sequence: u64,
        terms: &Arc<ReceiptTerms>,
    ) -> Self {
        let location = Location {
            file: String::new(),
            offset: 0,
            length: 0,
        };
        let object_uid = upload.uid;
        let RecordIds {
            first: record,
            second: second_record,
        } = upload.open.ids();
        let kind = match change.kind {
            ChangeKind::Put => VersionKind::Object,
            ChangeKind::DeleteMarker => VersionKind::DeleteMarker,
            ChangeKind::Tags | ChangeKind::Purge => {
                return Self::Mark(Box::new(NewMark {
                    name: change.name,
                    order: change.order,
                    kind: match (change.kind, hold) {
                        (ChangeKind::Purge, _) => MarkKind::Purge,
                        (_, Some(said)) => MarkKind::Hold(said.notes()),
                        (_, None) => MarkKind::Tags(change.facts.tags),
                    },
                    object_uid,
                    record,
                    second_record,
                    location,
                    sequence,
                }));
            }
        };
        Self::Version(Box::new(NewVersion {
            name: change.name,
            order: change.order,
            kind,
            facts: change.facts,
            checksum,
            object_uid,
            record,
            second_record,
            location,
            sequence,
            replaces: reseals.map(|reseals| reseals.uid),
            terms: reseals
                .is_none_or(|reseals| reseals.has_receipt)
                .then(|| terms.clone()),
        }))
    }

    /// The name and checksum of a version.
    pub(crate) fn version(&self) -> Option<(&VersionName, Option<&Checksum>)> {
        match self {
            Self::Version(new) => Some((&new.name, new.checksum.as_ref())),
            Self::Handed { name, checksum } => Some((name, checksum.as_ref())),
            Self::Mark(_) => None,
        }
    }

    /// Takes the version, at its place, and leaves its name and checksum.
    pub(crate) fn hand_over(&mut self, location: &Location) -> Option<NewVersion> {
        let (name, checksum) = self.version()?;
        let left = Self::Handed {
            name: name.clone(),
            checksum: checksum.cloned(),
        };
        match std::mem::replace(self, left) {
            Self::Version(mut new) => {
                new.location = location.clone();
                Some(*new)
            }
            Self::Mark(_) | Self::Handed { .. } => None,
        }
    }
}

impl Item {
    /// The audit record, for the commit. Its actor and kind stay: a conflict names them.
    pub(crate) fn take_audit(&mut self) -> AuditRecord {
        let left = AuditRecord::new(self.audit.at, self.audit.kind, self.audit.actor.as_str());
        std::mem::replace(&mut self.audit, left)
    }
}

impl Upload {
    pub(crate) async fn commit(self, checksum: Option<Checksum>) -> Result<Receipt> {
        let (waiting, outcome) = Answer::waiting();
        self.join_group(checksum, waiting).await;
        answer(outcome).await
    }

    /// As [`Self::commit`], and what became of it goes to `to` under `number`.
    pub(crate) async fn commit_as(self, checksum: Option<Checksum>, number: u64, to: OutcomesTo) {
        self.join_group(checksum, Answer::numbered(number, to))
            .await;
    }

    /// Completes the object and puts it into the next group. Whoever asked is told there, or
    /// here if it does not come to that.
    async fn join_group(self, checksum: Option<Checksum>, answer: Answer) {
        let Completed {
            body,
            checksum,
            sequence,
            claim,
        } = match self.complete(checksum).await {
            Ok(completed) => completed,
            Err(error) => return answer.send(Err(error)),
        };
        let commits = self.state.core.commits.clone();
        let item = Box::new(self.item(body, checksum, sequence, answer));
        match commits.send(Message::Work(item)).await {
            Ok(()) => {
                if let Some(claim) = claim {
                    claim.keep();
                }
            }
            // Its answer says so when it is dropped.
            Err(closed) => drop(closed),
        }
    }

    /// Seals what is behind the parts.
    async fn complete(&self, checksum: Option<Checksum>) -> Result<Completed> {
        let sequence = self.state.core.catalog.reserve_sequence();
        let mut claim = None;
        let (body, checksum) = match &self.state.body {
            Body::Mark => (self.seal_mark(sequence)?, None),
            Body::Packed(packed) => {
                let packed = packed.lock().take();
                let packed = packed.ok_or(ArchiveError::PartsMissing { missing: 1 })?;
                let sum = self.settle_checksum(packed.part.crc64, checksum.as_ref())?;
                let mut bytes = packed.bytes;
                let meta = self.meta(sequence, Some(sum.clone()));
                let commitments = [packed.part.commitments];
                let meta = self
                    .state
                    .sealer
                    .meta(self.state.salts(), &meta, &commitments)?;
                bytes.extend_from_slice(&meta);
                let body = ItemBody::Entry {
                    kind: EntryKind::Object,
                    bytes,
                    lease: Some(packed.lease),
                };
                (body, Some(sum))
            }
            Body::File(staged) => {
                claim = Some(Claim::new(self.state.clone(), staged)?);
                let (body, sum) = self.complete_file(staged, sequence, checksum).await?;
                self.prepare(staged).await?;
                (body, Some(sum))
            }
        };
        Ok(Completed {
            body,
            checksum,
            sequence,
            claim,
        })
    }

    /// The sealed object of a delete marker or of tags: no bytes, all in META.
    fn seal_mark(&self, sequence: u64) -> Result<ItemBody> {
        let mut bytes = Vec::new();
        let mut meta = self.meta(sequence, None);
        meta.size = 0;
        meta.mark = Some(match self.offer.change.kind {
            ChangeKind::Tags => Mark::Tags,
            ChangeKind::Purge => Mark::Purge,
            ChangeKind::DeleteMarker | ChangeKind::Put => Mark::DeleteMarker,
        });
        if let Some(hold) = self.hold() {
            (meta.mark, meta.hold) = (Some(Mark::Hold), Some(hold.said.to_mark()));
        }
        self.state
            .sealer
            .seal_whole(&meta, &[], &*self.state.core.rng, &mut bytes)?;
        Ok(ItemBody::Entry {
            kind: EntryKind::Mark,
            bytes,
            lease: None,
        })
    }

    /// Writes META and FOOTER behind the parts.
    pub(crate) async fn complete_file(
        &self,
        staged: &StagedFile,
        sequence: u64,
        checksum: Option<Checksum>,
    ) -> Result<(ItemBody, Checksum)> {
        let table = size_of::<Commitments>() * self.state.part_count as usize;
        let _lease = self.state.core.budget.take(table).await;
        let (commitments, crc64) = self.part_table().await?;
        let sum = self.settle_checksum(crc64, checksum.as_ref())?;
        let meta = self.meta(sequence, Some(sum.clone()));
        let bytes = self
            .state
            .sealer
            .meta(self.state.salts(), &meta, &commitments)?;
        let offset = self.state.sealer.layout().meta_offset(self.state.size);
        let offset = offset.ok_or(ArchiveError::TooLarge {
            size: self.state.size,
        })?;
        let places = (offset..).step_by(WRITE_BYTES_MAX);
        for (piece, at) in bytes.chunks(WRITE_BYTES_MAX).zip(places) {
            staged.file.write_at(piece, at).await?;
        }
        let length = offset + bytes.len() as u64;
        // A commit that a crash cut short may have left a longer META: the file has
        // to end with its footer, or nobody can open it without the catalog.
        if staged.file.len()? > length {
            staged.file.set_len(length).await?;
        }
        Ok((ItemBody::File { length }, sum))
    }

    /// Does here what of publishing may take long, so that no group waits for it.
    async fn prepare(&self, staged: &StagedFile) -> Result<()> {
        let prepared = staged.file.prepare().await;
        if let Err(error) = &prepared
            && !error.leaves_it_whole()
        {
            self.state.core.give_up(staged).await?;
        }
        Ok(prepared?)
    }

    /// The commitments of every part, and the checksum of all of them: those
    /// recorded from the ledger, the rest from memory.
    async fn part_table(&self) -> Result<(Vec<Commitments>, u64)> {
        // Memory first: a part leaves it only once it is in the ledger.
        let mut fresh: HashMap<u32, PartDone> = {
            let parts = self.state.parts.lock();
            let done = parts.slots.iter();
            done.filter_map(|(index, slot)| Some((*index, slot.done?)))
                .collect()
        };
        let mut recorded = Vec::new().into_iter().peekable();
        let kept = self
            .state
            .body
            .staged()
            .is_some_and(|s| s.kept_for.is_some());
        let mut commitments = Vec::with_capacity(self.state.part_count as usize);
        let (mut crc64, mut missing) = (checksum::CRC64_EMPTY, 0);
        for index in (0..self.state.part_count).map(PartIndex) {
            if kept && recorded.peek().is_none() {
                let page = self
                    .state
                    .core
                    .catalog
                    .parts(self.state.uid, index, PAGE_ROWS)
                    .await?;
                recorded = page.into_iter().peekable();
            }
            let row = recorded.next_if(|row| row.index == index);
            let part = row
                .map(|row| PartDone {
                    commitments: commitments_of(&row),
                    crc64: row.crc64,
                })
                .or_else(|| fresh.remove(&index.0));
            let (Some(part), Some(len)) = (
                part,
                self.state.part_size.part_bytes(self.state.size, index),
            ) else {
                missing += 1;
                continue;
            };
            crc64 = checksum::combine(crc64, part.crc64, len.into());
            commitments.push(part.commitments);
        }
        if missing > 0 {
            return Err(ArchiveError::PartsMissing { missing });
        }
        Ok((commitments, crc64))
    }

    /// The checksum of what arrived, when every one that was announced is the same.
    fn settle_checksum(&self, arrived: u64, at_commit: Option<&Checksum>) -> Result<Checksum> {
        let arrived = Checksum::crc64nvme(arrived);
        for announced in [self.offer.checksum.as_ref(), at_commit]
            .into_iter()
            .flatten()
        {
            if announced.algorithm() != arrived.algorithm() {
                return Err(ArchiveError::Misuse("the checksum is not a crc64nvme"));
            }
            if *announced != arrived {
                return Err(ArchiveError::ChecksumMismatch {
                    what: "the object".to_owned(),
                    announced: announced.to_string(),
                    arrived: arrived.to_string(),
                });
            }
        }
        Ok(arrived)
    }

    fn meta(&self, sequence: u64, checksum: Option<Checksum>) -> Meta {
        let change = &self.offer.change;
        let mut meta = Meta::new(change.name.clone(), change.facts.clone());
        meta.checksum = checksum;
        meta.order = Some(change.order.clone());
        meta.sequence = Some(sequence);
        meta.sealed_at = Some(self.state.core.clock.now());
        meta
    }

    fn item(
        self,
        body: ItemBody,
        checksum: Option<Checksum>,
        sequence: u64,
        answer: Answer,
    ) -> Item {
        let (audit, terms) = (self.audit(), Arc::new(self.terms()));
        let (upload, change) = (self.state, self.offer.change);
        let reseals = self.offer.reseals.as_ref();
        let written = self.offer.written.as_ref();
        let expires = written.is_some_and(|written| written.expires);
        let hold = written.and_then(|written| written.hold.as_deref());
        let hold = hold.map(|hold| &hold.said);
        Item {
            audit,
            draft: Draft::of(change, reseals, hold, &upload, checksum, sequence, &terms),
            upload,
            body,
            terms,
            answer,
            expires,
            _quota: self.quota,
        }
    }

    fn hold(&self) -> Option<&SayHold> {
        self.offer.written.as_ref()?.hold.as_deref()
    }

    fn terms(&self) -> ReceiptTerms {
        let record = self.state.open.first().record();
        ReceiptTerms {
            cmk: record.cmk.clone(),
            cmk_version: record.cmk_version.clone(),
            second: self.state.open.second_key(),
            region: self.state.core.region.clone(),
            session: self.offer.session.clone(),
        }
    }

    fn audit(&self) -> AuditRecord {
        if let Some(hold) = self.hold() {
            let record = hold.record.clone().with("uid", self.state.uid);
            return self.state.open.tell(record);
        }
        let change = &self.offer.change;
        let now = self.state.core.clock.now();
        let begun = match &self.offer.reseals {
            Some(reseals) => {
                AuditRecord::new(now, AuditKind::ObjectResealed, reseals.actor.as_str())
                    .with("replaces", reseals.uid)
            }
            None => {
                let kind = match change.kind {
                    ChangeKind::DeleteMarker => AuditKind::ObjectDeleteMarked,
                    ChangeKind::Purge => AuditKind::ObjectPurged,
                    ChangeKind::Put | ChangeKind::Tags => AuditKind::ObjectStored,
                };
                let by = self
                    .offer
                    .written
                    .as_ref()
                    .map(|written| written.actor.as_str());
                AuditRecord::new(now, kind, by.unwrap_or(self.offer.origin.as_str()))
            }
        };
        let audit = begun
            .with("bucket", &change.name.bucket)
            .with("key", &change.name.key)
            .with("version", &change.name.version)
            .with("change", change.kind.as_str())
            .with("size", change.facts.size)
            .with("uid", self.state.uid);
        self.state.open.tell(audit)
    }
}

/// An object that is whole, and what it took to make it so.
struct Completed {
    body: ItemBody,
    checksum: Option<Checksum>,
    sequence: u64,
    claim: Option<Claim>,
}

/// The right to complete a file, which one commit has at a time.
struct Claim(Option<Arc<UploadState>>);

impl Claim {
    fn new(state: Arc<UploadState>, staged: &StagedFile) -> Result<Self> {
        if staged.has_ended() {
            return Err(ArchiveError::Abandoned);
        }
        if staged.committing.swap(true, Ordering::AcqRel) {
            return Err(ArchiveError::Misuse(
                "the object is being committed already",
            ));
        }
        Ok(Self(Some(state)))
    }

    /// The committer has it from here on.
    fn keep(mut self) {
        self.0 = None;
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        if let Some(staged) = self.0.as_ref().and_then(|state| state.body.staged()) {
            staged.committing.store(false, Ordering::Release);
        }
    }
}
