//! `sealift ca revoke`.

use clap::Args;
use sealift_agent::{
    Exit,
    admin::{self, Request, RevokedRow},
};

use crate::{
    cli::Global,
    commands::{ask, block_on, rows},
    output::{self, Outcome},
};

#[derive(Debug, Args)]
pub(crate) struct Revoke {
    /// An identity, for all that it was given until now; or the serial number of one certificate
    #[arg(value_name = "IDENTITY|SERIAL")]
    what: String,
    /// Why, for the audit log
    #[arg(long, value_name = "TEXT")]
    reason: String,
}

impl Revoke {
    pub(super) fn run(&self, global: &Global) -> Outcome {
        block_on(async {
            let request = Request::Revoke(admin::Revoke {
                what: self.what.clone(),
                reason: self.reason.clone(),
            });
            let (_site, answers) = ask(global, request).await?;
            rows(answers, |row: RevokedRow| {
                output::row(global.json, &row, text(&row))
            })
            .await?;
            Ok(Exit::Done)
        })
    }
}

fn text(row: &RevokedRow) -> String {
    let identity = row.identity.as_ref();
    let whose = identity.map_or("nobody that is known", |identity| identity.as_str());
    let serials = match row.serials.is_empty() {
        true => "-".to_owned(),
        false => row.serials.join(", "),
    };
    let note = match row.is_news {
        true => "",
        false => " (it was before)",
    };
    let sequence = row.sequence;
    format!("revoked  {whose}  serial {serials}  in trust bundle {sequence}{note}")
}
