//! What is counted of each forward and each target.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
};

use parking_lot::Mutex;
use sealift_terms::{ForwardName, Reason};

use crate::ended::Ended;

/// Which end of a stream this agent is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Side {
    /// The one where the forward listens.
    Forward,
    /// The one that has the target.
    Target,
}

impl Side {
    /// The word for metrics and records.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Forward => "forward",
            Self::Target => "target",
        }
    }
}

/// What was counted of one forward or target since the agent started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamCounts {
    /// Its name.
    pub name: ForwardName,
    /// Which of the two it is.
    pub side: Side,
    /// Streams that are open.
    pub open: usize,
    /// Streams that were opened.
    pub opened: u64,
    /// Bytes of applications that went to the peer.
    pub bytes_out: u64,
    /// Bytes of the peer's that went to applications.
    pub bytes_in: u64,
    /// How often a stream went on over another connection.
    pub moves: u64,
    /// Streams that were closed, by how.
    pub ended: BTreeMap<&'static str, u64>,
    /// Streams that were closed although no application had ended them.
    pub dropped: u64,
    /// Streams that were refused, by reason code.
    pub refused: BTreeMap<Reason, u64>,
}

#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) open: AtomicUsize,
    pub(crate) opened: AtomicU64,
    pub(crate) bytes_out: AtomicU64,
    pub(crate) bytes_in: AtomicU64,
    pub(crate) moves: AtomicU64,
    dropped: AtomicU64,
    ended: Mutex<BTreeMap<&'static str, u64>>,
    refused: Mutex<BTreeMap<Reason, u64>>,
}

impl Tally {
    pub(crate) fn ended(&self, ended: &Ended) {
        *self.ended.lock().entry(ended.word()).or_default() += 1;
        if ended.is_dropped() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(crate) fn refused(&self, reason: Reason) {
        *self.refused.lock().entry(reason).or_default() += 1;
    }
}

/// The counts of everything that is, or was, configured.
#[derive(Debug, Default)]
pub(crate) struct Tallies(Mutex<BTreeMap<(Side, ForwardName), Arc<Tally>>>);

impl Tallies {
    pub(crate) fn of(&self, side: Side, name: &ForwardName) -> Arc<Tally> {
        self.0
            .lock()
            .entry((side, name.clone()))
            .or_default()
            .clone()
    }

    pub(crate) fn counts(&self, side: Side) -> Vec<StreamCounts> {
        let all = self.0.lock();
        let of_side = all.iter().filter(|((of, _), _)| *of == side);
        of_side
            .map(|((side, name), tally)| tally.counts(*side, name))
            .collect()
    }
}

impl Tally {
    fn counts(&self, side: Side, name: &ForwardName) -> StreamCounts {
        let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        StreamCounts {
            name: name.clone(),
            side,
            open: self.open.load(Ordering::Relaxed),
            opened: of(&self.opened),
            bytes_out: of(&self.bytes_out),
            bytes_in: of(&self.bytes_in),
            moves: of(&self.moves),
            ended: self.ended.lock().clone(),
            dropped: of(&self.dropped),
            refused: self.refused.lock().clone(),
        }
    }
}
