//! `sealift reload`: the running agent reads its configuration again.

use clap::Args;
use sealift_agent::{
    Error,
    admin::{Client, Request},
};

use super::{check_lines, rows};
use crate::{cli::Global, output::Outcome};

#[derive(Debug, Args)]
pub(crate) struct Reload {}

impl Reload {
    pub(crate) async fn run(&self, global: &Global) -> Outcome {
        // What cannot work is refused here already, before the agent is asked.
        let config = global.load()?;
        let Some(agent) = Client::connect(&config.socket()).await else {
            let what = format!("running agent of {}", config.site.data_dir.display());
            return Err(Error::NotFound { what }.into());
        };
        let mut lines = Vec::new();
        rows(agent.ask(Request::Reload), |line| {
            lines.push(line);
            Ok(())
        })
        .await?;
        Ok(check_lines(global.json, &lines)?)
    }
}
