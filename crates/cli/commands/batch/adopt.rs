//! `sealift batch adopt`.

use std::path::PathBuf;

use clap::Args;
use indicatif::ProgressBar;
use sealift_agent::{
    Error, Exit,
    admin::{self, AdoptAct, AdoptFiles, AdoptResult, AdoptRow, Answers, Reached, Request},
};
use sealift_terms::{BucketName, ObjectKey, limits::RECORD_OBJECTS_MAX};
use serde::Serialize;

use super::{
    group::Group,
    report::{Line, Report},
};
use crate::{
    cli::Global,
    commands::{object::prefix, rows},
    output::{self, Outcome, bytes, counted},
};

const ALLOWED: &str = "BUCKET or BUCKET/PREFIX/, with a slash at its end";

#[derive(Debug, Args)]
pub(crate) struct Adopt {
    /// BUCKET or BUCKET/PREFIX/: the keys are the prefix and the paths below the directory
    prefix: String,
    /// The directory with the plaintext, as the agent sees it: of its data directory only what
    /// was found in store/
    #[arg(long, value_name = "DIR")]
    from: PathBuf,
    /// Write what became of each file to this CSV file
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
    /// Go on with the batch that wrote the report: what it says is adopted is left out
    #[arg(long, requires = "report", conflicts_with = "dry_run")]
    resume: bool,
    /// Say what would be sealed, and change nothing
    #[arg(long)]
    dry_run: bool,
    /// Also where the key is there already: what is found becomes its latest version
    #[arg(long)]
    over_existing: bool,
    /// Remove each file, once what is sealed of it is durable and was read back and compared
    #[arg(long, conflicts_with = "dry_run")]
    remove_plaintext: bool,
}

/// What a batch did.
#[derive(Debug, Default, Serialize)]
struct Summary {
    adopted: u64,
    planned: u64,
    failed: u64,
    /// An earlier run did them.
    skipped: u64,
    /// Files that were removed.
    removed: u64,
    /// Bytes of plaintext of what was adopted, or would be.
    bytes: u64,
    /// Calls to key services that a dry run expects: one for each 2^20 objects of the bucket
    /// and hour with bucket keys, in one layer, and one an object without.
    #[serde(skip_serializing_if = "Option::is_none")]
    key_calls: Option<u64>,
}

struct Run<'a> {
    adopt: &'a Adopt,
    bucket: BucketName,
    key_prefix: String,
    json: bool,
    site: &'a Reached,
    report: Report,
    group: Group<ObjectKey>,
    summary: Summary,
    /// A key that was made, or would be.
    first_key: Option<String>,
    /// Shown where standard error is a terminal, and nowhere else.
    progress: ProgressBar,
}

impl Adopt {
    pub(crate) async fn run(&self, global: &Global) -> Outcome {
        let (bucket, key_prefix) = prefix(Some(&self.prefix))?;
        let bucket = bucket.ok_or_else(|| Error::Request {
            what: "bucket",
            found: "none".to_owned(),
            allowed: ALLOWED.to_owned(),
        })?;
        if !key_prefix.is_empty() && !key_prefix.ends_with('/') {
            return Err(Error::Request {
                what: "prefix",
                found: format!("{key_prefix:?}, which would make keys like {key_prefix}FILE"),
                allowed: ALLOWED.to_owned(),
            }
            .into());
        }
        let report = Report::open::<AdoptRow>(self.report.as_deref(), self.resume)?;
        let site = global.reach(&sealift_agent::Offline).await?;
        let mut run = Run {
            adopt: self,
            bucket,
            key_prefix,
            json: global.json,
            site: &site,
            report,
            group: Group::default(),
            summary: Summary::default(),
            first_key: None,
            progress: ProgressBar::new_spinner(),
        };
        let mut listing = run.ask(AdoptAct::List)?;
        while let Some(row) = listing.next_row::<AdoptRow>().await? {
            run.take(&row).await?;
        }
        listing.finish().await?;
        run.finish().await
    }
}

