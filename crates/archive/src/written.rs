//! What applications write here, into a bucket that was promoted: the same path as what a
//! peer sends, without a peer.
//!
//! ```text
//!  Archive::begin_put ─▶ ObjectWriter: plaintext in any cut ─▶ Upload ─▶ commit_ordered
//!                                                                        │ the key's next order
//!                                                                        ▼
//!                                                                     Receipt, durable
//! ```

use std::{collections::BTreeMap, sync::Arc};

use sealift_ledger::VersionRow;
use sealift_terms::{
    BucketName, Change, ChangeKind, Checksum, Identity, ObjectFacts, ObjectKey, ObjectUid, Order,
    PartIndex, PartSize, Receipt, Region, SessionFacts, Timestamp, VersionId, VersionName,
    order::next_clock,
};

use crate::{
    Archive, ArchiveError, Begin, Offer, PartWriter, Result, Upload,
    archive::{Core, hold_clock},
    holding::SayHold,
};

/// Up to this size an object is cut into parts of the usual size; above, the commitments of
/// its parts would take much memory.
const USUAL_CUT_MAX: u64 = 64 << 30;

/// Who writes a version here.
#[derive(Debug, Clone)]
pub struct Written {
    /// As on record.
    pub(crate) actor: String,
    /// Of a purge: its version's time is over. Never of the latest version of a key.
    pub(crate) expires: bool,
    /// It is no version, but what is said of versions.
    pub(crate) hold: Option<Box<SayHold>>,
}

/// Takes the plaintext of an object in any cut.
#[derive(Debug)]
pub struct ObjectWriter {
    upload: Box<Upload>,
    /// The part that is being written.
    index: PartIndex,
    part: Option<PartWriter>,
    /// Bytes that it still lacks, and the object behind it.
    left_of_part: u64,
    left: u64,
}

impl ObjectWriter {
    pub(crate) fn new(upload: Box<Upload>) -> Self {
        Self {
            left: upload.size(),
            upload,
            index: PartIndex(0),
            part: None,
            left_of_part: 0,
        }
    }

    /// Takes the next bytes.
    ///
    /// # Errors
    /// [`ArchiveError::Misuse`] for more than the object has, and what writing says. It is
    /// of no use then.
    pub async fn write(&mut self, mut bytes: &[u8]) -> Result<()> {
        while !bytes.is_empty() {
            if self.part.is_none() {
                self.begin_part().await?;
            }
            let most = usize::try_from(self.left_of_part).unwrap_or(usize::MAX);
            let (now, later) = bytes.split_at(bytes.len().min(most));
            let part = self.part.as_mut();
            let part = part.filter(|_| !now.is_empty());
            let more = ArchiveError::Misuse("more bytes than the object has");
            part.ok_or(more)?.write(now).await?;
            self.left_of_part -= now.len() as u64;
            self.left -= now.len() as u64;
            if self.left_of_part == 0 {
                self.end_part().await?;
            }
            bytes = later;
        }
        Ok(())
    }

    async fn begin_part(&mut self) -> Result<()> {
        let len = self.upload.part_size();
        let len = len.part_bytes(self.upload.size(), self.index);
        let len = len.ok_or(ArchiveError::Misuse("more bytes than the object has"))?;
        self.part = Some(self.upload.part(self.index, len).await?);
        self.left_of_part = len.into();
        Ok(())
    }

    async fn end_part(&mut self) -> Result<()> {
        if let Some(part) = self.part.take() {
            part.finish_as_it_came().await?;
            self.index = PartIndex(self.index.0.saturating_add(1));
        }
        Ok(())
    }

    /// The upload, as far as it has come.
    pub(crate) fn into_upload(self) -> Box<Upload> {
        self.upload
    }

    /// Ends it: the upload, whole.
    ///
    /// # Errors
    /// [`ArchiveError::PartsMissing`] when bytes are missing; what writing says.
    pub async fn finish(mut self) -> Result<Box<Upload>> {
        self.complete().await?;
        Ok(self.upload)
    }

    pub(crate) async fn complete(&mut self) -> Result<()> {
        if self.left > 0 {
            let missing = self.upload.parts().saturating_sub(self.index.0);
            return Err(ArchiveError::PartsMissing { missing });
        }
        // The last part may be empty.
        while self.index.0 < self.upload.parts() {
            self.begin_part().await?;
            self.end_part().await?;
        }
        Ok(())
    }
}

/// Whether a version was written at the site itself, in the region `here`, and is no copy of
/// one that was written elsewhere. What a rebuild found carries no session: then its region
/// decides.
#[must_use]
pub fn is_written_here(row: &VersionRow, here: &Region) -> bool {
    let came = row.receipt.as_ref().map(|receipt| &receipt.session);
    let by_none = || came.is_none_or(|session| **session == SessionFacts::none(here));
    row.order.region == *here && by_none()
}

impl Archive {
    /// Begins an object that `actor` writes here. It has no place among the changes of its
    /// key yet: [`commit_ordered`](Self::commit_ordered) gives it one.
    ///
    /// # Errors
    /// As [`begin`](Self::begin).
    pub async fn begin_put(
        &self,
        actor: &str,
        bucket: &BucketName,
        key: &ObjectKey,
        facts: ObjectFacts,
    ) -> Result<ObjectWriter> {
        let name = self.core.new_version(bucket, key)?;
        let upload = self.written(actor, name, ChangeKind::Put, facts).await?;
        Ok(ObjectWriter::new(upload))
    }

