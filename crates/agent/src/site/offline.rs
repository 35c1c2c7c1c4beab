//! The way into a site whose agent is stopped.

use std::sync::Arc;

use async_trait::async_trait;
use sealift_host::DataDirLock;

use super::Site;
use crate::{
    Error, World,
    admin::{OpenSite, Operations},
    config::Config,
    operations::SiteOperations,
};

/// Opens the data directory of a stopped agent.
#[derive(Debug, Clone, Copy, Default)]
pub struct Offline;

#[async_trait]
impl OpenSite for Offline {
    async fn open(&self, config: &Config, lock: DataDirLock) -> Result<Arc<dyn Operations>, Error> {
        let site = Site::open_stopped(config.clone(), World::real(), lock).await?;
        Ok(Arc::new(SiteOperations::stopped(site)))
    }
}
