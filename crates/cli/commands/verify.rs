//! `sealift verify`.

use clap::Args;
use sealift_agent::{
    Error, Exit,
    admin::{self, Finding, Rebuilt, Request, VerifyRow, VerifySummary},
};

use super::{ask, object::prefix, rows};
use crate::{
    cli::Global,
    output::{self, Outcome, counted},
};

#[derive(Debug, Args)]
pub(crate) struct Verify {
    /// BUCKET or BUCKET/PREFIX; everything without it
    prefix: Option<String>,
    /// Open every sealed byte, read every source again
    #[arg(long)]
    deep: bool,
    /// First make the catalog anew from the store and the keys; the agent must be stopped
    #[arg(long, conflicts_with = "prefix")]
    rebuild_catalog: bool,
}

impl Verify {
    pub(crate) async fn run(&self, global: &Global) -> Outcome {
        let (bucket, prefix) = prefix(self.prefix.as_deref())?;
        let mut findings = match self.rebuild_catalog {
            true => rebuild(global).await?.findings,
            false => 0,
        };
        let deep = self.deep;
        let request = Request::Verify(admin::Verify {
            bucket,
            prefix,
            deep,
        });
        let (_site, answers) = ask(global, request).await?;
        rows(answers, |row: VerifyRow| match &row {
            VerifyRow::Finding(finding) => output::row(global.json, finding, told(finding)),
            VerifyRow::Progress(_) | VerifyRow::Rebuilt(_) => Ok(()),
            VerifyRow::Summary(summary) => {
                findings += summary.findings;
                output::row(global.json, &row, summed(summary, deep))
            }
        })
        .await?;
        Ok(match findings {
            0 => Exit::Done,
            _ => Exit::VerificationFailed,
        })
    }
}

/// Makes the catalog anew and says from what.
async fn rebuild(global: &Global) -> Result<Rebuilt, Error> {
    let config = global.load()?;
    let mut printed = Ok(());
    let rebuilt = sealift_agent::rebuild_catalog(&config, |finding| {
        let row = output::row(global.json, &finding, told(&finding));
        if printed.is_ok() {
            printed = row;
        }
    })
    .await?;
    printed?;
    let Rebuilt {
        versions,
        marks,
        records,
        findings,
    } = rebuilt;
    let text = format!(
        "rebuilt   {versions} versions, {marks} marks, {records} key records; \
         {findings} not taken over"
    );
    output::row(global.json, &VerifyRow::Rebuilt(rebuilt), text)?;
    Ok(rebuilt)
}

fn told(finding: &Finding) -> String {
    let name = finding.object.as_ref().map(|name| {
        let key = output::safe(name.key.as_str());
        format!("{}/{key} version {}: ", name.bucket, name.version)
    });
    format!(
        "{:<9}  {}{}",
        finding.finding,
        name.unwrap_or_default(),
        output::safe(&finding.evidence)
    )
}

fn summed(summary: &VerifySummary, deep: bool) -> String {
    let VerifySummary {
        verified,
        findings,
        orphans,
        files,
        compared,
        pending,
    } = summary;
    let mut lines = Vec::new();
    match deep {
        true => lines.push(format!(
            "verified  {}, {}",
            counted(verified.objects, "object", "objects"),
            output::bytes(verified.bytes)
        )),
        false => lines.push(format!(
            "looked at {}: there, and as long as the catalog says (`--deep` opens every byte)",
            counted(*files, "stored file", "stored files")
        )),
    }
    lines.push(format!("findings  {findings}"));
    if *compared > 0 {
        let by = match deep {
            true => "byte by byte",
            false => "by version and size",
        };
        lines.push(format!("compared  {compared} with the source, {by}"));
    }
    if *orphans > 0 {
        let files = counted(*orphans, "file", "files");
        lines.push(format!("orphans   {files} that the catalog does not know"));
    }
    if *pending > 0 {
        lines.push(format!("pending   {pending}, not looked at"));
    }
    lines.join("\n")
}
