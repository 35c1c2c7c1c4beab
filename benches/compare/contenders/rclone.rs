//! rclone's crypt over its own WebDAV server, in mutual TLS 1.3, tuned.

use std::{fs, io, path::Path, process::Command, time::Duration};

use super::{Contender, Job, Run, timed, timed_with_sync};
use crate::{
    hosts::Server,
    inside::succeed,
    sites::{free_port, text},
};

/// So many objects at once.
pub struct Rclone {
    pub transfers: usize,
}

impl Contender for Rclone {
    fn name(&self) -> String {
        "rclone crypt over WebDAV".to_owned()
    }

    fn sealed(&self) -> &'static str {
        "XSalsa20-Poly1305"
    }

    fn run(&self, job: &Job<'_>) -> io::Result<Run> {
        let target = job.place.join("target");
        fs::create_dir_all(&target)?;
        let port = free_port();
        let config = configure(job, &target, port)?;
        let server = serve(job, "webdav", &target, port)?;
        let taken = timed_with_sync(job, self.copy(job, &config)?)?;
        server.stop();
        if job.checked {
            let restored = text(&job.place.join("restored"));
            let back = ["copy", "rested:", &restored, "--config", &config];
            succeed(Command::new(&job.tools.rclone).args(back))?;
            job.compare(Path::new(&restored))?;
        }
        Ok(Run::of(taken))
    }
}

impl Rclone {
    fn copy(&self, job: &Job<'_>, config: &str) -> io::Result<Duration> {
        let (transfers, pki) = (self.transfers.to_string(), &job.tools.pki);
        let mut rclone = job.hosts.near(&job.tools.rclone);
        rclone.args(["copy", "--config", config, "--ca-cert", &pki.ca]);
        rclone.args([
            "--client-cert",
            &pki.client,
            "--client-key",
            &pki.client_key,
        ]);
        rclone.args(["--transfers", &transfers, "--checkers", &transfers]);
        // Nothing is there yet: it need not look.
        rclone.args(["--no-check-dest", "--retries", "1"]);
        timed(rclone.arg(job.ready).arg("sealed:"))
    }
}

/// A passphrase as its configuration has it.
pub fn obscured(rclone: &str) -> io::Result<String> {
    let output = Command::new(rclone)
        .args(["obscure", "a passphrase"])
        .output()?;
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// Without `pacer_min_sleep` it sends one request in ten milliseconds; versions before
/// 1.65 do not know it. Contents are sealed; names stay as they are, as they do elsewhere in the table.
fn configure(job: &Job<'_>, target: &Path, port: u16) -> io::Result<String> {
    let password = obscured(&job.tools.rclone)?;
    let crypt = format!(
        "type = crypt\npassword = {password}\n\
         filename_encryption = off\ndirectory_name_encryption = false\n"
    );
    let config = job.place.join("rclone.conf");
    fs::write(
        &config,
        format!(
            "[dav]\ntype = webdav\nvendor = rclone\npacer_min_sleep = 0\nurl = https://{}:{port}\n\
             [sealed]\nremote = dav:\n{crypt}[rested]\nremote = {}\n{crypt}",
            job.hosts.address,
            target.display()
        ),
    )?;
    Ok(text(&config))
}

/// One of rclone's servers.
pub fn serve(job: &Job<'_>, what: &str, target: &Path, port: u16) -> io::Result<Server> {
    let pki = &job.tools.pki;
    let mut server = job.hosts.far(&job.tools.rclone);
    server.args(["serve", what]).arg(target);
    server.args(["--addr", &format!("{}:{port}", job.hosts.address)]);
    server.args(["--cert", &pki.server, "--key", &pki.server_key]);
    server.args(["--client-ca", &pki.ca, "--min-tls-version", "tls1.3"]);
    server.args(["--config", "/dev/null"]);
    Server::start(server, &job.log())?.listens(port)
}
