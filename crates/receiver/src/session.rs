//! One peer sending: the state its links share, and the task of each link.

use std::{
    collections::HashMap,
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use parking_lot::Mutex;
use sealift_archive::{ArchiveError, Begin, Offer, Outcomes, OutcomesTo, Upload, in_words};
use sealift_terms::{
    Boxed, BucketName, Checksum, Identity, PartIndex, Reason, SessionFacts, Status,
};
use sealift_tunnel::{Binding, Link, LinkWriter, Pace};
use sealift_wire::{
    Carries, Close, Evidence, Limits, LinkEvent, LinkId, OfferId, Parts, ReceiveEvent,
    ReceiveSession, Refusal,
};
use tokio::{
    sync::{Notify, mpsc, oneshot, watch},
    time::Instant,
};

use crate::{Door, Patience, ReceiverError, credit::credit, task::LinkTask};

/// Questions to one peer that may wait for their answer.
const QUESTIONS_MAX: usize = 16;
/// How long a last word may take.
const LAST_WORD: Duration = Duration::from_secs(1);

/// Who sends, and over what sort of session.
#[derive(Debug, Clone)]
pub struct Peer {
    /// The authenticated identity.
    pub identity: Identity,
    /// What was negotiated; goes into every receipt.
    pub facts: Arc<SessionFacts>,
}

/// An object whose parts come.
struct Taken {
    upload: Arc<Upload>,
    /// What it was granted last.
    credit: u64,
}

/// How a link's task is called.
#[derive(Debug, Default)]
pub(crate) struct LinkSignals {
    /// There may be something to write.
    pub(crate) wake: Notify,
    /// It is to end: nothing is heard from it.
    pub(crate) end: Notify,
}

/// The receiving side of one session.
pub struct Session {
    pub(crate) door: Arc<Door>,
    peer: Peer,
    pub(crate) machine: Mutex<ReceiveSession>,
    pub(crate) patience: Patience,
    /// What holds what the peer sends to its rate.
    pub(crate) rate: Arc<Pace>,
    /// Whether the peer was told that it may compress.
    packs: AtomicBool,
    /// Whether the peer goes on in the cut that it is told.
    any_cut: AtomicBool,
    /// Whether the peer exchanges keys.
    exchanges_keys: AtomicBool,
    /// The control link, and what keys that go over it are bound to.
    control: Mutex<Option<(LinkId, Binding)>>,
    taken: Mutex<HashMap<OfferId, Taken>>,
    /// Where the archive says what became of commits.
    outcomes: OutcomesTo,
    links: Mutex<HashMap<LinkId, Arc<LinkSignals>>>,
    /// Questions to the peer that wait for their answer.
    questions: Mutex<HashMap<u64, oneshot::Sender<Vec<u8>>>>,
    /// What the peer did that ended the session.
    fault: Mutex<Option<(Reason, String)>>,
    pub(crate) started: Instant,
    /// Turns true when the session is over.
    pub(crate) over: watch::Sender<bool>,
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session")
            .field("peer", &self.peer.identity)
            .finish_non_exhaustive()
    }
}

impl Session {
    /// A session without links yet; `limits` are those both HELLOs agreed on.
    #[must_use]
    pub fn new(door: Arc<Door>, peer: Peer, limits: Limits) -> Arc<Self> {
        Self::with_patience(door, peer, limits, Patience::default())
    }

