//! The far side of a test: a receiving session with links in memory, that does
//! what a script says.
#![allow(dead_code, unreachable_pub, reason = "not every test uses all of it")]

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use parking_lot::Mutex;
use sealift_identity::Leaf;
use sealift_sender::{Joining, Session};
use sealift_terms::{
    ChangeKind, Checksum, Epoch, Identity, KeyId, ObjectUid, PartIndex, Receipt, RecordId, Region,
    SessionFacts, SessionId, SiteId, SiteName, Timestamp, VersionId,
};
use sealift_tunnel::{Connection, Incoming, Link, LinkKind};
use sealift_wire::{
    Agreed, Carries, Cuts, Header, Hello, Limits, LinkEvent, LinkId, Offer, OfferId, PROTOCOL_MAX,
    PROTOCOL_MIN, Parts, Place, ReceiveEvent, ReceiveSession, Refusal, Role, checksum::crc64,
};
use tokio::sync::mpsc;

/// A frame of control, or a piece of a DATA frame.
enum Came {
    Frame(Header, Vec<u8>),
    Data(Header, u32, Vec<u8>),
}

/// The two ends of a link in memory.
fn link_pair(kind: LinkKind, not_after: Timestamp) -> (Link, Link) {
    let (near, far) = tokio::io::duplex(256 * 1024);
    let link = |stream| {
        let (reader, writer) = tokio::io::split(stream);
        let peer = ([127, 0, 0, 1], 7).into();
        let connection = Connection {
            reader: Box::new(reader),
            writer: Box::new(writer),
            peer,
            socket: None,
        };
        let leaf = Arc::new(Leaf {
            identity: identity("spiffe://example.org/region/a/agent/near"),
            serial: "01".to_owned(),
            not_before: Timestamp::default(),
            not_after,
            client_auth: true,
            server_auth: true,
        });
        let session = sealift_identity::Session {
            tls_version: "TLSv1.3",
            cipher_suite: "none".to_owned(),
            group: "none".to_owned(),
            alpn: kind.alpn().to_vec(),
            own: leaf.clone(),
            peer: leaf,
        };
        Link::clear(connection, kind, session)
    };
    (link(near), link(far))
}

/// Drives the far end of a link: what comes goes to the driver, what the driver
/// sends goes out. Ends when either side does.
fn drive(
    id: LinkId,
    link: Link,
    came: mpsc::Sender<(LinkId, Came)>,
) -> mpsc::UnboundedSender<Vec<u8>> {
    let (back, mut out) = mpsc::unbounded_channel::<Vec<u8>>();
    let (mut reader, mut writer) = link.split();
    tokio::spawn(async move {
        loop {
            tokio::select! {
                next = reader.next() => {
                    let what = match next {
                        Ok(Some(Incoming::Frame { header, payload })) => Came::Frame(header, payload.to_vec()),
                        Ok(Some(Incoming::Data { header, done, bytes })) => Came::Data(header, done, bytes.to_vec()),
                        _ => return,
                    };
                    if came.send((id, what)).await.is_err() {
                        return;
                    }
                }
                frames = out.recv() => {
                    let Some(frames) = frames else { return };
                    writer.queue(&frames);
                    if writer.flush().await.is_err() {
                        return;
                    }
                }
            }
        }
    });
    back
}

/// What the far side does with an offer.
#[derive(Debug, Clone)]
pub enum Deed {
    Take,
    Refuse(Refusal),
    /// Takes it, and says that it has another size.
    WrongSize,
    /// Takes it, and never answers.
    Silence,
}

/// What outlives a session at the far side.
#[derive(Default)]
pub struct Store {
    pub objects: BTreeMap<String, Vec<u8>>,
    pub receipts: HashMap<VersionId, Receipt>,
    /// Parts of objects that are not whole.
    pub parts: HashMap<VersionId, BTreeMap<PartIndex, Vec<u8>>>,
    pub parts_stored: u64,
    pub inline: u64,
    pub sequence: u64,
    pub order: Vec<String>,
    /// Links that were closed in order.
    pub closed: Vec<LinkId>,
}

