//! What ends a link or a session on the receiving side, and whose fault it is.

use std::io;

use sealift_terms::Reason;
use sealift_wire::WireError;

/// Why a link came to its end.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReceiverError {
    /// The connection was lost, or refused by the peer.
    #[error("the link was lost")]
    LinkLost(#[source] io::Error),
    /// The peer broke the protocol: the session is over.
    #[error("the peer broke the protocol")]
    PeerMisbehaved(#[from] WireError),
    /// Nothing was heard from the peer for a minute.
    #[error("nothing was heard from the peer for 60 s")]
    PeerSilent,
}

impl ReceiverError {
    /// The reason code.
    #[must_use]
    pub fn reason(&self) -> Reason {
        match self {
            Self::LinkLost(_) | Self::PeerSilent => Reason::PeerUnreachable,
            Self::PeerMisbehaved(_) => Reason::PeerProtocolMismatch,
        }
    }
}