    /// As [`new`](Self::new), with other times to wait.
    #[must_use]
    pub fn with_patience(
        door: Arc<Door>,
        peer: Peer,
        limits: Limits,
        patience: Patience,
    ) -> Arc<Self> {
        let (outcomes, outcomes_in) = mpsc::unbounded_channel();
        let rate = door.rate_of(&peer.identity);
        let session = Arc::new(Self {
            rate,
            door,
            peer,
            machine: Mutex::new(ReceiveSession::new(limits)),
            patience,
            packs: AtomicBool::new(false),
            any_cut: AtomicBool::new(false),
            exchanges_keys: AtomicBool::new(false),
            control: Mutex::default(),
            taken: Mutex::default(),
            outcomes,
            links: Mutex::default(),
            questions: Mutex::default(),
            fault: Mutex::default(),
            started: Instant::now(),
            over: watch::Sender::new(false),
        });
        let (of, door) = (Arc::downgrade(&session), session.door.clone());
        tokio::spawn(take_outcomes(of, door, outcomes_in));
        session.door.opened(&session);
        session
    }

    /// Says whether our HELLO told the peer that it may compress. It may not, unless told
    /// so: a frame of that sort ends the session then.
    pub fn let_pack(&self, packs: bool) {
        self.packs.store(packs, Ordering::Relaxed);
    }

    /// Says whether the peer's HELLO told that it goes on in the cut that an answer to its
    /// offer names, whatever it offered. Otherwise what was begun in another one is given up.
    pub fn let_cut(&self, any: bool) {
        self.any_cut.store(any, Ordering::Relaxed);
    }

    /// Says whether the peer's HELLO told that it exchanges keys over the control link.
    pub fn let_exchange_keys(&self, exchanges: bool) {
        self.exchanges_keys.store(exchanges, Ordering::Relaxed);
    }

    /// What keys that go over the control link are bound to, where they may go over it.
    #[must_use]
    pub fn binding(&self) -> Option<Binding> {
        let control = self.control.lock();
        control.as_ref().map(|(_, binding)| binding.clone())
    }

    /// Asks the peer something on the control link and no other. None without it, or when
    /// too many questions wait.
    #[must_use]
    pub fn ask_on_control(&self, question: &[u8]) -> Option<oneshot::Receiver<Vec<u8>>> {
        let link = self.control.lock().as_ref().map(|(link, _)| *link)?;
        self.ask_on(link, question)
    }

    pub(crate) fn packs(&self) -> bool {
        self.packs.load(Ordering::Relaxed)
    }

    /// Whether a grant lets the peer store versions in `bucket`.
    #[must_use]
    pub fn may_bring(&self, bucket: &BucketName) -> bool {
        self.door.may_bring(&self.peer.identity, bucket)
    }

    /// Asks the peer something outside of any offer. None without a link, or when too
    /// many questions wait.
    #[must_use]
    pub fn ask(&self, question: &[u8]) -> Option<oneshot::Receiver<Vec<u8>>> {
        let link = self.links.lock().keys().min().copied()?;
        self.ask_on(link, question)
    }

    fn ask_on(&self, link: LinkId, question: &[u8]) -> Option<oneshot::Receiver<Vec<u8>>> {
        let (answer, answered) = oneshot::channel();
        let mut questions = self.questions.lock();
        questions.retain(|_, waiting| !waiting.is_closed());
        if questions.len() >= QUESTIONS_MAX {
            return None;
        }
        let number = self.machine.lock().question(link, question);
        questions.insert(number, answer);
        drop(questions);
        self.wake_links();
        Some(answered)
    }

    /// Whether it goes on.
    pub(crate) fn stands(&self) -> bool {
        !*self.over.borrow()
    }

    /// Who sends.
    #[must_use]
    pub fn peer(&self) -> &Peer {
        &self.peer
    }

    /// What the peer did that ended the session, if it did.
    #[must_use]
    pub fn fault(&self) -> Option<(Reason, String)> {
        self.fault.lock().clone()
    }

