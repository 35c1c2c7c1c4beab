//! Very many small objects: the rate holds, and so does memory.

use std::{
    cell::RefCell,
    fs, io,
    sync::LazyLock,
    thread,
    time::{Duration, Instant},
};

use super::Setting;
use crate::{
    contenders::{At, Contender, Job, Link, Rsync, Run, Sealift},
    data::Work,
    hosts::Hosts,
    race::{Course, Ready, Unit},
    report::{
        Figure, Line, Table,
        Wanted::{self, AtLeast, Below},
        number,
    },
    sites::{Ours, Sites, ask},
};

const FEW: usize = 10_000;
const SCANS: usize = 3;
const SCAN_TIME_MAX: Duration = Duration::from_secs(300);
/// The status of an agent that knows a million objects is itself some work.
const SCAN_POLL: Duration = Duration::from_millis(100);
const MEMORY_MIB: f64 = 256.0;

pub fn hundred_thousand(setting: &Setting<'_>) -> io::Result<Vec<Table>> {
    let count = setting.scale.pick(100_000, 20_000);
    let rounds = setting.scale.pick(setting.pairs, 2);
    Ok(vec![many(
        setting,
        "hundred-thousand",
        count,
        4 << 10,
        rounds,
    )?])
}

pub fn million(setting: &Setting<'_>) -> io::Result<Vec<Table>> {
    let count = setting.scale.pick(1_000_000, 50_000);
    Ok(vec![many(setting, "million", count, 1 << 10, 1)?])
}

fn many(
    setting: &Setting<'_>,
    work: &'static str,
    count: usize,
    bytes: usize,
    rounds: usize,
) -> io::Result<Table> {
    let sizes = |count: usize| Work {
        name: "",
        count,
        bytes,
    };
    let few = Ready::make(&sizes(FEW.min(count / 2)), &setting.memory.join("few"))?;
    let all = Ready::make(&sizes(count), &setting.memory.join("all"))?;
    let is_million = work == "million";
    let scans = if is_million { SCANS } else { 0 };
    let mut seen = Seen::default();
    for round in 0..rounds {
        eprint!("\r\x1b[K{work} {}/{rounds}", round + 1);
        let course = |ready| course(setting, work, ready);
        let few_taken = course(&few).run(&Sealift, false)?.taken;
        seen.few.push(rate(&few, few_taken));
        let sealift = SealiftThenScans(scans, &seen.scans);
        let run = course(&all).run(&sealift, round == 0)?;
        seen.all.push(rate(&all, run.taken));
        seen.peaks.extend(run.ours);
        let rsync = RsyncTwice(&seen.rsync_scans);
        seen.rsync
            .push(rate(&all, course(&all).run(&rsync, false)?.taken));
    }
    eprint!("\r\x1b[K");
    Ok(Table {
        work,
        title: format!("{} × {} KiB, tmpfs, loopback", grouped(count), bytes >> 10),
        unit: "objects/s where nothing else is said",
        lines: seen.lines(few.files.len()),
        notes: Vec::new(),
    })
}

fn course<'a>(setting: &'a Setting<'_>, work: &'static str, ready: &'a Ready) -> Course<'a> {
    Course {
        work,
        title: String::new(),
        unit: Unit::ObjectsPerSec,
        tools: setting.tools,
        hosts: &LOOPBACK,
        ready,
        place: setting.memory,
        durable: false,
        rounds: 1,
    }
}

fn rate(ready: &Ready, taken: Duration) -> f64 {
    ready.files.len() as f64 / taken.as_secs_f64()
}

fn grouped(count: usize) -> String {
    number(count as f64)
}

static LOOPBACK: LazyLock<Hosts> = LazyLock::new(Hosts::loopback);

/// What all rounds came to: rates in objects a second, scans in seconds.
#[derive(Default)]
struct Seen {
    few: Vec<f64>,
    all: Vec<f64>,
    rsync: Vec<f64>,
    scans: RefCell<Vec<f64>>,
    rsync_scans: RefCell<Vec<f64>>,
    peaks: Vec<Ours>,
}

