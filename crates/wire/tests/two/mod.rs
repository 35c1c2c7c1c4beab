//! Two endpoints in memory: links that can break at any frame, an archive that
//! remembers over sessions what it stored, and a source that counts what it reads.

#![allow(unreachable_pub, clippy::unwrap_used, clippy::panic)]

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use sealift_terms::*;
use sealift_wire::{checksum::crc64, *};

pub const PART: u32 = 65_536;

pub fn offer(key: &str, kind: ChangeKind, size: u64, inline: bool) -> Offer {
    let region = Region::new("a").unwrap();
    let name = VersionName {
        bucket: BucketName::new("photos").unwrap(),
        key: ObjectKey::new(key).unwrap(),
        version: VersionId::new("v1").unwrap(),
    };
    let facts = ObjectFacts {
        size,
        ..ObjectFacts::default()
    };
    Offer {
        change: Change {
            name,
            order: Order {
                clock: 1,
                region,
                change: 1,
            },
            kind,
            facts,
        },
        part_size: PartSize::new(PART).unwrap(),
        checksum: inline.then(|| Checksum::crc64nvme(crc64(&content(key, 0..size)))),
    }
}

/// The bytes of an object, made from its key: a pattern of a prime length.
pub fn content(key: &str, range: std::ops::Range<u64>) -> Vec<u8> {
    let seed = key.bytes().map(u64::from).sum::<u64>();
    let pattern: Vec<u8> = (0..4093u64)
        .map(|i| (i.wrapping_mul(seed | 1) >> 3) as u8)
        .collect();
    let start = (range.start % 4093) as usize;
    let length = (range.end - range.start) as usize;
    let mut bytes = pattern[start..].to_vec();
    while bytes.len() < length {
        bytes.extend_from_slice(&pattern);
    }
    bytes.truncate(length);
    bytes
}