    /// Runs one greeted link until it ends. Parts that were coming over it are
    /// asked for again on the links that are left.
    ///
    /// # Errors
    /// [`ReceiverError`] unless the peer closed the link in order or the session
    /// was ended from here.
    pub fn run_link<'a>(
        self: &'a Arc<Self>,
        id: LinkId,
        carries: Carries,
        link: Link,
    ) -> Boxed<'a, Result<(), ReceiverError>> {
        Box::pin(async move {
            let signals = Arc::new(LinkSignals::default());
            self.links.lock().insert(id, signals.clone());
            self.machine.lock().linked(id, carries);
            if carries == Carries::Control && self.exchanges_keys.load(Ordering::Relaxed) {
                *self.control.lock() = link.binding().map(|binding| (id, binding));
            }
            let (mut reader, mut writer) = link.split();
            let mut task = LinkTask::new(self, id, signals);
            let end = task.run(&mut reader, &mut writer).await;
            // Before anyone is told that they are abandoned: another may go on with them then.
            task.leave_parts().await;
            self.links.lock().remove(&id);
            self.control.lock().take_if(|(control, _)| *control == id);
            let ((), events) = self.with_machine(|machine| machine.lost(id));
            events.into_iter().for_each(|event| self.take(event));
            match &end {
                // Without TLS's own last word the peer would have to call it cut off.
                Ok(()) => drop(tokio::time::timeout(LAST_WORD, writer.close()).await),
                Err(error @ ReceiverError::PeerMisbehaved(_)) => {
                    let fault = (error.reason(), format!("on link {id}: {error}"));
                    self.fault.lock().get_or_insert(fault);
                    let close = Close {
                        reason: Some(Reason::PeerProtocolMismatch),
                        evidence: Evidence::new(error.to_string()),
                    };
                    self.close_link(id, writer, &close).await;
                    self.end();
                }
                Err(_) => {}
            }
            end
        })
    }

    /// Asks the peer to begin nothing new, and waits until nothing is under way or
    /// `limit` is over. Then ends the session.
    pub async fn drain(&self, limit: Duration) {
        let links: Vec<LinkId> = self.links.lock().keys().copied().collect();
        links
            .iter()
            .for_each(|link| self.machine.lock().drain(*link));
        self.wake_links();
        let busy = || links.iter().any(|link| self.machine.lock().is_busy(*link));
        let deadline = Instant::now() + limit;
        while busy() && Instant::now() < deadline {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        self.end();
    }

    /// Ends the session at once: every link's task returns.
    pub fn end(&self) {
        self.over.send_replace(true);
    }

    /// Says a last word on a link that is given up. Whether it is heard does not matter.
    async fn close_link(&self, id: LinkId, mut writer: LinkWriter, close: &Close) {
        let mut out = Vec::new();
        {
            let mut machine = self.machine.lock();
            machine.linked(id, Carries::Control);
            machine.close(id, close);
            machine.take(id, &mut out);
            machine.lost(id);
        }
        writer.queue(&out);
        let _ = tokio::time::timeout(LAST_WORD, writer.close()).await;
    }

    /// Does something with the machine; the events it led to belong to the caller.
    pub(crate) fn with_machine<R>(
        &self,
        act: impl FnOnce(&mut ReceiveSession) -> R,
    ) -> (R, Vec<ReceiveEvent>) {
        let mut machine = self.machine.lock();
        let result = act(&mut machine);
        let events = std::iter::from_fn(|| machine.next_event()).collect();
        (result, events)
    }

    pub(crate) fn wake_links(&self) {
        self.links
            .lock()
            .values()
            .for_each(|link| link.wake.notify_one());
    }

    /// Tells the task of one link to end; the others go on.
    pub(crate) fn end_link(&self, id: LinkId) {
        if let Some(link) = self.links.lock().get(&id) {
            link.end.notify_one();
        }
    }

    /// The object that an offer brings.
    pub(crate) fn upload(&self, offer: OfferId) -> Option<Arc<Upload>> {
        let taken = self.taken.lock();
        taken.get(&offer).map(|taken| taken.upload.clone())
    }

    /// Grants each object its share of the memory that is free now.
    pub(crate) fn grant_anew(&self) {
        let mut taken = self.taken.lock();
        let (free, objects) = (self.door.archive().budget().free(), taken.len());
        let mut machine = self.machine.lock();
        for (offer, taken) in taken.iter_mut() {
            let now = credit(free, objects, taken.upload.part_size());
            if now != std::mem::replace(&mut taken.credit, now) {
                machine.credit(*offer, now);
            }
        }
    }

    /// Answers an offer with a refusal, and lets go of it.
    pub(crate) fn refuse(&self, offer: OfferId, refusal: &Refusal) {
        self.door.count_refused();
        self.taken.lock().remove(&offer);
        self.machine.lock().refuse(offer, refusal);
        self.wake_links();
    }

    pub(crate) fn fail(&self, offer: OfferId, error: &ArchiveError) {
        self.refuse(offer, &Refusal::new(error.reason(), in_words(error)));
    }

    /// Takes an event that no link's writers are needed for.
    pub(crate) fn take(self: &Arc<Self>, event: ReceiveEvent) {
        match event {
            ReceiveEvent::Offered { offer, what, .. } => {
                let session = self.clone();
                tokio::spawn(async move { session.offered(offer, *what).await });
            }
            ReceiveEvent::Commit {
                offer, checksum, ..
            } => {
                let taken = self.taken.lock().remove(&offer);
                if let Some(Taken { upload, .. }) = taken {
                    self.commit(offer, Upload::clone(&upload), checksum);
                }
            }
            ReceiveEvent::Cancelled { offer, refusal } => {
                let taken = self.taken.lock().remove(&offer);
                let for_good = !matches!(refusal.reason.status(), Status::Pending);
                if let Some(Taken { upload, .. }) = taken.filter(|_| for_good) {
                    let session = self.clone();
                    // What cannot be removed now is removed when it was idle for long.
                    tokio::spawn(async move {
                        session
                            .door
                            .archive()
                            .cancel(Box::new(Upload::clone(&upload)))
                            .await
                            .ok()
                    });
                }
            }
            ReceiveEvent::PartAbandoned { offer, part } => {
                let session = self.clone();
                // Its last writer may be in the middle of a write.
                tokio::spawn(async move { session.settle(offer, part).await });
            }
            // The peer lost it: nothing more will come on it that counts.
            ReceiveEvent::GivenUp(link) => self.end_link(link),
            ReceiveEvent::Link(LinkEvent::Answered { number, body }) => {
                if let Some(waiting) = self.questions.lock().remove(&number) {
                    // Nobody may wait any longer.
                    let _ = waiting.send(body);
                }
            }
            ReceiveEvent::Link(LinkEvent::Asked { link, number, body }) => {
                let session = self.clone();
                tokio::spawn(async move {
                    let control = session.control.lock().clone();
                    let binding = control.filter(|(control, _)| *control == link);
                    let binding = binding.as_ref().map(|(_, binding)| binding);
                    let identity = &session.peer.identity;
                    let answer = session.door.answer(identity, binding, &body).await;
                    session.machine.lock().answer(link, number, &answer);
                    session.wake_links();
                });
            }
            _ => {}
        }
    }

    /// A large object, or one that may be here already.
    async fn offered(self: Arc<Self>, offer: OfferId, what: sealift_wire::Offer) {
        match self.begin(what.clone(), false).await {
            Ok(Begin::Known(receipt)) => {
                self.machine.lock().receipt(offer, *receipt);
                self.wake_links();
            }
            Ok(Begin::Upload(upload)) => self.accept(offer, &what, *upload).await,
            Ok(Begin::Conflict { name, stored }) => {
                self.refuse(offer, &conflict(&name, stored.as_ref()));
            }
            Err(refusal) => self.refuse(offer, &refusal),
        }
    }

    pub(crate) async fn begin(
        &self,
        what: sealift_wire::Offer,
        data_follows: bool,
    ) -> Result<Begin, Refusal> {
        self.door.admit(&self.peer.identity, &what)?;
        let offer = Offer {
            change: what.change,
            part_size: what.part_size,
            any_cut: self.any_cut.load(Ordering::Relaxed),
            checksum: what.checksum,
            session: self.peer.facts.clone(),
            origin: self.peer.identity.clone(),
            data_follows,
            reseals: None,
            written: None,
        };
        let begun = self.door.archive().begin(offer).await;
        begun.map_err(|error| Refusal::new(error.reason(), in_words(&error)))
    }

    async fn accept(&self, offer: OfferId, what: &sealift_wire::Offer, upload: Upload) {
        let Some(mut have) = Parts::none_of(what.bytes(), upload.part_size()) else {
            return;
        };
        match upload.kept_parts().await {
            Ok(kept) => kept.iter().for_each(|(part, crc64)| {
                have.insert(*part, *crc64);
            }),
            Err(error) => return self.fail(offer, &error),
        }
        // An earlier session's writers, if it is not noticed yet that it is gone, are fenced.
        let begun = upload.interrupt_all().await;
        let upload = Arc::new(upload);
        let mut taken = self.taken.lock();
        let free = self.door.archive().budget().free();
        let credit = credit(free, taken.len() + 1, upload.part_size());
        let mut machine = self.machine.lock();
        for (part, bytes) in begun {
            machine.kept(offer, part, Some(bytes));
        }
        if machine.accept(offer, have, credit) {
            taken.insert(offer, Taken { upload, credit });
        }
        drop((machine, taken));
        self.wake_links();
    }

    /// Finds out what is kept of a part that its link left, and lets its offer be answered.
    async fn settle(&self, offer: OfferId, part: PartIndex) {
        let kept = match self.upload(offer) {
            Some(upload) => upload.interrupt(part).await,
            None => None,
        };
        self.machine.lock().kept(offer, part, kept);
        self.wake_links();
    }

    /// Commits a large object, in a task of its own: to complete its file takes its time.
    fn commit(self: &Arc<Self>, offer: OfferId, upload: Upload, checksum: Checksum) {
        let session = self.clone();
        tokio::spawn(async move {
            session.commit_here(offer, upload, Some(checksum)).await;
        });
    }

    /// Completes an object and puts it into the next commit group, which is not waited for.
    pub(crate) async fn commit_here(
        &self,
        offer: OfferId,
        upload: Upload,
        checksum: Option<Checksum>,
    ) {
        let (archive, to) = (self.door.archive(), self.outcomes.clone());
        archive.commit_as(upload, checksum, offer.0, to).await;
    }

    /// Answers what a commit group had of this session, all at once.
    fn committed(&self, outcomes: Outcomes) {
        let mut failed = Vec::new();
        {
            let mut machine = self.machine.lock();
            for (offer, outcome) in outcomes {
                match outcome {
                    Ok(receipt) => drop(machine.receipt(OfferId(offer), receipt)),
                    Err(error) => failed.push((OfferId(offer), error)),
                }
            }
        }
        for (offer, error) in failed {
            self.fail(offer, &error);
        }
        self.wake_links();
    }
}

/// Takes what the archive says, until the session is gone.
async fn take_outcomes(
    session: Weak<Session>,
    door: Arc<Door>,
    mut outcomes: mpsc::UnboundedReceiver<Outcomes>,
) {
    while let Some(outcomes) = outcomes.recv().await {
        let stored = outcomes.iter().filter(|(_, outcome)| outcome.is_ok());
        door.count_stored(stored.count() as u64);
        if let Some(session) = session.upgrade() {
            session.committed(outcomes);
        }
    }
}

pub(crate) fn conflict(name: &sealift_terms::VersionName, stored: Option<&Checksum>) -> Refusal {
    let stored = stored.map_or_else(|| "none".to_owned(), Checksum::to_string);
    Refusal::new(
        Reason::ChecksumMismatch,
        format!("{name} is stored with checksum {stored}"),
    )
}
