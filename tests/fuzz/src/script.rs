//! Bytes read as a script: what a peer sends, and what its driver does meanwhile.
//!
//! ```text
//!  step: action u8, then what the action needs
//!  frame: type, flags, offer, part u8 each, offset u16, length u16, payload
//! ```

use sealift_terms::{
    BucketName, Change, ChangeKind, Checksum, Epoch, Identity, KeyId, ObjectFacts, ObjectKey,
    ObjectUid, Order, PartIndex, PartSize, Receipt, RecordId, Region, SessionFacts, SiteId,
    Timestamp, VersionId, VersionName,
};
use sealift_wire::{FrameType, Header, HowToOffer, Offer};

/// The part size of every offer made here: the smallest, so that parts are many.
pub const PART: u32 = 65_536;

/// A script, and how far it is read.
pub struct Script<'a>(pub &'a [u8]);

impl<'a> Script<'a> {
    /// The next byte; `None` at the end.
    pub fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    /// The next two bytes.
    pub fn word(&mut self) -> Option<u16> {
        Some(u16::from_be_bytes([self.byte()?, self.byte()?]))
    }

    /// The next bytes, `len` of them or as many as there are.
    pub fn bytes(&mut self, len: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(len.min(self.0.len()));
        self.0 = rest;
        taken
    }

    /// A frame whose header decodes, with its payload (of DATA the length counts
    /// in units of 16 bytes, and the payload is nowhere).
    pub fn frame(&mut self) -> Option<Option<(Header, &'a [u8])>> {
        let (kind, flags) = (self.byte()?, self.byte()?);
        let (offer, part) = (self.byte()?, self.byte()?);
        let (offset, length) = (self.word()?, self.word()?);
        let data = kind == FrameType::Data as u8;
        let unit = if data { 16 } else { 1 };
        let payload = if data { &[] } else { self.bytes(length.into()) };
        let length = if data {
            u32::from(length) * unit
        } else {
            payload.len() as u32
        };
        let mut header = [0; 24];
        header[0] = kind;
        header[1] = flags;
        header[4..8].copy_from_slice(&length.to_be_bytes());
        header[15] = offer;
        header[19] = part;
        header[20..].copy_from_slice(&(u32::from(offset) * unit).to_be_bytes());
        Some(Header::decode(&header).ok().map(|header| (header, payload)))
    }
}

/// A frame as [`Script::frame`] reads it.
pub fn write_frame(script: &mut Vec<u8>, header: &Header, payload: &[u8]) {
    let unit = if header.frame == FrameType::Data {
        16
    } else {
        1
    };
    script.extend([
        header.frame as u8,
        u8::from(header.inline),
        header.number as u8,
        header.part.0 as u8,
    ]);
    script.extend(((header.offset / unit) as u16).to_be_bytes());
    script.extend(((header.length / unit) as u16).to_be_bytes());
    script.extend(payload);
}

/// The frames in `bytes`, where every DATA frame is a header alone.
pub fn frames_in(mut bytes: &[u8]) -> Vec<(Header, Vec<u8>)> {
    let mut frames = Vec::new();
    while !bytes.is_empty() {
        let header = Header::decode(bytes).unwrap();
        let payload = match header.frame {
            FrameType::Data => 0,
            _ => header.length as usize,
        };
        frames.push((header, bytes[24..24 + payload].to_vec()));
        bytes = &bytes[24 + payload..];
    }
    frames
}

/// An offer of `size` bytes, put or not, and how to make it.
pub fn offer(number: u8, size: u64, how: u8) -> (Offer, HowToOffer) {
    let kind = match how >> 1 & 3 {
        0 | 1 => ChangeKind::Put,
        2 => ChangeKind::DeleteMarker,
        _ => ChangeKind::Tags,
    };
    let offer = Offer {
        change: Change {
            name: name(number),
            order: Order {
                clock: 1,
                region: Region::new("a").unwrap(),
                change: number.into(),
            },
            kind,
            facts: ObjectFacts {
                size,
                ..ObjectFacts::default()
            },
        },
        part_size: PartSize::new(PART).unwrap(),
        checksum: Some(Checksum::crc64nvme(0)),
    };
    let how = if how & 1 == 1 {
        HowToOffer::Inline
    } else {
        HowToOffer::AskFirst
    };
    (offer, how)
}

/// The header of the part and piece that a step names.
#[must_use]
pub fn part(index: u8) -> PartIndex {
    PartIndex(index.into())
}

/// A receipt for anything.
#[must_use]
pub fn receipt(number: u8) -> Receipt {
    let identity: Identity = "spiffe://example.org/region/a/agent/a1".parse().unwrap();
    Receipt {
        name: name(number),
        size: 0,
        checksum: Some(Checksum::crc64nvme(7)),
        object_uid: ObjectUid([7; 16]),
        record: RecordId([8; 16]),
        cmk: KeyId::new("key-1").unwrap(),
        cmk_version: "1".into(),
        second: None,
        region: Region::new("b").unwrap(),
        site: SiteId([9; 16]),
        epoch: Epoch([1; 16]),
        sequence: 1,
        stored_at: Timestamp::from_secs(1_790_000_000),
        session: std::sync::Arc::new(SessionFacts {
            tls_version: "TLSv1.3".into(),
            cipher_suite: "TLS13_AES_256_GCM_SHA384".into(),
            group: "X25519MLKEM768".into(),
            sender: identity.clone(),
            sender_serial: "01".into(),
            receiver: identity,
            receiver_serial: "02".into(),
        }),
        signature: None,
    }
}

fn name(number: u8) -> VersionName {
    VersionName {
        bucket: BucketName::new("photos").unwrap(),
        key: ObjectKey::new(format!("key {number}")).unwrap(),
        version: VersionId::new("v1").unwrap(),
    }
}
