//! An agent as a process.

use std::{
    fs::{self, OpenOptions},
    path::Path,
    process::{Child, Stdio},
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};

use super::program::{program, program_within, text};

/// From SIGTERM until an agent has ended.
const STOP_TIME_MAX: Duration = Duration::from_secs(45);

/// A process that is ended when dropped, come what may.
#[derive(Debug)]
pub(crate) struct Agent {
    child: Child,
}

impl Agent {
    /// Starts `sealift up`, its log behind what stands in `log` already.
    pub(crate) fn start(within: Option<&str>, config: &Path, log: &Path) -> Self {
        let log = OpenOptions::new().create(true).append(true).open(log);
        let child = within
            .map_or_else(program, program_within)
            .args(["up", "-c", &text(config)])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log.unwrap())
            .spawn()
            .unwrap();
        Self { child }
    }

    pub(crate) fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    /// Sends it a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(self.pid(), signal).unwrap();
    }

    /// Whether it has ended, and its exit code.
    pub(crate) fn ended(&mut self) -> Option<i32> {
        let status = self.child.try_wait().unwrap()?;
        Some(status.code().unwrap_or(-1))
    }

    /// Ends it in order; its exit code.
    pub(crate) fn stop(mut self) -> i32 {
        let _ = kill_process(self.pid(), Signal::TERM);
        let deadline = Instant::now() + STOP_TIME_MAX;
        loop {
            if let Some(code) = self.ended() {
                return code;
            }
            assert!(
                Instant::now() < deadline,
                "an agent did not stop within {STOP_TIME_MAX:?} of SIGTERM"
            );
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Stops it in its tracks, or lets it go on.
    pub(crate) fn freeze(&self, is_frozen: bool) {
        let signal = if is_frozen {
            Signal::STOP
        } else {
            Signal::CONT
        };
        kill_process(self.pid(), signal).unwrap();
    }

    /// Ends it as a power cut would, as far as a process can be.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// The most memory it ever had, in bytes.
    pub(crate) fn memory_peak(&self) -> u64 {
        let path = format!("/proc/{}/status", self.child.id());
        let status = fs::read_to_string(path).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kib = line.unwrap().trim().trim_end_matches(" kB");
        kib.trim().parse::<u64>().unwrap() * 1024
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
