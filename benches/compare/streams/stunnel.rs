//! stunnel on both hosts.

use std::{io, process::Command};

use super::{Carrier, Opening, Tunnel};
use crate::{sites::free_port, stunnel};

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
        let start = |name: &str, service: &str| {
            let program = Command::new("stunnel");
            stunnel::start(program, opening.place, &pki.ca, name, service)
        };
        let far = start("far", &far)?.listens(tls)?;
        let near = start("near", &near)?.listens(port)?;
        Ok(Tunnel {
            port,
            servers: vec![far, near],
        })
    }
}
