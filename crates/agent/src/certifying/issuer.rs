//! An agent with the embedded authority: renewal over mutual TLS.

use async_trait::async_trait;
use sealift_identity::{Credentials, IdentityError, Leaf};

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

impl Issuing {
    /// The issuer tells nobody why it refuses a certificate: what is known here says more.
    fn explain(&self, error: Error, shown: &Leaf) -> Error {
        let (until, now) = (shown.renewable_until(), self.renewed.world().clock.now());
        match now > until {
            true => Error::Identity(IdentityError::GraceOver {
                identity: shown.identity.clone(),
                not_after: shown.not_after,
                until,
            }),
            false => error,
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
        let (config, world) = (self.renewed.config(), self.renewed.world());
        let ask = |csr| async move {
            let given = enrolling::renew(config, &self.issuer, shown.clone(), world, csr).await;
            given.map_err(|error| self.explain(error, shown.leaf()))
        };
        self.renewed.another(shown, bundles, ask).await.map(Some)
    }
}
