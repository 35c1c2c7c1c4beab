//! Those who are to be refused, and how they try.

use std::{
    io::{Read, Write},
    net::TcpStream,
    path::Path,
    process::Command,
    time::Duration,
};

use super::program::{Ran, text, to_its_end};

const TIME_MAX: Duration = Duration::from_secs(20);

/// Someone who speaks no TLS at all.
pub(crate) struct Intruder;

impl Intruder {
    /// Sends bytes as they are; what came back until the connection ended.
    pub(crate) fn sends(address: &str, bytes: &[u8]) -> Vec<u8> {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(TIME_MAX)).unwrap();
        let mut answer = Vec::new();
        // A reset is an answer, too.
        let _ = stream.write_all(bytes);
        let _ = stream.read_to_end(&mut answer);
        answer
    }
}

/// Someone with `openssl s_client`.
pub(crate) struct Openssl(Vec<String>);

impl Openssl {
    /// Speaks sealift's protocol, and checks no certificate.
    pub(crate) fn to(address: &str) -> Self {
        let arguments = [
            "s_client",
            "-connect",
            address,
            "-alpn",
            "sealift/1",
            "-ign_eof",
        ];
        Self(arguments.map(str::to_owned).into())
    }

    pub(crate) fn with(mut self, more: &[&str]) -> Self {
        self.0
            .extend(more.iter().map(|argument| (*argument).to_owned()));
        self
    }

    /// With the certificate of a site.
    pub(crate) fn into_site(self, dir: &Path) -> Self {
        let (certificate, key) = (
            text(&dir.join("identity.crt")),
            text(&dir.join("identity.key")),
        );
        self.with(&[
            "-cert",
            &certificate,
            "-cert_chain",
            &certificate,
            "-key",
            &key,
        ])
    }

    pub(crate) fn tries(self) -> Ran {
        let mut command = Command::new("openssl");
        command.args(self.0);
        to_its_end(command, TIME_MAX)
    }
}
