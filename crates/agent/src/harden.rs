//! What a process that holds keys does before it reads any.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use rustix::{
    mm::MlockAllFlags,
    process::{DumpableBehavior, Resource, Rlimit},
};
use sealift_forward::Address;
use sealift_host::{Enforced, Sandbox};

use crate::{
    Error,
    certifying::roots_of,
    config::{CertificatesFrom, Config, RootKeySource},
    providers::files_of_services,
    sources::files_of_sources,
};

/// No core dump, and no other process of this user may read our memory: keys
/// would be in both.
///
/// # Errors
/// What the operating system says.
pub fn forbid_dumps() -> io::Result<()> {
    let none = Rlimit {
        current: Some(0),
        maximum: Some(0),
    };
    rustix::process::setrlimit(Resource::Core, none)?;
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    Ok(())
}

/// Keeps all memory of this process out of swap, where it may lock as much as it likes: a
/// service with `LimitMEMLOCK=infinity`. With less, what does not fit would be refused to
/// whatever asks for memory later; then it is not tried. Whether it is locked.
///
/// # Errors
/// What the operating system says.
pub fn lock_memory() -> io::Result<bool> {
    if !may_lock_memory() {
        return Ok(false);
    }
    // What is never touched takes no memory for that.
    let all = MlockAllFlags::CURRENT | MlockAllFlags::FUTURE | MlockAllFlags::ONFAULT;
    rustix::mm::mlockall(all)?;
    tracing::info!("memory is locked: nothing of it gets into swap");
    Ok(true)
}

/// Whether a process with these limits locks its memory.
pub(crate) fn may_lock_memory() -> bool {
    rustix::process::getrlimit(Resource::Memlock)
        .current
        .is_none()
}

/// The files that a process is held to, where the kernel can do that.
#[derive(Debug, Clone)]
pub struct Confined(Option<Sandbox>);

impl Confined {
    /// Not at all: for an agent within a process that does other things as well.
    #[must_use]
    pub fn not_at_all() -> Self {
        Self(None)
    }

    /// Refuses a configuration that names files which cannot be reached any more.
    pub(crate) fn refuse_outside(&self, config: &Config) -> Result<(), Error> {
        let outside = |file: &PathBuf| self.0.as_ref().is_some_and(|within| !within.covers(file));
        let sockets = sockets_of(config).into_iter().map(Path::to_owned);
        match files_of(config).into_iter().chain(sockets).find(outside) {
            None => Ok(()),
            Some(file) => Err(Error::RestartNeeded {
                what: format!(
                    "{} is not in a directory that the configuration named at the start, and \
                     no other can be reached",
                    file.display()
                ),
            }),
        }
    }

    /// Whether a directory of a configuration can be reached.
    pub(crate) fn covers(&self, directory: &Path) -> bool {
        let within = self.0.as_ref();
        within.is_none_or(|within| within.covers(directory))
    }
}

/// Holds this process to the files that `config` names: its data directory, and what is
/// only read. To be called before any thread is started; there is no way back. Sockets
/// are not restricted.
///
/// # Errors
/// What the kernel says. One that has no Landlock is no error.
pub fn confine(config: &Config) -> Result<Confined, Error> {
    let mut sandbox = Sandbox::new();
    sandbox.own(&config.site.data_dir);
    if let Some(ca) = &config.ca {
        sandbox.own(&ca.directory);
    }
    files_of(config)
        .into_iter()
        .for_each(|file| sandbox.read_file(&file));
    if let Some(credentials) = std::env::var_os("CREDENTIALS_DIRECTORY") {
        sandbox.read(Path::new(&credentials));
    }
    for directory in config
        .key_services
        .pkcs11
        .iter()
        .flat_map(|token| &token.directories)
    {
        sandbox.own(directory);
    }
    for source in &config.sources {
        source
            .from
            .directory()
            .into_iter()
            .for_each(|directory| sandbox.read(directory));
    }
    for directory in sockets_of(config) {
        sandbox.own(directory);
    }
    let enforced = sandbox.enforce();
    Ok(match enforced.map_err(Error::failed("giving up files"))? {
        Enforced::Fully => {
            tracing::info!("only the data directory can be written, and what is named be read");
            Confined(Some(sandbox))
        }
        Enforced::Partly => {
            tracing::warn!("this kernel holds the agent to its files in part only");
            Confined(Some(sandbox))
        }
        Enforced::Not => {
            tracing::warn!("this kernel cannot hold the agent to its files: it has no Landlock");
            Confined(None)
        }
    })
}

/// The files that are read again with every reload, and the root key.
fn files_of(config: &Config) -> Vec<PathBuf> {
    let identity = &config.identity;
    let mut files = vec![
        config.path.clone(),
        identity.certificate.clone(),
        identity.private_key_file.clone(),
        identity.trust_bundle.clone(),
    ];
    files.extend(config.peers.iter().map(|peer| peer.trust_bundle.clone()));
    files.extend(config.peers.iter().filter_map(|peer| peer.crl.clone()));
    if let CertificatesFrom::Acme(acme) = &identity.source {
        let external = acme.external.as_ref();
        files.extend(external.map(|external| external.key_file.clone()));
        files.push(roots_of(acme));
    }
    files.extend(files_of_services(config));
    files.extend(files_of_sources(config));
    let keys = config.endpoint.iter().flat_map(|endpoint| &endpoint.keys);
    files.extend(keys.map(|key| key.secret_file.clone()));
    match &config.root_key {
        RootKeySource::File(path)
        | RootKeySource::PassphraseFile(path)
        | RootKeySource::WrappedFile(path) => files.push(path.clone()),
        RootKeySource::Credential(_) => {}
    }
    files
}

/// The directories in which forwards and operators have sockets, which are made there and removed.
fn sockets_of(config: &Config) -> Vec<&Path> {
    let sockets = config.forwards.iter().filter_map(|one| match &one.listen {
        Address::Unix(path) => path.parent(),
        Address::Tcp(_) => None,
    });
    let operators = config.operators_socket.as_deref().and_then(Path::parent);
    sockets.chain(operators).collect()
}

/// Whether memory may be written to a swap device on this machine.
#[must_use]
pub fn swap_is_on() -> bool {
    // The first line is a heading.
    fs::read_to_string("/proc/swaps").is_ok_and(|swaps| swaps.lines().nth(1).is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_locked_where_all_of_it_may_be() {
        let before = rustix::process::getrlimit(Resource::Memlock);
        let all = Rlimit {
            current: None,
            maximum: None,
        };
        // Only a privileged user may raise it.
        let is_allowed = rustix::process::setrlimit(Resource::Memlock, all).is_ok();
        assert_eq!(lock_memory().unwrap(), is_allowed);
        let status = fs::read_to_string("/proc/self/status").unwrap();
        let line = status.lines().find(|line| line.starts_with("VmLck:"));
        let is_locked = !line.unwrap().contains(" 0 kB");
        assert_eq!(is_locked, is_allowed, "{line:?}");
        rustix::mm::munlockall().unwrap();
        rustix::process::setrlimit(Resource::Memlock, before).unwrap();
        if before.current.is_some() {
            assert!(!lock_memory().unwrap(), "with less it is not tried");
        }
    }

    #[test]
    fn a_hardened_process_leaves_no_core() {
        forbid_dumps().unwrap();
        assert_eq!(rustix::process::getrlimit(Resource::Core).current, Some(0));
        let now = rustix::process::dumpable_behavior().unwrap();
        assert_eq!(now, DumpableBehavior::NotDumpable);
    }
}
