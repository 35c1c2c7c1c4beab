//! The side that listens: every connection of an application becomes a stream.

use std::{collections::BTreeMap, fmt, io, sync::Arc, time::Duration};

use parking_lot::Mutex;
use sealift_terms::{ForwardName, Identity, PeerName, Reason};
use sealift_wire::forward::Token;
use tokio::{sync::Semaphore, task::JoinHandle, time::sleep};

use crate::{
    address::{Address, Listening},
    application::Accepted,
    ended::Ended,
    link::{Links, NoLink},
    opening::One,
    running::World,
    state::Shared,
    tally::{Side, StreamCounts},
};

/// A wait after an error of the listening socket.
const PAUSE_AFTER_ERROR: Duration = Duration::from_millis(100);

/// A service of a peer's that is reached here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Forward {
    /// What it is called here.
    pub name: ForwardName,
    /// What its target is called there.
    pub target: ForwardName,
    /// Where applications connect.
    pub listen: Address,
    /// The permissions of a Unix socket.
    pub mode: u32,
    /// The peer.
    pub peer: PeerName,
    /// Who the peer is.
    pub identity: Identity,
    /// Streams at once.
    pub streams_max: usize,
    /// A stream that carried nothing for so long is closed.
    pub idle: Duration,
}

/// All forwards of an agent, and their streams.
pub struct Near {
    pub(crate) world: World,
    pub(crate) links: Arc<dyn Links>,
    open: Mutex<BTreeMap<Address, Door>>,
    streams: Mutex<BTreeMap<Token, Handle>>,
}

/// A listening forward.
struct Door {
    forward: Arc<Served>,
    task: JoinHandle<()>,
}

impl Drop for Door {
    fn drop(&mut self) {
        self.task.abort();
    }
}

struct Served {
    current: Mutex<(Forward, Arc<Semaphore>)>,
}

struct Handle {
    forward: Forward,
    shared: Arc<Shared>,
}

/// Forwards that can be put in force: their sockets are open.
#[derive(Debug)]
pub struct Ready(Vec<(Forward, Option<Listening>)>);

impl Near {
    /// No forwards yet. `links` makes the links to peers.
    #[must_use]
    pub fn new(world: World, links: Arc<dyn Links>) -> Self {
        Self {
            world,
            links,
            open: Mutex::default(),
            streams: Mutex::default(),
        }
    }

    /// Opens the sockets that `wanted` needs and that are not open yet. Nothing changes
    /// before they are [put in force](Self::put_in_force).
    ///
    /// # Errors
    /// The address that cannot be listened on, and what the system says.
    pub async fn prepare(&self, wanted: &[Forward]) -> Result<Ready, (Address, io::Error)> {
        let mut ready = Vec::new();
        for forward in wanted {
            let is_open = self.open.lock().contains_key(&forward.listen);
            let socket = match is_open {
                true => None,
                false => {
                    let opened = forward.listen.listen(forward.mode).await;
                    Some(opened.map_err(|error| (forward.listen.clone(), error))?)
                }
            };
            ready.push((forward.clone(), socket));
        }
        Ok(Ready(ready))
    }

    /// Serves these forwards and no others. Streams of those that are gone, or lead
    /// elsewhere now, are closed.
    pub fn put_in_force(self: &Arc<Self>, Ready(ready): Ready) {
        let mut open = self.open.lock();
        open.retain(|address, _| ready.iter().any(|(forward, _)| forward.listen == *address));
        for (forward, socket) in &ready {
            // It stands in status from the beginning.
            self.world.tallies.of(Side::Forward, &forward.name);
            if let (None, Some(door)) = (socket, open.get(&forward.listen)) {
                door.forward.change(forward);
            }
        }
        let kept: Vec<_> = ready.iter().map(|(forward, _)| forward.clone()).collect();
        for (forward, socket) in ready {
            let Some(socket) = socket else { continue };
            let address = forward.listen.clone();
            let served = Arc::new(Served::new(forward));
            let task = self.world.spawn(self.clone().serve(socket, served.clone()));
            open.insert(
                address,
                Door {
                    forward: served,
                    task,
                },
            );
        }
        drop(open);
        let leads_there = |forward: &Forward| {
            let same = |kept: &Forward| {
                (&kept.name, &kept.target, &kept.identity)
                    == (&forward.name, &forward.target, &forward.identity)
            };
            kept.iter().any(same)
        };
        self.end_where(|handle| (!leads_there(&handle.forward)).then_some(Ended::Removed));
    }

