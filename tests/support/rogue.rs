//! An agent that is who it says it is, and says whatever a test wants.

use std::{future::Future, sync::Arc, time::Duration};

use sealift_agent::{World, config::Config, load_credentials, load_peers};
use sealift_identity::TlsContext;
use sealift_terms::{
    BucketName, Change, ChangeKind, Epoch, Identity, Networks, ObjectFacts, ObjectKey, Order,
    PartSize, SessionId, SiteId, VersionId, VersionName,
};
use sealift_tunnel::{
    Accepted, Dialer, Incoming, Link, LinkKind, LinkReader, LinkWriter, Listener, TcpTransport,
};
use sealift_wire::{
    Carries, FrameType, Header, Hello, HowToOffer, KEY_EXCHANGE, Limits, LinkId, Offer, Role,
    SendSession,
};

use super::{BUCKET, Site};

/// Nothing that a test waits for takes longer.
const TIME_MAX: Duration = Duration::from_secs(100);

/// Speaks with the certificate of a site.
pub(crate) struct Rogue {
    runtime: tokio::runtime::Runtime,
    config: Config,
    tls: Arc<TlsContext>,
    world: World,
}

/// One link of a rogue's, in a session of its own making.
pub(crate) struct RogueLink {
    pub(crate) hello: Hello,
    pub(crate) reader: LinkReader,
    pub(crate) writer: LinkWriter,
}

impl Rogue {
    pub(crate) fn with_identity_of(site: &Site) -> Self {
        let world = World::real();
        let config = Config::load(&site.config(), Vec::new()).unwrap();
        let credentials = load_credentials(&config, &world).unwrap();
        let peers = load_peers(&config, &world).unwrap();
        let tls = TlsContext::new(config.tls.clone(), credentials, peers, world.clock.clone());
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build();
        Self {
            runtime: runtime.unwrap(),
            config,
            tls: Arc::new(tls.unwrap()),
            world,
        }
    }

    /// Waits, but not for ever.
    #[track_caller]
    pub(crate) fn waits<T>(&self, what: impl Future<Output = T>) -> T {
        let waited = self
            .runtime
            .block_on(async { tokio::time::timeout(TIME_MAX, what).await });
        waited.expect("waited in vain")
    }

    fn hello(&self) -> Hello {
        let rng = &*self.world.rng;
        Hello {
            protocol_min: 1,
            protocol_max: 1,
            session: SessionId::random(rng),
            link: 0,
            role: Role::Send,
            site: SiteId::random(rng),
            site_name: self.config.site.name.clone(),
            region: self.config.site.region.clone(),
            epoch: Epoch::random(rng),
            commit_sequence: 0,
            clock: self.world.clock.now(),
            software: "rogue/1".to_owned(),
            limits: Limits::default(),
            policy: None,
            remembered: None,
            decompresses: None,
            cuts: None,
            key_exchange: None,
            takes: None,
        }
    }

    async fn link(&self, kind: LinkKind, hello: Hello) -> Option<RogueLink> {
        let peer = &self.config.peers[0];
        let address = peer.address.as_deref().unwrap();
        let dialer = Dialer::new(Arc::new(TcpTransport), self.tls.clone());
        let mut link: Link = dialer.dial(address, &peer.identity, kind).await.ok()?;
        link.greet(&hello).await.ok()?;
        let (reader, writer) = link.split();
        Some(RogueLink {
            hello,
            reader,
            writer,
        })
    }

    /// Begins a session, if it may.
    pub(crate) fn begins(&self) -> Option<RogueLink> {
        self.waits(self.link(LinkKind::Control, self.hello()))
    }

    /// The same with a clock that is ahead by so much.
    pub(crate) fn begins_ahead(&self, ahead: Duration) -> Option<RogueLink> {
        let hello = self.hello();
        let hello = Hello {
            clock: hello.clock.plus(ahead),
            ..hello
        };
        self.waits(self.link(LinkKind::Control, hello))
    }