pub struct Far {
    pub store: Arc<Mutex<Store>>,
    pub epoch: Epoch,
    pub policy: Option<u64>,
    pub script: Arc<dyn Fn(&Offer) -> Deed + Send + Sync>,
    /// A link is cut when this many parts were stored, once.
    pub cut_after_parts: Option<u64>,
    /// A link is cut when so many bytes of a part came over it, once.
    pub cut_within_part: Option<usize>,
    /// The near side is asked to begin nothing new when this many parts were stored.
    pub drain_after_parts: Option<u64>,
    /// When the certificates of its links end.
    pub ends: Timestamp,
    /// How it lets objects be cut for it, if it says so.
    pub cuts: Option<Cuts>,
}

struct Under {
    offer: Offer,
    inline: Vec<u8>,
    open: BTreeMap<PartIndex, Vec<u8>>,
}

impl Far {
    pub fn new(script: impl Fn(&Offer) -> Deed + Send + Sync + 'static) -> Self {
        let (store, script) = (Arc::default(), Arc::new(script));
        Self {
            store,
            epoch: Epoch([7; 16]),
            policy: None,
            script,
            cut_after_parts: None,
            cut_within_part: None,
            drain_after_parts: None,
            ends: Timestamp::from_secs(1 << 40),
            cuts: None,
        }
    }

    pub fn hello(&self) -> Hello {
        Hello {
            protocol_min: PROTOCOL_MIN,
            protocol_max: PROTOCOL_MAX,
            session: SessionId([1; 16]),
            link: 0,
            role: Role::Receive,
            site: SiteId([2; 16]),
            site_name: SiteName::new("far").unwrap(),
            region: Region::new("b").unwrap(),
            epoch: self.epoch,
            commit_sequence: self.store.lock().sequence,
            clock: Timestamp::default(),
            software: String::new(),
            limits: Limits::default(),
            policy: self.policy,
            remembered: None,
            decompresses: None,
            cuts: self.cuts,
            key_exchange: None,
            takes: None,
        }
    }

    /// Opens a session with one control link and `data` data links. The returned
    /// sender lets more links join.
    pub fn session(&self, data: u32) -> (Session, tokio::task::JoinHandle<()>) {
        let (joining, links) = mpsc::channel(16);
        let (lost, mut lost_in) = mpsc::channel(16);
        let (to_far, mut from_near) = mpsc::channel::<(LinkId, Came)>(8);
        let machine = ReceiveSession::new(Limits::default());
        let mut driver = Driver {
            machine,
            links: BTreeMap::new(),
            store: self.store.clone(),
            script: self.script.clone(),
            epoch: self.epoch,
            under: HashMap::new(),
            cut_after_parts: self.cut_after_parts,
            cut_within_part: self.cut_within_part,
            drain_after_parts: self.drain_after_parts,
        };
        let ends = self.ends;
        let add = move |driver: &mut Driver, id: u32, joining: &mpsc::Sender<Joining>| {
            let id = LinkId(id);
            let (carries, kind) = match id.0 {
                0 => (Carries::Control, LinkKind::Control),
                _ => (Carries::Data, LinkKind::Data),
            };
            let (link, far) = link_pair(kind, ends);
            driver.machine.linked(id, carries);
            driver.links.insert(id, drive(id, far, to_far.clone()));
            joining.try_send(Joining { id, carries, link }).unwrap();
        };
        for id in 0..=data {
            add(&mut driver, id, &joining);
        }
        let task = tokio::spawn(async move {
            let mut next = data + 1;
            loop {
                tokio::select! {
                    Some((link, frame)) = from_near.recv() => driver.take(link, frame),
                    lost = lost_in.recv() => {
                        // The sending end is gone with the session.
                        let Some(link) = lost else { return };
                        driver.machine.lost(link);
                        driver.links.remove(&link);
                        add(&mut driver, next, &joining);
                        next += 1;
                    }
                }
                driver.act();
            }
        });
        let agreed = Agreed {
            protocol: PROTOCOL_MAX,
            limits: Limits::default(),
        };
        (
            Session {
                hello: self.hello(),
                agreed,
                links,
                lost,
            },
            task,
        )
    }
}

