//! The ways into a site whose agent is stopped.

use std::{fmt, sync::Arc};

use async_trait::async_trait;
use sealift_host::DataDirLock;
use sealift_keys::{KEYSTORE_FILE, LocalKeystore, RootSecret};

use super::Site;
use crate::{
    Error, World,
    admin::{OpenSite, Operations},
    config::Config,
    operations::SiteOperations,
    providers::open_services,
    world::root_secret_by,
};

/// Opens the data directory of a stopped agent.
#[derive(Debug, Clone, Copy, Default)]
pub struct Offline;

#[async_trait]
impl OpenSite for Offline {
    async fn open(&self, config: &Config, lock: DataDirLock) -> Result<Arc<dyn Operations>, Error> {
        config.look_at(&["keys."])?;
        let site = Site::open_stopped(config.clone(), World::real(), lock).await?;
        Ok(Arc::new(SiteOperations::stopped(site)))
    }
}

/// Opens the data directory of a stopped agent whose keystore may be lost: then it is
/// made again from a backup, under the root key that the configuration names.
#[derive(Clone)]
pub struct Restoring {
    /// The backup.
    pub backup: Vec<u8>,
    /// What opens it.
    pub passphrase: RootSecret,
}

impl fmt::Debug for Restoring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Restoring(..)")
    }
}

#[async_trait]
impl OpenSite for Restoring {
    async fn open(&self, config: &Config, lock: DataDirLock) -> Result<Arc<dyn Operations>, Error> {
        config.look_at(&["keys."])?;
        let path = config.site.data_dir.join(KEYSTORE_FILE);
        if !path.exists() {
            let world = World::real();
            let services = open_services(config, &world)?;
            let secret = root_secret_by(config, &world, &services).await?;
            let (this, World { disk, clock, rng }) = (self.clone(), world);
            let work = tokio::task::spawn_blocking(move || {
                let Self { backup, passphrase } = &this;
                LocalKeystore::restore(disk, clock, rng, &path, secret, backup, passphrase)
            });
            work.await
                .map_err(Error::failed("restoring the keystore"))??;
        }
        Offline.open(config, lock).await
    }
}
