//! A link: frames over one authenticated connection.

use std::{fmt, net::SocketAddr, sync::Arc};

use parking_lot::Mutex;
use sealift_host::TcpFacts;
use sealift_identity::{ALPN_CONTROL, ALPN_DATA, ALPN_FORWARD, Session};
use sealift_terms::{Identity, limits::HANDSHAKE_TIME_MAX};
use sealift_wire::{Agreed, Hello, Misbehaviour, WireError};
use tokio::time::timeout;

use crate::{
    ender::{Ended, LinkEnder},
    error::TunnelError,
    reader::{Incoming, LinkReader},
    records::{Core, Opened},
    transport::{Connection, Socket},
    writer::LinkWriter,
};

/// The kinds of link, told apart by their names in the handshake (ALPN).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum LinkKind {
    /// Frames, questions and answers; has a [channel binding](Link::channel_binding).
    Control,
    /// Frames and the bytes of objects, made for throughput.
    Data,
    /// One forwarded stream, in the way of data links.
    Forward,
}

impl LinkKind {
    /// Its name in the handshake.
    #[must_use]
    pub fn alpn(self) -> &'static [u8] {
        match self {
            Self::Control => ALPN_CONTROL,
            Self::Data => ALPN_DATA,
            Self::Forward => ALPN_FORWARD,
        }
    }

    pub(crate) fn of_alpn(name: &[u8]) -> Option<Self> {
        [Self::Control, Self::Data, Self::Forward]
            .into_iter()
            .find(|kind| kind.alpn() == name)
    }
}

/// What ties something to one control link: who is there, and what only both ends know.
#[derive(Clone, PartialEq, Eq)]
pub struct Binding {
    /// Who this end is.
    pub own: Identity,
    /// The authenticated peer.
    pub peer: Identity,
    /// The exporter of the connection (RFC 9266).
    pub exporter: [u8; 32],
}

impl fmt::Debug for Binding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Binding({})", self.peer)
    }
}

/// One connection between two agents, both known to each other.
pub struct Link {
    reader: LinkReader,
    writer: LinkWriter,
    kind: LinkKind,
    session: Session,
    peer: SocketAddr,
    socket: Option<Arc<dyn Socket>>,
    binding: Option<[u8; 32]>,
}

impl Link {
    pub(crate) fn new(
        connection: Connection,
        (core, opened): (Core, Opened),
        kind: LinkKind,
        session: Session,
    ) -> Self {
        let binding = core.channel_binding();
        let core = Arc::new(Mutex::new(core));
        Self {
            reader: LinkReader::new(core.clone(), connection.reader, opened),
            writer: LinkWriter::new(core, connection.writer),
            kind,
            session,
            peer: connection.peer,
            socket: connection.socket,
            binding,
        }
    }

    /// A link without TLS between two ends of one process, whose session is said to
    /// be `session`. For a simulated network only.
    #[cfg(any(test, feature = "simulation"))]
    #[doc(hidden)]
    #[must_use]
    pub fn clear(connection: Connection, kind: LinkKind, session: Session) -> Self {
        Self::new(
            connection,
            (Core::new(crate::records::Records::Clear), Opened::default()),
            kind,
            session,
        )
    }

    /// Which kind it is.
    #[must_use]
    pub fn kind(&self) -> LinkKind {
        self.kind
    }

    /// What the handshake agreed on, and both certificates.
    #[must_use]
    pub fn session(&self) -> &Session {
        &self.session
    }

    /// The address of the other end.
    #[must_use]
    pub fn peer_address(&self) -> SocketAddr {
        self.peer
    }

    /// How its connection does, if that can be told.
    #[must_use]
    pub fn facts(&self) -> Option<TcpFacts> {
        self.socket.as_ref()?.facts()
    }

    /// The socket below it, if there is one.
    #[must_use]
    pub fn socket(&self) -> Option<Arc<dyn Socket>> {
        self.socket.clone()
    }

    /// Keying material that only the two ends of this link know (RFC 9266); on
    /// control links.
    #[must_use]
    pub fn channel_binding(&self) -> Option<[u8; 32]> {
        self.binding
    }

    /// The same with who is at its other end: what an exchange of keys over it is bound to.
    #[must_use]
    pub fn binding(&self) -> Option<Binding> {
        let exporter = self.binding?;
        let (own, peer) = (&self.session.own.identity, &self.session.peer.identity);
        Some(Binding {
            own: own.clone(),
            peer: peer.clone(),
            exporter,
        })
    }

    /// Greets the peer that was dialled and checks its answer, which has 10 seconds.
    ///
    /// # Errors
    /// [`TunnelError`]; a peer that does not accept our certificate says so here,
    /// for it checks it after we have finished our part of the handshake.
    pub async fn greet(&mut self, ours: &Hello) -> Result<(Hello, Agreed), TunnelError> {
        let greeted = async {
            self.answer(ours).await?;
            self.hello().await
        };
        let greeted = timeout(HANDSHAKE_TIME_MAX, greeted).await;
        let theirs = greeted.unwrap_or(Err(TunnelError::TooSlow))?;
        let agreed = ours.check_answer(&theirs)?;
        Ok((theirs, agreed))
    }

    /// Reads the peer's HELLO, which is its first frame.
    ///
    /// # Errors
    /// [`TunnelError`]
    pub async fn hello(&mut self) -> Result<Hello, TunnelError> {
        match self.reader.next().await? {
            Some(Incoming::Frame { header, payload }) => Ok(Hello::read(&header, payload)?),
            Some(Incoming::Data { header, .. }) => {
                let found = header.frame;
                Err(WireError::PeerMisbehaved(Misbehaviour::HelloMisplaced { found }).into())
            }
            None => Err(TunnelError::CutOff),
        }
    }

    /// Sends our HELLO.
    ///
    /// # Errors
    /// [`TunnelError`]
    pub async fn answer(&mut self, ours: &Hello) -> Result<(), TunnelError> {
        let mut out = Vec::new();
        ours.append_to(&mut out);
        self.writer.queue(&out);
        self.writer.flush().await
    }

    /// The way to end this link from outside. `held` is kept as long as the link is.
    #[must_use]
    pub fn ender(&mut self, held: impl std::any::Any + Send + Sync) -> LinkEnder {
        let (ended, ender) = Ended::with_ender(held, self.socket.clone());
        self.reader.listen_to(ended.clone());
        self.writer.listen_to(ended);
        ender
    }

    /// Its two directions, to be driven by two tasks: then neither end can wait
    /// for the other to read.
    #[must_use]
    pub fn split(self) -> (LinkReader, LinkWriter) {
        (self.reader, self.writer)
    }
}

/// Has the two halves of a link, which stand on `socket`, driven by the threads of whoever
/// calls: whoever waits for it there is woken there.
///
/// # Errors
/// [`TunnelError`]: the system does not let it.
pub fn drive_here(
    socket: &dyn Socket,
    reader: &mut LinkReader,
    writer: &mut LinkWriter,
) -> Result<(), TunnelError> {
    let halves = socket.here();
    if let Some((read, write)) = halves.map_err(TunnelError::io("moving a socket"))? {
        reader.read_from(read);
        writer.write_to(write);
    }
    Ok(())
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Link")
            .field("kind", &self.kind)
            .field("peer", &self.peer)
            .field("session", &self.session)
            .finish_non_exhaustive()
    }
}
