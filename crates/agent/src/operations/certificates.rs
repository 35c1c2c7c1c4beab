//! `certs`: the certificates of a site and of its peers, and what vouches for them.

use std::collections::BTreeMap;

use sealift_identity::{Leaf, Peers};
use sealift_terms::Identity;

use super::SiteOperations;
use crate::{
    Error,
    admin::{Answer, CertificateFacts, CertificateRow},
    bundles::own_bundle,
    load_credentials,
};

/// The leaves of a site, as far as they are known.
pub(crate) struct Leaves {
    /// Its own.
    pub(crate) own: Leaf,
    /// Its peers, with their roots and the deny list.
    pub(crate) peers: Peers,
    /// What peers showed on the connections that stand.
    pub(crate) shown: BTreeMap<Identity, Leaf>,
}

impl SiteOperations {
    pub(super) async fn certificates(&self, answer: &Answer) -> Result<(), Error> {
        let config = self.site.current();
        let leaves = match &self.live {
            Some(live) => live.leaves(),
            None => Leaves {
                own: (**load_credentials(&config, &self.site.world)?.leaf()).clone(),
                peers: self.site.peers(&config)?,
                shown: BTreeMap::new(),
            },
        };
        let bundle = own_bundle(&config, &self.site.world)?;
        let denied = |identity: &Identity| leaves.peers.is_denied(identity);
        let own = CertificateRow {
            peer: None,
            identity: leaves.own.identity.clone(),
            certificate: Some(facts(&leaves.own)),
            bundle: bundle.sequence(),
            roots: bundle.roots().len(),
            denied: denied(&leaves.own.identity),
            revoked: bundle.is_revoked(&leaves.own),
            crl_until: None,
        };
        answer.row(&own).await?;
        for peer in leaves.peers.iter() {
            let lists = leaves.peers.lists(&peer.identity);
            let shown = leaves.shown.get(&peer.identity);
            let row = CertificateRow {
                peer: Some(peer.name.clone()),
                identity: peer.identity.clone(),
                certificate: shown.map(facts),
                bundle: peer.roots.sequence(),
                roots: peer.roots.roots().len(),
                denied: denied(&peer.identity),
                revoked: shown.is_some_and(|leaf| leaves.peers.is_revoked(leaf)),
                crl_until: lists.map(|lists| lists.next_update()),
            };
            answer.row(&row).await?;
        }
        Ok(())
    }
}

fn facts(leaf: &Leaf) -> CertificateFacts {
    CertificateFacts {
        serial: leaf.serial.clone(),
        not_before: leaf.not_before,
        not_after: leaf.not_after,
    }
}
