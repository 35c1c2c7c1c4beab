//! sealift beside what users would pick instead: the same work by turns, what arrived
//! compared, medians of pairs, a table and a picture.
//!
//! `cargo xtask compare [--json] [--quick] [--pairs N] [--only WORK] [--congestion NAME]`,
//! as root.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    missing_docs,
    unreachable_pub
)]

mod arrived;
mod bucket;
mod contenders;
#[path = "../end_to_end/data.rs"]
mod data;
#[path = "../end_to_end/floor/mod.rs"]
mod floor;
#[path = "../end_to_end/hosts.rs"]
mod hosts;
mod inside;
mod machine;
#[path = "../path/mod.rs"]
mod path;
mod picture;
mod pki;
mod race;
mod report;
#[path = "../end_to_end/sites.rs"]
mod sites;
mod streams;
mod stunnel;
mod works;

use std::{fs, io, path::PathBuf, process::ExitCode, time::Instant};

use contenders::Tools;
use report::Table;
use serde_json::json;
use works::{Scale, Setting};

/// Where the picture of a full run goes; of any other, below `target`.
const PICTURE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/compare.svg");

const USAGE: &str = "\
cargo xtask compare [--quick] [--only WORK] [--pairs N] [--congestion NAME] [--json]

Runs sealift and what one would pick instead by turns, as root; half an hour without --quick.
WORK: large, middle, small, small-durable, large-durable, hundred-thousand, million, read,
streams, buckets, long, long-lossy";

/// Flags with a value, and flags without.
const VALUES: [&str; 3] = ["--only", "--pairs", "--congestion"];
const FLAGS: [&str; 3] = ["--quick", "--json", "--bench"];

struct Options {
    json: bool,
    scale: Scale,
    pairs: usize,
    only: Option<String>,
    /// Of both ends of the long path; the kernel's default without it.
    congestion: Option<String>,
}

/// The first argument that nobody would look at: a run of half an hour is not begun by mistake.
fn unknown(arguments: &[String]) -> Option<&String> {
    let mut arguments = arguments.iter().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            flag if FLAGS.contains(&flag) => {}
            flag if VALUES.contains(&flag) => drop(arguments.next()),
            _ => return Some(argument),
        }
    }
    None
}

fn main() -> ExitCode {
    if let Some(served) = bucket::serve_if_asked() {
        return served;
    }
    let arguments: Vec<String> = std::env::args().collect();
    let has = |flag: &str| arguments.iter().any(|argument| argument == flag);
    let value = |flag: &str| {
        let at = arguments.iter().position(|argument| argument == flag)?;
        arguments.get(at + 1).cloned()
    };
    if !has("--bench") {
        return ExitCode::SUCCESS; // `cargo test --benches` wants nothing measured.
    }
    if has("--help") || has("-h") {
        println!("{USAGE}");
        return ExitCode::SUCCESS;
    }
    if let Some(unknown) = unknown(&arguments) {
        eprintln!("compare: {unknown} is not known\n{USAGE}");
        return ExitCode::from(2);
    }
    let scale = if has("--quick") {
        Scale::Quick
    } else {
        Scale::Full
    };
    let default = if scale == Scale::Quick { 3 } else { 7 };
    let pairs = value("--pairs").and_then(|pairs| pairs.parse().ok());
    let options = Options {
        json: has("--json"),
        scale,
        pairs: pairs.unwrap_or(default),
        only: value("--only"),
        congestion: value("--congestion"),
    };
    match inside::enter().and_then(|()| compare(&options)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("compare: {error}");
            ExitCode::FAILURE
        }
    }
}

fn compare(options: &Options) -> io::Result<()> {
    let started = Instant::now();
    let works = works::ALL.iter();
    let works: Vec<_> = works
        .filter(|work| options.only.as_deref().is_none_or(|only| only == work.name))
        .collect();
    if works.is_empty() {
        let names: Vec<_> = works::ALL.iter().map(|work| work.name).collect();
        let names = names.join(", ");
        return Err(io::Error::other(format!("no such work; there are {names}")));
    }
    let (memory, disk) = (inside::memory(), Removed(inside::disk()));
    let tools = tools(&memory.join("tools"))?;
    let facts = machine::facts(&tools.rclone);
    match options.json {
        true => println!("{}", json!({ "machine": facts, "pairs": options.pairs })),
        false => facts.iter().for_each(|fact| println!("{fact}")),
    }
    let mut tables: Vec<Table> = Vec::new();
    for work in works {
        let (memory, disk) = (memory.join(work.name), disk.0.join(work.name));
        fs::create_dir_all(&memory)?;
        fs::create_dir_all(&disk)?;
        let setting = Setting {
            tools: &tools,
            scale: options.scale,
            pairs: options.pairs,
            congestion: options.congestion.as_deref(),
            memory: &memory,
            disk: &disk,
        };
        for table in (work.run)(&setting)? {
            match options.json {
                true => println!("{}", table.json()),
                false => table.print(),
            }
            tables.push(table);
        }
        fs::remove_dir_all(&memory)?;
        fs::remove_dir_all(&disk)?;
    }
    let is_whole = options.scale == Scale::Full && options.only.is_none();
    let picture = match is_whole {
        true => PathBuf::from(PICTURE),
        false => inside::disk().with_file_name("compare.svg"),
    };
    fs::write(&picture, picture::draw(&facts, &tables))?;
    let mins = started.elapsed().as_secs() / 60;
    eprintln!("{mins} min; a picture is in {}", picture.display());
    Ok(())
}

fn tools(folder: &std::path::Path) -> io::Result<Tools> {
    let rclone = std::env::var("SEALIFT_COMPARE_RCLONE");
    Ok(Tools {
        authority: sites::Authority::make(&folder.join("authority")),
        pki: pki::Pki::make(&folder.join("pki"), &["127.0.0.1", "10.88.0.2"])?,
        rclone: rclone.unwrap_or_else(|_| "rclone".to_owned()),
    })
}

/// A folder that is removed at the end.
struct Removed(PathBuf);

impl Drop for Removed {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
