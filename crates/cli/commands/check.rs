//! `sealift check`.

use clap::Args;
use sealift_agent::{
    World,
    admin::{Client, Request},
    check_offline,
};

use super::{check_lines, rows};
use crate::{cli::Global, output::Outcome};

#[derive(Debug, Args)]
pub(crate) struct Check {
    /// Only what needs no peer
    #[arg(long)]
    offline: bool,
}

impl Check {
    pub(crate) async fn run(&self, global: &Global) -> Outcome {
        let config = global.load()?;
        let mut lines = check_offline(&config, &World::real()).await;
        if !self.offline {
            match Client::connect(&config.socket()).await {
                Some(agent) => {
                    let answers = agent.ask(Request::Check);
                    rows(answers, |line| {
                        lines.push(line);
                        Ok(())
                    })
                    .await?;
                }
                None => lines.extend(sealift_agent::check_peers(&config, &World::real()).await),
            }
        }
        Ok(check_lines(global.json, &lines)?)
    }
}
