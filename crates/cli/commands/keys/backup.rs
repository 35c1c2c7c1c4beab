//! `sealift keys backup` and `sealift keys restore`. The passphrase is stretched
//! here: an agent that runs is given the key it makes, and never the passphrase.

use std::path::{Path, PathBuf};

use clap::Args;
use sealift_agent::{
    Error, Exit, Restoring, World,
    admin::{Answers, KeyVersions, Keys as Act, KeysRestored, Piece, Request},
};
use sealift_keys::{KEYSTORE_FILE, LocalKeystore, RootSecret, StretchedPassphrase};
use sealift_terms::{KeyId, limits::KEYSTORE_BYTES_MAX};
use serde_json::json;

use crate::{
    cli::Global,
    commands::{rows, sealed_file},
    output::{self, Outcome, counted},
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
        let secret = secret(self.passphrase_file.as_deref(), true)?;
        let stretched = StretchedPassphrase::for_new_backup(&secret, &*World::real().rng);
        let passphrase = stretched.map_err(Error::from)?;
        let site = global.reach(&sealift_agent::Offline).await?;
        let bytes = gather(site.ask(Request::Keys(Act::Backup { passphrase }))).await?;
        let versions = sealed_file::write_verified(&self.file, &bytes, |bytes| {
            Ok(LocalKeystore::verify_backup(bytes, &secret)?)
        })?;
        // From here on they count as backed up.
        let held = KeyVersions { versions };
        rows(
            site.ask(Request::Keys(Act::BackedUp(held))),
            |held: KeyVersions| {
                let file = self.file.display().to_string();
                let rows: Vec<_> = held.versions.iter().map(version_row).collect();
                let are = counted(rows.len() as u64, "key version is", "key versions are");
                output::row(
                    global.json,
                    &json!({"file": file, "versions": rows}),
                    format!(
                        "{are} in {file}, which was opened again\n\
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
        let lost = self.keystore_is_lost(global);
        let site = global.reach(&restoring).await?;
        let made_anew = lost && !site.is_running();
        let backup = String::from_utf8(backup).map_err(Error::failed("reading the backup"))?;
        let act = Act::Restore { passphrase, backup };
        rows(site.ask(Request::Keys(act)), |restored: KeysRestored| {
            output::row(global.json, &restored, told(&restored, made_anew))
        })
        .await?;
        Ok(Exit::Done)
    }
}

impl Restore {
    /// Whether the keystore is away, so that all of it comes from the backup.
    fn keystore_is_lost(&self, global: &Global) -> bool {
        let config = global.load().ok();
        config.is_some_and(|config| !config.site.data_dir.join(KEYSTORE_FILE).exists())
    }
}

fn told(restored: &KeysRestored, made_anew: bool) -> String {
    let KeysRestored {
        versions,
        keys_added,
        versions_added,
        left_out,
    } = restored;
    let counted = |count: &usize, one, many| counted(*count as u64, one, many);
    let all = counted(versions, "key version", "key versions");
    let away = match left_out {
        0 => String::new(),
        _ => {
            let versions = counted(left_out, "version was", "versions were");
            format!("\n{versions} destroyed here since, or forgotten, and stay away")
        }
    };
    let here = match left_out {
        0 => "all here",
        _ => "the others here",
    };
    match made_anew {
        true => format!("the keystore was lost and is made anew: {all} came from the backup"),
        false => format!(
            "{all} of the backup, {here}: {} and {} were missing{away}",
            counted(keys_added, "key", "keys"),
            counted(versions_added, "version", "versions")
        ),
    }
}

fn version_row((key, version): &(KeyId, String)) -> serde_json::Value {
    json!({"id": key, "version": version})
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