struct Driver {
    machine: ReceiveSession,
    links: BTreeMap<LinkId, mpsc::UnboundedSender<Vec<u8>>>,
    store: Arc<Mutex<Store>>,
    script: Arc<dyn Fn(&Offer) -> Deed + Send + Sync>,
    epoch: Epoch,
    under: HashMap<OfferId, Under>,
    cut_after_parts: Option<u64>,
    cut_within_part: Option<usize>,
    drain_after_parts: Option<u64>,
}

impl Driver {
    fn take(&mut self, link: LinkId, came: Came) {
        if !self.links.contains_key(&link) {
            return;
        }
        let (header, done, payload) = match came {
            Came::Frame(header, payload) => {
                return self.machine.frame(link, &header, &payload).unwrap();
            }
            Came::Data(header, done, payload) => (header, done, payload),
        };
        let piece = u32::try_from(payload.len()).unwrap();
        match self.machine.data(link, &header, done, piece).unwrap() {
            Place::Part {
                offer,
                part,
                offset,
                begins,
            } => {
                let under = self.under.get_mut(&offer).unwrap();
                let bytes = under.open.entry(part).or_default();
                if begins && offset == 0 {
                    bytes.clear();
                }
                assert_eq!(bytes.len(), offset as usize);
                bytes.extend_from_slice(&payload);
                if self.cut_within_part.is_some_and(|cut| bytes.len() >= cut) {
                    self.cut_within_part = None;
                    self.links.remove(&link);
                }
            }
            Place::Inline { offer, .. } => {
                self.under
                    .get_mut(&offer)
                    .unwrap()
                    .inline
                    .extend_from_slice(&payload);
            }
            Place::Nowhere => {}
        }
        // The offer must be known before its bytes are placed.
        self.act();
    }

    fn act(&mut self) {
        while let Some(event) = self.machine.next_event() {
            self.event(event);
        }
        for (link, back) in &self.links {
            let mut out = Vec::new();
            self.machine.take(*link, &mut out);
            if !out.is_empty() {
                let _ = back.send(out);
            }
        }
    }

    fn event(&mut self, event: ReceiveEvent) {
        match event {
            ReceiveEvent::Offered {
                offer,
                what,
                inline,
            } => self.offered(offer, *what, inline),
            ReceiveEvent::InlineEnd { offer } => self.inline_end(offer),
            ReceiveEvent::PartEnd {
                offer,
                part,
                bytes,
                crc64: sent,
            } => {
                let under = self.under.get_mut(&offer).unwrap();
                let got = under.open.remove(&part).unwrap_or_default();
                assert_eq!((got.len(), crc64(&got)), (bytes as usize, sent));
                let version = under.offer.change.name.version.clone();
                let mut store = self.store.lock();
                store.parts.entry(version).or_default().insert(part, got);
                store.parts_stored += 1;
                let stored = store.parts_stored;
                drop(store);
                self.machine.stored(offer, part);
                if self.drain_after_parts == Some(stored) {
                    let links = self.links.keys().copied();
                    links.for_each(|link| self.machine.drain(link));
                }
                if self.cut_after_parts == Some(stored) {
                    self.cut_after_parts = None;
                    let last = *self.links.keys().last().unwrap();
                    self.links.remove(&last);
                }
            }
            ReceiveEvent::Commit {
                offer,
                checksum,
                stored_crc64,
            } => {
                assert_eq!(checksum, Checksum::crc64nvme(stored_crc64));
                let under = self.under.remove(&offer).unwrap();
                let parts = self
                    .store
                    .lock()
                    .parts
                    .remove(&under.offer.change.name.version);
                let bytes = parts.unwrap_or_default().into_values().flatten().collect();
                self.done(offer, &under.offer, bytes);
            }
            ReceiveEvent::PartAbandoned { offer, part } => {
                let kept = self.under.get_mut(&offer).and_then(|under| {
                    let all = under
                        .offer
                        .part_size
                        .part_bytes(under.offer.bytes(), part)?;
                    let came = under.open.get(&part).map_or(0, Vec::len);
                    let keeps = came > 0 && came < all as usize;
                    if !keeps {
                        under.open.remove(&part);
                    }
                    keeps.then(|| u32::try_from(came).unwrap())
                });
                self.machine.kept(offer, part, kept);
            }
            ReceiveEvent::Abandoned { offer } | ReceiveEvent::Cancelled { offer, .. } => {
                self.under.remove(&offer);
            }
            ReceiveEvent::Link(LinkEvent::Asked { link, number, body }) => {
                let answer: Vec<u8> = body.iter().rev().copied().collect();
                self.machine.answer(link, number, &answer);
            }
            ReceiveEvent::Link(LinkEvent::Closed(link, _)) => self.store.lock().closed.push(link),
            _ => {}
        }
    }

