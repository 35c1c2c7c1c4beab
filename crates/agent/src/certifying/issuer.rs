//! An agent with the embedded authority: renewal over mutual TLS.

use async_trait::async_trait;
use sealift_identity::{Credentials, signing_request};

use super::{CertificateSource, Renewed, TakesBundles};
use crate::{
    Error, World,
    config::{Config, Issuer},
    enrolling,
};

/// `[identity.issuer]`.
pub(super) struct Issuing {
    renewed: Renewed,
    issuer: Issuer,
}

impl Issuing {
    pub(super) fn new(config: &Config, world: &World, issuer: Issuer) -> Self {
        Self {
            renewed: Renewed::new(config, world),
            issuer,
        }
    }
}

#[async_trait]
impl CertificateSource for Issuing {
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
            // Whoever has no certificate yet has nothing to show but a token.
            return Ok(None);
        };
        let key = self.renewed.next_key()?;
        let csr = signing_request(&key)?;
        let (config, world) = (self.renewed.config(), self.renewed.world());
        let given = enrolling::renew(config, &self.issuer, shown.clone(), world, csr).await?;
        bundles.take(&given.bundle).await;
        let settled = self.renewed.settle(&given.certificate, &key, Some(shown))?;
        Ok(Some(settled))
    }
}
