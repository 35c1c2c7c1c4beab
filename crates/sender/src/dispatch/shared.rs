//! What the tasks of one session share.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
};

use parking_lot::Mutex;
use sealift_ledger::{Settlement, Transfer};
use sealift_terms::{PartSize, RuleName, TransferId};
use sealift_tunnel::{Binding, Pace};
use sealift_wire::{Close, Cuts, LinkId, OfferId, Refusal, SendEvent, SendSession};
use tokio::sync::{Notify, Semaphore, mpsc, oneshot};

use super::{
    departing::Departing,
    moving::Life,
    outcome::Judge,
    prepare::{Prepared, Room},
    rollback::Memory,
    sending::Sending,
};
use crate::{Current, SenderError, dispatch::Settings, line, press::Press};

/// Transfers that are leased and not settled, for one peer.
pub(super) const WINDOW_TRANSFERS: usize = 2048;

/// Objects read at once only to compare them with a receipt.
const COMPARED_AT_ONCE_MAX: usize = 2;

/// Versions at once that the peer lacks and are looked for in journal and source.
const LOOKED_FOR_AT_ONCE_MAX: usize = 4;

/// Questions to the peer that wait for their answer.
const QUESTIONS_MAX: usize = 64;

/// Lock order: `offers`, `questions`, `machine`, `draining`; no other is held with one.
pub(super) struct Shared {
    pub(super) settings: Arc<Settings>,
    /// The limit of all links together.
    pub(super) pace: Arc<Pace>,
    pub(super) press: Arc<Press>,
    /// How objects may be cut for the peer, if it minds at all.
    cuts: Option<Cuts>,
    /// Whether the peer takes purges.
    takes_purges: bool,
    pub(super) machine: Mutex<SendSession>,
    pub(super) offers: Mutex<HashMap<OfferId, Arc<Sending>>>,
    links: Mutex<BTreeMap<LinkId, Arc<LinkSignals>>>,
    /// Not bounded itself: each offer has a handful of events at most, each link a
    /// bounded number of questions and one wish to drain, and all of these are bounded.
    events: mpsc::UnboundedSender<SendEvent>,
    /// As `events`: at most one for each leased transfer.
    settle: mpsc::UnboundedSender<Settlement>,
    leases: Mutex<Leases>,
    /// Settlements that are not in the journal yet.
    unwritten: AtomicUsize,
    pub(super) room_again: Notify,
    /// Held by those who read an object only to compare it.
    pub(super) reading: Semaphore,
    /// Held by those who look for a version that the peer lacks.
    pub(super) looking: Semaphore,
    /// What objects take up while they are sent.
    pub(super) room: Room,
    pub(super) bytes_written: AtomicU64,
    pub(super) parts_resumed: AtomicU64,
    /// Links on which nothing new begins, and whether their last frame is queued.
    draining: Mutex<BTreeMap<LinkId, bool>>,
    /// Its links are being closed for good.
    pub(super) is_closing: AtomicBool,
    /// When each link is to be left.
    pub(super) lives: Mutex<BTreeMap<LinkId, Life>>,
    questions: Mutex<HashMap<u64, oneshot::Sender<Vec<u8>>>>,
    /// The control link, and what keys that go over it are bound to, if they may.
    pub(super) control: Mutex<Option<(LinkId, Binding)>>,
    /// What is remembered of the peer. Held while it is written down.
    pub(super) memory: tokio::sync::Mutex<Memory>,
    failed: Mutex<Option<SenderError>>,
    pub(super) over: Notify,
}

/// Transfers that are ours, until their outcome is written down.
#[derive(Debug, Default)]
struct Leases {
    open: HashSet<TransferId>,
    /// The session is over: what is leased later is nobody's.
    ended: bool,
}

/// How a link's task is called.
#[derive(Debug, Default)]
pub(super) struct LinkSignals {
    /// There may be something to write.
    pub(super) wake: Notify,
    /// It is to end.
    pub(super) end: Notify,
}

