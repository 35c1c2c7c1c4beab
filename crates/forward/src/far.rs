//! The side that has the targets: every stream becomes a connection to one.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::Arc,
    time::Duration,
};

use parking_lot::Mutex;
use sealift_terms::{
    ForwardName, Identity, Reason,
    limits::{FORWARD_CONNECT_TIME_MAX, FORWARD_HELD_TIME_MAX},
};
use sealift_wire::{
    FrameType, Refusal,
    forward::{self, Open, Position, Token},
};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, mpsc},
    time::{Instant, sleep_until, timeout},
};

use crate::{
    address::Address,
    application::Application,
    drive::drive,
    ended::{Ended, Lost},
    link::ForwardLink,
    running::{Refused, Running, World},
    state::Shared,
    tally::{Side, StreamCounts},
};

/// Links to go on over that were not looked at yet.
const RESUMES_MAX: usize = 2;

/// A service that peers reach through us.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// What it is called.
    pub name: ForwardName,
    /// Where it is.
    pub address: Address,
    /// Who may use it. Nobody else does.
    pub allow: BTreeSet<Identity>,
    /// Streams at once.
    pub streams_max: usize,
    /// A stream that carried nothing for so long is closed.
    pub idle: Duration,
}

/// All targets of an agent, and the streams to them.
pub struct Far {
    world: World,
    targets: Mutex<BTreeMap<ForwardName, Offered>>,
    streams: Mutex<BTreeMap<(Identity, Token), Handle>>,
    refused: Refused,
}

struct Handle {
    target: ForwardName,
    shared: Arc<Shared>,
    resumes: mpsc::Sender<(ForwardLink, Open)>,
}

impl Far {
    /// No targets yet.
    #[must_use]
    pub fn new(world: World) -> Self {
        Self {
            world,
            targets: Mutex::default(),
            streams: Mutex::default(),
            refused: Refused::default(),
        }
    }

    /// Offers these targets and no others. Streams to those that are gone, and of
    /// identities that may not use them any more, are closed.
    pub fn set_targets(&self, wanted: Vec<Target>) {
        let mut targets = self.targets.lock();
        let mut before = std::mem::take(&mut *targets);
        for target in wanted {
            self.world.tallies.of(Side::Target, &target.name);
            let slots = before
                .remove(&target.name)
                .filter(|(old, _)| old.streams_max == target.streams_max)
                .map(|(_, slots)| slots);
            let slots = slots.unwrap_or_else(|| Arc::new(Semaphore::new(target.streams_max)));
            targets.insert(target.name.clone(), (Arc::new(target), slots));
        }
        drop(targets);
        self.sweep(|_| true);
    }

    /// Ends the streams of peers that may not have them any more.
    pub fn sweep(&self, may_stay: impl Fn(&Identity) -> bool) {
        let targets = self.targets.lock();
        for ((identity, _), handle) in &*self.streams.lock() {
            let target = targets.get(&handle.target);
            let allowed = target.is_some_and(|(target, _)| target.allow.contains(identity));
            if !allowed || !may_stay(identity) {
                handle.shared.end(Ended::NotAllowed {
                    identity: identity.clone(),
                });
            }
        }
    }

    /// Ends every stream, with notice.
    pub fn end_all(&self) {
        for handle in self.streams.lock().values() {
            handle.shared.end(Ended::Stopping);
        }
    }

    /// Streams that are open.
    #[must_use]
    pub fn streams(&self) -> usize {
        self.streams.lock().len()
    }

    /// What was counted.
    #[must_use]
    pub fn counts(&self) -> Vec<StreamCounts> {
        self.world.tallies.counts(Side::Target)
    }

    /// Serves one link whose other end opens a stream on it, within `patience`. `taken`
    /// is called once it does; whoever keeps links waiting makes another then. Returns
    /// when the stream has ended, or goes on elsewhere.
    pub async fn serve(
        self: Arc<Self>,
        link: ForwardLink,
        patience: Duration,
        taken: impl FnOnce() + Send + 'static,
    ) {
        let world = self.world.clone();
        world.run(self.served(link, patience, taken)).await;
    }

