//! `sealift batch replicate`.
//!
//! ```text
//!   manifest ─┐                         Queue            Look, until settled
//!             ├─▶ group of versions ──▶ agent ──▶ groups under way ──▶ report, line by line
//!   filter ───┘                                   (so many at most)
//! ```
//!
//! What was queued is the batch's, by its number, whether the command waits for it or not:
//! `queued` lists, pauses, resumes and cancels it. A command that waits is paused by interrupting
//! it, too: what it queued arrives, nothing else is queued, and `--resume` goes on behind what
//! the report says is there.

use std::{
    collections::{BTreeMap, VecDeque},
    path::PathBuf,
    time::Duration,
};

use clap::Args;
use indicatif::ProgressBar;
use sealift_agent::{
    Error, Exit,
    admin::{
        self, Answers, BatchAct, Reached, ReplicateAct, ReplicateFilter, ReplicateObject,
        ReplicateResult, ReplicateRow, Request,
    },
};
use sealift_terms::{BatchId, PeerName, RuleName, Status, Timestamp};

use super::{
    group::Group,
    manifest::{Manifest, Shape},
    queued::act_on,
    report::{Line, Report},
    summary::Summary,
};
use crate::{
    cli::Global,
    commands::{object::prefix, rows},
    output::{self, Outcome},
};

/// Groups that are under way at once: what is queued beyond what an interruption should leave
/// to be sent.
const GROUPS_MAX: usize = 8;
/// How often it is looked whether they are there.
const LOOK_EVERY: Duration = Duration::from_millis(100);

#[derive(Debug, Args)]
pub(crate) struct Replicate {
    /// BUCKET or BUCKET/PREFIX: the latest version of every object that the rules in force send,
    /// delete markers included; what is SKIPPED only with --status SKIPPED
    #[arg(required_unless_present = "manifest")]
    prefix: Option<String>,
    /// A CSV file that names objects: bucket, key, and version or none for the latest; - is
    /// standard input
    #[arg(long, value_name = "FILE", conflicts_with = "prefix")]
    manifest: Option<PathBuf>,
    /// What the columns of the manifest are, as the fileSchema of an S3 inventory says:
    /// "Bucket, Key, VersionId, ..."
    #[arg(long, value_name = "NAMES", requires = "manifest")]
    schema: Option<String>,
    /// Keys in the manifest are URL-encoded, as S3 writes them
    #[arg(long, requires = "manifest")]
    url_encoded: bool,
    /// Older versions, too: a directory has none any more
    #[arg(long, conflicts_with = "manifest")]
    versions: bool,
    /// Only what stands so, as in FAILED; may be given again
    #[arg(long, conflicts_with = "manifest")]
    status: Vec<Status>,
    /// Only what this rule sends
    #[arg(long, conflicts_with = "manifest")]
    rule: Option<RuleName>,
    /// Only what stands so since this time or later, as in 2026-11-23T15:04:05Z
    #[arg(long, value_name = "TIME", conflicts_with = "manifest")]
    since: Option<Timestamp>,
    /// Only what stands so since before this time
    #[arg(long, value_name = "TIME", conflicts_with = "manifest")]
    until: Option<Timestamp>,
    /// Only versions that were modified at this time or later, as their source says; delete
    /// markers say none
    #[arg(long, value_name = "TIME", conflicts_with = "manifest")]
    modified_since: Option<Timestamp>,
    /// Only versions that were modified before this time
    #[arg(long, value_name = "TIME", conflicts_with = "manifest")]
    modified_until: Option<Timestamp>,
    /// Only versions that have this tag now, as in class=hot; may be given again: all of them
    #[arg(long = "tag", value_name = "TAG=VALUE", value_parser = tag, conflicts_with = "manifest")]
    tags: Vec<(String, String)>,
    /// Of what is there, send the tags that are others than at the source, and no bytes
    #[arg(long, conflicts_with = "status")]
    tags_only: bool,
    /// Only to this peer
    #[arg(long)]
    peer: Option<PeerName>,
    /// Write what became of each version at each peer to this CSV file
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
    /// Go on with the batch that wrote the report: what it says is there is left out
    #[arg(long, requires = "report", conflicts_with = "dry_run")]
    resume: bool,
    /// Say what would be sent, and change nothing
    #[arg(long)]
    dry_run: bool,
    /// Queue all of it, and do not wait until it is there
    #[arg(long, conflicts_with = "dry_run")]
    no_wait: bool,
}

