//! `sealift scrub`.

use clap::Args;
use sealift_agent::{
    Error, Exit,
    admin::{self, QuarantinedRow, Request, ScrubReport},
};
use serde::de::DeserializeOwned;

use super::{ask, rows};
use crate::{
    cli::Global,
    output::{self, Outcome, bytes},
};

#[derive(Debug, Args)]
pub(crate) struct Scrub {
    /// Begin a pass now, unless one is under way
    #[arg(long)]
    now: bool,
}

impl Scrub {
    pub(crate) async fn run(&self, global: &Global) -> Outcome {
        let request = Request::Scrub(admin::Scrub { now: self.now });
        let (_site, answers) = ask(global, request).await?;
        rows(answers, |row: serde_json::Value| {
            if global.json {
                return output::row(true, &row, "");
            }
            // The first row is of the scrub, the others are of the quarantine.
            if row.get("under_way").is_some() {
                return output::print(&standing(&read(row)?));
            }
            output::print(&quarantined(&read(row)?))
        })
        .await?;
        Ok(Exit::Done)
    }
}

fn read<T: DeserializeOwned>(row: serde_json::Value) -> Result<T, Error> {
    serde_json::from_value(row).map_err(Error::failed("reading the answer"))
}

/// How the scrub stands, in one line.
pub(super) fn standing(scrub: &ScrubReport) -> String {
    let begun = match (scrub.under_way, scrub.started, scrub.finished) {
        (true, Some(started), _) => format!("under way since {started}"),
        (false, _, Some(finished)) => format!("finished {finished}"),
        _ => "not begun yet".to_owned(),
    };
    let skipped = match scrub.skipped {
        0 => String::new(),
        skipped => format!(", {skipped} left out as their key cannot be used"),
    };
    format!(
        "scrub {begun}: {} versions, {}, {} findings{skipped}; in quarantine: {} damaged, {} repaired",
        scrub.versions,
        bytes(scrub.bytes),
        scrub.findings,
        scrub.damaged,
        scrub.repaired
    )
}

fn quarantined(row: &QuarantinedRow) -> String {
    let object = &row.object;
    let name = format!("{}/{}@{}", object.bucket, object.key, object.version);
    let standing = match (row.reason, row.repaired_at) {
        (Some(reason), _) => format!("{reason} since {}", row.found_at),
        (None, Some(at)) => format!("found {}, came again {at}", row.found_at),
        (None, None) => format!("found {}", row.found_at),
    };
    format!(
        "{}  {standing}  {} bytes at {} of {}: {}",
        output::safe(&name),
        row.length,
        row.offset,
        row.file,
        output::safe(&row.evidence)
    )
}