impl Shared {
    pub(super) fn new(
        settings: Arc<Settings>,
        (pace, press): (Arc<Pace>, Arc<Press>),
        (cuts, takes_purges): (Option<Cuts>, bool),
        memory: Memory,
        machine: SendSession,
        events: mpsc::UnboundedSender<SendEvent>,
        settle: mpsc::UnboundedSender<Settlement>,
    ) -> Self {
        let room = Room::new(settings.memory_bytes);
        Self {
            settings,
            pace,
            press,
            cuts,
            takes_purges,
            room,
            machine: Mutex::new(machine),
            offers: Mutex::default(),
            links: Mutex::default(),
            events,
            settle,
            leases: Mutex::default(),
            unwritten: AtomicUsize::new(0),
            room_again: Notify::new(),
            reading: Semaphore::new(COMPARED_AT_ONCE_MAX),
            looking: Semaphore::new(LOOKED_FOR_AT_ONCE_MAX),
            bytes_written: AtomicU64::new(0),
            parts_resumed: AtomicU64::new(0),
            draining: Mutex::default(),
            control: Mutex::default(),
            is_closing: AtomicBool::new(false),
            lives: Mutex::default(),
            questions: Mutex::default(),
            memory: tokio::sync::Mutex::new(memory),
            failed: Mutex::new(None),
            over: Notify::new(),
        }
    }

    /// What transfers are held against that are offered now.
    pub(super) fn departing(&self) -> Departing {
        Departing {
            rules: self.settings.rules.borrow().clone(),
            journal: self.settings.journal.clone(),
            takes_purges: self.takes_purges,
        }
    }

    /// The part size for an object of `size` bytes that is offered now: small enough that all
    /// links have some of it, and what the line moves in a few seconds.
    pub(super) fn cut_of(&self, size: u64) -> PartSize {
        // One of them is the control link.
        let links = self.links.lock().len().saturating_sub(1);
        self.cut()
            .min(self.near_cut(line::spread(size, links, self.settings.part_size)))
    }

    /// The part size for the largest objects now: what the line moves in a few seconds, for a
    /// peer that goes on with an upload in the cut that it began with.
    pub(super) fn cut(&self) -> PartSize {
        let rates = [self.press.carries(), self.pace.rate()];
        let rate = rates.into_iter().flatten().min();
        self.near_cut(line::cut(rate, self.settings.part_size))
    }

    /// What is nearest to that of the cuts that the peer takes.
    fn near_cut(&self, cut: PartSize) -> PartSize {
        let wanted = self.settings.part_size;
        let nearest = self.cuts.map(|cuts| cuts.nearest(cut));
        nearest.flatten().unwrap_or(wanted)
    }

    /// Offers what was prepared.
    pub(super) fn offer(&self, prepared: Vec<Prepared>) {
        let mut too_large = Vec::new();
        {
            let mut offers = self.offers.lock();
            let mut machine = self.machine.lock();
            for Prepared {
                sending,
                offer,
                how,
            } in prepared
            {
                match machine.offer(offer, how) {
                    Some(id) => drop(offers.insert(id, Arc::new(sending))),
                    None => too_large.push(sending),
                }
            }
        }
        for sending in too_large {
            let reason = sealift_terms::Reason::DstObjectTooLarge;
            let refusal = Refusal::new(reason, "more parts than an object may have");
            self.not_done(&sending.transfer, &refusal);
        }
        self.wake_links();
    }

    pub(super) fn sending(&self, offer: OfferId) -> Option<Arc<Sending>> {
        self.offers.lock().get(&offer).cloned()
    }

    /// Withdraws an offer, and settles its transfer.
    pub(super) fn withdraw(&self, offer: OfferId, refusal: &Refusal) {
        self.withdraw_if(offer, refusal, |_| true);
    }