impl Replicate {
    /// All of the tags; no version has two values of one.
    fn tags(&self) -> Result<BTreeMap<String, String>, Error> {
        let mut tags = BTreeMap::new();
        for (tag, value) in &self.tags {
            if let Some(other) = tags.insert(tag.clone(), value.clone())
                && other != *value
            {
                return Err(Error::Request {
                    what: "--tag",
                    found: format!("{tag} that is both {other} and {value}"),
                    allowed: "one value of each tag".to_owned(),
                });
            }
        }
        Ok(tags)
    }
}

fn tag(text: &str) -> Result<(String, String), String> {
    let pair = text.split_once('=').filter(|(tag, _)| !tag.is_empty());
    let (tag, value) = pair.ok_or_else(|| format!("{text:?} is not TAG=VALUE"))?;
    Ok((tag.to_owned(), value.to_owned()))
}

/// Where names come from.
enum Objects {
    Manifest(Box<Manifest>, Option<PeerName>),
    Found(Answers),
}

/// What of them comes next.
enum Next {
    Object(ReplicateObject),
    /// It is not sent: a rule leaves it out.
    LeftOut(Box<ReplicateRow>),
}

struct Run<'a> {
    json: bool,
    /// What it was asked to send, in words.
    what: String,
    tags_only: bool,
    dry_run: bool,
    waits: bool,
    site: &'a Reached,
    report: Report,
    group: Group<ReplicateObject>,
    under_way: VecDeque<Vec<ReplicateObject>>,
    summary: Summary,
    /// Shown where standard error is a terminal, and nowhere else.
    progress: ProgressBar,
}

impl Replicate {
    pub(crate) async fn run(&self, global: &Global) -> Outcome {
        let report = Report::open::<ReplicateRow>(self.report.as_deref(), self.resume)?;
        let site = global.reach(&sealift_agent::Offline).await?;
        let waits = !self.dry_run && !self.no_wait;
        if waits && matches!(site, Reached::Stopped(_)) {
            let what = "the agent is stopped, and nothing is sent: start it, or use --no-wait";
            return Err(Error::Stopped { what: what.into() }.into());
        }
        let mut objects = self.objects(&site)?;
        let mut is_any = false;
        let mut run = Run {
            json: global.json,
            what: self.in_words(),
            tags_only: self.tags_only,
            dry_run: self.dry_run,
            waits,
            site: &site,
            report,
            group: Group::default(),
            under_way: VecDeque::new(),
            summary: Summary::default(),
            progress: ProgressBar::new_spinner(),
        };
        while let Some(next) = objects.next().await? {
            is_any = true;
            match next {
                Next::Object(object) => run.take(object).await?,
                Next::LeftOut(row) => run.told(&row)?,
            }
        }
        let names_each = matches!(objects, Objects::Manifest(..));
        if let Objects::Found(answers) = objects {
            answers.finish().await?;
        }
        if !is_any {
            self.tell_nothing(&run)?;
        }
        run.finish(names_each).await
    }

    /// Nothing is what it was asked for. That is how it should be of a whole bucket, or of what
    /// was given up; a prefix that no key has is a slip.
    fn tell_nothing(&self, run: &Run<'_>) -> Result<(), Error> {
        let of_prefix = self.prefix.as_deref().filter(|_| !self.is_filtered());
        let of_keys = |prefix: &&str| {
            let keys = prefix.split_once('/');
            keys.is_some_and(|(_, keys)| !keys.is_empty())
        };
        if let Some(prefix) = of_prefix.filter(of_keys) {
            let what = format!("version at {} that rules send", output::safe(prefix));
            return Err(Error::NotFound { what });
        }
        let line = format!(
            "no version is what was asked for: {}",
            output::safe(&run.what)
        );
        output::note(run.json, line);
        Ok(())
    }

    /// Whether only some of the versions with a prefix are asked for.
    fn is_filtered(&self) -> bool {
        let times = [
            self.since,
            self.until,
            self.modified_since,
            self.modified_until,
        ];
        let is_to_one = self.rule.is_some() || self.peer.is_some();
        is_to_one
            || self.tags_only
            || !(self.status.is_empty() && self.tags.is_empty())
            || times.iter().any(Option::is_some)
    }

