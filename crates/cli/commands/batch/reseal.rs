//! `sealift batch reseal`.

use std::{
    collections::{BTreeMap, HashSet},
    path::PathBuf,
};

use clap::Args;
use sealift_agent::{
    Error, Exit,
    admin::{self, Answers, ObjectRow, Reached, Request, ResealResult, ResealRow},
};
use sealift_terms::{BucketName, RecordId, VersionName, limits::RECORD_OBJECTS_MAX};
use serde::Serialize;

use super::{
    group::Group,
    manifest::{Manifest, Shape},
    report::{Line, Report},
};
use crate::{
    cli::Global,
    commands::{object::prefix, rows},
    output::{self, Outcome, bytes, counted},
};

#[derive(Debug, Args)]
pub(crate) struct Reseal {
    /// BUCKET or BUCKET/PREFIX: every version in it
    #[arg(required_unless_present = "manifest")]
    prefix: Option<String>,
    /// A CSV file that names the versions: bucket, key, version; - is standard input
    #[arg(long, value_name = "FILE", conflicts_with = "prefix")]
    manifest: Option<PathBuf>,
    /// Write what became of each version to this CSV file
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
    /// Go on with the batch that wrote the report: what it says is done is left out
    #[arg(long, requires = "report", conflicts_with = "dry_run")]
    resume: bool,
    /// Say what would be done, and whether the keys can be used
    #[arg(long)]
    dry_run: bool,
}

/// Where names come from.
enum Names {
    Manifest(Box<Manifest>),
    Listing(Answers),
}

/// What a batch did.
#[derive(Debug, Default, Serialize)]
struct Summary {
    resealed: u64,
    planned: u64,
    failed: u64,
    /// An earlier run did them.
    skipped: u64,
    /// Bytes of plaintext of what was sealed anew, or would be.
    bytes: u64,
    /// What a dry run expects of key services.
    #[serde(skip_serializing_if = "Option::is_none")]
    forecast: Option<Forecast>,
}

/// Calls to key services that sealing anew would take.
#[derive(Debug, Default, Serialize)]
struct Forecast {
    /// As the buckets are configured: one for each record that is opened, and one for each
    /// that is begun; what is sealed in two layers has two. As many as are begun once more
    /// for each hour that the batch takes.
    calls: u64,
    /// If each object had records of its own: one in each layer that is opened, and one in
    /// each that is sealed.
    calls_without_bucket_keys: u64,
    #[serde(skip)]
    opened: HashSet<RecordId>,
    #[serde(skip)]
    under_bucket_keys: BTreeMap<BucketName, u64>,
}

impl Forecast {
    fn add(&mut self, row: &ResealRow) {
        for record in [row.record, row.second_record].into_iter().flatten() {
            self.calls_without_bucket_keys += 1;
            self.calls += u64::from(self.opened.insert(record));
        }
        self.calls_without_bucket_keys += row.layers;
        if row.own_record {
            self.calls += row.layers;
            return;
        }
        let bucket = row.object.bucket.clone();
        let objects = self.under_bucket_keys.entry(bucket).or_default();
        if objects.is_multiple_of(RECORD_OBJECTS_MAX) {
            self.calls += row.layers;
        }
        *objects += 1;
    }
}

struct Run<'a> {
    json: bool,
    dry_run: bool,
    site: &'a Reached,
    report: Report,
    group: Group<VersionName>,
    summary: Summary,
}

impl Reseal {
    pub(crate) async fn run(&self, global: &Global) -> Outcome {
        let report = Report::open::<ResealRow>(self.report.as_deref(), self.resume)?;
        let site = global.reach(&sealift_agent::Offline).await?;
        let mut names = match &self.manifest {
            Some(path) => {
                let shape = Shape {
                    versions: true,
                    ..Shape::default()
                };
                Names::Manifest(Box::new(Manifest::open(path, shape)?))
            }
            None => {
                let (bucket, prefix) = prefix(self.prefix.as_deref())?;
                Names::Listing(site.ask(Request::Ls(admin::Ls {
                    bucket,
                    prefix,
                    rests: true,
                    versions: true,
                    status: None,
                })))
            }
        };
        let mut run = Run {
            json: global.json,
            dry_run: self.dry_run,
            site: &site,
            report,
            group: Group::default(),
            summary: Summary::default(),
        };
        while let Some(name) = names.next().await? {
            run.take(name).await?;
        }
        if let Names::Listing(answers) = names {
            answers.finish().await?;
        }
        run.finish().await
    }
}

