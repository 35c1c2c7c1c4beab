//! restic to rclone's restic server, in mutual TLS.

use std::{fs, io, process::Command};

use super::{Contender, Job, Run, rclone::serve, timed, timed_with_sync};
use crate::{inside::succeed, sites::free_port};

pub struct Restic;

impl Contender for Restic {
    fn name(&self) -> String {
        "restic to rclone's server".to_owned()
    }

    fn sealed(&self) -> &'static str {
        "AES-CTR, Poly1305"
    }

    fn run(&self, job: &Job<'_>) -> io::Result<Run> {
        let target = job.place.join("target");
        fs::create_dir_all(&target)?;
        let port = free_port();
        let server = serve(job, "restic", &target, port)?;
        let repository = format!("rest:https://{}:{port}/", job.hosts.address);
        let mut init = self.restic(job, &repository);
        succeed(init.args(["init", "--repository-version", "2"]))?;
        let mut backup = self.restic(job, &repository);
        backup.args(["backup", "--compression", "off", "-o", "rest.connections=8"]);
        let work = timed(backup.arg(job.ready))?;
        let taken = timed_with_sync(job, work)?;
        if job.checked {
            let restored = job.place.join("restored");
            let mut restore = self.restic(job, &repository);
            succeed(
                restore
                    .args(["restore", "latest", "--target"])
                    .arg(&restored),
            )?;
            let inside = job.ready.strip_prefix("/").map_err(io::Error::other)?;
            job.compare(&restored.join(inside))?;
        }
        server.stop();
        Ok(Run::of(taken))
    }
}

impl Restic {
    fn restic(&self, job: &Job<'_>, repository: &str) -> Command {
        let pki = &job.tools.pki;
        let mut restic = job.hosts.near("restic");
        restic.args(["-q", "--no-cache", "-r", repository, "--cacert", &pki.ca]);
        restic.args(["--tls-client-cert", &pki.client_both]);
        restic.env("RESTIC_PASSWORD", "a passphrase");
        restic
    }
}
