//! Very many small objects: the rate holds, and so does memory.

use std::{
    fs, io,
    time::{Duration, Instant},
};

use super::Setting;
use crate::{
    contenders::{At, Rsync, Sealift},
    data::Work,
    hosts::Hosts,
    race::{Course, Ready, Unit},
    report::{
        Figure, Line, Table,
        Wanted::{self, AtLeast, Below},
    },
    sites::{Sites, ask},
};

const FEW: usize = 10_000;
const SCANS: usize = 3;
const SCAN_TIME_MAX: Duration = Duration::from_secs(300);
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
    let course = |ready| Course {
        work,
        title: String::new(),
        unit: Unit::ObjectsPerSec,
        tools: setting.tools,
        hosts: &LOOPBACK,
        ready,
        place: setting.memory,
        durable: false,
        rounds,
    };
    let (mut few_rates, mut all_rates, mut rsync_rates) = (Vec::new(), Vec::new(), Vec::new());
    let mut peaks = [0.0_f64; 2];
    for round in 0..rounds {
        eprint!("\r\x1b[K{work} {}/{rounds}", round + 1);
        let run = course(&few).run(&Sealift, false)?;
        few_rates.push(Unit::ObjectsPerSec.figure(&few, run.taken)?);
        let run = course(&all).run(&Sealift, round == 0)?;
        all_rates.push(Unit::ObjectsPerSec.figure(&all, run.taken)?);
        if let Some(ours) = run.ours {
            peaks[0] = peaks[0].max(ours.sender_mib as f64);
            peaks[1] = peaks[1].max(ours.receiver_mib as f64);
        }
        let run = course(&all).run(&Rsync(At::Rest), false)?;
        rsync_rates.push(Unit::ObjectsPerSec.figure(&all, run.taken)?);
    }
    eprint!("\r\x1b[K");
    let pairs = |others: &[f64]| -> Vec<f64> {
        let pairs = all_rates.iter().zip(others);
        pairs.map(|(all, other)| all / other).collect()
    };
    let line = |name: &str, rates: &[f64], ratio: Option<Vec<f64>>, wanted| {
        Some(Line {
            ratio: ratio.and_then(|ratio| Figure::of(&ratio)),
            ..Line::plain(name, Figure::of(rates)?, wanted)
        })
    };
    let few_name = format!("sealift, {} of them", few.files.len());
    let holds = Some(AtLeast(0.9));
    let lines = [
        line("sealift", &all_rates, None, None),
        line(&few_name, &few_rates, Some(pairs(&few_rates)), holds),
        line(
            "rsync in stunnel",
            &rsync_rates,
            Some(pairs(&rsync_rates)),
            None,
        ),
    ];
    let mut lines: Vec<Line> = lines.into_iter().flatten().collect();
    if work == "million" {
        lines.extend(scans(setting, &all)?);
    }
    for (name, peak) in ["sending", "receiving"].iter().zip(peaks) {
        let name = format!("peak memory, {name} agent, MiB");
        lines.extend(once(&name, &[peak], Some(Below(MEMORY_MIB))));
    }
    Ok(Table {
        work,
        title: format!("{count} × {} KiB, tmpfs, loopback", bytes >> 10),
        unit: "objects/s where nothing else is said",
        lines,
        notes: Vec::new(),
    })
}

static LOOPBACK: std::sync::LazyLock<Hosts> = std::sync::LazyLock::new(Hosts::loopback);

fn once(name: &str, values: &[f64], wanted: Option<Wanted>) -> Option<Line> {
    Some(Line::plain(name, Figure::of(values)?, wanted))
}

/// How long it takes to look through a source in which nothing changed.
fn scans(setting: &Setting<'_>, all: &Ready) -> io::Result<Vec<Line>> {
    let place = setting.memory.join("scans");
    let sites = setting
        .tools
        .authority
        .sites(&place, &all.source, &LOOPBACK);
    let agents = sites.start();
    agents.replicate(&all.folder, all.files.len() as u64);
    agents.receiver.stop();
    let mut times = Vec::new();
    for _ in 0..SCANS {
        times.push(scan(&sites)?.as_secs_f64());
    }
    agents.sender.stop();
    sites.take_back(&all.folder);
    fs::remove_dir_all(&place)?;
    let name = "scanning them unchanged, s";
    Ok(once(name, &times, Some(Below(10.0))).into_iter().collect())
}

/// Asks for a scan and waits until one that began later has ended.
fn scan(sites: &Sites) -> io::Result<Duration> {
    let scanned = |sites: &Sites| sites.status("a")["sources"][0]["scanned"].clone();
    let before = scanned(sites);
    let started = Instant::now();
    ask(&sites.socket("a"), "POST", "/v1/scan", "")?;
    while scanned(sites) == before {
        if started.elapsed() > SCAN_TIME_MAX {
            return Err(io::Error::other("a scan does not end"));
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    Ok(started.elapsed())
}
