//! `sealift keys backup` and `sealift keys restore`. The passphrase is stretched
//! here: an agent that runs is given the key it makes, and never the passphrase.

use std::path::{Path, PathBuf};

use clap::Args;
use sealift_agent::{
    Error, Exit, Restoring, World,
    admin::{Answers, KeyVersions, Keys as Act, KeysRestored, Piece, Reached, Request},
};
use sealift_keys::{LocalKeystore, RootSecret, StretchedPassphrase};
use sealift_terms::limits::KEYSTORE_BYTES_MAX;
use serde_json::json;

use crate::{
    cli::Global,
    commands::{rows, sealed_file},
    output::{self, Outcome},
    prompt,
};

#[derive(Debug, Args)]
pub(crate) struct Backup {
    /// The file to write; an older one is replaced once the new one was verified
    file: PathBuf,
    /// A file whose first line is the passphrase of the backup
    #[arg(long, value_name = "FILE")]
    passphrase_file: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct Restore {
    /// The backup
    file: PathBuf,
    /// A file whose first line is the passphrase of the backup
    #[arg(long, value_name = "FILE")]
    passphrase_file: Option<PathBuf>,
}

impl Backup {
    pub(crate) async fn run(&self, global: &Global) -> Outcome {
        let config = global.load()?;
        let secret = secret(self.passphrase_file.as_deref(), true)?;
        let stretched = StretchedPassphrase::for_new_backup(&secret, &*World::real().rng);
        let passphrase = stretched.map_err(Error::from)?;
        let site = Reached::find(&config, &sealift_agent::Offline).await?;
        let bytes = gather(site.ask(Request::Keys(Act::Backup { passphrase }))).await?;
        let versions = sealed_file::write_verified(&self.file, &bytes, |bytes| {
            Ok(LocalKeystore::verify_backup(bytes, &secret)?)
        })?;
        // From here on they count as backed up.
        let held = KeyVersions { versions };
        rows(
            site.ask(Request::Keys(Act::BackedUp(held))),
            |held: KeyVersions| {
                let (file, versions) = (self.file.display().to_string(), held.versions.len());
                output::row(
                    global.json,
                    &json!({"file": file, "versions": held.versions}),
                    format!(
                        "{versions} key versions are in {file}, which was opened again\n\
                     Keep it and its passphrase apart from each other and from this machine."
                    ),
                )
            },
        )
        .await?;
        Ok(Exit::Done)
    }
}

impl Restore {
    pub(crate) async fn run(&self, global: &Global) -> Outcome {
        let config = global.load()?;
        let backup = sealed_file::read(&self.file, KEYSTORE_BYTES_MAX)?;
        let secret = secret(self.passphrase_file.as_deref(), false)?;
        let stretched = StretchedPassphrase::for_backup(&secret, &backup);
        let passphrase = stretched.map_err(Error::from)?;
        // A backup that does not open goes nowhere.
        LocalKeystore::verify_backup(&backup, &passphrase.to_secret()).map_err(Error::from)?;
        let restoring = Restoring {
            backup: backup.clone(),
            passphrase: passphrase.to_secret(),
        };
        let site = Reached::find(&config, &restoring).await?;
        let backup = String::from_utf8(backup).map_err(Error::failed("reading the backup"))?;
        let act = Act::Restore { passphrase, backup };
        rows(site.ask(Request::Keys(act)), |restored: KeysRestored| {
            output::row(
                global.json,
                &restored,
                format!(
                    "all {} key versions of the backup are here: {} keys and {} versions were missing",
                    restored.versions, restored.keys_added, restored.versions_added
                ),
            )
        })
        .await?;
        Ok(Exit::Done)
    }
}

fn secret(file: Option<&Path>, twice: bool) -> Result<RootSecret, Error> {
    let passphrase = prompt::passphrase(file, "Passphrase of the backup", twice)?;
    Ok(RootSecret::from_passphrase(&passphrase)?)
}

/// The bytes of an answer.
async fn gather(mut answers: Answers) -> Result<Vec<u8>, Error> {
    let mut bytes = Vec::new();
    while let Some(piece) = answers.next().await {
        if let Piece::Bytes(more) = piece {
            bytes.extend_from_slice(&more);
        }
    }
    answers.finish().await?;
    Ok(bytes)
}
