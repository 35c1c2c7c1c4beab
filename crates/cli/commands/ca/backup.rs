//! `sealift ca backup` and `sealift ca restore`.

use std::path::PathBuf;

use clap::Args;
use sealift_agent::{Error, Exit, World};
use sealift_identity::Authority;
use sealift_terms::limits::AUTHORITY_BACKUP_BYTES_MAX;
use serde_json::json;

use crate::{
    cli::Global,
    commands::sealed_file,
    output::{self, Outcome},
    prompt,
};

const QUESTION: &str = "Passphrase of the backup";

#[derive(Debug, Args)]
pub(crate) struct Backup {
    /// The authority's directory
    #[arg(long, value_name = "DIR", default_value = "ca")]
    dir: PathBuf,
    /// The file to write; an older one is replaced once the new one was verified
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// A file whose first line is the passphrase of the backup
    #[arg(long, value_name = "FILE")]
    passphrase_file: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct Restore {
    /// The directory to make
    #[arg(long, value_name = "DIR", default_value = "ca")]
    dir: PathBuf,
    /// The backup
    #[arg(long, value_name = "FILE")]
    from: PathBuf,
    /// A file whose first line is the passphrase of the backup
    #[arg(long, value_name = "FILE")]
    passphrase_file: Option<PathBuf>,
}

impl Backup {
    pub(super) fn run(&self, global: &Global) -> Outcome {
        let authority = Authority::open(&self.dir).map_err(Error::from)?;
        let passphrase = prompt::passphrase(self.passphrase_file.as_deref(), QUESTION, true)?;
        let text = authority.backup(&passphrase, &*World::real().rng);
        let text = text.map_err(Error::from)?;
        let files = sealed_file::write_verified(&self.out, text.as_bytes(), |bytes| {
            Ok(authority.verify_backup(bytes, &passphrase)?)
        })?;
        authority.note_backup().map_err(Error::from)?;
        let out = self.out.display().to_string();
        output::row(
            global.json,
            &json!({"file": out, "domain": authority.domain(), "files": files}),
            format!(
                "{files} files of {} are in {out}, which was opened again and compared\n\
                 Keep it and its passphrase apart from each other and from this machine.",
                self.dir.display()
            ),
        )?;
        Ok(Exit::Done)
    }
}

impl Restore {
    pub(super) fn run(&self, global: &Global) -> Outcome {
        let text = sealed_file::read(&self.from, AUTHORITY_BACKUP_BYTES_MAX)?;
        let passphrase = prompt::passphrase(self.passphrase_file.as_deref(), QUESTION, false)?;
        let restored = Authority::restore(&self.dir, &text, &passphrase);
        let authority = restored.map_err(Error::from)?;
        let regions = authority.regions().map_err(Error::from)?;
        let names: Vec<_> = regions.iter().map(|region| region.as_str()).collect();
        output::row(
            global.json,
            &json!({"domain": authority.domain(), "regions": names, "dir": self.dir}),
            format!(
                "authority   {}\ndomain      {}\nregions     {}",
                self.dir.display(),
                authority.domain(),
                names.join(", ")
            ),
        )?;
        Ok(Exit::Done)
    }
}