    /// Closes every socket; streams go on.
    pub fn close(&self) {
        self.open.lock().clear();
    }

    /// Ends every stream, with notice.
    pub fn end_all(&self) {
        self.end_where(|_| Some(Ended::Stopping));
    }

    /// Ends the streams to peers that are not to be spoken with any more.
    pub fn sweep(&self, may_stay: impl Fn(&Identity) -> bool) {
        self.end_where(|handle| {
            let identity = handle.forward.identity.clone();
            (!may_stay(&identity)).then_some(Ended::NotAllowed { identity })
        });
    }

    fn end_where(&self, why: impl Fn(&Handle) -> Option<Ended>) {
        for handle in self.streams.lock().values() {
            if let Some(ended) = why(handle) {
                handle.shared.end(ended);
            }
        }
    }

    pub(crate) fn know(&self, token: Token, forward: &Forward, shared: &Arc<Shared>) {
        let handle = Handle {
            forward: forward.clone(),
            shared: shared.clone(),
        };
        self.streams.lock().insert(token, handle);
    }

    pub(crate) fn forget(&self, token: &Token) {
        self.streams.lock().remove(token);
    }

    /// Streams that are open.
    #[must_use]
    pub fn streams(&self) -> usize {
        self.streams.lock().len()
    }

    /// What was counted.
    #[must_use]
    pub fn counts(&self) -> Vec<StreamCounts> {
        self.world.tallies.counts(Side::Forward)
    }

    async fn serve(self: Arc<Self>, socket: Listening, served: Arc<Served>) {
        loop {
            match socket.accept().await {
                Ok(accepted) => self.clone().take(accepted, &served),
                Err(error) => {
                    tracing::warn!(%error, "a forward's socket failed, trying again");
                    sleep(PAUSE_AFTER_ERROR).await;
                }
            }
        }
    }

    /// One connection of an application's.
    fn take(self: Arc<Self>, accepted: Accepted, served: &Served) {
        let (forward, slots) = served.current.lock().clone();
        let tally = self.world.tallies.of(Side::Forward, &forward.name);
        let Some(slot) = self.world.slot(&slots) else {
            let (reason, evidence) = (Reason::DstQuotaExceeded, "too many streams are open");
            tally.refuse(Side::Forward, &forward.name, reason, evidence);
            return accepted.reset();
        };
        let clock = self.world.clock.clone();
        let Some(shared) = Shared::new(&self.world.memory, clock, tally.clone(), forward.idle)
        else {
            let (reason, evidence) = (
                Reason::DstQuotaExceeded,
                "the memory for streams is used up",
            );
            tally.refuse(Side::Forward, &forward.name, reason, evidence);
            return accepted.reset();
        };
        let shared = Arc::new(shared);
        let world = self.world.clone();
        world.spawn(async move {
            let application = match accepted.drive_here() {
                Ok(application) => application,
                Err(error) => return tracing::warn!(%error, "a connection was lost as it came"),
            };
            let stream = One::new(self, forward, shared.clone());
            let begun = stream.begin(application, slot).await;
            match begun {
                Ok((running, link)) => stream.run(running, link).await,
                Err((application, NoLink { reason, evidence })) => {
                    tally.refuse(Side::Forward, &stream.forward.name, reason, &evidence);
                    application.reset();
                }
            }
        });
    }
}

impl fmt::Debug for Near {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Near")
            .field("streams", &self.streams())
            .finish_non_exhaustive()
    }
}

impl Served {
    fn new(forward: Forward) -> Self {
        let slots = Arc::new(Semaphore::new(forward.streams_max));
        Self {
            current: Mutex::new((forward, slots)),
        }
    }

    /// With another limit streams are counted anew.
    fn change(&self, forward: &Forward) {
        let mut current = self.current.lock();
        if current.0.streams_max != forward.streams_max {
            current.1 = Arc::new(Semaphore::new(forward.streams_max));
        }
        current.0 = forward.clone();
    }
}
