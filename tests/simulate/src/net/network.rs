//! Both ways between two sites, and every connection there is.

use std::{fmt, io, sync::Arc, time::Duration};

use parking_lot::Mutex;
use tokio::{io::ReadBuf, sync::mpsc, time::Instant};

use super::pipe::{Pipe, Shared};
use crate::{chance::Chance, trace::Trace};
use sealift_tunnel::Connection;

/// 0 or 1.
pub(crate) type Site = usize;

/// How bytes get from a site to the other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Way {
    pub(crate) delay: Duration,
    /// What a piece may take longer.
    pub(crate) jitter: Duration,
    pub(crate) bytes_per_sec: u64,
    pub(crate) is_blocked: bool,
}

/// A network of two sites.
pub(crate) struct Network {
    state: Mutex<State>,
    chance: Chance,
    trace: Trace,
}

struct State {
    /// By where it comes from.
    ways: [Way; 2],
    listeners: [Option<mpsc::Sender<Connection>>; 2],
    is_off: [bool; 2],
    connections: Vec<Wire>,
}

/// A connection: the pipe from each site.
#[derive(Clone)]
pub(super) struct Wire {
    pub(super) from: [Shared; 2],
}

impl Network {
    pub(crate) fn new(way: &Way, chance: Chance, trace: Trace) -> Arc<Self> {
        let state = State {
            ways: [way.clone(), way.clone()],
            listeners: [None, None],
            is_off: [false, false],
            connections: Vec::new(),
        };
        Arc::new(Self {
            state: Mutex::new(state),
            chance,
            trace,
        })
    }

    pub(crate) fn set_way(&self, from: Site, way: Way) {
        self.trace.note(format_args!("way from {from}: {way:?}"));
        self.state.lock().ways[from] = way;
    }

    pub(crate) fn block(&self, from: Site) {
        self.trace.note(format_args!("way from {from} blocked"));
        self.state.lock().ways[from].is_blocked = true;
    }

    /// Opens a way again. What was held arrives, unless `gives_up`: then the
    /// systems at both ends have given up the connections that waited.
    pub(crate) fn open(&self, from: Site, gives_up: bool) {
        self.trace
            .note(format_args!("way from {from} open, gives up: {gives_up}"));
        let wires = {
            let mut state = self.state.lock();
            state.ways[from].is_blocked = false;
            state.connections.clone()
        };
        for wire in wires {
            let stuck = wire.from[from].lock().is_stuck();
            for pipe in &wire.from {
                let mut pipe = pipe.lock();
                match gives_up && stuck {
                    true => pipe.fail(io::ErrorKind::TimedOut),
                    false => pipe.wake(),
                }
            }
        }
    }

    pub(super) fn is_blocked(&self, from: Site) -> bool {
        self.state.lock().ways[from].is_blocked
    }

    /// A site's process or power is gone. `silently`, nobody is told.
    pub(crate) fn crash(&self, site: Site, silently: bool) {
        self.trace.note(format_args!(
            "{site} leaves the network, silently: {silently}"
        ));
        let wires = {
            let mut state = self.state.lock();
            state.listeners[site] = None;
            state.is_off[site] = silently;
            state.connections.clone()
        };
        for wire in wires {
            for pipe in &wire.from {
                let mut pipe = pipe.lock();
                match silently {
                    true => pipe.silence(),
                    false => pipe.fail(io::ErrorKind::ConnectionReset),
                }
            }
        }
    }

    /// A site is there again: whoever still writes to its old connections is told.
    pub(crate) fn come_back(&self, site: Site) {
        let wires = {
            let mut state = self.state.lock();
            state.is_off[site] = false;
            state.connections.clone()
        };
        for wire in wires {
            let mut pipe = wire.from[1 - site].lock();
            if pipe.is_silent {
                pipe.resets_on_write = true;
            }
        }
    }

    /// Ends one connection by chance.
    pub(crate) fn lose_one(&self, silently: bool) {
        let wires = self.live();
        if wires.is_empty() {
            return;
        }
        let wire = self.chance.pick(&wires);
        self.trace
            .note(format_args!("a connection is lost, silently: {silently}"));
        for pipe in &wire.from {
            let mut pipe = pipe.lock();
            match silently {
                true => pipe.silence(),
                false => pipe.fail(io::ErrorKind::ConnectionReset),
            }
        }
    }

    fn live(&self) -> Vec<Wire> {
        let mut state = self.state.lock();
        let is_over = |wire: &Wire| wire.from.iter().all(|pipe| pipe.lock().is_over());
        state.connections.retain(|wire| !is_over(wire));
        state.connections.clone()
    }

    pub(super) fn listen(&self, site: Site) -> mpsc::Receiver<Connection> {
        let (to, from) = mpsc::channel(16);
        self.state.lock().listeners[site] = Some(to);
        from
    }

    /// How a packet to the other site and back would fare now.
    pub(super) fn reach(&self, from: Site) -> Reach {
        let state = self.state.lock();
        let to = 1 - from;
        let trip = state.ways[from].delay + state.ways[to].delay;
        let is_lost = state.is_off[to] || state.ways.iter().any(|way| way.is_blocked);
        match (&state.listeners[to], is_lost) {
            (_, true) => Reach::Nobody,
            (None, false) => Reach::Refused(trip),
            (Some(listener), false) => Reach::Listener(trip, listener.clone()),
        }
    }

    pub(super) fn connect(&self, from: Site) -> Wire {
        let wire = Wire {
            from: [Pipe::new(0), Pipe::new(1)],
        };
        self.live();
        self.trace.note(format_args!("{from} connects"));
        self.state.lock().connections.push(wire.clone());
        wire
    }

    /// When `count` bytes that leave now behind those before them arrive.
    pub(super) fn arrival(&self, from: Site, last: Instant, count: usize) -> Instant {
        let way = self.state.lock().ways[from].clone();
        let jitter = u64::try_from(way.jitter.as_micros()).unwrap();
        let jitter = Duration::from_micros(self.chance.below(jitter + 1));
        let on_the_wire = Duration::from_secs(1).mul_f64(count as f64 / way.bytes_per_sec as f64);
        last.max(Instant::now() + way.delay + jitter) + on_the_wire
    }

    /// How much goes at once: mostly all, sometimes a little.
    pub(super) fn cut(&self, most: u64) -> usize {
        let most = match self.chance.below(16) {
            0 => self.chance.within(1..64),
            1 => self.chance.within(1..most),
            _ => most,
        };
        usize::try_from(most).unwrap()
    }

    pub(super) fn deliver(&self, pipe: &mut Pipe, to: &mut ReadBuf<'_>) {
        let before = to.filled().len();
        let most = self.cut(1 << 20);
        let from = pipe.from;
        pipe.take(most, to);
        let bytes = &to.filled()[before..];
        self.trace.note_bytes(
            format_args!("{} bytes from {from} arrive", bytes.len()),
            bytes,
        );
    }
}

/// See [`Network::reach`].
pub(super) enum Reach {
    Nobody,
    Refused(Duration),
    Listener(Duration, mpsc::Sender<Connection>),
}

impl fmt::Debug for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Network")
    }
}
