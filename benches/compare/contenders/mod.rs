//! Those who are compared: each does the same job on the same files.

mod buckets;
mod floor;
mod nginx;
mod ours;
mod rclone;
mod restic;
mod rsync;

use std::{
    io,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use crate::{
    arrived,
    hosts::Hosts,
    pki::Pki,
    sites::{Authority, Ours},
};

pub use buckets::{RcloneSync, SealiftBuckets, Settings};
pub use floor::Floor;
pub use nginx::Nginx;
pub use ours::Sealift;
pub use rclone::Rclone;
pub use restic::Restic;
pub use rsync::{At, Link, Rsync};

/// What all of them need.
pub struct Tools {
    pub authority: Authority,
    pub pki: Pki,
    /// The rclone to use.
    pub rclone: String,
}

/// A piece of work: files that lie ready, and where they are to go.
pub struct Job<'a> {
    pub tools: &'a Tools,
    pub hosts: &'a Hosts,
    /// The folder of all files.
    pub ready: &'a Path,
    /// The files in it.
    pub files: &'a [PathBuf],
    /// An empty folder beside `ready`, on the same file system.
    pub source: &'a Path,
    /// An empty folder of this run, where everything that is written goes.
    pub place: &'a Path,
    /// Whether what arrived must be on the disk when the clock stops.
    pub durable: bool,
    /// Whether what arrived is compared, byte by byte, after the clock has stopped.
    pub checked: bool,
}

impl Job<'_> {
    /// Compares `arrived` with the files.
    pub fn compare(&self, arrived: &Path) -> io::Result<()> {
        arrived::compare(self.ready, self.files, arrived)
    }

    pub fn log(&self) -> PathBuf {
        self.place.join("log")
    }
}

/// What one run came to.
pub struct Run {
    pub taken: Duration,
    /// Processor time on both sides, where it is known.
    pub busy: Option<Duration>,
    /// What ours also says.
    pub ours: Option<Ours>,
}

impl Run {
    pub fn of(taken: Duration) -> Self {
        Self {
            taken,
            busy: None,
            ours: None,
        }
    }
}

pub trait Contender {
    /// How it is called in the table.
    fn name(&self) -> String;
    /// How it seals at rest, in a few words; "no" when it does not.
    fn sealed(&self) -> &'static str;
    /// Starts what stands ready beforehand, then the clock, does the work, stops the clock.
    ///
    /// # Errors
    /// It did not work, or what arrived differs.
    fn run(&self, job: &Job<'_>) -> io::Result<Run>;
}

/// What takes longer has hung, and drops out.
const RUN_SECS_MAX: &str = "600";

/// The same command, ended when it takes too long.
pub fn bounded(command: &Command) -> Command {
    let mut bounded = Command::new("timeout");
    bounded.args([RUN_SECS_MAX.as_ref(), command.get_program()]);
    bounded.args(command.get_args());
    let set = command.get_envs();
    bounded.envs(set.filter_map(|(name, value)| Some((name, value?))));
    bounded
}

/// Runs a command to its end and says how long it took.
fn timed(command: &Command) -> io::Result<Duration> {
    let mut command = bounded(command);
    command.stdin(Stdio::null());
    let started = Instant::now();
    let output = command.output()?;
    let taken = started.elapsed();
    if output.status.success() {
        return Ok(taken);
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let last = said.lines().rev().take(3).collect::<Vec<_>>().join(" / ");
    let status = output.status;
    Err(io::Error::other(format!("{command:?}: {status}: {last}")))
}

/// The time `work` takes, and then a sync of the file system when the job wants it.
fn timed_with_sync(job: &Job<'_>, work: Duration) -> io::Result<Duration> {
    if !job.durable {
        return Ok(work);
    }
    let mut sync = Command::new("sync");
    Ok(work + timed(sync.arg("-f").arg(job.place))?)
}
