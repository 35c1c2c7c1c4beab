//! A forward between two agents.

use std::{fs, io};

use super::{Carrier, Opening, Tunnel};
use crate::{
    hosts::Hosts,
    sites::{free_port, identity},
};

pub struct Sealift;

impl Carrier for Sealift {
    fn name(&self) -> &'static str {
        "sealift"
    }

    fn open(&self, opening: &Opening<'_>) -> io::Result<Tunnel> {
        let (source, port) = (opening.place.join("source"), free_port());
        fs::create_dir_all(&source)?;
        let place = opening.place.join("sites");
        let hosts = Hosts::loopback();
        let sites = opening.tools.authority.sites(&place, &source, &hosts);
        let listen =
            format!("[[forward]]\nname = \"all\"\nlisten = \"127.0.0.1:{port}\"\npeer = \"b\"\n");
        sites.configure("a", &listen)?;
        let target = format!(
            "[[forward_target]]\nname = \"all\"\naddress = \"127.0.0.1:{}\"\nallow = [\"{}\"]\n",
            opening.service,
            identity("a", "region-a")
        );
        sites.configure("b", &target)?;
        let agents = sites.start();
        let near = agents.sender.listens(port)?;
        Ok(Tunnel {
            port,
            servers: vec![near, agents.receiver],
        })
    }
}
