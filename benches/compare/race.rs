//! Contenders by turns on the same work.

use std::{
    fs, io,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use crate::{
    contenders::{Contender, Job, Tools},
    data::{self, Work},
    hosts::Hosts,
    inside::succeed,
    report::{Figure, Line, Table, Wanted},
};

/// Files that lie ready, and the empty source beside them.
pub struct Ready {
    pub folder: PathBuf,
    pub files: Vec<PathBuf>,
    pub source: PathBuf,
}

impl Ready {
    /// Makes the files of `work` below `place`.
    pub fn make(work: &Work, place: &Path) -> io::Result<Self> {
        let (folder, source) = (place.join("ready"), place.join("source"));
        fs::create_dir_all(&folder)?;
        fs::create_dir_all(&source)?;
        let files = data::make(work, &folder)?;
        Ok(Self {
            folder,
            files,
            source,
        })
    }

    pub fn bytes(&self) -> io::Result<u64> {
        let sizes = self.files.iter().map(|file| Ok(file.metadata()?.len()));
        sizes.sum()
    }
}

/// One contender in a race.
pub struct Entry {
    pub contender: Box<dyn Contender>,
    /// It takes part in every so many rounds: those who take long run less often.
    pub every: usize,
    /// Of ours to it; of ours itself when it is ours.
    pub wanted: Option<Wanted>,
}

impl Entry {
    pub fn new(contender: impl Contender + 'static, wanted: Option<Wanted>) -> Self {
        Self {
            contender: Box::new(contender),
            every: 1,
            wanted,
        }
    }

    pub fn every(self, every: usize) -> Self {
        Self { every, ..self }
    }
}

/// How what was taken becomes a figure.
#[derive(Clone, Copy)]
pub enum Unit {
    MegabytesPerSec,
    ObjectsPerSec,
    Secs,
}

impl Unit {
    pub fn text(self) -> &'static str {
        match self {
            Self::MegabytesPerSec => "MB/s",
            Self::ObjectsPerSec => "objects/s",
            Self::Secs => "s",
        }
    }

    pub fn figure(self, ready: &Ready, taken: Duration) -> io::Result<f64> {
        let secs = taken.as_secs_f64();
        Ok(match self {
            Self::MegabytesPerSec => ready.bytes()? as f64 / 1e6 / secs,
            Self::ObjectsPerSec => ready.files.len() as f64 / secs,
            Self::Secs => secs,
        })
    }

    /// How many times better `ours` is.
    fn ratio(self, ours: f64, theirs: f64) -> f64 {
        match self {
            Self::Secs => theirs / ours,
            _ => ours / theirs,
        }
    }
}

/// What a race is run on.
pub struct Course<'a> {
    pub work: &'static str,
    pub title: String,
    pub unit: Unit,
    pub tools: &'a Tools,
    pub hosts: &'a Hosts,
    pub ready: &'a Ready,
    /// Where everything that is written goes.
    pub place: &'a Path,
    pub durable: bool,
    pub rounds: usize,
}

impl Course<'_> {
    /// Runs all `entries` by turns; the first of them is ours.
    pub fn race(&self, entries: &[Entry]) -> io::Result<Table> {
        let mut values: Vec<Vec<Option<f64>>> = vec![Vec::new(); entries.len()];
        let mut busy: Vec<Vec<f64>> = vec![Vec::new(); entries.len()];
        let mut failed: Vec<Option<String>> = vec![None; entries.len()];
        let (mut sender, mut receiver) = (0, 0);
        for round in 0..self.rounds {
            for turn in 0..entries.len() {
                // Another one begins each round.
                let at = (round + turn) % entries.len();
                let entry = &entries[at];
                if !round.is_multiple_of(entry.every) || failed[at].is_some() {
                    values[at].push(None);
                    continue;
                }
                let name = entry.contender.name();
                eprint!(
                    "\r\x1b[K{} {}/{}: {name}",
                    self.work,
                    round + 1,
                    self.rounds
                );
                let run = self.run(&*entry.contender, round == 0);
                let run = match run {
                    Ok(run) => run,
                    Err(error) if at == 0 => return Err(error),
                    // The others go on without it, and the table says so.
                    Err(error) => {
                        failed[at] = Some(format!("{name} dropped out: {error}"));
                        values[at].push(None);
                        continue;
                    }
                };
                if let Some(ours) = run.ours {
                    sender = sender.max(ours.sender_mib);
                    receiver = receiver.max(ours.receiver_mib);
                }
                values[at].push(Some(self.unit.figure(self.ready, run.taken)?));
                busy[at].extend(run.busy.map(|busy| busy.as_secs_f64()));
            }
        }
        eprint!("\r\x1b[K");
        let mut notes = vec![format!(
            "peak memory: sending agent {sender} MiB, receiving agent {receiver} MiB"
        )];
        notes.extend(failed.into_iter().flatten());
        for (entry, busy) in entries.iter().zip(&busy) {
            notes.extend(self.busy_note(&entry.contender.name(), busy)?);
        }
        let lines = entries.iter().zip(&values);
        let lines = lines.filter_map(|(entry, own)| self.line(entry, own, &values[0]));
        Ok(Table {
            work: self.work,
            title: self.title.clone(),
            unit: self.unit.text(),
            lines: lines.collect(),
            notes,
        })
    }

    /// What it costs both cores together, whatever else keeps them busy.
    fn busy_note(&self, name: &str, busy: &[f64]) -> io::Result<Option<String>> {
        let Some(busy) = Figure::of(busy) else {
            return Ok(None);
        };
        let (bytes, objects) = (self.ready.bytes()? as f64, self.ready.files.len() as f64);
        let cost = match self.unit {
            Unit::MegabytesPerSec => format!("{:.2} ns a byte", busy.median * 1e9 / bytes),
            _ => format!("{:.1} µs an object", busy.median * 1e6 / objects),
        };
        Ok(Some(format!("processor time: {name} {cost}")))
    }

    /// One run in a place of its own, which is gone afterwards.
    pub fn run(
        &self,
        contender: &dyn Contender,
        checked: bool,
    ) -> io::Result<crate::contenders::Run> {
        let place = self.place.join("run");
        fs::create_dir_all(&place)?;
        if self.durable {
            // What others left to be written is not ours to wait for.
            succeed(Command::new("sync").arg("-f").arg(&place))?;
        }
        let run = contender.run(&Job {
            tools: self.tools,
            hosts: self.hosts,
            ready: &self.ready.folder,
            files: &self.ready.files,
            source: &self.ready.source,
            place: &place,
            durable: self.durable,
            checked,
        });
        if run.is_err() {
            let log = fs::read_to_string(place.join("log")).unwrap_or_default();
            log.lines()
                .rev()
                .take(5)
                .for_each(|line| eprintln!("{line}"));
        }
        fs::remove_dir_all(&place)?;
        run
    }

    fn line(&self, entry: &Entry, own: &[Option<f64>], ours: &[Option<f64>]) -> Option<Line> {
        let figures: Vec<f64> = own.iter().flatten().copied().collect();
        let is_ours = std::ptr::eq(own, ours);
        let pairs = ours.iter().zip(own);
        let ratios: Vec<f64> = pairs
            .filter_map(|(ours, own)| Some(self.unit.ratio((*ours)?, (*own)?)))
            .collect();
        Some(Line {
            name: entry.contender.name(),
            sealed: entry.contender.sealed().to_owned(),
            figure: Figure::of(&figures)?,
            ratio: if is_ours { None } else { Figure::of(&ratios) },
            wanted: entry.wanted,
        })
    }
}
