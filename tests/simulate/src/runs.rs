//! Seeds, each run twice in processes of their own, whose traces must be the same.

use std::{
    fs::File,
    io::BufWriter,
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::Instant,
};

use parking_lot::Mutex;

use crate::{plan::Flow, rounds, system_chance, trace::Trace, world::World};

const USAGE: &str = "\
sealift-simulate [--both] [--seed N | --seeds COUNT [--from N]] [--rounds M]   each twice, traces compared
sealift-simulate [--both] --once --seed N [--rounds M] [--trace FILE]          one run, its trace to FILE
--both: applications write at both sites, and each replicates to the other";

/// The most memory that a run may have had besides its simulated disks: what an agent may.
const MEMORY_KIB_MAX: u64 = 256 * 1024;

/// What was asked for.
#[derive(Debug)]
pub(crate) struct Wanted {
    from: u64,
    seeds: u64,
    rounds: u64,
    once: bool,
    both: bool,
    trace: Option<String>,
}

impl Wanted {
    pub(crate) fn parse(arguments: &[String]) -> Result<Self, String> {
        let mut wanted = Self {
            from: 1,
            seeds: 1,
            rounds: 3,
            once: false,
            both: false,
            trace: None,
        };
        let mut rest = arguments.iter().map(String::as_str);
        let number = |text: Option<&str>| text.and_then(|text| text.parse().ok());
        while let Some(flag) = rest.next() {
            let taken = match flag {
                "--once" => {
                    wanted.once = true;
                    Some(())
                }
                "--both" => {
                    wanted.both = true;
                    Some(())
                }
                "--trace" => rest.next().map(|file| wanted.trace = Some(file.to_owned())),
                "--seed" | "--from" => number(rest.next()).map(|seed| wanted.from = seed),
                "--seeds" => number(rest.next()).map(|count| wanted.seeds = count),
                "--rounds" => number(rest.next()).map(|rounds| wanted.rounds = rounds),
                _ => None,
            };
            taken.ok_or_else(|| format!("usage:\n{USAGE}"))?;
        }
        Ok(wanted)
    }

    pub(crate) fn run(&self) -> Result<(), String> {
        match self.once {
            true => self.run_once(),
            false => self.run_twice_each(),
        }
    }

    /// The command that runs a seed again.
    fn again(&self, seed: u64) -> String {
        let both = if self.both { "--both " } else { "" };
        format!(
            "cargo xtask simulate {both}--seed {seed} --rounds {}",
            self.rounds
        )
    }

    fn run_once(&self) -> Result<(), String> {
        if !system_chance::is_in_place() {
            return Err(
                "the system's chance is not ours here: no run would be the same".to_owned(),
            );
        }
        let out = self.trace.as_ref().map(File::create).transpose();
        let out = out.map_err(|error| format!("the trace: {error}"))?;
        if let Ok(filter) = std::env::var("SEALIFT_LOG") {
            tracing_subscriber::fmt()
                .with_env_filter(filter)
                .without_time()
                .with_ansi(false)
                .with_writer(std::io::stderr)
                .init();
        }
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .map_err(|error| format!("no runtime: {error}"))?;
        let (seed, rounds) = (self.from, self.rounds);
        let flow = match self.both {
            true => Flow::Both,
            false => Flow::OneWay,
        };
        let outcome = runtime.block_on(async {
            let out = out.map(|file| Box::new(BufWriter::new(file)) as _);
            let trace = Trace::new(out);
            let world = World::new(seed, flow, trace.clone())?;
            let begun = tokio::time::Instant::now();
            let outcome = rounds::run(&world, rounds).await;
            let (hash, events) = trace.hash();
            let tally = world.tally.lock().clone();
            let hours = begun.elapsed().as_secs_f64() / 3600.0;
            outcome.map_err(|what| format!("{what}\n  {tally:?}"))?;
            let line = format!("{hash} {events} events {hours:.2} h {tally:?}");
            Ok::<_, String>((
                line,
                world
                    .sites
                    .iter()
                    .map(|site| site.platter.held_bytes())
                    .sum(),
            ))
        });
        let (line, disks): (_, usize) = outcome.map_err(|what| format!("seed {seed}: {what}"))?;
        let (peak, disks) = (peak_kib(), disks as u64 / 1024);
        if peak > MEMORY_KIB_MAX + disks {
            return Err(format!(
                "seed {seed}: {peak} KiB of memory, {MEMORY_KIB_MAX} and {disks} of disks allowed"
            ));
        }
        println!("{line}");
        Ok(())
    }

    fn run_twice_each(&self) -> Result<(), String> {
        let begun = Instant::now();
        let next = Arc::new(AtomicU64::new(self.from));
        let failed: Arc<Mutex<Vec<String>>> = Arc::default();
        let end = self.from + self.seeds;
        thread::scope(|scope| {
            for _ in 0..thread::available_parallelism().map_or(2, usize::from) {
                scope.spawn(|| {
                    loop {
                        let seed = next.fetch_add(1, Ordering::Relaxed);
                        if seed >= end {
                            return;
                        }
                        if let Err(what) = self.run_twice(seed) {
                            eprintln!("{what}\n  again: {}", self.again(seed));
                            failed.lock().push(self.again(seed));
                        }
                    }
                });
            }
        });
        let failed = failed.lock();
        let time = begun.elapsed();
        println!(
            "{} seeds of {} rounds, each twice, in {}.{} s: {} failed",
            self.seeds,
            self.rounds,
            time.as_secs(),
            time.subsec_millis() / 100,
            failed.len()
        );
        match failed.first() {
            None => Ok(()),
            Some(again) => Err(format!("a seed failed; to run it again: {again}")),
        }
    }

    fn run_twice(&self, seed: u64) -> Result<(), String> {
        let (first, second) = (self.child(seed)?, self.child(seed)?);
        if first != second {
            return Err(format!(
                "seed {seed}: two runs differ\n  {first}\n  {second}"
            ));
        }
        if self.seeds == 1 {
            println!("seed {seed}: {first}");
        }
        Ok(())
    }

    /// One run in a process of its own: nothing is left of the one before.
    fn child(&self, seed: u64) -> Result<String, String> {
        let program = std::env::current_exe().map_err(|error| error.to_string())?;
        let arguments = [seed, self.rounds].map(|number| number.to_string());
        let [seed, rounds] = &arguments;
        let output = Command::new(program)
            .args(self.both.then_some("--both"))
            .args(["--once", "--seed", seed, "--rounds", rounds])
            .output()
            .map_err(|error| format!("seed {seed} did not start: {error}"))?;
        let (out, err) = (output.stdout, output.stderr);
        match output.status.success() {
            true => Ok(String::from_utf8_lossy(&out).trim().to_owned()),
            false => Err(format!(
                "seed {seed}: {}, {}",
                output.status,
                String::from_utf8_lossy(&err).trim()
            )),
        }
    }
}

/// The most memory that this process had.
fn peak_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let number = line.and_then(|line| line.split_whitespace().next());
    number.and_then(|number| number.parse().ok()).unwrap_or(0)
}
