//! `sealift demo`: two regions on this machine, from nothing to verified replicas.

use std::{
    path::{Path, PathBuf},
    time::Instant,
};

use clap::Args;
use sealift_agent::{
    Error,
    admin::{Count, StatusReport},
};
use sealift_terms::{BucketName, Status};

use crate::{
    cli::Global,
    demo::{
        agents::Agent,
        compare::{Compared, compare, files},
        dataset::Dataset,
        regions::{BUCKET, Regions, new_workdir},
        summary::{Key, Summary, Tls},
        watch::{bar, sum, until_done},
    },
    output::{self, Outcome, note},
};

#[derive(Debug, Args)]
pub(crate) struct Demo {
    /// What to replicate; a set of a few hundred objects is made without it
    dir: Option<PathBuf>,
    /// Where everything is put; a new temporary directory without it
    #[arg(long, value_name = "DIR")]
    workdir: Option<PathBuf>,
    /// Leave both agents running
    #[arg(long)]
    keep: bool,
    /// The seed of the set that is made
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

impl Demo {
    pub(crate) async fn run(&self, global: &Global) -> Outcome {
        let json = global.json;
        let workdir = new_workdir(self.workdir.as_deref())?;
        note(json, format_args!("workdir    {}", workdir.display()));
        Regions::refuse_used(&workdir)?;
        let source = self.source(json, &workdir)?;
        let regions = Regions::create(&workdir, &source)?;

        let started = Instant::now();
        let mut b = Agent::start(&regions.b).await?;
        let mut a = Agent::start(&regions.a).await?;
        note(
            json,
            format_args!("agents     a: {}, b: {}", pid(&a), pid(&b)),
        );
        let progress = bar(json, 0, "replicating");
        let expected = files(&source)?.len() as u64;
        let sent = until_done(expected, &mut a, &mut b, &progress).await?;
        let seconds = started.elapsed().as_secs_f64();
        let archived = b.status().await?;

        let bucket = BucketName::new(BUCKET).map_err(Error::failed("naming a bucket"))?;
        let bytes = sum(&sent, Status::Completed).bytes;
        let progress = bar(json, bytes, "comparing");
        let compared = compare(b.client(), &bucket, &source, &progress).await?;
        progress.finish();

        if self.keep {
            a.keep();
            b.keep();
        } else {
            a.stop().await?;
            b.stop().await?;
        }
        let same = compared.same;
        let summary = summary(&sent, &archived, compared, seconds, workdir);
        match json {
            true => output::row(true, &summary, "")?,
            false => summary
                .lines(self.keep, same)
                .iter()
                .try_for_each(|line| output::print(line))?,
        }
        Ok(summary.exit())
    }

    /// The directory that was given, or a new one with the set.
    fn source(&self, json: bool, workdir: &Path) -> Result<PathBuf, Error> {
        if let Some(dir) = &self.dir {
            return std::fs::canonicalize(dir).map_err(Error::io("read", dir));
        }
        let dir = workdir.join("source");
        let set = Dataset::new(self.seed);
        let (objects, bytes) = set.totals();
        note(
            json,
            format_args!("source     {objects} objects, {}", output::bytes(bytes)),
        );
        let progress = bar(json, bytes, "making");
        set.write(&dir, |bytes| progress.inc(bytes))?;
        progress.finish_and_clear();
        Ok(dir)
    }
}

fn pid(agent: &Agent) -> String {
    agent
        .id()
        .map_or_else(|| "gone".to_owned(), |id| format!("process {id}"))
}

fn summary(
    sent: &StatusReport,
    archived: &StatusReport,
    compared: Compared,
    seconds: f64,
    workdir: PathBuf,
) -> Summary {
    let [completed, failed, skipped] =
        [Status::Completed, Status::Failed, Status::Skipped].map(|status| sum(sent, status));
    let all: Count = Count {
        objects: completed.objects + failed.objects + skipped.objects,
        bytes: completed.bytes + failed.bytes + skipped.bytes,
    };
    let session = sent.peers.iter().find_map(|peer| peer.session.as_ref());
    let tls = session.map(|session| Tls {
        version: session.tls_version.clone(),
        suite: session.cipher_suite.clone(),
        group: session.group.clone(),
    });
    let bucket = archived.buckets.first();
    let key = bucket.and_then(|bucket| {
        Some(Key {
            id: bucket.cmk.as_ref()?.to_string(),
            version: bucket.cmk_version.clone()?,
        })
    });
    Summary {
        objects: all.objects,
        bytes: all.bytes,
        completed: completed.objects,
        failed: failed.objects,
        skipped: skipped.objects,
        verified: compared.same.objects,
        seconds,
        tls: tls.unwrap_or_default(),
        key: key.unwrap_or_default(),
        workdir,
        findings: compared.findings,
    }
}
