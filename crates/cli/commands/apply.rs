//! `sealift apply`: takes up a change of the configuration, all of it or nothing.

use std::path::Path;

use clap::Args;
use sealift_agent::{Error, Exit, admin::Request};

use super::{
    check_lines,
    plan::{absolute, agent, planned},
    rows,
};
use crate::{
    cli::Global,
    output::{self, Outcome},
};

#[derive(Debug, Args)]
pub(crate) struct Apply {}

/// Whether both are one file, by whatever links.
fn is_same(given: &Path, running: &Path) -> bool {
    let found = |path: &Path| std::fs::canonicalize(path).ok();
    given == running || found(given).is_some_and(|given| Some(given) == found(running))
}

impl Apply {
    pub(crate) async fn run(&self, global: &Global) -> Outcome {
        if !global.set.is_empty() {
            return Err(Error::Request {
                what: "--set",
                found: "a setting given here".to_owned(),
                allowed: "settings in the file, which is what a running agent reads".to_owned(),
            }
            .into());
        }
        let agent = agent(global, "it reads its configuration when it starts").await?;
        let summary = planned(global, &agent, false).await?;
        if !summary.differs {
            output::row(global.json, &summary, "nothing to apply")?;
            return Ok(Exit::Done);
        }
        let given = absolute(&global.config)?;
        if !is_same(&given, &summary.running_file) {
            return Err(Error::Request {
                what: "-c",
                found: given.display().to_string(),
                allowed: format!(
                    "the file that the agent runs on: put it in the place of {}",
                    summary.running_file.display()
                ),
            }
            .into());
        }
        if summary.needs_restart {
            return Err(Error::RestartNeeded {
                what: "the plan says what a running agent cannot take up".to_owned(),
            }
            .into());
        }
        let mut lines = Vec::new();
        rows(agent.ask(Request::Reload), |line| {
            lines.push(line);
            Ok(())
        })
        .await?;
        Ok(check_lines(global.json, &lines)?)
    }
}
