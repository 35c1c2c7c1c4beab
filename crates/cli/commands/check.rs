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
        let running = match self.offline {
            true => None,
            false => Client::connect(&config.socket()).await,
        };
        let mut lines = Vec::new();
        match running {
            Some(agent) => {
                let take = |line| {
                    lines.push(line);
                    Ok(())
                };
                rows(agent.ask(Request::Check), take).await?;
            }
            None => {
                let world = World::real();
                lines = check_offline(&config, &world).await;
                if !self.offline {
                    lines.extend(sealift_agent::check_peers(&config, &world).await);
                }
            }
        }
        Ok(check_lines(global.json, &lines)?)
    }
}
