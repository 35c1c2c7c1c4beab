//! `sealift keys`: the customer-managed keys of the embedded keystore.

mod backup;
pub(crate) mod rewrap;

use clap::{Args, Subcommand};
use sealift_agent::{
    Error, Exit,
    admin::{Keys as Act, Request},
};
use sealift_keys::KeyDescription;
use sealift_terms::KeyAlias;

use super::{ask, rows};
use crate::{
    cli::Global,
    output::{self, Outcome, Table},
};

#[derive(Debug, Subcommand)]
pub(crate) enum Keys {
    /// List keys, their state and versions, and which of them are backed up
    List,
    /// Make a key of this site's region
    Create(Create),
    /// Give a key a new version, which seals from now on; older ones still open
    Rotate(Rotate),
    /// Stop all use of a key until it is enabled again
    Disable(Named),
    /// Let a disabled key be used again
    Enable(Named),
    /// Wrap key records anew under another key or version; no object is touched
    Rewrap(rewrap::Rewrap),
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
}

#[derive(Debug, Args)]
pub(crate) struct Rotate {
    /// Id or alias
    key: String,
    /// Why, for the audit log
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Named {
    /// Id or alias
    key: String,
}

impl Create {
    fn alias(&self) -> Result<KeyAlias, Error> {
        let given = self.name.as_ref().or(self.alias.as_ref());
        given.cloned().ok_or_else(|| Error::Request {
            what: "alias",
            found: "none".to_owned(),
            allowed: "a name such as alias/photos".to_owned(),
        })
    }
}

impl Keys {
    pub(crate) async fn run(&self, global: &Global) -> Outcome {
        let key = |named: &Named| named.key.clone();
        let act = match self {
            Self::List => Act::List,
            Self::Create(create) => Act::Create {
                alias: create.alias()?,
            },
            Self::Rotate(rotate) => Act::Rotate {
                key: rotate.key.clone(),
                reason: rotate.reason.clone(),
            },
            Self::Disable(named) => Act::Disable { key: key(named) },
            Self::Enable(named) => Act::Enable { key: key(named) },
            Self::Rewrap(rewrap) => return rewrap.run(global).await,
            Self::Backup(backup) => return backup.run(global).await,
            Self::Restore(restore) => return restore.run(global).await,
        };
        let (_site, answers) = ask(global, Request::Keys(act)).await?;
        let mut table = Table::new(
            &["ALIAS", "ID", "REGION", "STATE", "VERSION", "BACKUP"],
            &[4],
        );
        rows(answers, |key: KeyDescription| {
            if global.json {
                return output::row(true, &key, "");
            }
            table.row(cells(&key));
            Ok(())
        })
        .await?;
        if !global.json {
            shown(&table)?;
        }
        Ok(Exit::Done)
    }
}

fn shown(table: &Table) -> Result<(), Error> {
    match table.is_empty() {
        true => output::print("no keys: `sealift keys create alias/NAME` makes one"),
        false => table.print(),
    }
}

fn cells(key: &KeyDescription) -> [String; 6] {
    let alias = key.alias.as_ref().map(ToString::to_string);
    let missing: Vec<_> = key
        .versions
        .iter()
        .filter(|version| !version.backed_up)
        .map(|version| version.id.as_str())
        .collect();
    let backup = match missing.is_empty() {
        true => "yes".to_owned(),
        false => format!("missing: {}", missing.join(", ")),
    };
    [
        alias.unwrap_or_else(|| "-".to_owned()),
        key.id.to_string(),
        key.region.to_string(),
        key.state.to_string(),
        key.current.clone(),
        backup,
    ]
}
