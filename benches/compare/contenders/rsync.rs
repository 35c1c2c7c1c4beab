//! rsync's daemon, with stunnel in front of it on both hosts.

use std::{
    fs, io,
    path::{Path, PathBuf},
    process::Command,
    thread,
    time::Duration,
};

use super::{Contender, Job, Run, timed, timed_with_sync};
use crate::{
    hosts::Server,
    inside::succeed,
    sites::{free_port, text},
    stunnel,
};

/// With a twentieth of a second between them.
const UNMOUNT_TRIES: usize = 200;

/// Where the files go.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum At {
    /// Into a folder, as they are.
    Rest,
    /// Into a mounted gocryptfs.
    Gocryptfs,
}

pub struct Rsync(pub At);

impl Contender for Rsync {
    fn name(&self) -> String {
        match self.0 {
            At::Rest => "rsync in stunnel".to_owned(),
            At::Gocryptfs => "rsync in stunnel into gocryptfs".to_owned(),
        }
    }

    fn sealed(&self) -> &'static str {
        match self.0 {
            At::Rest => "no",
            At::Gocryptfs => "AES-256-GCM",
        }
    }

    fn run(&self, job: &Job<'_>) -> io::Result<Run> {
        let target = job.place.join("target");
        fs::create_dir_all(&target)?;
        let mounted = match self.0 {
            At::Rest => None,
            At::Gocryptfs => Some(Mounted::new(job, &target)?),
        };
        let link = Link::open(job, &target)?;
        let taken = timed_with_sync(job, link.copy(job)?)?;
        drop(link);
        if job.checked {
            job.compare(&target)?;
        }
        drop(mounted);
        Ok(Run::of(taken))
    }
}

/// The daemon, and stunnel on both hosts.
pub struct Link {
    _servers: [Server; 3],
    port: u16,
}

impl Link {
    pub fn open(job: &Job<'_>, target: &Path) -> io::Result<Self> {
        let [daemon_port, tls_port, port] = [free_port(), free_port(), free_port()];
        let daemon = daemon(job, target, daemon_port)?;
        let pki = &job.tools.pki;
        let address = job.hosts.address;
        let far = [
            format!("accept = {address}:{tls_port}"),
            format!("connect = 127.0.0.1:{daemon_port}"),
            format!("cert = {}\nkey = {}", pki.server, pki.server_key),
        ];
        let near = [
            format!("client = yes\naccept = 127.0.0.1:{port}"),
            format!("connect = {address}:{tls_port}"),
            format!("cert = {}\nkey = {}", pki.client, pki.client_key),
        ];
        let start = |program, name: &str, service: [String; 3]| {
            stunnel::start(program, job.place, &pki.ca, name, &service.join("\n"))
        };
        let far = start(job.hosts.far("stunnel"), "far", far)?;
        let near = start(job.hosts.near("stunnel"), "near", near)?;
        Ok(Self {
            _servers: [daemon, far.listens(tls_port)?, near.listens(port)?],
            port,
        })
    }

    /// Copies the files, whole, without looking for what they have in common.
    pub fn copy(&self, job: &Job<'_>) -> io::Result<Duration> {
        let to = format!("rsync://127.0.0.1:{}/all/", self.port);
        let mut rsync = job.hosts.near("rsync");
        rsync.args(["-a", "--whole-file", "--inplace", "--no-compress"]);
        timed(rsync.arg(format!("{}/", job.ready.display())).arg(to))
    }
}

fn daemon(job: &Job<'_>, target: &Path, port: u16) -> io::Result<Server> {
    let config = job.place.join("rsyncd.conf");
    let module = target.display();
    fs::write(
        &config,
        format!(
            "use chroot = no\nuid = 0\ngid = 0\n\
             [all]\npath = {module}\nread only = no\n"
        ),
    )?;
    let mut daemon = job.hosts.far("rsync");
    daemon.args(["--daemon", "--no-detach", "--address", "127.0.0.1"]);
    daemon
        .args(["--port", &port.to_string(), "--config"])
        .arg(config);
    Server::start(daemon, &job.log())?.listens(port)
}

/// A gocryptfs that is mounted until this is dropped.
pub struct Mounted {
    point: PathBuf,
}

impl Mounted {
    pub fn new(job: &Job<'_>, point: &Path) -> io::Result<Self> {
        let sealed = job.place.join("sealed");
        fs::create_dir_all(&sealed)?;
        let passphrase = job.place.join("passphrase");
        fs::write(&passphrase, "a passphrase\n")?;
        let (sealed, passphrase) = (text(&sealed), text(&passphrase));
        let quiet = ["-q", "-passfile", &passphrase];
        // The passphrase is stretched once, at the mount, before the clock starts.
        let init = ["-init", "-scryptn", "10", &sealed];
        succeed(Command::new("gocryptfs").args(quiet).args(init))?;
        succeed(
            Command::new("gocryptfs")
                .args(quiet)
                .arg(&sealed)
                .arg(point),
        )?;
        Ok(Self {
            point: point.to_owned(),
        })
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        // The daemon's child, which is in there, ends a moment after its connection.
        for _ in 0..UNMOUNT_TRIES {
            let tried = succeed(Command::new("umount").arg(&self.point));
            if tried.is_ok() {
                return;
            }
            thread::sleep(Duration::from_millis(50));
        }
    }
}