impl Names {
    async fn next(&mut self) -> Result<Option<VersionName>, Error> {
        match self {
            Self::Manifest(manifest) => manifest.next_name(),
            Self::Listing(answers) => {
                let row: Option<ObjectRow> = answers.next_row().await?;
                Ok(row.map(|row| VersionName {
                    bucket: row.bucket,
                    key: row.key,
                    version: row.version,
                }))
            }
        }
    }
}

impl Run<'_> {
    async fn take(&mut self, name: VersionName) -> Result<(), Error> {
        let (key, version) = (name.key.as_str(), name.version.as_str());
        let parts = [name.bucket.as_str(), key, version, ""];
        if self.report.has(&parts) {
            self.summary.skipped += 1;
            return Ok(());
        }
        let bytes = key.len() + version.len();
        if self.group.add(name, bytes) {
            self.ask().await?;
        }
        Ok(())
    }

    async fn ask(&mut self) -> Result<(), Error> {
        let objects = self.group.take();
        if objects.is_empty() {
            return Ok(());
        }
        let dry_run = self.dry_run;
        let answers = self
            .site
            .ask(Request::Reseal(admin::Reseal { objects, dry_run }));
        let mut done = Vec::new();
        let asked = rows(answers, |row: ResealRow| {
            done.push(row);
            Ok(())
        })
        .await;
        // What was done is told, whatever became of the rest.
        for row in &done {
            self.told(row)?;
        }
        self.report.flush()?;
        asked
    }

    fn told(&mut self, row: &ResealRow) -> Result<(), Error> {
        match row.result {
            ResealResult::Resealed => self.summary.resealed += 1,
            ResealResult::Planned => {
                self.summary.planned += 1;
                self.summary.forecast.get_or_insert_default().add(row);
            }
            ResealResult::Failed => self.summary.failed += 1,
        }
        self.summary.bytes += row.size;
        self.report.add(row)?;
        if self.json {
            return output::row(true, row, "");
        }
        if row.result == ResealResult::Failed {
            let reason = row.reason.map(|reason| reason.to_string());
            return output::print(&format!(
                "failed    {}/{} version {}: {} ({})",
                row.object.bucket,
                output::safe(row.object.key.as_str()),
                row.object.version,
                output::safe(row.evidence.as_deref().unwrap_or_default()),
                reason.unwrap_or_default(),
            ));
        }
        Ok(())
    }

    async fn finish(mut self) -> Outcome {
        self.ask().await?;
        let summary = &self.summary;
        let done = match self.dry_run {
            true => counted(summary.planned, "version would be", "versions would be"),
            false => counted(summary.resealed, "version is", "versions are"),
        };
        let text = format!(
            "{done} sealed anew, {}; {} failed, {} done before",
            bytes(summary.bytes),
            summary.failed,
            summary.skipped
        );
        let calls = summary.forecast.iter().map(|forecast| {
            format!(
                "; {} calls to key services, {} without bucket keys",
                forecast.calls, forecast.calls_without_bucket_keys
            )
        });
        let text = calls.fold(text, |text, calls| text + &calls);
        output::row(self.json, summary, text)?;
        Ok(match summary.failed {
            0 => Exit::Done,
            _ => Exit::Partly,
        })
    }
}

impl Line for ResealRow {
    const HEAD: &'static [&'static str] = &[
        "bucket",
        "key",
        "version",
        "result",
        "size",
        "object_uid",
        "record",
        "second_record",
        "reason",
        "evidence",
    ];
    const DONE: &'static str = "resealed";

    fn fields(&self) -> Vec<String> {
        let text = |value: Option<String>| value.unwrap_or_default();
        vec![
            self.object.bucket.to_string(),
            self.object.key.to_string(),
            self.object.version.to_string(),
            self.result.as_str().to_owned(),
            self.size.to_string(),
            text(self.object_uid.map(|uid| uid.to_string())),
            text(self.record.map(|record| record.to_string())),
            text(self.second_record.map(|record| record.to_string())),
            text(self.reason.map(|reason| reason.to_string())),
            text(self.evidence.clone()),
        ]
    }
}
