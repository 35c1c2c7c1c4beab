//! Two agents in one process: links in memory that can be cut, certificates that end
//! when a test says so, and applications that are as simple as can be.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use parking_lot::Mutex;
use sealift_host::OsRng;
use sealift_identity::{Leaf, Refusal, Session};
use sealift_terms::{
    Audit, AuditRecord, AuditUnavailable, Clock, ForwardName, Identity, PeerName, Reason, Timestamp,
};
use sealift_tunnel::{Connection, Link, LinkEnder, LinkKind, Pace, Timetable};
use sealift_wire::forward::{self, Position};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, DuplexStream},
    net::{TcpListener, TcpSocket, TcpStream},
    time::Instant,
};

use crate::{
    Address, Far, Forward, ForwardLink, Links, Memory, Near, NoLink, Target, Threads, World,
};

/// Time as tokio has it, so that it can be let pass.
#[derive(Debug)]
struct TestClock(Instant);

impl Clock for TestClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(1_800_000_000_000 + self.0.elapsed().as_millis() as i64)
    }

    fn monotonic(&self) -> Duration {
        self.0.elapsed()
    }
}

/// An audit log that can be broken.
#[derive(Default)]
pub(super) struct Log {
    pub(super) records: Mutex<Vec<AuditRecord>>,
    pub(super) is_broken: Mutex<bool>,
}

impl Audit for Log {
    fn record(&self, record: AuditRecord) -> Result<(), AuditUnavailable> {
        if *self.is_broken.lock() {
            return Err(AuditUnavailable {
                cause: "full".to_owned(),
            });
        }
        self.records.lock().push(record);
        Ok(())
    }
}

impl Log {
    /// Records of this kind that hold all these words.
    pub(super) fn count(&self, kind: &str, words: &[&str]) -> usize {
        let records = self.records.lock();
        let told = |record: &&AuditRecord| {
            let text = format!("{record:?}");
            record.kind.as_str() == kind && words.iter().all(|word| text.contains(word))
        };
        records.iter().filter(told).count()
    }
}

/// The way between the two.
pub(super) struct Way {
    pub(super) far: Arc<Far>,
    /// Who dials, as the far side sees it.
    pub(super) identity: Mutex<Identity>,
    /// Of each link, ours and the far side's.
    enders: Mutex<Vec<[LinkEnder; 2]>>,
    pub(super) is_down: Mutex<bool>,
    pub(super) is_silent: Mutex<bool>,
    /// For how long certificates of links that are made now live.
    pub(super) life: Mutex<Duration>,
    clock: Arc<dyn Clock>,
    /// Of both ends together.
    pub(super) pace: Arc<Pace>,
}

#[async_trait]
impl Links for Way {
    async fn link(&self, _peer: &PeerName) -> Result<ForwardLink, NoLink> {
        if *self.is_down.lock() {
            return Err(NoLink {
                reason: Reason::PeerUnreachable,
                evidence: "the way is down".to_owned(),
            });
        }
        let [near, far] = self.pair();
        if *self.is_silent.lock() {
            tokio::spawn(answer_and_be_silent(far));
            return Ok(near);
        }
        let patience = Duration::from_secs(5);
        tokio::spawn(self.far.clone().serve(far, patience, || {}));
        Ok(near)
    }
}

/// As if the other agent were gone without a word once a stream was opened.
async fn answer_and_be_silent(mut link: ForwardLink) {
    link.first(Duration::from_secs(5)).await.unwrap();
    let (received, window) = (0, 100_000);
    let mut frame = Vec::new();
    forward::opened(Position { received, window }, &mut frame);
    link.say(&frame).await.unwrap();
    std::future::pending().await
}

impl Way {
    /// A link, both ends.
    pub(super) fn pair(&self) -> [ForwardLink; 2] {
        let (one, other) = tokio::io::duplex(64 * 1024);
        let not_after = self.clock.now().plus(*self.life.lock());
        let near_side = self.identity.lock().clone();
        let (near, ours) = self.end(one, identity("b", "far"), not_after);
        let (far, theirs) = self.end(other, near_side, not_after);
        self.enders.lock().push([ours, theirs]);
        [near, far]
    }

    fn end(
        &self,
        stream: DuplexStream,
        peer: Identity,
        not_after: Timestamp,
    ) -> (ForwardLink, LinkEnder) {
        let (reader, writer) = tokio::io::split(stream);
        let connection = Connection {
            reader: Box::new(reader),
            writer: Box::new(writer),
            peer: ([127, 0, 0, 1], 7).into(),
            socket: None,
        };
        let leaf = |identity: Identity| {
            Arc::new(Leaf {
                identity,
                serial: "01".to_owned(),
                not_before: Timestamp::default(),
                not_after,
                client_auth: true,
                server_auth: true,
            })
        };
        let session = Session {
            tls_version: "TLSv1.3",
            cipher_suite: "none".to_owned(),
            group: "none".to_owned(),
            alpn: LinkKind::Forward.alpn().to_vec(),
            own: leaf(identity("a", "own")),
            peer: leaf(peer),
        };
        let mut link = Link::clear(connection, LinkKind::Forward, session);
        let ender = link.ender(());
        (ForwardLink::of(link, self.pace.clone()), ender)
    }

