//! `certs`: the certificates of a site and of its peers, and what vouches for them.

use std::collections::BTreeMap;

use sealift_identity::{Leaf, Peers};
use sealift_terms::{Identity, Timestamp};

use super::SiteOperations;
use crate::{
    Error,
    admin::{Actor, Answer, CertificateFacts, CertificateRow},
    bundles::own_bundle,
    certifying::load_last_credentials,
    running::renewal_due,
};

/// The leaves of a site, as far as they are known.
pub(crate) struct Leaves {
    /// Its own.
    pub(crate) own: Leaf,
    /// When that is to be renewed.
    pub(crate) due: Timestamp,
    /// Its peers, with their roots and the deny list.
    pub(crate) peers: Peers,
    /// What peers showed on the connections that stand.
    pub(crate) shown: BTreeMap<Identity, Leaf>,
}

impl SiteOperations {
    /// Renews now, and lists what there is then.
    pub(super) async fn renew(&self, actor: &Actor, answer: &Answer) -> Result<(), Error> {
        let live = self.live("only a running agent renews its certificate")?;
        self.record(actor, "certs renew", &[])?;
        live.renew().await?;
        self.certificates(answer).await
    }

    pub(super) async fn certificates(&self, answer: &Answer) -> Result<(), Error> {
        let config = self.site.current();
        let leaves = match &self.live {
            Some(live) => live.leaves(),
            None => {
                let own = (**load_last_credentials(&config, &self.site.world)?.leaf()).clone();
                Leaves {
                    due: renewal_due(&own, &config.site.data_dir, &self.site.world),
                    own,
                    peers: self.site.peers(&config)?,
                    shown: BTreeMap::new(),
                }
            }
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
            source: Some(config.identity.source.as_str().to_owned()),
            due: Some(leaves.due),
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
                source: None,
                due: None,
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
