//! The certificate of the issuing agent itself: it asks its authority, and dials nobody. One
//! that is over would keep it from that.

use std::sync::Arc;

use async_trait::async_trait;
use sealift_identity::Credentials;

use super::issuing::issue_own;
use crate::{
    Error,
    certifying::{CertificateSource, Renewed, TakesBundles},
    config::{Ca, Config},
    site::Site,
};

/// `[ca]`, where `[identity.issuer]` is this agent.
pub(super) struct OwnAuthority {
    site: Arc<Site>,
    ca: Ca,
    renewed: Renewed,
}

impl OwnAuthority {
    pub(super) fn new(site: Arc<Site>, ca: Ca, config: &Config) -> Self {
        let renewed = Renewed::new(config, &site.world);
        Self { site, ca, renewed }
    }
}

#[async_trait]
impl CertificateSource for OwnAuthority {
    fn word(&self) -> &'static str {
        "issuer"
    }

    fn renews(&self) -> bool {
        true
    }

    async fn next(
        &self,
        shown: Option<&Credentials>,
        bundles: &dyn TakesBundles,
    ) -> Result<Option<Credentials>, Error> {
        let Some(shown) = shown else {
            return Ok(None);
        };
        let (site, ca, leaf) = (self.site.clone(), self.ca.clone(), shown.leaf().clone());
        let ask = |csr: String| async move {
            let issuing = tokio::task::spawn_blocking(move || issue_own(&site, &ca, &leaf, &csr));
            issuing.await.map_err(Error::failed("issuing"))?
        };
        self.renewed.another(shown, bundles, ask).await.map(Some)
    }
}
