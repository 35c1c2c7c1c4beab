//! curl, eight at once, to nginx's PUT, in mutual TLS 1.3.

use std::{fmt::Write, fs, io, path::Path, process::Stdio, time::Instant};

use super::{Contender, Job, Run, bounded, timed_with_sync};
use crate::{hosts::Server, sites::free_port};

const UPLOADERS: usize = 8;

pub struct Nginx;

impl Contender for Nginx {
    fn name(&self) -> String {
        "curl × 8 to nginx PUT".to_owned()
    }

    fn sealed(&self) -> &'static str {
        "no"
    }

    fn run(&self, job: &Job<'_>) -> io::Result<Run> {
        let target = job.place.join("target");
        for folder in ["target", "temporary"] {
            fs::create_dir_all(job.place.join(folder))?;
        }
        let port = free_port();
        let server = serve(job, port)?;
        let lists = lists(job, port)?;
        let mut uploads = Vec::new();
        let started = Instant::now();
        for list in &lists {
            let mut curl = job.hosts.near("curl");
            curl.args(["-sSf", "--http1.1", "-K"]).arg(list);
            let mut curl = bounded(&curl);
            uploads.push(curl.stdin(Stdio::null()).stdout(Stdio::null()).spawn()?);
        }
        for mut upload in uploads {
            let status = upload.wait()?;
            if !status.success() {
                return Err(io::Error::other(format!("curl ended with {status}")));
            }
        }
        let taken = timed_with_sync(job, started.elapsed())?;
        server.stop();
        if job.checked {
            job.compare(&target)?;
        }
        Ok(Run::of(taken))
    }
}

/// One list of uploads for each curl, which keeps its connection.
fn lists(job: &Job<'_>, port: u16) -> io::Result<Vec<std::path::PathBuf>> {
    let pki = &job.tools.pki;
    let mut lists = vec![String::new(); UPLOADERS.min(job.files.len())];
    let count = lists.len();
    for (index, file) in job.files.iter().enumerate() {
        let name = file.strip_prefix(job.ready).map_err(io::Error::other)?;
        let _ = write!(
            lists[index % count],
            "{}cacert = {}\ncert = {}\nkey = {}\nupload-file = {}\nurl = https://{}:{port}/{}\n",
            if index < count {
                ""
            } else {
                "next\nfail\nhttp1.1\n"
            },
            pki.ca,
            pki.client,
            pki.client_key,
            file.display(),
            job.hosts.address,
            name.display()
        );
    }
    let list = |(index, list): (usize, &String)| {
        let path = job.place.join(format!("curl-{index}"));
        fs::write(&path, list)?;
        Ok(path)
    };
    lists.iter().enumerate().map(list).collect()
}

fn serve(job: &Job<'_>, port: u16) -> io::Result<Server> {
    let (pki, place, address) = (&job.tools.pki, job.place.display(), job.hosts.address);
    let config = job.place.join("nginx.conf");
    fs::write(
        &config,
        format!(
            "user root;\nworker_processes 2;\ndaemon off;\npid {place}/nginx.pid;\n\
             error_log stderr error;\nevents {{ worker_connections 256; }}\n\
             http {{ access_log off; client_max_body_size 0; client_body_buffer_size 1m;\n\
             client_body_temp_path {place}/temporary; keepalive_requests 1000000;\n\
             server {{ listen {address}:{port} ssl; root {place}/target;\n\
             ssl_certificate {}; ssl_certificate_key {}; ssl_client_certificate {};\n\
             ssl_verify_client on; ssl_protocols TLSv1.3; ssl_session_tickets off;\n\
             dav_methods PUT; create_full_put_path on; }} }}\n",
            pki.server, pki.server_key, pki.ca
        ),
    )?;
    let mut nginx = job.hosts.far("nginx");
    nginx.arg("-p").arg(job.place).arg("-c").arg(&config);
    nginx.args(["-e", "stderr"]);
    Server::start(nginx, Path::new(&job.log()))?.listens(port)
}
