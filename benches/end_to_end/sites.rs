//! Two sites as an operator makes them, and their agents as processes.

use std::{
    fs,
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use serde_json::Value;

const PROGRAM: &str = env!("CARGO_BIN_EXE_sealift");
const WORK_TIME_MAX: Duration = Duration::from_secs(600);

/// A sending site `a` and a receiving site `b` below one folder.
pub struct Sites {
    folder: PathBuf,
}

/// What one run of ours came to.
pub struct Ours {
    /// From the start of the sending agent until everything was acknowledged.
    pub taken: Duration,
    /// Peak resident memory of the sending agent, in MiB.
    pub sender_mib: u64,
    /// Peak resident memory of the receiving agent, in MiB.
    pub receiver_mib: u64,
}

impl Sites {
    /// Makes an authority and both sites; `a` replicates `source`.
    pub fn make(folder: &Path, source: &Path) -> Self {
        fs::create_dir_all(folder).expect("a folder");
        let sites = Self {
            folder: folder.to_owned(),
        };
        let passphrase = folder.join("passphrase");
        fs::write(&passphrase, "a passphrase of a benchmark\n").expect("a passphrase");
        secret(&passphrase);
        let ca = text(&folder.join("ca"));
        run(&[
            "ca",
            "init",
            "--dir",
            &ca,
            "--domain",
            "bench.sealift",
            "--region",
            "region-a",
            "--region",
            "region-b",
            "--passphrase-file",
            &text(&passphrase),
        ]);
        for (name, region) in [("a", "region-a"), ("b", "region-b")] {
            let out = text(&folder.join(name));
            run(&[
                "ca", "issue", "--dir", &ca, "--region", region, "--name", name, "--out", &out,
            ]);
        }
        let free = TcpListener::bind("127.0.0.1:0")
            .expect("a port")
            .local_addr()
            .expect("a port");
        let peer = |name: &str, region: &str| {
            format!("{name},spiffe://bench.sealift/region/{region}/agent/{name},bundle.json")
        };
        run(&[
            "init",
            "-c",
            &sites.config("b"),
            "--name",
            "b",
            "--region",
            "region-b",
            "--data-dir",
            "data",
            "--listen",
            &free.to_string(),
            "--peer",
            &peer("a", "region-a"),
            "--bucket",
            "bench",
        ]);
        run(&[
            "init",
            "-c",
            &sites.config("a"),
            "--name",
            "a",
            "--region",
            "region-a",
            "--data-dir",
            "data",
            "--peer",
            &format!("{},{free}", peer("b", "region-b")),
            "--source",
            &format!("bench={}", text(source)),
        ]);
        sites
    }

    /// Replicates everything that is in the source, once.
    pub fn replicate(&self, objects: u64) -> Ours {
        let receiver = Agent::start(&self.config("b"));
        let started = Instant::now();
        let sender = Agent::start(&self.config("a"));
        while self.completed() < objects {
            assert!(started.elapsed() < WORK_TIME_MAX, "not done in ten minutes");
            thread::sleep(Duration::from_millis(20));
        }
        let taken = started.elapsed();
        let (sender_mib, receiver_mib) = (sender.peak_mib(), receiver.peak_mib());
        sender.stop();
        receiver.stop();
        Ours {
            taken,
            sender_mib,
            receiver_mib,
        }
    }

    /// Objects that the sender's journal has a receipt for.
    fn completed(&self) -> u64 {
        let output = Command::new(PROGRAM)
            .args(["status", "--json", "-c", &self.config("a")])
            .output()
            .expect("the program");
        let line = String::from_utf8_lossy(&output.stdout);
        let status: Value = serde_json::from_str(line.trim()).unwrap_or_default();
        let totals = status["totals"].as_array().cloned().unwrap_or_default();
        let completed = totals.iter().filter(|total| total["status"] == "COMPLETED");
        completed
            .filter_map(|total| total["objects"].as_u64())
            .sum()
    }

    fn config(&self, name: &str) -> String {
        text(&self.folder.join(name).join("sealift.toml"))
    }
}

/// One agent as a process; killed when dropped.
struct Agent(Child);

impl Agent {
    fn start(config: &str) -> Self {
        let log = fs::File::create(format!("{config}.log")).expect("a log");
        let child = Command::new(PROGRAM)
            .args(["up", "-c", config])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("the program");
        let agent = Self(child);
        let begun = Instant::now();
        while !answers(config) {
            assert!(
                begun.elapsed() < Duration::from_secs(30),
                "the agent does not answer"
            );
            thread::sleep(Duration::from_millis(5));
        }
        agent
    }

    fn peak_mib(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.0.id()));
        let status = status.unwrap_or_default();
        let line = status.lines().find(|line| line.starts_with("VmHWM:"));
        let kib = line.and_then(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok());
        kib.unwrap_or_default() / 1024
    }

    fn stop(mut self) {
        let _ = Command::new("kill")
            .args(["-TERM", &self.0.id().to_string()])
            .status();
        let _ = self.0.wait();
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Whether an agent answers: a connection to its socket, nothing started for it.
fn answers(config: &str) -> bool {
    let folder = Path::new(config).parent().expect("a folder");
    std::os::unix::net::UnixStream::connect(folder.join("data/agent.sock")).is_ok()
}

fn run(arguments: &[&str]) {
    let output = Command::new(PROGRAM)
        .args(arguments)
        .output()
        .expect("the program");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}: {said}", arguments.join(" "));
}

fn secret(path: &Path) {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).expect("permissions");
}

fn text(path: &Path) -> String {
    path.to_str().expect("a path in UTF-8").to_owned()
}