    async fn served(
        self: Arc<Self>,
        mut link: ForwardLink,
        patience: Duration,
        taken: impl FnOnce() + Send,
    ) {
        if link.drive_here().is_err() {
            return; // It is as good as lost.
        }
        let Ok((header, payload)) = link.first(patience).await else {
            return; // Nothing was begun.
        };
        taken();
        if header.frame != FrameType::Open {
            let evidence = format!("{} came where OPEN was awaited", header.frame);
            let refusal = Refusal::new(Reason::PeerProtocolMismatch, evidence);
            return self.refuse(link, None, refusal).await;
        }
        match forward::read_open(&payload) {
            Ok(open) if open.is_new => self.begin(link, open).await,
            Ok(open) => self.go_on(link, open).await,
            Err(error) => {
                let refusal = Refusal::new(error.reason(), error.to_string());
                self.refuse(link, None, refusal).await;
            }
        }
    }

    /// A target that is there, for who may use it.
    fn target(&self, identity: &Identity, open: &Open) -> Result<Offered, Refusal> {
        let targets = self.targets.lock();
        // One that is not there and one that is not allowed look the same from outside.
        let allowed = targets
            .get(&open.target)
            .filter(|(target, _)| target.allow.contains(identity));
        let Some((target, slots)) = allowed.cloned() else {
            let evidence = format!("no target {} allows {identity}", open.target);
            return Err(Refusal::new(Reason::PolicyDenied, evidence));
        };
        Ok((target, slots))
    }

    async fn begin(self: Arc<Self>, link: ForwardLink, open: Open) {
        let identity = link.peer().clone();
        let connected = self.connect(&identity, &open).await;
        match connected.and_then(|connected| connected.begin(&self.world, &link)) {
            Err(refusal) => self.refuse(link, Some(&open), refusal).await,
            Ok(begun) => self.run(link, open, begun).await,
        }
    }

    async fn connect(&self, identity: &Identity, open: &Open) -> Result<Connected, Refusal> {
        let (target, slots) = self.target(identity, open)?;
        let too_many = |what: &str| Refusal::new(Reason::DstQuotaExceeded, what);
        let slot = self
            .world
            .slot(&slots)
            .ok_or_else(|| too_many("too many streams are open"))?;
        let tally = self.world.tallies.of(Side::Target, &target.name);
        let clock = self.world.clock.clone();
        let shared = Shared::new(&self.world.memory, clock, tally, target.idle)
            .ok_or_else(|| too_many("the memory for streams is used up"))?;
        let unreachable = |what: String| {
            let evidence = format!("target {}: {what}", target.name);
            Refusal::new(Reason::PeerUnreachable, evidence)
        };
        let connected = timeout(FORWARD_CONNECT_TIME_MAX, target.address.connect()).await;
        let application = connected
            .map_err(|_late| unreachable("it does not answer".to_owned()))?
            .map_err(|error| unreachable(error.to_string()))?;
        shared
            .attach(open.position)
            .map_err(|error| Refusal::new(error.reason(), error.to_string()))?;
        Ok(Connected {
            target,
            shared: Arc::new(shared),
            application,
            slot,
        })
    }

    async fn refuse(&self, mut link: ForwardLink, open: Option<&Open>, refusal: Refusal) {
        let known = open.filter(|open| self.targets.lock().contains_key(&open.target));
        if let Some(open) = known {
            let tally = self.world.tallies.of(Side::Target, &open.target);
            let evidence = refusal.evidence.as_str();
            tally.refuse(Side::Target, &open.target, refusal.reason, evidence);
        }
        let mut details = vec![("evidence", refusal.evidence.to_string())];
        details.extend(open.map(|open| ("forward", open.target.to_string())));
        let reason = refusal.reason;
        self.refused
            .record(&self.world, link.peer(), reason, &details);
        let mut frame = Vec::new();
        forward::refuse(&refusal, &mut frame);
        if link.say(&frame).await.is_ok() {
            link.part().await;
        }
    }

    /// Hands the link to the stream that goes on over it.
    async fn go_on(self: Arc<Self>, link: ForwardLink, open: Open) {
        let known = {
            let streams = self.streams.lock();
            let handle = streams.get(&(link.peer().clone(), open.token));
            let handle = handle.filter(|handle| handle.target == open.target);
            handle.map(|handle| handle.resumes.clone())
        };
        let refusal = Refusal::new(Reason::PeerProtocolMismatch, "no such stream is open");
        match known {
            None => self.refuse(link, Some(&open), refusal).await,
            // One that moves faster than it can be followed is lost, and tries again.
            Some(resumes) => drop(resumes.try_send((link, open))),
        }
    }

