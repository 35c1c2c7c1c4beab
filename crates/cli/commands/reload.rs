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
        let Some(agent) = Client::find(&global.config, &global.set).await else {
            let dir = global.load()?.site.data_dir;
            let what = format!(
                "no agent runs on {}: it reads its configuration when it starts",
                dir.display()
            );
            return Err(Error::Stopped { what }.into());
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
