//! Certificate and key of an agent that gets them itself, in its data directory.

use std::{io, path::PathBuf};

use sealift_identity::{Credentials, IdentityError, new_private_key, signing_request};
use sealift_terms::{
    Identity,
    limits::CERTIFICATE_FILE_BYTES_MAX,
    world::{read_file, replace_file},
};
use zeroize::Zeroizing;

use crate::{Error, RENEWED_FILE, World, bundles::own_bundle, config::Config};

/// The key of the certificate that is being asked for: on the disk before it is shown to
/// anybody, so that a lost answer can be asked for again.
const NEXT_KEY_FILE: &str = "identity.key.next";

/// This agent's certificate and key: of those in the configured files and those it
/// got by itself the ones that were issued later.
///
/// # Errors
/// [`IdentityError`] for what a peer would refuse, too.
pub fn load_credentials(config: &Config, world: &World) -> Result<Credentials, IdentityError> {
    let files = &config.identity;
    let roots = own_bundle(config, world)?;
    let now = world.clock.now();
    let load = |certificate, key| {
        let loaded = Credentials::load_as(certificate, key, &roots, &files.own, now)?;
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
    pub(super) fn new(config: &Config, world: &World) -> Self {
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

    /// The key to ask with: the one of an earlier try, if there was one.
    pub(super) fn next_key(&self) -> Result<Zeroizing<String>, Error> {
        let (path, disk) = (self.beside(NEXT_KEY_FILE), &*self.world.disk);
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
        self.forget_key()?;
        Ok(credentials)
    }

    /// A key is asked with until there is a certificate for it, and then no more.
    fn forget_key(&self) -> Result<(), Error> {
        let next = self.beside(NEXT_KEY_FILE);
        match self.world.disk.remove_file(&next) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(Error::io("remove", next)(error))
            }
            _ => Ok(()),
        }
    }
}
