//! Agents of two regions, and listeners on loopback that write down whom they refused.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used)]

use std::sync::Arc;

use parking_lot::Mutex;
use sealift_host::{OsClock, OsRng};
use sealift_identity::{
    Credentials, LeafRequest, PeerTrust, Peers, RootAuthority, TlsContext, TlsPolicy, TrustBundle,
};
use sealift_terms::{
    Clock, Epoch, Identity, Networks, PeerName, Region, SessionId, SiteId, SiteName,
};
use sealift_tunnel::*;
use sealift_wire::{Hello, Limits, Role};

pub fn identity(region: &str, name: &str) -> Identity {
    format!("spiffe://example.org/region/{region}/agent/{name}")
        .parse()
        .unwrap()
}

/// A certificate authority with a root of its own.
pub struct Ca {
    root: RootAuthority,
    pub bundle: TrustBundle,
}

impl Ca {
    pub fn new() -> Self {
        let root = RootAuthority::generate("example.org", &OsClock, &OsRng).unwrap();
        Self {
            bundle: root.bundle(1).unwrap(),
            root,
        }
    }

    pub fn credentials(&self, identity: &Identity) -> Credentials {
        let clock = OsClock;
        let issuing = self
            .root
            .issuing(identity.region(), &clock, &OsRng)
            .unwrap();
        let issued = issuing
            .issue(&LeafRequest::new(identity.clone()), &clock, &OsRng)
            .unwrap();
        let key = issued.private_key_pem.as_ref().unwrap().as_bytes();
        Credentials::from_pem(issued.chain_pem.as_bytes(), key, &self.bundle, clock.now()).unwrap()
    }

    /// An agent of this authority that believes these peers, whose roots are `roots`.
    pub fn agent(
        &self,
        own: &Identity,
        peers: &[Identity],
        roots: &TrustBundle,
        policy: TlsPolicy,
    ) -> Arc<TlsContext> {
        let trust = peers.iter().map(|identity| PeerTrust {
            name: PeerName::new(identity.name().as_str()).unwrap(),
            identity: identity.clone(),
            roots: roots.clone(),
            demands: Default::default(),
            dns: None,
        });
        let peers = Peers::new(trust, []).unwrap();
        let clock = Arc::new(OsClock);
        Arc::new(TlsContext::new(policy, self.credentials(own), peers, clock).unwrap())
    }
}

/// Two agents that know each other: `a1` of region a and `b1` of region b.
pub struct Pair {
    pub ca: Ca,
    pub a: Arc<TlsContext>,
    pub b: Arc<TlsContext>,
}

impl Pair {
    pub fn new() -> Self {
        let ca = Ca::new();
        let (a, b) = (identity("a", "a1"), identity("b", "b1"));
        Self {
            a: ca.agent(
                &a,
                std::slice::from_ref(&b),
                &ca.bundle,
                TlsPolicy::default(),
            ),
            b: ca.agent(
                &b,
                std::slice::from_ref(&a),
                &ca.bundle,
                TlsPolicy::default(),
            ),
            ca,
        }
    }

    /// A listener of `b1`, and where it writes down refusals.
    pub async fn listen(&self) -> (Listener, Arc<Mutex<Vec<Refused>>>) {
        self.listen_to(Networks::default()).await
    }

    /// One that listens to some networks only.
    pub async fn listen_to(&self, from: Networks) -> (Listener, Arc<Mutex<Vec<Refused>>>) {
        let refused = Arc::new(Mutex::new(Vec::new()));
        let told = refused.clone();
        let on_refused: OnRefused = Arc::new(move |refusal| told.lock().push(refusal));
        let listener = Listener::bind(
            &TcpTransport,
            "127.0.0.1:0",
            self.b.clone(),
            from,
            on_refused,
        );
        (listener.await.unwrap(), refused)
    }

    /// A link of each kind wanted, both ends, greeted.
    pub async fn linked(&self, kind: LinkKind) -> (Link, Link) {
        let (mut listener, refused) = self.listen().await;
        let address = listener.address().to_string();
        let dialled = async {
            let mut link = dialer(&self.a)
                .dial(&address, &identity("b", "b1"), kind)
                .await?;
            link.greet(&hello(Role::Send)).await?;
            Ok::<_, TunnelError>(link)
        };
        let answered = async {
            let Accepted {
                mut link,
                hello: theirs,
            } = listener.accept().await.unwrap();
            assert_eq!(theirs, hello(Role::Send));
            link.answer(&hello(Role::Receive)).await.unwrap();
            link
        };
        let (dialled, answered) = tokio::join!(dialled, answered);
        assert!(refused.lock().is_empty());
        (dialled.unwrap(), answered)
    }
}

pub fn dialer(tls: &Arc<TlsContext>) -> Dialer {
    Dialer::new(Arc::new(TcpTransport), tls.clone())
}

pub fn hello(role: Role) -> Hello {
    let region = if role == Role::Send { "a" } else { "b" };
    Hello {
        protocol_min: 1,
        protocol_max: 1,
        session: SessionId([1; 16]),
        link: 1,
        role,
        site: SiteId([2; 16]),
        site_name: SiteName::new(format!("{region}1")).unwrap(),
        region: Region::new(region).unwrap(),
        epoch: Epoch([3; 16]),
        commit_sequence: 4,
        clock: sealift_terms::Timestamp::from_secs(1),
        software: "sealift/0.1.0".into(),
        limits: Limits::default(),
        policy: None,
        remembered: None,
        decompresses: None,
        cuts: None,
        key_exchange: None,
        takes: None,
    }
}
