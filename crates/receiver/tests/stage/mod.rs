//! A session over a real archive, and a peer that says whatever a test wants.
#![allow(unreachable_pub)]

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use sealift_archive::{Archive, ArchiveParts, BucketKey, Buckets, Budget, SiteFacts};
use sealift_host::{OsClock, OsDisk, OsRng};
use sealift_identity::{GrantRow, Grants, Leaf};
use sealift_keys::{KEYSTORE_FILE, LocalKeystore, RecordRing, RootSecret};
use sealift_ledger::sqlite::{NewSite, SqliteCatalog};
use sealift_receiver::{Door, Patience, Peer, ReceiverError, Session};
use sealift_store::DirectoryStore;
use sealift_terms::{
    Audit, AuditRecord, AuditUnavailable, BucketName, Change, ChangeKind, Epoch, Identity,
    ObjectFacts, ObjectKey, Order, PartIndex, PartSize, Region, SessionFacts, SiteId, Timestamp,
    VersionId, VersionName,
};
use sealift_tunnel::{Connection, Link, LinkKind};
use sealift_wire::{
    Carries, FRAME_HEADER_BYTES, FrameType, Header, HowToOffer, Limits, LinkId, Offer, OfferId,
    SendSession, checksum::crc64,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, DuplexStream},
    task::JoinHandle,
    time::timeout,
};

pub const MIB: usize = 1 << 20;
/// Nothing that should happen takes longer.
pub const TIME_MAX: Duration = Duration::from_secs(30);
/// A link in memory takes this much before whoever writes waits.
const PIPE_BYTES: usize = 256 * 1024;

struct NoLog;

impl Audit for NoLog {
    fn record(&self, _: AuditRecord) -> Result<(), AuditUnavailable> {
        Ok(())
    }
}

pub struct Stage {
    _dir: Arc<tempfile::TempDir>,
    door: Arc<Door>,
    patience: Patience,
    pub budget: Budget,
    pub session: Arc<Session>,
}

fn identity() -> Identity {
    "spiffe://example.org/region/a/agent/a1".parse().unwrap()
}

fn bucket() -> BucketName {
    BucketName::new("photos").unwrap()
}

fn facts() -> SessionFacts {
    SessionFacts {
        tls_version: "none".into(),
        cipher_suite: "none".into(),
        group: "none".into(),
        sender: identity(),
        sender_serial: "01".into(),
        receiver: "spiffe://example.org/region/b/agent/b1".parse().unwrap(),
        receiver_serial: "02".into(),
    }
}

