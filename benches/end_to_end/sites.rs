//! Two sites as an operator makes them, and their agents as processes.

use std::{
    fs,
    io::{self, Read, Write},
    net::TcpListener,
    os::unix::{fs::PermissionsExt, net::UnixStream},
    path::{Path, PathBuf},
    process::Command,
    thread,
    time::{Duration, Instant},
};

use serde_json::Value;

use crate::hosts::{Hosts, Server};

pub const PROGRAM: &str = env!("CARGO_BIN_EXE_sealift");
pub const BUCKET: &str = "bench";
const WORK_TIME_MAX: Duration = Duration::from_secs(900);
const STARTS_WITHIN: Duration = Duration::from_secs(60);
/// All connections are there when there were no more of them for this long.
const LINKS_STAND_FOR: Duration = Duration::from_millis(500);
const POLL: Duration = Duration::from_millis(2);
/// The agent is asked how far it is for a tenth of the time at most.
const POLL_SHARE: u32 = 10;

/// An authority and the identities of both agents; made once, used by many sites.
pub struct Authority {
    folder: PathBuf,
}

/// A sending site `a` and a receiving site `b` below one folder.
pub struct Sites {
    folder: PathBuf,
    hosts: Hosts,
    /// What `a` replicates; empty until something is placed.
    source: PathBuf,
}

/// What one run of ours came to.
#[derive(Clone, Copy)]
pub struct Ours {
    /// From placing the objects in the source until everything was acknowledged.
    pub taken: Duration,
    /// Processor time of both agents meanwhile.
    pub busy: Duration,
    /// Peak resident memory of the sending agent, in MiB.
    pub sender_mib: u64,
    /// Peak resident memory of the receiving agent, in MiB.
    pub receiver_mib: u64,
}

impl Authority {
    pub fn make(folder: &Path) -> Self {
        fs::create_dir_all(folder).expect("a folder");
        let passphrase = folder.join("passphrase");
        fs::write(&passphrase, "a passphrase of a benchmark\n").expect("a passphrase");
        fs::set_permissions(&passphrase, fs::Permissions::from_mode(0o600)).expect("permissions");
        let (ca, passphrase) = (text(&folder.join("ca")), text(&passphrase));
        let regions = ["--region", "region-a", "--region", "region-b"];
        let made = ["ca", "init", "--dir", &ca, "--domain", "bench.sealift"];
        run(&[&made[..], &regions, &["--passphrase-file", &passphrase]].concat());
        for (name, region) in [("a", "region-a"), ("b", "region-b")] {
            let out = text(&folder.join(name));
            let issue = ["ca", "issue", "--dir", &ca, "--region", region];
            run(&[&issue[..], &["--name", name, "--out", &out]].concat());
        }
        Self {
            folder: folder.to_owned(),
        }
    }

    /// Makes both sites below `folder`; `a` replicates `source`, which must be there.
    pub fn sites(&self, folder: &Path, source: &Path, hosts: &Hosts) -> Sites {
        fs::create_dir_all(folder).expect("a folder");
        for name in ["a", "b"] {
            let (from, to) = (self.folder.join(name), folder.join(name));
            let copied = Command::new("cp").arg("-a").args([&from, &to]).status();
            assert!(copied.expect("cp").success(), "identities are copied");
        }
        let sites = Sites {
            folder: folder.to_owned(),
            hosts: hosts.clone(),
            source: source.to_owned(),
        };
        let peer =
            |name: &str, region: &str| format!("{name},{},bundle.json", identity(name, region));
        let listen = format!("{}:{}", hosts.address, free_port());
        let receives = ["--listen", &listen, "--bucket", BUCKET];
        sites.init("b", "region-b", &peer("a", "region-a"), &receives);
        let dialled = format!("{},{listen}", peer("b", "region-b"));
        let source = format!("{BUCKET}={}", text(source));
        sites.init("a", "region-a", &dialled, &["--source", &source]);
        sites
    }
}

impl Sites {
    fn init(&self, name: &str, region: &str, peer: &str, more: &[&str]) {
        let config = self.config(name);
        let init = ["init", "-c", &config, "--name", name, "--region", region];
        run(&[&init[..], &["--data-dir", "data", "--peer", peer], more].concat());
    }