    /// What it is asked to send, for those who look at what is under way.
    fn in_words(&self) -> String {
        let mut words = match (&self.prefix, &self.manifest) {
            (Some(prefix), _) => prefix.clone(),
            (None, Some(manifest)) => format!("what {} names", manifest.display()),
            (None, None) => String::new(),
        };
        let mut add = |word: &str, value: String| words.push_str(&format!(" {word}{value}"));
        for (is_given, word) in [
            (self.versions, "--versions"),
            (self.tags_only, "--tags-only"),
        ] {
            if is_given {
                add(word, String::new());
            }
        }
        let statuses = self
            .status
            .iter()
            .map(|status| ("--status ", status.to_string()));
        let rule = self.rule.iter().map(|rule| ("--rule ", rule.to_string()));
        let peer = self.peer.iter().map(|peer| ("--peer ", peer.to_string()));
        let times = [
            ("--since ", self.since),
            ("--until ", self.until),
            ("--modified-since ", self.modified_since),
            ("--modified-until ", self.modified_until),
        ];
        let times = times.into_iter();
        let times = times.filter_map(|(word, time)| Some((word, time?.to_string())));
        let tags = self.tags.iter();
        let tags = tags.map(|(tag, value)| ("--tag ", format!("{tag}={value}")));
        let all = statuses.chain(rule).chain(peer).chain(times).chain(tags);
        all.for_each(|(word, value)| add(word, value));
        words
    }

    fn objects(&self, site: &Reached) -> Result<Objects, Error> {
        if let Some(path) = &self.manifest {
            let shape = Shape {
                schema: self.schema.clone(),
                url_encoded: self.url_encoded,
                versions: false,
            };
            let manifest = Manifest::open(path, shape)?;
            return Ok(Objects::Manifest(Box::new(manifest), self.peer.clone()));
        }
        let (bucket, prefix) = prefix(self.prefix.as_deref())?;
        let filter = ReplicateFilter {
            bucket,
            prefix,
            peer: self.peer.clone(),
            rule: self.rule.clone(),
            statuses: match self.tags_only {
                true => vec![Status::Completed],
                false => self.status.clone(),
            },
            versions: self.versions,
            since: self.since,
            until: self.until,
            modified_since: self.modified_since,
            modified_until: self.modified_until,
            tags: self.tags()?,
        };
        let found = site.ask(Request::Replicate(admin::Replicate {
            act: ReplicateAct::Find(filter),
            tags_only: self.tags_only,
        }));
        Ok(Objects::Found(found))
    }
}

impl Objects {
    async fn next(&mut self) -> Result<Option<Next>, Error> {
        match self {
            Self::Manifest(manifest, peer) => {
                let named = manifest.next_object()?;
                let object = named.map(|named| ReplicateObject {
                    bucket: named.bucket,
                    key: named.key,
                    version: named.version,
                    peer: peer.clone(),
                });
                Ok(object.map(Next::Object))
            }
            Self::Found(answers) => {
                let row: Option<ReplicateRow> = answers.next_row().await?;
                Ok(row.map(|row| match row.result {
                    ReplicateResult::LeftOut => Next::LeftOut(Box::new(row)),
                    _ => Next::Object(row.object),
                }))
            }
        }
    }
}

/// A version and a peer are named where they are known.
fn failed(row: &ReplicateRow) -> String {
    let ReplicateObject {
        bucket,
        key,
        version,
        peer,
    } = &row.object;
    let mut line = format!("failed    {bucket}/{}", output::safe(key.as_str()));
    if let Some(version) = version {
        line.push_str(&format!(" version {version}"));
    }
    if let Some(peer) = peer {
        line.push_str(&format!(" to {peer}"));
    }
    let evidence = row.evidence.as_deref().unwrap_or_default();
    line.push_str(&format!(": {}", output::safe(evidence)));
    if let Some(reason) = row.reason {
        line.push_str(&format!(" ({reason})"));
    }
    line
}

