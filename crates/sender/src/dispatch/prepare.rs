//! Makes an offer of a transfer: opens its object, and reads it if it is small.

use std::{collections::BTreeMap, sync::Arc};

use parking_lot::Mutex;
use sealift_ledger::Transfer;
use sealift_store::{Source, StoreError};
use sealift_terms::{
    BucketName, Change, ChangeKind, Checksum, ObjectFacts, PartSize, Reason, VersionName,
    limits::{self, INLINE_OBJECT_BYTES_MAX},
};
use sealift_wire::{HowToOffer, Offer, Refusal, checksum::crc64};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::{
    departing::Departing,
    sending::{Content, Gone, Sending},
};
use crate::changes::version;

/// Bytes of small objects that are in memory at once for one peer, whatever it may have:
/// more would only wait for their receipts.
const SMALL_BYTES_MAX: usize = 24 << 20;
/// Large objects that are open at once, for one peer.
pub(super) const LARGE_OPEN_MAX: usize = 64;

/// What objects take up while they are sent.
#[derive(Debug, Clone)]
pub(super) struct Room {
    small: Arc<Semaphore>,
    small_max: u32,
    pub(super) large: Arc<Semaphore>,
    /// Bytes of parts that are read ahead of their links.
    pieces: Arc<Semaphore>,
    pieces_max: usize,
}

impl Room {
    /// Room for `bytes` in all. Small objects have half of it at most, as they keep theirs
    /// until their receipts come.
    pub(super) fn new(bytes: usize) -> Self {
        // A permit is for 32 bits of bytes at most.
        let bytes = bytes.min(u32::MAX as usize);
        let small = SMALL_BYTES_MAX.min(bytes / 2);
        let pieces_max = bytes - small;
        Self {
            small: Arc::new(Semaphore::new(small)),
            small_max: u32::try_from(small).unwrap_or(u32::MAX),
            large: Arc::new(Semaphore::new(LARGE_OPEN_MAX)),
            pieces: Arc::new(Semaphore::new(pieces_max)),
            pieces_max,
        }
    }

    /// Waits until `bytes` of a part may be read ahead.
    pub(super) async fn pieces(&self, bytes: usize) -> Option<Arc<OwnedSemaphorePermit>> {
        let bytes = u32::try_from(bytes.min(self.pieces_max)).unwrap_or(u32::MAX);
        let permit = self.pieces.clone().acquire_many_owned(bytes).await;
        permit.ok().map(Arc::new)
    }
}

/// An offer with what stands behind it.
pub(super) struct Prepared {
    pub(super) sending: Sending,
    pub(super) offer: Offer,
    pub(super) how: HowToOffer,
}

/// Whether a transfer is of an object that is sent in parts.
pub(super) fn is_large(transfer: &Transfer, part_size: PartSize) -> bool {
    let size = transfer.change.facts.size;
    transfer.change.kind == ChangeKind::Put
        && (size > INLINE_OBJECT_BYTES_MAX || size >= u64::from(part_size.bytes()))
}

/// Prepares a transfer, or says why it cannot be. `part_size` is the one that is wanted,
/// `cut` gives what the line and the
/// links make of it at the moment for an object of so many bytes.
pub(super) async fn prepare(
    transfer: Transfer,
    (sources, departing): (&BTreeMap<BucketName, Arc<dyn Source>>, &Departing),
    (part_size, cut): (PartSize, impl Fn(u64) -> PartSize),
    room: &Room,
) -> Result<Prepared, (Transfer, Refusal)> {
    if let Err(refusal) = departing.hold(&transfer, sources).await {
        return Err((transfer, refusal));
    }
    let mut how = how(&transfer);
    match content(&transfer, how, sources, part_size, room).await {
        Ok(Ready {
            content,
            checksum,
            facts,
            permit,
        }) => {
            let size = transfer.change.facts.size;
            let cut = cut(size);
            // One that takes longer than a part should is not put behind its offer: what
            // came of it is kept when its link is lost.
            if size > u64::from(cut.bytes()) {
                how = HowToOffer::AskFirst;
            }
            // Small ones stay whole: they rest in packs.
            let wanted = match size <= INLINE_OBJECT_BYTES_MAX {
                true => part_size,
                false => cut,
            };
            let part_size = PartSize::fitting(size, wanted).unwrap_or(PartSize::MAX);
            let recorded = &transfer.change;
            let change = match facts {
                None => recorded.clone(),
                Some(facts) => Change {
                    name: recorded.name.clone(),
                    order: recorded.order.clone(),
                    kind: recorded.kind,
                    facts: ObjectFacts {
                        source_region: recorded.facts.source_region.clone(),
                        ..*facts
                    },
                },
            };
            let offer = Offer {
                change,
                part_size,
                checksum,
            };
            let sending = Sending {
                transfer,
                content,
                checksum: Mutex::new(offer.checksum.clone()),
                taste: Mutex::default(),
                stored: 0.into(),
                _permit: permit,
            };
            Ok(Prepared {
                sending,
                offer,
                how,
            })
        }
        Err(refusal) => Err((transfer, refusal)),
    }
}

/// One that was sent before, as far as we know, may be there already.
fn how(transfer: &Transfer) -> HowToOffer {
    if transfer.attempts > 0 || transfer.updated_at > transfer.recorded_at {
        HowToOffer::AskFirst
    } else {
        HowToOffer::Inline
    }
}

