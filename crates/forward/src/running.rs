//! What every stream needs, and what is put on record of it.

use std::{
    fmt,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use sealift_terms::{
    Audit, AuditKind, AuditRecord, AuditUnavailable, Clock, ForwardName, Identity, Reason, Rng,
    Timestamp,
    limits::{FORWARD_STREAMS_MAX, HANDSHAKE_TIME_MAX},
};
use sealift_tunnel::{Incoming, TunnelError};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    task::JoinHandle,
    time::timeout,
};

use crate::{
    application::Application,
    ended::{Ended, Lost},
    link::ForwardLink,
    memory::Memory,
    state::Shared,
    tally::{Side, Tallies, Tally},
    threads::Threads,
};

/// How long the last frames of a stream may take to leave.
const PARTING_TIME_MAX: Duration = Duration::from_millis(500);

/// What all streams of an agent share. Cheap to clone.
#[derive(Clone)]
pub struct World {
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) rng: Arc<dyn Rng>,
    pub(crate) audit: Arc<dyn Audit>,
    pub(crate) memory: Memory,
    pub(crate) tallies: Arc<Tallies>,
    slots: Arc<Semaphore>,
    threads: Option<Arc<Threads>>,
}

impl World {
    /// Buffers of streams are drawn from `memory`. Streams run on `threads`; without, where
    /// they are begun.
    #[must_use]
    pub fn new(
        clock: Arc<dyn Clock>,
        rng: Arc<dyn Rng>,
        audit: Arc<dyn Audit>,
        memory: Memory,
        threads: Option<Threads>,
    ) -> Self {
        Self {
            threads: threads.map(Arc::new),
            clock,
            rng,
            audit,
            memory,
            tallies: Arc::default(),
            slots: Arc::new(Semaphore::new(FORWARD_STREAMS_MAX)),
        }
    }

    /// Begins a task where streams run.
    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) -> JoinHandle<()> {
        match &self.threads {
            Some(threads) => threads.spawn(task),
            None => tokio::spawn(task),
        }
    }

    /// Runs a task there; it ends when whoever waits for it does not any more.
    pub(crate) async fn run(&self, task: impl Future<Output = ()> + Send + 'static) {
        match &self.threads {
            Some(threads) => threads.run(task).await,
            None => task.await,
        }
    }

    /// Room for one stream more: among all, and among those of one forward or target.
    pub(crate) fn slot(&self, of: &Arc<Semaphore>) -> Option<[OwnedSemaphorePermit; 2]> {
        let all = self.slots.clone().try_acquire_owned().ok()?;
        Some([all, of.clone().try_acquire_owned().ok()?])
    }
}

impl fmt::Debug for World {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("World")
            .field("memory", &self.memory)
            .finish_non_exhaustive()
    }
}

/// A stream that is open, with its application.
pub(crate) struct Running {
    pub(crate) world: World,
    pub(crate) side: Side,
    pub(crate) name: ForwardName,
    pub(crate) peer: Identity,
    pub(crate) shared: Arc<Shared>,
    pub(crate) application: Application,
    begun: Timestamp,
    begun_at: Duration,
    moves: u64,
    _slot: [OwnedSemaphorePermit; 2],
}

impl Running {
    /// Puts the stream on record: without that there is none.
    pub(crate) fn begin(
        world: &World,
        (side, name): (Side, &ForwardName),
        shared: Arc<Shared>,
        application: Application,
        link: &ForwardLink,
        slot: [OwnedSemaphorePermit; 2],
    ) -> Result<Self, (Application, AuditUnavailable)> {
        let begun = world.clock.now();
        let facts = link.facts(side == Side::Forward);
        let record = AuditRecord::new(begun, AuditKind::ForwardOpened, link.peer().to_string())
            .with("side", side.as_str())
            .with("forward", name)
            .with("tls_version", &facts.tls_version)
            .with("cipher_suite", &facts.cipher_suite)
            .with("group", &facts.group)
            .with("sender_serial", &facts.sender_serial)
            .with("receiver_serial", &facts.receiver_serial);
        if let Err(error) = world.audit.record(record) {
            return Err((application, error));
        }
        let tally = &shared.tally;
        tally.opened.fetch_add(1, Ordering::Relaxed);
        tally.open.fetch_add(1, Ordering::Relaxed);
        Ok(Self {
            world: world.clone(),
            side,
            name: name.clone(),
            peer: link.peer().clone(),
            begun,
            begun_at: shared.now(),
            shared,
            application,
            moves: 0,
            _slot: slot,
        })
    }

    pub(crate) fn moved(&mut self) {
        self.moves += 1;
        self.shared.tally.moves.fetch_add(1, Ordering::Relaxed);
    }

