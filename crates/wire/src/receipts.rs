//! RECEIPTS: many receipts in one frame. What they have in common (site, key
//! record, session) is written once; the name of the version is not written at
//! all, for the one who offered it knows it.

use std::sync::Arc;

use minicbor::{Decode, Encode};
use sealift_terms::{
    Checksum, Epoch, Identity, KeyId, ObjectUid, Receipt, RecordId, Region, SecondKey,
    SessionFacts, SiteId, Timestamp, VersionName, limits::RECEIPTS_PER_FRAME_MAX,
};

use crate::{
    cbor,
    error::{FrameFault, WireError},
    header::{FrameType, Header, OfferId},
};

const ORIGIN_TEXT_BYTES_MAX: usize = 512;

#[derive(Encode, Decode)]
#[cbor(map)]
struct Batch {
    #[n(0)]
    origins: Vec<Origin>,
    #[n(1)]
    items: Vec<Item>,
}

/// What many receipts share.
#[derive(Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
struct Origin {
    #[n(0)]
    #[cbor(with = "cbor::text")]
    record: RecordId,
    #[n(1)]
    #[cbor(with = "cbor::text")]
    cmk: KeyId,
    #[n(2)]
    cmk_version: String,
    #[n(3)]
    #[cbor(with = "cbor::text")]
    region: Region,
    #[n(4)]
    #[cbor(with = "cbor::text")]
    site: SiteId,
    #[n(5)]
    #[cbor(with = "cbor::text")]
    epoch: Epoch,
    #[n(6)]
    tls_version: String,
    #[n(7)]
    cipher_suite: String,
    #[n(8)]
    group: String,
    #[n(9)]
    #[cbor(with = "cbor::text")]
    sender: Identity,
    #[n(10)]
    sender_serial: String,
    #[n(11)]
    #[cbor(with = "cbor::text")]
    receiver: Identity,
    #[n(12)]
    receiver_serial: String,
    #[n(13)]
    second: Option<Second>,
}

/// The outer layer's record and key, of a sealing in two layers.
#[derive(Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
struct Second {
    #[n(0)]
    #[cbor(with = "cbor::text")]
    record: RecordId,
    #[n(1)]
    #[cbor(with = "cbor::text")]
    cmk: KeyId,
    #[n(2)]
    cmk_version: String,
}

impl From<&SecondKey> for Second {
    fn from(key: &SecondKey) -> Self {
        Self {
            record: key.record,
            cmk: key.cmk.clone(),
            cmk_version: key.cmk_version.clone(),
        }
    }
}

impl From<Second> for SecondKey {
    fn from(second: Second) -> Self {
        Self {
            record: second.record,
            cmk: second.cmk,
            cmk_version: second.cmk_version,
        }
    }
}

impl Second {
    fn is_of(&self, key: &SecondKey) -> bool {
        self.record == key.record && self.cmk == key.cmk && self.cmk_version == key.cmk_version
    }
}

#[derive(Encode, Decode)]
#[cbor(map)]
struct Item {
    #[n(0)]
    offer: u64,
    #[n(1)]
    origin: u32,
    #[n(2)]
    size: u64,
    #[n(3)]
    #[cbor(with = "cbor::maybe_text", has_nil)]
    checksum: Option<Checksum>,
    #[n(4)]
    #[cbor(with = "cbor::text")]
    object_uid: ObjectUid,
    #[n(5)]
    sequence: u64,
    #[n(6)]
    #[cbor(with = "cbor::millis")]
    stored_at: Timestamp,
    #[n(7)]
    signature: Option<String>,
}

impl From<&Receipt> for Origin {
    fn from(receipt: &Receipt) -> Self {
        let session = SessionFacts::clone(&receipt.session);
        Self {
            record: receipt.record,
            cmk: receipt.cmk.clone(),
            cmk_version: receipt.cmk_version.clone(),
            region: receipt.region.clone(),
            site: receipt.site,
            epoch: receipt.epoch,
            tls_version: session.tls_version,
            cipher_suite: session.cipher_suite,
            group: session.group,
            sender: session.sender,
            sender_serial: session.sender_serial,
            receiver: session.receiver,
            receiver_serial: session.receiver_serial,
            second: receipt.second.as_ref().map(Second::from),
        }
    }
}

impl Origin {
    /// Whether it is that of `receipt`, without making another of it.
    fn is_of(&self, receipt: &Receipt) -> bool {
        let SessionFacts {
            tls_version,
            cipher_suite,
            group,
            sender,
            sender_serial,
            receiver,
            receiver_serial,
        } = &*receipt.session;
        let same_second = match (&self.second, &receipt.second) {
            (None, None) => true,
            (Some(ours), Some(theirs)) => ours.is_of(theirs),
            _ => false,
        };
        same_second
            && self.record == receipt.record
            && self.cmk == receipt.cmk
            && self.cmk_version == receipt.cmk_version
            && self.region == receipt.region
            && self.site == receipt.site
            && self.epoch == receipt.epoch
            && self.tls_version == *tls_version
            && self.cipher_suite == *cipher_suite
            && self.group == *group
            && self.sender == *sender
            && self.sender_serial == *sender_serial
            && self.receiver == *receiver
            && self.receiver_serial == *receiver_serial
    }

