//! What a finished handshake agreed on.

use std::{sync::Arc, time::Duration};

use rustls::{CommonState, ProtocolVersion};
use sealift_terms::{SessionFacts, Timestamp};

use crate::{certificate::Leaf, context::Own, refusal::Refusal};

/// What runs on a connection moves to a fresher one this long before it ends, at most.
const MOVE_BEFORE_MAX: Duration = Duration::from_secs(60);

/// Which way objects go on a session, seen from this side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// This side sends objects.
    Sending,
    /// This side receives objects.
    Receiving,
}

/// One authenticated connection: what was negotiated, and both certificates.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    /// The TLS version, `TLSv1.3`.
    pub tls_version: &'static str,
    /// The cipher suite, spelt as in the allow-list.
    pub cipher_suite: String,
    /// The key-exchange group, spelt as in the allow-list.
    pub group: String,
    /// The application protocol.
    pub alpn: Vec<u8>,
    /// What our certificate says.
    pub own: Arc<Leaf>,
    /// What the peer's certificate says. It was verified during the handshake.
    pub peer: Arc<Leaf>,
}

impl Session {
    /// Reads a connection, buffered or unbuffered, whose handshake is done. `own` is
    /// the certificate that came with its configuration.
    ///
    /// # Errors
    /// [`Refusal`] when the handshake is not done, or no application protocol was
    /// agreed on: rustls lets a peer pass that names none.
    pub fn of(connection: &CommonState, own: &Own) -> Result<Self, Refusal> {
        let unfinished = || Refusal::BadTls {
            what: "the handshake is not finished".to_owned(),
        };
        if connection.is_handshaking() {
            return Err(unfinished());
        }
        let tls_version = match connection.protocol_version() {
            Some(ProtocolVersion::TLSv1_3) => "TLSv1.3",
            _ => return Err(Refusal::OldTls),
        };
        let suite = connection
            .negotiated_cipher_suite()
            .ok_or_else(unfinished)?;
        let group = connection
            .negotiated_key_exchange_group()
            .ok_or_else(unfinished)?;
        let alpn = connection
            .alpn_protocol()
            .ok_or(Refusal::NoCommonProtocol)?;
        let certificates = connection.peer_certificates().unwrap_or_default();
        let end_entity = certificates.first().ok_or(Refusal::NoCertificate)?;
        Ok(Self {
            tls_version,
            cipher_suite: format!("{:?}", suite.suite()),
            group: format!("{:?}", group.name()),
            alpn: alpn.to_vec(),
            own: own.leaf.clone(),
            peer: Arc::new(own.peers.read(end_entity)?),
        })
    }

    /// When the connection has to be closed: neither certificate is outlived.
    #[must_use]
    pub fn ends(&self) -> Timestamp {
        self.own.not_after.min(self.peer.not_after)
    }

    /// For how long before its end there ought to be a fresher connection, of one that
    /// is made `now`: a third of what it has left, a minute at most.
    #[must_use]
    pub fn moves_before_end(&self, now: Timestamp) -> Duration {
        (self.ends().since(now) / 3).min(MOVE_BEFORE_MAX)
    }

    /// The facts as a receipt and an audit record carry them.
    #[must_use]
    pub fn facts(&self, direction: Direction) -> SessionFacts {
        let (sender, receiver) = match direction {
            Direction::Sending => (&self.own, &self.peer),
            Direction::Receiving => (&self.peer, &self.own),
        };
        SessionFacts {
            tls_version: self.tls_version.to_owned(),
            cipher_suite: self.cipher_suite.clone(),
            group: self.group.clone(),
            sender: sender.identity.clone(),
            sender_serial: sender.serial.clone(),
            receiver: receiver.identity.clone(),
            receiver_serial: receiver.serial.clone(),
        }
    }
}