impl Seen {
    fn lines(&self, few: usize) -> Vec<Line> {
        let (scans, rsync_scans) = (self.scans.borrow(), self.rsync_scans.borrow());
        let peak = |of: fn(&Ours) -> u64| {
            let peaks = self.peaks.iter().map(|ours| of(ours) as f64);
            peaks.collect::<Vec<_>>()
        };
        let memory = Some(Below(MEMORY_MIB));
        let mut lines = vec![
            self.line("sealift", &self.all, false, None),
            self.line(
                &format!("sealift, {} of them", grouped(few)),
                &self.few,
                true,
                Some(AtLeast(0.9)),
            ),
            self.line("rsync in stunnel", &self.rsync, true, None),
            self.line(
                "peak memory, sending agent, MiB",
                &peak(|o| o.sender_mib),
                false,
                memory,
            ),
            self.line(
                "peak memory, receiving agent, MiB",
                &peak(|o| o.receiver_mib),
                false,
                memory,
            ),
        ];
        if !scans.is_empty() {
            let limit = Some(Below(10.0));
            lines.push(self.line("looking through them unchanged, s", &scans, false, limit));
            lines.push(self.line("rsync doing so, s", &rsync_scans, false, None));
        }
        lines.into_iter().flatten().collect()
    }

    fn line(
        &self,
        name: &str,
        values: &[f64],
        paired: bool,
        wanted: Option<Wanted>,
    ) -> Option<Line> {
        let pairs = self.all.iter().zip(values).map(|(all, other)| all / other);
        let ratio = paired.then(|| Figure::of(&pairs.collect::<Vec<_>>()));
        Some(Line {
            ratio: ratio.flatten(),
            ..Line::plain(name, Figure::of(values)?, wanted)
        })
    }
}

/// sealift, and then scans of a source in which nothing changed since; their times.
struct SealiftThenScans<'a>(usize, &'a RefCell<Vec<f64>>);

impl Contender for SealiftThenScans<'_> {
    fn name(&self) -> String {
        Sealift.name()
    }

    fn sealed(&self) -> &'static str {
        Sealift.sealed()
    }

    fn run(&self, job: &Job<'_>) -> io::Result<Run> {
        let place = job.place.join("sites");
        let sites = job.tools.authority.sites(&place, job.source, job.hosts);
        let agents = sites.start();
        let ours = agents.replicate(job.ready, job.files.len() as u64);
        for _ in 0..self.0 {
            self.1.borrow_mut().push(scan(&sites)?.as_secs_f64());
        }
        agents.stop();
        sites.take_back(job.ready);
        if job.checked {
            Sealift.check(job, &sites)?;
        }
        Ok(Run {
            ours: Some(ours),
            ..Run::of(ours.taken)
        })
    }
}

/// Asks for a scan and waits until one that began later has ended.
fn scan(sites: &Sites) -> io::Result<Duration> {
    let scanned = || sites.status("a")["sources"][0]["scanned"].clone();
    let before = scanned();
    let started = Instant::now();
    ask(&sites.socket("a"), "POST", "/v1/scan", "")?;
    while scanned() == before {
        if started.elapsed() > SCAN_TIME_MAX {
            return Err(io::Error::other("a scan does not end"));
        }
        thread::sleep(SCAN_POLL);
    }
    Ok(started.elapsed())
}

/// rsync, and then once more with nothing to do; the time of that.
struct RsyncTwice<'a>(&'a RefCell<Vec<f64>>);

impl Contender for RsyncTwice<'_> {
    fn name(&self) -> String {
        Rsync(At::Rest).name()
    }

    fn sealed(&self) -> &'static str {
        "no"
    }

    fn run(&self, job: &Job<'_>) -> io::Result<Run> {
        let target = job.place.join("target");
        fs::create_dir_all(&target)?;
        let link = Link::open(job, &target)?;
        let taken = link.copy(job)?;
        self.0.borrow_mut().push(link.copy(job)?.as_secs_f64());
        Ok(Run::of(taken))
    }
}
