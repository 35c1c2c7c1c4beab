//! `sealift keys`: customer-managed keys; those of key services to be looked at.

mod backup;
mod import;
mod regions;
pub(crate) mod rewrap;
mod root;
mod service;
mod show;

use clap::{Args, Subcommand};
use sealift_agent::{
    Error, Exit,
    admin::{KeyRow, Keys as Act, Request},
};
use sealift_keys::KeyChange;
use sealift_terms::{DeletionDays, KeyAlias, KeyNote, Region, RotationDays};

use super::{ask, rows};
use crate::{
    cli::Global,
    output::{self, Outcome},
};

#[derive(Debug, Subcommand)]
pub(crate) enum Keys {
    /// List keys, those of key services too: state, versions, what rests under each, next rotation, backup
    List,
    /// Show everything about one key but its material
    Describe(Named),
    /// Make a key of this site's region
    Create(Create),
    /// Change the alias, the description or the time between rotations of a key
    Set(Set),
    /// Give a key a new version, which seals from now on; older ones still open
    Rotate(Rotate),
    /// Stop all use of a key until it is enabled again
    Disable(Named),
    /// Let a disabled key be used again
    Enable(Named),
    /// Wrap key records anew under another key or version; no object is touched
    Rewrap(rewrap::Rewrap),
    /// Stop all use of a key, and destroy it after 7 to 30 days
    ScheduleDeletion(ScheduleDeletion),
    /// Keep a key that was to be destroyed; it is disabled then
    CancelDeletion(Named),
    /// Destroy the material of an old version that nothing needs any more
    Retire(Retire),
    /// Give a key that was made with --multi-region to another region
    Replicate(regions::Replicate),
    /// Make this region the primary of a key of several regions
    Promote(regions::Promote),
    /// Wait no more for a region that will not come back
    DropReplica(regions::DropReplica),
    /// Show in what the regions of a key differ
    Diff(regions::Diff),
    /// Bring material from a file into a key
    Import(import::Import),
    /// Seal the keystore under another root key
    RekeyRoot(root::RekeyRoot),
    /// Write all keys to a file under a passphrase
    Backup(backup::Backup),
    /// Take back from a backup what is missing here
    Restore(backup::Restore),
}

#[derive(Debug, Args)]
pub(crate) struct Create {
    /// Its human name, for example alias/photos
    #[arg(value_name = "ALIAS", required_unless_present = "alias")]
    name: Option<KeyAlias>,
    /// The same as ALIAS
    #[arg(long, value_name = "ALIAS", conflicts_with = "name")]
    alias: Option<KeyAlias>,
    /// What it is for
    #[arg(long, value_name = "TEXT")]
    description: Option<KeyNote>,
    /// How often it gets a new version by itself, 90 to 2560 days
    #[arg(long, value_name = "DAYS", default_value_t)]
    rotate_every_days: RotationDays,
    /// Let `keys replicate` give it to other regions; otherwise it stays in this one for good
    #[arg(long)]
    multi_region: bool,
    /// The regions that may be given it; any without one
    #[arg(long, value_name = "REGION", requires = "multi_region")]
    allowed_region: Vec<Region>,
}

#[derive(Debug, Args)]
pub(crate) struct Set {
    /// Id or alias
    key: String,
    /// Another human name; buckets are configured with it
    #[arg(long, required_unless_present_any = ["description", "rotate_every_days"])]
    alias: Option<KeyAlias>,
    /// What it is for
    #[arg(long, value_name = "TEXT")]
    description: Option<KeyNote>,
    /// How often it gets a new version by itself, 90 to 2560 days
    #[arg(long, value_name = "DAYS")]
    rotate_every_days: Option<RotationDays>,
}

#[derive(Debug, Args)]
pub(crate) struct Rotate {
    /// Id or alias
    key: String,
    /// Why, for the audit log and the version
    #[arg(long, value_name = "TEXT")]
    reason: Option<KeyNote>,
}

#[derive(Debug, Args)]
pub(crate) struct ScheduleDeletion {
    /// Id or alias
    key: String,
    /// How long it waits, 7 to 30 days
    #[arg(long, default_value_t)]
    days: DeletionDays,
}

