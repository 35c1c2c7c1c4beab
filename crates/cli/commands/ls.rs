//! `sealift ls`.

use clap::Args;
use sealift_agent::{
    Exit,
    admin::{self, ObjectRow, Request},
};
use sealift_terms::{ChangeKind, Status};

use super::{ask, object::prefix, rows};
use crate::{
    cli::Global,
    output::{self, Outcome},
};

#[derive(Debug, Args)]
pub(crate) struct Ls {
    /// BUCKET or BUCKET/PREFIX; everything without it
    prefix: Option<String>,
    /// All versions and delete markers
    #[arg(long)]
    versions: bool,
    /// Only with this status, all versions that have it
    #[arg(long)]
    status: Option<Status>,
}

impl Ls {
    pub(crate) async fn run(&self, global: &Global) -> Outcome {
        let (bucket, prefix) = prefix(self.prefix.as_deref())?;
        // A status is of a version, as `status` counts them.
        let versions = self.versions || self.status.is_some();
        let request = Request::Ls(admin::Ls {
            bucket,
            prefix,
            status: self.status,
            versions,
            rests: false,
        });
        let (_site, answers) = ask(global, request).await?;
        rows(answers, |row: ObjectRow| {
            output::row(global.json, &row, line(&row, versions))
        })
        .await?;
        Ok(Exit::Done)
    }
}

/// Status, size and time have fixed widths, so that rows can be shown as they come.
fn line(row: &ObjectRow, versions: bool) -> String {
    let size = match row.kind {
        ChangeKind::DeleteMarker => "deleted".to_owned(),
        ChangeKind::Purge => "purge".to_owned(),
        ChangeKind::Tags => "tags".to_owned(),
        _ => output::bytes(row.size),
    };
    let time = row.last_modified.or(row.stored_at);
    let time = time.map(|time| time.to_string()).unwrap_or_default();
    let mut line = format!(
        "{:<9}  {size:>10}  {time:<24}  {}/{}",
        row.status,
        row.bucket,
        output::safe(row.key.as_str())
    );
    if versions {
        line.push_str(&format!(
            "  {}{}",
            row.version,
            if row.latest { " (latest)" } else { "" }
        ));
    }
    if let Some(peer) = &row.peer {
        line.push_str(&format!("  → {peer}"));
    }
    if row.removal_held {
        line.push_str("  (gone from the source; its removal is held)");
    }
    if let Some(reason) = row.reason {
        line.push_str(&format!("  {reason}"));
    }
    line
}