    fn offered(&mut self, offer: OfferId, what: Offer, inline: bool) {
        let known = self
            .store
            .lock()
            .receipts
            .get(&what.change.name.version)
            .cloned();
        if let Some(mut receipt) = known {
            if what.change.kind == ChangeKind::Tags {
                (receipt.size, receipt.checksum) = (0, None);
            }
            self.machine.receipt(offer, receipt);
            return;
        }
        let deed = (self.script)(&what);
        let bytes = what.bytes();
        self.under.insert(
            offer,
            Under {
                offer: what.clone(),
                inline: Vec::new(),
                open: BTreeMap::new(),
            },
        );
        if let Deed::Refuse(refusal) = deed {
            self.under.remove(&offer);
            self.machine.refuse(offer, &refusal);
        } else if !inline {
            let mut have = Parts::none_of(bytes, what.part_size).unwrap();
            for (part, bytes) in self
                .store
                .lock()
                .parts
                .entry(what.change.name.version)
                .or_default()
            {
                have.insert(*part, crc64(bytes));
            }
            let part = u64::from(what.part_size.bytes());
            self.machine.accept(offer, have, part * 2);
        } else if bytes == 0 {
            self.inline_end(offer);
        }
    }

    fn inline_end(&mut self, offer: OfferId) {
        if let Some(under) = self.under.remove(&offer) {
            self.store.lock().inline += 1;
            self.done(offer, &under.offer, under.inline);
        }
    }

    fn done(&mut self, offer: OfferId, what: &Offer, bytes: Vec<u8>) {
        let deed = (self.script)(what);
        if matches!(deed, Deed::Silence) {
            return;
        }
        let mut store = self.store.lock();
        store.sequence += 1;
        let is_put = what.change.kind == ChangeKind::Put;
        let name = &what.change.name;
        let mut receipt = Receipt {
            name: name.clone(),
            size: bytes.len() as u64,
            checksum: is_put.then(|| Checksum::crc64nvme(crc64(&bytes))),
            object_uid: ObjectUid([3; 16]),
            record: RecordId([4; 16]),
            cmk: KeyId::new("key-1").unwrap(),
            cmk_version: "1".to_owned(),
            second: None,
            region: Region::new("b").unwrap(),
            site: SiteId([2; 16]),
            epoch: self.epoch,
            sequence: store.sequence,
            stored_at: Timestamp::from_secs(1),
            session: facts().into(),
            signature: None,
        };
        if matches!(deed, Deed::WrongSize) {
            receipt.size += 1;
        } else {
            if is_put {
                store.objects.insert(name.key.to_string(), bytes);
            } else {
                store.objects.remove(name.key.as_str());
            }
            store.order.push(name.key.to_string());
            store.receipts.insert(name.version.clone(), receipt.clone());
        }
        drop(store);
        self.machine.receipt(offer, receipt);
    }
}

fn facts() -> SessionFacts {
    SessionFacts {
        tls_version: "TLSv1.3".to_owned(),
        cipher_suite: "TLS13_AES_256_GCM_SHA384".to_owned(),
        group: "X25519MLKEM768".to_owned(),
        sender: identity("spiffe://example.org/region/a/agent/near"),
        sender_serial: "01".to_owned(),
        receiver: identity("spiffe://example.org/region/b/agent/far"),
        receiver_serial: "02".to_owned(),
    }
}

fn identity(uri: &str) -> Identity {
    uri.parse().unwrap()
}
