//! Links of streams, and who makes them.

use std::{fmt, sync::Arc, time::Duration};

use async_trait::async_trait;
use sealift_identity::{Direction, Session};
use sealift_terms::{Identity, PeerName, Reason, SessionFacts, Timestamp};
use sealift_tunnel::{Link, LinkReader, LinkWriter, Pace, Socket, TunnelError, drive_here};

/// A link of a stream, greeted by both ends.
pub struct ForwardLink {
    pub(crate) reader: LinkReader,
    pub(crate) writer: LinkWriter,
    session: Session,
    /// The limit of all that leaves for the peer.
    pub(crate) pace: Arc<Pace>,
    socket: Option<Arc<dyn Socket>>,
}

impl ForwardLink {
    /// Of a link whose HELLOs were exchanged. `pace` is the limit of all that leaves for
    /// the peer.
    #[must_use]
    pub fn of(link: Link, pace: Arc<Pace>) -> Self {
        let (session, socket) = (link.session().clone(), link.socket());
        let (reader, writer) = link.split();
        Self {
            reader,
            writer,
            session,
            pace,
            socket,
        }
    }

    /// Has it driven by the threads of whoever calls, wherever it was made.
    pub(crate) fn drive_here(&mut self) -> Result<(), TunnelError> {
        match &self.socket {
            Some(socket) => drive_here(&**socket, &mut self.reader, &mut self.writer),
            None => Ok(()),
        }
    }

    /// When it has to be closed: neither certificate is outlived.
    #[must_use]
    pub fn ends(&self) -> Timestamp {
        self.session.ends()
    }

    /// For how long before that its stream moves to a fresher one, if it is made now.
    pub(crate) fn moves_before_end(&self, now: Timestamp) -> Duration {
        self.session.moves_before_end(now)
    }

    /// Who is at its other end.
    #[must_use]
    pub fn peer(&self) -> &Identity {
        &self.session.peer.identity
    }

    /// What was negotiated; the side that opens streams counts as the sending one.
    pub(crate) fn facts(&self, opens: bool) -> SessionFacts {
        self.session.facts(match opens {
            true => Direction::Sending,
            false => Direction::Receiving,
        })
    }
}

impl fmt::Debug for ForwardLink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ForwardLink")
            .field("session", &self.session)
            .finish_non_exhaustive()
    }
}

/// Why there is no link.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{evidence}")]
pub struct NoLink {
    /// The reason code.
    pub reason: Reason,
    /// What was seen.
    pub evidence: String,
}

/// Makes links to peers, or has those that peers made: whoever dials.
#[async_trait]
pub trait Links: Send + Sync {
    /// A link to `peer` on which a stream can be opened. Within seconds.
    ///
    /// # Errors
    /// [`NoLink`] says why there is none.
    async fn link(&self, peer: &PeerName) -> Result<ForwardLink, NoLink>;
}
