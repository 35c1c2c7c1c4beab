//! How many links may stand, with one peer and in all, whoever made them.

use std::{collections::BTreeMap, sync::Arc};

use parking_lot::Mutex;
use sealift_terms::{
    Identity,
    limits::{CONNECTIONS_MAX, LINKS_PER_PEER_MAX},
};
use sealift_tunnel::Cause;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// What a link counts against, as long as it lives.
pub(super) type Permits = Vec<OwnedSemaphorePermit>;

/// Room for links.
#[derive(Debug)]
pub(super) struct Quota {
    all: Arc<Semaphore>,
    /// As many as there are identities that a configuration named.
    peers: Mutex<BTreeMap<Identity, Arc<Semaphore>>>,
}

impl Quota {
    pub(super) fn new() -> Self {
        Self {
            all: Arc::new(Semaphore::new(CONNECTIONS_MAX)),
            peers: Mutex::default(),
        }
    }

    /// Room for one more link with this peer, which is known by its certificate.
    pub(super) fn take(&self, identity: &Identity) -> Result<Permits, Cause> {
        let new = || Arc::new(Semaphore::new(LINKS_PER_PEER_MAX));
        let mut peers = self.peers.lock();
        let of_peer = peers.entry(identity.clone()).or_insert_with(new).clone();
        drop(peers);
        let of_peer = of_peer.try_acquire_owned();
        let of_peer = of_peer.map_err(|_| Cause::TooManyLinksOfPeer {
            identity: identity.clone(),
        })?;
        let all = self.all.clone().try_acquire_owned();
        Ok(vec![of_peer, all.map_err(|_| Cause::TooManyLinks)?])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(number: usize) -> Identity {
        format!("spiffe://example.org/region/a/agent/p{number}")
            .parse()
            .unwrap()
    }

    #[test]
    fn one_peer_has_thirty_six_links_and_all_have_two_hundred_and_fifty_six() {
        let quota = Quota::new();
        let mut links = Vec::new();
        for _ in 0..LINKS_PER_PEER_MAX {
            links.push(quota.take(&peer(0)).unwrap());
        }
        let refused = quota.take(&peer(0)).unwrap_err();
        assert!(matches!(refused, Cause::TooManyLinksOfPeer { .. }));
        // Others have theirs, until there are too many in all.
        let mut number = 1;
        let refused = loop {
            match quota.take(&peer(number / LINKS_PER_PEER_MAX + 1)) {
                Ok(link) => links.push(link),
                Err(refused) => break refused,
            }
            number += 1;
        };
        assert!(matches!(refused, Cause::TooManyLinks), "{refused}");
        assert_eq!(links.len(), CONNECTIONS_MAX);
        links.pop();
        quota.take(&peer(99)).unwrap();
    }
}
