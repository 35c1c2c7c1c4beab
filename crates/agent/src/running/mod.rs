//! The running agent: the listener, the sessions with peers in both roles, the
//! tasks of sources, and the order in which all of it starts and stops.
//!
//! ```text
//!   Listener ──▶ accepting ─┐                      ┌─▶ receiver::Session ─▶ archive
//!                           ├─▶ session, by role ──┤
//!   Dialer  ◀── dialling ───┘                      └─▶ sender::PeerSender ◀─ journal ◀─ SourceTask
//!                           └─▶ forwarding ──▶ forward::Near, forward::Far
//!   endpoint ──▶ endpoint::Endpoint ──▶ archive
//! ```

mod accepting;
mod authority;
mod canary;
mod certificates;
mod clocks;
mod dialling;
mod difference;
mod endings;
mod endpoint;
mod forwarding;
mod fronting;
mod hello;
mod issuing;
mod links;
mod live;
mod own_authority;
mod paces;
mod peers;
mod question;
mod quota;
mod regions;
mod reminding;
mod renewing;
mod repair;
mod rpo;
mod scrubbing;
mod sends_on;
mod session;
mod spreading;
mod start;
mod transport;
mod upkeep;
mod versioning;
mod watchdog;

use std::{collections::BTreeMap, sync::Arc};

use parking_lot::Mutex;
use sealift_endpoint::Endpoint;
use sealift_identity::TlsContext;
use sealift_receiver::Door;
use sealift_sender::{Orders, PeerSender, Rules, SourceHandle, WorkSignal};
use sealift_terms::{AuditKind, AuditRecord, PeerName, Timestamp};
use sealift_tunnel::OnRefused;
use tokio::sync::watch;

use crate::{
    Confined, Error,
    config::{Override, Peer},
    site::Site,
};

pub(crate) use question::Asking;
pub use question::check_peers;
pub(crate) use renewing::renewal_due;
pub(crate) use start::rules_of;
pub use start::up;

use forwarding::Forwarding;
use links::Standing;
use paces::Paces;
use peers::PeerStates;
use quota::Quota;
use rpo::Rpo;
use spreading::Spread;
use upkeep::Health;
use watchdog::Watchdog;

/// Everything that runs, shared by the tasks that run it.
pub(crate) struct Running {
    site: Arc<Site>,
    started: Timestamp,
    /// The command line's settings, for a reload.
    flags: Vec<Override>,
    tls: Arc<TlsContext>,
    standing: Standing,
    spread: Spread,
    peers: PeerStates,
    issuers: endings::Issuers,
    watchdog: Watchdog,
    rpo: Rpo,
    not_taken: certificates::NotTaken,
    asked: repair::Asked,
    keeping: regions::Keeping,
    scrubbing: scrubbing::Scrubbing,
    door: Arc<Door>,
    senders: BTreeMap<PeerName, Arc<OneSender>>,
    sources: Vec<SourceHandle>,
    orders: Arc<Orders>,
    rules: watch::Sender<Arc<Rules>>,
    work: WorkSignal,
    health: Health,
    /// What the process may still read.
    confined: Confined,
    /// One reload at a time.
    reloading: tokio::sync::Mutex<()>,
    /// What peers may do here and under which keys, as they are told in a HELLO.
    policy: watch::Sender<u64>,
    /// Turns true when nothing new is to be begun.
    stop: watch::Sender<bool>,
    quota: Quota,
    forwarding: Forwarding,
    /// The S3 endpoint, where there is one.
    endpoint: Option<Endpoint>,
    paces: Paces,
    refused: OnRefused,
    sessions: Mutex<session::Registry>,
    listening: Option<std::net::SocketAddr>,
}

/// The sender to one peer, and the right to give it a session: one at a time.
struct OneSender {
    sender: PeerSender,
    free: tokio::sync::Mutex<()>,
}

impl Running {
    /// The peer that has this identity, as configured.
    fn peer_of(&self, identity: &sealift_terms::Identity) -> Option<Peer> {
        self.site
            .current()
            .peers
            .iter()
            .find(|peer| peer.identity == *identity)
            .cloned()
    }

    /// Puts an act of the agent on record.
    fn record(&self, kind: AuditKind, details: &[(&str, String)]) -> Result<(), Error> {
        let record = AuditRecord::new(self.site.world.clock.now(), kind, "agent");
        let record = details
            .iter()
            .fold(record, |record, (name, value)| record.with(name, value));
        self.site.record(record)
    }
}
