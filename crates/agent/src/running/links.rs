//! Every link that stands, so that one that may not go on is ended: an identity
//! denied, a certificate over.

use std::collections::BTreeMap;

use parking_lot::Mutex;
use sealift_identity::{Leaf, Session as TlsSession, TlsContext};
use sealift_terms::Identity;
use sealift_tunnel::{Link, LinkEnder};

use super::quota::Permits;

/// The links that stand.
#[derive(Debug, Default)]
pub(super) struct Standing(Mutex<Vec<(TlsSession, LinkEnder)>>);

impl Standing {
    /// Watches over a link until it is gone.
    pub(super) fn adopt(&self, link: &mut Link, permits: Permits) {
        let ender = link.ender(permits);
        self.0.lock().push((link.session().clone(), ender));
    }

    /// Ends the links that the TLS context would not let stand any more, and
    /// forgets those that are gone.
    pub(super) fn sweep(&self, tls: &TlsContext) {
        self.0.lock().retain(|(session, ender)| {
            if ender.is_gone() {
                return false;
            }
            let Err(refusal) = tls.check_session(session) else {
                return true;
            };
            tracing::warn!(peer = %session.peer.identity, %refusal, "a link is closed");
            ender.end(refusal);
            false
        });
    }

    /// Links that stand with one peer.
    pub(super) fn of(&self, peer: &Identity) -> usize {
        let links = self.0.lock();
        links
            .iter()
            .filter(|(tls, ender)| tls.peer.identity == *peer && !ender.is_gone())
            .count()
    }

    /// The certificates that peers showed: of each the one that lives longest.
    pub(super) fn leaves(&self) -> BTreeMap<Identity, Leaf> {
        let mut leaves: BTreeMap<Identity, Leaf> = BTreeMap::new();
        for (session, _) in self.0.lock().iter().filter(|(_, ender)| !ender.is_gone()) {
            let leaf = &*session.peer;
            let known = leaves.get(&leaf.identity);
            if known.is_none_or(|known| known.not_after < leaf.not_after) {
                leaves.insert(leaf.identity.clone(), leaf.clone());
            }
        }
        leaves
    }

    /// Links that stand.
    pub(super) fn count(&self) -> usize {
        self.0
            .lock()
            .iter()
            .filter(|(_, ender)| !ender.is_gone())
            .count()
    }
}