    fn longest(&self) -> usize {
        let texts = [
            &self.cmk_version,
            &self.tls_version,
            &self.cipher_suite,
            &self.group,
            &self.sender_serial,
            &self.receiver_serial,
        ];
        let identities = [self.sender.as_str().len(), self.receiver.as_str().len()];
        let second = self.second.as_ref().map(|second| &second.cmk_version);
        texts
            .into_iter()
            .chain(second)
            .map(String::len)
            .chain(identities)
            .max()
            .unwrap_or(0)
    }
}

/// Appends as many frames as the receipts take.
pub(crate) fn append(out: &mut Vec<u8>, receipts: &[(OfferId, Receipt)]) {
    for group in receipts.chunks(RECEIPTS_PER_FRAME_MAX) {
        let mut batch = Batch {
            origins: Vec::new(),
            items: Vec::with_capacity(group.len()),
        };
        for (offer, receipt) in group {
            // Neighbours mostly share one: look from the end.
            let known = batch.origins.iter().rposition(|known| known.is_of(receipt));
            let index = known.unwrap_or_else(|| {
                batch.origins.push(Origin::from(receipt));
                batch.origins.len() - 1
            });
            batch.items.push(Item {
                offer: offer.0,
                origin: u32::try_from(index).unwrap_or(u32::MAX),
                size: receipt.size,
                checksum: receipt.checksum.clone(),
                object_uid: receipt.object_uid,
                sequence: receipt.sequence,
                stored_at: receipt.stored_at,
                signature: receipt.signature.clone(),
            });
        }
        cbor::append(out, Header::of(FrameType::Receipts, 0, 0), &batch);
    }
}

/// What the receipts of one frame share, read.
struct Shared {
    record: RecordId,
    cmk: KeyId,
    cmk_version: String,
    second: Option<SecondKey>,
    region: Region,
    site: SiteId,
    epoch: Epoch,
    session: Arc<SessionFacts>,
}

impl From<Origin> for Shared {
    fn from(origin: Origin) -> Self {
        Self {
            record: origin.record,
            cmk: origin.cmk,
            cmk_version: origin.cmk_version,
            second: origin.second.map(SecondKey::from),
            region: origin.region,
            site: origin.site,
            epoch: origin.epoch,
            session: Arc::new(SessionFacts {
                tls_version: origin.tls_version,
                cipher_suite: origin.cipher_suite,
                group: origin.group,
                sender: origin.sender,
                sender_serial: origin.sender_serial,
                receiver: origin.receiver,
                receiver_serial: origin.receiver_serial,
            }),
        }
    }
}

/// A receipt that lacks only the name of its version.
pub(crate) struct Nameless {
    pub(crate) offer: OfferId,
    origin: Arc<Shared>,
    item: Item,
}

impl Nameless {
    pub(crate) fn named(self, name: VersionName) -> Receipt {
        let Self { origin, item, .. } = self;
        Receipt {
            name,
            size: item.size,
            checksum: item.checksum,
            object_uid: item.object_uid,
            record: origin.record,
            cmk: origin.cmk.clone(),
            cmk_version: origin.cmk_version.clone(),
            second: origin.second.clone(),
            region: origin.region.clone(),
            site: origin.site,
            epoch: origin.epoch,
            sequence: item.sequence,
            stored_at: item.stored_at,
            session: origin.session.clone(),
            signature: item.signature,
        }
    }
}

/// Reads one frame.
pub(crate) fn read(payload: &[u8]) -> Result<Vec<Nameless>, WireError> {
    let frame = FrameType::Receipts;
    let Batch { origins, items } = cbor::read(frame, payload)?;
    let too_long = |origin: &Origin| origin.longest() > ORIGIN_TEXT_BYTES_MAX;
    if origins.iter().any(too_long) {
        let what = "an origin with a text of more than 512 bytes";
        return Err(WireError::bad(frame, FrameFault::Inconsistent { what }));
    }
    let origins: Vec<_> = origins
        .into_iter()
        .map(|origin| Arc::new(Shared::from(origin)))
        .collect();
    let named = |item: Item| {
        let origin = usize::try_from(item.origin)
            .ok()
            .and_then(|index| origins.get(index));
        let what = "a receipt that refers to no origin";
        let origin =
            origin.ok_or_else(|| WireError::bad(frame, FrameFault::Inconsistent { what }))?;
        Ok(Nameless {
            offer: OfferId(item.offer),
            origin: origin.clone(),
            item,
        })
    };
    if items.len() > RECEIPTS_PER_FRAME_MAX {
        let what = "more than 256 receipts";
        return Err(WireError::bad(frame, FrameFault::Inconsistent { what }));
    }
    items.into_iter().map(named).collect()
}
