//! `sealift reload`: the running agent reads its configuration again.

use clap::Args;
use sealift_agent::admin::Request;

use super::{check_lines, plan::agent, rows};
use crate::{cli::Global, output::Outcome};

#[derive(Debug, Args)]
pub(crate) struct Reload {}

impl Reload {
    pub(crate) async fn run(&self, global: &Global) -> Outcome {
        let agent = agent(global, "it reads its configuration when it starts").await?;
        let mut lines = Vec::new();
        rows(agent.ask(Request::Reload), |line| {
            lines.push(line);
            Ok(())
        })
        .await?;
        Ok(check_lines(global.json, &lines)?)
    }
}
