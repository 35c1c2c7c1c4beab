//! Every link that stands: one that may not go on is ended (an identity denied, a
//! certificate over), how each does is looked at, and what comes and goes is told.

use std::collections::BTreeMap;

use parking_lot::Mutex;
use sealift_identity::{Leaf, Session as TlsSession, TlsContext};
use sealift_terms::Identity;
use sealift_tunnel::{Fate, Link, LinkEnder, TcpFacts};
use sealift_wire::LinkId;

use super::{Running, quota::Permits};
use crate::{Metric, operations::Path};

/// How the end of a link is counted that has no reason code.
const CLOSED_BY_PEER: &str = "closed";
const ENDED_HERE: &str = "ended";

/// The links that stand.
#[derive(Debug, Default)]
pub(super) struct Standing(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    links: Vec<Standee>,
    /// Segments sent again on links that are gone, by peer.
    retransmits: BTreeMap<Identity, u64>,
}

#[derive(Debug)]
struct Standee {
    id: LinkId,
    tls: TlsSession,
    ender: LinkEnder,
    /// How it did when it was last looked at.
    facts: Option<TcpFacts>,
}

/// A link that is gone.
#[derive(Debug, PartialEq, Eq)]
struct Gone {
    id: LinkId,
    peer: Identity,
    /// None: this side ended it.
    fate: Option<Fate>,
}

impl Standing {
    /// Watches over a link until it is gone.
    fn adopt(&self, id: LinkId, link: &mut Link, permits: Permits) {
        let ender = link.ender(permits);
        self.0.lock().links.push(Standee {
            id,
            tls: link.session().clone(),
            facts: ender.facts(),
            ender,
        });
    }

    /// Ends the links that the TLS context would not let stand any more.
    fn end_what_may_not_stand(&self, tls: &TlsContext) {
        for standee in &self.0.lock().links {
            if let Err(refusal) = tls.check_session(&standee.tls)
                && !standee.ender.is_gone()
            {
                tracing::warn!(peer = %standee.tls.peer.identity, %refusal, "a link is closed");
                standee.ender.end(refusal);
            }
        }
    }

    /// Looks at how each link does, and forgets those that are gone.
    fn look(&self) -> Vec<Gone> {
        let mut gone = Vec::new();
        let State { links, retransmits } = &mut *self.0.lock();
        links.retain_mut(|standee| {
            let peer = &standee.tls.peer.identity;
            if !standee.ender.is_gone() {
                standee.facts = standee.ender.facts().or_else(|| standee.facts.take());
                return true;
            }
            let again = standee.facts.as_ref().map_or(0, |facts| facts.retransmits);
            *retransmits.entry(peer.clone()).or_default() += again;
            gone.push(Gone {
                id: standee.id,
                peer: peer.clone(),
                fate: standee.ender.fate().cloned(),
            });
            false
        });
        gone
    }

    /// Links that stand with one peer, and how they do together.
    pub(super) fn of(&self, peer: &Identity) -> Path {
        let state = self.0.lock();
        let before = state.retransmits.get(peer).copied().unwrap_or(0);
        let of_peer = state
            .links
            .iter()
            .filter(|one| one.tls.peer.identity == *peer);
        let standing = of_peer.filter(|one| !one.ender.is_gone());
        Path::of(standing.map(|one| one.facts.as_ref()), before)
    }

    /// The certificates that peers showed: of each the one that lives longest.
    pub(super) fn leaves(&self) -> BTreeMap<Identity, Leaf> {
        let mut leaves: BTreeMap<Identity, Leaf> = BTreeMap::new();
        let state = self.0.lock();
        for standee in state.links.iter().filter(|one| !one.ender.is_gone()) {
            let leaf = &*standee.tls.peer;
            let known = leaves.get(&leaf.identity);
            if known.is_none_or(|known| known.not_after < leaf.not_after) {
                leaves.insert(leaf.identity.clone(), leaf.clone());
            }
        }
        leaves
    }

    /// Links that stand.
    pub(super) fn count(&self) -> usize {
        let state = self.0.lock();
        state
            .links
            .iter()
            .filter(|one| !one.ender.is_gone())
            .count()
    }
}

impl Running {
    /// Watches over a link from now on, and says that it is there.
    pub(super) fn adopt(&self, id: LinkId, link: &mut Link, permits: Permits) {
        let (identity, address) = (&link.session().peer.identity, link.peer_address());
        let name = self.peer_of(identity).map(|peer| peer.name);
        if let Some(peer) = &name {
            self.site
                .metrics
                .series(Metric::LinksOpened, &[peer.as_str()])
                .add(1);
            tracing::info!(%peer, link = %id, %address, "a link is there");
        }
        self.standing.adopt(id, link, permits);
    }

    /// Holds all links against certificates and the deny list, and tells of those that
    /// are gone.
    pub(super) fn sweep_links(&self) {
        self.standing.end_what_may_not_stand(&self.tls);
        self.forwarding.sweep();
        for Gone { id, peer, fate } in self.standing.look() {
            let name = self.peer_of(&peer).map(|peer| peer.name.to_string());
            let peer = name.unwrap_or_else(|| peer.to_string());
            let cause = match &fate {
                None => ENDED_HERE.to_owned(),
                Some(Fate::Closed) => CLOSED_BY_PEER.to_owned(),
                Some(Fate::Lost { reason, .. }) => reason.to_string(),
            };
            match fate {
                Some(Fate::Lost { reason, evidence }) => {
                    tracing::info!(%peer, link = %id, %reason, evidence, "a link is lost");
                }
                Some(Fate::Closed) | None => {
                    tracing::info!(%peer, link = %id, cause, "a link is closed in order");
                }
            }
            self.site
                .metrics
                .series(Metric::LinksEnded, &[&peer, &cause])
                .add(1);
        }
    }
}