    /// How the stream ended, if the loss of its link is its end: decided here, said by
    /// the peer, or everything is where it belongs.
    pub(crate) async fn ended_by(&mut self, lost: Lost) -> Result<Ended, Lost> {
        if let Some(ended) = self.shared.ending() {
            return Ok(ended);
        }
        match lost {
            Lost::Stream(ended) => Ok(ended),
            _ if self.shared.peer_done() => {
                match crate::drive::finish(&mut self.application, &self.shared).await {
                    Ok(()) => Ok(Ended::InOrder),
                    Err(Lost::Stream(ended)) => Ok(ended),
                    Err(other) => Err(other),
                }
            }
            lost => Err(lost),
        }
    }

    /// Puts the end on record, and lets the application know.
    pub(crate) fn end(self, ended: &Ended) {
        let (out, inn) = self.shared.lock().stream.moved();
        let millis = (self.shared.now().saturating_sub(self.begun_at)).as_millis();
        let now = self.world.clock.now();
        let record = AuditRecord::new(now, AuditKind::ForwardClosed, self.peer.to_string())
            .with("side", self.side.as_str())
            .with("forward", &self.name)
            .with("opened", self.begun)
            .with("lifetime_ms", millis)
            .with("bytes_out", out)
            .with("bytes_in", inn)
            .with("moves", self.moves)
            .with("end", ended.word())
            .with("evidence", ended);
        let record = match ended.reason() {
            Some(reason) => record.with("reason", reason),
            None => record,
        };
        if let Err(error) = self.world.audit.record(record) {
            tracing::error!(forward = %self.name, %error, "the end of a stream is not on record");
        }
        let (side, forward, peer, moves) = (self.side.as_str(), &self.name, &self.peer, self.moves);
        match ended.is_dropped() {
            true => {
                tracing::warn!(side, %forward, %peer, moves, out, inn, end = %ended, "a stream was closed")
            }
            false => {
                tracing::debug!(side, %forward, %peer, moves, out, inn, end = %ended, "a stream ended")
            }
        }
        self.shared.tally.open.fetch_sub(1, Ordering::Relaxed);
        self.shared.tally.ended(ended);
        match ended {
            Ended::InOrder => drop(self.application),
            _ => self.application.reset(),
        }
    }
}

impl ForwardLink {
    /// Says these frames.
    pub(crate) async fn say(&mut self, frames: &[u8]) -> Result<(), TunnelError> {
        self.writer.queue(frames);
        let said = timeout(HANDSHAKE_TIME_MAX, self.writer.flush()).await;
        said.unwrap_or(Err(TunnelError::TooSlow))
    }

    /// The first frame on it, within `patience`.
    pub(crate) async fn first(
        &mut self,
        patience: Duration,
    ) -> Result<(sealift_wire::Header, Vec<u8>), TunnelError> {
        let next = timeout(patience, self.reader.next()).await;
        match next.unwrap_or(Err(TunnelError::TooSlow))? {
            Some(Incoming::Frame { header, payload }) => Ok((header, payload.to_vec())),
            Some(Incoming::Data { header, .. }) => Ok((header, Vec::new())),
            None => Err(TunnelError::CutOff),
        }
    }

    /// Closes it, once the peer has heard what was said.
    pub(crate) async fn part(self) {
        let Self {
            mut reader, writer, ..
        } = self;
        let parted = async {
            writer.close().await?;
            while reader.next().await?.is_some() {}
            Ok::<_, TunnelError>(())
        };
        // What does not leave in time is lost, as on a link that is lost.
        let _ = timeout(PARTING_TIME_MAX, parted).await;
    }
}

/// What was refused to whom, so that one who asks again and again fills no log.
#[derive(Debug, Default)]
pub(crate) struct Refused(
    parking_lot::Mutex<std::collections::BTreeMap<(Identity, Reason), (Duration, u64)>>,
);

/// One record of a refusal for each peer and reason in this time.
const RECORDED_EVERY: Duration = Duration::from_secs(60);

impl Refused {
    /// Puts a refusal on record, with how many were not since the last.
    pub(crate) fn record(
        &self,
        world: &World,
        peer: &Identity,
        reason: Reason,
        details: &[(&str, String)],
    ) {
        let now = world.clock.monotonic();
        let unrecorded = {
            let mut seen = self.0.lock();
            let of = seen
                .entry((peer.clone(), reason))
                .or_insert((Duration::MAX, 0));
            if of.0 != Duration::MAX && now.saturating_sub(of.0) < RECORDED_EVERY {
                of.1 += 1;
                return;
            }
            std::mem::replace(of, (now, 0)).1
        };
        let at = world.clock.now();
        let record = AuditRecord::new(at, AuditKind::AccessDenied, peer.to_string())
            .with("action", "forward")
            .with("reason", reason)
            .with("more_since_the_last", unrecorded);
        let with = |record: AuditRecord, (name, value): &(&str, String)| record.with(name, value);
        if let Err(error) = world.audit.record(details.iter().fold(record, with)) {
            tracing::error!(%error, "a refused stream cannot be put on record");
        }
    }
}

impl Tally {
    pub(crate) fn refuse(&self, side: Side, name: &ForwardName, reason: Reason, evidence: &str) {
        self.refused(reason);
        let side = side.as_str();
        tracing::info!(side, forward = %name, %reason, evidence, "no stream");
    }
}
