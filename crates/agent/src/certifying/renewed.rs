//! Certificate and key of an agent that gets them itself, in its data directory.

use std::{
    io,
    path::{Path, PathBuf},
};

use sealift_identity::{
    Credentials, IdentityError, Leaf, OwnDemands, TrustBundle, new_private_key, signing_request,
};
use sealift_terms::{
    Identity, Timestamp,
    limits::CERTIFICATE_FILE_BYTES_MAX,
    world::{read_file, replace_file},
};
use zeroize::Zeroizing;

use super::TakesBundles;
use crate::{
    Error, RENEWED_FILE, World,
    bundles::own_bundle,
    config::{Ca, CertificatesFrom, Config},
    enrolling::Given,
};

/// The key of the certificate that is being asked for: on the disk before it is shown to
/// anybody, so that a lost answer can be asked for again.
const NEXT_KEY_FILE: &str = "identity.key.next";

/// Reads and checks a certificate and its key, as of a moment.
type Load =
    fn(&Path, &Path, &TrustBundle, &OwnDemands, Timestamp) -> Result<Credentials, IdentityError>;

/// This agent's certificate and key: of those in the configured files and those it
/// got by itself the ones that were issued later.
///
/// # Errors
/// [`IdentityError`] for what a peer would refuse, too.
pub fn load_credentials(config: &Config, world: &World) -> Result<Credentials, IdentityError> {
    load_by(Credentials::load_as, config, world)
}

/// The same, or the last ones where all that there are is over.
///
/// # Errors
/// As [`load_credentials`].
pub(crate) fn load_last_credentials(
    config: &Config,
    world: &World,
) -> Result<Credentials, IdentityError> {
    load_credentials(config, world)
        .or_else(|error| load_by(Credentials::load_last_as, config, world).map_err(|_| error))
}

/// The same beside those that are in force: none go before them that are over, unless they
/// are these.
///
/// # Errors
/// As [`load_credentials`].
pub(crate) fn load_credentials_beside(
    in_force: &Credentials,
    config: &Config,
    world: &World,
) -> Result<Credentials, IdentityError> {
    load_credentials(config, world).or_else(|error| match load_last_credentials(config, world) {
        Ok(last) if last.shows_the_same(in_force) => Ok(last),
        _ => Err(error),
    })
}

/// Whether all that an agent has is a certificate that is over, and it can get another one
/// when it runs.
pub(crate) fn awaits_renewal(config: &Config, world: &World) -> bool {
    let last = load_last_credentials(config, world);
    last.is_ok_and(|last| {
        let (leaf, now) = (last.leaf(), world.clock.now());
        let of_site = *leaf.identity.region() == config.site.region;
        of_site && leaf.is_over(now) && is_renewable(config, leaf, now)
    })
}

/// Whether there is another certificate after one that is over.
pub(crate) fn is_renewable(config: &Config, leaf: &Leaf, now: Timestamp) -> bool {
    match &config.identity.source {
        CertificatesFrom::Issuer(_) if own_authority(config, &leaf.identity).is_some() => true,
        CertificatesFrom::Issuer(_) => now <= leaf.renewable_until(),
        // Whoever gives these asks for none that was before.
        CertificatesFrom::Files | CertificatesFrom::Acme(_) | CertificatesFrom::Spiffe(_) => true,
    }
}

/// The authority of an agent that issues its own certificate.
pub(crate) fn own_authority<'a>(config: &'a Config, own: &Identity) -> Option<&'a Ca> {
    match &config.identity.source {
        CertificatesFrom::Issuer(issuer) if issuer.identity == *own => config.ca.as_ref(),
        _ => None,
    }
}

fn load_by(load: Load, config: &Config, world: &World) -> Result<Credentials, IdentityError> {
    let files = &config.identity;
    let roots = own_bundle(config, world)?;
    let now = world.clock.now();
    let load = |certificate, key| {
        let loaded = load(certificate, key, &roots, &files.own, now)?;
        hold_agent(files.agent.as_ref(), &loaded)?;
        Ok(loaded)
    };
    let given = load(&files.certificate, &files.private_key_file);
    let path = config.site.data_dir.join(RENEWED_FILE);
    if !files.source.writes() || files.certificate == path || !path.exists() {
        return given;
    }
    let renewed = load(&path, &path);
    match (given, renewed) {
        (Ok(given), Ok(renewed)) => {
            let (old, new) = (given.leaf(), renewed.leaf());
            let is_newer = old.identity == new.identity && old.not_before < new.not_before;
            Ok(if is_newer { renewed } else { given })
        }
        (Err(_), Ok(renewed)) => Ok(renewed),
        (given, Err(_)) => given,
    }
}

