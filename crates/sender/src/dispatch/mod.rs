//! Sends the transfers to one peer over the sessions that it is given.

mod answers;
mod backoff;
mod departing;
mod feeder;
mod lacking;
mod link_task;
mod moving;
mod outcome;
mod paced;
mod prepare;
mod reader;
mod rollback;
mod sending;
mod shared;
mod small;
mod tally;
mod together;
mod turn;

use std::{
    collections::BTreeMap,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use parking_lot::Mutex;
use sealift_ledger::Journal;
use sealift_store::Source;
use sealift_terms::{Audit, Boxed, BucketName, Clock, Epoch, PartSize, PeerName, Rng, TransferId};
use sealift_tunnel::{Binding, Link, Pace, Questions};
use sealift_wire::{
    Agreed, Carries, DECOMPRESSES_ZSTD, Hello, KEY_EXCHANGE, LinkId, SendSession, TAKES_PURGES,
};
use tokio::{
    sync::{mpsc, oneshot, watch},
    task::JoinSet,
};

use crate::{Rules, SenderError, SenderStatus, WorkSignal, press::Press, stopped};
pub use backoff::BACKOFF_MAX;
use link_task::LinkEnd;
use moving::Life;
use shared::Shared;
use tally::Tally;

/// How often time passes for a session.
const TICK: Duration = Duration::from_secs(1);
/// How long a session without any link waits for another.
const LINKLESS_TIME_MAX: Duration = Duration::from_secs(10);
/// How long the end of a session waits for the journal.
const WRITE_DOWN_TIME_MAX: Duration = Duration::from_secs(5);
/// Objects named in a status.
const CURRENT_MAX: usize = 16;

/// What a peer's sender is made of.
pub struct Settings {
    /// The peer.
    pub peer: PeerName,
    /// Where transfers are leased and settled.
    pub journal: Arc<dyn Journal>,
    /// Where the objects of each bucket are read.
    pub sources: BTreeMap<BucketName, Arc<dyn Source>>,
    /// Tells that there is something new to send.
    pub work: WorkSignal,
    /// The rules in force: what none of them sends does not leave.
    pub rules: watch::Receiver<Arc<Rules>>,
    /// The part size wanted; larger objects take larger parts.
    pub part_size: PartSize,
    /// Bytes of objects that may be in memory at once for this peer.
    pub memory_bytes: usize,
    /// How many bytes a second may leave for this peer, whatever they are.
    pub pace: Arc<Pace>,
    /// Whether to compress where the line is slower than compressing, and the peer takes it.
    pub compresses: bool,
    /// How long a stop waits for what is under way.
    pub drain_time: Duration,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Chance, for back-off.
    pub rng: Arc<dyn Rng>,
    /// The audit log.
    pub audit: Arc<dyn Audit>,
    /// Answers what the peer asks.
    pub questions: Arc<dyn Questions>,
}

/// A link that joins a session.
#[derive(Debug)]
pub struct Joining {
    /// Its number.
    pub id: LinkId,
    /// What is to be sent over it.
    pub carries: Carries,
    /// The link, greeted by both ends.
    pub link: Link,
}

/// The control link of a session in which we send.
pub struct ControlLink {
    session: Arc<Shared>,
    link: LinkId,
    binding: Binding,
}

impl ControlLink {
    /// What goes over it is bound to.
    #[must_use]
    pub fn binding(&self) -> &Binding {
        &self.binding
    }

    /// Asks on it and no other link. None when too many questions wait. The answer does not
    /// come once the link is gone: whoever asks waits for a while, not for ever.
    #[must_use]
    pub fn ask(&self, question: &[u8]) -> Option<oneshot::Receiver<Vec<u8>>> {
        self.session.ask_on(self.link, question)
    }
}

/// A session that was greeted, in which we send.
pub struct Session {
    /// What the peer said of itself.
    pub hello: Hello,
    /// What both agreed on.
    pub agreed: Agreed,
    /// Its links, those that are there and those that join later. When the
    /// sending end is dropped, no more will come.
    pub links: mpsc::Receiver<Joining>,
    /// Told of each link that is gone, so that another can be made.
    pub lost: mpsc::Sender<LinkId>,
}

/// Sends to one peer. One session at a time; its counts outlive sessions.
pub struct PeerSender {
    settings: Arc<Settings>,
    pace: Arc<Pace>,
    press: Arc<Press>,
    tally: Arc<Tally>,
    session: Mutex<Option<Arc<Shared>>>,
    /// Counts of the sessions before.
    before: Mutex<Counts>,
}

impl PeerSender {
    /// A sender without a session yet.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        Self {
            pace: settings.pace.clone(),
            press: Arc::new(Press::new(settings.clock.clone())),
            settings: Arc::new(settings),
            tally: Arc::default(),
            session: Mutex::new(None),
            before: Mutex::default(),
        }
    }

    /// How it stands.
    #[must_use]
    pub fn status(&self) -> SenderStatus {
        let current = self.session.lock();
        let (session, mut counts) = (current.clone(), *self.before.lock());
        drop(current);
        if let Some(session) = &session {
            counts.add(session);
        }
        let mut sent = self.tally.snapshot();
        if let Some(session) = &session {
            for sent in &mut sent {
                sent.stored_under_way = session.stored_of(&sent.rule);
            }
        }
        let (acknowledgements, answers) = self.tally.heard();
        SenderStatus {
            peer: self.settings.peer.clone(),
            connected: session.is_some(),
            objects: sent.iter().map(|sent| sent.objects).sum(),
            bytes: sent.iter().map(|sent| sent.bytes).sum(),
            bytes_written: counts.written,
            parts_resumed: counts.resumed,
            parts_interrupted: counts.interrupted,
            bytes_continued: counts.continued,
            part_bytes: session.as_deref().map(|s| s.cut().bytes()),
            under_way: session.as_deref().map_or(0, |s| s.under_way() as u64),
            acknowledgements,
            answers,
            limit: self.pace.rate(),
            compressing: self.press.is_on(self.pace.rate()),
            compressed: self.press.packed(),
            compression_saved: self.press.saved(),
            sent,
            current: session
                .as_deref()
                .map(|s| s.current(CURRENT_MAX))
                .unwrap_or_default(),
        }
    }

    /// Bytes that the peer has of a transfer which is on its way now.
    #[must_use]
    pub fn progress(&self, transfer: TransferId) -> Option<u64> {
        let session = self.session.lock().clone()?;
        session.stored_of_transfer(transfer)
    }

    /// Asks the peer something outside of any offer. None when no session is
    /// open, too many questions wait, or the session ends before the answer.
    pub async fn ask(&self, question: &[u8]) -> Option<Vec<u8>> {
        let session = self.session.lock().clone()?;
        let answer = session.ask(question)?;
        drop(session);
        answer.await.ok()
    }

    /// The control link of the open session, where keys may go over it: the peer's HELLO
    /// said so.
    #[must_use]
    pub fn control(&self) -> Option<ControlLink> {
        let session = self.session.lock().clone()?;
        let (link, binding) = session.control.lock().clone()?;
        Some(ControlLink {
            session,
            link,
            binding,
        })
    }

    /// Gives the open session up, so that another is made: what is under way on it is
    /// sent again. Says whether there was one.
    pub fn give_up(&self, evidence: String) -> bool {
        let session = self.session.lock().clone();
        if let Some(session) = &session {
            session.fail(SenderError::Stalled { evidence });
        }
        session.is_some()
    }

    /// Takes up that the peer began a new epoch in the middle of this session: it
    /// had lost something of what it acknowledged.
    ///
    /// # Errors
    /// What the journal or the audit log say.
    pub async fn peer_renewed(&self, epoch: Epoch) -> Result<(), SenderError> {
        let Some(session) = self.session.lock().clone() else {
            // The next one begins with its HELLO.
            return Ok(());
        };
        let mut memory = session.memory.lock().await;
        rollback::renewed(&self.settings, &mut memory, epoch).await
    }

    /// Sends until `stop` turns true and what is under way has ended, until a link is
    /// to be left for a fresh one, or until the session ends by itself.
    ///
    /// # Errors
    /// [`SenderError`]: why the session ended, when it was not told to and did not
    /// merely lose its links.
    pub fn run(
        &self,
        session: Session,
        stop: watch::Receiver<bool>,
    ) -> Boxed<'_, Result<(), SenderError>> {
        Box::pin(async move {
            let memory = rollback::compare(&self.settings, &session.hello).await?;
            let (events, events_in) = mpsc::unbounded_channel();
            let (settle, settle_in) = mpsc::unbounded_channel();
            let takes = session.hello.decompresses.unwrap_or_default() & DECOMPRESSES_ZSTD != 0;
            self.press.begin(self.settings.compresses && takes);
            let exchanges_keys = session.hello.key_exchange == Some(KEY_EXCHANGE);
            let machine = SendSession::new(session.agreed.limits);
            let shared = Arc::new(Shared::new(
                self.settings.clone(),
                (self.pace.clone(), self.press.clone()),
                (
                    session.hello.cuts,
                    session.hello.takes.unwrap_or_default() & TAKES_PURGES != 0,
                ),
                memory,
                machine,
                events,
                settle,
            ));
            *self.session.lock() = Some(shared.clone());
            let mut tasks = JoinSet::new();
            tasks.spawn(answers::take_events(
                shared.clone(),
                self.tally.clone(),
                events_in,
            ));
            tasks.spawn(answers::write_down(shared.clone(), settle_in));
            tasks.spawn(tick(shared.clone(), self.tally.clone()));
            let feeder = tokio::spawn(feeder::Feeder::new(shared.clone()).run(stop.clone()));
            tokio::select! {
                () = carry(&shared, session.links, session.lost, exchanges_keys) => {}
                () = shared.over.notified() => {}
                () = drained(&shared, stop) => {}
                () = moving::moved(&shared) => {}
            }
            feeder.abort();
            let _ = feeder.await;
            // What the peer acknowledged is written down, whatever ended the session.
            let _ = tokio::time::timeout(WRITE_DOWN_TIME_MAX, shared.written_down()).await;
            tasks.shutdown().await;
            self.end(&shared);
            shared.take_failure().map_or(Ok(()), Err)
        })
    }

    fn end(&self, shared: &Shared) {
        // What is still under way is interrupted with its links.
        shared
            .link_ids()
            .into_iter()
            .for_each(|link| shared.leave(link));
        let mut current = self.session.lock();
        *current = None;
        self.before.lock().add(shared);
        drop(current);
        self.settings.journal.release(&shared.end_leases());
    }
}

