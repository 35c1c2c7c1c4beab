//! `sealift check`.

use std::path::{Path, PathBuf};

use clap::Args;
use sealift_agent::{
    CheckLine, Error, World,
    admin::{self, Client, Request},
    check_offline,
};

use sealift_identity::Authority;

use super::{check_lines, rows};
use crate::{cli::Global, output::Outcome};

#[derive(Debug, Args)]
pub(crate) struct Check {
    /// Only what needs no peer
    #[arg(long)]
    offline: bool,
    /// A certificate authority to look at, too; `ca` beside the configuration without it
    #[arg(long, value_name = "DIR")]
    ca: Option<PathBuf>,
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
                let check = admin::Check {
                    // The agent was started elsewhere.
                    file: Some(
                        std::path::absolute(&global.config)
                            .map_err(Error::io("find", &global.config))?,
                    ),
                    set: set(global),
                };
                rows(agent.ask(Request::Check(check)), take).await?;
            }
            None => {
                let world = World::real();
                lines = check_offline(&config, &world).await;
                if !self.offline {
                    lines.extend(sealift_agent::check_peers(&config, &world).await);
                }
            }
        }
        lines.extend(self.authority(global));
        Ok(check_lines(global.json, &lines)?)
    }
}

impl Check {
    /// Whether an authority on this machine would outlive its disk.
    fn authority(&self, global: &Global) -> Option<CheckLine> {
        let check = "ca backup";
        let dir = match &self.ca {
            Some(dir) => dir.clone(),
            None => global.config.parent().unwrap_or(Path::new("")).join("ca"),
        };
        if self.ca.is_none() && !dir.exists() {
            return None;
        }
        let remedy = format!(
            "run `sealift ca backup --dir {} --out FILE`, and keep the file and its passphrase elsewhere",
            dir.display()
        );
        let backed_up = Authority::open(&dir).and_then(|authority| authority.is_backed_up());
        Some(match backed_up {
            Ok(true) => {
                let found = format!("{} is in a verified backup", dir.display());
                CheckLine::pass(check, found)
            }
            Ok(false) => {
                let found = format!("{} is in no backup as it is now", dir.display());
                CheckLine::warn(check, found, remedy)
            }
            Err(error) => {
                let error = Error::from(error);
                let failure = error.failure();
                let found = [vec![failure.what], failure.causes].concat().join(": ");
                CheckLine::fail(check, found, failure.hint.unwrap_or(remedy))
            }
        })
    }
}

/// Settings given here: the agent was not given them.
pub(super) fn set(global: &Global) -> Vec<(String, String)> {
    let given = global.set.iter();
    given
        .map(|given| (given.setting.clone(), given.value.clone()))
        .collect()
}
