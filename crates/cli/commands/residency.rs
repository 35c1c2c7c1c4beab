//! `sealift residency`.

use clap::Args;
use sealift_agent::{
    Exit,
    admin::{self, Request, ResidencyRow},
};
use sealift_terms::BucketName;

use super::{ask, rows};
use crate::{
    cli::Global,
    output::{self, Outcome, Table, bytes},
};

#[derive(Debug, Args)]
pub(crate) struct Residency {
    /// Only of this bucket
    bucket: Option<BucketName>,
}

impl Residency {
    pub(crate) async fn run(&self, global: &Global) -> Outcome {
        let bucket = self.bucket.clone();
        let request = Request::Residency(admin::Residency { bucket });
        let (_site, answers) = ask(global, request).await?;
        let head = [
            "BUCKET",
            "REGION",
            "HELD BY",
            "FROM",
            "KEY",
            "VERSIONS",
            "BYTES",
            "LAST STORED",
        ];
        let mut table = Table::new(&head, &[5, 6]);
        rows(answers, |row: ResidencyRow| {
            if global.json {
                return output::row(true, &row, "");
            }
            table.row(cells(&row));
            Ok(())
        })
        .await?;
        if !table.is_empty() {
            table.print()?;
        }
        Ok(Exit::Done)
    }
}

fn cells(row: &ResidencyRow) -> [String; 8] {
    let key = format!("{} {}", row.cmk, row.cmk_version);
    let key = match (&row.second_cmk, &row.second_cmk_version) {
        (Some(second), Some(version)) => format!("{key} and {second} {version}"),
        _ => key,
    };
    let peer = row.peer.as_ref();
    let from = row.source_region.as_ref();
    [
        row.bucket.to_string(),
        row.region.to_string(),
        peer.map_or("here".to_owned(), |peer| peer.to_string()),
        from.map_or("-".to_owned(), |region| region.to_string()),
        key,
        row.versions.to_string(),
        bytes(row.bytes),
        row.last_stored.to_string(),
    ]
}