/// What is counted over all sessions.
#[derive(Debug, Default, Clone, Copy)]
struct Counts {
    written: u64,
    resumed: u64,
    interrupted: u64,
    continued: u64,
}

impl Counts {
    fn add(&mut self, session: &Shared) {
        self.written += session.bytes_written.load(Ordering::Relaxed);
        self.resumed += session.parts_resumed.load(Ordering::Relaxed);
        let machine = session.machine.lock();
        self.interrupted += machine.interrupted();
        self.continued += machine.continued();
    }
}

/// Runs the links until none is left and none comes.
async fn carry(
    shared: &Arc<Shared>,
    mut joining: mpsc::Receiver<Joining>,
    lost: mpsc::Sender<LinkId>,
    exchanges_keys: bool,
) {
    let mut links: JoinSet<(LinkId, LinkEnd)> = JoinSet::new();
    let mut more = true;
    loop {
        let linkless = links.is_empty();
        if linkless && !more {
            return;
        }
        tokio::select! {
            join = joining.recv(), if more => match join {
                Some(Joining { id, carries, link }) => {
                    let now = shared.settings.clock.now();
                    shared.lives.lock().insert(id, Life::of(&link, now));
                    shared.machine.lock().linked(id, carries);
                    if carries == Carries::Control && exchanges_keys {
                        *shared.control.lock() = link.binding().map(|binding| (id, binding));
                    }
                    let task = link_task::run(id, link, shared.clone());
                    links.spawn(async move { (id, task.await) });
                }
                None => more = false,
            },
            Some(ended) = links.join_next() => {
                let Ok((id, end)) = ended else { continue };
                shared.leave(id);
                match end {
                    LinkEnd::Broken(error) => return shared.fail(error.into()),
                    LinkEnd::Lost(error) => {
                        tracing::debug!(peer = %shared.settings.peer, link = %id, %error, "a link is gone");
                    }
                    LinkEnd::Told | LinkEnd::Closed => {}
                }
                if !shared.is_closing.load(Ordering::Relaxed) {
                    // Nobody may be there to make another.
                    let _ = lost.try_send(id);
                }
            }
            () = tokio::time::sleep(LINKLESS_TIME_MAX), if linkless => return,
        }
    }
}

/// Waits for a stop, then for what is under way, then closes the links in order.
async fn drained(shared: &Arc<Shared>, mut stop: watch::Receiver<bool>) {
    stopped(&mut stop).await;
    let settings = &shared.settings;
    let ended = async {
        while shared.under_way() > 0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    // What does not end in time is sent again after the next start.
    let _ = tokio::time::timeout(settings.drain_time, ended).await;
    moving::close(shared).await;
}

/// Lets time pass for the session and the rates.
async fn tick(shared: Arc<Shared>, tally: Arc<Tally>) {
    let mut last = shared.settings.clock.monotonic();
    loop {
        tokio::time::sleep(TICK).await;
        let now = shared.settings.clock.monotonic();
        tally.tick(now.saturating_sub(last));
        last = now;
        shared.machine.lock().tick(now);
        shared.hand_on_events();
        shared.close_drained();
        shared.wake_links();
    }
}
