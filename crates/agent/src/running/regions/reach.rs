//! The way to the peer in a region: over a session that is open, or dialled for questions.

use std::{sync::Arc, time::Duration};

use sealift_terms::{Region, SessionId};
use sealift_tunnel::{Dialer, LinkKind, TcpTransport};
use sealift_wire::{KEY_EXCHANGE, Role};
use tokio::time::timeout;

use crate::{
    config::Peer,
    regions::{Channel, Trouble},
    running::{Running, hello::hello, question::Asking},
};

/// How long a peer may take until it can be asked.
const DIALLED_WITHIN: Duration = Duration::from_secs(10);

impl Running {
    /// The one peer in a region.
    pub(super) fn peer_in(&self, region: &Region) -> Result<Peer, Trouble> {
        let config = self.site.current();
        let mut there = config.peers.iter();
        let mut next = || there.find(|peer| peer.identity.region() == region);
        match (next(), next()) {
            (None, _) => Err(Trouble::NoPeer(region.clone())),
            (Some(_), Some(_)) => Err(Trouble::SeveralPeers(region.clone())),
            (Some(peer), None) => Ok(peer.clone()),
        }
    }

    /// The control link of a session that is open with a peer.
    pub(super) fn standing(&self, peer: &Peer) -> Option<Channel> {
        let sending = self.senders.get(&peer.name);
        let sending = sending.and_then(|one| one.sender.control());
        if let Some(link) = sending.filter(|link| link.binding().peer == peer.identity) {
            return Some(Channel::Sending(link));
        }
        let sessions = self.door.sessions();
        let mut of_peer = sessions.into_iter().filter_map(|session| {
            let binding = session.binding()?;
            let is_it = binding.peer == peer.identity;
            is_it.then_some(Channel::Receiving(session, binding))
        });
        of_peer.next()
    }

    /// A way to ask the peer in a region about keys.
    pub(super) async fn channel(&self, region: &Region) -> Result<Channel, Trouble> {
        let peer = self.peer_in(region)?;
        if let Some(channel) = self.standing(&peer) {
            return Ok(channel);
        }
        let no_session = |what: String| Trouble::NoSession {
            peer: peer.name.clone(),
            what,
        };
        let Some(address) = &peer.address else {
            return Err(no_session("no session is open, and it dials us".to_owned()));
        };
        let dialled = timeout(DIALLED_WITHIN, self.dial_for_keys(&peer, address)).await;
        dialled.unwrap_or_else(|_| Err(no_session("no answer".to_owned())))
    }

    /// A connection for nothing but questions.
    async fn dial_for_keys(&self, peer: &Peer, address: &str) -> Result<Channel, Trouble> {
        let no_session = |what: String| Trouble::NoSession {
            peer: peer.name.clone(),
            what,
        };
        let dialer = Dialer::new(Arc::new(TcpTransport), self.tls.clone());
        let dialled = dialer
            .dial(address, &peer.identity, LinkKind::Control)
            .await;
        let mut link = dialled.map_err(|error| no_session(error.to_string()))?;
        let session = SessionId::random(&*self.site.world.rng);
        let ours = hello(&self.site, session, 0, Role::Send);
        let greeted = link.greet(&ours).await;
        let (theirs, _) = greeted.map_err(|error| no_session(error.to_string()))?;
        match (link.binding(), theirs.key_exchange) {
            (Some(binding), Some(KEY_EXCHANGE)) => {
                let asking = tokio::sync::Mutex::new(Asking::new(link));
                Ok(Channel::Dialled(Box::new(asking), binding))
            }
            _ => Err(Trouble::Older(peer.name.clone())),
        }
    }
}
