//! `sealift plan`: what a change of the configuration would do.

use std::path::Path;

use clap::Args;
use sealift_agent::{
    Error, Exit,
    admin::{self, Client, PlanChange, PlanRow, PlanSummary, PlanWay, Request},
};

use super::{check::set, rows};
use crate::{
    cli::Global,
    output::{self, Outcome, bytes, counted},
};

#[derive(Debug, Args)]
pub(crate) struct Plan {
    /// Name every object that would go elsewhere than now
    #[arg(long)]
    objects: bool,
}

impl Plan {
    pub(crate) async fn run(&self, global: &Global) -> Outcome {
        let agent = agent(global, "it takes up its whole configuration when it starts").await?;
        let summary = planned(global, &agent, self.objects).await?;
        let text = match (summary.differs, summary.needs_restart) {
            (false, _) => "nothing differs from what the agent runs on",
            (true, true) => "start the agent again to take this up: it cannot while it runs",
            (true, false) => "`sealift apply` takes this up",
        };
        output::row(global.json, &summary, text)?;
        Ok(Exit::Done)
    }
}

/// The running agent of this configuration.
pub(super) async fn agent(global: &Global, why: &str) -> Result<Client, Error> {
    match Client::find(&global.config, &global.set).await {
        Some(agent) => Ok(agent),
        None => {
            let dir = global.load()?.site.data_dir;
            Err(Error::Stopped {
                what: format!("no agent runs on {}: {why}", dir.display()),
            })
        }
    }
}

/// Prints what would change; gives back all of it in one.
pub(super) async fn planned(
    global: &Global,
    agent: &Client,
    objects: bool,
) -> Result<PlanSummary, Error> {
    let plan = admin::Plan {
        of: admin::Check {
            file: Some(absolute(&global.config)?),
            set: set(global),
        },
        objects,
    };
    let mut all = None;
    rows(agent.ask(Request::Plan(plan)), |row: PlanRow| {
        if let PlanRow::Summary(summary) = row {
            all = Some(summary);
            return Ok(());
        }
        output::row(global.json, &row, line(&row))
    })
    .await?;
    all.ok_or_else(|| Error::Partly {
        what: "the agent did not say all of the plan".to_owned(),
    })
}

/// The agent was started elsewhere.
pub(super) fn absolute(path: &Path) -> Result<std::path::PathBuf, Error> {
    std::path::absolute(path).map_err(Error::io("find", path))
}

fn line(row: &PlanRow) -> String {
    match row {
        PlanRow::Section(section) => {
            let restart = match section.needs_restart {
                true => " (needs a restart)",
                false => "",
            };
            format!("{} differs{restart}", section.section)
        }
        PlanRow::Rule(rule) => format!("  rule {}: {}", rule.rule, rule.differs.join("; ")),
        PlanRow::Object(object) => format!(
            "  {:<8} {}/{} to {} by {}",
            object.change.as_str(),
            object.bucket,
            output::safe(object.key.as_str()),
            object.peer,
            object.rule
        ),
        PlanRow::Way(way) => way_line(way),
        PlanRow::Summary(_) => String::new(),
    }
}

fn way_line(way: &PlanWay) -> String {
    let (rule, peer) = (&way.rule, &way.peer);
    let many = format!(
        "{}, {}",
        counted(way.objects, "object", "objects"),
        bytes(way.bytes)
    );
    match way.change {
        PlanChange::Sent => format!("{many} would be sent to {peer} by rule {rule}"),
        PlanChange::LeftOut => {
            format!("{many} would be left out for {peer}: rule {rule} sends none that were there")
        }
        PlanChange::Removed => format!(
            "{} would be sent to {peer} by rule {rule}: those keys live there",
            counted(way.objects, "delete marker", "delete markers")
        ),
        PlanChange::Moved => format!("{many} would go to {peer} by rule {rule} from now on"),
        _ => format!("{many} would go to {peer} no more (rule {rule}); what is there stays"),
    }
}
