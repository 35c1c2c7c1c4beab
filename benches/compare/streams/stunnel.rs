//! stunnel on both hosts.

use std::{fs, io, process::Command};

use super::{Carrier, Opening, Tunnel};
use crate::{hosts::Server, sites::free_port};

pub struct Stunnel;

impl Carrier for Stunnel {
    fn name(&self) -> &'static str {
        "stunnel"
    }

    fn open(&self, opening: &Opening<'_>) -> io::Result<Tunnel> {
        let (tls, port, pki) = (free_port(), free_port(), &opening.tools.pki);
        let far = format!(
            "accept = 127.0.0.1:{tls}\nconnect = 127.0.0.1:{}\ncert = {}\nkey = {}",
            opening.service, pki.server, pki.server_key
        );
        let near = format!(
            "client = yes\naccept = 127.0.0.1:{port}\nconnect = 127.0.0.1:{tls}\n\
             cert = {}\nkey = {}",
            pki.client, pki.client_key
        );
        let far = start(opening, "far", &far)?.listens(tls)?;
        let near = start(opening, "near", &near)?.listens(port)?;
        Ok(Tunnel {
            port,
            servers: vec![far, near],
        })
    }
}

/// TLS 1.3, both sides known.
fn start(opening: &Opening<'_>, name: &str, service: &str) -> io::Result<Server> {
    let config = opening.place.join(format!("{name}.conf"));
    let ca = &opening.tools.pki.ca;
    let text = format!(
        "foreground = yes\npid =\ndebug = 3\n[all]\n{service}\n\
         CAfile = {ca}\nverifyChain = yes\nsslVersionMin = TLSv1.3\n\
         socket = l:TCP_NODELAY=1\nsocket = r:TCP_NODELAY=1\n"
    );
    fs::write(&config, text)?;
    let mut program = Command::new("stunnel");
    program.arg(config);
    Server::start(program, &opening.place.join("log"))
}
