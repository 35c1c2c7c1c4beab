//! One file a command: flags in, results out. What is done is done by the agent.

pub(crate) mod apply;
pub(crate) mod audit;
pub(crate) mod batch;
pub(crate) mod ca;
pub(crate) mod certs;
pub(crate) mod check;
pub(crate) mod demo;
pub(crate) mod endpoint;
pub(crate) mod explain;
pub(crate) mod generate;
pub(crate) mod get;
pub(crate) mod hold;
pub(crate) mod init;
pub(crate) mod inspect;
pub(crate) mod keys;
pub(crate) mod ls;
mod object;
pub(crate) mod plan;
pub(crate) mod policy;
pub(crate) mod reload;
pub(crate) mod residency;
pub(crate) mod restore;
pub(crate) mod retry;
pub(crate) mod scrub;
mod sealed_file;
pub(crate) mod status;
pub(crate) mod up;
pub(crate) mod verify;

use sealift_agent::{
    CheckLine, Error, Exit, Outcome as CheckOutcome,
    admin::{Answers, Reached, Request},
};
use serde::de::DeserializeOwned;

use crate::{
    cli::{Cli, Command, Global},
    output::{self, Outcome},
};

/// Runs the command that was given.
pub(crate) fn run(cli: &Cli) -> Outcome {
    let global = &cli.global;
    match &cli.command {
        Command::Demo(command) => block_on(command.run(global)),
        Command::Init(command) => command.run(global),
        Command::Up(command) => command.run(global),
        Command::Check(command) => block_on(command.run(global)),
        Command::Status(command) => block_on(command.run(global)),
        Command::Plan(command) => block_on(command.run(global)),
        Command::Apply(command) => block_on(command.run(global)),
        Command::Reload(command) => block_on(command.run(global)),
        Command::Ls(command) => block_on(command.run(global)),
        Command::Get(command) => block_on(command.run(global)),
        Command::Restore(command) => block_on(command.run(global)),
        Command::Verify(command) => block_on(command.run(global)),
        Command::Inspect(command) => block_on(command.run(global)),
        Command::Explain(command) => block_on(command.run(global)),
        Command::Retry(command) => block_on(command.run(global)),
        Command::Scrub(command) => block_on(command.run(global)),
        Command::Residency(command) => block_on(command.run(global)),
        Command::Keys(command) => block_on(command.run(global)),
        Command::Batch(command) => block_on(command.run(global)),
        Command::Audit(command) => block_on(command.run(global)),
        Command::Ca(command) => command.run(global),
        Command::Certs(command) => block_on(command.run(global)),
        Command::Endpoint(command) => command.run(global),
        Command::Hold(command) => command.run(global),
        Command::Policy(command) => command.run(global),
        Command::Generate(command) => command.run(global),
    }
}

/// Runs a command that waits, until it is done or a person interrupts.
fn block_on(command: impl Future<Output = Outcome>) -> Outcome {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(Error::failed("starting"))?;
    runtime.block_on(async {
        tokio::select! {
            outcome = command => outcome,
            _ = tokio::signal::ctrl_c() => Err(Error::Cancelled.into()),
        }
    })
}

/// Asks the site of this configuration, running or not.
async fn ask(global: &Global, request: Request) -> Result<(Reached, Answers), Error> {
    let reached = global.reach(&sealift_agent::Offline).await?;
    let answers = reached.ask(request);
    Ok((reached, answers))
}

/// Every row of an answer, each handed to `each`, then how it ended.
async fn rows<T: DeserializeOwned>(
    mut answers: Answers,
    mut each: impl FnMut(T) -> Result<(), Error>,
) -> Result<(), Error> {
    while let Some(row) = answers.next_row().await? {
        each(row)?;
    }
    answers.finish().await
}

/// Prints lines of a check, and says how a command that saw them ends.
fn check_lines(json: bool, lines: &[CheckLine]) -> Result<Exit, Error> {
    let width = lines
        .iter()
        .map(|line| line.check.chars().count())
        .max()
        .unwrap_or(0);
    for line in lines {
        let word = match line.outcome {
            CheckOutcome::Pass => "ok  ",
            CheckOutcome::Skip => "skip",
            CheckOutcome::Warn => "warn",
            CheckOutcome::Fail => "FAIL",
        };
        let mut text = format!(
            "{word}  {:<width$}  {}",
            line.check,
            output::safe(&line.found)
        );
        if let Some(remedy) = &line.remedy {
            text.push_str(&format!("\n{:w$}→ {remedy}", "", w = width + 8));
        }
        output::row(json, line, text)?;
    }
    let worst = lines.iter().map(|line| line.outcome).max();
    Ok(match worst {
        Some(CheckOutcome::Fail) => Exit::BadConfiguration,
        _ => Exit::Done,
    })
}
