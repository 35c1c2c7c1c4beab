//! The outside world as the agent hands it on, and what is opened from the files
//! that a configuration names.

use std::{collections::BTreeMap, sync::Arc};

use sealift_host::{OsClock, OsDisk, OsRng};
use sealift_identity::{IdentityError, PeerTrust, Peers, RevocationLists};
use sealift_keys::{KEYSTORE_FILE, KeyError, LocalKeystore, Providers, RootSecret, WrappedRoot};
use sealift_terms::{Clock, Disk, Rng};

use crate::{
    bundles::{Bundles, peer_bundle},
    config::{Config, RootKeySource},
    providers::Services,
};

/// Disk, clock and randomness of one agent.
#[derive(Debug, Clone)]
pub struct World {
    /// Where the data directory is.
    pub disk: Arc<dyn Disk>,
    /// What time it is.
    pub clock: Arc<dyn Clock>,
    /// Where keys come from.
    pub rng: Arc<dyn Rng>,
}

impl World {
    /// The operating system's own.
    #[must_use]
    pub fn real() -> Self {
        Self {
            disk: Arc::new(OsDisk),
            clock: Arc::new(OsClock),
            rng: Arc::new(OsRng),
        }
    }
}

/// What opens the keystore, where no key service has to be asked for it.
///
/// # Errors
/// [`KeyError`] when it cannot be read or is not what it should be.
pub fn root_secret(source: &RootKeySource) -> Result<RootSecret, KeyError> {
    match source {
        RootKeySource::File(path) => RootSecret::from_file(path),
        RootKeySource::Credential(name) => RootSecret::from_credential(name),
        RootKeySource::PassphraseFile(path) => RootSecret::from_passphrase_file(path),
        RootKeySource::WrappedFile(_) => Err(KeyError::RootKey {
            what: "it is wrapped, and no key service was asked to open it",
        }),
    }
}

/// What opens the keystore, by the key service that wrapped it where one did.
pub(crate) async fn root_secret_by(
    config: &Config,
    world: &World,
    services: &Services,
) -> Result<RootSecret, KeyError> {
    match &config.root_key {
        RootKeySource::WrappedFile(path) => {
            let wrapped = WrappedRoot::read(&*world.disk, path)?;
            let providers = Providers::new(services.clone());
            wrapped.open(&providers, &config.site.region).await
        }
        plain => root_secret(plain),
    }
}

/// The keystore of a site whose root key no key service holds.
///
/// # Errors
/// [`KeyError`] for a wrong root key, or an altered or missing file.
pub fn open_keystore(config: &Config, world: &World) -> Result<LocalKeystore, KeyError> {
    open_keystore_under(config, world, root_secret(&config.root_key)?)
}

/// The keystore of a site, under this root key.
pub(crate) fn open_keystore_under(
    config: &Config,
    world: &World,
    secret: RootSecret,
) -> Result<LocalKeystore, KeyError> {
    LocalKeystore::open(
        Arc::clone(&world.disk),
        Arc::clone(&world.clock),
        Arc::clone(&world.rng),
        &config.site.data_dir.join(KEYSTORE_FILE),
        secret,
    )
}

/// The configured peers, each with its own roots and revocation lists. One that nothing
/// vouches for is not among them.
///
/// # Errors
/// [`IdentityError`] for a bundle or a list that cannot be used for its peer.
pub fn load_peers(config: &Config, world: &World) -> Result<Peers, IdentityError> {
    let (mut peers, mut lists) = (Vec::new(), BTreeMap::new());
    let bundles = Bundles::load(config, world)?;
    for peer in &config.peers {
        let Some(roots) = peer_bundle(config, &bundles, &peer.trust_bundle)? else {
            continue;
        };
        peers.push(PeerTrust {
            name: peer.name.clone(),
            identity: peer.identity.clone(),
            roots,
            demands: peer.demands,
            dns: peer.dns.clone(),
        });
        if let Some(path) = &peer.crl {
            let read = RevocationLists::load(path)?;
            lists.insert(peer.identity.clone(), Arc::new(read));
        }
    }
    Ok(Peers::new(peers, [])?.with_lists(lists))
}