fn hold_agent(agent: Option<&Identity>, found: &Credentials) -> Result<(), IdentityError> {
    let found = &found.leaf().identity;
    match agent {
        Some(expected) if expected != found => Err(IdentityError::IdentityChanged {
            expected: expected.clone(),
            found: found.clone(),
        }),
        _ => Ok(()),
    }
}

/// Where they are kept, and what they are held against.
#[derive(Debug, Clone)]
pub(crate) struct Renewed {
    config: Config,
    world: World,
}

impl Renewed {
    pub(crate) fn new(config: &Config, world: &World) -> Self {
        Self {
            config: config.clone(),
            world: world.clone(),
        }
    }

    pub(super) fn config(&self) -> &Config {
        &self.config
    }

    pub(super) fn world(&self) -> &World {
        &self.world
    }

    pub(super) fn beside(&self, name: &str) -> PathBuf {
        self.config.site.data_dir.join(name)
    }

    /// Another certificate against the one that is shown, of an issuer that `ask` sends a
    /// signing request.
    pub(crate) async fn another<F>(
        &self,
        shown: &Credentials,
        bundles: &dyn TakesBundles,
        ask: impl FnOnce(String) -> F,
    ) -> Result<Credentials, Error>
    where
        F: Future<Output = Result<Given, Error>>,
    {
        let key = self.next_key()?;
        let given = ask(signing_request(&key)?).await?;
        bundles.take(&given.bundle).await;
        self.settle(&given.certificate, &key, Some(shown))
    }

    /// The key to ask with: the one of an earlier try, if there was one.
    pub(super) fn next_key(&self) -> Result<Zeroizing<String>, Error> {
        self.key_in(NEXT_KEY_FILE)
    }

    /// A key that is on the disk before it is asked with, and is asked with again.
    pub(super) fn key_in(&self, name: &str) -> Result<Zeroizing<String>, Error> {
        let (path, disk) = (self.beside(name), &*self.world.disk);
        match read_file(disk, &path, CERTIFICATE_FILE_BYTES_MAX).map(Zeroizing::new) {
            Ok(bytes) => match std::str::from_utf8(&bytes) {
                Ok(text) if signing_request(text).is_ok() && !self.is_in_use(text) => {
                    return Ok(Zeroizing::new(text.to_owned()));
                }
                // Cut off while it was written: nobody has seen it. Or there is a certificate
                // for it, and the next one has another key.
                _ => {}
            },
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(Error::io("read", path)(error)),
        }
        let key = new_private_key()?;
        replace_file(disk, &path, key.as_bytes()).map_err(Error::io("write", path))?;
        Ok(key)
    }

    fn is_in_use(&self, key_pem: &str) -> bool {
        let (path, disk) = (self.beside(RENEWED_FILE), &*self.world.disk);
        let read = read_file(disk, &path, CERTIFICATE_FILE_BYTES_MAX).map(Zeroizing::new);
        read.is_ok_and(|bytes| {
            let mut parts = bytes.windows(key_pem.len().max(1));
            parts.any(|part| part == key_pem.as_bytes())
        })
    }

    /// Takes a chain for a key, with the eyes of a peer: what is not good, or is for
    /// another agent, stays out. What is good is on the disk before anybody sees it.
    pub(super) fn settle(
        &self,
        chain_pem: &str,
        key_pem: &str,
        shown: Option<&Credentials>,
    ) -> Result<Credentials, Error> {
        let roots = own_bundle(&self.config, &self.world)?;
        let identity = &self.config.identity;
        let (chain, key) = (chain_pem.as_bytes(), key_pem.as_bytes());
        let now = self.world.clock.now();
        let credentials = Credentials::from_pem_as(chain, key, &roots, &identity.own, now)?;
        let expected = identity.agent.as_ref();
        let expected = expected.or(shown.map(|shown| &shown.leaf().identity));
        hold_agent(expected, &credentials)?;
        let both = Zeroizing::new(format!("{chain_pem}\n{key_pem}"));
        let (path, disk) = (self.beside(RENEWED_FILE), &*self.world.disk);
        replace_file(disk, &path, both.as_bytes()).map_err(Error::io("write", path))?;
        self.forget(NEXT_KEY_FILE)?;
        Ok(credentials)
    }

    /// A key is asked with until there is a certificate for it, and then no more.
    pub(super) fn forget(&self, name: &str) -> Result<(), Error> {
        let next = self.beside(name);
        match self.world.disk.remove_file(&next) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(Error::io("remove", next)(error))
            }
            _ => Ok(()),
        }
    }
}
