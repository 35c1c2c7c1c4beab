//! haproxy on both hosts.

use std::{fs, io, process::Command};

use super::{Carrier, Opening, Tunnel};
use crate::{hosts::Server, sites::free_port};

pub struct Haproxy;

impl Carrier for Haproxy {
    fn name(&self) -> &'static str {
        "haproxy"
    }

    fn open(&self, opening: &Opening<'_>) -> io::Result<Tunnel> {
        let (tls, port, pki) = (free_port(), free_port(), &opening.tools.pki);
        let verified = format!("ca-file {} verify required ssl-min-ver TLSv1.3", pki.ca);
        let far = format!(
            "bind 127.0.0.1:{tls} ssl crt {} {verified}\n  server far 127.0.0.1:{}",
            pki.server_both, opening.service
        );
        let near = format!(
            "bind 127.0.0.1:{port}\n  server near 127.0.0.1:{tls} ssl crt {} {verified}",
            pki.client_both
        );
        let far = start(opening, "far", &far)?.listens(tls)?;
        let near = start(opening, "near", &near)?.listens(port)?;
        Ok(Tunnel {
            port,
            servers: vec![far, near],
        })
    }
}

/// One end, on as many threads as there are cores, as it is by default.
fn start(opening: &Opening<'_>, name: &str, listen: &str) -> io::Result<Server> {
    let config = opening.place.join(format!("{name}.cfg"));
    let text = format!(
        "global\n  maxconn 100\n\
         defaults\n  mode tcp\n  timeout connect 5s\n  timeout client 60s\n  timeout server 60s\n\
         listen all\n  {listen}\n"
    );
    fs::write(&config, text)?;
    let mut program = Command::new("haproxy");
    program.args(["-db", "-f"]).arg(config);
    Server::start(program, &opening.place.join("log"))
}
