//! A disk with its power: what is on it, and how it comes to lose it.

use std::{collections::BTreeMap, fmt, io, path::Path, sync::Arc, time::Duration};

use parking_lot::Mutex;
use tokio::sync::Notify;

use super::{
    content::{Content, Survival},
    faults::DiskFaults,
    handle::SimDisk,
    names::{Names, NodeId},
};
use crate::{chance::Chance, salts::SaltBook, trace::Trace};

/// Why whatever uses a disk ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reason {
    /// What was not synced may be lost.
    PowerLoss,
    /// The process alone: the system still has what it was given.
    Killed,
}

/// What is told of a cut, at that moment.
type AtCut = Box<dyn Fn(Reason) + Send>;

/// The bytes and names of one site's disk.
pub(crate) struct Platter {
    pub(super) site: &'static str,
    pub(super) state: Mutex<State>,
    pub(super) chance: Chance,
    pub(super) trace: Trace,
    pub(super) salts: Arc<SaltBook>,
    /// Told when a countdown has cut the power.
    pub(crate) cut: Notify,
    /// Done at that moment, before anyone else runs.
    at_cut: Mutex<Option<AtCut>>,
}

pub(super) struct State {
    pub(super) names: Names,
    pub(super) nodes: BTreeMap<NodeId, Node>,
    /// Handles of an earlier power are dead.
    pub(super) power: u64,
    pub(super) is_on: bool,
    /// Calls until it is cut, and what that is like.
    countdown: Option<(u64, Reason)>,
    /// How it was cut last.
    pub(super) cut_by: Reason,
    pub(super) faults: DiskFaults,
}

#[derive(Debug)]
pub(super) enum Node {
    Directory,
    File(Content),
}

/// What a call is about, for the faults and the trace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Call {
    Read,
    Write,
    Sync,
    Name,
    Look,
}

impl Platter {
    /// What its files take up: a disk that is none.
    pub(crate) fn held_bytes(&self) -> usize {
        let state = self.state.lock();
        let held = |node: &Node| match node {
            Node::Directory => 0,
            Node::File(content) => content.held_bytes(),
        };
        state.nodes.values().map(held).sum()
    }

    pub(crate) fn new(
        site: &'static str,
        chance: Chance,
        trace: Trace,
        salts: Arc<SaltBook>,
    ) -> Arc<Self> {
        let state = State {
            names: Names::default(),
            nodes: BTreeMap::new(),
            power: 1,
            is_on: true,
            countdown: None,
            cut_by: Reason::PowerLoss,
            faults: DiskFaults::default(),
        };
        Arc::new(Self {
            site,
            state: Mutex::new(state),
            chance,
            trace,
            salts,
            cut: Notify::new(),
            at_cut: Mutex::new(None),
        })
    }

    /// The disk as a process of now uses it.
    pub(crate) fn disk(self: &Arc<Self>) -> Arc<SimDisk> {
        let power = self.state.lock().power;
        Arc::new(SimDisk {
            platter: self.clone(),
            power,
        })
    }

    pub(crate) fn at_cut(&self, act: impl Fn(Reason) + Send + 'static) {
        *self.at_cut.lock() = Some(Box::new(act));
    }

    /// Ends the process in the middle of whatever comes to be this call, or does not.
    pub(crate) fn cut_after(&self, calls: Option<(u64, Reason)>) {
        self.state.lock().countdown = calls;
    }

    /// Why the process was cut off last.
    pub(crate) fn cut_by(&self) -> Reason {
        self.state.lock().cut_by
    }

    pub(crate) fn set_faults(&self, faults: DiskFaults) {
        self.trace.note(format_args!("{} {faults:?}", self.site));
        self.state.lock().faults = faults;
    }

    /// Nothing that was opened before can be used from here on.
    pub(crate) fn turn_off(&self) {
        let mut state = self.state.lock();
        state.is_on = false;
        state.countdown = None;
    }

    /// Comes back after an end for this reason.
    pub(crate) fn turn_on(&self, reason: Reason) {
        let mut state = self.state.lock();
        let state = &mut *state;
        (state.power, state.is_on) = (state.power + 1, true);
        state.countdown = None;
        if reason == Reason::Killed {
            return;
        }
        let survival = Survival::draw(&self.chance);
        self.trace.note(format_args!(
            "{} kept of the unsynced: {survival:?}",
            self.site
        ));
        state.names.lose_power(survival, &self.chance);
        let named: Vec<NodeId> = state.names.now.values().copied().collect();
        state.nodes.retain(|id, _| named.contains(id));
        for node in state.nodes.values_mut() {
            if let Node::File(content) = node {
                content.lose_power(survival, &self.chance);
            }
        }
    }

    /// Every file as it is seen now.
    pub(crate) fn look_at_files(&self, mut look: impl FnMut(&Path, &[u8])) {
        let state = self.state.lock();
        for (path, id) in &state.names.now {
            if let Some(Node::File(content)) = state.nodes.get(id) {
                look(path, &content.now);
            }
        }
    }

    /// Begins a call: whether the power is there, and what goes wrong.
    pub(super) fn begin(
        &self,
        power: u64,
        call: Call,
    ) -> io::Result<parking_lot::MutexGuard<'_, State>> {
        let mut state = self.state.lock();
        if !state.is_on || state.power != power {
            return Err(io::Error::other("the power is off"));
        }
        if call != Call::Look
            && let Some((left, reason)) = state.countdown
        {
            if left == 0 {
                (state.is_on, state.countdown) = (false, None);
                state.cut_by = reason;
                drop(state);
                self.trace
                    .note(format_args!("{} {reason:?} in {call:?}", self.site));
                if let Some(act) = &*self.at_cut.lock() {
                    act(reason);
                }
                self.cut.notify_one();
                return Err(io::Error::other("the power went off"));
            }
            state.countdown = Some((left - 1, reason));
        }
        let faults = &state.faults;
        let one_in = match call {
            Call::Read => faults.reads,
            Call::Write => faults.writes,
            Call::Sync => faults.syncs,
            Call::Name => faults.names,
            Call::Look => None,
        };
        if let Some(count) = one_in
            && call != Call::Sync
            && self.chance.one_in(count)
        {
            return Err(io::Error::other(format!(
                "an injected failure of a {call:?}"
            )));
        }
        Ok(state)
    }

    /// How long a call that takes its time takes, until its effect and after.
    pub(super) fn pace(&self) -> (Duration, Duration) {
        let slow = self.state.lock().faults.slow;
        let most = 200 + u64::try_from(slow.as_micros()).unwrap_or(u64::MAX);
        let micros = || Duration::from_micros(self.chance.below(most));
        (micros(), micros())
    }
}

impl fmt::Debug for Platter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Platter({})", self.site)
    }
}
