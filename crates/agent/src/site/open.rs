//! Opening a site: keystore, databases, store, archive, in this order.

use std::{path::Path, sync::Arc};

use sealift_archive::{
    Archive, ArchiveError, ArchiveParts, BucketKey, Buckets, Budget, PeerQuotas, Quotas,
    Retentions, SiteFacts,
};
use sealift_host::DataDirLock;
use sealift_keys::{LocalKeystore, Providers, RecordRing, RootSecret, WrappedRoot};
use sealift_ledger::{Catalog, NewSite, SqliteAudit, SqliteCatalog, SqliteJournal};
use sealift_store::{BucketStore, DirectoryStore, Store};
use sealift_terms::{Audit, AuditKind, AuditRecord, Epoch, PeerQuota, Quota, Retention, SiteId};
use tokio::runtime::Handle;

use super::{Denied, Site, keys, lost};
use crate::{
    Error, World,
    admin::Actor,
    config::{Bucket, Config, RootKeySource},
    files::upload_files_max,
    providers::{Services, open_services, with_keystore},
    sources::open_store,
    world::{open_keystore_under, root_secret_by},
};

/// The sender's journal in a data directory.
pub(crate) const JOURNAL_FILE: &str = "journal.db";
/// The receiver's catalog, with the audit log.
pub(crate) const CATALOG_FILE: &str = "catalog.db";
/// Unfinished objects.
pub(crate) const STAGING_DIR: &str = "staging";
/// Sealed objects.
pub(super) const STORE_DIR: &str = "store";

impl Site {
    /// Opens a site for an agent that is to run.
    ///
    /// # Errors
    /// [`Error::Keys`] or [`Error::Refused`] for a root key or a bucket's key that
    /// cannot be used; [`Error::Failed`] for what cannot be opened.
    pub(crate) async fn open(
        config: Config,
        world: World,
        lock: DataDirLock,
    ) -> Result<Arc<Self>, Error> {
        let (config, opened) = open_files(config, &world, IfLost::Refuse).await?;
        keys::fit_to_begin(&config, &*opened.providers).await?;
        assemble(config, world, lock, opened, "agent").await
    }

    /// Opens a site to look at it: a key that cannot be used now is in nobody's way
    /// until something is to be opened with it.
    ///
    /// # Errors
    /// As [`Site::open`], but for the buckets' keys.
    pub(crate) async fn open_stopped(
        config: Config,
        world: World,
        lock: DataDirLock,
    ) -> Result<Arc<Self>, Error> {
        let (config, opened) = open_files(config, &world, IfLost::Refuse).await?;
        // Keys are used by whoever runs the command.
        let actor = Actor::offline().to_string();
        assemble(config, world, lock, opened, &actor).await
    }
}

/// The buckets of a configuration, as the archive takes them.
pub(super) fn buckets(config: &Config) -> Buckets {
    let key = |bucket: &Bucket| BucketKey {
        cmk: bucket.key.name.clone(),
        second: bucket.second_key.as_ref().map(|key| key.name.clone()),
        record_per_object: !bucket.bucket_keys,
    };
    let buckets = config.buckets.iter();
    buckets
        .map(|bucket| (bucket.name.clone(), key(bucket)))
        .collect()
}

/// The buckets that may hold so much and no more.
pub(super) fn quotas(config: &Config) -> Quotas {
    let buckets = config.buckets.iter();
    let limited = buckets.filter(|bucket| bucket.quota != Quota::default());
    limited
        .map(|bucket| (bucket.name.clone(), bucket.quota))
        .collect()
}

/// The peers that may bring so much and no more.
pub(super) fn peer_quotas(config: &Config) -> PeerQuotas {
    let peers = config.peers.iter();
    let limited = peers.filter(|peer| peer.quota != PeerQuota::default());
    limited
        .map(|peer| (peer.identity.clone(), peer.quota))
        .collect()
}