impl Run<'_> {
    async fn take(&mut self, object: ReplicateObject) -> Result<(), Error> {
        if self.report.has(&name(&object)) {
            self.summary.skipped += 1;
            return Ok(());
        }
        let bytes = name(&object).iter().map(|part| part.len()).sum();
        if self.group.add(object, bytes) {
            self.send().await?;
        }
        Ok(())
    }

    /// Queues the group, or says what queueing it would do.
    async fn send(&mut self) -> Result<(), Error> {
        let objects = self.group.take();
        if objects.is_empty() {
            return Ok(());
        }
        let act = match self.dry_run {
            true => ReplicateAct::Plan(objects),
            false => {
                let batch = self.batch().await?;
                ReplicateAct::Queue { batch, objects }
            }
        };
        let mut waiting = Vec::new();
        for row in self.ask(act).await? {
            match row.result {
                ReplicateResult::Queued if self.waits => waiting.push(row.object),
                _ => self.told(&row)?,
            }
        }
        self.report.flush()?;
        self.under_way.push_back(waiting);
        if self.under_way.len() > GROUPS_MAX {
            self.settle_oldest().await?;
        }
        Ok(())
    }

    /// The batch, which begins with the first that is queued for it.
    async fn batch(&mut self) -> Result<BatchId, Error> {
        if let Some(batch) = self.summary.batch {
            return Ok(batch);
        }
        let what = self.what.clone();
        let batch = act_on(self.site, BatchAct::Begin { what }).await?.batch;
        self.summary.batch = Some(batch);
        Ok(batch)
    }

    async fn ask(&self, act: ReplicateAct) -> Result<Vec<ReplicateRow>, Error> {
        let mut all = Vec::new();
        let tags_only = self.tags_only;
        let request = admin::Replicate { act, tags_only };
        let answers = self.site.ask(Request::Replicate(request));
        rows(answers, |row: ReplicateRow| {
            all.push(row);
            Ok(())
        })
        .await?;
        Ok(all)
    }

    /// Waits until what was queued first is there, or is not going to be.
    async fn settle_oldest(&mut self) -> Result<(), Error> {
        let mut waiting = self.under_way.pop_front().unwrap_or_default();
        loop {
            if waiting.is_empty() {
                return Ok(());
            }
            let mut left = Vec::new();
            let (batch, objects) = (self.batch().await?, waiting);
            let look = ReplicateAct::Look { batch, objects };
            for row in self.ask(look).await? {
                match row.result {
                    ReplicateResult::Queued => left.push(row.object),
                    _ => self.told(&row)?,
                }
            }
            self.report.flush()?;
            waiting = left;
            self.show(waiting.len());
            if !waiting.is_empty() {
                tokio::time::sleep(LOOK_EVERY).await;
            }
        }
    }

    fn show(&self, waiting: usize) {
        let behind: usize = self.under_way.iter().map(Vec::len).sum();
        let summary = &self.summary;
        self.progress.set_message(format!(
            "batch {}: {} there, {} failed, {} under way",
            summary.batch.unwrap_or(BatchId(0)),
            summary.replicated,
            summary.failed,
            waiting + behind
        ));
        self.progress.tick();
    }

    fn told(&mut self, row: &ReplicateRow) -> Result<(), Error> {
        self.summary.count(row);
        self.report.add(row)?;
        if self.json {
            return output::row(true, row, "");
        }
        if row.result == ReplicateResult::Failed {
            return output::print(&failed(row));
        }
        Ok(())
    }

    async fn finish(mut self, names_each: bool) -> Outcome {
        self.send().await?;
        while !self.under_way.is_empty() {
            self.settle_oldest().await?;
        }
        self.progress.finish_and_clear();
        let summary = &self.summary;
        let text = summary.text((self.dry_run, self.waits, self.tags_only));
        output::row(self.json, summary, text)?;
        let undone = summary.undone(names_each);
        Ok(match undone {
            0 => Exit::Done,
            _ => Exit::Partly,
        })
    }
}

/// Bucket, key, version and destination, as far as they are named.
pub(super) fn name(object: &ReplicateObject) -> [&str; 4] {
    [
        object.bucket.as_str(),
        object.key.as_str(),
        object
            .version
            .as_ref()
            .map_or("", |version| version.as_str()),
        object.peer.as_ref().map_or("", |peer| peer.as_str()),
    ]
}

impl Line for ReplicateRow {
    const HEAD: &'static [&'static str] = &[
        "bucket", "key", "version", "result", "size", "peer", "rule", "reason", "evidence",
    ];
    const DONE: &'static str = "replicated";

    fn fields(&self) -> Vec<String> {
        let [bucket, key, version, peer] = name(&self.object).map(str::to_owned);
        let text = |value: Option<String>| value.unwrap_or_default();
        vec![
            bucket,
            key,
            version,
            self.result.as_str().to_owned(),
            self.size.to_string(),
            peer,
            text(self.rule.as_ref().map(RuleName::to_string)),
            text(self.reason.map(|reason| reason.to_string())),
            text(self.evidence.clone().or_else(|| {
                let said = self.tags_only.then_some("its tags alone");
                said.map(str::to_owned)
            })),
        ]
    }
}
