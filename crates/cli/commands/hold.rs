//! `sealift hold`: versions that are not purged, whoever wants them gone.

use clap::{Args, Subcommand};
use sealift_agent::{
    Exit,
    admin::{HeldVersions, HoldAct, HoldRow, HoldSort, LegalHold, Request},
};
use sealift_terms::{BucketName, VersionId};

use crate::{
    cli::Global,
    commands::{ask, block_on, rows},
    output::{self, Outcome},
};

#[derive(Debug, Subcommand)]
pub(crate) enum Hold {
    /// Let no version of these be purged until the hold is lifted
    Set(Set),
    /// Lift a hold, named as it was set
    Lift(Lift),
    /// Show the holds that are set, and those of sources that were lifted
    List(List),
}

#[derive(Debug, Args)]
pub(crate) struct On {
    /// The bucket
    bucket: BucketName,
    /// The key; with --prefix, what keys begin with: everything if it is left out
    #[arg(
        required_unless_present = "prefix",
        default_value = "",
        hide_default_value = true
    )]
    key: String,
    /// Every key that begins so, those to come too
    #[arg(long)]
    prefix: bool,
    /// One version of the key, and no other
    #[arg(long, value_name = "ID", conflicts_with = "prefix")]
    version: Option<VersionId>,
    /// Why, as it is on record
    #[arg(long)]
    reason: String,
}

#[derive(Debug, Args)]
pub(crate) struct Set {
    #[command(flatten)]
    on: On,
}

#[derive(Debug, Args)]
pub(crate) struct Lift {
    #[command(flatten)]
    on: On,
    /// The legal hold that they came with from their source, too
    #[arg(long)]
    of_source: bool,
}

#[derive(Debug, Args)]
pub(crate) struct List {
    /// Only of this bucket
    bucket: Option<BucketName>,
}

impl On {
    fn request(&self, act: HoldAct) -> LegalHold {
        LegalHold {
            bucket: Some(self.bucket.clone()),
            on: Some(HeldVersions {
                bucket: self.bucket.clone(),
                key: self.key.clone(),
                is_prefix: self.prefix,
                version: self.version.clone(),
            }),
            act,
        }
    }
}

impl Hold {
    pub(crate) fn run(&self, global: &Global) -> Outcome {
        let request = match self {
            Self::Set(Set { on }) => {
                let reason = on.reason.clone();
                on.request(HoldAct::Set { reason })
            }
            Self::Lift(Lift { on, of_source }) => on.request(HoldAct::Lift {
                of_source: *of_source,
                reason: on.reason.clone(),
            }),
            Self::List(List { bucket }) => LegalHold {
                bucket: bucket.clone(),
                ..LegalHold::default()
            },
        };
        block_on(async {
            let (_site, answers) = ask(global, Request::Hold(request)).await?;
            let mut none = true;
            rows(answers, |row: HoldRow| {
                none = false;
                output::row(global.json, &row, line(&row))
            })
            .await?;
            if none && !global.json {
                output::print("no legal hold")?;
            }
            Ok(Exit::Done)
        })
    }
}

fn line(row: &HoldRow) -> String {
    let sort = match row.sort {
        HoldSort::Set => "held",
        HoldSort::SourceLifted => "lifted at its source's",
    };
    let star = if row.is_prefix { "*" } else { "" };
    let version = row
        .version
        .as_ref()
        .map_or("every version", VersionId::as_str);
    let HoldRow {
        bucket,
        key,
        reason,
        since,
        by,
        ..
    } = row;
    let covers = row.covers.map(|covers| {
        let covered = output::counted(covers, "version is", "versions are");
        format!("  ({covered} under it now)")
    });
    format!(
        "{sort}  {bucket}/{key}{star}  {version}  since {since}  by {by}: {reason}{}",
        covers.unwrap_or_default()
    )
}
