//! Versions sealed anew: opened, and sealed again under another data key, which the
//! bucket's key of today wraps. The version, its order and its checksum stay.
//!
//! ```text
//!  opened ▸ sealed part by part, as if it arrived ▸ durable ▸ one catalog transaction puts
//!      it in place of the sealing that was opened, if that is still the one ▸ old file
//! ```
//!
//! What re-wrapping cannot do: take back what a leaked key, or an old copy of a key
//! record, could open. A version can be read all the while, and a crash leaves one sealing
//! of it or the other.

use std::sync::Arc;

use sealift_ledger::{MarkKind, VersionKind, VersionRow};
use sealift_store::{StoreError, StoreName, blocking};
use sealift_terms::{
    Boxed, Change, ChangeKind, Identity, ObjectUid, PartIndex, PartSize, RecordId, SessionFacts,
    VersionName,
};
use sealift_wire::checksum::Crc64;

use crate::{
    Archive, ArchiveError, ObjectReader, Offer, Result, Upload, archive::Core, scrub::tags_again,
    staging::OBJECTS,
};

/// Plaintext that is held at once.
const PIECE_BYTES: u64 = 1 << 20;

/// That an offer is a version of this archive, sealed anew.
#[derive(Debug, Clone)]
pub struct Reseals {
    /// The sealing that it takes the place of.
    pub(crate) uid: ObjectUid,
    /// Who wants that.
    pub(crate) actor: String,
    /// Whether it had a receipt; none is known after a rebuild.
    pub(crate) has_receipt: bool,
}

/// A version that was sealed anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Resealed {
    /// The sealing before.
    pub before: ObjectUid,
    /// The sealing now.
    pub object_uid: ObjectUid,
    /// The key record now; of two layers, the inner one's.
    pub record: RecordId,
    /// The outer layer's key record now, of two.
    pub second_record: Option<RecordId>,
    /// Bytes of plaintext.
    pub size: u64,
}

impl Archive {
    /// Seals a version anew under the key that its bucket has now, with the tags that
    /// were put on it since; on record as an act of `actor`.
    ///
    /// # Errors
    /// As for reading it and for storing it; [`ArchiveError::Superseded`] when it was
    /// repaired, purged or sealed anew by somebody else meanwhile. It is as it was then.
    pub fn reseal<'a>(
        &'a self,
        actor: &'a str,
        name: &'a VersionName,
    ) -> Boxed<'a, Result<Resealed>> {
        Box::pin(async move {
            let core = &self.core;
            let row = self.could_reseal(name).await?;
            let (before, size, location) = (row.object_uid, row.facts.size, row.location.clone());
            let session = match &row.receipt {
                Some(receipt) => receipt.session.clone(),
                None => Arc::new(SessionFacts::none(&core.region)),
            };
            let receipt = core.reseal_version(actor, row, &session).await?;
            if receipt.object_uid == before {
                return Err(ArchiveError::Superseded(Box::new(name.clone())));
            }
            // Nothing rests in a file of its own now; a pack is compacted in its time.
            if location.file.starts_with(OBJECTS) {
                let file = StoreName::new(&location.file).map_err(StoreError::from)?;
                core.store.remove(&file).await?;
                core.catalog.forget_file(&location.file).await?;
            }
            core.reseal_tags(actor, name, session).await?;
            Ok(Resealed {
                before,
                object_uid: receipt.object_uid,
                record: receipt.record,
                second_record: receipt.second.map(|second| second.record),
                size,
            })
        })
    }

    /// Whether a version is here and not known to be damaged, and the keys that it is
    /// opened and sealed under can be used: what a dry run looks at.
    ///
    /// # Errors
    /// As [`reseal`](Self::reseal).
    pub fn could_reseal<'a>(&'a self, name: &'a VersionName) -> Boxed<'a, Result<VersionRow>> {
        Box::pin(async move {
            let core = &self.core;
            let (bucket, key) = (&name.bucket, &name.key);
            let row = self.find(bucket, key, Some(&name.version)).await?;
            if row.quarantined {
                return Err(ArchiveError::Quarantined(Box::new(row.name)));
            }
            core.open_layers(row.records(), &name.bucket).await?;
            for cmk in core.key_of(&name.bucket)?.cmks() {
                core.ring.check(cmk).await?;
            }
            Ok(row)
        })
    }
}

