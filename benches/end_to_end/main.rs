//! The whole path beside the floor: both agents as processes, everything on (TLS,
//! sealing, checksum, journal, catalog, audit, durable commits), on tmpfs.
//!
//! `cargo xtask bench end-to-end [--quick] [--json] [--pairs N]`; with `--floor` the
//! variants of the floor by turns instead, which is how it was raised.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    dead_code,
    unused_imports,
    missing_docs,
    unreachable_pub
)]

mod data;
mod floor;
mod hosts;
mod raising;
mod sites;

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use data::Work;
use serde_json::json;

/// tmpfs: what is measured is the path, not a disk.
const PLACE: &str = "/dev/shm";

/// What is measured, and what `--quick` measures.
const WORKS: &[Work] = &[
    Work {
        name: "1x2GiB",
        count: 1,
        bytes: 2 << 30,
    },
    Work {
        name: "200x8MiB",
        count: 200,
        bytes: 8 << 20,
    },
    Work {
        name: "10000x4KiB",
        count: 10_000,
        bytes: 4 << 10,
    },
];
const QUICK: &[Work] = &[
    Work {
        name: "1x256MiB",
        count: 1,
        bytes: 256 << 20,
    },
    Work {
        name: "20x8MiB",
        count: 20,
        bytes: 8 << 20,
    },
    Work {
        name: "1000x4KiB",
        count: 1000,
        bytes: 4 << 10,
    },
];

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let has = |flag: &str| arguments.iter().any(|argument| argument == flag);
    if !has("--bench") {
        return; // `cargo test --benches` wants nothing measured.
    }
    let pairs = arguments.iter().position(|argument| argument == "--pairs");
    let pairs = pairs
        .and_then(|at| arguments.get(at + 1)?.parse().ok())
        .unwrap_or(3);
    let works = if has("--quick") { QUICK } else { WORKS };
    let folder = Path::new(PLACE).join(format!("sealift-bench-{}", std::process::id()));
    let _removed = Removed(folder.clone());
    if has("--floor") {
        let works = works.iter().filter(|work| work.bytes > 1 << 20);
        return works.for_each(|work| raising::run(work, &folder.join(work.name), pairs));
    }
    if !has("--json") {
        println!("machine: {}", machine());
        println!("work, ours and the floor in turn, {pairs} pairs, medians\n");
    }
    for work in works {
        measure(work, &folder.join(work.name), pairs, has("--json"));
    }
}

/// Runs ours and the floor in turn and prints the medians.
fn measure(work: &Work, folder: &Path, pairs: usize, as_json: bool) {
    let (ready, source) = (folder.join("ready"), folder.join("source"));
    fs::create_dir_all(&ready).unwrap();
    fs::create_dir_all(&source).unwrap();
    let files = data::make(work, &ready).unwrap();
    let authority = sites::Authority::make(&folder.join("authority"));
    let (mut ours, mut floors, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    let (mut sender, mut receiver) = (0, 0);
    for pair in 0..pairs {
        let site = folder.join(format!("ours-{pair}"));
        let sites = authority.sites(&site, &source, &hosts::Hosts::loopback());
        let run = sites.replicate(&ready, work.count as u64);
        fs::remove_dir_all(&site).unwrap();
        let floor = run_floor(&files, folder);
        (sender, receiver) = (sender.max(run.sender_mib), receiver.max(run.receiver_mib));
        ratios.push(floor.as_secs_f64() / run.taken.as_secs_f64());
        ours.push(run.taken.as_secs_f64());
        floors.push(floor.as_secs_f64());
    }
    fs::remove_dir_all(folder).unwrap();
    let megabytes = (work.count * work.bytes) as f64 / 1e6;
    let (ours, floor) = (median(&mut ours), median(&mut floors));
    let line = json!({
        "work": work.name,
        "ours_mb_s": round(megabytes / ours),
        "floor_mb_s": round(megabytes / floor),
        "ratio": round(median(&mut ratios)),
        "ratio_min": round(ratios[0]),
        "ratio_max": round(ratios[ratios.len() - 1]),
        "objects_per_s": round(work.count as f64 / ours),
        "rss_mib": { "sender": sender, "receiver": receiver },
    });
    if as_json {
        println!("{line}");
    } else {
        println!(
            "{:>12}  ours {:>7} MB/s  floor {:>7} MB/s  ratio {} ({} to {})  {} objects/s  \
             peak MiB: sender {sender}, receiver {receiver}",
            work.name,
            line["ours_mb_s"],
            line["floor_mb_s"],
            line["ratio"],
            line["ratio_min"],
            line["ratio_max"],
            line["objects_per_s"],
        );
    }
}

fn run_floor(files: &[PathBuf], folder: &Path) -> Duration {
    let target = folder.join("floor");
    fs::create_dir_all(&target).unwrap();
    let taken = floor::run(files, &target, floor::Tuning::BEST).unwrap();
    fs::remove_dir_all(&target).unwrap();
    taken
}

/// The median; leaves the values sorted.
fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn round(value: f64) -> f64 {
    (value * 100.0).round() / 100.0
}

fn machine() -> String {
    let cpu = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpu.lines().find_map(|line| line.strip_prefix("model name"));
    let model = model
        .unwrap_or_default()
        .trim_start_matches(['\t', ' ', ':'])
        .to_owned();
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    format!("{model}, {cores} cores, Linux {}", kernel.trim())
}

/// Removes a folder at the end, however it comes.
struct Removed(PathBuf);

impl Drop for Removed {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
