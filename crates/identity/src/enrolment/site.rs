//! The site whose agent issues from an authority: what a command does with the authority
//! goes on record there.

use std::{
    fs,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use super::{ENROLMENT, Enrolments, read, write};
use crate::{error::IdentityError, files};

const SITE: &str = "site";

/// A site whose agent issues from an authority, as that agent noted it when it started.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IssuingSite {
    /// The authority's directory: a copy of it is another one.
    directory: PathBuf,
    /// The site's configuration.
    pub configuration: PathBuf,
    /// The socket of its agent, while that runs.
    pub socket: PathBuf,
}

impl IssuingSite {
    /// That of the authority in a directory, if its agent ever started.
    ///
    /// # Errors
    /// [`IdentityError`] when the note of it cannot be read.
    pub fn of(directory: &Path) -> Result<Option<Self>, IdentityError> {
        let noted: Option<Self> = read(&directory.join(ENROLMENT).join(SITE))?;
        let Some(noted) = noted else { return Ok(None) };
        let here = fs::canonicalize(directory).map_err(files::failed("read", directory))?;
        Ok((noted.directory == here).then_some(noted))
    }
}

impl Enrolments {
    /// Notes the site whose agent issues from here.
    ///
    /// # Errors
    /// [`IdentityError::File`] when that cannot be written.
    pub fn note_site(&self, configuration: &Path, socket: &Path) -> Result<(), IdentityError> {
        let whole = |path: &Path| fs::canonicalize(path).map_err(files::failed("read", path));
        let authority = self.dir.parent().unwrap_or(&self.dir);
        let socket = std::path::absolute(socket).map_err(files::failed("read", socket))?;
        let site = IssuingSite {
            directory: whole(authority)?,
            configuration: whole(configuration)?,
            socket,
        };
        write(&self.dir.join(SITE), &site)
    }
}
