//! `sealift ca rollover`.

use clap::{Args, Subcommand};
use sealift_agent::{
    Error, Exit, World,
    admin::{Request, RolloverReport, RolloverStep, TakeStep},
};
use sealift_identity::{Authority, Rollover as Standing};
use sealift_terms::Identity;
use std::path::PathBuf;

use sealift_agent::admin::KnownRow;

use crate::{
    cli::Global,
    commands::{ask, block_on},
    output::{self, Outcome, Table},
    prompt,
};

#[derive(Debug, Subcommand)]
pub(crate) enum Rollover {
    /// How a roll-over stands, and whom the next step waits for
    Status,
    /// Make a new root, and put it into the trust bundle beside the old one
    Announce(Announce),
    /// Let certificates come from the new root
    Issue(Step),
    /// Take the old root out of the trust bundle
    Retire(Step),
    /// Say for a peer that is given files which trust bundle it has in force
    Acknowledge(Acknowledge),
}

#[derive(Debug, Args)]
pub(crate) struct Announce {
    #[command(flatten)]
    step: Step,
    /// A file whose first line is the root's passphrase; the new root gets the same one
    #[arg(long, value_name = "FILE")]
    passphrase_file: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct Step {
    /// Do not wait for this peer, which is dead; may be given many times
    #[arg(long, value_name = "IDENTITY", requires = "reason")]
    without: Vec<Identity>,
    /// Why, for the audit log
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Acknowledge {
    /// The peer
    peer: Identity,
    /// The number of the trust bundle, as `sealift certs list` shows it there
    #[arg(long, value_name = "NUMBER")]
    sequence: u64,
    /// How that is known, for the audit log
    #[arg(long, value_name = "TEXT")]
    reason: String,
}

impl Rollover {
    pub(super) fn run(&self, global: &Global) -> Outcome {
        let take = match self {
            Self::Status => TakeStep::default(),
            Self::Announce(announce) => {
                announce.prepare(global)?;
                announce.step.take(RolloverStep::Announce)
            }
            Self::Issue(step) => step.take(RolloverStep::Issue),
            Self::Retire(step) => step.take(RolloverStep::Retire),
            Self::Acknowledge(acknowledge) => TakeStep {
                step: RolloverStep::Acknowledge,
                peer: Some(acknowledge.peer.clone()),
                sequence: Some(acknowledge.sequence),
                reason: Some(acknowledge.reason.clone()),
                ..TakeStep::default()
            },
        };
        block_on(show(global, Request::Rollover(take)))
    }
}

impl Step {
    fn take(&self, step: RolloverStep) -> TakeStep {
        TakeStep {
            step,
            without: self.without.clone(),
            reason: self.reason.clone(),
            ..TakeStep::default()
        }
    }
}

impl Announce {
    /// What needs the root's key is done here: no agent ever has it.
    fn prepare(&self, global: &Global) -> Result<(), Error> {
        let config = global.load()?;
        let Some(ca) = config.ca else {
            // The site says so.
            return Ok(());
        };
        let authority = Authority::open(&ca.directory)?;
        let is_to_be_made = matches!(
            authority.rollover()?,
            Standing::None | Standing::Retired { .. }
        );
        if is_to_be_made {
            let question = "Passphrase of the root";
            let file = self.passphrase_file.as_deref();
            let passphrase = prompt::passphrase(file, question, false)?;
            let World { clock, rng, .. } = World::real();
            authority.prepare_rollover(&passphrase, &*clock, &*rng)?;
        }
        Ok(())
    }
}

async fn show(global: &Global, request: Request) -> Outcome {
    let (_site, mut answers) = ask(global, request).await?;
    let report: Option<RolloverReport> = answers.next_row().await?;
    if let Some(report) = &report {
        output::row(global.json, report, text(report))?;
    }
    let mut table = Table::new(&["PEER", "BUNDLE", "ROOT", "SINCE", "READY", "NOTE"], &[1]);
    while let Some(row) = answers.next_row::<KnownRow>().await? {
        match global.json {
            true => output::row(true, &row, "")?,
            false => table.row(cells(&row)),
        }
    }
    answers.finish().await?;
    if !global.json {
        table.print()?;
    }
    Ok(Exit::Done)
}

fn text(report: &RolloverReport) -> String {
    let (step, next) = match report.rollover {
        Standing::None => ("there was none".to_owned(), "announce"),
        Standing::Prepared => ("a new root is made".to_owned(), "announce"),
        Standing::Announced { sequence } => (format!("announced in {sequence}"), "issue"),
        Standing::Issuing { sequence } => (
            format!("issuing from the new root since {sequence}"),
            "retire",
        ),
        Standing::Retired { sequence } => {
            (format!("the old root is out since {sequence}"), "announce")
        }
    };
    let RolloverReport {
        domain,
        bundle,
        roots,
        revoked,
        ..
    } = report;
    format!(
        "domain        {domain}\ntrust bundle  {bundle}, {roots} roots, {revoked} revocations\n\
         roll-over     {step}\nnext step     sealift ca rollover {next}\n"
    )
}

fn cells(row: &KnownRow) -> [String; 6] {
    let none = || "-".to_owned();
    let short = |root: &String| root.chars().take(12).collect();
    [
        row.identity.to_string(),
        row.bundle.map_or_else(none, |bundle| bundle.to_string()),
        row.root.as_ref().map_or_else(none, short),
        row.since.map_or_else(none, |since| since.to_string()),
        if row.ready { "yes" } else { "no" }.to_owned(),
        row.by
            .as_ref()
            .map_or_else(String::new, |by| format!("says {by}")),
    ]
}
