//! One site put together: an opened data directory with everything that a running
//! agent or a command works on, and nothing of the network.

mod denied;
mod key_life;
mod keys;
pub(crate) mod lost;
mod offline;
mod open;
pub(crate) mod plaintext;
mod rebuilding;
mod residency;

use std::{fmt, sync::Arc};

use parking_lot::RwLock;
use sealift_archive::{Archive, Budget};
use sealift_host::DataDirLock;
use sealift_identity::{IdentityError, Peers};
use sealift_keys::{LocalKeystore, Providers, RecordRing};
use sealift_ledger::{AuditLog, Catalog, Journal, SiteRow};
use sealift_store::Store;
use sealift_terms::{AuditRecord, Timestamp};

use crate::{Error, Metrics, World, config::Config, load_peers};

pub(crate) use denied::Denied;
pub(crate) use key_life::about as about_key;
pub(crate) use keys::{
    fit_to_begin as keys_fit_to_begin, fits as key_fits, is_same as is_same_key, may_pass,
    usable as keys_usable,
};
pub use lost::Remnant;
pub use offline::{Offline, Restoring};
pub(crate) use open::{CATALOG_FILE, JOURNAL_FILE, STAGING_DIR};
pub use rebuilding::rebuild_catalog;
pub(crate) use residency::crossing as key_crosses;

/// An opened data directory. The lock on it is held as long as this lives.
pub(crate) struct Site {
    /// What it was opened with. Name, region and data directory stay what they are;
    /// what can be reloaded is in [`current`](Self::current).
    pub(crate) config: Config,
    pub(crate) world: World,
    pub(crate) keystore: Arc<LocalKeystore>,
    /// The keystore and the key services of the configuration.
    pub(crate) providers: Arc<Providers>,
    pub(crate) ring: Arc<RecordRing>,
    pub(crate) journal: Arc<dyn Journal>,
    pub(crate) catalog: Arc<dyn Catalog>,
    pub(crate) audit: Arc<dyn AuditLog>,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) archive: Arc<Archive>,
    /// The byte budget of everything in this process that buffers.
    pub(crate) budget: Budget,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) denied: Denied,
    /// One change of the authority in `ca.directory` at a time.
    pub(crate) authority: parking_lot::Mutex<()>,
    current: RwLock<Arc<Config>>,
    /// Last, so that everything else is closed when it is given up.
    _lock: DataDirLock,
}

impl fmt::Debug for Site {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Site({})", self.config.site.name)
    }
}

impl Site {
    /// Its id, the life of its catalog, and how far it has come.
    pub(crate) fn row(&self) -> SiteRow {
        self.catalog.site()
    }

    /// The configuration in force.
    pub(crate) fn current(&self) -> Arc<Config> {
        Arc::clone(&self.current.read())
    }

    /// Takes up another configuration, as far as an open site is concerned: its
    /// buckets and their keys, of which [`keys_usable`] has said that they are.
    pub(crate) fn take_up(&self, config: Config) {
        self.archive.set_buckets(open::buckets(&config));
        self.archive.set_quotas(open::quotas(&config));
        self.archive.set_peer_quotas(&open::peer_quotas(&config));
        self.archive.set_retentions(open::retentions(&config));
        *self.current.write() = Arc::new(config);
    }

    /// The peers of a configuration, and those that this site denies.
    ///
    /// # Errors
    /// [`IdentityError`] for a bundle that cannot be used for its peer.
    pub(crate) fn peers(&self, config: &Config) -> Result<Peers, IdentityError> {
        Ok(load_peers(config, &self.world)?.with_denied(self.denied.identities()))
    }

    /// Puts something on record.
    ///
    /// # Errors
    /// When it cannot be: then it must not be done.
    pub(crate) fn record(&self, record: AuditRecord) -> Result<(), Error> {
        let kept = self.audit.record(record);
        kept.map_err(Error::failed("writing the audit log"))
    }

    /// Commits what is under way and makes the audit log durable. What follows is
    /// closed by dropping.
    pub(crate) async fn close(&self) {
        self.archive.close().await;
        let all = Timestamp::from_millis(i64::MAX);
        if let Err(error) = self.audit.settle_refusals(all) {
            tracing::error!(%error, "refusals are missing from the audit log");
        }
        if let Err(error) = self.audit.flush().await {
            tracing::error!(%error, "the audit log is not durable to its end");
        }
    }
}
