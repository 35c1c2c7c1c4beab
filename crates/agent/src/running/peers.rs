//! How each peer stands: sessions that are open, what was negotiated, and why
//! there is none.

use std::collections::BTreeMap;

use parking_lot::Mutex;
use sealift_terms::{PeerName, Reason, SessionFacts};

use super::clocks::Clocks;
use crate::operations::{Direction, Trouble};

/// What is remembered of one peer.
#[derive(Debug, Clone, Default)]
pub(super) struct Remembered {
    /// Which way the data of each open session goes.
    pub(super) sessions: Vec<Direction>,
    pub(super) negotiated: Option<SessionFacts>,
    pub(super) trouble: Option<Trouble>,
}

/// How every peer stands.
#[derive(Debug, Default)]
pub(super) struct PeerStates {
    states: Mutex<BTreeMap<PeerName, Remembered>>,
    /// What time it is there.
    pub(super) clocks: Clocks,
}

impl PeerStates {
    /// What is remembered of `peer`.
    pub(super) fn of(&self, peer: &PeerName) -> Remembered {
        self.states.lock().get(peer).cloned().unwrap_or_default()
    }

    pub(super) fn opened(&self, peer: &PeerName, direction: Direction, facts: &SessionFacts) {
        self.change(peer, |state| {
            state.sessions.push(direction);
            state.negotiated = Some(facts.clone());
            state.trouble = None;
        });
    }

    pub(super) fn closed(
        &self,
        peer: &PeerName,
        direction: Direction,
        end: &Result<(), (Reason, String)>,
    ) {
        self.change(peer, |state| {
            if let Some(at) = state.sessions.iter().position(|open| *open == direction) {
                state.sessions.swap_remove(at);
            }
            if state.sessions.is_empty() {
                state.trouble = end.clone().err().map(trouble);
            }
        });
    }

    /// Notes that no session could be opened. Says whether that is news.
    pub(super) fn failed(&self, peer: &PeerName, reason: Reason, evidence: &str) -> bool {
        self.change(peer, |state| {
            let now = Some(trouble((reason, evidence.to_owned())));
            let is_news = state.trouble != now;
            if state.sessions.is_empty() {
                state.trouble = now;
            }
            is_news
        })
    }

    fn change<T>(&self, peer: &PeerName, change: impl FnOnce(&mut Remembered) -> T) -> T {
        change(self.states.lock().entry(peer.clone()).or_default())
    }
}

fn trouble((reason, evidence): (Reason, String)) -> Trouble {
    Trouble { reason, evidence }
}