    /// The same as an agent that exchanges keys.
    pub(crate) fn begins_with_keys(&self) -> RogueLink {
        let hello = Hello {
            key_exchange: Some(KEY_EXCHANGE),
            ..self.hello()
        };
        self.waits(self.link(LinkKind::Control, hello)).unwrap()
    }

    /// Asks, and hears the answer.
    pub(crate) fn asks(&self, link: &mut RogueLink, question: &str) -> String {
        let length = u32::try_from(question.len()).unwrap();
        let mut frame = Header::of(FrameType::Ask, 1, length).encode().to_vec();
        frame.extend_from_slice(question.as_bytes());
        self.says(link, &frame);
        String::from_utf8(self.hears(link, FrameType::Answer)).unwrap()
    }

    /// Adds a data link to a session, if it may.
    pub(crate) fn adds(&self, control: &RogueLink, number: u32) -> Option<RogueLink> {
        let hello = Hello {
            link: number,
            ..control.hello.clone()
        };
        self.waits(self.link(LinkKind::Data, hello))
    }

    /// Says what may be no frame at all.
    pub(crate) fn says(&self, link: &mut RogueLink, bytes: &[u8]) {
        self.waits(async {
            link.writer.queue(bytes);
            // It may have been thrown out by now.
            let _ = link.writer.flush().await;
        });
    }

    /// Hears frames until one is of this type; its payload.
    pub(crate) fn hears(&self, link: &mut RogueLink, wanted: FrameType) -> Vec<u8> {
        self.waits(async {
            loop {
                match link.reader.next().await.unwrap() {
                    Some(Incoming::Frame { header, payload }) if header.frame == wanted => {
                        return payload.to_vec();
                    }
                    Some(_) => {}
                    None => panic!("closed before {wanted}"),
                }
            }
        })
    }

    /// Offers of objects of this size, as frames.
    pub(crate) fn offers(&self, count: u64, size: u64) -> Vec<u8> {
        let limits = Limits {
            open_offers_max: u32::MAX,
            ..Limits::default()
        };
        let mut sender = SendSession::new(limits);
        sender.linked(LinkId(0), Carries::Control);
        let now = u64::try_from(self.world.clock.now().as_millis()).unwrap();
        for change in 0..count {
            let offer = Offer {
                change: Change {
                    name: VersionName {
                        bucket: BucketName::new(BUCKET).unwrap(),
                        key: ObjectKey::new(format!("rogue-{change}")).unwrap(),
                        version: VersionId::new("v1").unwrap(),
                    },
                    order: Order {
                        clock: now << 16,
                        region: self.config.site.region.clone(),
                        change,
                    },
                    kind: ChangeKind::Put,
                    facts: ObjectFacts {
                        size,
                        ..ObjectFacts::default()
                    },
                },
                part_size: PartSize::MIN,
                checksum: None,
            };
            sender.offer(offer, HowToOffer::AskFirst).unwrap();
        }
        let mut out = Vec::new();
        sender.next(LinkId(0), &mut out);
        out
    }

    /// Takes the next connection at `address`, and never answers its HELLO, as long as
    /// what is returned is kept.
    pub(crate) fn listens_without_a_word(&self, address: &str) -> tokio::task::JoinHandle<()> {
        let (address, tls) = (address.to_owned(), self.tls.clone());
        let listener = self.waits(async move {
            let refused = Arc::new(|refused| panic!("{refused}"));
            Listener::bind(&TcpTransport, &address, tls, Networks::default(), refused).await
        });
        let mut listener = listener.unwrap();
        self.runtime.spawn(async move {
            let mut held: Vec<Accepted> = Vec::new();
            while let Some(accepted) = listener.accept().await {
                held.push(accepted);
            }
        })
    }

    pub(crate) fn identity(&self) -> Identity {
        self.tls.credentials().leaf().identity.clone()
    }
}

/// The bytes of a frame without a payload.
pub(crate) fn bare(frame: FrameType) -> Vec<u8> {
    Header::of(frame, 0, 0).encode().to_vec()
}
