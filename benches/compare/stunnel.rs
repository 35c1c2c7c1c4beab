//! One end of a stunnel, as it is set up wherever it takes part.

use std::{fs, io, path::Path, process::Command};

use crate::hosts::Server;

/// Starts `program` below `place` for one service: TLS 1.3, both sides known.
pub fn start(
    mut program: Command,
    place: &Path,
    ca: &str,
    name: &str,
    service: &str,
) -> io::Result<Server> {
    let config = place.join(format!("stunnel-{name}.conf"));
    let text = format!(
        "foreground = yes\npid =\ndebug = 3\n[all]\n{service}\n\
         CAfile = {ca}\nverifyChain = yes\nsslVersionMin = TLSv1.3\n\
         socket = l:TCP_NODELAY=1\nsocket = r:TCP_NODELAY=1\n"
    );
    fs::write(&config, text)?;
    program.arg(config);
    Server::start(program, &place.join("log"))
}
