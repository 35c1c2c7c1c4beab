//! `sealift ca deny`.

use clap::Args;
use sealift_agent::{
    Exit,
    admin::{self, DeniedRow, Request},
};
use sealift_terms::Identity;

use crate::{
    cli::Global,
    commands::{ask, block_on, rows},
    output::{self, Outcome},
};

#[derive(Debug, Args)]
pub(crate) struct Deny {
    /// Who this site lets in no more; without it the list is shown
    identity: Option<Identity>,
    /// Why, for the list and the audit log
    #[arg(long, value_name = "TEXT", requires = "identity")]
    reason: Option<String>,
    /// Take it off the list
    #[arg(long, requires = "identity", conflicts_with = "reason")]
    lift: bool,
}

impl Deny {
    pub(super) fn run(&self, global: &Global) -> Outcome {
        block_on(async {
            let request = Request::Deny(admin::Deny {
                identity: self.identity.clone(),
                lift: self.lift,
                reason: self.reason.clone(),
            });
            let (_site, answers) = ask(global, request).await?;
            let mut denied = 0_usize;
            rows(answers, |row: DeniedRow| {
                denied += 1;
                output::row(global.json, &row, line(&row))
            })
            .await?;
            if denied == 0 && !global.json {
                output::print("nobody is denied")?;
            }
            Ok(Exit::Done)
        })
    }
}

fn line(row: &DeniedRow) -> String {
    let reason = row.reason.as_deref().unwrap_or_default();
    let (identity, since, by) = (&row.identity, row.since, &row.by);
    format!(
        "denied  {identity}  since {since}  by {by}  {}",
        output::safe(reason)
    )
    .trim_end()
    .to_owned()
}