    /// Puts a delete marker on a key, as its latest version.
    ///
    /// # Errors
    /// As [`commit_ordered`](Self::commit_ordered).
    pub async fn put_delete_marker(
        &self,
        actor: &str,
        bucket: &BucketName,
        key: &ObjectKey,
    ) -> Result<Receipt> {
        let name = self.core.new_version(bucket, key)?;
        let (kind, facts) = (ChangeKind::DeleteMarker, ObjectFacts::default());
        let upload = self.written(actor, name, kind, facts).await?;
        self.commit_ordered(upload, None).await
    }

    /// Gives a version these tags in place of those it has.
    ///
    /// # Errors
    /// As [`commit_ordered`](Self::commit_ordered).
    pub async fn put_tags(
        &self,
        actor: &str,
        row: &VersionRow,
        tags: BTreeMap<String, String>,
    ) -> Result<()> {
        let facts = ObjectFacts {
            tags,
            ..ObjectFacts::default()
        };
        let (kind, name) = (ChangeKind::Tags, row.name.clone());
        let mut upload = self.written(actor, name, kind, facts).await?;
        let known = row.tags_order.as_ref().map_or(0, |order| order.clock);
        upload.offer.change.order = self.core.order_above(known.max(row.order.clock))?;
        upload.commit(None).await?;
        Ok(())
    }

    /// Commits an object that is whole, as the latest change of its key: above all that is
    /// known of it here. Returns once it is durable. Whoever asked first what is there has to
    /// keep others from doing this meanwhile.
    ///
    /// # Errors
    /// [`ArchiveError`]; [`ArchiveError::ClockAhead`] when what is there is dated so far ahead
    /// of the clock here that nothing can be put above it.
    pub async fn commit_ordered(
        &self,
        mut upload: Box<Upload>,
        checksum: Option<Checksum>,
    ) -> Result<Receipt> {
        let name = upload.name().clone();
        let latest = self.core.catalog.latest(&name.bucket, &name.key).await?;
        let known = latest.map_or(0, |row| row.order.clock);
        let change = &mut upload.offer.change;
        change.order = self.core.order_above(known)?;
        if change.kind == ChangeKind::Put {
            change.facts.last_modified = Some(change.order.time());
        }
        upload.commit(checksum).await
    }

    pub(crate) async fn written(
        &self,
        actor: &str,
        name: VersionName,
        kind: ChangeKind,
        facts: ObjectFacts,
    ) -> Result<Box<Upload>> {
        let origin = Identity::applications_of(&self.core.region);
        let offer = self.core.offer_of(actor, name, kind, facts, origin);
        match self.begin(offer).await? {
            Begin::Upload(upload) => Ok(upload),
            Begin::Known(_) | Begin::Conflict { .. } => {
                Err(ArchiveError::Misuse("a version id that is in use already"))
            }
        }
    }
}

impl Core {
    pub(crate) fn offer_of(
        &self,
        actor: &str,
        name: VersionName,
        kind: ChangeKind,
        mut facts: ObjectFacts,
        origin: Identity,
    ) -> Offer {
        facts.source_region = (kind == ChangeKind::Put).then(|| self.region.clone());
        let part_size = match facts.size <= USUAL_CUT_MAX {
            true => PartSize::DEFAULT,
            false => PartSize::MAX,
        };
        Offer {
            change: Change {
                name,
                order: Order {
                    clock: 0,
                    region: self.region.clone(),
                    change: 0,
                },
                kind,
                facts,
            },
            part_size,
            any_cut: false,
            checksum: None,
            session: Arc::new(SessionFacts::none(&self.region)),
            origin,
            data_follows: true,
            reseals: None,
            written: Some(Written {
                actor: actor.to_owned(),
                expires: false,
                hold: None,
            }),
        }
    }

    /// A version id that was never used.
    fn new_version(&self, bucket: &BucketName, key: &ObjectKey) -> Result<VersionName> {
        let drawn = ObjectUid::random(&*self.rng).to_string();
        Ok(VersionName {
            bucket: bucket.clone(),
            key: key.clone(),
            version: VersionId::new(drawn).map_err(ArchiveError::Facts)?,
        })
    }

    /// The order of a change that is made here now: above what is known of its key, and above
    /// this clock and every reading of it that was given out.
    ///
    /// What a clock elsewhere says is merged key by key, from the catalog and so over restarts
    /// as well: one that is fast dates nothing but the keys that were written there. Nor does a
    /// reading of this clock count that was too far ahead to be let in anywhere.
    pub(crate) fn order_above(&self, known: u64) -> Result<Order> {
        let now = self.clock.now();
        let mut last = self.written_clock.lock();
        let is_near = hold_clock(time_of(*last), now).is_ok();
        let own = next_clock(if is_near { *last } else { 0 }, now);
        let order = Order {
            clock: own.max(known.saturating_add(1)),
            region: self.region.clone(),
            change: self.catalog.reserve_sequence(),
        };
        hold_clock(order.time(), now)?;
        *last = own;
        Ok(order)
    }
}

/// The physical part of a hybrid logical clock.
fn time_of(clock: u64) -> Timestamp {
    Timestamp::from_millis(i64::try_from(clock >> 16).unwrap_or(i64::MAX))
}
