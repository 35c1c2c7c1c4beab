//! Who may speak with this site, and which roots vouch for each of them.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use rustls::crypto::WebPkiSupportedAlgorithms;
use rustls_pki_types::{CertificateDer, TrustAnchor, UnixTime};
use sealift_terms::{Identity, PeerName, limits};

use crate::{
    bundle::TrustBundle,
    certificate::Leaf,
    chain::{self, Presented, Purpose, Trust},
    demands::{Demands, DnsAgent},
    error::IdentityError,
    lists::RevocationLists,
    refusal::Refusal,
};

/// One peer: its name in the configuration, its identity, and its roots.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerTrust {
    /// What this site calls it.
    pub name: PeerName,
    /// Who it is.
    pub identity: Identity,
    /// Whose certificates it may show. No other peer's roots count for it.
    pub roots: TrustBundle,
    /// What else is asked of its certificates.
    pub demands: Demands,
    /// The DNS name that its certificates may say in place of the identity.
    pub dns: Option<DnsAgent>,
}

/// The configured peers and this site's deny list.
#[derive(Debug, Clone, Default)]
pub struct Peers {
    by_identity: BTreeMap<Identity, Arc<PeerTrust>>,
    denied: BTreeSet<Identity>,
    /// The revocation lists that count for a peer, where there are any.
    lists: BTreeMap<Identity, Arc<RevocationLists>>,
    /// Every peer's roots, each once. Only to tell a stranger's certificate authority
    /// from a known one in the log; nobody is admitted by it.
    all_roots: Vec<TrustAnchor<'static>>,
}

impl Peers {
    /// Takes the configured peers.
    ///
    /// # Errors
    /// [`IdentityError::Peer`] for two peers with one name or identity, too many of
    /// them, or roots of another trust domain than the peer's.
    pub fn new(
        peers: impl IntoIterator<Item = PeerTrust>,
        denied: impl IntoIterator<Item = Identity>,
    ) -> Result<Self, IdentityError> {
        let mut all = Self {
            denied: denied.into_iter().collect(),
            ..Self::default()
        };
        let (mut names, mut dns_names) = (BTreeSet::new(), BTreeSet::new());
        for peer in peers {
            let name = peer.name.to_string();
            let refuse = |what: String| IdentityError::Peer {
                peer: name.clone(),
                what,
            };
            if !names.insert(peer.name.clone()) {
                return Err(refuse("two peers have this name".to_owned()));
            }
            if names.len() > limits::PEERS_MAX {
                return Err(refuse(format!("more than {} peers", limits::PEERS_MAX)));
            }
            if peer
                .roots
                .domain()
                .is_some_and(|domain| domain != peer.identity.domain())
            {
                let domain = peer.roots.domain().unwrap_or_default();
                return Err(refuse(format!("its trust bundle is for domain {domain}")));
            }
            for root in peer.roots.anchors() {
                if !all.all_roots.contains(root) {
                    all.all_roots.push(root.clone());
                }
            }
            if let Some(agent) = &peer.dns
                && !dns_names.insert(agent.name().to_owned())
            {
                return Err(refuse("another peer has this DNS name".to_owned()));
            }
            let identity = peer.identity.clone();
            if all.by_identity.insert(identity, Arc::new(peer)).is_some() {
                return Err(refuse("another peer has this identity".to_owned()));
            }
        }
        Ok(all)
    }

    /// The peer with an identity.
    #[must_use]
    pub fn find(&self, identity: &Identity) -> Option<&Arc<PeerTrust>> {
        self.by_identity.get(identity)
    }

    /// Every peer, in the order of their identities.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<PeerTrust>> {
        self.by_identity.values()
    }

    /// Whether an identity is on the deny list.
    #[must_use]
    pub fn is_denied(&self, identity: &Identity) -> bool {
        self.denied.contains(identity)
    }

    /// Whether the same peers are vouched for by the same roots, and the same is revoked.
    #[must_use]
    pub fn trusts_the_same(&self, other: &Self) -> bool {
        self.by_identity == other.by_identity && self.lists == other.lists
    }

    /// The same peers, and revocation lists for some of them.
    #[must_use]
    pub fn with_lists(self, lists: BTreeMap<Identity, Arc<RevocationLists>>) -> Self {
        Self { lists, ..self }
    }

    /// The revocation lists that count for a peer.
    #[must_use]
    pub fn lists(&self, identity: &Identity) -> Option<&Arc<RevocationLists>> {
        self.lists.get(identity)
    }

    /// Whether a certificate of a peer is revoked, by its trust bundle or by a list.
    #[must_use]
    pub fn is_revoked(&self, leaf: &Leaf) -> bool {
        let bundle = self.find(&leaf.identity);
        let lists = self.lists.get(&leaf.identity);
        bundle.is_some_and(|peer| peer.roots.is_revoked(leaf))
            || lists.is_some_and(|lists| lists.names(&leaf.serial))
    }

    /// Whether a certificate of a peer was revoked with all that its identity had: there is
    /// no fresher one to go on with.
    #[must_use]
    pub fn is_identity_revoked(&self, leaf: &Leaf) -> bool {
        let peer = self.find(&leaf.identity);
        let mut revoked = peer.iter().flat_map(|peer| peer.roots.revoked());
        revoked.any(|one| one.identity.is_some() && one.covers(leaf))
    }

    /// The same peers with another deny list.
    #[must_use]
    pub fn with_denied(&self, denied: BTreeSet<Identity>) -> Self {
        Self {
            denied,
            ..self.clone()
        }
    }

    /// Reads a certificate: whom of the peers it is of, by its URI or by its DNS name.
    /// Nothing is verified.
    pub(crate) fn read(&self, certificate: &CertificateDer<'_>) -> Result<Leaf, Refusal> {
        let named = |peer: &Arc<PeerTrust>| peer.dns.clone();
        let agents: Vec<_> = self.iter().filter_map(named).collect();
        Leaf::parse_known(certificate, |name| {
            agents.iter().find_map(|agent| agent.identity_of(name))
        })
    }

    /// Verifies a presented chain: its identity is a configured peer, not denied,
    /// and that peer's own roots vouch for it.
    pub(crate) fn verify(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        purpose: Purpose,
        now: UnixTime,
        algorithms: &WebPkiSupportedAlgorithms,
    ) -> Result<Leaf, Refusal> {
        let leaf = self.read(end_entity)?;
        let presented = Presented {
            end_entity,
            intermediates,
        };
        let Some(peer) = self.find(&leaf.identity) else {
            let trust = Trust::of(&self.all_roots);
            let known = chain::verify(&leaf, presented, trust, purpose, now, algorithms);
            let identity = leaf.identity;
            return Err(match known {
                Err(refusal @ Refusal::UntrustedIssuer { .. }) => refusal,
                _ => Refusal::UnknownIdentity { identity },
            });
        };
        if self.is_denied(&leaf.identity) {
            return Err(Refusal::Denied {
                identity: leaf.identity,
            });
        }
        let trust = Trust {
            roots: peer.roots.anchors(),
            demands: peer.demands,
            lists: self.lists.get(&leaf.identity).map(|lists| &**lists),
        };
        chain::verify(&leaf, presented, trust, purpose, now, algorithms)?;
        match self.is_revoked(&leaf) {
            true => Err(Refusal::revoked(&leaf)),
            false => Ok(leaf),
        }
    }
}
