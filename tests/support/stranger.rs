//! Someone without a certificate who reaches an issuer.

use std::{
    io::{Read, Write},
    net::TcpStream,
    sync::Arc,
    time::Duration,
};

use rustls::{ClientConnection, StreamOwned, pki_types::ServerName};
use sealift_host::OsClock;
use sealift_identity::{EnrolmentToken, TlsPolicy, enrolling_client};

const TIME_MAX: Duration = Duration::from_secs(60);

/// A connection that shows no certificate.
pub(crate) struct Stranger(StreamOwned<ClientConnection, TcpStream>);

impl Stranger {
    /// Behind its own half of the handshake. The token says whom it expects there.
    pub(crate) fn at(issuer: &str, token: &str) -> Self {
        let token: EnrolmentToken = token.parse().unwrap();
        let tls = enrolling_client(&TlsPolicy::default(), &token, Arc::new(OsClock)).unwrap();
        let name = ServerName::try_from("issuer.example.org").unwrap();
        let connection = ClientConnection::new(tls, name).unwrap();
        let socket = TcpStream::connect(issuer).unwrap();
        socket.set_read_timeout(Some(TIME_MAX)).unwrap();
        let mut stream = StreamOwned::new(connection, socket);
        while stream.conn.is_handshaking() {
            stream.conn.complete_io(&mut stream.sock).unwrap();
        }
        Self(stream)
    }

    /// Begins a request whose body is to have so many bytes.
    pub(crate) fn begins(mut self, path: &str, body_bytes: usize) -> Self {
        let head =
            format!("POST {path} HTTP/1.1\r\nhost: issuer\r\ncontent-length: {body_bytes}\r\n\r\n");
        // It may be shown the door meanwhile.
        let _ = self.0.write_all(head.as_bytes());
        self
    }

    /// A whole request, and its answer: nothing from whoever shows it the door.
    pub(crate) fn asks(self, path: &str, body: &str) -> String {
        let mut asking = self.begins(path, body.len());
        let _ = asking.0.write_all(body.as_bytes());
        asking.hears()
    }

    /// What comes until the end.
    pub(crate) fn hears(mut self) -> String {
        let mut heard = Vec::new();
        let _ = self.0.read_to_end(&mut heard);
        String::from_utf8_lossy(&heard).into_owned()
    }
}