/// The buckets that keep versions for some time.
pub(super) fn retentions(config: &Config) -> Retentions {
    let buckets = config.buckets.iter();
    let keeping = buckets.filter(|bucket| bucket.retention != Retention::default());
    keeping
        .map(|bucket| (bucket.name.clone(), bucket.retention))
        .collect()
}

pub(super) struct Opened {
    keystore: Arc<LocalKeystore>,
    providers: Arc<Providers>,
    journal: SqliteJournal,
    catalog: SqliteCatalog,
    store: Arc<dyn Store>,
}

/// Passphrases are slow to use and databases may have to be recovered: on a
/// thread that may block.
pub(super) async fn open_files(
    config: Config,
    world: &World,
    catalog: IfLost,
) -> Result<(Config, Opened), Error> {
    let services = open_services(&config, world)?;
    let secret = root_secret_by(&config, world, &services).await?;
    let world = world.clone();
    let opening = tokio::task::spawn_blocking(move || {
        let opened = open_here(&config, &world, catalog, secret, services)?;
        Ok((config, opened))
    });
    opening.await.map_err(Error::failed("opening the site"))?
}

/// What to do about a catalog that is not there although there was one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum IfLost {
    /// Nothing: an empty one in its place would say that nothing was ever stored.
    Refuse,
    /// It is filled again, as soon as it is there.
    Rebuild,
}

fn open_here(
    config: &Config,
    world: &World,
    catalog: IfLost,
    secret: RootSecret,
    services: Services,
) -> Result<Opened, Error> {
    let dir: &Path = &config.site.data_dir;
    let keystore = Arc::new(open_keystore_under(config, world, secret)?);
    // It opens under the root key that is configured: the one before is needed no more.
    if keystore.settle_rekey()? {
        tracing::info!("what was sealed under the root key before is removed");
    }
    let providers = with_keystore(Arc::clone(&keystore), services);
    let facts = Arc::new(SiteFacts::new(keystore.facts_key()));
    let lost_journal = lost::journal(dir);
    let new = NewSite {
        site: SiteId::random(&*world.rng),
        epoch: Epoch::random(&*world.rng),
    };
    let bucket = bucket(config, world)?;
    match catalog {
        IfLost::Refuse => lost::refuse_new_catalog(dir, bucket.as_ref())?,
        IfLost::Rebuild => lost::make_unfinished_catalog(dir, facts.clone(), new)?,
    }
    // The catalog first: a journal without one says that there was one.
    let cannot = |which| move |source| Error::Database { which, source };
    let catalog = SqliteCatalog::open(&dir.join(CATALOG_FILE), facts.clone(), new);
    let catalog = catalog.map_err(cannot("catalog"))?;
    let journal = SqliteJournal::open(&dir.join(JOURNAL_FILE), facts);
    let journal = journal.map_err(cannot("journal"))?;
    tell_root_key(config, world, &*catalog.audit())?;
    if lost_journal {
        let record = AuditRecord::new(world.clock.now(), AuditKind::JournalLost, "agent");
        let kept = catalog.audit().record(record);
        kept.map_err(Error::failed("writing the audit log"))?;
        tracing::warn!(
            "journal.db was not there and is made anew: everything in the sources is offered again"
        );
    }
    // What the catalog knows rests in a store: one that is made anew would be empty.
    let may_make = catalog.site().sequence == 0;
    let store: Arc<dyn Store> = match bucket {
        Some(bucket) => {
            let begun = Handle::current().block_on(bucket.begin(may_make));
            begun.map_err(Error::failed("opening the store"))?;
            Arc::new(bucket)
        }
        None => Arc::new(directory(config, world, may_make)?),
    };
    Ok(Opened {
        keystore,
        providers,
        journal,
        catalog,
        store,
    })
}

