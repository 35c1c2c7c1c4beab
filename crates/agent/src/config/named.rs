//! The files and directories that a configuration names. They are looked at apart
//! from its form: a command that only asks the running agent needs none of them.

use std::{
    fs::{self, Metadata},
    os::unix::fs::PermissionsExt,
    path::PathBuf,
};

use super::{
    Config,
    error::{ConfigError, Place, Refusal},
};

/// What something named must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// A file that must be there.
    File,
    /// A file with a secret: it must be there and only its owner may read it.
    Secret,
    /// A directory that must be there.
    Directory,
}

/// A file or directory that a setting names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Named {
    /// The setting, as in `identity.certificate`.
    pub(crate) setting: &'static str,
    pub(crate) place: Place,
    pub(crate) path: PathBuf,
    pub(crate) wanted: Wanted,
    /// What to do when it is not there.
    pub(crate) remedy: &'static str,
}

impl Config {
    /// Refuses what is named by settings that begin with one of `settings` and is
    /// not there as it must be. Sources are not among them: one that is away holds
    /// up its own bucket and nothing else.
    ///
    /// # Errors
    /// [`ConfigError`] tells all of it, each with its line.
    pub fn look_at(&self, settings: &[&str]) -> Result<(), ConfigError> {
        let chosen = |named: &&Named| {
            let mut settings = settings.iter();
            settings.any(|setting| named.setting.starts_with(setting))
        };
        let refusals = self.named.iter().filter(chosen);
        let refusals: Vec<_> = refusals.filter_map(Named::refusal).collect();
        match refusals.is_empty() {
            true => Ok(()),
            false => Err(ConfigError {
                path: self.path.clone(),
                refusals,
            }),
        }
    }
}

impl Named {
    fn refusal(&self) -> Option<Refusal> {
        let (what, is_wanted): (_, fn(&Metadata) -> bool) = match self.wanted {
            Wanted::File | Wanted::Secret => ("a file", Metadata::is_file),
            Wanted::Directory => ("a directory", Metadata::is_dir),
        };
        let path = self.path.display();
        let metadata = match fs::metadata(&self.path) {
            Ok(metadata) => metadata,
            Err(error) => {
                let (found, allowed) = (
                    format!("{path} ({error})"),
                    format!("{what} that can be read"),
                );
                return Some(self.refused(found, allowed, self.remedy.to_owned()));
            }
        };
        let mode = metadata.permissions().mode() & 0o7777;
        if !is_wanted(&metadata) {
            let found = format!("{path}, which is something else");
            Some(self.refused(found, what.to_owned(), self.remedy.to_owned()))
        } else if self.wanted == Wanted::Secret && mode & 0o077 != 0 {
            Some(self.refused(
                format!("mode {mode:04o} of {path}, which others can read"),
                "a secret file that only its owner can read".to_owned(),
                format!("run `chmod 600 {path}`"),
            ))
        } else {
            None
        }
    }

    fn refused(&self, found: String, allowed: String, remedy: String) -> Refusal {
        Refusal {
            place: self.place.clone(),
            setting: self.setting.to_owned(),
            found,
            allowed,
            remedy,
        }
    }
}
