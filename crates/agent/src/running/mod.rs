//! The running agent: the listener, the sessions with peers in both roles, the
//! tasks of sources, and the order in which all of it starts and stops.
//!
//! ```text
//!   Listener ──▶ accepting ─┐                      ┌─▶ receiver::Session ─▶ archive
//!                           ├─▶ session, by role ──┤
//!   Dialer  ◀── dialling ───┘                      └─▶ sender::PeerSender ◀─ journal ◀─ SourceTask
//! ```

mod accepting;
mod dialling;
mod hello;
mod links;
mod live;
mod peers;
mod question;
mod quota;
mod session;
mod start;
mod watchdog;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use parking_lot::Mutex;
use sealift_identity::TlsContext;
use sealift_receiver::Door;
use sealift_sender::{PeerSender, Rules, SourceHandle, WorkSignal};
use sealift_terms::{AuditKind, AuditRecord, PeerName, Timestamp, limits::SETTLED_KEPT_MAX};
use sealift_tunnel::OnRefused;
use tokio::sync::watch;

use crate::{
    Error, Metric,
    config::{Override, Peer},
    site::Site,
};

pub use question::check_peers;
pub use start::up;

use links::Standing;
use peers::PeerStates;
use quota::Quota;
use watchdog::Watchdog;

/// How often links are held against certificates and the deny list.
const SWEEP_EVERY: Duration = Duration::from_secs(1);
/// Record keys are dropped from memory once a minute.
const EXPIRE_ROUNDS: u64 = 60;
/// Old uploads and old rows are looked for once an hour.
const TIDY_EVERY: Duration = Duration::from_secs(3600);
const FOLDED_AT_ONCE: usize = 1000;

/// Everything that runs, shared by the tasks that run it.
pub(crate) struct Running {
    site: Arc<Site>,
    started: Timestamp,
    /// The command line's settings, for a reload.
    flags: Vec<Override>,
    tls: Arc<TlsContext>,
    standing: Standing,
    peers: PeerStates,
    watchdog: Watchdog,
    door: Arc<Door>,
    senders: BTreeMap<PeerName, Arc<OneSender>>,
    sources: Vec<SourceHandle>,
    rules: watch::Sender<Arc<Rules>>,
    work: WorkSignal,
    /// Turns true when nothing new is to be begun.
    stop: watch::Sender<bool>,
    quota: Quota,
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

    /// Holds standing links against certificates and the deny list and lets counted
    /// refusals go on record, until the end.
    async fn watch_over(&self) {
        let mut rounds = 0_u64;
        loop {
            tokio::time::sleep(SWEEP_EVERY).await;
            self.standing.sweep(&self.tls);
            self.look_for_stalls().await;
            let now = self.site.world.clock.now();
            if let Err(error) = self.site.audit.settle_refusals(now) {
                tracing::error!(%error, "refused connections cannot be put on record");
            }
            if rounds.is_multiple_of(EXPIRE_ROUNDS) {
                self.show_certificate();
                self.site.ring.expire();
            }
            rounds += 1;
        }
    }

    /// Tidies up now and then, until the end: beside [`Self::watch_over`], since it
    /// may take long.
    async fn keep_tidy(&self) {
        loop {
            self.tidy(self.site.world.clock.now()).await;
            tokio::time::sleep(TIDY_EVERY).await;
        }
    }

    fn show_certificate(&self) {
        let leaf = self.tls.credentials().leaf().clone();
        let expiry = leaf.not_after.as_secs();
        let series = self
            .site
            .metrics
            .series(Metric::CertificateExpiry, &[leaf.identity.as_str()]);
        series.set(u64::try_from(expiry).unwrap_or_default());
    }

    /// Deletes uploads that were given up long ago, and folds old rows of the journal.
    async fn tidy(&self, now: Timestamp) {
        match self.site.archive.sweep().await {
            Ok(0) => {}
            Ok(uploads) => tracing::warn!(uploads, "unfinished uploads were deleted"),
            Err(error) => tracing::error!(%error, "unfinished uploads cannot be looked through"),
        }
        let before = now.minus(SETTLED_KEPT_MAX);
        loop {
            match self.site.journal.fold(before, FOLDED_AT_ONCE).await {
                Ok(folded) if folded == FOLDED_AT_ONCE as u64 => {}
                Ok(_) => return,
                Err(error) => {
                    tracing::error!(%error, "old rows of the journal cannot be folded");
                    return;
                }
            }
        }
    }
}
