//! Forwarded streams: which links they have, whoever dials, and how they stop.
//!
//! ```text
//!   forward ──▶ Near ──▶ a link: dialled by us, or one that the peer keeps waiting here
//!   target  ◀── Far  ◀── a link: accepted, or one that we keep waiting at the peer
//! ```

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
    time::Duration,
};

use async_trait::async_trait;
use parking_lot::Mutex;
use sealift_forward::{Far, Forward, ForwardLink, Links, Memory, Near, NoLink, Threads, World};
use sealift_identity::{Peers, Session as TlsSession, TlsContext};
use sealift_terms::{
    Identity, PeerName, Reason, SessionId, Timestamp,
    limits::{FORWARD_LINKS_MAX, FORWARD_WAITING_LINKS_MAX, HANDSHAKE_TIME_MAX},
};
use sealift_tunnel::{Cause, Dialer, Link, LinkEnder, LinkKind, TcpTransport, TunnelError};
use sealift_wire::{Hello, Role};
use tokio::{
    sync::{Notify, OwnedSemaphorePermit, Semaphore, oneshot},
    task::JoinSet,
    time::{Instant, sleep, timeout},
};

use super::{Running, hello::hello, paces::Paces, quota::Permits};
use crate::{
    Error,
    config::{Config, Peer},
    site::Site,
};

/// How long a link waits at a peer before it is made anew: it may be dead.
const WAITING_TIME_MAX: Duration = Duration::from_secs(20);
/// Links to one peer that are made at once: a listener lets no more than sixteen
/// handshakes of one address be under way.
const DIALLED_AT_ONCE: usize = 8;
/// Between two tries to keep a link waiting at a peer.
const RETRY_MIN: Duration = Duration::from_millis(250);
const RETRY_MAX: Duration = Duration::from_secs(10);
/// How long before the end of a shutdown streams that are still open are closed.
const CLOSING_TIME: Duration = Duration::from_millis(1500);
/// Between two looks whether all streams have ended.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// All forwarded streams of an agent.
pub(super) struct Forwarding {
    pub(super) near: Arc<Near>,
    pub(super) far: Arc<Far>,
    makes: Arc<Makes>,
}

/// What makes links, and has those that wait.
pub(super) struct Makes {
    site: Arc<Site>,
    tls: Arc<TlsContext>,
    dialer: Dialer,
    standing: Standing,
    paces: Paces,
    room: Arc<Semaphore>,
    dialling: Mutex<BTreeMap<PeerName, Arc<Semaphore>>>,
    waiting: Mutex<BTreeMap<Identity, VecDeque<(Instant, ForwardLink)>>>,
    arrived: Notify,
}

/// The links that stand, so that one that may not go on is ended.
#[derive(Debug, Default)]
struct Standing(Mutex<Vec<(TlsSession, LinkEnder)>>);

impl Standing {
    /// Whose certificates were revoked with all that they had.
    fn revoked(&self, peers: &Peers) -> BTreeSet<Identity> {
        let standing = self.0.lock();
        let leaves = standing.iter().map(|(session, _)| &session.peer);
        let revoked = leaves.filter(|leaf| peers.is_identity_revoked(leaf));
        revoked.map(|leaf| leaf.identity.clone()).collect()
    }

    fn adopt(&self, link: &mut Link, permits: Permits) {
        let ender = link.ender(permits);
        self.0.lock().push((link.session().clone(), ender));
    }

    fn sweep(&self, tls: &TlsContext) {
        self.0.lock().retain(|(session, ender)| {
            if ender.is_gone() {
                return false;
            }
            let Err(refusal) = tls.check_session(session) else {
                return true;
            };
            let peer = &session.peer.identity;
            tracing::info!(%peer, %refusal, "a link of a stream is closed");
            ender.end(refusal);
            false
        });
    }
}

impl Forwarding {
    pub(super) fn new(
        config: &Config,
        site: &Arc<Site>,
        tls: &Arc<TlsContext>,
        paces: &Paces,
    ) -> Result<Self, Error> {
        let threads = Threads::start().map_err(Error::failed("starting threads for streams"))?;
        let world = &site.world;
        let (clock, rng) = (world.clock.clone(), world.rng.clone());
        let memory = Memory::new(config.memory().forwarding);
        let shared = World::new(clock, rng, site.audit.clone(), memory, Some(threads));
        let makes = Arc::new(Makes {
            site: site.clone(),
            tls: tls.clone(),
            dialer: Dialer::new(Arc::new(TcpTransport), tls.clone()),
            standing: Standing::default(),
            paces: paces.clone(),
            room: Arc::new(Semaphore::new(FORWARD_LINKS_MAX)),
            dialling: Mutex::default(),
            waiting: Mutex::default(),
            arrived: Notify::new(),
        });
        let far = Arc::new(Far::new(shared.clone()));
        far.set_targets(config.forward_targets.clone());
        Ok(Self {
            near: Arc::new(Near::new(shared, makes.clone())),
            far,
            makes,
        })
    }