#[derive(Debug, Args)]
pub(crate) struct Retire {
    /// Id or alias of the key, and the version
    #[arg(value_name = "KEY:VERSION", value_parser = key_and_version)]
    version: (String, String),
}

#[derive(Debug, Args)]
pub(crate) struct Named {
    /// Id or alias
    key: String,
}

fn key_and_version(text: &str) -> Result<(String, String), String> {
    match text.rsplit_once(':') {
        Some((key, version)) if !key.is_empty() && !version.is_empty() => {
            Ok((key.to_owned(), version.to_owned()))
        }
        _ => Err("write the key and its version, as in alias/photos:1".to_owned()),
    }
}

impl Create {
    fn act(&self) -> Result<Act, Error> {
        let given = self.name.as_ref().or(self.alias.as_ref());
        let alias = given.cloned().ok_or_else(|| Error::Request {
            what: "alias",
            found: "none".to_owned(),
            allowed: "a name such as alias/photos".to_owned(),
        })?;
        Ok(Act::Create {
            alias,
            description: self.description.clone(),
            rotate_every_days: self.rotate_every_days,
            multi_region: self.multi_region,
            allowed_regions: self.allowed_region.iter().cloned().collect(),
        })
    }
}

impl Set {
    fn act(&self) -> Act {
        Act::Set {
            key: self.key.clone(),
            change: KeyChange {
                alias: self.alias.clone(),
                description: self.description.clone(),
                rotate_every_days: self.rotate_every_days,
            },
        }
    }
}

impl Keys {
    pub(crate) async fn run(&self, global: &Global) -> Outcome {
        let key = |named: &Named| named.key.clone();
        let act = match self {
            Self::List => return list(global).await,
            Self::Describe(named) => Act::Describe { key: key(named) },
            Self::Create(create) => create.act()?,
            Self::Set(set) => set.act(),
            Self::Rotate(rotate) => Act::Rotate {
                key: rotate.key.clone(),
                reason: rotate.reason.clone(),
            },
            Self::Disable(named) => Act::Disable { key: key(named) },
            Self::Enable(named) => Act::Enable { key: key(named) },
            Self::Rewrap(rewrap) => return rewrap.run(global).await,
            Self::ScheduleDeletion(schedule) => Act::ScheduleDeletion {
                key: schedule.key.clone(),
                days: schedule.days,
            },
            Self::CancelDeletion(named) => Act::CancelDeletion { key: key(named) },
            Self::Retire(retire) => Act::Retire {
                key: retire.version.0.clone(),
                version: retire.version.1.clone(),
            },
            Self::Import(import) => import.act()?,
            Self::Replicate(replicate) => replicate.act(),
            Self::Promote(promote) => promote.act(),
            Self::DropReplica(drop) => drop.act(),
            Self::Diff(diff) => return diff.run(global).await,
            Self::RekeyRoot(rekey) => return rekey.run(global).await,
            Self::Backup(backup) => return backup.run(global).await,
            Self::Restore(restore) => return restore.run(global).await,
        };
        let (_site, answers) = ask(global, Request::Keys(act)).await?;
        rows(answers, |key: KeyRow| match (global.json, &key) {
            (true, _) => output::row(true, &key, ""),
            (false, KeyRow::Own(key)) => show::one(key),
            (false, KeyRow::Service(key)) => service::one(key),
            (false, _) => Ok(()),
        })
        .await?;
        Ok(Exit::Done)
    }
}

async fn list(global: &Global) -> Outcome {
    let (_site, answers) = ask(global, Request::Keys(Act::List)).await?;
    let mut table = show::table();
    rows(answers, |key: KeyRow| {
        match &key {
            _ if global.json => return output::row(true, &key, ""),
            KeyRow::Own(key) => show::add(&mut table, key),
            KeyRow::Service(key) => service::add(&mut table, key),
            _ => {}
        }
        Ok(())
    })
    .await?;
    if global.json {
        return Ok(Exit::Done);
    }
    match table.is_empty() {
        true => output::print("no keys: `sealift keys create alias/NAME` makes one")?,
        false => table.print()?,
    }
    Ok(Exit::Done)
}