/// What is to be sent, and what the source says of it where a listing does not tell all.
struct Ready {
    content: Content,
    checksum: Option<Checksum>,
    facts: Option<Box<ObjectFacts>>,
    permit: Option<OwnedSemaphorePermit>,
}

impl Ready {
    /// Nothing was opened or read.
    fn without(content: Content) -> Self {
        Self {
            content,
            checksum: None,
            facts: None,
            permit: None,
        }
    }
}

async fn content(
    transfer: &Transfer,
    how: HowToOffer,
    sources: &BTreeMap<BucketName, Arc<dyn Source>>,
    part_size: PartSize,
    room: &Room,
) -> Result<Ready, Refusal> {
    match read(transfer, sources, part_size, room).await {
        Ok(ready) => Ok(ready),
        Err(Unread::Source(error)) => match Gone::of(&error) {
            // The receipt of an earlier try may have been lost, or the peer have lost
            // its place: it says whether it has it all the same.
            Some(gone) if how == HowToOffer::AskFirst => Ok(Ready::without(Content::Gone(gone))),
            _ => Err(refusal(&error)),
        },
        Err(Unread::Refused(refusal)) => Err(refusal),
    }
}

/// Why there is no content.
enum Unread {
    Source(StoreError),
    Refused(Refusal),
}

impl From<StoreError> for Unread {
    fn from(error: StoreError) -> Self {
        Self::Source(error)
    }
}

/// Opens an object, and reads it if it is small.
async fn read(
    transfer: &Transfer,
    sources: &BTreeMap<BucketName, Arc<dyn Source>>,
    part_size: PartSize,
    room: &Room,
) -> Result<Ready, Unread> {
    let VersionName {
        bucket,
        key,
        version,
    } = &transfer.change.name;
    let size = transfer.change.facts.size;
    if transfer.change.kind != ChangeKind::Put {
        return Ok(Ready::without(Content::Nothing));
    }
    if size > limits::OBJECT_BYTES_MAX {
        let evidence = format!("{size} bytes");
        let refusal = Refusal::new(Reason::DstObjectTooLarge, evidence);
        return Err(Unread::Refused(refusal));
    }
    let no_source = || {
        let evidence = format!("no source for bucket {bucket}");
        Unread::Refused(Refusal::new(Reason::SrcUnavailable, evidence))
    };
    let source = sources.get(bucket).ok_or_else(no_source)?;
    let own = match source.ordered() {
        Some(_) => version.clone(),
        None => version::of_source(version).map_err(StoreError::from)?,
    };
    if is_large(transfer, part_size) {
        let permit = room.large.clone().acquire_owned().await.ok();
        let object = source.open(key, &own).await?;
        same_size(size, object.facts().size)?;
        return Ok(Ready {
            checksum: object.checksum(),
            facts: Some(Box::new(object.facts().clone())),
            content: Content::Large(object),
            permit,
        });
    }
    // Small enough for 32 bits, and at least one so that the empty are bounded too.
    let bytes = u32::try_from(size).unwrap_or(u32::MAX).max(1);
    let permit = room
        .small
        .clone()
        .acquire_many_owned(bytes.min(room.small_max))
        .await
        .ok();
    let size = usize::try_from(size).unwrap_or_default();
    let whole = source.read_whole(key, &own, size).await?;
    let checksum = Checksum::crc64nvme(crc64(&whole.bytes));
    if let Some(told) = whole.checksum.filter(|told| *told != checksum) {
        let evidence = format!("the source says {told}, what it gave has {checksum}");
        let refusal = Refusal::new(Reason::ChecksumMismatch, evidence);
        return Err(Unread::Refused(refusal));
    }
    Ok(Ready {
        content: Content::Small(whole.bytes),
        checksum: Some(checksum),
        facts: whole.facts,
        permit,
    })
}

/// One version has one size: what the journal has of it is of the bytes that come.
fn same_size(recorded: u64, there: u64) -> Result<(), StoreError> {
    match recorded == there {
        true => Ok(()),
        false => Err(StoreError::SourceChanged {
            evidence: format!("{recorded} bytes were listed, {there} are there"),
        }),
    }
}

/// A failure of the source as the reason why nothing is sent.
pub(super) fn refusal(error: &StoreError) -> Refusal {
    let mut evidence = error.to_string();
    if let Some(cause) = std::error::Error::source(error) {
        evidence = format!("{evidence}: {cause}");
    }
    Refusal::new(error.reason(), evidence)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_read_ahead_and_what_waits_for_receipts_share_what_there_is() {
        for bytes in [2 << 20, 40 << 20, 1 << 30] {
            let room = Room::new(bytes);
            let small = room.small.available_permits();
            assert!(small <= bytes / 2 && small <= SMALL_BYTES_MAX);
            assert_eq!(small + room.pieces.available_permits(), bytes);
            // More than there is at all is all of it: a part is read then, too.
            let all = room.pieces(usize::MAX).await.unwrap();
            assert_eq!(room.pieces.available_permits(), 0);
            drop(all);
            assert_eq!(room.pieces.available_permits(), bytes - small);
        }
    }
}