    /// Adds to the configuration of one.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn configure(&self, name: &str, more: &str) -> io::Result<()> {
        let mut file = fs::OpenOptions::new()
            .append(true)
            .open(self.config(name))?;
        write!(file, "\n{more}")
    }

    /// Both agents, running and connected.
    pub fn start(&self) -> Agents<'_> {
        let receiver = self.start_one("b");
        let sender = self.start_one("a");
        let agents = Agents {
            sites: self,
            sender,
            receiver,
        };
        let begun = Instant::now();
        let (mut links, mut since) = (0, Instant::now());
        while links == 0 || since.elapsed() < LINKS_STAND_FOR {
            let late = begun.elapsed() > STARTS_WITHIN;
            assert!(!late, "the agents do not find each other: {}", self.logs());
            thread::sleep(Duration::from_millis(20));
            let now = agents.links();
            if now != links {
                (links, since) = (now, Instant::now());
            }
        }
        agents
    }

    /// One agent, which answers.
    pub fn start_one(&self, name: &str) -> Server {
        let config = self.config(name);
        let mut command = match name {
            "a" => self.hosts.near(PROGRAM),
            _ => self.hosts.far(PROGRAM),
        };
        command.args(["up", "-c", &config]);
        let log = self.folder.join(name).join("log");
        let agent = Server::start(command, &log).expect("the program");
        let begun = Instant::now();
        while UnixStream::connect(self.socket(name)).is_err() {
            let late = begun.elapsed() > STARTS_WITHIN;
            assert!(!late, "the agent does not answer: {}", self.logs());
            thread::sleep(Duration::from_millis(5));
        }
        agent
    }

    /// Replicates the folder `ready`, which stands beside the source, once: both agents
    /// run and are connected before it is moved into the source, and it is moved back
    /// when they have ended.
    pub fn replicate(&self, ready: &Path, objects: u64) -> Ours {
        let agents = self.start();
        let ours = agents.replicate(ready, objects);
        agents.stop();
        self.take_back(ready);
        ours
    }

    /// Moves what was placed in the source back to `ready`.
    pub fn take_back(&self, ready: &Path) {
        fs::rename(self.placed(), ready).expect("the objects move back");
    }

    fn placed(&self) -> PathBuf {
        self.source.join("work")
    }

    /// What an agent says of itself.
    pub fn status(&self, name: &str) -> Value {
        let answer = ask(&self.socket(name), "GET", "/status", "").unwrap_or_default();
        serde_json::from_slice(&answer).unwrap_or_default()
    }

    /// Objects that the sender's journal has a receipt for.
    pub fn completed(&self) -> u64 {
        let status = self.status("a");
        let totals = status["totals"].as_array().cloned().unwrap_or_default();
        let completed = totals.iter().filter(|total| total["status"] == "COMPLETED");
        completed
            .filter_map(|total| total["objects"].as_u64())
            .sum()
    }

    /// Waits until `objects` have a receipt; the time since `started`.
    pub fn wait_completed(&self, objects: u64, started: Instant) -> Duration {
        loop {
            let asked = Instant::now();
            if self.completed() >= objects {
                return started.elapsed();
            }
            let late = started.elapsed() > WORK_TIME_MAX;
            assert!(!late, "not done in time: {}", self.logs());
            thread::sleep(POLL.max(asked.elapsed() * POLL_SHARE));
        }
    }

    pub fn socket(&self, name: &str) -> PathBuf {
        self.folder.join(name).join("data/agent.sock")
    }

    pub fn config(&self, name: &str) -> String {
        text(&self.folder.join(name).join("sealift.toml"))
    }

    fn logs(&self) -> String {
        let log = |name: &str| fs::read_to_string(self.folder.join(name).join("log"));
        let last = |name: &str| {
            log(name)
                .unwrap_or_default()
                .lines()
                .last()
                .map(str::to_owned)
        };
        format!("a: {:?}, b: {:?}", last("a"), last("b"))
    }
}

/// Both agents of [`Sites`]; killed when dropped.
pub struct Agents<'a> {
    sites: &'a Sites,
    pub sender: Server,
    pub receiver: Server,
}

impl Agents<'_> {
    /// Connections that stand, once the source was looked through.
    fn links(&self) -> u64 {
        let status = self.sites.status("a");
        match status["sources"][0]["scanned"].is_null() {
            true => 0,
            false => status["peers"][0]["links"].as_u64().unwrap_or_default(),
        }
    }

    /// Moves `ready` into the source and waits until `objects` have a receipt.
    pub fn replicate(&self, ready: &Path, objects: u64) -> Ours {
        let busy = self.busy();
        let started = Instant::now();
        fs::rename(ready, self.sites.placed()).expect("the objects move into the source");
        Ours {
            taken: self.sites.wait_completed(objects, started),
            busy: self.busy().saturating_sub(busy),
            sender_mib: self.sender.peak_mib(),
            receiver_mib: self.receiver.peak_mib(),
        }
    }

    fn busy(&self) -> Duration {
        self.sender.busy() + self.receiver.busy()
    }

    pub fn stop(self) {
        self.sender.stop();
        self.receiver.stop();
    }
}

/// The identity of an agent.
pub fn identity(name: &str, region: &str) -> String {
    format!("spiffe://bench.sealift/region/{region}/agent/{name}")
}

/// One request to an agent's socket; the body of the answer as it came.
pub fn ask(socket: &Path, method: &str, path: &str, body: &str) -> io::Result<Vec<u8>> {
    let mut stream = UnixStream::connect(socket)?;
    let length = body.len();
    write!(
        stream,
        "{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\
         Content-Length: {length}\r\n\r\n{body}"
    )?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    let head = answer.windows(4).position(|four| four == b"\r\n\r\n");
    let head = head.ok_or_else(|| io::Error::other("the agent's answer has no body"))?;
    Ok(answer.split_off(head + 4))
}

pub fn run(arguments: &[&str]) {
    let output = Command::new(PROGRAM)
        .args(arguments)
        .output()
        .expect("the program");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}: {said}", arguments.join(" "));
}

/// A port that nothing listens on at this moment.
pub fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("a port").port()
}

pub fn text(path: &Path) -> String {
    path.to_str().expect("a path in UTF-8").to_owned()
}
