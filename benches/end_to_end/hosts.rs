//! Where the two sides of a measurement are: both on this machine's loopback, or each
//! in a network namespace with a path between them.

use std::{
    fs, io,
    net::Ipv4Addr,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

const STARTS_WITHIN: Duration = Duration::from_secs(20);

/// Two hosts: how a program is started on each, and where the far one listens.
#[derive(Clone)]
pub struct Hosts {
    near: Vec<String>,
    far: Vec<String>,
    /// Where programs of the far host listen.
    pub address: Ipv4Addr,
}

impl Hosts {
    /// Both are this machine.
    pub fn loopback() -> Self {
        Self {
            near: Vec::new(),
            far: Vec::new(),
            address: Ipv4Addr::LOCALHOST,
        }
    }

    /// Each is reached by a command in front of the program's own.
    pub fn behind(near: Vec<String>, far: Vec<String>, address: Ipv4Addr) -> Self {
        Self { near, far, address }
    }

    /// A program on the near host, which sends.
    pub fn near(&self, program: &str) -> Command {
        command(&self.near, program)
    }

    /// A program on the far host, which receives.
    pub fn far(&self, program: &str) -> Command {
        command(&self.far, program)
    }
}

fn command(prefix: &[String], program: &str) -> Command {
    match prefix.split_first() {
        None => Command::new(program),
        Some((first, rest)) => {
            let mut command = Command::new(first);
            command.args(rest).arg(program);
            command
        }
    }
}

/// Whose processor time is asked for.
#[derive(Clone, Copy)]
pub enum Of {
    Itself,
    /// Those that it started, have ended, and were waited for.
    Children,
}

/// Processor time that the process `pid`, or "self", used so far.
pub fn busy(pid: &str, of: Of) -> Duration {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let after_name = stat.rsplit(')').next().unwrap_or_default();
    let first = match of {
        Of::Itself => 11,
        Of::Children => 13,
    };
    let ticks = after_name.split_whitespace().skip(first).take(2);
    let ticks: u64 = ticks.filter_map(|field| field.parse::<u64>().ok()).sum();
    // USER_HZ is 100 on every Linux that Rust runs on.
    Duration::from_millis(ticks * 10)
}

/// A program that runs until this is dropped.
pub struct Server(pub Child);

impl Server {
    /// Starts it without input and output, its complaints into `log`.
    pub fn start(mut command: Command, log: &std::path::Path) -> io::Result<Self> {
        let log = fs::OpenOptions::new().create(true).append(true).open(log)?;
        let child = command
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()?;
        Ok(Self(child))
    }

    /// Waits until it, or something else in its network namespace, listens on `port`.
    pub fn listens(mut self, port: u16) -> io::Result<Self> {
        let begun = Instant::now();
        while !self.is_listened_on(port) {
            if let Some(status) = self.0.try_wait()? {
                return Err(io::Error::other(format!("a server ended with {status}")));
            }
            if begun.elapsed() > STARTS_WITHIN {
                return Err(io::Error::other(format!("nothing listens on {port}")));
            }
            thread::sleep(Duration::from_millis(5));
        }
        Ok(self)
    }

    fn is_listened_on(&self, port: u16) -> bool {
        let (wanted, listening) = (format!(":{port:04X}"), "0A");
        ["tcp", "tcp6"].iter().any(|table| {
            let table = fs::read_to_string(format!("/proc/{}/net/{table}", self.0.id()));
            table.unwrap_or_default().lines().any(|line| {
                let mut words = line.split_whitespace().skip(1);
                let local = words.next().unwrap_or_default();
                local.ends_with(&wanted) && words.nth(1) == Some(listening)
            })
        })
    }

    /// Asks it to end, and waits.
    pub fn stop(mut self) {
        let _ = Command::new("kill")
            .args(["-TERM", &self.0.id().to_string()])
            .status();
        let _ = self.0.wait();
    }

    /// The most resident memory it had so far, in MiB.
    pub fn peak_mib(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.0.id()));
        let status = status.unwrap_or_default();
        let line = status.lines().find(|line| line.starts_with("VmHWM:"));
        let kib = line.and_then(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok());
        kib.unwrap_or_default() / 1024
    }

    /// Processor time it used so far.
    pub fn busy(&self) -> Duration {
        busy(&self.0.id().to_string(), Of::Itself)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