impl Run<'_> {
    fn ask(&self, act: AdoptAct) -> Result<Answers, Error> {
        let from = std::path::absolute(&self.adopt.from);
        let from = from.map_err(Error::io("finding the directory", &self.adopt.from))?;
        Ok(self.site.ask(Request::Adopt(admin::Adopt {
            from,
            bucket: self.bucket.clone(),
            prefix: self.key_prefix.clone(),
            act,
        })))
    }

    async fn take(&mut self, row: &AdoptRow) -> Result<(), Error> {
        // What cannot be an object is told by the listing, each time.
        if row.result == AdoptResult::Failed {
            return self.told(row);
        }
        if self.report.has(&name(row)) {
            self.summary.skipped += 1;
            return Ok(());
        }
        let file = ObjectKey::new(&row.file);
        let file = file.map_err(|error| Error::Answer(error.to_string()))?;
        if self.group.add(file, row.file.len()) {
            self.send().await?;
        }
        Ok(())
    }

    async fn send(&mut self) -> Result<(), Error> {
        let files = AdoptFiles {
            files: self.group.take(),
            over_existing: self.adopt.over_existing,
            remove: self.adopt.remove_plaintext,
        };
        if files.files.is_empty() {
            return Ok(());
        }
        let act = match self.adopt.dry_run {
            true => AdoptAct::Plan(files),
            false => AdoptAct::Seal(files),
        };
        let mut done = Vec::new();
        let asked = rows(self.ask(act)?, |row: AdoptRow| {
            done.push(row);
            Ok(())
        })
        .await;
        // What was done is told, whatever became of the rest.
        for row in &done {
            self.told(row)?;
        }
        self.report.flush()?;
        self.show();
        asked
    }

    fn show(&self) {
        let Summary {
            adopted,
            planned,
            failed,
            ..
        } = self.summary;
        let told = format!("{} done, {failed} failed", adopted + planned);
        self.progress.set_message(told);
        self.progress.tick();
    }

    fn told(&mut self, row: &AdoptRow) -> Result<(), Error> {
        let summary = &mut self.summary;
        match row.result {
            AdoptResult::Adopted => summary.adopted += 1,
            AdoptResult::Planned => {
                let calls = summary.key_calls.get_or_insert_default();
                let begins = summary.planned.is_multiple_of(RECORD_OBJECTS_MAX);
                *calls += row.own_records.max(u64::from(begins));
                summary.planned += 1;
            }
            _ => summary.failed += 1,
        }
        if row.result != AdoptResult::Failed {
            summary.bytes += row.size;
            self.first_key.get_or_insert_with(|| row.key.clone());
        }
        summary.removed += u64::from(row.removed);
        self.report.add(row)?;
        if self.json {
            return output::row(true, row, "");
        }
        if row.result == AdoptResult::Failed {
            let reason = row.reason.map(|reason| reason.to_string());
            return output::print(&format!(
                "failed    {}: {} ({})",
                output::safe(&row.file),
                output::safe(row.evidence.as_deref().unwrap_or_default()),
                reason.unwrap_or_default(),
            ));
        }
        Ok(())
    }

    async fn finish(mut self) -> Outcome {
        self.send().await?;
        self.progress.finish_and_clear();
        let summary = &self.summary;
        let done = match self.adopt.dry_run {
            true => counted(summary.planned, "file would be", "files would be"),
            false => counted(summary.adopted, "file is", "files are"),
        };
        let mut text = format!(
            "{done} adopted, {}; {} removed, {} failed, {} done before",
            bytes(summary.bytes),
            summary.removed,
            summary.failed,
            summary.skipped
        );
        if let Some(calls) = summary.key_calls {
            text.push_str(&format!("; {calls} calls to key services"));
        }
        if let Some(key) = &self.first_key {
            text.push_str(&format!(
                "; the first as {}/{}",
                self.bucket,
                output::safe(key)
            ));
        }
        output::row(self.json, summary, text)?;
        Ok(match summary.failed {
            0 => Exit::Done,
            _ => Exit::Partly,
        })
    }
}

/// Bucket, key and version; there is no destination.
fn name(row: &AdoptRow) -> [&str; 4] {
    let version = row.version.as_ref();
    let version = version.map_or("", |version| version.as_str());
    [row.bucket.as_str(), &row.key, version, ""]
}

impl Line for AdoptRow {
    const HEAD: &'static [&'static str] = &[
        "bucket",
        "key",
        "version",
        "result",
        "size",
        "file",
        "removed",
        "object_uid",
        "record",
        "reason",
        "evidence",
    ];
    const DONE: &'static str = "adopted";

    fn fields(&self) -> Vec<String> {
        let [bucket, key, version, _] = name(self).map(str::to_owned);
        let text = |value: Option<String>| value.unwrap_or_default();
        vec![
            bucket,
            key,
            version,
            self.result.as_str().to_owned(),
            self.size.to_string(),
            self.file.clone(),
            self.removed.to_string(),
            text(self.object_uid.map(|uid| uid.to_string())),
            text(self.record.map(|record| record.to_string())),
            text(self.reason.map(|reason| reason.to_string())),
            text(self.evidence.clone()),
        ]
    }
}