    /// Opens what `wanted` listens on, where that is not open yet.
    pub(super) async fn prepare(
        &self,
        wanted: &[Forward],
    ) -> Result<sealift_forward::Ready, Error> {
        let ready = self.near.prepare(wanted).await;
        ready.map_err(|(address, error)| {
            let error = std::io::Error::new(error.kind(), format!("{address}: {error}"));
            Error::failed("listening for a forward")(error)
        })
    }

    /// Room for one more link of a stream.
    pub(super) fn room(&self, identity: &Identity) -> Result<Permits, Cause> {
        let identity = identity.clone();
        self.makes.room().map(|permit| vec![permit]).map_err(|why| {
            let why = why.evidence;
            Cause::NotAdmitted { identity, why }
        })
    }

    /// Ends links and streams that the TLS context would not let stand any more.
    pub(super) fn sweep(&self) {
        let tls = &self.makes.tls;
        let peers = tls.peers();
        let revoked = self.makes.standing.revoked(&peers);
        let may_stay = |identity: &Identity| {
            let is_known = peers.find(identity).is_some();
            is_known && !peers.is_denied(identity) && !revoked.contains(identity)
        };
        // Before their links: a stream whose link is lost would look for another.
        self.near.sweep(may_stay);
        self.far.sweep(may_stay);
        self.makes.standing.sweep(tls);
        self.makes
            .waiting
            .lock()
            .retain(|identity, _| may_stay(identity));
    }

    /// Opens no more streams, and waits for those that are open: until `drain` is almost
    /// over. Those that are left are closed with notice.
    pub(super) async fn drain(&self, drain: Duration) {
        self.near.close();
        let deadline = Instant::now() + drain.saturating_sub(CLOSING_TIME);
        while self.streams() > 0 && Instant::now() < deadline {
            sleep(LOOK_EVERY).await;
        }
        self.end_all();
        while self.streams() > 0 {
            sleep(LOOK_EVERY).await;
        }
    }

    pub(super) fn end_all(&self) {
        self.near.end_all();
        self.far.end_all();
    }

    fn streams(&self) -> usize {
        self.near.streams() + self.far.streams()
    }

    /// Keeps links waiting at the peers that cannot dial us.
    pub(super) fn keep_waiting(running: &Arc<Running>, tasks: &mut JoinSet<()>) {
        let peers = running.site.current().peers.clone();
        for peer in peers
            .into_iter()
            .filter(|peer| peer.dial_for.forward_target)
        {
            for _ in 0..FORWARD_WAITING_LINKS_MAX {
                tasks.spawn(keep_one_waiting(running.clone(), peer.clone()));
            }
        }
    }
}

/// Takes a greeted link that a peer made for a stream.
pub(super) async fn take(
    running: &Arc<Running>,
    peer: &PeerName,
    mut link: Link,
    theirs: Hello,
    permits: Permits,
) -> Result<(), String> {
    let forwarding = &running.forwarding;
    let site = &running.site;
    let mut ours = hello(site, theirs.session, 0, theirs.role.other());
    ours.policy = None;
    ours.agree(&theirs).map_err(|error| error.to_string())?;
    forwarding.makes.standing.adopt(&mut link, permits);
    if let Err(error) = link.answer(&ours).await {
        tracing::info!(%error, "a link of a stream is gone");
        return Ok(());
    }
    let link = ForwardLink::of(link, forwarding.makes.paces.of(peer));
    match theirs.role {
        // It opens a stream.
        Role::Send => {
            let far = forwarding.far.clone();
            far.serve(link, HANDSHAKE_TIME_MAX, || {}).await;
        }
        // It waits for us to open one.
        Role::Receive => forwarding.makes.keep(link),
    }
    Ok(())
}

/// Keeps one link waiting at `peer` until the agent stops. A stream that was begun on one
/// goes on in a task of its own.
async fn keep_one_waiting(running: Arc<Running>, peer: Peer) {
    let mut stop = running.stop.subscribe();
    let keeping = async {
        let mut wait = RETRY_MIN;
        loop {
            match wait_there(&running, &peer).await {
                Ok(()) => wait = RETRY_MIN,
                Err(NoLink { reason, evidence }) => {
                    tracing::debug!(peer = %peer.name, %reason, evidence, "no link waits there");
                    sleep(wait).await;
                    wait = (wait * 2).min(RETRY_MAX);
                }
            }
        }
    };
    tokio::select! {
        () = keeping => {}
        _ = stop.wait_for(|stop| *stop) => {}
    }
}

