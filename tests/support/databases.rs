//! Servers of databases, as processes of their own.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use rustix::process::{Pid, Signal, geteuid, kill_process};

use super::{
    program::{text, to_its_end},
    wait::wait_until,
};

const TIME_MAX: Duration = Duration::from_secs(120);

/// A process that is ended when dropped.
struct Server(Child);

impl Server {
    /// Ends it in its own way; PostgreSQL's fast shutdown is SIGINT.
    fn stop(&mut self, signal: Signal) {
        let _ = kill_process(Pid::from_child(&self.0), signal);
        let _ = self.0.wait();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop(Signal::INT);
    }
}

/// The last number of an address.
fn port(address: &str) -> &str {
    address.rsplit(':').next().unwrap()
}

/// A PostgreSQL server in a directory of its own, run as the user of the Debian package.
pub(crate) struct Postgres {
    pub(crate) address: String,
    dir: PathBuf,
    server: Option<Server>,
}

impl Postgres {
    /// A server without data, not started.
    pub(crate) fn in_dir(dir: &Path, address: &str) -> Self {
        fs::create_dir(dir).unwrap();
        if geteuid().is_root() {
            let owned = Command::new("chown").arg("postgres:").arg(dir).status();
            assert!(owned.unwrap().success());
        }
        Self {
            address: address.to_owned(),
            dir: dir.to_owned(),
            server: None,
        }
    }

    /// A program of the newest version that is installed.
    fn program(name: &str) -> PathBuf {
        let versions = fs::read_dir("/usr/lib/postgresql").unwrap();
        let version = versions.map(|entry| entry.unwrap().path()).max();
        version.unwrap().join("bin").join(name)
    }

    fn command(name: &str) -> Command {
        let program = Self::program(name);
        if !geteuid().is_root() {
            return Command::new(program);
        }
        let mut command = Command::new("setpriv");
        command.args(["--reuid=postgres", "--regid=postgres", "--clear-groups"]);
        command.arg(program).current_dir("/");
        command
    }

    fn data(&self) -> PathBuf {
        self.dir.join("data")
    }

    fn log(&self) -> PathBuf {
        self.dir.join("server.log")
    }

    /// What it has written to its log.
    pub(crate) fn said(&self) -> String {
        fs::read_to_string(self.log()).unwrap_or_default()
    }

    /// Makes an empty database.
    pub(crate) fn init(&self) {
        let mut init = Self::command("initdb");
        init.args(["-A", "trust", "-U", "postgres", "--no-sync", "-D"]);
        init.arg(self.data());
        to_its_end(init, TIME_MAX).exits(0);
    }

    /// Makes a copy of what answers at `from`, which will follow that.
    pub(crate) fn copy(&self, from: &str) {
        let mut copy = Self::command("pg_basebackup");
        copy.args([
            "-h",
            "127.0.0.1",
            "-U",
            "postgres",
            "-R",
            "-c",
            "fast",
            "-N",
        ]);
        copy.args(["-X", "stream", "-p", port(from), "-D"]);
        copy.arg(self.data());
        to_its_end(copy, TIME_MAX).exits(0);
    }

    /// Starts it and waits until it answers.
    pub(crate) fn start(&mut self) {
        let log = fs::File::create(self.log()).unwrap();
        let mut server = Self::command("postgres");
        server
            .arg("-D")
            .arg(self.data())
            .args(["-p", port(&self.address)]);
        for setting in [
            "listen_addresses=127.0.0.1",
            "unix_socket_directories=",
            "fsync=off",
            "shared_buffers=32MB",
            "wal_keep_size=1GB",
            "max_wal_size=1GB",
        ] {
            server.args(["-c", setting]);
        }
        let server = server
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn();
        self.server = Some(Server(server.unwrap()));
        wait_until("PostgreSQL answers", TIME_MAX, || {
            self.psql("select 1").code == 0
        });
    }

    pub(crate) fn stop(&mut self) {
        self.server.take().unwrap().stop(Signal::INT);
    }

    fn psql(&self, query: &str) -> super::Ran {
        let mut psql = Command::new(Self::program("psql"));
        psql.args(["-h", "127.0.0.1", "-U", "postgres", "-A", "-t", "-X", "-q"]);
        psql.args(["-p", port(&self.address), "-c", query, "postgres"]);
        to_its_end(psql, TIME_MAX)
    }

    /// What it answers, in one line.
    #[track_caller]
    pub(crate) fn asks(&self, query: &str) -> String {
        self.psql(query).exits(0).text().trim().to_owned()
    }

    /// `pgbench` against it, which must end well.
    pub(crate) fn bench(&self, arguments: &[&str]) -> Command {
        let mut bench = Command::new(Self::program("pgbench"));
        bench.args([
            "-h",
            "127.0.0.1",
            "-U",
            "postgres",
            "-p",
            port(&self.address),
        ]);
        bench.args(arguments).arg("postgres");
        bench
    }
}

/// A Redis server that keeps nothing on disk.
pub(crate) struct Redis {
    pub(crate) address: String,
    server: Server,
}

impl Redis {
    /// Starts one in `dir`; `arguments` are settings.
    pub(crate) fn start(dir: &Path, address: &str, arguments: &[&str]) -> Self {
        fs::create_dir_all(dir).unwrap();
        let mut server = Command::new("redis-server");
        server.args(["--bind", "127.0.0.1", "--port", port(address)]);
        server.args(["--save", "", "--appendonly", "no"]);
        server.args(["--enable-debug-command", "local", "--dir", &text(dir)]);
        server.args(["--logfile", &text(&dir.join("server.log"))]);
        let server = server
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn();
        let redis = Self {
            address: address.to_owned(),
            server: Server(server.unwrap()),
        };
        wait_until("Redis answers", TIME_MAX, || redis.cli(&["ping"]).code == 0);
        redis
    }

    fn cli(&self, arguments: &[&str]) -> super::Ran {
        let mut cli = Command::new("redis-cli");
        cli.args(["-p", port(&self.address)]).args(arguments);
        to_its_end(cli, TIME_MAX)
    }

    #[track_caller]
    pub(crate) fn asks(&self, arguments: &[&str]) -> String {
        self.cli(arguments).exits(0).text().trim().to_owned()
    }

    /// One field of `info`.
    #[track_caller]
    pub(crate) fn info(&self, section: &str, field: &str) -> String {
        let info = self.asks(&["info", section]);
        let line = info
            .lines()
            .find_map(|line| line.trim().strip_prefix(field));
        line.map_or_else(String::new, |rest| rest.trim_start_matches(':').to_owned())
    }

    /// `redis-benchmark` against it.
    pub(crate) fn bench(&self, arguments: &[&str]) -> Command {
        let mut bench = Command::new("redis-benchmark");
        bench
            .args(["-p", port(&self.address), "-q"])
            .args(arguments);
        bench
    }

    pub(crate) fn stop(mut self) {
        self.server.stop(Signal::TERM);
    }
}
