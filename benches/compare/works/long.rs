//! Over a path of 80 ms and 1 Gbit/s, with and without loss.

use std::{
    io,
    process::{Command, Stdio},
    time::Duration,
};

use serde_json::Value;

use super::Setting;
use crate::{
    contenders::{At, Contender, Job, Rclone, Rsync, Run, Sealift, bounded},
    data::Work,
    hosts::Server,
    path::{Path, Settings},
    race::{Course, Entry, Ready, Unit},
    report::{
        Figure, Line, Table,
        Wanted::{AtLeast, Below},
    },
    sites::free_port,
};

const STREAMS: &str = "8";

pub fn clean(setting: &Setting<'_>) -> io::Result<Vec<Table>> {
    let path = open(setting, 0)?;
    let mut tables = vec![itself(&path)?];
    tables.extend(over(
        setting,
        &path,
        ["long", "long-small"],
        "no loss",
        0.9,
    )?);
    Ok(tables)
}

pub fn lossy(setting: &Setting<'_>) -> io::Result<Vec<Table>> {
    let path = open(setting, 1000)?;
    over(
        setting,
        &path,
        ["long-lossy", "long-lossy-small"],
        "0.1 % loss",
        0.8,
    )
}

fn open(setting: &Setting<'_>, lost_per_million: u64) -> io::Result<Path> {
    let path = Path::open(Settings::long(lost_per_million))?;
    if let Some(congestion) = setting.congestion {
        path.set_congestion(congestion)?;
    }
    Ok(path)
}

fn over(
    setting: &Setting<'_>,
    path: &Path,
    names: [&'static str; 2],
    loss: &str,
    wanted: f64,
) -> io::Result<Vec<Table>> {
    let large = Work {
        name: "1 × 256 MiB",
        count: 1,
        bytes: 256 << 20,
    };
    let small = Work {
        name: "1,000 × 4 KiB",
        count: 1000,
        bytes: 4 << 10,
    };
    let streams = format!("{STREAMS} streams of iperf3");
    let bytes = [
        Entry::new(Sealift, None),
        Entry::new(Iperf { name: streams }, Some(AtLeast(wanted))),
        Entry::new(Rclone { transfers: 8 }, None).every(3),
        Entry::new(Rsync(At::Rest), None).every(3),
    ];
    let objects = [
        Entry::new(Sealift, Some(Below(1.0))),
        Entry::new(Rsync(At::Rest), None),
        Entry::new(Rclone { transfers: 64 }, None).every(4),
    ];
    let works = [
        (large, Unit::MegabytesPerSec, &bytes[..]),
        (small, Unit::Secs, &objects[..]),
    ];
    let mut tables = Vec::new();
    for ((work, unit, entries), name) in works.into_iter().zip(names) {
        let place = setting.memory.join(name);
        let ready = Ready::make(&work, &place)?;
        let course = Course {
            work: name,
            title: format!("{}, 80 ms, 1 Gbit/s, {loss}", work.name),
            unit,
            tools: setting.tools,
            hosts: &path.hosts(),
            ready: &ready,
            place: &place,
            durable: false,
            rounds: setting.pairs,
        };
        let mut table = course.race(entries)?;
        let [there, back] = path.counted();
        table
            .notes
            .push(format!("packets there: {there:?}, back: {back:?}"));
        tables.push(table);
    }
    Ok(tables)
}

/// The path by itself: what it was asked to be, and what it is.
fn itself(path: &Path) -> io::Result<Table> {
    let hosts = path.hosts();
    let mut ping = hosts.near("ping");
    ping.args(["-q", "-i", "0.2", "-c", "15", &hosts.address.to_string()]);
    let said = String::from_utf8_lossy(&ping.output()?.stdout).into_owned();
    // rtt min/avg/max/mdev = 80.2/80.3/80.6/0.1 ms
    let times = said.rsplit("= ").next().unwrap_or_default();
    let times: Vec<f64> = times
        .split(['/', ' '])
        .filter_map(|time| time.parse().ok())
        .collect();
    let [min, average, max, ..] = times[..] else {
        return Err(io::Error::other(format!("ping says {said:?}")));
    };
    let round_trip = Figure {
        median: average,
        min,
        max,
        rounds: 15,
    };
    let control = hosts.near("sysctl").args(CONGESTION).output()?;
    let control = String::from_utf8_lossy(&control.stdout).replace('\n', ", ");
    Ok(Table {
        work: "path",
        title: "The path itself: 80 ms, 1 Gbit/s, queue of one bandwidth-delay product".to_owned(),
        unit: "ms",
        lines: vec![Line::plain("round trip (ping)", round_trip, None)],
        notes: vec![format!(
            "congestion control: {}",
            control.trim_end_matches(", ")
        )],
    })
}

const CONGESTION: [&str; 3] = [
    "-n",
    "net.ipv4.tcp_congestion_control",
    "net.ipv4.tcp_available_congestion_control",
];

/// What TCP alone moves: iperf3 times it from its first byte, its connections up.
struct Iperf {
    name: String,
}

impl Contender for Iperf {
    fn name(&self) -> String {
        self.name.clone()
    }

    fn sealed(&self) -> &'static str {
        "–"
    }

    fn run(&self, job: &Job<'_>) -> io::Result<Run> {
        let (port, bytes) = (free_port(), job.files[0].metadata()?.len());
        let mut server = job.hosts.far("iperf3");
        server.args(["-s", "-1", "-p", &port.to_string()]);
        let server = Server::start(server, &job.log())?.listens(port)?;
        let mut client = job.hosts.near("iperf3");
        client.args(["-J", "-P", STREAMS, "-n", &bytes.to_string()]);
        client.args([
            "-p",
            &port.to_string(),
            "-c",
            &job.hosts.address.to_string(),
        ]);
        let rate = received(&client)?;
        drop(server);
        Ok(Run::of(Duration::from_secs_f64(bytes as f64 / rate)))
    }
}

/// Bytes a second that arrived.
fn received(client: &Command) -> io::Result<f64> {
    let output = bounded(client).stdin(Stdio::null()).output()?;
    let report: Value = serde_json::from_slice(&output.stdout)?;
    let sum = &report["end"]["sum_received"];
    let (bytes, secs) = (sum["bytes"].as_f64(), sum["seconds"].as_f64());
    match (bytes, secs) {
        (Some(bytes), Some(secs)) if bytes > 0.0 && secs > 0.0 => Ok(bytes / secs),
        _ => Err(io::Error::other(format!("iperf3: {}", report["error"]))),
    }
}
