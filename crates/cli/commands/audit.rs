//! `sealift audit`: the tamper-evident log of what happened at this site.

use std::{collections::BTreeMap, time::Duration};

use clap::{Args, Subcommand};
use sealift_agent::{
    Error, Exit,
    admin::{AuditReport, Piece, Reached, ReadAudit, Request},
};
use serde::Deserialize;

use super::{ask, rows};
use crate::{
    cli::Global,
    output::{self, Outcome},
};

/// How often new records are looked for.
const FOLLOW_EVERY: Duration = Duration::from_millis(500);

#[derive(Debug, Subcommand)]
pub(crate) enum Audit {
    /// Show the last records
    Tail(Tail),
    /// Compute the whole log again and compare it with what was written
    Verify,
}

#[derive(Debug, Args)]
pub(crate) struct Tail {
    /// How many
    #[arg(short = 'n', long, value_name = "N", default_value_t = 20)]
    lines: u64,
    /// Go on with new ones as they come; needs a running agent
    #[arg(short, long)]
    follow: bool,
}

/// A record, as far as it is shown.
#[derive(Deserialize)]
struct Record {
    actor: String,
    at: String,
    #[serde(default)]
    details: BTreeMap<String, String>,
    index: u64,
    kind: String,
}

impl Audit {
    pub(crate) async fn run(&self, global: &Global) -> Outcome {
        match self {
            Self::Tail(tail) => tail.run(global).await,
            Self::Verify => verify(global).await,
        }
    }
}

impl Tail {
    async fn run(&self, global: &Global) -> Outcome {
        let site = global.reach(&sealift_agent::Offline).await?;
        if self.follow && !site.is_running() {
            return Err(Error::Stopped {
                what: "the agent is stopped: nothing is added to its audit log".to_owned(),
            }
            .into());
        }
        let last = ReadAudit::Tail { leaves: self.lines };
        let mut next = show(global, &site, last).await?.unwrap_or(0);
        if !self.follow {
            return Ok(Exit::Done);
        }
        loop {
            tokio::time::sleep(FOLLOW_EVERY).await;
            let more = ReadAudit::From { index: next };
            next = show(global, &site, more).await?.unwrap_or(next);
        }
    }
}

/// Shows records; says where the next ones begin.
async fn show(global: &Global, site: &Reached, read: ReadAudit) -> Result<Option<u64>, Error> {
    let mut answers = site.ask(Request::Audit(read));
    let mut next = None;
    while let Some(piece) = answers.next().await {
        let Piece::Row(json) = piece else { continue };
        let record: Record =
            serde_json::from_str(&json).map_err(|error| Error::Answer(error.to_string()))?;
        next = Some(record.index + 1);
        match global.json {
            // The leaf as it is hashed, to the byte.
            true => output::print(&json)?,
            false => output::print(&line(&record))?,
        }
    }
    answers.finish().await?;
    Ok(next)
}

fn line(record: &Record) -> String {
    let details = record.details.iter();
    let details: Vec<_> = details
        .map(|(name, value)| format!("{name}={}", output::safe(value)))
        .collect();
    format!(
        "{:>8}  {:<24}  {:<22}  {}  {}",
        record.index,
        record.at,
        record.kind,
        output::safe(&record.actor),
        details.join(" ")
    )
}

async fn verify(global: &Global) -> Outcome {
    let (_site, answers) = ask(global, Request::Audit(ReadAudit::Verify)).await?;
    rows(answers, |report: AuditReport| {
        let mut text = format!("leaves  {}\nroot    {}", report.leaves, report.root);
        for flaw in &report.flaws {
            text.push_str(&format!("\nFLAW    {flaw}"));
        }
        output::row(global.json, &report, text)
    })
    .await?;
    Ok(Exit::Done)
}