    async fn run(self: Arc<Self>, mut link: ForwardLink, open: Open, begun: Begun) {
        let Begun {
            running,
            handle,
            waits,
        } = begun;
        let key = (link.peer().clone(), open.token);
        let is_taken = match self.streams.lock().entry(key.clone()) {
            std::collections::btree_map::Entry::Occupied(_) => true,
            std::collections::btree_map::Entry::Vacant(place) => {
                place.insert(handle);
                false
            }
        };
        if is_taken {
            let what = "the stream is open already";
            running.end(&Ended::Removed);
            let refusal = Refusal::new(Reason::PeerProtocolMismatch, what);
            return self.refuse(link, Some(&open), refusal).await;
        }
        let _known = Known { far: self, key };
        let mut one = One { running, waits };
        let position = one.running.shared.position();
        let said = say_opened(&mut link, position).await;
        let ended = one.carry(link, said).await;
        one.running.end(&ended);
    }
}

impl fmt::Debug for Far {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Far")
            .field("streams", &self.streams())
            .finish_non_exhaustive()
    }
}

/// A target, and the places for its streams.
type Offered = (Arc<Target>, Arc<Semaphore>);

/// A target that was connected to.
struct Connected {
    target: Arc<Target>,
    shared: Arc<Shared>,
    application: Application,
    slot: [OwnedSemaphorePermit; 2],
}

impl Connected {
    fn begin(self, world: &World, link: &ForwardLink) -> Result<Begun, Refusal> {
        let Self {
            target,
            shared,
            application,
            slot,
        } = self;
        let what = (Side::Target, &target.name);
        let running = Running::begin(world, what, shared.clone(), application, link, slot);
        let running = running
            .map_err(|(_, error)| Refusal::new(Reason::AuditUnavailable, error.to_string()))?;
        let (resumes, waits) = mpsc::channel(RESUMES_MAX);
        let handle = Handle {
            target: target.name.clone(),
            shared,
            resumes,
        };
        Ok(Begun {
            running,
            handle,
            waits,
        })
    }
}

struct Begun {
    running: Running,
    handle: Handle,
    waits: mpsc::Receiver<(ForwardLink, Open)>,
}

/// A stream that can be found under its token until this is dropped.
struct Known {
    far: Arc<Far>,
    key: (Identity, Token),
}

impl Drop for Known {
    fn drop(&mut self) {
        self.far.streams.lock().remove(&self.key);
    }
}

/// One stream.
struct One {
    running: Running,
    waits: mpsc::Receiver<(ForwardLink, Open)>,
}

impl One {
    /// Carries the stream over one link after the other, until it ends.
    async fn carry(&mut self, mut link: ForwardLink, mut begun: Result<(), Lost>) -> Ended {
        loop {
            let shared = self.running.shared.clone();
            let application: &mut Application = &mut self.running.application;
            let next = match begun {
                Err(lost) => Err(lost),
                Ok(()) => tokio::select! {
                    end = drive(application, &mut link, &shared) => match end {
                        Ok(()) => {
                            link.part().await;
                            return Ended::InOrder;
                        }
                        Err(lost) => Err(lost),
                    },
                    Some(fresh) = self.waits.recv() => Ok(fresh),
                },
            };
            let (fresh, open) = match next {
                Ok(fresh) => fresh,
                Err(lost) => match self.running.ended_by(lost).await {
                    Ok(ended) => {
                        link.part().await;
                        return ended;
                    }
                    Err(lost) => {
                        // Let go of, so that the other end does not wait for it.
                        drop(link);
                        match self.await_link(lost).await {
                            Ok(fresh) => fresh,
                            Err(ended) => return ended,
                        }
                    }
                },
            };
            link = fresh;
            if let Err(error) = shared.attach(open.position) {
                return Ended::Misbehaved(error);
            }
            self.running.moved();
            begun = say_opened(&mut link, shared.position()).await;
        }
    }

    /// Waits for a link to go on over, as long as a stream is kept.
    async fn await_link(&mut self, lost: Lost) -> Result<(ForwardLink, Open), Ended> {
        let deadline = Instant::now() + FORWARD_HELD_TIME_MAX;
        let shared = self.running.shared.clone();
        loop {
            if let Some(ended) = shared.ending() {
                return Err(ended);
            }
            tokio::select! {
                Some(fresh) = self.waits.recv() => return Ok(fresh),
                () = shared.news.notified() => {}
                () = sleep_until(deadline) => {
                    let (reason, evidence) = lost.seen();
                    return Err(match shared.is_done() {
                        true => Ended::InOrder,
                        false => Ended::NotResumed { reason, evidence },
                    });
                }
            }
        }
    }
}

async fn say_opened(link: &mut ForwardLink, position: Position) -> Result<(), Lost> {
    let mut frame = Vec::new();
    forward::opened(position, &mut frame);
    link.say(&frame).await.map_err(Lost::Link)
}