pub fn receipt(name: &VersionName, size: u64) -> Receipt {
    let identity: Identity = "spiffe://example.org/region/a/agent/a1".parse().unwrap();
    Receipt {
        name: name.clone(),
        size,
        checksum: Some(Checksum::crc64nvme(7)),
        object_uid: ObjectUid([7; 16]),
        record: RecordId([8; 16]),
        cmk: KeyId::new("key-1").unwrap(),
        cmk_version: "1".into(),
        second: None,
        region: Region::new("b").unwrap(),
        site: SiteId([9; 16]),
        epoch: Epoch([1; 16]),
        sequence: size + 1,
        stored_at: Timestamp::from_millis(1_790_000_000_000),
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

/// What is durable at the receiving end.
#[derive(Default)]
pub struct Archive {
    pub done: BTreeMap<ObjectKey, Vec<u8>>,
    pub parts: BTreeMap<ObjectKey, BTreeMap<u32, Vec<u8>>>,
    /// Beginnings of parts whose session is gone, while the process lives.
    pub begun: BTreeMap<ObjectKey, BTreeMap<u32, Vec<u8>>>,
    /// The cut that an object was begun in.
    pub cuts: BTreeMap<ObjectKey, PartSize>,
}

/// Frames on their way over one link.
#[derive(Default)]
pub struct Pipe {
    pub to_receiver: VecDeque<(Header, Vec<u8>)>,
    pub to_sender: VecDeque<(Header, Vec<u8>)>,
}

pub struct Two {
    pub sender: SendSession,
    pub receiver: ReceiveSession,
    pub links: BTreeMap<LinkId, Pipe>,
    pub archive: Archive,
    pub offers: BTreeMap<OfferId, Offer>,
    pub completed: BTreeMap<OfferId, Receipt>,
    pub frames: usize,
    pub parts_sent: usize,
    pub bytes_sent: usize,
    pub credit: u64,
    /// Whether the receiver keeps what came of parts that were cut off.
    pub keeps: bool,
    /// Bytes coming in, by offer and part; inline ones as part 0.
    coming: BTreeMap<(OfferId, u32), Vec<u8>>,
    known: BTreeMap<OfferId, Offer>,
    /// Parts that came and are not yet stored: storing takes its time.
    storing: VecDeque<(OfferId, PartIndex)>,
    next_link: u32,
}

impl Two {
    pub fn new(limits: Limits, archive: Archive) -> Self {
        Self {
            sender: SendSession::new(limits),
            receiver: ReceiveSession::new(limits),
            links: BTreeMap::new(),
            archive,
            offers: BTreeMap::new(),
            completed: BTreeMap::new(),
            frames: 0,
            parts_sent: 0,
            bytes_sent: 0,
            keeps: true,
            credit: 2 * u64::from(PART),
            coming: BTreeMap::new(),
            known: BTreeMap::new(),
            storing: VecDeque::new(),
            next_link: 0,
        }
    }

    pub fn open(&mut self, carries: Carries) -> LinkId {
        let link = LinkId(self.next_link);
        self.next_link += 1;
        self.sender.linked(link, carries);
        self.receiver.linked(link, carries);
        self.links.insert(link, Pipe::default());
        link
    }

    pub fn offer(&mut self, offer: Offer, how: HowToOffer) -> OfferId {
        let id = self.sender.offer(offer.clone(), how).unwrap();
        self.offers.insert(id, offer);
        id
    }

    /// Breaks a link: what is on its way is lost. The receiver may not notice.
    pub fn lose(&mut self, link: LinkId, receiver_notices: bool) {
        if self.links.remove(&link).is_some() {
            self.sender.lost(link);
            if receiver_notices {
                self.receiver.lost(link);
                self.receiver_events();
            }
        }
    }

    /// Lets the sender write whatever it has for a link. Whether it had any.
    pub fn pump(&mut self, link: LinkId) -> bool {
        let mut out = Vec::new();
        let mut wrote = false;
        for _ in 0..4 {
            let work = self.sender.next(link, &mut out);
            let busy = work.is_some();
            wrote |= busy || !out.is_empty();
            let mut frames = split(&mut out);
            match work {
                Some(Work::Inline { offer, bytes }) => {
                    let (header, payload) = frames.last_mut().unwrap();
                    assert_eq!(header.length, bytes);
                    *payload = content(self.key(offer).as_str(), 0..u64::from(bytes));
                }
                Some(Work::Part {
                    offer,
                    part,
                    range,
                    there,
                }) => {
                    frames.extend(self.part(link, offer, part, range, there));
                }
                None => {}
            }
            self.links
                .get_mut(&link)
                .unwrap()
                .to_receiver
                .extend(frames);
            if !busy {
                break;
            }
        }
        self.sender_events();
        wrote
    }

    fn part(
        &mut self,
        link: LinkId,
        offer: OfferId,
        part: PartIndex,
        range: std::ops::Range<u64>,
        there: u32,
    ) -> Vec<(Header, Vec<u8>)> {
        self.parts_sent += 1;
        let key = self.key(offer);
        let stored = self
            .archive
            .parts
            .get(&key)
            .is_some_and(|parts| parts.contains_key(&part.0));
        assert!(!stored, "{key} {part:?} is sent again though it is stored");
        let bytes = content(key.as_str(), range);
        let mut frames = Vec::new();
        let mut offset = there;
        for piece in bytes[there as usize..].chunks(40_000) {
            assert!(self.sender.wants(link, offer, part));
            let header = Header::data(offer, part, offset, piece.len() as u32);
            offset += piece.len() as u32;
            self.bytes_sent += piece.len();
            frames.push((header, piece.to_vec()));
        }
        let mut end = Vec::new();
        self.sender
            .part_sent(link, offer, part, crc64(&bytes), &mut end);
        frames.extend(split(&mut end));
        frames
    }

    fn key(&self, offer: OfferId) -> ObjectKey {
        self.offers[&offer].change.name.key.clone()
    }

    /// Delivers one frame in one direction. Whether there was one.
    pub fn deliver(&mut self, link: LinkId, to_receiver: bool) -> Result<bool, WireError> {
        let Some(pipe) = self.links.get_mut(&link) else {
            return Ok(false);
        };
        let queue = if to_receiver {
            &mut pipe.to_receiver
        } else {
            &mut pipe.to_sender
        };
        let Some((header, payload)) = queue.pop_front() else {
            return Ok(false);
        };
        self.frames += 1;
        if !to_receiver {
            self.sender.frame(link, &header, &payload)?;
            self.sender_events();
            return Ok(true);
        }
        if header.frame == FrameType::Data {
            let mut done = 0;
            for piece in payload.chunks(12_345) {
                let place = self
                    .receiver
                    .data(link, &header, done, piece.len() as u32)?;
                done += piece.len() as u32;
                self.take(place, piece);
            }
        } else {
            self.receiver.frame(link, &header, &payload)?;
        }
        self.receiver_events();
        Ok(true)
    }

    fn take(&mut self, place: Place, piece: &[u8]) {
        let (slot, offset) = match place {
            Place::Part {
                offer,
                part,
                offset,
                begins,
            } => {
                assert!(begins || offset > 0);
                ((offer, part.0), offset)
            }
            Place::Inline { offer, offset } => ((offer, 0), offset),
            Place::Nowhere => return,
        };
        let bytes = self.coming.entry(slot).or_default();
        if offset == 0 {
            bytes.clear();
        }
        assert_eq!(bytes.len(), offset as usize);
        bytes.extend_from_slice(piece);
    }

    /// Stores one part that waits for it. Whether there was one.
    pub fn store_one(&mut self) -> bool {
        let Some((offer, part)) = self.storing.pop_front() else {
            return false;
        };
        if let Some(bytes) = self.coming.remove(&(offer, part.0)) {
            let key = self.known[&offer].change.name.key.clone();
            self.archive
                .parts
                .entry(key)
                .or_default()
                .insert(part.0, bytes);
            self.receiver.stored(offer, part);
        }
        self.receiver_events();
        true
    }

    /// Moves what the receiver has to say onto the links.
    pub fn flush(&mut self) {
        for (link, pipe) in &mut self.links {
            let mut out = Vec::new();
            self.receiver.take(*link, &mut out);
            pipe.to_sender.extend(split(&mut out));
        }
    }

    fn sender_events(&mut self) {
        while let Some(event) = self.sender.next_event() {
            match event {
                SendEvent::AllSent { offer, checksum } => {
                    let of = &self.offers[&offer];
                    let key = of.change.name.key.as_str();
                    let whole = crc64(&content(key, 0..of.bytes()));
                    assert_eq!(checksum, Checksum::crc64nvme(whole), "{key}");
                    self.sender.commit(offer, &checksum);
                }
                SendEvent::Completed { offer, receipt } => {
                    assert_eq!(receipt.name, self.offers[&offer].change.name);
                    assert!(
                        self.completed.insert(offer, *receipt).is_none(),
                        "completed twice"
                    );
                }
                SendEvent::Refused { offer, refusal } => panic!("{offer}: {refusal:?}"),
                _ => {}
            }
        }
    }

    pub fn receiver_events(&mut self) {
        while let Some(event) = self.receiver.next_event() {
            match event {
                ReceiveEvent::Offered {
                    offer,
                    what,
                    inline,
                } => self.offered(offer, *what, inline),
                ReceiveEvent::InlineEnd { offer } => {
                    let bytes = self.coming.remove(&(offer, 0)).unwrap_or_default();
                    self.finish(offer, bytes);
                }
                ReceiveEvent::PartEnd {
                    offer,
                    part,
                    bytes,
                    crc64: sum,
                } => {
                    let came = self.coming.entry((offer, part.0)).or_default();
                    assert_eq!((came.len(), crc64(came)), (bytes as usize, sum));
                    self.storing.push_back((offer, part));
                }
                ReceiveEvent::PartAbandoned { offer, part } => {
                    let kept = self.kept_of(offer, part.0);
                    if kept.is_none() {
                        self.coming.remove(&(offer, part.0));
                    }
                    self.receiver.kept(offer, part, kept);
                }
                ReceiveEvent::Commit {
                    offer,
                    checksum,
                    stored_crc64,
                } => {
                    assert_eq!(checksum, Checksum::crc64nvme(stored_crc64));
                    let key = self.known[&offer].change.name.key.clone();
                    let parts = self.archive.parts.remove(&key).unwrap_or_default();
                    self.finish(offer, parts.into_values().flatten().collect());
                }
                ReceiveEvent::Abandoned { offer } | ReceiveEvent::Cancelled { offer, .. } => {
                    self.coming.retain(|(of, _), _| *of != offer);
                }
                _ => {}
            }
        }
    }

    fn offered(&mut self, offer: OfferId, what: Offer, inline: bool) {
        let name = what.change.name.clone();
        self.known.insert(offer, what.clone());
        if !inline && self.archive.done.contains_key(&name.key) {
            self.receiver.receipt(offer, receipt(&name, what.bytes()));
        } else if !inline {
            let cut = *self
                .archive
                .cuts
                .entry(name.key.clone())
                .or_insert(what.part_size);
            let mut have = Parts::none_of(what.bytes(), cut).unwrap();
            for (part, bytes) in self.archive.begun.remove(&name.key).unwrap_or_default() {
                let kept = Some(bytes.len() as u32);
                self.coming.insert((offer, part), bytes);
                self.receiver.kept(offer, PartIndex(part), kept);
            }
            for (part, bytes) in self.archive.parts.get(&name.key).into_iter().flatten() {
                assert!(have.insert(PartIndex(*part), crc64(bytes)));
            }
            assert!(self.receiver.accept(offer, have, self.credit));
        }
    }

    /// How many bytes of a part that was cut off are kept.
    fn kept_of(&self, offer: OfferId, part: u32) -> Option<u32> {
        let what = self.known.get(&offer)?;
        let cut = self.archive.cuts.get(&what.change.name.key)?;
        let all = cut.part_bytes(what.bytes(), PartIndex(part))?;
        let came = self.coming.get(&(offer, part))?.len() as u32;
        (self.keeps && came > 0 && came < all).then_some(came)
    }

    /// The session is gone, and what was begun in it is kept.
    pub fn into_archive(mut self) -> Archive {
        let coming: Vec<_> = self.coming.keys().copied().collect();
        for (offer, part) in coming {
            if let Some(what) = self.known.get(&offer)
                && self.kept_of(offer, part).is_some()
                && let Some(bytes) = self.coming.remove(&(offer, part))
            {
                let key = what.change.name.key.clone();
                let begun = self.archive.begun.entry(key).or_default();
                begun.insert(part, bytes);
            }
        }
        self.archive
    }

    fn finish(&mut self, offer: OfferId, bytes: Vec<u8>) {
        let what = &self.known[&offer];
        let name = what.change.name.clone();
        assert_eq!(
            bytes,
            content(name.key.as_str(), 0..what.bytes()),
            "{}",
            name.key
        );
        self.archive.done.insert(name.key.clone(), bytes);
        self.receiver.receipt(offer, receipt(&name, what.bytes()));
    }

    /// Everything that can happen next happens once. Whether anything did.
    pub fn round(&mut self) -> Result<bool, WireError> {
        let links: Vec<LinkId> = self.links.keys().copied().collect();
        let mut moved = false;
        for link in links {
            moved |= self.links.contains_key(&link) && self.pump(link);
            moved |= self.deliver(link, true)?;
            self.flush();
            moved |= self.deliver(link, false)?;
        }
        moved |= self.store_one();
        self.flush();
        let waiting = |pipe: &Pipe| !pipe.to_receiver.is_empty() || !pipe.to_sender.is_empty();
        Ok(moved || self.links.values().any(waiting))
    }

    pub fn run(&mut self) -> Result<(), WireError> {
        while self.round()? {}
        Ok(())
    }

    /// All offers are over, and the archive holds what was offered.
    pub fn assert_all_completed(&self) {
        let open: BTreeSet<_> = self.sender.unfinished().collect();
        assert!(open.is_empty(), "unfinished: {open:?}");
        assert_eq!(self.completed.len(), self.offers.len());
        assert_eq!(self.receiver.unfinished().count(), 0);
        for offer in self.offers.values() {
            let key = &offer.change.name.key;
            assert_eq!(
                self.archive.done[key],
                content(key.as_str(), 0..offer.bytes()),
                "{key}"
            );
        }
    }
}

/// Cuts bytes into frames. DATA frames of inline work have their header only.
pub fn split(bytes: &mut Vec<u8>) -> Vec<(Header, Vec<u8>)> {
    let mut frames = Vec::new();
    let mut rest = std::mem::take(bytes);
    while !rest.is_empty() {
        let header = Header::decode(&rest).unwrap();
        let payload = rest.split_off(FRAME_HEADER_BYTES);
        let length = if payload.is_empty() {
            0
        } else {
            header.length as usize
        };
        let after = payload[length..].to_vec();
        frames.push((header, payload[..length].to_vec()));
        rest = after;
    }
    frames
}