/// Puts on record that a key service opened the root key: it was asked before there was an
/// audit log to write to.
fn tell_root_key(config: &Config, world: &World, audit: &dyn Audit) -> Result<(), Error> {
    let RootKeySource::WrappedFile(path) = &config.root_key else {
        return Ok(());
    };
    let root = WrappedRoot::read(&*world.disk, path)?;
    let (provider, cmk, version) = root.wrapped_by();
    let record = AuditRecord::new(world.clock.now(), AuditKind::KeyUnwrapped, "agent");
    let record = record
        .with("root_key", root.id())
        .with("provider", provider)
        .with("cmk", cmk)
        .with("cmk_version", version);
    audit
        .record(record)
        .map_err(Error::failed("writing the audit log"))
}

/// The bucket that `[store.…]` names.
fn bucket(config: &Config, world: &World) -> Result<Option<BucketStore>, Error> {
    let dir = &config.site.data_dir;
    let Some(bucket) = &config.store else {
        return Ok(None);
    };
    let staging = dir.join(STAGING_DIR);
    let opened = open_store(world, bucket, (dir, &staging));
    Handle::current().block_on(opened).map(Some)
}

fn directory(config: &Config, world: &World, may_make: bool) -> Result<DirectoryStore, Error> {
    let (disk, dir) = (Arc::clone(&world.disk), &config.site.data_dir);
    let (staging, store) = (dir.join(STAGING_DIR), dir.join(STORE_DIR));
    let store = match may_make {
        true => DirectoryStore::new(disk, staging, store),
        false => DirectoryStore::existing(disk, staging, store),
    };
    store.map_err(Error::failed("opening the store"))
}

/// What was opened, in the shape that an archive takes it.
pub(super) struct Ready {
    pub(super) parts: ArchiveParts,
    pub(super) audit: Arc<SqliteAudit>,
    keystore: Arc<LocalKeystore>,
    providers: Arc<Providers>,
    journal: SqliteJournal,
}

pub(super) fn ready(config: &Config, world: &World, opened: Opened, actor: &str) -> Ready {
    let audit = opened.catalog.audit();
    let ring = RecordRing::new(
        opened.providers.clone(),
        config.site.region.clone(),
        Arc::clone(&world.clock),
        Arc::clone(&world.rng),
        audit.clone(),
    );
    let ring = Arc::new(ring.acting_for(actor));
    let parts = ArchiveParts {
        store: opened.store,
        catalog: Arc::new(opened.catalog),
        ring,
        buckets: buckets(config),
        region: config.site.region.clone(),
        clock: Arc::clone(&world.clock),
        rng: Arc::clone(&world.rng),
        audit: audit.clone(),
        budget: Budget::new(config.memory().receiving),
        files_max: upload_files_max(),
    };
    Ready {
        parts,
        audit,
        keystore: opened.keystore,
        providers: opened.providers,
        journal: opened.journal,
    }
}

async fn assemble(
    config: Config,
    world: World,
    lock: DataDirLock,
    opened: Opened,
    actor: &str,
) -> Result<Arc<Site>, Error> {
    let ready = ready(&config, &world, opened, actor);
    let denied = Denied::open(Arc::clone(&world.disk), &config.site.data_dir)?;
    let parts = ready.parts.clone();
    let archive = Archive::open(ready.parts)
        .await
        .map_err(|error| match error {
            ArchiveError::CatalogUnfinished => Error::CatalogUnfinished(error),
            error => Error::failed("opening the archive")(error),
        })?;
    archive.set_quotas(quotas(&config));
    archive.set_peer_quotas(&peer_quotas(&config));
    archive.set_retentions(retentions(&config));
    let current = Arc::new(config.clone()).into();
    Ok(Arc::new(Site {
        config,
        world,
        keystore: ready.keystore,
        providers: ready.providers,
        ring: parts.ring,
        journal: Arc::new(ready.journal),
        catalog: parts.catalog,
        audit: ready.audit,
        store: parts.store,
        archive: Arc::new(archive),
        budget: parts.budget,
        metrics: Arc::default(),
        denied,
        authority: Default::default(),
        current,
        _lock: lock,
    }))
}