impl Core {
    async fn reseal_version(
        self: &Arc<Self>,
        actor: &str,
        row: VersionRow,
        session: &Arc<SessionFacts>,
    ) -> Result<sealift_terms::Receipt> {
        let offer = |kind, part_size| Offer {
            change: Change {
                name: row.name.clone(),
                order: row.order.clone(),
                kind,
                facts: row.facts.clone(),
            },
            part_size,
            checksum: row.checksum.clone(),
            origin: here(session),
            session: session.clone(),
            any_cut: false,
            data_follows: true,
            reseals: Some(Reseals {
                uid: row.object_uid,
                actor: actor.to_owned(),
                has_receipt: row.receipt.is_some(),
            }),
            written: None,
        };
        if row.kind == VersionKind::DeleteMarker {
            let offer = offer(ChangeKind::DeleteMarker, PartSize::DEFAULT);
            return Upload::begin(self.clone(), offer).await?.commit(None).await;
        }
        let reader = Arc::new(self.open_row(row.clone()).await?);
        let offer = offer(ChangeKind::Put, reader.part_size());
        let upload = self.begin_reseal(offer).await?;
        for index in upload.missing() {
            self.reseal_part(&upload, &reader, index).await?;
        }
        upload.commit(row.checksum.clone()).await
    }

    /// An upload under the records of now: parts that an earlier try sealed under
    /// others are of no use here.
    async fn begin_reseal(self: &Arc<Self>, offer: Offer) -> Result<Upload> {
        let upload = Upload::begin(self.clone(), offer.clone()).await?;
        let bucket = &offer.change.name.bucket;
        let is_current = self.is_current(&upload.state.open, bucket).await?;
        match upload.state.body.staged().filter(|_| !is_current) {
            None => Ok(upload),
            Some(staged) => {
                self.give_up(staged).await?;
                Upload::begin(self.clone(), offer).await
            }
        }
    }

    async fn reseal_part(
        &self,
        upload: &Upload,
        reader: &Arc<ObjectReader>,
        index: PartIndex,
    ) -> Result<()> {
        let part_size = upload.part_size();
        let len = part_size.part_bytes(reader.size(), index);
        let len = len.ok_or(ArchiveError::Misuse("the object has no such part"))?;
        let (mut at, mut crc) = (part_size.offset_of(index), Crc64::new());
        let end = at + u64::from(len);
        let mut writer = upload.part(index, len).await?;
        while at < end {
            let (reader, range) = (reader.clone(), at..end.min(at + PIECE_BYTES));
            at = range.end;
            let read = blocking(self.store.calls(), move || -> Result<Vec<u8>> {
                let mut bytes = Vec::with_capacity(PIECE_BYTES as usize);
                reader.read_range(range, |run| {
                    bytes.extend_from_slice(run);
                    Ok(())
                })?;
                Ok(bytes)
            });
            let bytes = read.await.map_err(|_| ArchiveError::Closed)??;
            crc.update(&bytes);
            writer.write(&bytes).await?;
        }
        writer.finish(crc.value()).await
    }

    /// Tags that were changed after the version was stored rest by themselves.
    async fn reseal_tags(
        self: &Arc<Self>,
        actor: &str,
        name: &VersionName,
        session: Arc<SessionFacts>,
    ) -> Result<()> {
        for mark in self.catalog.marks_of(name).await? {
            let MarkKind::Tags(tags) = &mark.kind else {
                continue;
            };
            let mut offer = tags_again(&mark, tags.clone(), session.clone());
            offer.origin = here(&session);
            offer.reseals = Some(Reseals {
                uid: mark.object_uid,
                actor: actor.to_owned(),
                has_receipt: true,
            });
            Upload::begin(self.clone(), offer)
                .await?
                .commit(None)
                .await?;
        }
        Ok(())
    }
}

/// Whose share of memory and files is used: that of the one who received, which no peer's
/// uploads compete with.
fn here(session: &SessionFacts) -> Identity {
    session.receiver.clone()
}
