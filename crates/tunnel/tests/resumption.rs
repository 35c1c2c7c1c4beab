//! Whoever was let in once comes in by its certificate each time: what a session of before
//! would be resumed with counts for nothing, on no kind of link.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

mod stage;

use std::{
    io::Write,
    net::{SocketAddr, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use parking_lot::Mutex;
use rustls::{
    ClientConfig, ClientConnection, HandshakeKind, ServerConfig, ServerConnection,
    client::Resumption,
    server::{ServerSessionMemoryCache, StoresServerSessions},
};
use sealift_host::OsClock;
use sealift_identity::{PeerTrust, Peers, TlsContext, TlsPolicy, TrustBundle};
use sealift_terms::{Clock, PeerName, Timestamp};
use sealift_tunnel::*;
use stage::{Ca, Pair, identity};

const KINDS: [LinkKind; 3] = [LinkKind::Control, LinkKind::Data, LinkKind::Forward];
/// Longer than a certificate lives.
const DAYS: Duration = Duration::from_secs(3 * 86_400);
/// Of a ClientHello, the extension that offers to resume (RFC 8446, section 4.2).
const PRE_SHARED_KEY: u16 = 41;

/// The machine's clock, which can be put forward.
#[derive(Debug, Default)]
struct Ahead(AtomicI64);

impl Clock for Ahead {
    fn now(&self) -> Timestamp {
        let ahead = self.0.load(Ordering::Relaxed);
        Timestamp::from_millis(OsClock.now().as_millis() + ahead)
    }

    fn monotonic(&self) -> Duration {
        OsClock.monotonic()
    }
}

/// `a1` dials `b1`, whose clock can be put forward.
struct Stage {
    pair: Pair,
    clock: Arc<Ahead>,
    /// What `b1` would resume from, if it did.
    tickets: Arc<dyn StoresServerSessions>,
    address: SocketAddr,
    log: Arc<Mutex<Vec<Refused>>>,
    _listener: Listener,
}

fn trust(roots: &TrustBundle) -> Peers {
    let identity = identity("a", "a1");
    let peer = PeerTrust {
        name: PeerName::new("a1").unwrap(),
        identity,
        roots: roots.clone(),
        demands: Default::default(),
        dns: None,
    };
    Peers::new([peer], []).unwrap()
}

impl Stage {
    async fn new() -> Self {
        let (mut pair, clock) = (Pair::new(), Arc::new(Ahead::default()));
        let (own, peers) = (
            pair.ca.credentials(&identity("b", "b1")),
            trust(&pair.ca.bundle),
        );
        let b = TlsContext::new(TlsPolicy::default(), own, peers, clock.clone());
        pair.b = Arc::new(b.unwrap());
        let (listener, log) = pair.listen().await;
        Self {
            address: listener.address(),
            tickets: ServerSessionMemoryCache::new(64),
            pair,
            clock,
            log,
            _listener: listener,
        }
    }

    /// `a1`, as it would be if it resumed.
    fn resuming(&self, kind: LinkKind) -> Arc<ClientConfig> {
        let b = identity("b", "b1");
        let prepared = self.pair.a.client(&b, &[kind.alpn()]).unwrap();
        let mut config = (*prepared.config).clone();
        config.resumption = Resumption::in_memory_sessions(64);
        Arc::new(config)
    }

    /// `b1`, as it would be if it did.
    fn gives_tickets(&self, kind: LinkKind) -> Arc<ServerConfig> {
        let mut config = (*self.pair.b.server(&[kind.alpn()]).config).clone();
        config.send_tls13_tickets = 2;
        config.session_storage = self.tickets.clone();
        Arc::new(config)
    }

    /// Shakes hands with the listener itself, with a ticket in the hand.
    async fn shake(&self, client: &Arc<ClientConfig>) -> HandshakeKind {
        let (client, address) = (client.clone(), self.address);
        let shaking = tokio::task::spawn_blocking(move || {
            let mut tls = ClientConnection::new(client, TlsContext::server_name()).unwrap();
            let mut hello = Vec::new();
            while tls.wants_write() {
                tls.write_tls(&mut hello).unwrap();
            }
            assert!(extensions(&hello).contains(&PRE_SHARED_KEY), "no ticket");
            let mut stream = TcpStream::connect(address).unwrap();
            stream.write_all(&hello).unwrap();
            while tls.is_handshaking() {
                tls.complete_io(&mut stream).unwrap();
            }
            tls.handshake_kind().unwrap()
        });
        shaking.await.unwrap()
    }

    /// The one connection that the listener did not keep: why.
    async fn refused(&self) -> &'static str {
        for _ in 0..6000 {
            if let Some(refused) = self.log.lock().pop() {
                return refused.word();
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("nothing was refused");
    }
}

/// The extensions of a ClientHello, which is one record here.
fn extensions(hello: &[u8]) -> Vec<u16> {
    let number = |at: usize| usize::from(u16::from_be_bytes([hello[at], hello[at + 1]]));
    // Record and handshake headers, version, random; then three lists of their own lengths.
    let mut at = 5 + 4 + 2 + 32;
    at += 1 + usize::from(hello[at]);
    at += 2 + number(at);
    at += 1 + usize::from(hello[at]);
    let (mut found, end) = (Vec::new(), at + 2 + number(at));
    at += 2;
    while at < end {
        found.push(u16::try_from(number(at)).unwrap());
        at += 4 + number(at + 2);
    }
    found
}

/// A handshake in memory, and what is said after it.
fn in_memory(client: &Arc<ClientConfig>, server: &Arc<ServerConfig>) -> Option<HandshakeKind> {
    let mut client = ClientConnection::new(client.clone(), TlsContext::server_name()).unwrap();
    let mut server = ServerConnection::new(server.clone()).unwrap();
    for _ in 0..6 {
        let mut bytes = Vec::new();
        while client.wants_write() {
            client.write_tls(&mut bytes).unwrap();
        }
        let mut rest = bytes.as_slice();
        while !rest.is_empty() {
            server.read_tls(&mut rest).unwrap();
            server.process_new_packets().ok()?;
        }
        bytes.clear();
        while server.wants_write() {
            server.write_tls(&mut bytes).unwrap();
        }
        let mut rest = bytes.as_slice();
        while !rest.is_empty() {
            client.read_tls(&mut rest).unwrap();
            client.process_new_packets().ok()?;
        }
    }
    server.handshake_kind()
}

/// The authority's bundle once it has revoked a certificate.
fn revoking(ca: &Ca, serial: &str) -> TrustBundle {
    let (before, at) = (ca.bundle.to_json(), OsClock.now());
    let revoked =
        format!("\"revoked\":[{{\"serials\":[\"{serial}\"],\"at\":\"{at}\"}}],\"sequence\"");
    let after = before.replacen("\"sequence\"", &revoked, 1);
    assert_ne!(before, after);
    TrustBundle::parse(after.as_bytes()).unwrap()
}

/// Comes in once, and again with a ticket after `then`, for each kind of link.
async fn resumed_after(then: impl Fn(&Stage), word: &str) {
    for kind in KINDS {
        let stage = Stage::new().await;
        let client = stage.resuming(kind);
        let first = in_memory(&client, &stage.gives_tickets(kind));
        assert_eq!(first, Some(HandshakeKind::Full));
        // The certificate is good: the handshake is a whole one all the same.
        assert_eq!(stage.shake(&client).await, HandshakeKind::Full, "{kind:?}");
        let left = stage.refused().await;
        assert_ne!(left, word, "{kind:?}: it was gone before it said HELLO");
        in_memory(&client, &stage.gives_tickets(kind));
        then(&stage);
        // That is what resuming would do, and why there is none.
        let resumed = in_memory(&client, &stage.gives_tickets(kind));
        assert_eq!(resumed, Some(HandshakeKind::Resumed), "{kind:?}");
        assert_eq!(stage.shake(&client).await, HandshakeKind::Full, "{kind:?}");
        assert_eq!(stage.refused().await, word, "{kind:?}");
        assert!(stage.log.lock().is_empty());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_resumed_session_after_revocation_is_refused() {
    let revoke = |stage: &Stage| {
        let serial = stage.pair.a.credentials().leaf().serial.clone();
        let bundle = revoking(&stage.pair.ca, &serial);
        stage.pair.b.set_peers(trust(&bundle));
    };
    resumed_after(revoke, "revoked").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_resumed_session_after_expiry_is_refused() {
    let expire = |stage: &Stage| {
        let millis = i64::try_from(DAYS.as_millis()).unwrap();
        stage.clock.0.store(millis, Ordering::Relaxed);
    };
    resumed_after(expire, "expired").await;
}
