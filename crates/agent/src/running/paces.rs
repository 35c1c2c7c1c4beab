//! The bandwidth limit of each peer: one for all that leaves for it, objects and streams.

use std::{collections::BTreeMap, sync::Arc};

use parking_lot::Mutex;
use sealift_terms::{Clock, PeerName};
use sealift_tunnel::{Pace, Timetable};

use crate::config::Config;

/// The limits that are in force. Clones are of the same.
#[derive(Clone)]
pub(super) struct Paces {
    clock: Arc<dyn Clock>,
    of: Arc<Mutex<BTreeMap<PeerName, Arc<Pace>>>>,
}

impl Paces {
    /// Those of a configuration.
    pub(super) fn new(config: &Config, clock: Arc<dyn Clock>) -> Self {
        let paces = Self {
            clock,
            of: Arc::default(),
        };
        paces.put_in_force(config);
        paces
    }

    /// The limit of a peer. One that is configured no more has none.
    pub(super) fn of(&self, peer: &PeerName) -> Arc<Pace> {
        let mut of = self.of.lock();
        let new = || Arc::new(Pace::new(self.clock.clone(), Timetable::default()));
        of.entry(peer.clone()).or_insert_with(new).clone()
    }

    /// Takes up what a configuration says, for what is under way, too.
    pub(super) fn put_in_force(&self, config: &Config) {
        for peer in &config.peers {
            self.of(&peer.name).set(peer.limit.clone());
        }
    }
}