impl Stage {
    pub async fn new(patience: Patience) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        let (disk, clock, rng) = (Arc::new(OsDisk), Arc::new(OsClock), Arc::new(OsRng));
        let secret = RootSecret::generate(&OsRng);
        let keystore = LocalKeystore::create(
            disk.clone(),
            clock.clone(),
            rng.clone(),
            &at(KEYSTORE_FILE),
            secret,
        )
        .unwrap();
        let region = Region::new("b").unwrap();
        let cmk = "alias/photos";
        keystore
            .create_key(Some(cmk.parse().unwrap()), region.clone())
            .unwrap();
        let facts_key = Arc::new(SiteFacts::new(keystore.facts_key()));
        let new = NewSite {
            site: SiteId::random(&OsRng),
            epoch: Epoch::random(&OsRng),
        };
        let catalog = SqliteCatalog::open(&at("catalog.db"), facts_key, new).unwrap();
        let audit: Arc<dyn Audit> = Arc::new(NoLog);
        let ring = RecordRing::new(
            Arc::new(keystore),
            region.clone(),
            clock.clone(),
            rng.clone(),
            audit.clone(),
        );
        let budget = Budget::new(64 * MIB);
        let archive = Archive::open(ArchiveParts {
            store: Arc::new(DirectoryStore::new(disk, at("staging"), at("store")).unwrap()),
            catalog: Arc::new(catalog),
            ring: Arc::new(ring),
            buckets: Buckets::from([(bucket(), BucketKey::shared(cmk))]),
            region,
            clock: clock.clone(),
            rng,
            audit: audit.clone(),
            budget: budget.clone(),
            files_max: 1000,
        })
        .await
        .unwrap();
        let grants = Grants::new(&[GrantRow {
            identity: identity().to_string(),
            actions: vec!["replicate".into()],
            buckets: vec!["photos".into()],
            keys: Vec::new(),
            line: 1,
        }])
        .unwrap();
        let door = Arc::new(Door::new(Arc::new(archive), Arc::new(grants), audit, clock));
        let peer = Peer {
            identity: identity(),
            facts: facts().into(),
        };
        let session = Session::with_patience(door.clone(), peer, Limits::default(), patience);
        session.let_cut(true);
        Self {
            _dir: Arc::new(dir),
            door,
            patience,
            budget,
            session,
        }
    }

    /// Another session of the same peer with the same archive.
    pub fn again(&self) -> Self {
        let (door, patience) = (self.door.clone(), self.patience);
        let peer = self.session.peer().clone();
        let session = Session::with_patience(door.clone(), peer, Limits::default(), patience);
        session.let_cut(true);
        Self {
            _dir: self._dir.clone(),
            door,
            patience,
            budget: self.budget.clone(),
            session,
        }
    }

    /// One more link of the session; its far end, and how the near one ends.
    pub fn link(&self, number: u32) -> Far {
        let (near, far) = tokio::io::duplex(PIPE_BYTES);
        let (reader, writer) = tokio::io::split(near);
        let connection = Connection {
            reader: Box::new(reader),
            writer: Box::new(writer),
            peer: ([127, 0, 0, 1], 7).into(),
            socket: None,
        };
        let (kind, carries) = match number {
            0 => (LinkKind::Control, Carries::Control),
            _ => (LinkKind::Data, Carries::Data),
        };
        let leaf = Arc::new(Leaf {
            identity: identity(),
            serial: "01".to_owned(),
            not_before: Timestamp::default(),
            not_after: Timestamp::default(),
            client_auth: true,
            server_auth: true,
        });
        let tls = sealift_identity::Session {
            tls_version: "none",
            cipher_suite: "none".to_owned(),
            group: "none".to_owned(),
            alpn: kind.alpn().to_vec(),
            own: leaf.clone(),
            peer: leaf,
        };
        let (session, link) = (self.session.clone(), Link::clear(connection, kind, tls));
        let task =
            tokio::spawn(async move { session.run_link(LinkId(number), carries, link).await });
        Far { stream: far, task }
    }
}

/// The far end of a link: bytes, as they are on the wire.
pub struct Far {
    stream: DuplexStream,
    task: JoinHandle<Result<(), ReceiverError>>,
}

impl Far {
    pub async fn says(&mut self, header: Header, payload: &[u8]) {
        let header = Header {
            length: payload.len() as u32,
            ..header
        };
        self.stream.write_all(&header.encode()).await.unwrap();
        self.stream.write_all(payload).await.unwrap();
    }

    /// Says so until nobody listens any more or nobody takes it.
    pub async fn floods(&mut self, frame: &[u8], time: Duration) {
        let flood = async { while self.stream.write_all(frame).await.is_ok() {} };
        let _ = timeout(time, flood).await;
    }

    /// Offers an object first.
    pub async fn offers(&mut self, id: u64, key: &str, size: usize, part: PartSize) {
        self.offers_again(id, 1, key, size, part).await;
    }

    /// Offers it in some round.
    pub async fn offers_again(
        &mut self,
        id: u64,
        round: u32,
        key: &str,
        size: usize,
        part: PartSize,
    ) {
        let (header, payload) = offered(id, round, key, size, part);
        self.says(header, &payload).await;
    }

    /// Offers it in some round, and says that a link is lost.
    pub async fn gives_up(
        &mut self,
        id: u64,
        round: u32,
        key: &str,
        size: usize,
        part: PartSize,
        link: u8,
    ) {
        let (header, mut payload) = offered(id, round, key, size, part);
        // One more entry of the map: {17: [link]}.
        payload[0] += 1;
        payload.extend([17, 0x81, link]);
        self.says(header, &payload).await;
    }

