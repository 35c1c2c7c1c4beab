//! The S3 endpoint of a running agent: where it listens, its keys, and how it is counted.

use std::{collections::BTreeMap, sync::Arc};

use async_trait::async_trait;
use sealift_endpoint::{AccessSecret, Endpoint, Parts, Settings, Standings};
use sealift_ledger::VersionRow;
use sealift_terms::Status;
use tokio::{net::TcpListener, sync::watch, task::JoinSet};

use crate::{
    Error,
    config::{Config, EndpointSettings},
    operations::status_of,
    site::Site,
};

/// The endpoint, and where it is to be reached.
pub(super) struct Listening {
    endpoint: Endpoint,
    listener: TcpListener,
}

/// Opens the endpoint that a configuration has, if it has one.
pub(super) async fn listen(config: &Config, site: &Arc<Site>) -> Result<Option<Listening>, Error> {
    let Some(wanted) = &config.endpoint else {
        return Ok(None);
    };
    let promotions = site.archive.promotions().await?;
    let parts = Parts {
        promoted: promotions.into_keys().collect(),
        archive: site.archive.clone(),
        budget: site.budget.clone(),
        audit: site.audit.clone(),
        standings: Arc::new(OfSite(site.clone())),
        clock: site.world.clock.clone(),
        region: config.site.region.clone(),
    };
    let endpoint = Endpoint::new(parts, settings(config, wanted)?);
    let bound = TcpListener::bind(wanted.listen).await;
    let listener = bound.map_err(Error::io("listen on", wanted.listen.to_string()))?;
    if !wanted.listen.ip().is_loopback() {
        let address = wanted.listen;
        tracing::warn!(%address, "what the S3 endpoint takes and answers leaves this machine in the clear");
    }
    Ok(Some(Listening { endpoint, listener }))
}

/// How what rests at a site stands.
struct OfSite(Arc<Site>);

#[async_trait]
impl Standings for OfSite {
    async fn of(&self, row: &VersionRow) -> Result<Option<Status>, String> {
        let status = status_of(&self.0, row).await;
        status.map_err(|error| error.to_string())
    }
}

impl Listening {
    /// Answers until the agent stops; what is under way then is finished first.
    pub(super) fn begin(self, stop: watch::Receiver<bool>, tasks: &mut JoinSet<()>) {
        if let Ok(address) = self.listener.local_addr() {
            tracing::info!(%address, "the S3 endpoint is open");
        }
        tasks.spawn(self.endpoint.serve(self.listener, stop));
    }

    /// What it is to be asked by.
    pub(super) fn endpoint(&self) -> Endpoint {
        self.endpoint.clone()
    }
}

/// What the endpoint takes from a configuration: with the secrets as they are in their files
/// now.
///
/// # Errors
/// [`Error::Refused`] for a secret that cannot be used.
pub(super) fn settings(config: &Config, wanted: &EndpointSettings) -> Result<Settings, Error> {
    let mut secrets = BTreeMap::new();
    for key in &wanted.keys {
        let what = format!("the secret of access key {}", key.id);
        let secret = AccessSecret::load(&key.secret_file).map_err(Error::refused(what))?;
        secrets.insert(key.id.clone(), secret);
    }
    Ok(Settings {
        rows: wanted.rows.clone(),
        secrets,
        buckets: config.buckets.iter().map(|one| one.name.clone()).collect(),
    })
}
