//! Landlock: the process gives up every file that is not its own, for good.

use std::{
    collections::BTreeSet,
    fs, io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use landlock::{
    ABI, Access, AccessFs, CompatLevel, Compatible, Ruleset, RulesetAttr, RulesetCreatedAttr,
    RulesetStatus, path_beneath_rules,
};

/// What resolving the names of peers and counting processors read, by the C library.
const SYSTEM: [&str; 10] = [
    "/etc",
    "/usr/lib",
    "/lib",
    "/lib64",
    "/run/systemd/resolve",
    "/run/resolvconf",
    "/run/NetworkManager",
    "/dev/urandom",
    "/proc/swaps",
    "/sys/devices/system/cpu",
];

/// What a process may still reach.
#[derive(Debug, Clone, Default)]
pub struct Sandbox {
    /// Directories to read and to write.
    own: BTreeSet<PathBuf>,
    /// Directories to read.
    read: BTreeSet<PathBuf>,
}

/// How far the kernel holds a process to its [`Sandbox`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Enforced {
    /// In everything.
    Fully,
    /// This kernel knows some of the rules only.
    Partly,
    /// Not at all: the kernel has no Landlock, or one in which files cannot be moved
    /// from one directory to another.
    Not,
}

impl Sandbox {
    /// Nothing but what the C library needs.
    #[must_use]
    pub fn new() -> Self {
        let mut sandbox = Self::default();
        sandbox.read.extend(SYSTEM.map(PathBuf::from));
        sandbox
    }

    /// Allows everything below a directory.
    pub fn own(&mut self, directory: &Path) {
        self.own.insert(directory.to_owned());
        self.own.extend(directory.canonicalize());
    }

    /// Allows reading below a directory. Of one that is not there yet the nearest above
    /// it that is, the root of all excepted. When it is the root of a mounted file system
    /// the directory that it is mounted in is allowed, too: one that comes back after it
    /// was gone is another one to the kernel.
    pub fn read(&mut self, directory: &Path) {
        self.read.insert(directory.to_owned());
        self.read.extend(directory.canonicalize());
        if !directory.exists() {
            let above = directory.ancestors().find(|above| above.exists());
            let above = above.filter(|above| *above != Path::new("/"));
            self.read.extend(above.map(Path::to_owned));
        }
        let device = |path: &Path| fs::metadata(path).map(|facts| facts.dev());
        if let Some(above) = directory.parent()
            && let (Ok(here), Ok(there)) = (device(directory), device(above))
            && here != there
            && above != Path::new("/")
        {
            self.read.insert(above.to_owned());
        }
    }

    /// Allows reading a file: the directory it is in, as files are replaced by others, and
    /// that of the file that it may be a link to.
    pub fn read_file(&mut self, file: &Path) {
        let real = file.canonicalize().ok();
        let directories = [Some(file), real.as_deref()].map(|file| file.and_then(Path::parent));
        for directory in directories.into_iter().flatten() {
            let here = match directory.as_os_str().is_empty() {
                true => Path::new("."),
                false => directory,
            };
            self.read.insert(here.to_owned());
        }
    }

    /// Whether a file may be read: by its path, and by that of the file that it may be a
    /// link to.
    #[must_use]
    pub fn covers(&self, file: &Path) -> bool {
        let absolute = |path: &Path| path.canonicalize().or_else(|_| std::path::absolute(path));
        let Ok(real) = absolute(file) else {
            return false;
        };
        let allowed = self.own.iter().chain(&self.read);
        let mut allowed = allowed.filter_map(|directory| absolute(directory).ok());
        allowed.any(|directory| real.starts_with(directory))
    }

    /// Holds this thread, and those that it starts from now on, to what was allowed.
    /// There is no way back. Sockets are not restricted.
    ///
    /// # Errors
    /// What the kernel says; a kernel without Landlock is no error.
    pub fn enforce(&self) -> io::Result<Enforced> {
        let all = AccessFs::from_all(ABI::V5);
        let read = AccessFs::ReadFile | AccessFs::ReadDir;
        // Without this right no file could be published by being moved.
        let moving = Ruleset::default()
            .set_compatibility(CompatLevel::HardRequirement)
            .handle_access(AccessFs::Refer);
        let Ok(moving) = moving else {
            return Ok(Enforced::Not);
        };
        let status = moving
            .set_compatibility(CompatLevel::BestEffort)
            .handle_access(all)
            .and_then(Ruleset::create)
            .and_then(|rules| rules.add_rules(path_beneath_rules(&self.own, all)))
            .and_then(|rules| rules.add_rules(path_beneath_rules(&self.read, read)))
            .and_then(landlock::RulesetCreated::restrict_self)
            .map_err(io::Error::other)?;
        Ok(match status.ruleset {
            RulesetStatus::FullyEnforced => Enforced::Fully,
            RulesetStatus::PartiallyEnforced => Enforced::Partly,
            RulesetStatus::NotEnforced => Enforced::Not,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::{io::ErrorKind, net::TcpListener, thread};

    use super::*;

    /// Runs `act` in a thread of its own that is held to `sandbox`; gives nothing where
    /// the kernel has no Landlock.
    fn within(sandbox: Sandbox, act: impl FnOnce() + Send + 'static) {
        let ran = thread::spawn(move || match sandbox.enforce().unwrap() {
            Enforced::Not => eprintln!("left out: this kernel has no Landlock to speak of"),
            Enforced::Fully | Enforced::Partly => act(),
        });
        ran.join().unwrap();
    }

    #[test]
    fn only_the_own_directory_is_written_and_only_what_is_named_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        for name in ["own/a", "own/b", "source", "config", "secret"] {
            fs::create_dir_all(at(name)).unwrap();
            fs::write(at(name).join("file"), name).unwrap();
        }
        std::os::unix::fs::symlink(at("secret/file"), at("source/link")).unwrap();
        let mut sandbox = Sandbox::new();
        sandbox.own(&at("own"));
        sandbox.read(&at("source"));
        sandbox.read_file(&at("config/file"));
        assert!(sandbox.covers(&at("config/other")) && !sandbox.covers(&at("secret/file")));
        assert!(!sandbox.covers(&at("source/link")), "it leads elsewhere");
        let root = dir.path().to_owned();
        within(sandbox, move || {
            let at = |name: &str| root.join(name);
            let denied = |outcome: io::Result<()>| {
                assert_eq!(outcome.unwrap_err().kind(), ErrorKind::PermissionDenied);
            };
            fs::write(at("own/a/new"), "x").unwrap();
            fs::rename(at("own/a/new"), at("own/b/new")).unwrap();
            fs::remove_file(at("own/b/new")).unwrap();
            assert_eq!(fs::read_to_string(at("source/file")).unwrap(), "source");
            denied(fs::write(at("source/file"), "x"));
            denied(fs::remove_file(at("source/file")));
            denied(fs::write(at("source/new"), "x"));
            denied(fs::read(at("source/link")).map(drop));
            // A file that is put in another's place is read all the same.
            assert_eq!(fs::read_to_string(at("config/file")).unwrap(), "config");
            denied(fs::read(at("secret/file")).map(drop));
            denied(fs::write(at("new"), "x"));
            // Threads that are started later are held to it, the network is not.
            let secret = at("secret/file");
            let later = thread::spawn(move || fs::read(secret).map(drop));
            denied(later.join().unwrap());
            TcpListener::bind("127.0.0.1:0").unwrap();
        });
    }
}