    /// Cuts every link that stands; how many ends that were.
    pub(super) fn cut(&self) -> usize {
        self.cut_for(Refusal::BadTls {
            what: "cut by a test".to_owned(),
        })
    }

    /// The same, for this cause.
    pub(super) fn cut_for(&self, refusal: Refusal) -> usize {
        let enders = std::mem::take(&mut *self.enders.lock());
        end_all(enders.iter().flatten(), refusal)
    }

    /// Cuts the far side's ends alone.
    pub(super) fn cut_there_for(&self, refusal: Refusal) -> usize {
        let enders = std::mem::take(&mut *self.enders.lock());
        end_all(enders.iter().map(|[_, theirs]| theirs), refusal)
    }
}

fn end_all<'a>(enders: impl Iterator<Item = &'a LinkEnder>, refusal: Refusal) -> usize {
    let standing = enders.filter(|ender| !ender.is_gone());
    standing.map(|ender| ender.end(refusal.clone())).count()
}

pub(super) fn identity(region: &str, name: &str) -> Identity {
    format!("spiffe://example.org/region/{region}/agent/{name}")
        .parse()
        .unwrap()
}

pub(super) fn name(name: &str) -> ForwardName {
    ForwardName::new(name).unwrap()
}

/// Both agents, a forward on one, its target at the other.
pub(super) struct Stage {
    pub(super) near: Arc<Near>,
    pub(super) way: Arc<Way>,
    pub(super) log: Arc<Log>,
    pub(super) memory: Memory,
    pub(super) forward: Forward,
    pub(super) target: Target,
    pub(super) service: TcpListener,
    _port: TcpSocket,
}

impl Stage {
    pub(super) async fn new() -> Self {
        Self::with(|_, _| {}).await
    }

    /// Streams of both agents run on threads of their own.
    pub(super) async fn on_threads() -> Self {
        let threads = || Some(Threads::start().unwrap());
        Self::made(|_, _| {}, threads).await
    }

    /// After `change` had its way with forward and target.
    pub(super) async fn with(change: impl FnOnce(&mut Forward, &mut Target)) -> Self {
        Self::made(change, || None).await
    }

    async fn made(
        change: impl FnOnce(&mut Forward, &mut Target),
        threads: impl Fn() -> Option<Threads>,
    ) -> Self {
        let clock: Arc<dyn Clock> = Arc::new(TestClock(Instant::now()));
        let log = Arc::<Log>::default();
        let memory = Memory::new(16 << 20);
        let world = || {
            World::new(
                clock.clone(),
                Arc::new(OsRng),
                log.clone(),
                memory.clone(),
                threads(),
            )
        };
        let service = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = held_port();
        let listen = Address::Tcp(port.local_addr().unwrap().to_string());
        let own = identity("a", "near");
        let mut forward = Forward {
            name: name("service"),
            target: name("service"),
            listen,
            mode: 0o600,
            peer: PeerName::new("far").unwrap(),
            identity: identity("b", "far"),
            streams_max: 8,
            idle: Duration::from_secs(3600),
        };
        let mut target = Target {
            name: name("service"),
            address: Address::Tcp(service.local_addr().unwrap().to_string()),
            allow: [own.clone()].into(),
            streams_max: 8,
            idle: Duration::from_secs(3600),
        };
        change(&mut forward, &mut target);
        let far = Arc::new(Far::new(world()));
        far.set_targets(vec![target.clone()]);
        let way = Arc::new(Way {
            far,
            identity: Mutex::new(own),
            enders: Mutex::default(),
            is_down: Mutex::default(),
            is_silent: Mutex::default(),
            life: Mutex::new(Duration::from_secs(86_400)),
            clock: clock.clone(),
            pace: Arc::new(Pace::new(clock.clone(), Timetable::default())),
        });
        let near = Arc::new(Near::new(world(), way.clone()));
        let ready = near.prepare(std::slice::from_ref(&forward)).await.unwrap();
        near.put_in_force(ready);
        Self {
            near,
            way,
            log,
            memory,
            forward,
            target,
            service,
            _port: port,
        }
    }

    /// A client of the service.
    pub(super) async fn client(&self) -> TcpStream {
        let Address::Tcp(address) = &self.forward.listen else {
            panic!("not over TCP")
        };
        TcpStream::connect(address).await.unwrap()
    }

    /// A client and the service's end of its connection.
    pub(super) async fn connected(&self) -> (TcpStream, TcpStream) {
        let mut client = self.client().await;
        client.write_all(b"!").await.unwrap();
        let (mut served, _) = self.service.accept().await.unwrap();
        assert_eq!(served.read_u8().await.unwrap(), b'!');
        (client, served)
    }

    /// Waits until no stream is open.
    pub(super) async fn settled(&self) {
        for _ in 0..2000 {
            if self.near.streams() + self.way.far.streams() == 0 {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("streams stay open");
    }
}

/// A port that is given to nobody else as long as this is held. Who means it may listen there.
pub(super) fn held_port() -> TcpSocket {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_reuseaddr(true).unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    socket
}

/// Bytes that differ everywhere.
pub(super) fn pattern(length: usize, seed: u64) -> Vec<u8> {
    let word = |i: usize| {
        (i as u64 ^ seed << 40)
            .wrapping_mul(0x9e37_79b9_7f4a_7c15)
            .to_le_bytes()
    };
    (0..length / 8 + 1).flat_map(word).take(length).collect()
}
