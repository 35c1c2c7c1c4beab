//! Files that somebody else replaces: an operator, cert-manager, SPIRE's helper.

use async_trait::async_trait;
use sealift_identity::Credentials;

use super::{CertificateSource, TakesBundles, load_credentials};
use crate::{Error, World, config::Config};

/// The files of `[identity]`, and what the agent got by itself.
///
/// They are read whole each time they are looked at, whatever a watch would say: one on a
/// file misses what replaces the directory around it, as Kubernetes does with `..data`.
/// Half a file, or a key that was replaced before its certificate, is no pair.
pub(crate) struct Held {
    config: Config,
    world: World,
}

impl Held {
    pub(crate) fn new(config: &Config, world: &World) -> Self {
        Self {
            config: config.clone(),
            world: world.clone(),
        }
    }
}

#[async_trait]
impl CertificateSource for Held {
    fn word(&self) -> &'static str {
        "files"
    }

    fn renews(&self) -> bool {
        false
    }

    async fn next(
        &self,
        shown: Option<&Credentials>,
        _: &dyn TakesBundles,
    ) -> Result<Option<Credentials>, Error> {
        let (config, world) = (self.config.clone(), self.world.clone());
        // Files may lie where reading hangs.
        let loading = tokio::task::spawn_blocking(move || load_credentials(&config, &world));
        let loaded = loading
            .await
            .map_err(Error::failed("reading certificates"))??;
        let is_same = shown.is_some_and(|shown| shown.shows_the_same(&loaded));
        Ok((!is_same).then_some(loaded))
    }
}
