//! `sealift batch list, pause, resume, cancel`: what batches of replication queued, by their
//! numbers.
//!
//! ```text
//!   ID ──▶ agent: held back, let go, taken back ──▶ one line ──▶ report, a line for each version
//! ```

use std::path::PathBuf;

use clap::Args;
use sealift_agent::{
    Error, Exit,
    admin::{
        BatchAct, BatchRow, BatchState, BatchSum, Batches, Reached, ReplicateResult, ReplicateRow,
        Request,
    },
};
use sealift_terms::BatchId;

use super::{replicate::name, report::Report};
use crate::{
    cli::Global,
    commands::rows,
    output::{self, Outcome, bytes, counted},
};

#[derive(Debug, Args)]
pub(crate) struct List {
    /// Those of which nothing is to be sent any more, too
    #[arg(long)]
    all: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Pause {
    #[command(flatten)]
    of: One,
}

#[derive(Debug, Args)]
pub(crate) struct Resume {
    #[command(flatten)]
    of: One,
}

#[derive(Debug, Args)]
pub(crate) struct Cancel {
    #[command(flatten)]
    of: One,
}

#[derive(Debug, Args)]
struct One {
    /// Its number, as `batch list` shows it
    batch: BatchId,
    /// Write how each version stands that the batch queued to this CSV file: a new one, or the
    /// one that the batch wrote, which is added to
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
}

impl List {
    pub(crate) async fn run(&self, global: &Global) -> Outcome {
        let site = global.reach(&sealift_agent::Offline).await?;
        let answers = site.ask(request(BatchAct::List));
        let mut none = true;
        rows(answers, |row: BatchRow| {
            if row.over && !self.all {
                return Ok(());
            }
            none = false;
            output::row(global.json, &row, line(&row))
        })
        .await?;
        if none && !global.json {
            output::print("no batch is under way")?;
        }
        Ok(Exit::Done)
    }
}

impl Pause {
    pub(crate) async fn run(&self, global: &Global) -> Outcome {
        self.of.run(global, BatchAct::Pause(self.of.batch)).await
    }
}

impl Resume {
    pub(crate) async fn run(&self, global: &Global) -> Outcome {
        self.of.run(global, BatchAct::Resume(self.of.batch)).await
    }
}

impl Cancel {
    pub(crate) async fn run(&self, global: &Global) -> Outcome {
        self.of.run(global, BatchAct::Cancel(self.of.batch)).await
    }
}

impl One {
    async fn run(&self, global: &Global, act: BatchAct) -> Outcome {
        let report = self.report.as_deref();
        let report = report.map(|path| Report::open::<ReplicateRow>(Some(path), path.exists()));
        let report = report.transpose()?;
        let site = global.reach(&sealift_agent::Offline).await?;
        let row = act_on(&site, act).await?;
        if let Some(report) = report {
            tell(&site, self.batch, report).await?;
        }
        output::row(global.json, &row, line(&row))?;
        Ok(Exit::Done)
    }
}

/// Adds what a batch queued to a report, as far as that does not say that it is there.
async fn tell(site: &Reached, batch: BatchId, mut report: Report) -> Result<(), Error> {
    let answers = site.ask(request(BatchAct::Objects(batch)));
    rows(answers, |row: ReplicateRow| {
        let is_told = row.result == ReplicateResult::Replicated && report.has(&name(&row.object));
        match is_told {
            true => Ok(()),
            false => report.add(&row),
        }
    })
    .await?;
    report.flush()
}

fn request(act: BatchAct) -> Request {
    Request::Batches(Batches { act })
}

/// Does something with one batch.
pub(super) async fn act_on(site: &Reached, act: BatchAct) -> Result<BatchRow, Error> {
    let mut found = None;
    let answers = site.ask(request(act));
    rows(answers, |row: BatchRow| {
        found = Some(row);
        Ok(())
    })
    .await?;
    found.ok_or_else(|| Error::NotFound {
        what: "batch in the answer".to_owned(),
    })
}

/// Shows one batch.
pub(super) async fn show(global: &Global, act: BatchAct) -> Outcome {
    let site = global.reach(&sealift_agent::Offline).await?;
    let row = act_on(&site, act).await?;
    output::row(global.json, &row, line(&row))?;
    Ok(match row.failed.versions {
        0 => Exit::Done,
        _ => Exit::Partly,
    })
}

fn line(row: &BatchRow) -> String {
    let state = match (row.state, row.over) {
        (BatchState::Cancelled, _) => "cancelled",
        (_, true) => "over",
        (BatchState::Paused, _) => "paused",
        (BatchState::Running, _) => "running",
    };
    let waits = match row.state {
        BatchState::Cancelled => "on their way",
        BatchState::Paused => "held back",
        BatchState::Running => "to be sent",
    };
    let mut parts = vec![sum(row.replicated, "there")];
    for (of, word) in [
        (row.queued, waits),
        (row.owed, "to be sent without it"),
        (row.failed, "failed"),
        (row.left_out, "left out by rules"),
        (row.cancelled, "taken back"),
    ] {
        if of.versions > 0 {
            parts.push(sum(of, word));
        }
    }
    format!(
        "batch {}  {state}  {}  since {}: {}",
        row.batch,
        output::safe(&row.what),
        row.begun_at,
        parts.join(", ")
    )
}

fn sum(of: BatchSum, word: &str) -> String {
    let versions = counted(of.versions, "version", "versions");
    format!("{versions} {word} ({})", bytes(of.bytes))
}