/// One link that waits at `peer`: until it is taken, or has waited for long enough.
async fn wait_there(running: &Running, peer: &Peer) -> Result<(), NoLink> {
    let forwarding = &running.forwarding;
    let link = forwarding.makes.dial(peer, Role::Receive).await?;
    let (taken, is_taken) = oneshot::channel();
    let far = forwarding.far.clone();
    let begun = Instant::now();
    let serving = tokio::spawn(far.serve(link, WAITING_TIME_MAX, move || {
        let _ = taken.send(());
    }));
    let was_taken = tokio::select! {
        taken = is_taken => taken.is_ok(),
        _ = serving => false,
    };
    match was_taken || begun.elapsed() > RETRY_MAX {
        true => Ok(()),
        false => Err(NoLink {
            reason: Reason::PeerUnreachable,
            evidence: "the peer does not let it wait".to_owned(),
        }),
    }
}

impl Makes {
    fn room(&self) -> Result<OwnedSemaphorePermit, NoLink> {
        let room = self.room.clone().try_acquire_owned();
        room.map_err(|_full| NoLink {
            reason: Reason::DstQuotaExceeded,
            evidence: format!("{FORWARD_LINKS_MAX} links of streams are open"),
        })
    }

    /// Makes a link to a peer that has an address.
    async fn dial(&self, peer: &Peer, role: Role) -> Result<ForwardLink, NoLink> {
        let seen = |error: TunnelError| NoLink {
            reason: error.reason(),
            evidence: error.to_string(),
        };
        let Some(address) = &peer.address else {
            return Err(NoLink {
                reason: Reason::PeerUnreachable,
                evidence: format!("{} has no address", peer.name),
            });
        };
        let permit = self.room()?;
        let turns = self.turns(&peer.name);
        let _turn = turns.acquire().await;
        let mut link = self
            .dialer
            .dial(address, &peer.identity, LinkKind::Forward)
            .await
            .map_err(seen)?;
        self.standing.adopt(&mut link, vec![permit]);
        let id = SessionId::random(&*self.site.world.rng);
        let mut ours = hello(&self.site, id, 0, role);
        ours.policy = None;
        let (theirs, _) = link.greet(&ours).await.map_err(seen)?;
        match theirs.region == *peer.identity.region() {
            true => Ok(ForwardLink::of(link, self.paces.of(&peer.name))),
            false => Err(NoLink {
                reason: Reason::PeerIdentityRefused,
                evidence: format!("it says region {}", theirs.region),
            }),
        }
    }

    fn turns(&self, peer: &PeerName) -> Arc<Semaphore> {
        let mut dialling = self.dialling.lock();
        let new = || Arc::new(Semaphore::new(DIALLED_AT_ONCE));
        dialling.entry(peer.clone()).or_insert_with(new).clone()
    }

    /// Keeps a link that a peer lets wait here; the oldest gives way.
    fn keep(&self, link: ForwardLink) {
        let mut waiting = self.waiting.lock();
        let of_peer = waiting.entry(link.peer().clone()).or_default();
        of_peer.push_back((Instant::now(), link));
        if of_peer.len() > FORWARD_WAITING_LINKS_MAX {
            of_peer.pop_front();
        }
        drop(waiting);
        self.arrived.notify_waiters();
    }

    /// The newest link that waits here, unless it is too old to be alive.
    fn waiting(&self, peer: &Identity, now: Timestamp) -> Option<ForwardLink> {
        let mut waiting = self.waiting.lock();
        let of_peer = waiting.get_mut(peer)?;
        of_peer.retain(|(since, link)| since.elapsed() < WAITING_TIME_MAX && link.ends() > now);
        of_peer.pop_back().map(|(_, link)| link)
    }
}

#[async_trait]
impl Links for Makes {
    async fn link(&self, peer: &PeerName) -> Result<ForwardLink, NoLink> {
        let config = self.site.current();
        let gone = || NoLink {
            reason: Reason::PeerIdentityRefused,
            evidence: format!("{peer} is configured no more"),
        };
        let peer = config.peer(peer).ok_or_else(gone)?;
        if peer.address.is_some() {
            return self.dial(peer, Role::Send).await;
        }
        let waits = async {
            loop {
                // Registered before the look, so that none that comes between is missed.
                let arrived = self.arrived.notified();
                let now = self.site.world.clock.now();
                if let Some(link) = self.waiting(&peer.identity, now) {
                    return link;
                }
                arrived.await;
            }
        };
        timeout(HANDSHAKE_TIME_MAX, waits)
            .await
            .map_err(|_late| NoLink {
                reason: Reason::PeerUnreachable,
                evidence: format!(
                    "{} has no address and keeps no connection waiting here",
                    peer.name
                ),
            })
    }
}