    /// Sends bytes of a part in frames.
    pub async fn sends_all(&mut self, id: u64, part: u32, from: usize, bytes: &[u8]) {
        let mut offset = from;
        for piece in bytes.chunks(MIB) {
            self.sends(id, part, offset, piece).await;
            offset += piece.len();
        }
    }

    /// Ends the stream in order of bytes, and waits for the near end to hear it.
    pub async fn end_of_stream(mut self) -> Result<(), ReceiverError> {
        self.stream.shutdown().await.unwrap();
        timeout(TIME_MAX, self.task).await.unwrap().unwrap()
    }

    /// Sends a whole part and its end.
    pub async fn sends_part(&mut self, id: u64, part: u32, bytes: &[u8]) {
        self.sends_all(id, part, 0, bytes).await;
        self.ends_part(id, part, bytes).await;
    }

    pub async fn sends(&mut self, id: u64, part: u32, offset: usize, bytes: &[u8]) {
        let length = bytes.len() as u32;
        let header = Header::data(OfferId(id), PartIndex(part), offset as u32, length);
        self.says(header, bytes).await;
    }

    /// Says that a part of these bytes is all sent.
    pub async fn ends_part(&mut self, id: u64, part: u32, bytes: &[u8]) {
        // PART_END {0: crc64}
        let mut end = vec![0xa1, 0, 0x1b];
        end.extend_from_slice(&crc64(bytes).to_be_bytes());
        let header = Header {
            part: PartIndex(part),
            ..Header::of(FrameType::PartEnd, id, 0)
        };
        self.says(header, &end).await;
    }

    /// The next frame of this type.
    pub async fn hears(&mut self, wanted: FrameType) -> (Header, Vec<u8>) {
        let hearing = async {
            loop {
                let mut header = [0; FRAME_HEADER_BYTES];
                self.stream.read_exact(&mut header).await.unwrap();
                let header = Header::decode(&header).unwrap();
                let mut payload = vec![0; header.length as usize];
                self.stream.read_exact(&mut payload).await.unwrap();
                if header.frame == wanted {
                    return (header, payload);
                }
                let dull = [FrameType::Ping, FrameType::Pong, FrameType::Credit];
                assert!(dull.contains(&header.frame), "{header:?} {payload:?}");
            }
        };
        timeout(TIME_MAX, hearing).await.expect("nothing was heard")
    }

    pub fn runs(&self) -> bool {
        !self.task.is_finished()
    }

    /// How the near end ends.
    pub async fn end(self) -> Result<(), ReceiverError> {
        let Self { stream, task } = self;
        let end = timeout(TIME_MAX, task).await;
        drop(stream);
        end.expect("the link does not end").unwrap()
    }
}

/// An OFFER as an honest sender makes it.
fn offered(id: u64, round: u32, key: &str, size: usize, part: PartSize) -> (Header, Vec<u8>) {
    let offer = Offer {
        change: Change {
            name: VersionName {
                bucket: bucket(),
                key: ObjectKey::new(key).unwrap(),
                version: VersionId::new("v1").unwrap(),
            },
            order: Order {
                clock: id << 16,
                region: Region::new("a").unwrap(),
                change: id,
            },
            kind: ChangeKind::Put,
            facts: ObjectFacts {
                size: size as u64,
                metadata: BTreeMap::new(),
                ..ObjectFacts::default()
            },
        },
        part_size: part,
        checksum: None,
    };
    let mut sender = SendSession::new(Limits::default());
    sender.linked(LinkId(0), Carries::Control);
    sender.offer(offer, HowToOffer::AskFirst).unwrap();
    let mut out = Vec::new();
    sender.next(LinkId(0), &mut out);
    let mut header = Header::decode(&out).unwrap();
    header.number = id;
    header.part = PartIndex(round);
    (header, out[FRAME_HEADER_BYTES..].to_vec())
}