    /// As [`withdraw`](Self::withdraw), if the peer still has no part in it: a link may have begun
    /// it while its rules were looked at, and what the peer has is settled by its answer.
    pub(super) fn take_back(&self, offer: OfferId, refusal: &Refusal) {
        self.withdraw_if(offer, refusal, |machine| machine.can_be_withdrawn(offer));
    }

    fn withdraw_if(
        &self,
        offer: OfferId,
        refusal: &Refusal,
        may_go: impl FnOnce(&SendSession) -> bool,
    ) {
        let sending = {
            let mut offers = self.offers.lock();
            let mut machine = self.machine.lock();
            if !may_go(&machine) {
                return;
            }
            let Some(sending) = offers.remove(&offer) else {
                return;
            };
            machine.cancel(offer, refusal);
            sending
        };
        self.not_done(&sending.transfer, refusal);
        self.wake_links();
    }

    /// Settles a transfer that was not done.
    pub(super) fn not_done(&self, transfer: &Transfer, refusal: &Refusal) {
        let Refusal {
            reason,
            evidence,
            retry_after,
        } = refusal;
        let judge = self.judge();
        self.settle(judge.not_done(transfer, *reason, evidence.to_string(), *retry_after));
    }

    pub(super) fn judge(&self) -> Judge<'_> {
        Judge {
            clock: &*self.settings.clock,
            rng: &*self.settings.rng,
        }
    }

    pub(super) fn settle(&self, settlement: Settlement) {
        self.unwritten.fetch_add(1, Ordering::SeqCst);
        if self.settle.send(settlement).is_err() {
            // The session is over: the lease is released with it.
            self.unwritten.fetch_sub(1, Ordering::SeqCst);
        }
    }

    /// Notes transfers that are ours now. False when the session has ended: they are not.
    pub(super) fn leased(&self, transfers: &[Transfer]) -> bool {
        let mut leases = self.leases.lock();
        if !leases.ended {
            let ids = transfers.iter().map(|transfer| transfer.id);
            leases.open.extend(ids);
        }
        !leases.ended
    }

    /// Notes what is written down.
    pub(super) fn settled(&self, ids: &[TransferId]) {
        self.unwritten.fetch_sub(ids.len(), Ordering::SeqCst);
        self.given_back(ids);
    }

    /// Notes transfers that are no longer ours.
    pub(super) fn given_back(&self, ids: &[TransferId]) {
        let mut leases = self.leases.lock();
        for id in ids {
            leases.open.remove(id);
        }
        drop(leases);
        self.room_again.notify_waiters();
    }

    /// Waits until everything settled is in the journal, or cannot be.
    pub(super) async fn written_down(&self) {
        while self.unwritten.load(Ordering::SeqCst) > 0 && self.failed.lock().is_none() {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    }

    /// Ends the leasing; the transfers whose outcome is not written down.
    pub(super) fn end_leases(&self) -> Vec<TransferId> {
        let mut leases = self.leases.lock();
        leases.ended = true;
        leases.open.iter().copied().collect()
    }

    pub(super) fn under_way(&self) -> usize {
        self.leases.lock().open.len()
    }

    pub(super) fn join(&self, link: LinkId) -> Arc<LinkSignals> {
        let signals = Arc::new(LinkSignals::default());
        self.links.lock().insert(link, signals.clone());
        signals
    }

    /// Takes a link out.
    pub(super) fn leave(&self, link: LinkId) {
        self.machine.lock().lost(link);
        self.draining.lock().remove(&link);
        self.lives.lock().remove(&link);
        self.control.lock().take_if(|(control, _)| *control == link);
        self.links.lock().remove(&link);
        self.wake_links();
    }

    pub(super) fn wake_links(&self) {
        for signals in self.links.lock().values() {
            signals.wake.notify_one();
        }
    }

    pub(super) fn end_link(&self, link: LinkId) {
        if let Some(signals) = self.links.lock().get(&link) {
            signals.end.notify_one();
        }
    }

    /// Lets a link end when nothing is under way on it any more.
    pub(super) fn draining(&self, link: LinkId) {
        self.draining.lock().entry(link).or_insert(false);
    }

    /// Whether the peer wants nothing new on the control link: the session is to end.
    pub(super) fn is_asked_to_end(&self) -> bool {
        self.draining.lock().contains_key(&LinkId(0))
    }

    /// Closes the drained links on which nothing is under way.
    pub(super) fn close_drained(&self) {
        if self.is_asked_to_end() {
            // All of them are closed together.
            return;
        }
        let mut ended = Vec::new();
        let mut machine = self.machine.lock();
        for (link, is_closed) in self.draining.lock().iter_mut() {
            if machine.is_busy(*link) {
                continue;
            }
            if std::mem::replace(is_closed, true) {
                ended.push(*link);
            } else {
                machine.close(
                    *link,
                    &Close {
                        reason: None,
                        evidence: Default::default(),
                    },
                );
            }
        }
        drop(machine);
        ended.into_iter().for_each(|link| self.end_link(link));
    }

    /// Asks the peer something, on the control link or whichever is there.
    pub(super) fn ask(&self, question: &[u8]) -> Option<oneshot::Receiver<Vec<u8>>> {
        let link = *self.links.lock().keys().next()?;
        self.ask_on(link, question)
    }

    /// Asks on this link and no other.
    pub(super) fn ask_on(
        &self,
        link: LinkId,
        question: &[u8],
    ) -> Option<oneshot::Receiver<Vec<u8>>> {
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

    pub(super) fn answered(&self, number: u64, body: Vec<u8>) {
        if let Some(waiting) = self.questions.lock().remove(&number) {
            // Nobody may wait any longer.
            let _ = waiting.send(body);
        }
    }

    pub(super) fn link_ids(&self) -> Vec<LinkId> {
        self.links.lock().keys().copied().collect()
    }

    /// Hands the machine's events on.
    pub(super) fn hand_on_events(&self) {
        let mut machine = self.machine.lock();
        let mut any = false;
        while let Some(event) = machine.next_event() {
            any = true;
            let _ = self.events.send(event);
        }
        drop(machine);
        if any {
            self.wake_links();
        }
    }

    /// Ends the session for a reason; the first reason counts.
    pub(super) fn fail(&self, error: SenderError) {
        self.failed.lock().get_or_insert(error);
        self.over.notify_one();
    }

    pub(super) fn take_failure(&self) -> Option<SenderError> {
        self.failed.lock().take()
    }

    /// Bytes that the peer has of objects of this rule which are on their way.
    pub(super) fn stored_of(&self, rule: &RuleName) -> u64 {
        let offers = self.offers.lock();
        let of_rule = offers.values().filter(|one| one.transfer.rule == *rule);
        of_rule.map(|one| one.stored.load(Ordering::Relaxed)).sum()
    }

    /// Bytes that the peer has of this transfer, if it is on its way.
    pub(super) fn stored_of_transfer(&self, id: TransferId) -> Option<u64> {
        let offers = self.offers.lock();
        let sending = offers.values().find(|one| one.transfer.id == id);
        let stored = sending.map(|one| one.stored.load(Ordering::Relaxed));
        drop(offers);
        stored.or_else(|| self.leases.lock().open.contains(&id).then_some(0))
    }

    /// The largest objects on their way.
    pub(super) fn current(&self, limit: usize) -> Vec<Current> {
        let offers = self.offers.lock();
        let mut all: Vec<&Arc<Sending>> = offers.values().collect();
        all.sort_by_key(|sending| std::cmp::Reverse(sending.transfer.change.facts.size));
        let current = all.into_iter().take(limit).map(|sending| {
            let change = &sending.transfer.change;
            Current {
                rule: sending.transfer.rule.clone(),
                bucket: change.name.bucket.clone(),
                key: change.name.key.clone(),
                size: change.facts.size,
                stored: sending.stored.load(Ordering::Relaxed),
            }
        });
        current.collect()
    }
}
