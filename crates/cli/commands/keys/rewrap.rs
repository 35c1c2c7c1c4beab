//! `sealift keys rewrap`, which is `sealift batch rewrap`, too.

use clap::Args;
use sealift_agent::{
    Exit,
    admin::{self, Request, RewrapRow, RewrapSummary},
};
use sealift_terms::BucketName;

use crate::{
    cli::Global,
    commands::{ask, rows},
    output::{self, Outcome, counted},
};

#[derive(Debug, Args)]
pub(crate) struct Rewrap {
    /// The key that is to wrap, by id or alias; its newest version does
    #[arg(long, value_name = "KEY[:VERSION]")]
    to: String,
    /// Only records under this key, or under this version of it
    #[arg(long, value_name = "KEY[:VERSION]")]
    from: Option<String>,
    /// Only records of this bucket
    #[arg(long)]
    bucket: Option<BucketName>,
    /// Only count them
    #[arg(long)]
    dry_run: bool,
}

impl Rewrap {
    pub(crate) async fn run(&self, global: &Global) -> Outcome {
        let request = Request::Rewrap(admin::Rewrap {
            to: self.to.clone(),
            from: self.from.clone(),
            bucket: self.bucket.clone(),
            dry_run: self.dry_run,
        });
        let (_site, answers) = ask(global, request).await?;
        let mut failed = 0;
        rows(answers, |row: RewrapRow| {
            let text = match &row {
                RewrapRow::Failed(record) => format!(
                    "failed    record {} of bucket {}: {}",
                    record.record,
                    record.bucket,
                    output::safe(&record.evidence)
                ),
                RewrapRow::Summary(summary) => {
                    failed = summary.failed;
                    summed(summary)
                }
            };
            output::row(global.json, &row, text)
        })
        .await?;
        Ok(match failed {
            0 => Exit::Done,
            _ => Exit::Partly,
        })
    }
}

fn summed(summary: &RewrapSummary) -> String {
    let RewrapSummary {
        cmk,
        cmk_version,
        records,
        current,
        failed,
        calls,
        dry_run,
    } = summary;
    let (records, are) = match dry_run {
        true => (counted(*records, "record", "records"), "would be"),
        false => (counted(*records, "record", "records"), "now"),
    };
    format!(
        "{records} {are} under {cmk} version {cmk_version}; {current} were already, {failed} failed; \
         {calls} calls to key services"
    )
}
